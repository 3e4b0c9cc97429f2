//! OCI images and archives of `docker save` into layers.

use std::io::{BufReader, Read as _, Seek as _};
use std::path::{Path, PathBuf};

use bakery_host::{Cmd, fs};
use bakery_store::{Key, Store};
use serde_json::Value as Json;
use sha2::Sha256;

use crate::{Error, Result, archive, digest};

/// Whether a file or folder looks like an OCI image or an archive of `docker save`.
pub(crate) fn is_image(path: &Path) -> bool {
    if path.is_dir() {
        return path.join("oci-layout").is_file() || path.join("manifest.json").is_file();
    }
    let Ok(file) = fs::open(path) else { return false };
    let mut archive = tar::Archive::new(BufReader::new(file));
    let Ok(entries) = archive.entries() else { return false };
    entries.take(64).flatten().any(|entry| {
        entry.path().is_ok_and(|p| {
            let p = p.strip_prefix(".").unwrap_or(&p);
            p == Path::new("oci-layout") || p == Path::new("manifest.json")
        })
    })
}

/// Reads an image into layers of the store, the lowest first, and what containers of it are started with.
pub(crate) fn read(store: &Store, path: &Path) -> Result<(Vec<Key>, Json)> {
    let work = store.work()?;
    let folder = if path.is_dir() {
        path.to_path_buf()
    } else {
        let folder = work.path().join("image");
        fs::create_dir_all(&folder)?;
        unpack(path, &folder)?;
        folder
    };
    let mut stack: Vec<Key> = Vec::new();
    let (blobs, settings) = parts(&folder)?;
    for blob in blobs {
        let delta = work.path().join("delta");
        fs::create_dir_all(&delta)?;
        unpack(&blob, &delta)?;
        archive::hide(&delta)?;
        let made_by = format!("layer {} of {}", stack.len() + 1, path.display());
        stack.push(store.publish_layer(&delta, stack.last(), &made_by)?);
        fs::remove_all(&delta)?;
    }
    if stack.is_empty() {
        return Err(Error::new(format!("the image {} has no layers", path.display())));
    }
    Ok((stack, settings))
}

/// By its first bytes, whatever its name: what was fetched has none.
pub(crate) fn unpack(archive: &Path, folder: &Path) -> Result<()> {
    let mut start = [0u8; 4];
    let mut file = fs::open(archive)?;
    let read = file.read(&mut start).and_then(|_| file.rewind());
    read.map_err(|e| Error::new(format!("cannot read `{}`: {e}", archive.display())))?;
    let compression = match start {
        [0x1f, 0x8b, ..] => Some("--gzip"),
        [0x28, 0xb5, 0x2f, 0xfd] => Some("--zstd"),
        [0xfd, b'7', b'z', b'X'] => Some("--xz"),
        [b'B', b'Z', b'h', _] => Some("--bzip2"),
        _ => None,
    };
    Cmd::new("tar")
        .args(["--numeric-owner", "--xattrs", "--xattrs-include=*"])
        .args(compression)
        .arg("-xpf")
        .arg(archive)
        .arg("-C")
        .arg(folder)
        .run()
        .map_err(|e| Error::new(format!("`{}` cannot be unpacked: {e}", archive.display())))?;
    Ok(())
}

fn document(path: &Path) -> Result<Json> {
    let bad =
        |e: serde_json::Error| Error::new(format!("`{}` is not what it should be: {e}", path.display()));
    serde_json::from_slice(&fs::read(path)?).map_err(bad)
}

/// The files of an unpacked image's layers, their digests checked, and its `config`.
fn parts(folder: &Path) -> Result<(Vec<PathBuf>, Json)> {
    let inside = |name: &str| -> Result<PathBuf> {
        let safe = Path::new(name).components().all(|c| matches!(c, std::path::Component::Normal(_)));
        if safe {
            Ok(folder.join(name))
        } else {
            Err(Error::new(format!("the image names the file `{name}`")))
        }
    };
    if !folder.join("oci-layout").is_file() {
        let saved = document(&folder.join("manifest.json"))?;
        let names = saved[0]["Layers"].as_array().cloned().unwrap_or_default();
        let layers = names.iter().filter_map(Json::as_str).map(inside).collect::<Result<_>>()?;
        let mut config = match saved[0]["Config"].as_str() {
            Some(name) => document(&inside(name)?)?,
            None => Json::Null,
        };
        return Ok((layers, config["config"].take()));
    }
    let blob = |descriptor: &Json| -> Result<PathBuf> {
        let wanted = descriptor["digest"].as_str().unwrap_or_default();
        let path = inside(&format!("blobs/{}", wanted.replacen(':', "/", 1)))?;
        let found = format!("sha256:{}", digest::of_file::<Sha256>(&path)?);
        if found != wanted {
            return Err(Error::new(format!(
                "a part of the image is damaged: it should be {wanted} and is {found}"
            )));
        }
        Ok(path)
    };
    let mut manifest = document(&folder.join("index.json"))?;
    // An index may lead to others, one for each architecture.
    for _ in 0..4 {
        let Some(choices) = manifest["manifests"].as_array() else { break };
        let ours =
            |m: &&Json| m["platform"]["architecture"].as_str().is_none_or(|a| a == super::architecture());
        let chosen = choices.iter().find(ours).ok_or_else(|| {
            Error::new(format!("the image has nothing for the architecture {}", super::architecture()))
        })?;
        manifest = document(&blob(chosen)?)?;
    }
    let layers = manifest["layers"].as_array().cloned().unwrap_or_default();
    let mut config =
        if manifest["config"].is_object() { document(&blob(&manifest["config"])?)? } else { Json::Null };
    Ok((layers.iter().map(blob).collect::<Result<_>>()?, config["config"].take()))
}
