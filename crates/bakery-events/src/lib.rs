//! Events, reporters and exit codes: what bakery tells people and programs.
//!
//! Libraries emit [`Event`]s to a [`Reporter`]; only the programs format them. With `--json` the events themselves are
//! the output, one JSON object a line; [`SCHEMA_VERSION`] changes when a field changes its meaning.

pub mod exit;

use serde::Serialize;

/// The version of the JSON form.
pub const SCHEMA_VERSION: u32 = 1;

/// Something that happened.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A longer piece of work begins.
    StepStarted {
        /// What it is, such as `base`.
        step: String,
        /// What it is about.
        detail: String,
    },
    /// It goes on.
    StepProgress {
        /// Which.
        step: String,
        /// What it says.
        line: String,
    },
    /// It ended.
    StepFinished {
        /// Which.
        step: String,
        /// How: `done`, `cached`, `skipped`.
        outcome: String,
        /// How long it took, in milliseconds.
        milliseconds: u64,
    },
    /// Something that the user should know.
    Note {
        /// A sentence.
        text: String,
    },
    /// Something that may be wrong.
    Warning {
        /// A sentence.
        text: String,
    },
    /// Data that a verb produces.
    Result {
        /// The verb, such as `bake`.
        verb: String,
        /// The data.
        data: serde_json::Value,
    },
}

/// Receives events.
pub trait Reporter: Send + Sync {
    /// Takes one.
    fn event(&self, event: &Event);

    /// Notes something.
    fn note(&self, text: &str) {
        self.event(&Event::Note { text: text.to_owned() });
    }

    /// Warns.
    fn warn(&self, text: &str) {
        self.event(&Event::Warning { text: text.to_owned() });
    }
}

/// A step under way; it reports its end, and how long it took, when it is finished.
#[must_use]
pub struct Step<'a> {
    reporter: &'a dyn Reporter,
    step: String,
    started: std::time::Instant,
}

impl<'a> Step<'a> {
    /// Reports the begin.
    pub fn start(reporter: &'a dyn Reporter, step: &str, detail: &str) -> Self {
        reporter.event(&Event::StepStarted { step: step.to_owned(), detail: detail.to_owned() });
        Self { reporter, step: step.to_owned(), started: std::time::Instant::now() }
    }

    /// Reports a line of what goes on.
    pub fn progress(&self, line: &str) {
        self.reporter.event(&Event::StepProgress { step: self.step.clone(), line: line.to_owned() });
    }

    /// Reports the end.
    pub fn finish(self, outcome: &str) {
        self.reporter.event(&Event::StepFinished {
            step: self.step,
            outcome: outcome.to_owned(),
            milliseconds: self.started.elapsed().as_millis() as u64,
        });
    }
}

/// A reporter that keeps nothing, for tests and quiet calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Reporter for Silent {
    fn event(&self, _: &Event) {}
}
