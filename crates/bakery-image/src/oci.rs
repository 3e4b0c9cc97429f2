//! OCI images: a stack of layers as an archive that any container runtime takes, and such archives as bases.
//!
//! Follows the OCI image specification 1.0 (image layout, manifest, configuration); archives of `docker save` are read
//! by their `manifest.json`.

use std::io::{BufReader, BufWriter, Read, Seek as _, Write};
use std::path::{Path, PathBuf};

use bakery_host::{Cmd, fs};
use bakery_packer::Component;
use bakery_store::{Key, Store};
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

use crate::archive::{self, Merged};
use crate::digest::{self, Hashing, hex};
use crate::{Error, Result};

/// Runtimes mount so many layers; what is above them becomes one.
const MOST_LAYERS: usize = 100;
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Writes layers as an OCI archive to a new file, `created` in seconds since 1970.
pub(crate) fn write(
    store: &Store,
    layers: &[Key],
    builder: &Component,
    name: &str,
    created: i64,
    to: &Path,
) -> Result<()> {
    let work = store.work()?;
    let blobs = work.path().join("blobs");
    fs::create_dir_all(&blobs)?;
    let bad = |e: std::io::Error| Error::new(format!("cannot write `{}`: {e}", to.display()));
    let gone = || Error::new("a layer is gone from the store");
    let deltas = layers.iter().map(|id| store.layer(id).ok_or_else(gone)).collect::<Result<Vec<_>>>()?;
    let created = bakery_store::time(created);
    let (mut descriptors, mut digests, mut history) = (Vec::new(), Vec::new(), Vec::new());
    let last = deltas.len().min(MOST_LAYERS);
    for at in 0..last {
        let group = if at + 1 == last { &deltas[at..] } else { &deltas[at..=at] };
        let part = blobs.join("part");
        let file = BufWriter::new(fs::create(&part)?);
        let mut hashing = Hashing::<_, Sha256>::new(file);
        Merged::of(group)?.write(&mut hashing, true)?;
        let size = hashing.length;
        let digest = hashing.finish();
        fs::rename(&part, blobs.join(&digest))?;
        descriptors.push(json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": format!("sha256:{digest}"),
            "size": size,
        }));
        digests.push(format!("sha256:{digest}"));
        let made_by = store.layer_info(&layers[at]).map(|l| l.made_by).unwrap_or_default();
        history.push(json!({ "created": created, "created_by": made_by }));
    }
    let blob = |content: &Json, kind: &str| -> Result<Json> {
        let text = serde_json::to_vec(content).unwrap_or_default();
        let digest = hex(&Sha256::digest(&text));
        fs::write_atomic(blobs.join(&digest), &text)?;
        Ok(json!({ "mediaType": kind, "digest": format!("sha256:{digest}"), "size": text.len() }))
    };
    let config = json!({
        "created": created,
        "architecture": architecture(),
        "os": "linux",
        "config": settings(builder)?,
        "rootfs": { "type": "layers", "diff_ids": digests },
        "history": history,
    });
    let config = blob(&config, "application/vnd.oci.image.config.v1+json")?;
    let manifest =
        json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": descriptors });
    let mut manifest = blob(&manifest, MANIFEST)?;
    manifest["annotations"] =
        json!({ "org.opencontainers.image.ref.name": "latest", "org.opencontainers.image.title": name });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    let mut archive = tar::Builder::new(BufWriter::new(fs::create(to)?));
    let mut add = |path: &str, size: u64, content: &mut dyn Read| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(size);
        archive.append_data(&mut header, path, content).map_err(bad)
    };
    let layout = br#"{"imageLayoutVersion":"1.0.0"}"#;
    add("oci-layout", layout.len() as u64, &mut layout.as_slice())?;
    let index = serde_json::to_vec(&index).unwrap_or_default();
    add("index.json", index.len() as u64, &mut index.as_slice())?;
    for path in fs::read_dir(&blobs)? {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let size = fs::metadata(&path)?.len();
        add(&format!("blobs/sha256/{name}"), size, &mut BufReader::new(fs::open(&path)?))?;
    }
    archive.into_inner().and_then(|mut to| to.flush()).map_err(bad)
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// What a container is started with: the lines of `changes`, as Packer's `docker` builder takes them.
fn settings(builder: &Component) -> Result<Json> {
    let mut settings = json!({ "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["/bin/sh"] });
    for line in builder.list("changes") {
        let (word, rest) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
        let rest = rest.trim();
        // A list of words, or a line for the shell.
        let words = || match serde_json::from_str::<Vec<String>>(rest) {
            Ok(words) => json!(words),
            Err(_) => json!(["/bin/sh", "-c", rest]),
        };
        let pair = || {
            let (key, value) =
                rest.split_once('=').or_else(|| rest.split_once(char::is_whitespace)).unwrap_or((rest, ""));
            (key.trim().to_owned(), value.trim().trim_matches('"').to_owned())
        };
        match word.to_uppercase().as_str() {
            "CMD" => settings["Cmd"] = words(),
            "ENTRYPOINT" => {
                settings["Entrypoint"] = words();
                settings["Cmd"] = Json::Null;
            }
            "ENV" => {
                let (key, value) = pair();
                if let Some(env) = settings["Env"].as_array_mut() {
                    env.retain(|e| !e.as_str().is_some_and(|e| e.starts_with(&format!("{key}="))));
                    env.push(json!(format!("{key}={value}")));
                }
            }
            "EXPOSE" => {
                let port = if rest.contains('/') { rest.to_owned() } else { format!("{rest}/tcp") };
                settings["ExposedPorts"][port] = json!({});
            }
            "LABEL" => {
                let (key, value) = pair();
                settings["Labels"][key] = json!(value);
            }
            "USER" => settings["User"] = json!(rest),
            "VOLUME" => settings["Volumes"][rest] = json!({}),
            "WORKDIR" => settings["WorkingDir"] = json!(rest),
            other => {
                return Err(Error::new(format!("`changes` has the instruction `{other}`"))
                    .hint("known: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, USER, VOLUME, WORKDIR"));
            }
        }
    }
    Ok(settings)
}

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

/// Reads an image into layers of the store, the lowest first.
pub(crate) fn read(store: &Store, path: &Path) -> Result<Vec<Key>> {
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
    for blob in blobs(&folder)? {
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
    Ok(stack)
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

/// The files of an unpacked image's layers, their digests checked.
fn blobs(folder: &Path) -> Result<Vec<PathBuf>> {
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
        return names.iter().filter_map(Json::as_str).map(inside).collect();
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
        let ours = |m: &&Json| m["platform"]["architecture"].as_str().is_none_or(|a| a == architecture());
        let chosen = choices.iter().find(ours).ok_or_else(|| {
            Error::new(format!("the image has nothing for the architecture {}", architecture()))
        })?;
        manifest = document(&blob(chosen)?)?;
    }
    let layers = manifest["layers"].as_array().cloned().unwrap_or_default();
    layers.iter().map(blob).collect()
}
