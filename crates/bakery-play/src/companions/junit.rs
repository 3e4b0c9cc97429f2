//! A file with a test case for every task of every host (`ansible/plugins/callback/junit.py`).

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bakery_ansible::callback::{PlayInfo, TaskInfo};
use bakery_ansible::{Callback, HostStats, Settings, Status};
use bakery_host::fs;
use bakery_lang::Map;
use indexmap::IndexMap;

use crate::junit::{Case, Verdict, report};
use crate::shown::{Format, visible};

/// Collects what happens.
pub(super) struct JUnit<'a> {
    out: Box<dyn Write + Send + 'a>,
    format: Format,
    folder: PathBuf,
    /// What paths are told relative to.
    relative_to: Option<PathBuf>,
    /// What stands before the name of a file that is not below that.
    elsewhere: Option<String>,
    class_is_file: bool,
    fail_on_change: bool,
    fail_on_ignore: bool,
    with_setup: bool,
    with_args: bool,
    prefix: String,
    playbook: String,
    play: String,
    tasks: IndexMap<u64, Seen>,
}

/// A task that was seen.
struct Seen {
    name: String,
    class: String,
    play: String,
    is_setup: bool,
    began: Instant,
    hosts: IndexMap<String, (f64, Verdict)>,
}

impl<'a> JUnit<'a> {
    pub(super) fn new(settings: &Settings, out: Box<dyn Write + Send + 'a>) -> Self {
        let text = |name: &str| settings.variable(name).filter(|v| !v.is_empty());
        let flag = |name: &str, default: bool| {
            settings.variable(name).map_or(default, |v| v.eq_ignore_ascii_case("true"))
        };
        let home = settings.variable("HOME").unwrap_or_default();
        Self {
            out,
            format: Format::new(settings, 0),
            folder: text("JUNIT_OUTPUT_DIR")
                .map_or_else(|| Path::new(&home).join(".ansible.log"), PathBuf::from),
            relative_to: text("JUNIT_TASK_RELATIVE_PATH").map(PathBuf::from),
            elsewhere: settings.variable("JUNIT_REPLACE_OUT_OF_TREE_PATH"),
            class_is_file: flag("JUNIT_TASK_CLASS", false),
            fail_on_change: flag("JUNIT_FAIL_ON_CHANGE", false),
            fail_on_ignore: flag("JUNIT_FAIL_ON_IGNORE", false),
            with_setup: flag("JUNIT_INCLUDE_SETUP_TASKS_IN_REPORT", true),
            with_args: !flag("JUNIT_HIDE_TASK_ARGUMENTS", false),
            prefix: text("JUNIT_TEST_CASE_PREFIX").unwrap_or_default(),
            playbook: String::new(),
            play: String::new(),
            tasks: IndexMap::new(),
        }
    }

    /// The place of a task, as the class of its cases.
    fn class(&self, task: &TaskInfo) -> String {
        let path = &task.origin.source.name;
        let mut file = match &self.relative_to {
            Some(from) => relative(Path::new(path), from),
            None => path.clone(),
        };
        if let Some(instead) = self.elsewhere.as_ref().filter(|_| file.starts_with("../")) {
            file = format!("{instead}{}", file.rsplit('/').next().unwrap_or_default());
        }
        if self.class_is_file {
            return file
                .strip_suffix(".yml")
                .map_or_else(|| format!("{file}:{}", task.origin.line), str::to_owned);
        }
        format!("{file}:{}", task.origin.line)
    }
}

/// A path as seen from a folder.
fn relative(path: &Path, from: &Path) -> String {
    let (path, from) = (path.components().collect::<Vec<_>>(), from.components().collect::<Vec<_>>());
    let shared = path.iter().zip(&from).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n("..".to_owned(), from.len() - shared);
    let down = path[shared..].iter().map(|part| part.as_os_str().to_string_lossy().into_owned());
    up.chain(down).collect::<Vec<_>>().join("/")
}

