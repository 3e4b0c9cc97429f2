//! The terminal without line editing, for consoles of machines, and without echo, for passwords.

use std::io::{BufRead as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcsetattr};

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

/// A line that is not shown while it is typed: from the terminal, else from standard input.
///
/// # Errors
/// When nothing can be read.
pub fn ask_hidden(prompt: &str) -> std::io::Result<String> {
    ask(prompt, false)
}

/// A line that somebody at the terminal types, shown or not; `None` without a terminal.
pub fn ask_person(prompt: &str, echo: bool) -> Option<String> {
    if isatty(std::io::stdin()) { ask(prompt, echo).ok() } else { None }
}

/// A line that is typed, shown or not; from standard input when there is no terminal.
///
/// # Errors
/// When nothing can be read.
pub fn ask(prompt: &str, echo: bool) -> std::io::Result<String> {
    let stdin = std::io::stdin();
    let before = if isatty(&stdin) { tcgetattr(&stdin).ok() } else { None };
    if let (Some(before), false) = (&before, echo) {
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Now, &hidden)?;
    }
    let mut out = std::io::stdout();
    write!(out, "{prompt}")?;
    out.flush()?;
    let mut line = String::new();
    let read = stdin.lock().read_line(&mut line);
    if let (Some(before), false) = (&before, echo) {
        tcsetattr(&stdin, OptionalActions::Now, before)?;
        writeln!(out)?;
    }
    read?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}
