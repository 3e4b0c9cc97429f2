//! Signatures of collections' manifests, checked by the user's gpg with the keys of a keyring (`galaxy/collection/gpg.py`,
//! `verify_file_signatures` in `galaxy/collection/__init__.py`).

use std::path::PathBuf;
use std::time::Duration;

use bakery_host::{Cmd, fs};

use crate::{Error, Result};

/// What gpg says of a signature that is not good.
const BAD: &[&str] = &[
    "EXPSIG",
    "EXPKEYSIG",
    "REVKEYSIG",
    "BADSIG",
    "ERRSIG",
    "NO_PUBKEY",
    "MISSING_PASSPHRASE",
    "BAD_PASSPHRASE",
    "NODATA",
    "UNEXPECTED",
    "ERROR",
    "FAILURE",
    "BADARMOR",
    "KEYEXPIRED",
    "KEYREVOKED",
    "NO_SECKEY",
];

/// Keys, and how many signatures must be good.
#[derive(Debug, Clone)]
pub struct Keyring {
    /// The file of keys.
    pub path: PathBuf,
    /// `1`, `2` …, `all`, with `+` before it if there must be one at all.
    pub required: String,
    /// What gpg may say, and the signature does not count.
    pub ignored: Vec<String>,
}

impl Keyring {
    /// Checks a manifest.
    ///
    /// # Errors
    /// Too few good signatures, with what gpg says of each.
    pub fn check(&self, name: &str, manifest: &[u8], signatures: &[String]) -> Result<()> {
        let required = self.required.trim();
        let (strict, count) = required.strip_prefix('+').map_or((false, required), |rest| (true, rest));
        let all = count == "all";
        let count: usize = if all {
            0
        } else {
            count.parse().map_err(|_| {
                Error::new(format!("`{required}` is no number of signatures: `2`, `all`, `+1`"))
            })?
        };
        if !self.path.is_file() {
            return Err(Error::new(format!("there is no keyring {}", self.path.display())));
        }
        let (mut good, mut failures) = (0, Vec::new());
        for signature in signatures {
            match self.one(manifest, signature)? {
                Verdict::Good => good += 1,
                Verdict::Ignored => {}
                Verdict::Bad(why) => failures.push(why),
            }
        }
        let said = if failures.is_empty() { String::new() } else { format!(" ({})", failures.join("; ")) };
        if strict && good == 0 {
            return Err(Error::new(format!("{name} has no good signature{said}")));
        }
        if all && !failures.is_empty() {
            return Err(Error::new(format!("signatures of {name} are not good{said}")));
        }
        if !all && !signatures.is_empty() && good < count {
            return Err(Error::new(format!(
                "{name} has {good} good signatures of the {count} that are required{said}"
            )));
        }
        Ok(())
    }

    fn one(&self, manifest: &[u8], signature: &str) -> Result<Verdict> {
        let manifest = fs::in_memory(manifest)?;
        let output = Cmd::new("gpg")
            .args(["--status-fd=1", "--verify", "--batch", "--no-tty", "--no-default-keyring"])
            .arg(format!("--keyring={}", self.path.display()))
            .arg("-")
            .arg(fs::path_of(&manifest))
            .input(signature)
            .timeout(Duration::from_mins(1))
            .output()?;
        let text = output.text();
        let statuses = text.lines().filter_map(|l| l.strip_prefix("[GNUPG:] ")?.split_whitespace().next());
        let bad: Vec<&str> = statuses.filter(|s| BAD.contains(s)).collect();
        if bad.is_empty() {
            return Ok(if output.success() {
                Verdict::Good
            } else {
                Verdict::Bad(output.error_text().trim().lines().last().unwrap_or("gpg failed").to_owned())
            });
        }
        if bad.iter().all(|b| self.ignored.iter().any(|i| i == b)) {
            return Ok(Verdict::Ignored);
        }
        Ok(Verdict::Bad(bad.join(" ")))
    }
}

enum Verdict {
    Good,
    Ignored,
    Bad(String),
}
