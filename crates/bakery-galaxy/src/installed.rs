//! What is installed: lists, removal, and whether it still is what was installed.

use std::path::{Path, PathBuf};

use bakery_host::fs;
use serde::Serialize;

use crate::install::{Places, Record, differing, noted_version, record, role_files};
use crate::requirements::Kind;
use crate::tree::Tree;
use crate::{Error, Result, collection};

/// Something installed.
#[derive(Debug, Clone, Serialize)]
pub struct Installed {
    /// Its name.
    pub name: String,
    /// Its version, as far as it is known.
    pub version: Option<String>,
    /// Where it is.
    pub place: PathBuf,
    /// What is known of its origin.
    pub record: Option<Record>,
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The roles of a folder, sorted: folders with a `meta/main.yml`, as ansible-galaxy lists them, and those that bakery
/// installed.
///
/// # Errors
/// When the folder cannot be read.
pub fn roles(folder: &Path) -> Result<Vec<Installed>> {
    let places = Places { roles: folder.to_path_buf(), collections: PathBuf::new() };
    let mut out = Vec::new();
    for path in fs::read_dir(folder)? {
        let name = file_name(&path);
        let record = record(&places, Kind::Role, &name);
        let meta = ["meta/main.yml", "meta/main.yaml"].iter().any(|m| path.join(m).is_file());
        if name.starts_with('.') || !(meta || record.is_some()) {
            continue;
        }
        let version = noted_version(&path).filter(|v| !v.is_empty());
        out.push(Installed { name, version, place: path, record });
    }
    Ok(out)
}

/// The collections of a folder and their versions, sorted.
pub fn collections(places: &Places) -> Vec<(String, String)> {
    let mut out = Vec::new();
    for namespace in fs::read_dir(places.namespaces()).unwrap_or_default() {
        if file_name(&namespace).starts_with('.') || file_name(&namespace).ends_with(".info") {
            continue;
        }
        for path in fs::read_dir(&namespace).unwrap_or_default().into_iter().filter(|p| p.is_dir()) {
            // Only what says what it is; reading all of its files is not needed for that.
            let mut tree = Tree::default();
            for file in [collection::MANIFEST, "galaxy.yml"] {
                if let Ok(bytes) = fs::read(path.join(file)) {
                    tree.insert(file, crate::tree::Entry::File { bytes, executable: false, modified: 0 });
                }
            }
            match collection::about(&tree) {
                Ok(about) => out.push((about.name, about.version)),
                Err(_) => out.push((format!("{}.{}", file_name(&namespace), file_name(&path)), "*".into())),
            }
        }
    }
    out.sort();
    out
}

/// Removes a role.
///
/// # Errors
/// When it cannot be removed. Whether it was there is the answer.
pub fn remove_role(folder: &Path, name: &str) -> Result<bool> {
    let place = folder.join(name);
    let inside = Path::new(name).components().all(|c| matches!(c, std::path::Component::Normal(_)));
    if !inside || name.starts_with('.') {
        return Err(Error::new(format!("`{name}` is no name of a role")));
    }
    let parts = ["meta", "tasks", "defaults", "handlers", "vars", "templates", "files"];
    if !parts.iter().any(|p| place.join(p).is_dir()) {
        return Ok(false);
    }
    fs::remove_all(place)?;
    Ok(true)
}

/// Removes a collection and what is known of its origin.
///
/// # Errors
/// When it cannot be removed. Whether it was there is the answer.
pub fn remove_collection(places: &Places, name: &str) -> Result<bool> {
    if !crate::requirements::is_collection_name(name) {
        return Err(Error::new(format!("`{name}` is no name of a collection")));
    }
    let place = places.place(Kind::Collection, name);
    if !place.is_dir() {
        return Ok(false);
    }
    fs::remove_all(&place)?;
    for path in places.info_folders(name) {
        fs::remove_all(path)?;
    }
    if let Some(namespace) = place.parent().filter(|n| fs::read_dir(n).is_ok_and(|all| all.is_empty())) {
        fs::remove_all(namespace)?;
    }
    Ok(true)
}

/// The paths in an installed role that are not what was installed; `None` if nobody knows what was.
///
/// # Errors
/// When its files cannot be read.
pub fn changed_role(folder: &Path, name: &str) -> Result<Option<Vec<String>>> {
    let places = Places { roles: folder.to_path_buf(), collections: PathBuf::new() };
    let Some(record) = record(&places, Kind::Role, name) else { return Ok(None) };
    Ok(Some(differing(&record.files, &role_files(&folder.join(name))?)))
}

/// The paths in an installed collection that are not what its own list says.
///
/// # Errors
/// When it is not there, or has no list.
pub fn changed_collection(places: &Places, name: &str) -> Result<Vec<String>> {
    let place = places.place(Kind::Collection, name);
    if !place.is_dir() {
        return Err(Error::new(format!(
            "the collection {name} is not installed in {}",
            places.collections.display()
        )));
    }
    collection::changed(&Tree::from_folder(&place)?)
}
