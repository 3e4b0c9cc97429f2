//! The program as people use it; one binary for all of it.

mod suite;
