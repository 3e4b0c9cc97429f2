//! Runs plays on hosts.
//!
//! `run` is a run with what it knows, `play` the way through a play, `strategy` how its hosts go side by side, `blocks` the
//! way through blocks and tasks, `task` one task on one host, `loops` its items, `attempt` one try of it, `arguments` what its module
//! is given, `reach` how it gets to its host, `calls` its module calls, `interpreters` what
//! runs modules that are scripts,
//! `outcome` what its result does, `debugger` the stops of tasks that people look into, `prompt` what is asked of people, `handlers` and `meta` what their names say, `context`
//! what a task inherits, `scene` what templates see.

mod arguments;
mod attempt;
mod blocks;
mod calls;
mod context;
mod debugger;
mod handlers;
mod interpreters;
mod loops;
mod meta;
mod outcome;
mod play;
mod prompt;
mod reach;
mod reserved;
mod run;
mod scene;
mod strategy;
mod task;

pub(crate) use prompt::check as check_prompts;
pub use reach::ReachOptions;
pub use run::{Options, RunOutcome, run};

/// Whether the tags that a command line asks for select a task with these.
pub fn is_selected(tags: &[String], options: &Options) -> bool {
    context::selected(tags, &options.tags, &options.skip_tags)
}
