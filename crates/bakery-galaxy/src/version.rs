//! Versions, and what is asked of them (`ansible/utils/version.py`, `galaxy/dependency_resolution/versioning.py`).

use std::cmp::Ordering;
use std::fmt;

use pubgrub::Ranges;

use crate::{Error, Result};

/// A version: a number as SemVer orders it, or the name of a branch, tag or commit. Numbers that mean the same are
/// equal: `v1.0` is `1.0.0`.
#[derive(Debug, Clone)]
pub struct Version {
    text: String,
    number: Option<semver::Version>,
}

impl Version {
    /// Reads it; whatever is no number is a name.
    pub fn new(text: impl Into<String>) -> Self {
        let text = text.into();
        let number = number(&text);
        Self { text, number }
    }

    /// As it is written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is a number.
    pub fn is_number(&self) -> bool {
        self.number.is_some()
    }

    /// Whether it comes before a release.
    pub fn is_pre_release(&self) -> bool {
        self.number.as_ref().is_some_and(|n| !n.pre.is_empty())
    }
}

/// `1`, `1.2`, `v1.2.3-rc.1+x`, with what is missing zero.
fn number(text: &str) -> Option<semver::Version> {
    let text = text.trim();
    let text = text.strip_prefix(['v', 'V']).unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (core, rest) = text.split_at(end);
    let mut parts: Vec<u64> = Vec::new();
    for part in core.split('.') {
        parts.push(part.parse().ok()?);
    }
    if parts.len() > 3 {
        return None;
    }
    parts.resize(3, 0);
    // `1.0rc1`, as Python writes it, is `1.0.0-rc1`; `4fa3c1d` is a commit.
    let python = ["a", "b", "rc", "alpha", "beta", "dev"]
        .iter()
        .any(|word| rest.strip_prefix(word).is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit())));
    let rest = if python && core.contains('.') { format!("-{rest}") } else { rest.to_owned() };
    semver::Version::parse(&format!("{}.{}.{}{rest}", parts[0], parts[1], parts[2])).ok()
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.number, &other.number) {
            (Some(a), Some(b)) => a.cmp_precedence(b),
            (None, None) => self.text.cmp(&other.text),
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.text.is_empty() { "HEAD" } else { &self.text })
    }
}

/// What is asked of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    text: String,
    exact: Option<Version>,
}

impl Wanted {
    /// Any version: for a repository its default branch, else the newest.
    pub fn any() -> Self {
        Self { text: String::new(), exact: None }
    }

    /// Reads `1.2.3`, a branch or commit, `*`, or conditions between commas such as `>=1.2,<2`.
    ///
    /// # Errors
    /// Conditions whose version is no number.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.is_empty() || text == "*" {
            return Ok(Self { text: text.to_owned(), exact: None });
        }
        let pinned = text.strip_prefix("==").or_else(|| text.strip_prefix('=')).unwrap_or(text).trim();
        if !pinned.contains(',') && !pinned.starts_with(['>', '<', '!', '=']) {
            return Ok(Self { text: text.to_owned(), exact: Some(Version::new(pinned)) });
        }
        let wanted = Self { text: text.to_owned(), exact: None };
        wanted.conditions().map(|_| wanted.clone())
    }

    /// As it is written; empty if nothing was.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The only version that will do.
    pub fn exact(&self) -> Option<&Version> {
        self.exact.as_ref()
    }

    /// Whether the newest number that fits is meant, not a branch.
    pub fn is_range(&self) -> bool {
        self.exact.is_none() && !self.text.is_empty()
    }

    fn conditions(&self) -> Result<Ranges<Version>> {
        let mut all = Ranges::full();
        for condition in self.text.split(',').map(str::trim).filter(|c| !c.is_empty() && *c != "*") {
            let end = condition.find(|c: char| !"<>=!".contains(c)).unwrap_or(condition.len());
            let (operator, version) = condition.split_at(end);
            let version = Version::new(version.trim());
            if !version.is_number() {
                return Err(Error::new(format!(
                    "`{condition}` compares with `{version}`, which is no version number"
                )));
            }
            let one = match operator {
                "" | "=" | "==" => Ranges::singleton(version),
                "!=" => Ranges::singleton(version).complement(),
                ">" => Ranges::strictly_higher_than(version),
                ">=" => Ranges::higher_than(version),
                "<" => Ranges::strictly_lower_than(version),
                "<=" => Ranges::lower_than(version),
                _ => return Err(Error::new(format!("`{operator}` in `{condition}` is no comparison"))),
            };
            all = all.intersection(&one);
        }
        Ok(all)
    }

    /// The versions that will do.
    pub fn range(&self) -> Ranges<Version> {
        match &self.exact {
            Some(version) => Ranges::singleton(version.clone()),
            // It was checked when it was read.
            None => self.conditions().unwrap_or_else(|_| Ranges::full()),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.text.is_empty() { "*" } else { &self.text })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_as_semver_and_names_are_names() {
        let v = Version::new;
        assert_eq!(v("v1.0"), v("1.0.0"));
        assert!(v("1.0.0-rc1") < v("1.0.0") && v("1.2") < v("1.10") && v("master") < v("0.0.1"));
        assert!(!v("4fa3c1d").is_number() && v("1.0rc1").is_pre_release());
        let fits = |wanted: &str, version: &str| {
            Wanted::parse(wanted).expect("valid").range().contains(&Version::new(version))
        };
        for (wanted, version, answer) in [
            (">=1.2,<2", "1.2", true),
            (">=1.2,<2", "2.0.0", false),
            ("!=1.5.0", "1.5", false),
            ("*", "9", true),
            ("1.2.3", "1.2.3", true),
            ("=1.2.3", "1.2.4", false),
            ("<2,!=1.1", "1.0", true),
            ("main", "main", true),
        ] {
            assert_eq!(fits(wanted, version), answer, "{wanted} {version}");
        }
        assert!(Wanted::parse(">=main").is_err() && Wanted::parse("=>1").is_err());
    }
}
