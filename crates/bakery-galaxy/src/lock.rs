//! The lock file beside the requirements: exactly what was resolved, so that the next install brings the same.
//!
//! `requirements.yml` has `requirements.lock`. It is YAML, sorted, and meant to be committed; paths below its folder are
//! relative to it.

use std::path::{Path, PathBuf};

use bakery_host::fs;
use bakery_lang::{json, yaml};
use serde::{Deserialize, Serialize};

use crate::requirements::{Kind, Requirement, Source};
use crate::{Error, Result};

const VERSION: u32 = 1;
const HEAD: &str = "# Made by `bakery galaxy install` from the requirements beside it. Commit it: the next install brings\n# exactly this. `bakery galaxy install --upgrade [NAME]` moves on.\n";

/// One role or collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Which of the two.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Where it comes from.
    pub source: Source,
    /// What the requirements ask of its version; absent when only others need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
    /// The version that was taken.
    pub version: String,
    /// Its commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The SHA-256 of its archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<String>,
    /// The digest of its files.
    pub digest: String,
    /// What it needs: `role NAME` and `collection NAME`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
}

impl Pin {
    /// How others name it.
    pub fn key(&self) -> String {
        format!("{} {}", self.kind, self.name)
    }
}

/// The file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockFile {
    /// The version of the form.
    pub lock_version: u32,
    /// Everything, sorted.
    pub pins: Vec<Pin>,
}

/// The lock file of a file of requirements.
pub fn path_of(requirements: &Path) -> PathBuf {
    requirements.with_extension("lock")
}

fn located(source: &mut Source, change: impl Fn(&Path) -> PathBuf) {
    match source {
        Source::File(path) | Source::Folder(path) => *path = change(path),
        Source::Git(url, _) | Source::Hg(url)
            if !url.contains("://") && (url.starts_with('/') || url.starts_with("./")) =>
        {
            *url = change(Path::new(url)).display().to_string();
        }
        _ => {}
    }
}

impl LockFile {
    /// A lock of pins.
    pub fn new(mut pins: Vec<Pin>) -> Self {
        pins.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
        Self { lock_version: VERSION, pins }
    }

    /// Reads it; nothing if there is no such file.
    ///
    /// # Errors
    /// A file that is none of ours.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        if !path.is_file() {
            return Ok(None);
        }
        let bad = |e: &dyn std::fmt::Display| {
            Error::new(format!("{} is no lock file: {e}; remove it, and it is made again", path.display()))
        };
        let value = yaml::parse_data(&path.display().to_string(), &fs::read_to_string(path)?)?;
        let mut lock: Self = serde_json::from_value(json::to_json(&value)).map_err(|e| bad(&e))?;
        if lock.lock_version != VERSION {
            return Err(bad(&format!("its version is {}, known is {VERSION}", lock.lock_version)));
        }
        let folder = folder_of(path);
        for pin in &mut lock.pins {
            located(&mut pin.source, |p| {
                if p.is_absolute() { p.to_path_buf() } else { folder.join(p.strip_prefix("./").unwrap_or(p)) }
            });
        }
        Ok(Some(lock))
    }

    /// Writes it, if it is not the same already.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let folder = folder_of(path);
        let mut lock = self.clone();
        for pin in &mut lock.pins {
            located(&mut pin.source, |p| {
                p.strip_prefix(&folder).map_or_else(|_| p.to_path_buf(), |p| Path::new(".").join(p))
            });
        }
        let value = serde_json::to_value(&lock).map_err(|e| Error::new(e.to_string()))?;
        let text = format!(
            "{HEAD}{}",
            yaml::emit(&json::from_json(&value), yaml::Style { sort_keys: false, ..yaml::Style::default() })
        );
        if fs::read_to_string(path).is_ok_and(|old| old == text) {
            return Ok(());
        }
        Ok(fs::write_atomic(path, text)?)
    }

    /// The pin of a name.
    pub fn get(&self, kind: Kind, name: &str) -> Option<&Pin> {
        self.pins.iter().find(|p| p.kind == kind && p.name == name)
    }

    /// How the lock differs from what is wanted; empty if it answers all of it, and nothing else.
    pub fn drift(&self, wanted: &[Requirement]) -> Vec<String> {
        let mut drift = Vec::new();
        let mut reached: Vec<String> = Vec::new();
        for requirement in wanted {
            let found = self.pins.iter().filter(|p| p.kind == requirement.kind && p.wanted.is_some());
            let found: Vec<&Pin> = found
                .filter(|p| match requirement.name.as_str() {
                    // The name of a collection of a repository or folder is known once it is read.
                    "" => within(&p.source, &requirement.source),
                    name => p.name == name,
                })
                .collect();
            if found.is_empty() {
                drift.push(format!("the {} {requirement} is not locked", requirement.kind));
            }
            for pin in found {
                reached.push(pin.key());
                let before = pin.wanted.as_deref().unwrap_or_default();
                if before != requirement.wanted.text() {
                    drift.push(format!(
                        "the {} {} is locked for version `{}`, and `{}` is wanted",
                        pin.kind,
                        pin.name,
                        if before.is_empty() { "*" } else { before },
                        requirement.wanted
                    ));
                }
                if !within(&pin.source, &requirement.source) {
                    drift.push(format!(
                        "the {} {} is locked from {}, and {} is wanted",
                        pin.kind, pin.name, pin.source, requirement.source
                    ));
                }
            }
        }
        let mut at = 0;
        while let Some(key) = reached.get(at).cloned() {
            at += 1;
            let pin = self.pins.iter().find(|p| p.key() == key);
            match pin {
                Some(pin) => {
                    for need in &pin.needs {
                        if !reached.contains(need) {
                            reached.push(need.clone());
                        }
                    }
                }
                None => drift.push(format!("the {key}, which others need, is not locked")),
            }
        }
        for pin in &self.pins {
            if !reached.contains(&pin.key()) {
                drift.push(format!("the {} is locked, and nothing wants it", pin.key()));
            }
        }
        drift
    }
}

