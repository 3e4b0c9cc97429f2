//! `slurp`: a file's content in base64.

use bakery_host::fs;
use bakery_macros::ModuleArgs;
use base64::Engine as _;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Returns a file's content in base64.
#[derive(ModuleArgs)]
struct Args {
    /// The file.
    #[arg(required, alias = "path")]
    src: String,
}

fn run(args: Args, host: &mut Host) -> Run {
    let path = host.path(&args.src);
    if path.is_dir() {
        return Err(Failure::new(format!("Source is a directory and must be a file: {}", args.src)));
    }
    let bytes = fs::read(&path).map_err(|e| {
        if e.is_not_found() {
            Failure::new(format!("File not found: {}", args.src))
        } else if e.source.kind() == std::io::ErrorKind::PermissionDenied {
            Failure::new(format!("File is not readable: {}", args.src))
        } else {
            Failure::new(format!("Unable to slurp file: {e}"))
        }
    })?;
    Ok(Outcome::unchanged()
        .with("content", base64::engine::general_purpose::STANDARD.encode(bytes))
        .with("source", args.src)
        .with("encoding", "base64"))
}

module!("slurp", "ansible.builtin", Args, run);
