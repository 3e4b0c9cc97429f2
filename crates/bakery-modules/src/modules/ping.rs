//! `ping`: answers.

use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Answers `pong`, to see that a target can run modules.
#[derive(ModuleArgs)]
struct Args {
    /// What to answer; `crash` makes it fail.
    #[arg(default = "pong")]
    data: String,
}

fn run(args: Args, _: &mut Host) -> Run {
    if args.data == "crash" {
        // What Ansible makes of a module that ends in an exception.
        return Err(Failure::new("Task failed: Module failed: boom"));
    }
    Ok(Outcome::unchanged().with("ping", args.data))
}

module!("ping", "ansible.builtin", Args, run);