fn folder_of(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::canonicalize(folder).unwrap_or_else(|_| folder.to_path_buf())
}

/// Whether a source is another one, or a part of it.
fn within(part: &Source, whole: &Source) -> bool {
    let real = |p: &Path| fs::canonicalize(p).unwrap_or_else(|_| p.to_path_buf());
    match (part, whole) {
        (Source::Git(a, inner), Source::Git(b, outer)) => {
            a == b && (outer.is_empty() || inner.starts_with(outer.as_str()))
        }
        (Source::Folder(a), Source::Folder(b)) => real(a).starts_with(real(b)),
        (Source::File(a), Source::File(b)) => real(a) == real(b),
        _ => part == whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::Wanted;

    #[test]
    fn it_reads_what_it_wrote_and_says_what_drifted() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = fs::canonicalize(folder.path()).expect("is there");
        let pin = |name: &str, wanted: Option<&str>, needs: &[&str]| Pin {
            kind: Kind::Role,
            name: name.into(),
            source: Source::Folder(root.join(name)),
            wanted: wanted.map(str::to_owned),
            version: "1.0".into(),
            commit: None,
            artifact: None,
            digest: "sha256:00".into(),
            needs: needs.iter().map(|n| (*n).to_owned()).collect(),
        };
        let lock = LockFile::new(vec![pin("b", None, &[]), pin("a", Some("1.0"), &["role b"])]);
        let path = root.join("requirements.lock");
        lock.write(&path).expect("written");
        assert!(
            !fs::read_to_string(&path).expect("reads").contains(&root.display().to_string()),
            "paths are relative"
        );
        assert_eq!(LockFile::read(&path).expect("reads"), Some(lock.clone()));
        let wants = |name: &str, version: &str| Requirement {
            kind: Kind::Role,
            name: name.into(),
            source: Source::Folder(root.join(name)),
            wanted: Wanted::parse(version).expect("valid"),
            signatures: vec![],
            origin: None,
        };
        assert!(lock.drift(&[wants("a", "1.0")]).is_empty());
        assert!(lock.drift(&[wants("a", "2.0")])[0].contains("`2.0`"));
        assert_eq!(lock.drift(&[]).len(), 2);
        assert!(lock.drift(&[wants("a", "1.0"), wants("c", "")])[0].contains("the role c is not locked"));
        for text in ["just text", "lock_version: 9\npins: []", "[", "pins: 3"] {
            fs::write_atomic(&path, text).expect("written");
            assert!(LockFile::read(&path).is_err(), "{text}");
        }
    }
}
