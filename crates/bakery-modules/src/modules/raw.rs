//! `raw`: runs a command line through a shell and returns what it says, nothing more.

use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Runs a command line through a shell, with none of the conveniences of `shell`.
#[derive(ModuleArgs)]
struct Args {
    /// The command line.
    #[arg(name = "_raw_params", required)]
    raw_params: String,
    /// The shell to use instead of /bin/sh.
    executable: Option<String>,
}

fn run(args: Args, host: &mut Host) -> Run {
    if host.check {
        return Ok(Outcome::unchanged().with("skipped", true));
    }
    let shell = args.executable.unwrap_or_else(|| "/bin/sh".into());
    let output = host.cmd(&shell).arg("-c").arg(&args.raw_params).output()?;
    let outcome = Outcome::changed(true)
        .with("rc", output.code)
        .with("stdout", output.text())
        .with("stderr", output.error_text());
    if output.success() {
        return Ok(outcome);
    }
    Err(Failure { msg: "non-zero return code".into(), fields: outcome.fields }.with("changed", true))
}

module!("raw", "ansible.builtin", Args, run);
