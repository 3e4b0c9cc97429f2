//! How long things took (`ansible_collections/ansible/posix/plugins/callback/{timer,profile_tasks,profile_roles}.py`).

use std::io::Write;
use std::time::{Duration, Instant};

use bakery_ansible::callback::TaskInfo;
use bakery_ansible::{Callback, HostStats, Settings};
use bakery_lang::Map;
use indexmap::IndexMap;

use crate::default_output::banner;

/// The width of lines.
const WIDTH: usize = 79;

/// A line filled up with a letter.
fn filled(text: &str, with: char) -> String {
    if text.is_empty() {
        return format!("{} ", with.to_string().repeat(WIDTH));
    }
    let width = WIDTH.saturating_sub(text.len() + 1).max(3);
    format!("{text} {} ", with.to_string().repeat(width))
}

/// A name and its seconds, with dashes between them up to a width.
fn entry(name: &str, time: Duration, width: usize) -> String {
    let seconds = format!(" {:.2}s", time.as_secs_f64());
    format!("{:-<width$}{seconds:->9}", format!("{name} "))
}

fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    format!("{hours}:{minutes:02}:{:02}.{:03}", seconds % 60, time.subsec_millis())
}

/// Says when each task begins, how long the one before took, and how long everything did.
struct Clock<'a> {
    out: Box<dyn Write + Send + 'a>,
    start: Instant,
    last: Instant,
    summary_only: bool,
}

impl<'a> Clock<'a> {
    fn new(out: Box<dyn Write + Send + 'a>, summary_only: bool) -> Self {
        let now = Instant::now();
        Self { out, start: now, last: now, summary_only }
    }

    fn line(&mut self, text: &str) {
        // A reader that went away is noticed by the signal, not here.
        let _ = writeln!(self.out, "{text}");
        let _ = self.out.flush();
    }

    fn time(&mut self) {
        let now = jiff::Zoned::now().strftime("%A %d %B %Y  %H:%M:%S %z").to_string();
        let (step, whole) = (self.last.elapsed(), self.start.elapsed());
        self.last = Instant::now();
        self.line(&filled(&format!("{now} ({})       {}", clock(step), clock(whole)), '*'));
    }

    fn task(&mut self) {
        if !self.summary_only {
            self.time();
        }
    }

    fn recap(&mut self, title: &str) {
        let title = banner(title);
        self.line(&title);
        self.time();
        self.line(&filled("", '='));
    }
}

/// The whole time of a run.
pub(super) struct Timer<'a> {
    clock: Clock<'a>,
}

impl<'a> Timer<'a> {
    pub(super) fn new(out: Box<dyn Write + Send + 'a>) -> Self {
        Self { clock: Clock::new(out, true) }
    }
}

impl Callback for Timer<'_> {
    fn stats(&mut self, _: &[(String, HostStats)], _: &Map) {
        let seconds = self.clock.start.elapsed().as_secs();
        let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
        let title = banner("PLAYBOOK RECAP");
        self.clock.line(&title);
        self.clock.line(&format!(
            "Playbook run took {days} days, {hours} hours, {minutes} minutes, {} seconds\n\r",
            seconds % 60
        ));
    }
}

/// Times by name, and what is being timed.
struct Times<K> {
    spent: IndexMap<K, Duration>,
    current: Option<(K, Instant)>,
}

impl<K: std::hash::Hash + Eq + Clone> Times<K> {
    fn new() -> Self {
        Self { spent: IndexMap::new(), current: None }
    }

    /// What was timed ends, something else may begin.
    fn turn(&mut self, next: Option<K>) {
        let next = next.map(|key| (key, Instant::now()));
        if let Some((key, _)) = &next {
            self.spent.entry(key.clone()).or_default();
        }
        if let Some((key, began)) = std::mem::replace(&mut self.current, next) {
            *self.spent.entry(key).or_default() += began.elapsed();
        }
    }
}

