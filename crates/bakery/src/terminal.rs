//! How things are shown: live lines on a terminal, plain ones elsewhere, events with `--json`.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "the one place that writes for people")]

use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;

use bakery_events::{Event, Reporter, SCHEMA_VERSION};
use bakery_play::Colour;

/// Shows events.
#[derive(Debug)]
pub(crate) struct Terminal {
    json: bool,
    quiet: bool,
    live: bool,
    /// Whether a line is open that the next one replaces.
    open: Mutex<bool>,
    /// Texts that are not shown.
    hidden: Mutex<Vec<String>>,
}

impl Terminal {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        let live =
            !json && std::io::stderr().is_terminal() && std::env::var("TERM").is_ok_and(|t| t != "dumb");
        Self { json, quiet, live, open: Mutex::new(false), hidden: Mutex::default() }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Ends a line that is being rewritten, before something else is written.
    pub(crate) fn settle(&self) {
        if let Ok(mut open) = self.open.lock()
            && std::mem::take(&mut *open)
        {
            eprint!("\r\x1b[K");
        }
    }

    /// From now on, these texts are not shown.
    pub(crate) fn hide(&self, texts: &[String]) {
        if let Ok(mut hidden) = self.hidden.lock() {
            hidden.extend_from_slice(texts);
        }
    }

    fn masked(&self, text: String) -> String {
        let hidden = self.hidden.lock();
        hidden.map_or(text.clone(), |hidden| mask(text, &hidden))
    }

    pub(crate) fn talk(&self, text: &str) {
        self.settle();
        let text = self.masked(text.to_owned());
        eprintln!("{text}");
    }

    fn rewrite(&self, text: &str) {
        if let Ok(mut open) = self.open.lock() {
            let short: String = self.masked(text.to_owned()).chars().take(100).collect();
            eprint!("\r\x1b[K{short}");
            let _ = std::io::stderr().flush();
            *open = true;
        }
    }
}

impl Reporter for Terminal {
    fn event(&self, event: &Event) {
        if self.json {
            let mut value = serde_json::to_value(event).unwrap_or_default();
            if let Some(map) = value.as_object_mut() {
                map.insert("version".into(), SCHEMA_VERSION.into());
            }
            println!("{}", self.masked(value.to_string()));
            return;
        }
        if self.quiet && !matches!(event, Event::Warning { .. }) {
            return;
        }
        match event {
            Event::StepStarted { step, detail } if self.live => self.rewrite(&format!("{step} {detail} …")),
            Event::StepProgress { step, line } if self.live => self.rewrite(&format!("{step}: {line}")),
            Event::StepStarted { step, detail } => self.talk(format!("==> {step} {detail}").trim_end()),
            Event::StepProgress { step, line } => self.talk(&format!("    {step}: {line}")),
            Event::StepFinished { step, outcome, milliseconds } => {
                self.talk(&format!("{step:<12} {outcome:<10} {:>8.2} s", *milliseconds as f64 / 1000.0));
            }
            Event::Note { text } => self.talk(&format!("note: {text}")),
            Event::Warning { text } => self.talk(&format!("warning: {text}")),
            Event::Result { .. } => {}
        }
    }
}

/// Text with others in place of those that must not be shown.
fn mask(text: String, hidden: &[String]) -> String {
    hidden.iter().fold(text, |text, secret| text.replace(secret.as_str(), "<sensitive>"))
}

/// A writer that does not show some texts; it writes whole lines.
pub(crate) struct Masked<'a, W: std::io::Write> {
    to: W,
    hidden: &'a [String],
    line: Vec<u8>,
}

impl<'a, W: std::io::Write> Masked<'a, W> {
    pub(crate) fn new(to: W, hidden: &'a [String]) -> Self {
        Self { to, hidden, line: vec![] }
    }

    fn show(&mut self) -> std::io::Result<()> {
        let line = std::mem::take(&mut self.line);
        self.to.write_all(mask(String::from_utf8_lossy(&line).into_owned(), self.hidden).as_bytes())
    }
}

impl<W: std::io::Write> std::io::Write for Masked<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.line.extend_from_slice(bytes);
        if self.line.ends_with(b"\n") || self.hidden.is_empty() {
            self.show()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

impl<W: std::io::Write> Drop for Masked<'_, W> {
    fn drop(&mut self) {
        // What has no end of line is shown, too; who listened may be gone.
        let _ = self.show();
    }
}

/// An error, with what to do.
pub(crate) fn complain(message: &str, hint: Option<&str>) {
    let colour = Colour(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    eprintln!("{}", colour.red(&format!("error: {message}")));
    if let Some(hint) = hint {
        eprintln!("hint: {hint}");
    }
}

/// Data that ends its lines itself.
pub(crate) fn write(text: &str) {
    // A reader that went away is no error.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// A line of data.
pub(crate) fn say(text: &str) {
    println!("{text}");
}

/// Whether stdout shows colours.
pub(crate) fn stdout_colour() -> Colour {
    Colour(std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none())
}

/// Rows with aligned columns, the first one a header.
pub(crate) fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|c| rows.iter().filter_map(|r| r.get(c)).map(|t| t.chars().count()).max().unwrap_or(0))
        .collect();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(text, width)| format!("{text:<width$}")).collect();
        println!("{}", cells.join("  ").trim_end());
    }
}

/// Writes a line of data.
pub(crate) fn data(text: &str) {
    // A reader that went away is no error.
    let _ = writeln!(std::io::stdout(), "{text}");
}
