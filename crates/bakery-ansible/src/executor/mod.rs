//! Runs plays on hosts.
//!
//! `run` is the way through playbook and plays, `blocks` through blocks and tasks with their hosts in lockstep,
//! `task` one task on one host, `calls` its module calls, `outcome` what its result does, `handlers` and `meta` what their
//! names say, `context` what a task inherits, `scene` what templates see.

mod blocks;
mod calls;
mod context;
mod handlers;
mod meta;
mod outcome;
mod run;
mod scene;
mod task;

pub use run::{Options, RunOutcome, run};

/// Whether the tags that a command line asks for select a task with these.
pub fn is_selected(tags: &[String], options: &Options) -> bool {
    context::selected(tags, &options.tags, &options.skip_tags)
}
