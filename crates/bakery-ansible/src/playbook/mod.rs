//! Playbooks as they are written: files into plays, blocks, tasks and roles.
//!
//! `types` and `role` are the shapes; `load` reads playbooks and task files, `task` one task, `roles` roles with what they depend on, `words` the
//! `key=value` syntax.

mod load;
mod role;
mod roles;
mod task;
mod types;
mod words;

pub use load::Loader;
pub use role::{Dependencies, Role, RoleUse};
pub(crate) use task::is_free_form;
pub use types::{Block, Entry, Keywords, Loop, Play, Playbook, Task};
pub use words::{parse_key_values, split_args};
pub(crate) use words::{split_words, unquote};
