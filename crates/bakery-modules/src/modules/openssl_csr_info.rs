//! `openssl_csr_info`: what a request for a certificate asks for (community.crypto `openssl_csr_info.py`).

use bakery_lang::Map;
use bakery_macros::ModuleArgs;
use der::Encode as _;

use crate::crypto::{content, fingerprints, info, signed};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Tells of a certificate signing request.
#[derive(ModuleArgs)]
#[args(one_of = "path,content", exclusive = "path,content")]
struct Args {
    /// The file with the request.
    path: Option<String>,
    /// The request itself.
    content: Option<String>,
    /// How names of hosts with other letters than ASCII are told: as they stand there, or with these letters.
    #[arg(default = "ignore", choices = "ignore,idna,unicode")]
    name_encoding: String,
    /// Accepted without effect.
    #[arg(default = "auto", choices = "auto,cryptography")]
    select_crypto_backend: String,
}

fn run(args: Args, host: &mut Host) -> Run {
    let held = content(host, args.path.as_deref(), args.content.as_deref(), "certificate signing request")?;
    let request = signed::read_request(&held)?;
    let key = &request.info.public_key;
    let told = Map::new();
    info::tell_name(&told, "subject", &request.info.subject);
    let extensions = signed::extensions_of(&request);
    info::tell_extensions(&told, &extensions, &args.name_encoding)?;
    info::tell_constraints(&told, &extensions, &args.name_encoding)?;
    let (kind, data) = info::public(key)?;
    told.set("public_key", info::public_text(key)?);
    told.set("public_key_type", kind);
    told.set("public_key_data", data);
    told.set("public_key_fingerprints", fingerprints(&key.to_der().map_err(|e| e.to_string())?));
    let is_signed = signed::is_request_signed(&request);
    told.set("signature_valid", is_signed);
    if !is_signed {
        return Err(Failure { msg: "CSR signature is invalid!".into(), fields: told });
    }
    Ok(Outcome { changed: false, fields: told })
}

module!("openssl_csr_info", "community.crypto", Args, run);
