//! Ansible's colours.

use bakery_ansible::Status;

/// Whether text is coloured, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Colour(pub bool);

impl Colour {
    fn paint(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
    /// For failures.
    pub fn red(self, text: &str) -> String {
        self.paint("0;31", text)
    }
    pub(crate) fn green(self, text: &str) -> String {
        self.paint("0;32", text)
    }
    pub(crate) fn yellow(self, text: &str) -> String {
        self.paint("0;33", text)
    }
    /// For what only the curious see.
    pub fn blue(self, text: &str) -> String {
        self.paint("0;34", text)
    }
    pub(crate) fn cyan(self, text: &str) -> String {
        self.paint("0;36", text)
    }
    /// For warnings.
    pub fn purple(self, text: &str) -> String {
        self.paint("1;35", text)
    }
    pub(crate) fn status(self, status: Status, text: &str) -> String {
        match status {
            Status::Ok => self.green(text),
            Status::Changed => self.yellow(text),
            Status::Skipped => self.cyan(text),
            Status::Failed | Status::Unreachable => self.red(text),
        }
    }
}
