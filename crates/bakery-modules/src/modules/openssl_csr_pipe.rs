//! `openssl_csr_pipe`: requests for certificates that no file holds (community.crypto `openssl_csr_pipe.py`).

use bakery_macros::ModuleArgs;

use crate::crypto::request::Request;
use crate::registry::module;
use crate::{Host, Outcome, Run};

/// Makes a request for a certificate, unless the one that is given asks for the same.
#[derive(ModuleArgs)]
#[args(one_of = "privatekey_path,privatekey_content")]
struct Args {
    /// The request that there is.
    content: Option<String>,
    /// What is asked for.
    #[arg(flatten)]
    request: Request,
}

fn run(args: Args, host: &mut Host) -> Run {
    let wanted = args.request.wanted(host)?;
    let fits = args.content.as_ref().map_or(Ok(false), |held| args.request.fits(&wanted, held.as_bytes()))?;
    let held = if fits { args.content.clone() } else { Some(args.request.make(&wanted)?) };
    Ok(args.request.told(Outcome::changed(!fits).with("csr", held), Some(&wanted)))
}

module!("openssl_csr_pipe", "community.crypto", Args, run);
