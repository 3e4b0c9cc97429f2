//! The date of a build that must come out the same anywhere (`SOURCE_DATE_EPOCH` of reproducible-builds.org): nothing in
//! it is newer.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use bakery_host::fs;
use bakery_store::{Key, Store};

use crate::Result;

/// The date that was given, in seconds since 1970.
pub(crate) fn given() -> Option<i64> {
    std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.trim().parse().ok())
}

/// The date of an image: the one that was given, else when its base was made.
pub(crate) fn of(store: &Store, layers: &[Key]) -> i64 {
    let base = layers.first().and_then(|id| store.layer_info(id)).map(|base| base.created);
    given().or_else(|| bakery_store::seconds(&base?)).unwrap_or(0)
}

/// Gives everything below a folder that is newer than a date that date, and the folder itself.
pub(crate) fn clamp(folder: &Path, seconds: i64) -> Result<()> {
    // Children first: what is written into a folder changes it.
    for path in fs::walk(folder)?.iter().rev().map(std::path::PathBuf::as_path).chain([folder]) {
        if fs::symlink_metadata(path)?.mtime() >= seconds {
            fs::set_mtime(path, seconds)?;
        }
    }
    Ok(())
}
