//! The terminal without line editing, for consoles of machines.

use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcsetattr};

/// Raw mode until it is dropped.
#[derive(Debug)]
pub struct RawMode(Termios);

impl RawMode {
    /// Enters it; nothing when stdin is no terminal.
    pub fn enter() -> Option<Self> {
        let stdin = std::io::stdin();
        if !isatty(&stdin) {
            return None;
        }
        let before = tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // The terminal may be gone.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}
