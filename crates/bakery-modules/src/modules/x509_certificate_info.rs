//! `x509_certificate_info`: what a certificate says (community.crypto `x509_certificate_info.py`).

use bakery_lang::{Map, whole};
use bakery_macros::ModuleArgs;
use der::{Decode as _, Encode as _};
use x509_cert::Certificate;

use crate::crypto::times::{moment, shown};
use crate::crypto::{content, fingerprints, info, pem, signed};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Tells of a certificate, and whether it is good at some moments.
#[derive(ModuleArgs)]
#[args(one_of = "path,content", exclusive = "path,content")]
struct Args {
    /// The file with the certificate, as text or in DER; of several, the first.
    path: Option<String>,
    /// The certificate itself, as text.
    content: Option<String>,
    /// Moments by names of one's own, such as `+3w` or `20300101000000Z`.
    valid_at: Option<Map>,
    /// How names of hosts with other letters than ASCII are told: as they stand there, or with these letters.
    #[arg(default = "ignore", choices = "ignore,idna,unicode")]
    name_encoding: String,
    /// Accepted without effect.
    #[arg(default = "auto", choices = "auto,cryptography")]
    select_crypto_backend: String,
}

/// Numbers of what an authority's addresses are for (RFC 5280, 4.2.2.1).
const OCSP: &str = "1.3.6.1.5.5.7.48.1";
const ISSUERS: &str = "1.3.6.1.5.5.7.48.2";

fn run(args: Args, host: &mut Host) -> Run {
    let held = content(host, args.path.as_deref(), args.content.as_deref(), "certificate")?;
    let certificate = if args.content.is_none() && pem::first(&held).is_none() {
        Certificate::from_der(&held).map_err(|error| format!("Cannot parse DER certificate: {error}"))?
    } else {
        signed::read_certificate(&held)?
    };
    let now = jiff::Timestamp::now().as_second();
    let moments = args.valid_at.unwrap_or_default().pairs().into_iter().map(|(name, at)| {
        let text = at.as_str().ok_or_else(|| {
            let kind = at.type_name();
            Failure::new(format!(
                "The value for valid_at.{name} must be of type string (got <class '{kind}'>)"
            ))
        })?;
        Ok((name.to_string(), moment(text, &format!("valid_at.{name}"), now)?))
    });
    let moments: Vec<(String, i64)> = moments.collect::<Result<_, Failure>>()?;
    let inner = certificate.tbs_certificate();
    let seconds =
        |time: x509_cert::time::Time| i64::try_from(time.to_unix_duration().as_secs()).unwrap_or_default();
    let (from, until) = (seconds(inner.validity().not_before), seconds(inner.validity().not_after));
    let key = inner.subject_public_key_info();
    let told = Map::new();
    told.set("signature_algorithm", info::name_of(&certificate.signature_algorithm().oid));
    info::tell_name(&told, "subject", inner.subject());
    info::tell_name(&told, "issuer", inner.issuer());
    told.set("version", inner.version() as i64 + 1);
    let none = Vec::new();
    let extensions = inner.extensions().unwrap_or(&none);
    info::tell_extensions(&told, extensions, &args.name_encoding)?;
    told.set("not_before", shown(from));
    told.set("not_after", shown(until));
    told.set("expired", until < now);
    let (kind, data) = info::public(key)?;
    told.set("public_key", info::public_text(key)?);
    told.set("public_key_type", kind);
    told.set("public_key_data", data);
    told.set("public_key_fingerprints", fingerprints(&key.to_der().map_err(|e| e.to_string())?));
    told.set("fingerprints", fingerprints(&certificate.to_der().map_err(|e| e.to_string())?));
    told.set("serial_number", whole::from_bytes(inner.serial_number().as_bytes()));
    told.set("ocsp_uri", info::access(extensions, OCSP));
    told.set("issuer_uri", info::access(extensions, ISSUERS));
    let valid = moments.into_iter().map(|(name, at)| (name, (from..=until).contains(&at).into()));
    told.set("valid_at", valid.collect::<Map>());
    Ok(Outcome { changed: false, fields: told })
}

module!("x509_certificate_info", "community.crypto", Args, run);