impl Callback for JUnit<'_> {
    fn playbook_start(&mut self, path: &str) {
        let name = Path::new(path).file_stem().map(|name| name.to_string_lossy().into_owned());
        self.playbook = name.unwrap_or_default();
    }

    fn play_start(&mut self, play: &PlayInfo) {
        play.name.trim().clone_into(&mut self.play);
    }

    fn task_start(&mut self, task: &TaskInfo) {
        let mut name = task.name.trim().to_owned();
        if self.with_args && !task.no_log && !task.args.is_empty() {
            let args = task.args.pairs().into_iter().map(|(key, value)| format!("{key}={value}"));
            name = format!("{name} {}", args.collect::<Vec<_>>().join(", "));
        }
        let seen = Seen {
            name,
            class: self.class(task),
            play: self.play.clone(),
            is_setup: matches!(bakery_modules::canonical_name(&task.action), "setup" | "gather_facts"),
            began: Instant::now(),
            hosts: IndexMap::new(),
        };
        self.tasks.entry(task.id).or_insert(seen);
    }

    fn included(&mut self, task: &TaskInfo, file: &str, hosts: &[String], _: Option<&str>) {
        let Some(seen) = self.tasks.get_mut(&task.id) else { return };
        let text = format!("{file} (args={{}} vars={{}}): {}", hosts.join(", "));
        let (_, verdict) = seen
            .hosts
            .entry("include".to_owned())
            .or_insert_with(|| (seen.began.elapsed().as_secs_f64(), Verdict::Passed(None)));
        *verdict = match verdict {
            Verdict::Passed(Some(before)) => Verdict::Passed(Some(format!("{before}\n{text}"))),
            _ => Verdict::Passed(Some(text)),
        };
    }

    fn result(
        &mut self,
        task: &TaskInfo,
        host: &str,
        status: Status,
        result: &Map,
        ignored: bool,
        _: Option<&str>,
    ) {
        let (fail_on_change, fail_on_ignore) = (self.fail_on_change, self.fail_on_ignore);
        let Some(seen) = self.tasks.get_mut(&task.id) else { return };
        let changed = result.get("changed").is_some_and(|c| c.is_true());
        let mut failed = match status {
            Status::Failed => !ignored || fail_on_ignore,
            Status::Ok | Status::Changed => fail_on_change && changed,
            // Ansible's callback does not hear of hosts that were not reached.
            Status::Unreachable => return,
            Status::Skipped => false,
        };
        if failed && seen.name.contains("EXPECTED FAILURE") {
            failed = false;
        } else if status != Status::Skipped && seen.name.contains("TOGGLE RESULT") {
            failed = !failed;
        }
        if !failed && !seen.name.starts_with(&self.prefix) {
            return;
        }
        let shown = visible(task, result);
        let text = |name: &str| shown.get(name).map(|v| v.to_string());
        let dump = self.format.text(&shown, "");
        let verdict = if failed {
            let why =
                text("msg").unwrap_or_else(|| format!("rc={}", text("rc").unwrap_or_else(|| "0".into())));
            Verdict::Failed(why, dump)
        } else if status == Status::Skipped {
            Verdict::Skipped(text("skip_reason").unwrap_or_else(|| "skipped".into()))
        } else {
            Verdict::Passed(Some(dump))
        };
        seen.hosts.insert(host.to_owned(), (seen.began.elapsed().as_secs_f64(), verdict));
    }

    fn stats(&mut self, _: &[(String, HostStats)], _: &Map) {
        let mut cases = Vec::new();
        for seen in self.tasks.values().filter(|seen| self.with_setup || !seen.is_setup) {
            for (host, (seconds, verdict)) in &seen.hosts {
                cases.push(Case {
                    name: format!("[{host}] {}: {}", seen.play, seen.name),
                    class: seen.class.clone(),
                    seconds: Some(*seconds),
                    verdict: verdict.clone(),
                });
            }
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let file = self.folder.join(format!("{}-{}.xml", self.playbook, now.as_secs_f64()));
        let written = fs::create_dir_all(&self.folder)
            .and_then(|()| fs::write_atomic(&file, report(&self.playbook, &cases)));
        if let Err(error) = written {
            // A reader that went away is noticed by the signal, not here.
            let _ = writeln!(self.out, "[WARNING]: the report for JUnit was not written: {error}");
        }
    }
}
