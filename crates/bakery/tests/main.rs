//! The program as people use it; one binary for all of it.

#![allow(clippy::disallowed_methods, reason = "tests look at the program from outside")]

mod suite;
