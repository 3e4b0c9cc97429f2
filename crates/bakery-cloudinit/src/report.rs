//! How a boot goes: lines on the console and in the log, and the status files that other tools wait for.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use bakery_host::fs;
use serde_json::{Value, json};

use crate::Result;

/// The log of what commands print, as cloud-init keeps it.
pub(crate) const OUTPUT_LOG: &str = "/var/log/cloud-init-output.log";
const STATUS: &str = "/run/cloud-init/status.json";

/// Writes to the console, the log and the caller.
pub(crate) struct Report<'a> {
    out: &'a mut dyn Write,
    console: Option<std::fs::File>,
    log: Option<std::fs::File>,
}

impl<'a> Report<'a> {
    pub(crate) fn open(out: &'a mut dyn Write) -> Self {
        let log = fs::append(OUTPUT_LOG).ok();
        if log.is_some() {
            // What commands print may hold secrets.
            let _ = fs::chmod(OUTPUT_LOG, 0o640);
        }
        Self { out, console: fs::append("/dev/console").ok(), log }
    }

    /// A line for all.
    pub(crate) fn line(&mut self, text: &str) {
        // The console and the log may be gone; the boot goes on.
        let _ = writeln!(self.out, "{text}");
        if let Some(console) = &mut self.console {
            let _ = write!(console, "{text}\r\n");
        }
        if let Some(log) = &mut self.log {
            let _ = writeln!(log, "{text}");
        }
    }

    /// A phase, marked so that programs that read the console find it: `BAKERY-PHASE name state`.
    pub(crate) fn phase(&mut self, name: &str, state: &str) {
        let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
        let seconds = uptime.split_whitespace().next().unwrap_or("0").to_owned();
        self.line(&format!("BAKERY-PHASE {name} {state} at {seconds}"));
    }
}

/// Writes the status files: running, done or error.
pub(crate) fn write(state: &str, datasource: &str, errors: &[String], recoverable: &[String]) -> Result<()> {
    fs::create_dir_all("/run/cloud-init")?;
    let status = json!({
        "v1": {
            "datasource": datasource,
            "stage": if state == "running" { Value::from("modules-final") } else { Value::Null },
            "modules-final": { "errors": errors, "recoverable_errors": { "WARNING": recoverable } },
        },
        "status": state,
        "errors": errors,
        "recoverable_errors": recoverable,
    });
    fs::write_atomic(STATUS, status.to_string() + "\n")?;
    if state != "running" {
        let result = json!({ "v1": { "datasource": datasource, "errors": errors } });
        fs::write_atomic("/run/cloud-init/result.json", result.to_string() + "\n")?;
    }
    Ok(())
}

/// Says how the boot went: exit code 0 done, 1 failed, 2 not finished or done with warnings.
///
/// # Errors
/// When the answer cannot be written.
pub fn status(wait: bool, out: &mut dyn Write) -> Result<i32> {
    loop {
        let text = fs::read_to_string(STATUS).unwrap_or_default();
        let parsed: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        let state = parsed.get("status").and_then(Value::as_str).unwrap_or("not started");
        if wait && !matches!(state, "done" | "error") && !Path::new("/etc/cloud/cloud-init.disabled").exists()
        {
            std::thread::sleep(Duration::from_millis(200));
            continue;
        }
        let _ = writeln!(out, "status: {state}");
        for error in parsed.get("errors").and_then(Value::as_array).into_iter().flatten() {
            let _ = writeln!(out, "error: {}", error.as_str().unwrap_or_default());
        }
        let warned =
            parsed.get("recoverable_errors").and_then(Value::as_array).is_some_and(|list| !list.is_empty());
        return Ok(match state {
            "done" if !warned => 0,
            "error" => 1,
            _ => 2,
        });
    }
}
