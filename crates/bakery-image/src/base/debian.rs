//! Debian by mmdebstrap.

use std::path::{Path, PathBuf};

use bakery_host::{Cmd, command::find_program, fs};
use bakery_store::Key;

use crate::{Error, Result, fetch};

/// What a Debian image needs to boot, take its address by DHCP and be logged into.
pub(crate) const BOOT_PACKAGES: &[&str] = &[
    "systemd-sysv",
    "udev",
    "dbus",
    "linux-image-cloud-amd64",
    "initramfs-tools",
    "zstd",
    "grub-pc-bin",
    "grub-efi-amd64-bin",
    "ca-certificates",
    "iproute2",
    "e2fsprogs",
    "kmod",
    "openssh-server",
    "systemd-resolved",
    "procps",
    "netbase",
];

/// What an image with an XFS root needs besides, to grow it.
pub(crate) const XFS_PACKAGES: &[&str] = &["xfsprogs"];

/// A suite of Debian.
#[derive(Debug, Clone)]
pub struct Debian {
    /// Such as `bookworm`.
    pub(super) suite: String,
    /// The packages besides those that every system has.
    pub(super) packages: Vec<String>,
    /// The mirror; the host's own sources if not given.
    pub(super) mirror: Option<String>,
}

impl Debian {
    pub(super) fn key(&self) -> Key {
        Key::new("debian")
            .with("date", super::date())
            .with("suite", &self.suite)
            .with("packages", self.packages.join(","))
            .with("mirror", self.mirror.as_deref().unwrap_or("host"))
    }

    /// The digest of what the archive says of itself; nothing if it cannot be asked, or is named otherwise than by a URL.
    pub(super) fn resolved(&self) -> Option<String> {
        let lines = match &self.mirror {
            Some(mirror) => vec![format!("deb {mirror} {} main", self.suite)],
            None => sources(&self.suite),
        };
        let mut hasher = blake3::Hasher::new();
        for line in &lines {
            let words: Vec<&str> = line.split_whitespace().collect();
            let ["deb", url, suite, ..] = words.as_slice() else { return None };
            if !url.starts_with("http") {
                return None;
            }
            let url = format!("{}/dists/{suite}/InRelease", url.trim_end_matches('/'));
            hasher.update(fetch::told("GET", &url)?.1.as_bytes());
        }
        (!lines.is_empty()).then(|| hasher.finalize().to_hex().to_string())
    }

    /// Makes the tree in a new folder; `work` is a folder for the meantime.
    pub(super) fn make(&self, tree: &Path, work: &Path) -> Result<()> {
        if find_program("mmdebstrap").is_none() {
            return Err(Error::new("mmdebstrap is not installed")
                .hint("`bakery doctor` says what is missing and the command that installs it"));
        }
        let mut cmd = Cmd::new("mmdebstrap")
            .args(["--variant=minbase", "--mode=root", "--aptopt=APT::Install-Recommends \"false\""])
            .args((!self.packages.is_empty()).then(|| format!("--include={}", self.packages.join(","))))
            // The scratch folder's file system must allow devices and programs.
            .env("TMPDIR", work);
        if self.mirror.as_deref().is_some_and(is_of_a_day) {
            cmd = cmd.arg("--aptopt=Acquire::Check-Valid-Until \"false\"");
        }
        cmd = cmd.arg(&self.suite).arg(tree);
        match &self.mirror {
            Some(mirror) => cmd = cmd.arg(mirror),
            None => {
                for line in sources(&self.suite) {
                    cmd = cmd.arg(line);
                }
            }
        }
        cmd.run().map_err(|e| {
            Error::new(format!("the base system could not be made: {e}"))
                .hint("is there room where the store is, and is Debian's mirror reachable? proxies are taken from the environment")
        })?;
        Ok(())
    }
}

/// Whether a mirror is one of a day in the past, as snapshots of Debian's archive are (`…/20240101T000000Z/`): what it
/// says is valid no more, and is meant nevertheless.
fn is_of_a_day(mirror: &str) -> bool {
    mirror.split('/').any(|part| {
        part.len() == 16
            && part.bytes().enumerate().all(|(at, byte)| match at {
                8 => byte == b'T',
                15 => byte == b'Z',
                _ => byte.is_ascii_digit(),
            })
    })
}

/// The host's own sources of Debian, as one-line entries, so that proxies and mirrors of a site are used; none where
/// the host's are of another suite.
fn sources(suite: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    files.extend(fs::read_dir("/etc/apt/sources.list.d").unwrap_or_default());
    for file in files {
        let text = fs::read_to_string(&file).unwrap_or_default();
        if file.extension().is_some_and(|e| e == "sources") {
            for stanza in text.split("\n\n") {
                let field = |name: &str| {
                    stanza
                        .lines()
                        .filter(|l| !l.starts_with('#'))
                        .find_map(|l| l.strip_prefix(&format!("{name}:")).map(|v| v.trim().to_owned()))
                };
                let (Some(uris), Some(suites)) = (field("URIs"), field("Suites")) else { continue };
                for uri in uris.split_whitespace() {
                    for one in suites.split_whitespace() {
                        lines.push((
                            uri.to_owned(),
                            one.to_owned(),
                            field("Components").unwrap_or_else(|| "main".into()),
                            field("Signed-By"),
                        ));
                    }
                }
            }
        } else {
            for line in text.lines().filter(|l| l.starts_with("deb ")) {
                let words: Vec<&str> = line.split_whitespace().filter(|w| !w.starts_with('[')).collect();
                if let [_, uri, one, components @ ..] = words.as_slice() {
                    lines.push(((*uri).to_owned(), (*one).to_owned(), components.join(" "), None));
                }
            }
        }
    }
    lines
        .into_iter()
        .filter(|(_, one, components, signed)| {
            let ours = one == suite || one.strip_prefix(suite).is_some_and(|rest| rest.starts_with('-'));
            // Third parties name the suite too; Debian's own has `main` and Debian's keyring.
            ours && components.split_whitespace().any(|c| c == "main")
                && signed.as_ref().is_none_or(|s| s.contains("debian-archive"))
        })
        .map(|(uri, one, components, _)| format!("deb {uri} {one} {components}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::is_of_a_day;

    #[test]
    fn mirrors_of_a_day_are_told_from_others() {
        assert!(is_of_a_day("http://mirror/archive/debian/20240101T000000Z/"));
        assert!(!is_of_a_day("http://mirror/debian"));
        assert!(!is_of_a_day("http://mirror/20240101/debian"));
    }
}
