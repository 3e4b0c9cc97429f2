//! `tempfile`: a new file or folder.

use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Makes a file or folder that nobody else uses.
#[derive(ModuleArgs)]
struct Args {
    /// What to make.
    #[arg(default = "file", choices = "directory,file")]
    state: String,
    /// The folder to make it in.
    path: Option<String>,
    /// How its name starts.
    #[arg(default = "ansible.")]
    prefix: String,
    /// How its name ends.
    #[arg(default = "")]
    suffix: String,
}

fn run(args: Args, host: &mut Host) -> Run {
    for (name, value) in [("prefix", &args.prefix), ("suffix", &args.suffix)] {
        if value.contains('/') {
            return Err(Failure::new(format!(
                "{name} must be a valid file name component, without path separators"
            )));
        }
    }
    if host.check {
        return Ok(Outcome::no_check_mode("tempfile"));
    }
    let folder = args.path.as_deref().map_or_else(std::env::temp_dir, |p| host.path(p));
    let mut builder = ::tempfile::Builder::new();
    builder.prefix(&args.prefix).suffix(&args.suffix);
    let failed = |e: std::io::Error| Failure::new(format!("cannot make a temporary {}: {e}", args.state));
    let path = if args.state == "directory" {
        builder
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .tempdir_in(folder)
            .map_err(failed)?
            .keep()
    } else {
        builder
            .tempfile_in(folder)
            .map_err(failed)?
            .into_temp_path()
            .keep()
            .map_err(|e| Failure::new(e.to_string()))?
    };
    Ok(Outcome::changed(true).with("path", path.display().to_string()))
}

module!("tempfile", "ansible.builtin", Args, run);
