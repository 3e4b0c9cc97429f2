//! Located data: sources, spans, diagnostics, values, YAML 1.1, JSON, INI and HCL.
//!
//! Invariant: this crate knows no Ansible word and does no I/O; text comes in, values and errors go out.

pub mod diagnostic;
pub mod encoding;
pub mod hcl;
pub mod ini;
pub mod json;
pub mod quote;
pub mod random;
pub mod regex;
pub mod repr;
pub mod source;
pub mod time;
pub mod units;
pub mod value;
pub mod whole;
pub mod yaml;

pub use diagnostic::{Diagnostic, suggest};
pub use source::{Origin, Source};
pub use time::Time;
pub use value::{Lazy, List, Map, Scan, Text, Undefined, Value};
