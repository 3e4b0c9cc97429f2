//! OCI images: a stack of layers as an archive that any container runtime takes, and such archives as bases.
//!
//! Follows the OCI image specification 1.0 (image layout, manifest, configuration); archives of `docker save` are read
//! by their `manifest.json`.

mod read;

use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use bakery_host::command::find_program;
use bakery_host::{Cmd, fs};
use bakery_packer::Component;
use bakery_store::{Key, Store};
use serde_json::{Value as Json, json};
use sha2::{Digest as _, Sha256};

use crate::archive::Merged;
use crate::digest::{Hashing, hex};
use crate::{Error, Result};

pub(crate) use self::read::{is_image, read, unpack};

/// Runtimes mount so many layers; what is above them becomes one.
const MOST_LAYERS: usize = 100;
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// A layer that is written when it is asked for.
pub(crate) type Layer<'a> = &'a dyn Fn(&mut dyn Write) -> Result<()>;

/// Writes layers of the store as an OCI archive to a new file, `created` in seconds since 1970.
pub(crate) fn write(
    store: &Store,
    layers: &[Key],
    settings: &Json,
    name: &str,
    created: i64,
    to: &Path,
) -> Result<()> {
    let gone = || Error::new("a layer is gone from the store");
    let deltas = layers.iter().map(|id| store.layer(id).ok_or_else(gone)).collect::<Result<Vec<_>>>()?;
    let last = deltas.len().min(MOST_LAYERS);
    let made_by: Vec<String> =
        layers.iter().map(|id| store.layer_info(id).map(|l| l.made_by).unwrap_or_default()).collect();
    let writers: Vec<_> = (0..last)
        .map(|at| {
            let group = if at + 1 == last { &deltas[at..] } else { &deltas[at..=at] };
            move |out: &mut dyn Write| Merged::of(group)?.write(out, true)
        })
        .collect();
    let parts: Vec<(&str, Layer<'_>)> =
        made_by.iter().zip(&writers).map(|(by, writer)| (by.as_str(), writer as Layer<'_>)).collect();
    write_layers(store, &parts, settings, name, created, to)
}

/// Writes layers, with what made each, as an OCI archive to a new file.
pub(crate) fn write_layers(
    store: &Store,
    layers: &[(&str, Layer<'_>)],
    settings: &Json,
    name: &str,
    created: i64,
    to: &Path,
) -> Result<()> {
    let work = store.work()?;
    let blobs = work.path().join("blobs");
    fs::create_dir_all(&blobs)?;
    let bad = |e: std::io::Error| Error::new(format!("cannot write `{}`: {e}", to.display()));
    let created = bakery_store::time(created);
    let (mut descriptors, mut digests, mut history) = (Vec::new(), Vec::new(), Vec::new());
    for (made_by, layer) in layers {
        let part = blobs.join("part");
        let file = BufWriter::new(fs::create(&part)?);
        let mut hashing = Hashing::<_, Sha256>::new(file);
        layer(&mut hashing)?;
        hashing.flush().map_err(bad)?;
        let size = hashing.length;
        let digest = hashing.finish();
        fs::rename(&part, blobs.join(&digest))?;
        descriptors.push(json!({
            "mediaType": "application/vnd.oci.image.layer.v1.tar",
            "digest": format!("sha256:{digest}"),
            "size": size,
        }));
        digests.push(format!("sha256:{digest}"));
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
        "config": settings,
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

/// The program that speaks to registries and knows other forms of images. Logins, mirrors and certificates are its own.
pub(crate) fn skopeo() -> Result<Cmd> {
    if find_program("skopeo").is_none() {
        return Err(Error::new("the program skopeo is not installed, which speaks to registries")
            .hint("install the package skopeo, or name an OCI image's archive"));
    }
    Ok(Cmd::new("skopeo"))
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// What a container is started with: what its base says, and the lines of `changes`, as Packer's `docker` builder takes
/// them.
pub(crate) fn settings(base: Option<&Json>, builder: &Component) -> Result<Json> {
    let usual = json!({ "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["/bin/sh"] });
    let mut settings = base.filter(|base| base.is_object()).cloned().unwrap_or(usual);
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
                if !settings["Env"].is_array() {
                    settings["Env"] = json!([]);
                }
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
