//! The agent: what runs modules on a target for a controller, and everything that an image needs at its boot.
//!
//! `session` answers frames; the program's `play` and `boot` carry the whole engine.

mod session;

pub use session::serve;
