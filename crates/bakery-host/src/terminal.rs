//! The terminal without line editing, for consoles of machines, and without echo, for passwords.

use std::io::{BufRead as _, Write as _};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcsetattr};

/// Raw mode until it is dropped.
#[derive(Debug)]
pub struct RawMode(Termios);

impl RawMode {
    /// Enters it; nothing when stdin is no terminal.
    pub fn enter() -> Option<Self> {
        Self::with(Termios::make_raw)
    }

    /// Letters as they are typed, Ctrl-C among them, that nobody shows; output stays what it is.
    fn letters() -> Option<Self> {
        Self::with(|modes| modes.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG))
    }

    fn with(change: impl FnOnce(&mut Termios)) -> Option<Self> {
        let stdin = std::io::stdin();
        if !isatty(&stdin) {
            return None;
        }
        let before = tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        change(&mut raw);
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

/// What somebody at the terminal did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Typed {
    /// Typed a line, or the one letter that was waited for.
    Line(String),
    /// Pressed Ctrl-C, which ends nothing by itself here.
    Interrupted,
    /// Nothing that was waited for, until the time was over.
    Nothing,
}

/// How a wait for somebody at the terminal ends, beside Ctrl-C.
#[derive(Debug, Clone, Copy)]
pub enum Until<'a> {
    /// With a line.
    Line,
    /// With one of these letters, small or not, which is given back small.
    Letter(&'a [char]),
    /// At a time; what is typed is dropped.
    Time(std::time::Instant),
}

/// Waits for somebody at the terminal, showing what is typed or not; `None` without a terminal.
pub fn wait_for(prompt: &str, echo: bool, until: Until<'_>) -> Option<Typed> {
    const INTERRUPT: char = '\u{3}';
    const END: char = '\u{4}';
    let _mode = RawMode::letters()?;
    let mut out = std::io::stdout();
    write!(out, "{prompt}").and_then(|()| out.flush()).ok()?;
    let stdin = std::io::stdin();
    let mut line: Vec<char> = Vec::new();
    let mut partial: Vec<u8> = Vec::new();
    let done = loop {
        if let Until::Time(end) = until {
            let left = end.saturating_duration_since(std::time::Instant::now());
            let mut waiting = [PollFd::new(&stdin, PollFlags::IN)];
            let ready = left.try_into().ok().and_then(|left| poll(&mut waiting, Some(&left)).ok());
            if left.is_zero() || crate::signal::caught().is_some() {
                break Typed::Nothing;
            }
            if ready.unwrap_or_default() == 0 {
                continue;
            }
        }
        let mut byte = [0u8];
        if rustix::io::read(&stdin, &mut byte).ok()? == 0 {
            break Typed::Nothing;
        }
        // A letter may take several bytes.
        partial.push(byte[0]);
        let Ok(text) = std::str::from_utf8(&partial) else { continue };
        let letter = text.chars().next()?;
        partial.clear();
        match (letter, until) {
            (INTERRUPT, _) => break Typed::Interrupted,
            (_, Until::Time(_)) => {}
            (letter, Until::Letter(wanted)) => {
                let small = letter.to_ascii_lowercase();
                if wanted.contains(&small) {
                    break Typed::Line(small.into());
                }
            }
            ('\r' | '\n' | END, Until::Line) => break Typed::Line(line.iter().collect()),
            ('\u{7f}' | '\u{8}', Until::Line) => {
                if line.pop().is_some() && echo {
                    write!(out, "\u{8} \u{8}").and_then(|()| out.flush()).ok()?;
                }
            }
            (letter, Until::Line) => {
                line.push(letter);
                if echo {
                    write!(out, "{letter}").and_then(|()| out.flush()).ok()?;
                }
            }
        }
    };
    writeln!(out).ok()?;
    Some(done)
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

/// A line of standard input, a terminal or not, behind a prompt; `None` at its end.
pub fn command(prompt: &str) -> Option<String> {
    let mut out = std::io::stdout();
    write!(out, "{prompt}").and_then(|()| out.flush()).ok()?;
    let mut line = String::new();
    match std::io::stdin().lock().read_line(&mut line) {
        Ok(0) | Err(_) => None,
        Ok(_) => Some(line),
    }
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
