//! `openssl_csr`: requests for certificates (community.crypto `openssl_csr.py`).

use bakery_macros::ModuleArgs;

use crate::crypto::request::Request;
use crate::crypto::{FileOptions, Kept};
use crate::registry::module;
use crate::{Host, Run};

/// Makes a request for a certificate, unless the file holds one that asks for the same.
#[derive(ModuleArgs)]
struct Args {
    /// The file that is kept.
    #[arg(flatten)]
    file: FileOptions,
    /// What is asked for.
    #[arg(flatten)]
    request: Request,
}

fn run(args: Args, host: &mut Host) -> Run {
    let mut file = Kept::new(host, &args.file).in_folder()?;
    let request = &args.request;
    if args.file.state == "absent" {
        let changed = file.remove(host)?;
        let outcome = request.told(file.outcome(changed), None);
        return Ok(if args.file.return_content {
            outcome.with("csr", bakery_lang::Value::None)
        } else {
            outcome
        });
    }
    if request.privatekey_path.is_none() && request.privatekey_content.is_none() {
        return Err(
            "state is present but any of the following are missing: privatekey_path, privatekey_content"
                .into(),
        );
    }
    let mut held = file.read(host)?;
    let wanted = request.wanted(host)?;
    let fits = held.as_deref().map_or(Ok(false), |held| request.fits(&wanted, held))?;
    let changed = args.file.force || !fits;
    if changed && !host.check {
        let made = request.make(&wanted)?.into_bytes();
        file.write(host, &made)?;
        held = Some(made);
    }
    let changed = file.settled(host, changed)?;
    let outcome = request.told(file.outcome(changed), Some(&wanted));
    if args.file.return_content {
        return Ok(outcome.with("csr", held.map(|held| String::from_utf8_lossy(&held).into_owned())));
    }
    Ok(outcome)
}

module!("openssl_csr", "community.crypto", Args, run);
