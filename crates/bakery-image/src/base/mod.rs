//! What an image starts from: a distribution by mmdebstrap, a root tarball, a disk, an OCI image, or an image that was
//! baked before.

mod debian;

use std::path::{Path, PathBuf};

use bakery_events::{Reporter, Step};
use bakery_host::{fs, lock::Lock};
use bakery_store::record::Record;
use bakery_store::{Image, Key, Store};

use self::debian::Debian;
pub(crate) use self::debian::{BOOT_PACKAGES, XFS_PACKAGES};
use crate::disk::read::{self as disk, ENDINGS};
use crate::fetch::{self, Wanted};
use crate::state::State;
use crate::{Error, Result, epoch, oci};

/// A base.
#[derive(Debug, Clone)]
pub enum Base {
    /// A suite of Debian.
    Debian(Debian),
    /// A root tarball or a disk, by path or URL.
    File(File),
    /// An image that was baked before.
    Image(Box<Image>),
    /// An OCI image: a layout's folder, its archive, or one of `docker save`.
    Oci(PathBuf),
    /// An OCI image of a registry, as Docker names it.
    Registry(String),
}

/// A file that holds a root file system.
#[derive(Debug, Clone)]
pub struct File {
    url: String,
    /// As Packer writes it; `none` takes whatever comes.
    checksum: String,
    folder: PathBuf,
    is_disk: bool,
}

/// Which base will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// The one that is there, whatever its name has come to mean.
    Known,
    /// The one that is there, if its name still means the same.
    Unmoved,
    /// None but a new one.
    Anew,
}

/// What a builder says of its base.
pub(crate) struct Asked<'a> {
    /// What it is called.
    pub(crate) name: &'a str,
    /// What a file should be, as Packer writes it.
    pub(crate) checksum: Option<String>,
    /// The folder that paths are relative to.
    pub(crate) folder: &'a Path,
    /// Packages of a distribution that is made.
    pub(crate) packages: &'a [String],
    /// Where they come from.
    pub(crate) mirror: Option<String>,
    /// Whether a container is baked: what is nothing else is an image of a registry.
    pub(crate) is_container: bool,
}

const KNOWN: &str = "known: debian:SUITE, such as debian:bookworm; the path or URL of a root tarball or of a disk (qcow2, raw …); the path of an OCI image (a layout's folder or an archive); docker://NAME for one of a registry; the name or id of an image that was baked before";

/// The date that things are made for, if there is one.
fn date() -> String {
    epoch::given().map(|date| date.to_string()).unwrap_or_default()
}

impl Base {
    /// Reads what a builder says of its base. Paths are seen from the template's folder or from where we are.
    ///
    /// # Errors
    /// A base that is not known or not there.
    pub(crate) fn parse(store: &Store, asked: &Asked<'_>) -> Result<Self> {
        let name = asked.name;
        if let Some(suite) = name.strip_prefix("debian:") {
            let of_debian = !suite.is_empty() && suite.bytes().all(|c| c.is_ascii_alphabetic() || c == b'-');
            if of_debian && !(asked.is_container && suite.contains('-')) {
                let (packages, mirror) = (asked.packages.to_vec(), asked.mirror.clone());
                return Ok(Self::Debian(Debian { suite: suite.to_owned(), packages, mirror }));
            }
            if !asked.is_container {
                return Err(Error::new(format!("`{suite}` is no suite of Debian")));
            }
        }
        if let Some(reference) = name.strip_prefix("docker://") {
            return Ok(Self::Registry(reference.to_owned()));
        }
        let oci = name.strip_prefix("oci:").or_else(|| name.strip_prefix("docker-archive:"));
        let is_disk = ENDINGS.iter().any(|ending| name.ends_with(ending));
        let is_file = is_disk || oci.is_some() || name.contains(".tar") || name.ends_with(".tgz");
        let checksum = asked.checksum.clone().unwrap_or_else(|| "none".into());
        if let Some((scheme, _)) = name.split_once("://") {
            if !matches!(scheme, "http" | "https" | "file") || !is_file {
                return Err(Error::new(format!("unknown base `{name}`")).hint(KNOWN));
            }
            let (url, folder) = (name.to_owned(), asked.folder.to_path_buf());
            return Ok(Self::File(File { url, checksum, folder, is_disk }));
        }
        let named = Path::new(oci.unwrap_or(name));
        let path =
            Some(asked.folder.join(named)).filter(|p| p.exists()).unwrap_or_else(|| named.to_path_buf());
        if path.is_dir() && oci::is_image(&path) {
            return Ok(Self::Oci(fs::canonicalize(path)?));
        }
        if is_file {
            if !path.is_file() {
                return Err(Error::new(format!("the base `{name}` is not there")).hint(KNOWN));
            }
            let path = fs::canonicalize(path)?;
            if !is_disk && oci::is_image(&path) {
                return Ok(Self::Oci(path));
            }
            let (url, folder) = (path.display().to_string(), asked.folder.to_path_buf());
            return Ok(Self::File(File { url, checksum, folder, is_disk }));
        }
        let earlier = name.strip_prefix("image:");
        match store.images().find(earlier.unwrap_or(name)) {
            Ok(image) => Ok(Self::Image(Box::new(image))),
            Err(error) if earlier.is_some() => Err(error.into()),
            Err(_) if asked.is_container => Ok(Self::Registry(name.to_owned())),
            Err(_) => Err(Error::new(format!("unknown base `{name}`")).hint(KNOWN)),
        }
    }

