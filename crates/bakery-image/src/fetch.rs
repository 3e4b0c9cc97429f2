//! Large files by URL: fetched once, kept under what they should be, and never taken for something else.

use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bakery_events::{Reporter, Step};
use bakery_galaxy::http::{Client, Sink, shown};
use bakery_host::fs;
use bakery_host::lock::Lock;
use bakery_store::{Key, Store};

use crate::{Error, Result, digest};

/// How often is said how far it is.
const TELL: Duration = Duration::from_secs(2);

/// What a file's digest should be, in hexadecimal digits, and its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Checksum {
    kind: String,
    digest: String,
}

/// A file by URL or path, and what it should be.
pub(crate) struct Wanted<'a> {
    /// URLs or paths of the same file, tried in order.
    pub(crate) urls: &'a [String],
    /// What it should be, as Packer writes it: `none`, `sha256:DIGITS`, the digits alone, or `file:` and the URL or path of
    /// a list of checksums.
    pub(crate) checksum: &'a str,
    /// The folder that paths are relative to.
    pub(crate) folder: &'a Path,
}

/// What a server says that tells one version of a file from another; nothing of a file that is here, or of a server that says
/// nothing of the kind.
pub(crate) fn mark(url: &str) -> Option<String> {
    if local(url, Path::new("/")).is_some() {
        return None;
    }
    let (headers, _) = told("HEAD", url)?;
    let header = |name: &str| headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone());
    let parts: Vec<String> =
        ["etag", "last-modified", "content-length"].iter().filter_map(|name| header(name)).collect();
    let tells = header("etag").is_some() || header("last-modified").is_some();
    tells.then(|| parts.join(" "))
}

/// How long somebody may take who is only asked whether something has moved.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// What a server answers at once, headers and text: who cannot be asked is not waited for.
pub(crate) fn told(method: &str, url: &str) -> Option<(Vec<(String, String)>, String)> {
    Client::new(PATIENCE, true).ask(method, url, &[], "").ok()
}

fn client() -> Client {
    Client::new(Duration::from_secs(60), true)
}

/// A path, if it is no URL of a server.
fn local(url: &str, folder: &Path) -> Option<PathBuf> {
    match url.split_once("://") {
        Some(("file", path)) => Some(folder.join(path)),
        Some(_) => None,
        None => Some(folder.join(url)),
    }
}

/// A file that is being written.
struct Part<'a> {
    file: std::fs::File,
    length: u64,
    step: &'a Step<'a>,
    told: Instant,
}

impl Sink for Part<'_> {
    fn length(&self) -> u64 {
        self.length
    }

    fn restart(&mut self) -> std::io::Result<()> {
        self.length = 0;
        self.file.rewind()?;
        self.file.set_len(0)
    }

    fn add(&mut self, piece: &[u8], whole: Option<u64>) -> std::io::Result<()> {
        self.file.write_all(piece)?;
        self.length += piece.len() as u64;
        if self.told.elapsed() > TELL {
            self.told = Instant::now();
            let mib = self.length >> 20;
            self.step.progress(&match whole {
                Some(whole) => format!("{mib} of {} MiB", whole >> 20),
                None => format!("{mib} MiB"),
            });
        }
        Ok(())
    }
}

impl Checksum {
    /// Reads what `iso_checksum` says of a file of some URL; nothing for `none`.
    fn parse(text: &str, url: &str, folder: &Path) -> Result<Option<Self>> {
        let text = text.trim();
        if text == "none" {
            return Ok(None);
        }
        if let Some(list) = text.strip_prefix("file:") {
            let content = match local(list, folder) {
                Some(path) => fs::read(path)?,
                None => client().get(list, &[]).map_err(|refused| Error::new(refused.message))?,
            };
            let name = url.split(['?', '#']).next().unwrap_or(url).rsplit('/').next().unwrap_or_default();
            return listed(&String::from_utf8_lossy(&content), name).map(Some).ok_or_else(|| {
                Error::new(format!("the list of checksums {list} has none of the file `{name}`"))
            });
        }
        let (kind, digest) = match text.split_once(':') {
            Some((kind, digest)) => (kind.to_lowercase(), digest),
            None => (by_length(text).unwrap_or_default().to_owned(), text),
        };
        let right = by_length(digest) == Some(kind.as_str());
        if !right || !digest.chars().all(|c| c.is_ascii_hexdigit()) {
            return Err(Error::new(format!("`{text}` is no checksum")).hint(
                "such as `sha256:` and 64 hexadecimal digits, `file:` and the URL of a list, or `none`",
            ));
        }
        Ok(Some(Self { kind, digest: digest.to_lowercase() }))
    }

