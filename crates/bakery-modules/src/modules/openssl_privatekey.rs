//! `openssl_privatekey`: private keys of TLS servers and authorities (community.crypto `openssl_privatekey.py` and
//! `_crypto/module_backends/privatekey.py`).

use bakery_macros::ModuleArgs;

use crate::crypto::keys::{Format, Key, Unreadable, format_of};
use crate::crypto::{FileOptions, Kept, fingerprints};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Makes a private key, unless the file holds one of this kind.
#[derive(ModuleArgs)]
struct Args {
    /// The file that is kept.
    #[arg(flatten)]
    file: FileOptions,
    /// The kind of key. Those of DSA, Ed448 and X448 are not made.
    #[arg(name = "type", default = "RSA", choices = "DSA,ECC,Ed25519,Ed448,RSA,X25519,X448")]
    kind: String,
    /// How many bits a key of RSA has.
    #[arg(default = "4096")]
    size: i64,
    /// The elliptic curve of a key of ECC: `secp256r1`, `secp256k1`, `secp384r1` or `secp521r1`.
    #[arg(
        choices = "secp224r1,secp256k1,secp256r1,secp384r1,secp521r1,secp192r1,brainpoolP256r1,brainpoolP384r1,brainpoolP512r1,sect163k1,sect163r2,sect233k1,sect233r1,sect283k1,sect283r1,sect409k1,sect409r1,sect571k1,sect571r1"
    )]
    curve: Option<String>,
    /// The passphrase that the key is sealed with.
    #[arg(secret)]
    passphrase: Option<String>,
    /// How the key is sealed; `auto` alone is known: AES of 256 bits.
    #[arg(default = "auto")]
    cipher: String,
    /// How the key is written: as its kind has it (`pkcs1`), in an envelope that all kinds share (`pkcs8`), its bytes alone
    /// (`raw`), or as the kind is mostly written, whatever a key that is there has (`auto_ignore`) or not (`auto`).
    #[arg(default = "auto_ignore", choices = "pkcs1,pkcs8,raw,auto,auto_ignore")]
    format: String,
    /// What happens to a key of another format.
    #[arg(default = "regenerate", choices = "regenerate,convert")]
    format_mismatch: String,
    /// When a key that is there is replaced: never; never, and what does not fit is an error; when it is another kind of key;
    /// also when it cannot be read; always.
    #[arg(default = "full_idempotence", choices = "never,fail,partial_idempotence,full_idempotence,always")]
    regenerate: String,
    /// Accepted without effect.
    #[arg(default = "auto", choices = "auto,cryptography")]
    select_crypto_backend: String,
}

impl Args {
    fn wanted_format(&self) -> Format {
        match self.format.as_str() {
            "pkcs1" => Format::Pkcs1,
            "pkcs8" => Format::Pkcs8,
            "raw" => Format::Raw,
            _ if matches!(self.kind.as_str(), "RSA" | "DSA" | "ECC") => Format::Pkcs1,
            _ => Format::Pkcs8,
        }
    }

    fn fits(&self, key: &Key) -> bool {
        key.kind() == self.kind
            && key.bits().is_none_or(|bits| i64::try_from(bits) == Ok(self.size))
            && (key.curve().is_none() || key.curve() == self.curve.as_deref())
    }
}

/// What is to be done.
enum Work {
    Nothing(Key),
    Convert(Key),
    Make,
}

