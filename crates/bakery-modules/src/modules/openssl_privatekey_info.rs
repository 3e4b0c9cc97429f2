//! `openssl_privatekey_info`: what a private key is (community.crypto `openssl_privatekey_info.py`).

use bakery_lang::Map;
use bakery_macros::ModuleArgs;
use der::Decode as _;
use spki::SubjectPublicKeyInfoOwned;

use crate::crypto::pem::Block;
use crate::crypto::{content, fingerprints, info, private_key};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Tells of a private key.
#[derive(ModuleArgs)]
#[args(one_of = "path,content", exclusive = "path,content")]
struct Args {
    /// The file with the key.
    path: Option<String>,
    /// The key itself.
    #[arg(secret)]
    content: Option<String>,
    /// The passphrase that it is sealed with.
    #[arg(secret)]
    passphrase: Option<String>,
    /// Whether what nobody else knows is told, too. It is then in the result, and in every log of it.
    return_private_key_data: bool,
    /// Whether its numbers must belong to each other.
    check_consistency: bool,
    /// Accepted without effect.
    #[arg(default = "auto", choices = "auto,cryptography")]
    select_crypto_backend: String,
}

fn run(args: Args, host: &mut Host) -> Run {
    let failed = |failure: Failure, is_loaded: bool| {
        failure
            .with("can_load_key", is_loaded)
            .with("can_parse_key", false)
            .with("key_is_consistent", None::<bool>)
    };
    let held = content(host, args.path.as_deref(), args.content.as_deref(), "private key");
    let held = held.map_err(|failure| failed(failure, false))?;
    let key = private_key(&held, args.passphrase.as_deref()).map_err(|failure| failed(failure, true))?;
    let public = key.public()?;
    let (kind, data) =
        info::public(&SubjectPublicKeyInfoOwned::from_der(&public).map_err(|e| e.to_string())?)?;
    let consistent = if args.check_consistency { info::is_consistent(&key) } else { None };
    let told = Map::new();
    told.set("can_load_key", true);
    told.set("can_parse_key", true);
    told.set("public_key_fingerprints", fingerprints(&public));
    told.set("public_key", Block::new("PUBLIC KEY", public).text());
    told.set("type", kind);
    told.set("public_data", data);
    told.set("key_is_consistent", consistent);
    if args.return_private_key_data {
        told.set("private_data", info::private(&key));
    }
    if consistent == Some(false) {
        let fields = told;
        return Err(Failure { msg: "Private key is not consistent!".into(), fields });
    }
    if args.check_consistency && consistent.is_none() {
        host.warn(format!("Cannot determine consistency for key of type {}", key.kind()));
    }
    Ok(Outcome { changed: false, fields: told })
}

module!("openssl_privatekey_info", "community.crypto", Args, run);
