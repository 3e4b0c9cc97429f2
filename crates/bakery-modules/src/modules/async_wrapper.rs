//! `async_wrapper`: runs another module in the background (`ansible/modules/async_wrapper.py`).
//!
//! A process of its own runs the module and writes what it returns to `~/.ansible_async/<job>`, where `async_status`
//! finds it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bakery_host::{Cmd, fs};
use bakery_lang::{Map, Value, json};
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Host, Outcome, Run};

/// The hidden verb that a background process is started with.
pub const VERB: &str = "background-module";

/// Runs another module in the background; plays say `async`, not this.
#[derive(ModuleArgs)]
struct Args {
    /// Where job files are, `~/.ansible_async` unless it is named.
    #[arg(name = "_async_dir")]
    dir: Option<String>,
    /// The job's id.
    #[arg(required)]
    jid: String,
    /// Seconds that it may take.
    #[arg(default = "3600")]
    time_limit: i64,
    /// The module.
    #[arg(required)]
    module: String,
    /// Its arguments, as JSON.
    #[arg(required)]
    arguments: String,
}

/// The folder of job files.
pub(super) fn folder(host: &Host, wanted: Option<&str>) -> PathBuf {
    let of_task =
        host.environment.iter().find(|(name, _)| name == "ANSIBLE_ASYNC_DIR").map(|(_, v)| v.clone());
    let own = wanted.map(str::to_owned).or(of_task).or_else(|| std::env::var("ANSIBLE_ASYNC_DIR").ok());
    host.path(own.as_deref().unwrap_or("~/.ansible_async"))
}

fn run(args: Args, host: &mut Host) -> Run {
    let folder = folder(host, args.dir.as_deref());
    fs::create_dir_all(&folder)?;
    let job = folder.join(&args.jid);
    let state = Value::map([
        ("started", Value::from(true)),
        ("finished", false.into()),
        ("ansible_job_id", args.jid.as_str().into()),
    ]);
    fs::write_atomic_mode(&job, json::dumps(&state, 0, false), 0o600)?;
    let environment: Vec<serde_json::Value> =
        host.environment.iter().map(|(k, v)| serde_json::json!([k, v])).collect();
    let request = serde_json::json!({
        "jid": args.jid, "limit": args.time_limit, "module": args.module, "arguments": args.arguments,
        "diff": host.diff, "check": host.check, "environment": environment,
        "cwd": host.cwd.as_ref().map(|c| c.display().to_string()),
    });
    let file = folder.join(format!("{}.request", args.jid));
    fs::write_atomic_mode(&file, request.to_string(), 0o600)?;
    let program = std::env::current_exe().map_err(|e| crate::Failure::new(e.to_string()))?;
    let child = Cmd::new(program).arg(VERB).arg(&file).detached().spawn_silent()?;
    Ok(Outcome::changed(true)
        .with("started", true)
        .with("finished", false)
        .with("ansible_job_id", args.jid)
        .with("results_file", job.display().to_string())
        .with("_pid", child.id()))
}

/// The background process: runs the module of a request, and writes its result.
pub fn background(file: &Path) -> i32 {
    let Ok(text) = fs::read_to_string(file) else { return 1 };
    // The request may hold secrets.
    let _ = fs::remove_all(file);
    let request: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let field = |name: &str| request[name].as_str().unwrap_or_default().to_owned();
    let job = file.with_file_name(field("jid"));
    let limit = request["limit"].as_u64().unwrap_or(3600);
    let (send, receive) = std::sync::mpsc::channel();
    let worker = request.clone();
    std::thread::spawn(move || {
        let mut host = Host::default();
        host.in_background = true;
        host.check = worker["check"].as_bool().unwrap_or(false);
        host.diff = worker["diff"].as_bool().unwrap_or(false);
        host.cwd = worker["cwd"].as_str().map(PathBuf::from);
        for pair in worker["environment"].as_array().into_iter().flatten() {
            let text = |at: usize| pair[at].as_str().unwrap_or_default().to_owned();
            host.environment.push((text(0), text(1)));
        }
        let arguments: serde_json::Value =
            serde_json::from_str(worker["arguments"].as_str().unwrap_or("{}")).unwrap_or_default();
        let args = json::from_json(&arguments).as_map().cloned().unwrap_or_default();
        let _ = send.send(crate::run(worker["module"].as_str().unwrap_or_default(), &args, &mut host));
    });
    let result = match receive.recv_timeout(Duration::from_secs(limit)) {
        Ok(result) => result.as_map().cloned().unwrap_or_default(),
        Err(_) => {
            let map = Map::new();
            map.set("failed", true);
            map.set("msg", "Timeout exceeded");
            map
        }
    };
    result.set("started", true);
    result.set("finished", true);
    result.set("ansible_job_id", field("jid"));
    i32::from(fs::write_atomic_mode(&job, json::dumps(&Value::Map(result), 0, false), 0o600).is_err())
}

module!("async_wrapper", "ansible.builtin", Args, run);
