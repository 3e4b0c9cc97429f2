//! What a module in Python needs besides itself, for targets that do not have it: ansible-core's module utilities, those of
//! its collection, of the playbook and of its roles, in one archive under its digest. A target keeps it, so that it is sent
//! once (`ansible/executor/module_common.py` sends it with every task).

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bakery_host::fs;
use flate2::{Compression, write::GzEncoder};

use crate::{Error, Result};

/// An archive, and the folders in it.
#[derive(Debug)]
pub(crate) struct Bundle {
    /// BLAKE3 of the archive, in hexadecimal, shortened.
    pub(crate) digest: String,
    /// A gzipped tar archive.
    pub(crate) bytes: Vec<u8>,
    /// Folders of further module utilities.
    pub(crate) utils: Vec<String>,
}

/// The bundle for a module that needs collections, named `namespace.collection`; each is made once. What these need of
/// others is in it, too.
///
/// # Errors
/// What cannot be read.
pub(crate) fn of(
    paths: &[PathBuf],
    utils: &[PathBuf],
    collections: &BTreeSet<String>,
) -> Result<Arc<Bundle>> {
    type Made = HashMap<(Vec<PathBuf>, Vec<PathBuf>, BTreeSet<String>), Arc<Bundle>>;
    static MADE: OnceLock<Mutex<Made>> = OnceLock::new();
    // Modules of the same collection share one.
    let key = (paths.to_vec(), utils.to_vec(), collections.clone());
    let made = MADE.get_or_init(Mutex::default);
    if let Some(known) = made.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return Ok(Arc::clone(known));
    }
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for root in paths {
        let core = root.join("ansible");
        if core.is_dir() {
            put(&mut archive, "ansible/__init__.py", PACKAGE.as_bytes())?;
        }
        add(&mut archive, &core.join("release.py"), "ansible/release.py")?;
        tree(&mut archive, &core.join("module_utils"), "ansible/module_utils")?;
    }
    let mut seen = BTreeSet::new();
    let mut waiting = collections.clone();
    while let Some(collection) = waiting.pop_first() {
        let folder = format!("ansible_collections/{}", collection.replacen('.', "/", 1));
        for root in paths {
            for part in ["plugins/module_utils", "plugins/modules"] {
                let named = tree(&mut archive, &root.join(&folder).join(part), &format!("{folder}/{part}"))?;
                // Of the modules one is run, and its text is known: utilities name what else is needed.
                if part.ends_with("utils") {
                    waiting.extend(named);
                }
            }
        }
        seen.insert(collection);
        waiting.retain(|name| !seen.contains(name));
    }
    let mut names = Vec::new();
    for (at, folder) in utils.iter().enumerate() {
        let name = format!("utils/{at}");
        tree(&mut archive, folder, &name)?;
        names.push(name);
    }
    let packed = archive.into_inner().and_then(GzEncoder::finish);
    let bytes = packed.map_err(|e| Error::message(format!("the module utilities cannot be packed: {e}")))?;
    let digest = blake3::hash(&bytes).to_hex()[..16].to_owned();
    let bundle = Arc::new(Bundle { digest, bytes, utils: names });
    made.lock().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::clone(&bundle));
    Ok(bundle)
}

/// The package that the utilities are in, without what only a controller needs.
const PACKAGE: &str = "from pkgutil import extend_path\n__path__ = extend_path(__path__, __name__)\nfrom ansible.release import __version__\n";

/// The collections that a text in Python names, as `namespace.collection`.
pub(crate) fn collections_in(text: &str) -> BTreeSet<String> {
    let is_name =
        |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    text.split("ansible_collections.")
        .skip(1)
        .filter_map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.');
            let mut words = rest[..end.unwrap_or(rest.len())].split('.');
            let (namespace, name) = (words.next().filter(is_name)?, words.next().filter(is_name)?);
            Some(format!("{namespace}.{name}"))
        })
        .collect()
}

type Archive = tar::Builder<GzEncoder<Vec<u8>>>;

/// Adds the Python files of a folder, if it is there; the collections that they name.
fn tree(archive: &mut Archive, folder: &Path, name: &str) -> Result<BTreeSet<String>> {
    let mut named = BTreeSet::new();
    if !folder.is_dir() {
        return Ok(named);
    }
    for path in fs::walk(folder)? {
        let python = path.extension().is_some_and(|end| end == "py");
        if let (true, Ok(rest)) = (python && path.is_file(), path.strip_prefix(folder)) {
            let bytes = fs::read(&path)?;
            named.extend(collections_in(&String::from_utf8_lossy(&bytes)));
            put(archive, &format!("{name}/{}", rest.display()), &bytes)?;
        }
    }
    Ok(named)
}

fn add(archive: &mut Archive, path: &Path, name: &str) -> Result<()> {
    if !path.is_file() {
        return Ok(());
    }
    put(archive, name, &fs::read(path)?)
}

fn put(archive: &mut Archive, name: &str, bytes: &[u8]) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    // The same files give the same digest, whenever they were written.
    header.set_mtime(0);
    header.set_mode(0o644);
    archive
        .append_data(&mut header, name, bytes)
        .map_err(|e| Error::message(format!("{name} cannot be packed: {e}")))
}
