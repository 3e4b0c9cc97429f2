//! `openssl_dhparam`: parameters of the exchange of Diffie and Hellman (community.crypto `openssl_dhparam.py`).

use bakery_macros::ModuleArgs;
use der::asn1::UintRef;
use der::{Decode, Sequence};

use crate::crypto::{self, FileOptions, Kept, pem};
use crate::registry::module;
use crate::{Failure, Host, Run};

/// Makes parameters of the exchange of Diffie and Hellman, with the target's `openssl`.
#[derive(ModuleArgs)]
struct Args {
    /// The file that is kept.
    #[arg(flatten)]
    file: FileOptions,
    /// How many bits the prime has.
    #[arg(default = "4096")]
    size: i64,
    /// Accepted without effect.
    #[arg(default = "auto", choices = "auto,cryptography,openssl")]
    select_crypto_backend: String,
}

/// The parameters (PKCS #3).
#[derive(Sequence)]
struct Parameters<'a> {
    prime: UintRef<'a>,
    generator: UintRef<'a>,
    #[asn1(optional = "true")]
    length: Option<u32>,
}

/// How many bits the prime in a file has.
fn bits(content: &[u8]) -> Option<usize> {
    let block = pem::first(content).filter(|block| block.label == "DH PARAMETERS")?;
    let parameters = Parameters::from_der(&block.data).ok()?;
    Some(crypto::bits(parameters.prime.as_bytes()))
}

fn run(args: Args, host: &mut Host) -> Run {
    let mut file = Kept::new(host, &args.file).in_folder()?;
    let mut held = file.read(host)?;
    let changed = if args.file.state == "absent" {
        held = held.filter(|_| host.check);
        file.remove(host)?
    } else {
        let fits =
            held.as_deref().and_then(bits).and_then(|bits| i64::try_from(bits).ok()) == Some(args.size);
        let changed = args.file.force || !fits;
        if changed && !host.check {
            let output = host.run(&["openssl", "dhparam", &args.size.to_string()])?;
            let made = output.text().into_bytes();
            if bits(&made).is_none() {
                return Err(Failure::new("openssl gave no parameters").with_output(&output));
            }
            file.write(host, &made)?;
            held = Some(made);
        }
        file.settled(host, changed)?
    };
    let outcome = file.outcome(changed).with("size", args.size);
    if args.file.return_content {
        return Ok(outcome.with("dhparams", held.map(|held| String::from_utf8_lossy(&held).into_owned())));
    }
    Ok(outcome)
}

module!("openssl_dhparam", "community.crypto", Args, run);
