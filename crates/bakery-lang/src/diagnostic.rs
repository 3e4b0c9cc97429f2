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
            let number = origin.line.to_string();
            let pad = " ".repeat(number.len());
            write!(f, "\n{pad}--> {origin}")?;
            let excerpt = origin.excerpt();
            if !excerpt.trim().is_empty() {
                let caret: String = excerpt
                    .chars()
                    .take(origin.column.saturating_sub(1) as usize)
                    .map(|c| if c == '\t' { '\t' } else { ' ' })
                    .collect();
                write!(f, "\n{pad} |\n{number} | {excerpt}\n{pad} | {caret}^")?;
            }
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}

/// The known name closest to `name`, as a hint, when one is close enough to be a slip of the pen.
pub fn suggest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(name.len()) / 3).max(1))
        .min()
        .map(|(_, candidate)| format!("did you mean `{candidate}`?"))
}
