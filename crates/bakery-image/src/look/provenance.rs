//! Where an image comes from: an in-toto statement with a predicate of SLSA (provenance version 1), signed with a key of
//! the user's own (DSSE). The signature is made by `openssl`.

use std::path::Path;

use bakery_host::Cmd;
use bakery_store::{Image, Store};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};
use sha2::Sha256;

use super::Tree;
use super::packages::{distribution, packages};
use crate::digest::of_file;
use crate::tree::layers;
use crate::{Error, Result};

const PAYLOAD: &str = "application/vnd.in-toto+json";

/// The statement of an image; with a key (Ed25519 or ECDSA, PEM) in an envelope with its signature.
///
/// # Errors
/// Files of the image that are gone; a key that `openssl` does not take.
pub fn provenance(store: &Store, tree: &Tree, image: &Image, key: Option<&Path>) -> Result<Json> {
    let folder = store.images().folder(&image.id);
    let mut subject = Vec::new();
    for (_, name) in &image.files {
        subject.push(json!({ "name": name, "digest": { "sha256": of_file::<Sha256>(&folder.join(name))? } }));
    }
    let distribution = distribution(tree);
    let materials = packages(tree);
    let materials = materials.iter().map(|p| json!({ "uri": p.purl(&distribution) }));
    let stack = layers(store, image)?;
    let byproducts = stack
        .iter()
        .filter_map(|id| store.layer_info(id))
        .map(|layer| json!({ "name": layer.made_by, "digest": { "blake3": layer.id } }));
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subject,
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "urn:bakery:bake:v1",
                "externalParameters": { "name": image.name, "base": image.base, "notes": image.notes },
                "internalParameters": { "key": image.key },
                "resolvedDependencies": materials.collect::<Vec<_>>(),
            },
            "runDetails": {
                "builder": { "id": format!("urn:bakery:{}", env!("CARGO_PKG_VERSION")) },
                "metadata": { "invocationId": image.id, "finishedOn": image.created },
                "byproducts": byproducts.collect::<Vec<_>>(),
            },
        },
    });
    let Some(key) = key else { return Ok(statement) };
    let payload = serde_json::to_vec(&statement).unwrap_or_default();
    // What is signed says its type and both lengths (DSSE, "pre-authentication encoding").
    let mut signed = format!("DSSEv1 {} {PAYLOAD} {} ", PAYLOAD.len(), payload.len()).into_bytes();
    signed.extend(&payload);
    let file = tempfile::NamedTempFile::new().map_err(|e| Error::new(e.to_string()))?;
    bakery_host::fs::write_atomic(file.path(), signed)?;
    let openssl = |args: &[&str]| Cmd::new("openssl").args(args.iter().copied()).arg("-inkey").arg(key);
    // Ed25519 signs what it is given; the others a digest of it.
    let ed25519 = openssl(&["pkeyutl", "-sign", "-rawin"]).arg("-in").arg(file.path()).output()?;
    let signature = if ed25519.success() {
        ed25519.stdout
    } else {
        Cmd::new("openssl")
            .args(["dgst", "-sha256", "-sign"])
            .arg(key)
            .arg(file.path())
            .run()
            .map_err(|e| Error::new(format!("the statement could not be signed: {e}")))?
            .stdout
    };
    let public =
        Cmd::new("openssl").args(["pkey", "-pubout", "-outform", "DER", "-in"]).arg(key).run()?.stdout;
    let keyid = crate::digest::hex(&<Sha256 as sha2::Digest>::digest(public));
    Ok(json!({
        "payloadType": PAYLOAD,
        "payload": STANDARD.encode(&payload),
        "signatures": [{ "keyid": keyid, "sig": STANDARD.encode(signature) }],
    }))
}
