//! The program as people use it; one binary for all of it.

#![allow(clippy::disallowed_methods, reason = "tests look at the program from outside")]

#[allow(dead_code, reason = "other tests use the rest of it")]
mod reference;
mod suite;
