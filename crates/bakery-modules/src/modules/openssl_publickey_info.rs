//! `openssl_publickey_info`: what a public key is (community.crypto `openssl_publickey_info.py`).

use bakery_macros::ModuleArgs;
use der::Encode as _;

use crate::crypto::{content, fingerprints, info};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Tells of a public key.
#[derive(ModuleArgs)]
#[args(one_of = "path,content", exclusive = "path,content")]
struct Args {
    /// The file with the key.
    path: Option<String>,
    /// The key itself.
    #[arg(secret)]
    content: Option<String>,
    /// Accepted without effect.
    #[arg(default = "auto", choices = "auto,cryptography")]
    select_crypto_backend: String,
}

fn run(args: Args, host: &mut Host) -> Run {
    // What Ansible's module says of these, whatever it finds.
    let failed = |failure: Failure| {
        failure
            .with("can_load_key", false)
            .with("can_parse_key", false)
            .with("key_is_consistent", None::<bool>)
    };
    let held = content(host, args.path.as_deref(), args.content.as_deref(), "public key").map_err(failed)?;
    let key = info::read_public(&held).map_err(|why| failed(why.into()))?;
    let (kind, data) = info::public(&key)?;
    Ok(Outcome::unchanged()
        .with("can_load_key", false)
        .with("can_parse_key", false)
        .with("key_is_consistent", None::<bool>)
        .with("fingerprints", fingerprints(&key.to_der().map_err(|e| e.to_string())?))
        .with("type", kind)
        .with("public_data", data))
}

module!("openssl_publickey_info", "community.crypto", Args, run);