fn work(args: &Args, old: Option<&[u8]>) -> Result<Work, Failure> {
    let Some(old) = old.filter(|_| !args.file.force && args.regenerate != "always") else {
        return Ok(Work::Make);
    };
    let may_replace = matches!(args.regenerate.as_str(), "partial_idempotence" | "full_idempotence");
    let key = match Key::read(old, args.passphrase.as_deref(), Some(&args.kind)) {
        Ok(key) => key,
        Err(_) if args.regenerate == "full_idempotence" => return Ok(Work::Make),
        Err(Unreadable::Passphrase | Unreadable::Wrong(_)) => {
            return Err("Unable to read the key. The key is protected with a another passphrase / no passphrase or broken. Will not proceed. To force regeneration, call the module with `generate` set to `full_idempotence` or `always`, or with `force=true`.".into());
        }
    };
    if args.regenerate != "never" && !args.fits(&key) {
        if may_replace {
            return Ok(Work::Make);
        }
        return Err("Key has wrong type and/or size. Will not proceed. To force regeneration, call the module with `generate` set to `partial_idempotence`, `full_idempotence` or `always`, or with `force=true`.".into());
    }
    if args.format == "auto_ignore" || format_of(old) == Some(args.wanted_format()) {
        return Ok(Work::Nothing(key));
    }
    match args.format_mismatch.as_str() {
        "convert" => Ok(Work::Convert(key)),
        _ if args.regenerate == "never" => Ok(Work::Nothing(key)),
        _ if may_replace => Ok(Work::Make),
        _ => Err("Key has wrong format. Will not proceed. To force regeneration, call the module with `generate` set to `partial_idempotence`, `full_idempotence` or `always`, or with `force=true`. To convert the key, set `format_mismatch` to `convert`.".into()),
    }
}

fn run(mut args: Args, host: &mut Host) -> Run {
    args.file.attributes.mode.get_or_insert_with(|| "0600".into());
    let args = args;
    let mut file = Kept::new(host, &args.file).in_folder()?;
    file.secret = true;
    if args.kind == "ECC" && args.curve.is_none() {
        return Err("type is ECC but all of the following are missing: curve".into());
    }
    let old = file.read(host)?;
    let size = usize::try_from(args.size).unwrap_or_default();
    let outcome = |outcome: Outcome, key: Option<&Key>| -> Result<Outcome, Failure> {
        let mut outcome = outcome.with("type", args.kind.as_str()).with("size", args.size);
        outcome = match key {
            Some(key) => outcome.with("fingerprint", fingerprints(&key.public()?)),
            None => outcome.with("fingerprint", bakery_lang::Value::None),
        };
        if args.kind == "ECC" {
            outcome = outcome.with("curve", args.curve.clone());
        }
        Ok(outcome)
    };
    let shown = |content: Option<&[u8]>| {
        use base64::Engine as _;
        content.map(|content| match format_of(content) {
            Some(Format::Raw) => base64::engine::general_purpose::STANDARD.encode(content),
            _ => String::from_utf8_lossy(content).into_owned(),
        })
    };
    if args.file.state == "absent" {
        let changed = file.remove(host)?;
        let outcome = outcome(file.outcome(changed), None)?;
        return Ok(if args.file.return_content {
            outcome.with("privatekey", bakery_lang::Value::None)
        } else {
            outcome
        });
    }
    let (key, changed) = match work(&args, old.as_deref())? {
        Work::Nothing(key) => (Some(key), false),
        Work::Convert(key) => (Some(key), true),
        // What the file holds now is told of where nothing is made.
        Work::Make if host.check => {
            let held = old
                .as_deref()
                .and_then(|old| Key::read(old, args.passphrase.as_deref(), Some(&args.kind)).ok());
            (held, true)
        }
        Work::Make => (Some(Key::make(&args.kind, size, args.curve.as_deref())?), true),
    };
    let mut content = old;
    if let (Some(key), true, false) = (&key, changed, host.check) {
        if args.passphrase.is_some() && args.cipher != "auto" {
            return Err("Cryptography backend can only use \"auto\" for cipher option.".into());
        }
        let written =
            key.write(args.wanted_format(), args.passphrase.as_deref().filter(|_| !args.cipher.is_empty()))?;
        file.write(host, &written)?;
        content = Some(written);
    }
    let changed = file.settled(host, changed)?;
    let outcome = outcome(file.outcome(changed), key.as_ref())?;
    Ok(if args.file.return_content { outcome.with("privatekey", shown(content.as_deref())) } else { outcome })
}

module!("openssl_privatekey", "community.crypto", Args, run);
