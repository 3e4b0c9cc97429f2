//! `getent`: entries of the system's databases as facts.

use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Returns entries of a database of getent(1) as the fact `getent_DATABASE`.
#[derive(ModuleArgs)]
struct Args {
    /// The database, such as `passwd`.
    #[arg(required)]
    database: String,
    /// The entry; all if not given.
    key: Option<String>,
    /// What separates fields.
    split: Option<String>,
    /// Another source than nsswitch.conf says.
    service: Option<String>,
    /// Whether a missing entry is an error.
    #[arg(default = "true")]
    fail_key: bool,
}

fn run(args: Args, host: &mut Host) -> Run {
    let mut argv = vec!["getent"];
    if let Some(service) = &args.service {
        argv.extend(["-s", service]);
    }
    argv.push(&args.database);
    argv.extend(args.key.as_deref());
    let output = host.try_run(&argv)?;
    let facts = Map::new();
    match output.code {
        0 => {
            let colon = matches!(args.database.as_str(), "passwd" | "shadow" | "group" | "gshadow");
            for line in output.text().lines() {
                let mut fields: Vec<&str> = match (&args.split, colon) {
                    (Some(split), _) => line.split(split.as_str()).collect(),
                    (None, true) => line.split(':').collect(),
                    (None, false) => line.split_whitespace().collect(),
                };
                let key = fields.remove(0);
                facts.set(key, Value::strings(fields));
            }
        }
        2 if !args.fail_key => facts.set(args.key.as_deref().unwrap_or_default(), Value::None),
        1 => return Err("Missing arguments, or database unknown.".into()),
        2 => return Err("One or more supplied key could not be found in the database.".into()),
        3 => return Err("Enumeration not supported on this database.".into()),
        _ => return Err(Failure::new("Unexpected failure!")),
    }
    let mut outcome = Outcome::unchanged();
    if output.code == 2 {
        outcome = outcome.msg("One or more supplied key could not be found in the database.");
    }
    Ok(outcome.with("ansible_facts", Value::map([(format!("getent_{}", args.database), facts.into())])))
}

module!("getent", "ansible.builtin", Args, run);
