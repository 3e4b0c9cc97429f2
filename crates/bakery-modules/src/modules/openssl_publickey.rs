//! `openssl_publickey`: the public key of a private one (community.crypto `openssl_publickey.py`).

use bakery_macros::ModuleArgs;

use crate::crypto::pem::{self, Block};
use crate::crypto::{FileOptions, Kept, content, fingerprints, private_key};
use crate::registry::module;
use crate::{Host, Run};

/// Writes the public key of a private one into a file.
#[derive(ModuleArgs)]
#[args(exclusive = "privatekey_path,privatekey_content")]
struct Args {
    /// The file that is kept.
    #[arg(flatten)]
    file: FileOptions,
    /// The file with the private key.
    privatekey_path: Option<String>,
    /// The private key itself.
    #[arg(secret)]
    privatekey_content: Option<String>,
    /// The passphrase that the private key is sealed with.
    #[arg(secret)]
    privatekey_passphrase: Option<String>,
    /// How it is written.
    #[arg(default = "PEM", choices = "OpenSSH,PEM")]
    format: String,
    /// Accepted without effect.
    #[arg(default = "auto", choices = "auto,cryptography")]
    select_crypto_backend: String,
}

fn run(args: Args, host: &mut Host) -> Run {
    let mut file = Kept::new(host, &args.file).in_folder()?;
    let old = file.read(host)?;
    let (mut text, mut made) = (old.as_deref().map(|old| String::from_utf8_lossy(old).into_owned()), None);
    let changed = if args.file.state == "absent" {
        text = None;
        file.remove(host)?
    } else {
        if args.privatekey_path.is_none() && args.privatekey_content.is_none() {
            return Err(
                "state is present but any of the following are missing: privatekey_path, privatekey_content"
                    .into(),
            );
        }
        let (path, given) = (args.privatekey_path.as_deref(), args.privatekey_content.as_deref());
        let key =
            private_key(&content(host, path, given, "private key")?, args.privatekey_passphrase.as_deref())?;
        let wanted = match args.format.as_str() {
            "OpenSSH" => key.public_of_ssh()?,
            _ => Block::new("PUBLIC KEY", key.public()?).text(),
        };
        let is_held = match (&text, args.format.as_str()) {
            (None, _) => false,
            // A comment may follow.
            (Some(text), "OpenSSH") => text.split_whitespace().take(2).eq(wanted.split_whitespace()),
            (Some(text), _) => pem::first(text.as_bytes()).is_some_and(|held| {
                held.label == "PUBLIC KEY" && Block::new("PUBLIC KEY", held.data).text() == wanted
            }),
        };
        let changed = args.file.force || !is_held;
        if changed {
            file.write(host, wanted.as_bytes())?;
            if !host.check {
                text = Some(wanted);
            }
        }
        made = Some(key.public()?);
        file.settled(host, changed)?
    };
    let mut outcome = file
        .outcome(changed)
        .with("privatekey", args.privatekey_path.clone())
        .with("format", args.format.as_str())
        // In check mode the private key is not looked at.
        .with(
            "fingerprint",
            made.filter(|_| !host.check).map_or_else(bakery_lang::Map::new, |key| fingerprints(&key)),
        );
    if args.file.return_content {
        outcome = outcome.with("publickey", text);
    }
    Ok(outcome)
}

module!("openssl_publickey", "community.crypto", Args, run);
