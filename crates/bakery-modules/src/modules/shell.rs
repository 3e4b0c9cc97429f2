//! `shell`: runs a command line through a shell.

use super::command::{Args, execute};
use crate::registry::module;
use crate::{Host, Run};

fn run(args: Args, host: &mut Host) -> Run {
    if args.expand_argument_vars.is_some() {
        return Err("Unsupported parameters for (shell) module: expand_argument_vars".into());
    }
    execute(args, host, true)
}

module!("shell", "ansible.builtin", Args, run);
