//! What an image starts from: a distribution by mmdebstrap, a root tarball, an OCI image, or an
//! image that was baked before.

use std::path::{Path, PathBuf};

use bakery_events::{Reporter, Step};
use bakery_host::{Cmd, command::find_program, fs, lock::Lock};
use bakery_store::{Image, Key, Store};

use crate::state::State;
use crate::{Error, Result, epoch};

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

/// A base.
#[derive(Debug, Clone)]
pub enum Base {
    /// A suite of Debian.
    Debian {
        /// Such as `bookworm`.
        suite: String,
        /// The packages besides those that every system has.
        packages: Vec<String>,
        /// The mirror; the host's own sources if not given.
        mirror: Option<String>,
    },
    /// A tarball of a root file system.
    Tarball(PathBuf),
    /// An image that was baked before.
    Image(Box<Image>),
    /// An OCI image: a layout's folder, its archive, or one of `docker save`.
    Oci(PathBuf),
}

impl Base {
    /// Reads `debian:SUITE`, or a path, as seen from a folder or from where we are.
    ///
    /// # Errors
    /// A base that is not known or not there.
    pub(crate) fn parse(
        store: &Store,
        name: &str,
        folder: &Path,
        packages: &[String],
        mirror: Option<&str>,
    ) -> Result<Self> {
        if let Some(suite) = name.strip_prefix("debian:") {
            let valid = !suite.is_empty() && suite.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
            if !valid {
                return Err(Error::new(format!("`{suite}` is no suite of Debian")));
            }
            return Ok(Self::Debian {
                suite: suite.to_owned(),
                packages: packages.to_vec(),
                mirror: mirror.map(str::to_owned),
            });
        }
        let oci = name.strip_prefix("oci:").or_else(|| name.strip_prefix("docker-archive:"));
        let named = Path::new(oci.unwrap_or(name));
        let path = Some(folder.join(named)).filter(|p| p.exists()).unwrap_or_else(|| named.to_path_buf());
        let known = "known: debian:SUITE, such as debian:bookworm; the path of a root tarball; the path of an OCI image (a layout's folder or an archive); the name or id of an image that was baked before";
        if path.is_dir() && crate::oci::is_image(&path) {
            return Ok(Self::Oci(fs::canonicalize(path)?));
        }
        if oci.is_some() || name.contains(".tar") || name.ends_with(".tgz") {
            if !path.is_file() {
                return Err(Error::new(format!("the base `{name}` is not there")).hint(known));
            }
            let path = fs::canonicalize(path)?;
            return Ok(if crate::oci::is_image(&path) { Self::Oci(path) } else { Self::Tarball(path) });
        }
        let earlier = name.strip_prefix("image:");
        match store.images().find(earlier.unwrap_or(name)) {
            Ok(image) => Ok(Self::Image(Box::new(image))),
            Err(error) if earlier.is_some() => Err(error.into()),
            Err(_) => Err(Error::new(format!("unknown base `{name}`")).hint(known)),
        }
    }

    /// The key of the base's layer. A suite is taken as it is until `--refresh` asks for it anew.
    pub(crate) fn key(&self) -> Result<Key> {
        let date = epoch::given().map(|date| date.to_string()).unwrap_or_default();
        Ok(match self {
            Self::Debian { suite, packages, mirror } => Key::new("debian")
                .with("date", date)
                .with("suite", suite)
                .with("packages", packages.join(","))
                .with("mirror", mirror.as_deref().unwrap_or("host")),
            Self::Tarball(path) => Key::new("tarball").with_file("bytes", path)?,
            Self::Image(image) => Key::new("image").with("key", &image.key),
            Self::Oci(path) if path.is_dir() => Key::new("oci").with_tree("layout", path, &|_| false)?,
            Self::Oci(path) => Key::new("oci").with_file("archive", path)?,
        })
    }

    /// What it is, in words.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Debian { suite, .. } => format!("debian:{suite}"),
            Self::Image(image) => format!("{} ({})", image.name, image.id),
            Self::Tarball(path) | Self::Oci(path) => path.display().to_string(),
        }
    }

    /// The state that it is, made unless it is there.
    pub(crate) fn state(&self, store: &Store, anew: bool, reporter: &dyn Reporter) -> Result<State> {
        let key = self.key()?;
        let step = Step::start(reporter, "base", &self.shown());
        // Several bakes may want the same base: one makes it, the others wait and take it.
        let _lock = Lock::wait(store.lock(key.as_str()))?;
        if !anew && let Some(state) = State::known(store, &key) {
            step.finish("cached");
            return Ok(state);
        }
        let work = store.work()?;
        let tree = work.path().join("tree");
        match self {
            Self::Debian { suite, packages, mirror } => {
                if find_program("mmdebstrap").is_none() {
                    return Err(Error::new("mmdebstrap is not installed")
                        .hint("`bakery doctor` says what is missing and the command that installs it"));
                }
                let mut cmd = Cmd::new("mmdebstrap")
                    .args(["--variant=minbase", "--mode=root", "--aptopt=APT::Install-Recommends \"false\""])
                    .args((!packages.is_empty()).then(|| format!("--include={}", packages.join(","))))
                    .arg(suite)
                    .arg(&tree)
                    // The scratch folder's file system must allow devices and programs.
                    .env("TMPDIR", work.path());
                match mirror {
                    Some(mirror) => cmd = cmd.arg(mirror),
                    None => {
                        for line in debian_sources(suite) {
                            cmd = cmd.arg(line);
                        }
                    }
                }
                cmd.run().map_err(|e| {
                    Error::new(format!("the base system could not be made: {e}"))
                        .hint("is there room where the store is, and is Debian's mirror reachable? proxies are taken from the environment")
                })?;
            }
            Self::Tarball(path) => {
                fs::create_dir_all(&tree)?;
                Cmd::new("tar")
                    .args(["--numeric-owner", "--xattrs", "--xattrs-include=*", "-xpf"])
                    .arg(path)
                    .arg("-C")
                    .arg(&tree)
                    .run()
                    .map_err(|e| Error::new(format!("the base tarball cannot be unpacked: {e}")))?;
            }
            Self::Image(image) => {
                let state = State { key, layers: crate::tree::layers(store, image)? };
                state.keep(store, &state.key)?;
                step.finish("cached");
                return Ok(state);
            }
            Self::Oci(path) => {
                let state = State { key, layers: crate::oci::read(store, path)? };
                state.keep(store, &state.key)?;
                step.finish("done");
                return Ok(state);
            }
        }
        if let Some(date) = epoch::given() {
            epoch::clamp(&tree, date)?;
        }
        let layers = vec![store.publish_layer(&tree, None, &self.shown())?];
        let state = State { key, layers };
        state.keep(store, &state.key)?;
        step.finish("done");
        Ok(state)
    }
}

/// The host's own sources of Debian, as one-line entries, so that proxies and mirrors of a site are used; none where
/// the host's are of another suite.
fn debian_sources(suite: &str) -> Vec<String> {
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