    /// The key of the base's layer; files that are here are read for it. What is elsewhere is taken as it is until `--refresh` asks for it anew.
    pub(crate) fn key(&self) -> Result<Key> {
        Ok(match self {
            Self::Debian(debian) => debian.key(),
            Self::File(file) => file.key()?,
            Self::Image(image) => Key::new("image").with("key", &image.key),
            Self::Oci(path) if path.is_dir() => Key::new("oci").with_tree("layout", path, &|_| false)?,
            Self::Oci(path) => Key::new("oci").with_file("archive", path)?,
            Self::Registry(reference) => Key::new("registry").with("reference", reference),
        })
    }

    /// What it is, in words.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Debian(debian) => format!("debian:{}", debian.suite),
            Self::File(file) => bakery_galaxy::http::shown(&file.url),
            Self::Image(image) => format!("{} ({})", image.name, image.id),
            Self::Oci(path) => path.display().to_string(),
            Self::Registry(reference) => reference.clone(),
        }
    }

    /// The state that it is, made unless it is there as it is wished; `key` is that of [`Base::key`].
    pub(crate) fn state(
        &self,
        store: &Store,
        key: &Key,
        wish: Wish,
        reporter: &dyn Reporter,
    ) -> Result<State> {
        let step = Step::start(reporter, "base", &self.shown());
        // Several bakes may want the same base: one makes it, the others wait and take it.
        let _lock = Lock::wait(store.lock(key.as_str()))?;
        let known = if wish == Wish::Anew { None } else { State::known(store, key) };
        if wish == Wish::Known
            && let Some(state) = known
        {
            step.finish("cached");
            return Ok(state);
        }
        let resolved = self.resolved();
        let before = store.record(key).and_then(|record| record.resolved);
        if resolved.is_some()
            && resolved == before
            && let Some(state) = known
        {
            step.finish("has not moved");
            return Ok(state);
        }
        let work = store.work()?;
        let mut settings = None;
        let mut image = |path: &Path| -> Result<Vec<Key>> {
            let (layers, said) = oci::read(store, path)?;
            settings = Some(said);
            Ok(layers)
        };
        let layers = match self {
            Self::Image(image) => crate::tree::layers(store, image)?,
            Self::Oci(path) => image(path)?,
            Self::Registry(reference) => image(&pulled(reference, work.path())?)?,
            Self::Debian(debian) => {
                let tree = work.path().join("tree");
                debian.make(&tree, work.path())?;
                vec![self.published(store, &tree)?]
            }
            Self::File(file) => {
                let wanted = Wanted {
                    urls: std::slice::from_ref(&file.url),
                    checksum: &file.checksum,
                    folder: &file.folder,
                };
                let path = fetch::file(store, &wanted, wish != Wish::Known, reporter)?;
                if !file.is_disk && oci::is_image(&path) {
                    image(&path)?
                } else {
                    let tree = work.path().join("tree");
                    fs::create_dir_all(&tree)?;
                    if file.is_disk {
                        disk::read(&path, &tree, work.path())?;
                    } else {
                        oci::unpack(&path, &tree)
                            .map_err(|e| Error::new(format!("the base tarball cannot be unpacked: {e}")))?;
                    }
                    vec![self.published(store, &tree)?]
                }
            }
        };
        let state = State { key: key.clone(), layers };
        let record = Record { layers: Some(state.layers.clone()), settings, resolved, ..Record::default() };
        store.keep_record(&state.key, &record)?;
        step.finish(if matches!(self, Self::Image(_)) { "cached" } else { "done" });
        Ok(state)
    }

    /// What its name means now, asked of whoever has it; nothing where that cannot be said, or where nothing else can be meant.
    fn resolved(&self) -> Option<String> {
        match self {
            Self::Debian(debian) => debian.resolved(),
            Self::File(file) => fetch::mark(&file.url),
            Self::Registry(reference) => {
                let asked = oci::skopeo()
                    .ok()?
                    .args(["inspect", "--no-tags", "--format", "{{.Digest}}"])
                    .arg(format!("docker://{reference}"))
                    .timeout(fetch::PATIENCE)
                    .output();
                asked.ok().filter(bakery_host::Output::success).map(|output| output.text().trim().to_owned())
            }
            Self::Image(_) | Self::Oci(_) => None,
        }
    }

    /// What containers of it are started with, if it says so.
    pub(crate) fn settings(&self, store: &Store, key: &Key) -> Option<serde_json::Value> {
        match self {
            Self::Image(image) => image.settings.clone(),
            _ => store.record(key).and_then(|record| record.settings),
        }
    }

    fn published(&self, store: &Store, tree: &Path) -> Result<Key> {
        if let Some(date) = epoch::given() {
            epoch::clamp(tree, date)?;
        }
        Ok(store.publish_layer(tree, None, &self.shown())?)
    }
}

impl File {
    fn key(&self) -> Result<Key> {
        let kind = if self.is_disk { "disk" } else { "tarball" };
        let path = Path::new(&self.url);
        Ok(if path.is_absolute() {
            Key::new(kind).with_file("bytes", path)?
        } else {
            Key::new(kind).with("url", &self.url).with("checksum", &self.checksum)
        })
    }
}

/// An image of a registry as a layout's folder.
fn pulled(reference: &str, work: &Path) -> Result<PathBuf> {
    let layout = work.join("pulled");
    oci::skopeo()?
        .args(["copy", "--quiet"])
        .arg(format!("docker://{reference}"))
        .arg(format!("oci:{}:latest", layout.display()))
        .run()
        .map_err(|e| Error::new(format!("the image {reference} cannot be had from its registry: {e}")))?;
    Ok(layout)
}
