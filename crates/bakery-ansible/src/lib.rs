//! The playbook language and its executor: plays, roles, variables, loops, handlers, connections, lookups, and the
//! controller's half of modules.
//!
//! Flow: `playbook` reads files into plays, blocks and tasks; `executor` runs them on hosts, with `templar` evaluating
//! text over the layers that `vars` puts in order; `actions` are what the controller does itself, everything else is a
//! module call on a `connection`. What happens is told to a [`Callback`]; nothing here prints.

mod actions;
mod addresses;
mod argspec;
mod bundle;
pub mod callback;
mod collections;
pub mod connection;
mod error;
mod executor;
pub mod explain;
mod fact_cache;
mod filters;
mod foreign;
pub mod inventory;
mod literal;
mod lookups;
mod names;
pub mod playbook;
mod plugins;
mod settings;
pub mod survey;
mod templar;
mod tests;
pub mod vars;
pub mod vault;

pub use callback::{Callback, HostStats, Status};
pub use error::{Error, Result};
pub use executor::{Options, ReachOptions, RunOutcome, is_selected, run};
pub use fact_cache::FactCache;
pub use foreign::controller_python;
pub use settings::Settings;
pub use templar::Templar;
