//! Where a piece of text came from: a named source and a position in it.

use std::fmt;
use std::sync::Arc;

/// A text that the user wrote, with the name to show for it (usually its path).
#[derive(PartialEq, Eq)]
pub struct Source {
    /// The path, or a name such as `<command line>`.
    pub name: String,
    /// The whole text.
    pub text: String,
    /// Whether errors must not show it: it came out of a vault.
    pub is_secret: bool,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({})", self.name)
    }
}

impl Source {
    /// A source that many origins can share.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { name: name.into(), text: text.into(), is_secret: false })
    }

    /// A source whose text errors do not show.
    pub fn secret(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { name: name.into(), text: text.into(), is_secret: true })
    }

    /// The origin of a byte offset into the text.
    pub fn at_offset(self: &Arc<Self>, offset: usize) -> Origin {
        let before = &self.text[..self.text.floor_char_boundary(offset.min(self.text.len()))];
        let line = before.matches('\n').count() as u32 + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() as u32 + 1;
        Origin { source: Arc::clone(self), line, column }
    }
}

/// A position in a source; lines and columns count from 1.
#[derive(Clone, PartialEq, Eq)]
pub struct Origin {
    /// The text that the position is in.
    pub source: Arc<Source>,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.source.name, self.line, self.column)
    }
}

impl Origin {
    /// The line of the source that the position is on, without its newline; nothing of a secret one.
    pub fn excerpt(&self) -> &str {
        if self.source.is_secret {
            return "";
        }
        self.source.text.lines().nth(self.line.saturating_sub(1) as usize).unwrap_or("")
    }
}
