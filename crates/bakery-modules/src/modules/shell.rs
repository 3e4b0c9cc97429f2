//! `shell`: runs a command line through a shell.

use super::command::{Args, execute};
use crate::registry::module;
use crate::{Host, Run};

fn run(args: Args, host: &mut Host) -> Run {
    execute(args, host, true)
}

module!("shell", "ansible.builtin", Args, run);
