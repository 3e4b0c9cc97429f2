//! An error as a person reads it: what is wrong, where, and what to do.

use std::fmt;

use crate::Origin;

/// A message with the place it is about and, where one is known, a hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// A lower-case fragment, without a final period.
    pub message: String,
    /// Where the user wrote it.
    pub origin: Option<Origin>,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// A message about no place in particular.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), origin: None, hint: None }
    }

    /// A message about a place.
    pub fn at(origin: &Origin, message: impl Into<String>) -> Self {
        Self { message: message.into(), origin: Some(origin.clone()), hint: None }
    }

    /// The same with a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with an optional hint.
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.message)?;
        if let Some(origin) = &self.origin {
            write!(f, "\nOrigin: {origin}{}", excerpt(origin))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}

/// The line that an origin is on with the two before it, and a mark below the column
/// (`ansible/_internal/_errors/_error_utils.py`, `SourceContext.from_origin`).
fn excerpt(origin: &Origin) -> String {
    const BEFORE: usize = 2;
    const WIDTH: usize = 120;
    let at = origin.line as usize;
    let mut lines = origin.source.text.lines().enumerate().skip(at.saturating_sub(BEFORE + 1)).peekable();
    if origin.source.is_secret {
        return String::new();
    }
    if at == 0 || origin.source.text.lines().nth(at - 1).is_none_or(|line| line.trim().is_empty()) {
        return String::new();
    }
    let width = at.to_string().len();
    let room = WIDTH - width - 1;
    let mut out = String::from("\n");
    while let Some((index, line)) = lines.next_if(|(index, _)| *index < at) {
        let line = line.trim_end_matches('\r').replace('\t', " ");
        let shown: String = if line.chars().count() > room {
            line.chars().take(room - 3).chain("...".chars()).collect()
        } else {
            line
        };
        let gap = if shown.is_empty() { "" } else { " " };
        out += &format!("\n{:>width$}{gap}{shown}", index + 1);
    }
    let column = origin.column as usize;
    if (1..=room).contains(&column) {
        out += &format!("\n{} {}^ column {column}\n", " ".repeat(width), " ".repeat(column - 1));
    }
    out
}

/// The known name closest to `name`, as a hint, when one is close enough to be a slip of the pen.
pub fn suggest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(name.len()) / 4).max(1))
        .min()
        .map(|(_, candidate)| format!("did you mean `{candidate}`?"))
}
