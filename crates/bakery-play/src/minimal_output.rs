//! The output of ad-hoc commands (`ansible/plugins/callback/minimal.py`).

use std::io::Write;

use bakery_ansible::callback::TaskInfo;
use bakery_ansible::{Callback, Status};
use bakery_lang::{Diagnostic, Map, Value, json};

use crate::Colour;
use crate::shown::visible;

/// Actions whose result is shown as text.
const TEXT: &[&str] = &["command", "shell", "raw", "win_command", "win_shell"];

/// One line or document for each host.
pub struct MinimalOutput<'a> {
    out: &'a mut (dyn Write + Send),
    err: &'a mut (dyn Write + Send),
    colour: Colour,
    /// Whether a result is one line.
    pub one_line: bool,
}

impl std::fmt::Debug for MinimalOutput<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MinimalOutput")
    }
}

impl<'a> MinimalOutput<'a> {
    /// Writes results to `out` and errors to `err`.
    pub fn new(out: &'a mut (dyn Write + Send), err: &'a mut (dyn Write + Send), colour: Colour) -> Self {
        Self { out, err, colour, one_line: false }
    }
}

impl Callback for MinimalOutput<'_> {
    fn result(
        &mut self,
        task: &TaskInfo,
        host: &str,
        status: Status,
        result: &Map,
        _: bool,
        _: Option<&str>,
    ) {
        let shown = visible(task, result);
        for key in ["invocation", "_ansible_verbose_always", "diff", "exception"] {
            shown.remove(key);
        }
        let word = match status {
            Status::Ok => "SUCCESS",
            Status::Changed => "CHANGED",
            Status::Skipped => "SKIPPED",
            Status::Failed => "FAILED",
            Status::Unreachable => "UNREACHABLE!",
        };
        let short = task.action.rsplit('.').next().unwrap_or(&task.action);
        let text = |name: &str| shown.get(name).map(|v| v.to_string()).unwrap_or_default();
        let line = if status == Status::Skipped {
            format!("{host} | SKIPPED")
        } else if TEXT.contains(&short) && shown.contains("rc") && !shown.contains("ansible_job_id") {
            let parts = [text("stdout"), text("stderr"), text("msg")];
            if self.one_line {
                let body = parts[0].replace('\n', "\\n");
                format!("{host} | {word} | rc={} | (stdout) {body}", text("rc"))
            } else {
                format!("{host} | {word} | rc={} >>\n{}\n", text("rc"), parts.concat())
            }
        } else {
            let mark = if status == Status::Failed { "FAILED!" } else { word };
            let indent = if self.one_line { 0 } else { 4 };
            format!("{host} | {mark} => {}", json::dumps_readable(&Value::Map(shown), indent))
        };
        let _ = writeln!(self.out, "{}", self.colour.status(status, line.trim_end_matches('\n')));
        let _ = self.out.flush();
    }

    fn no_hosts(&mut self) {
        let _ = writeln!(self.err, "{}", self.colour.purple("[WARNING]: No hosts matched, nothing to do"));
    }

    fn warning(&mut self, text: &str) {
        let _ = writeln!(self.err, "{}", self.colour.purple(&format!("[WARNING]: {text}")));
    }

    fn error(&mut self, _: Option<&str>, diagnostic: &Diagnostic) {
        let _ = writeln!(self.err, "{}", self.colour.red(&format!("[ERROR]: {diagnostic}")));
    }
}
