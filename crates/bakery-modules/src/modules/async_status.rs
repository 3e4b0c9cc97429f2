//! `async_status`: how a module that runs in the background is doing (`ansible/modules/async_status.py`).

use bakery_host::fs;
use bakery_lang::{Map, json};
use bakery_macros::ModuleArgs;

use super::async_wrapper::folder;
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Says how a module that runs in the background is doing.
#[derive(ModuleArgs)]
struct Args {
    /// The job's id.
    #[arg(required)]
    jid: String,
    /// Where job files are, `~/.ansible_async` unless it is named.
    #[arg(name = "_async_dir")]
    dir: Option<String>,
    /// What to do.
    #[arg(choices = "cleanup,status", default = "status")]
    mode: String,
}

fn run(args: Args, host: &mut Host) -> Run {
    let path = folder(host, args.dir.as_deref()).join(&args.jid);
    if args.jid.contains('/') || !path.exists() {
        return Err(Failure::new("could not find job")
            .with("ansible_job_id", args.jid)
            .with("started", true)
            .with("finished", true));
    }
    if args.mode == "cleanup" {
        fs::remove_all(&path)?;
        return Ok(Outcome::unchanged()
            .with("ansible_job_id", args.jid)
            .with("erased", path.display().to_string()));
    }
    let text = fs::read_to_string(&path)?;
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|_| {
        Failure::new(format!("Could not parse job output: {text}"))
            .with("ansible_job_id", args.jid.as_str())
            .with("started", true)
            .with("finished", true)
    })?;
    let fields: Map = json::from_json(&value).as_map().cloned().unwrap_or_default();
    let changed = fields.remove("changed").is_some_and(|c| c.is_true());
    fields.set("results_file", path.display().to_string());
    Ok(Outcome { changed, fields })
}

module!("async_status", "ansible.builtin", Args, run);