    fn check(&self, path: &Path, name: &str) -> Result<()> {
        let found = digest::named(&self.kind, path)?;
        if found == self.digest {
            return Ok(());
        }
        Err(Error::new(format!(
            "{name} is not what it should be: its {} is {found}, not {}",
            self.kind, self.digest
        ))
        .hint("was it changed at its source, or on the way? nothing of it was used"))
    }
}

fn by_length(digest: &str) -> Option<&'static str> {
    [(32, "md5"), (40, "sha1"), (56, "sha224"), (64, "sha256"), (96, "sha384"), (128, "sha512")]
        .into_iter()
        .find(|(length, _)| *length == digest.len())
        .map(|(_, kind)| kind)
}

/// A file's line of a list: `DIGITS  NAME` (or `*NAME`, or a path), or `SHA256 (NAME) = DIGITS`.
fn listed(list: &str, name: &str) -> Option<Checksum> {
    let is_meant = |shown: &str| shown.trim_start_matches('*').rsplit('/').next() == Some(name);
    list.lines().find_map(|line| {
        let (digest, shown) = match line.split_once(" (").and_then(|(_, rest)| rest.split_once(") = ")) {
            Some((shown, digest)) => (digest, shown),
            None => line.split_once(char::is_whitespace)?,
        };
        let (digest, kind) = (digest.trim().to_lowercase(), by_length(digest.trim())?);
        is_meant(shown.trim()).then(|| Checksum { kind: kind.to_owned(), digest })
    })
}

/// A file: where it lies if it is on this machine, else in the store, fetched unless it is there. With `anew` it is fetched
/// again if nothing says what it should be.
///
/// # Errors
/// What the last of its sources said, or what it should be and is not.
pub(crate) fn file(
    store: &Store,
    wanted: &Wanted<'_>,
    anew: bool,
    reporter: &dyn Reporter,
) -> Result<PathBuf> {
    let mut last = Error::new("no URL is given");
    for url in wanted.urls {
        match one(store, url, wanted, anew, reporter) {
            Ok(path) => return Ok(path),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn one(
    store: &Store,
    url: &str,
    wanted: &Wanted<'_>,
    anew: bool,
    reporter: &dyn Reporter,
) -> Result<PathBuf> {
    let checksum = Checksum::parse(wanted.checksum, url, wanted.folder)?;
    if let Some(path) = local(url, wanted.folder) {
        if !path.is_file() {
            return Err(Error::new(format!("the file {} is not there", path.display())));
        }
        if let Some(checksum) = &checksum {
            checksum.check(&path, url)?;
        }
        return Ok(fs::canonicalize(path)?);
    }
    let key = match &checksum {
        Some(checksum) => Key::new("download").with(&checksum.kind, &checksum.digest),
        None => Key::new("download").with("url", url),
    };
    let _lock = Lock::wait(store.lock(key.as_str()))?;
    fs::create_dir_all(store.downloads())?;
    let place = store.downloads().join(key.as_str());
    if place.is_file() {
        match &checksum {
            Some(checksum) if checksum.check(&place, url).is_ok() => return Ok(place),
            None if !anew => return Ok(place),
            // Rotten, or asked for anew.
            _ => fs::remove_file(&place)?,
        }
    }
    let step = Step::start(reporter, "download", &shown(url));
    let work = store.work()?;
    let path = work.path().join("part");
    let mut part = Part { file: fs::create(&path)?, length: 0, step: &step, told: Instant::now() };
    client().download(url, &[], &mut part).map_err(|refused| Error::new(refused.message))?;
    if let Some(checksum) = &checksum {
        checksum.check(&path, &shown(url))?;
    }
    part.file.sync_all().map_err(|e| Error::new(format!("cannot write `{}`: {e}", path.display())))?;
    fs::rename(&path, &place)?;
    step.finish("done");
    Ok(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_found_in_lists() {
        let sha = "a".repeat(64);
        let md5 = "b".repeat(32);
        for list in [
            format!("{sha}  one.iso\n{md5}  two.iso"),
            format!("{sha} *./dir/one.iso"),
            format!("SHA256 (one.iso) = {sha}"),
        ] {
            assert_eq!(
                listed(&list, "one.iso"),
                Some(Checksum { kind: "sha256".into(), digest: sha.clone() }),
                "{list}"
            );
        }
        assert_eq!(listed(&format!("{sha}  one.iso.old"), "one.iso"), None);
    }

    #[test]
    fn checksums_are_read() {
        let here = Path::new(".");
        assert_eq!(Checksum::parse("none", "x", here).expect("known"), None);
        for good in ["d".repeat(32), format!("md5:{}", "d".repeat(32)), format!("SHA512:{}", "d".repeat(128))]
        {
            assert!(Checksum::parse(&good, "x", here).expect("known").is_some(), "{good}");
        }
        for bad in ["", "abc", "sha256:abc", "md6:dddddddddddddddddddddddddddddddd"] {
            assert!(Checksum::parse(bad, "x", here).is_err(), "{bad}");
        }
    }
}
