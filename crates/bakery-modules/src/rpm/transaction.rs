//! The table with which dnf says what a transaction does (`dnf/cli/output.py`, `list_transaction`; dnf5 and the yum before
//! dnf write the like of it).
//!
//! ```text
//! Dependencies resolved.
//! ================================================================
//!  Package      Architecture   Version     Repository        Size
//! ================================================================
//! Upgrading:
//!  tool         noarch         1:1.1-1     repository        5.6 k
//!      replacing  other.noarch 1.0-1
//! Removing:
//!  a-name-longer-than-its-column
//!               noarch         1.0-1       @repository       0
//!
//! Transaction Summary
//! ```

use super::{Evr, Package};

/// What a transaction does.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Transaction {
    /// Packages that come, new ones and others in the place of another version.
    pub(crate) installed: Vec<Package>,
    /// Packages that go; not those that make room for another version of theirs.
    pub(crate) removed: Vec<Package>,
    /// Whether streams of modules are switched on, off or to others.
    pub(crate) has_modules: bool,
}

impl Transaction {
    pub(crate) fn read(text: &str) -> Self {
        let mut transaction = Self::default();
        let mut heading = "";
        // A row that is continued on the next line.
        let mut row: Vec<&str> = Vec::new();
        for line in text.lines().take_while(|line| !line.starts_with("Transaction Summary")) {
            if !line.starts_with(' ') {
                heading = line.strip_suffix(':').unwrap_or("");
                row.clear();
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            if let [word, rest @ ..] = &words[..]
                && *word == "replacing"
            {
                transaction.removed.extend(replaced(rest));
                continue;
            }
            if [" module streams", " modules", " module profiles"].iter().any(|end| heading.ends_with(end)) {
                transaction.has_modules = true;
                continue;
            }
            row.extend(words);
            // Of a package: its name, architecture, version and repository, and the size.
            let [name, arch, evr, _repository, ..] = row[..] else { continue };
            let package = Package { name: name.to_owned(), arch: arch.to_owned(), evr: Evr::read(evr) };
            row.clear();
            match heading.split(' ').next() {
                Some("Installing" | "Upgrading" | "Updating" | "Downgrading" | "Reinstalling") => {
                    transaction.installed.push(package);
                }
                Some("Removing" | "Erasing") => transaction.removed.push(package),
                // Packages that are skipped, and the table's own head.
                _ => {}
            }
        }
        transaction
    }
}

/// What follows `replacing`: `name.arch version` of dnf, `name arch version …` of dnf5.
fn replaced(words: &[&str]) -> Option<Package> {
    let (name, arch, evr) = match words {
        [name, evr] => {
            let (name, arch) = name.rsplit_once('.')?;
            (name, arch, evr)
        }
        [name, arch, evr, ..] => (*name, *arch, evr),
        _ => return None,
    };
    Some(Package { name: name.to_owned(), arch: arch.to_owned(), evr: Evr::read(evr) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_says_what_comes_and_what_goes() {
        let text = "\
Last metadata expiration check: 0:00:01 ago on Thu Nov 26 22:55:39 2026.
Package dinginessentail-1.0-1.noarch is already installed.
Dependencies resolved.
================================================================================
 Package                Architecture  Version           Repository         Size
================================================================================
Installing:
 broken-a               noarch        1.2.3-1           dummy-repo        5.6 k
     replacing  older.noarch 3-1
Upgrading:
 dinginessentail        noarch        1:1.1-1           dummy-repo        5.6 k
Installing weak dependencies:
 a-name-that-is-longer-than-what-there-is-room-for
                        noarch        1.0-1             dummy-repo        5.6 k
Removing unused dependencies:
 leaf                   noarch        1.0-1             @dummy-repo         0
Installing Groups:
 Custom Group
Enabling module streams:
 nodejs                               18

Transaction Summary
================================================================================
Install  1 Package
";
        let transaction = Transaction::read(text);
        let nevras = |packages: &[Package]| packages.iter().map(Package::nevra).collect::<Vec<_>>().join(" ");
        assert_eq!(
            nevras(&transaction.installed),
            "broken-a-1.2.3-1.noarch dinginessentail-1:1.1-1.noarch \
             a-name-that-is-longer-than-what-there-is-room-for-1.0-1.noarch"
        );
        assert_eq!(nevras(&transaction.removed), "older-3-1.noarch leaf-1.0-1.noarch");
        assert!(transaction.has_modules);
    }

    #[test]
    fn what_is_skipped_is_not_done() {
        let text = "\
Dependencies resolved.
 Package            Architecture     Version         Repository            Size
Skipping packages with broken dependencies:
 broken-c           noarch           1.0-1           dummy-repo           5.6 k
Installing Groups:
 Custom Group

Transaction Summary
Skip  1 Package

Nothing to do.
";
        assert_eq!(Transaction::read(text), Transaction::default());
    }
}