/// The tasks that took longest.
pub(super) struct ProfileTasks<'a> {
    clock: Clock<'a>,
    times: Times<u64>,
    names: IndexMap<u64, (String, String)>,
    /// How many are told; all without a number.
    limit: Option<usize>,
    /// The longest first, last, or in the order of the run.
    descending: Option<bool>,
    with_paths: bool,
}

impl<'a> ProfileTasks<'a> {
    pub(super) fn new(settings: &Settings, out: Box<dyn Write + Send + 'a>, verbosity: u8) -> Self {
        let text = |variable: &str, key: &str| settings.text(variable, "callback_profile_tasks", key);
        let limit = text("PROFILE_TASKS_TASK_OUTPUT_LIMIT", "task_output_limit");
        Self {
            clock: Clock::new(
                out,
                settings.flag("PROFILE_TASKS_SUMMARY_ONLY", "callback_profile_tasks", "summary_only", false),
            ),
            times: Times::new(),
            names: IndexMap::new(),
            limit: limit.map_or(Some(20), |limit| limit.parse().ok()),
            descending: match text("PROFILE_TASKS_SORT_ORDER", "sort_order").as_deref() {
                Some("ascending") => Some(false),
                Some("none") => None,
                _ => Some(true),
            },
            with_paths: verbosity >= 2,
        }
    }
}

impl Callback for ProfileTasks<'_> {
    fn task_start(&mut self, task: &TaskInfo) {
        self.clock.task();
        self.times.turn(Some(task.id));
        let path = format!("{}:{}", task.origin.source.name, task.origin.line);
        self.names.entry(task.id).or_insert_with(|| (task.name.clone(), path));
    }

    fn stats(&mut self, _: &[(String, HostStats)], _: &Map) {
        self.clock.recap("TASKS RECAP");
        self.times.turn(None);
        let mut times: Vec<(u64, Duration)> =
            self.times.spent.iter().map(|(id, time)| (*id, *time)).collect();
        if let Some(descending) = self.descending {
            times.sort_by_key(|(_, time)| *time);
            if descending {
                times.reverse();
            }
        }
        for (id, time) in times.into_iter().take(self.limit.unwrap_or(usize::MAX)) {
            let Some((name, path)) = self.names.get(&id) else { continue };
            let mut text = entry(name, time, WIDTH - 9);
            if self.with_paths {
                text += &format!("\n{:-<WIDTH$}", format!("{path} "));
            }
            self.clock.line(&text);
        }
    }
}

/// The roles, and the modules of tasks in none, by the time that they took.
pub(super) struct ProfileRoles<'a> {
    clock: Clock<'a>,
    times: Times<String>,
}

impl<'a> ProfileRoles<'a> {
    pub(super) fn new(settings: &Settings, out: Box<dyn Write + Send + 'a>) -> Self {
        let only =
            settings.flag("PROFILE_ROLES_SUMMARY_ONLY", "callback_profile_roles", "summary_only", false);
        Self { clock: Clock::new(out, only), times: Times::new() }
    }
}

impl Callback for ProfileRoles<'_> {
    fn task_start(&mut self, task: &TaskInfo) {
        self.clock.task();
        let of = task.role.as_ref().map_or(&task.action, |role| role);
        self.times.turn(Some(of.clone()));
    }

    fn stats(&mut self, _: &[(String, HostStats)], _: &Map) {
        self.clock.recap("ROLES RECAP");
        self.times.turn(None);
        let mut times: Vec<(&String, &Duration)> = self.times.spent.iter().collect();
        times.sort_by_key(|(_, time)| std::cmp::Reverse(**time));
        let lines: Vec<String> = times.iter().map(|(name, time)| entry(name, **time, 70)).collect();
        let whole = entry("total", self.times.spent.values().sum(), 70);
        lines.iter().for_each(|line| self.clock.line(line));
        self.clock.line(&filled("", '~'));
        self.clock.line(&whole);
    }
}
