//! A play: its hosts, batches, files of variables and facts.

use std::sync::Arc;

use bakery_lang::{Map, Source, Value};

use super::context::Context;
use super::run::{HostProgress, Runner};
use super::strategy::Strategy;
use crate::Result;
use crate::callback::PlayInfo;
use crate::playbook::{Entry, Play, Task};

impl Runner<'_> {
    pub(super) fn play(&self, play: &Play) -> Result<()> {
        let asked;
        let play = if play.vars_prompt.is_empty() {
            play
        } else {
            let mut with_answers = play.clone();
            with_answers.keywords.vars = play.keywords.vars.copied();
            with_answers.keywords.vars.extend(&self.vars_prompt(play)?);
            asked = with_answers;
            &asked
        };
        let id = self.next_id();
        if play.playbook_dir != self.loader().playbook_dir {
            let mut loader = (*self.loader()).clone();
            loader.playbook_dir.clone_from(&play.playbook_dir);
            loader.libraries.clone_from(&play.libraries);
            self.change_scene(|scene| scene.loader = Arc::new(loader));
        }
        let names = self.loader().template(&play.hosts, &play.keywords.vars)?;
        let pattern = match &names {
            Value::List(items) => items.items().iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
            other => other.to_string(),
        };
        let (mut hosts, unmatched) = self.scene().inventory.matching(&pattern)?;
        for part in unmatched {
            self.pattern_mismatch(&part)?;
        }
        if let Some(limit) = &self.options.limit {
            self.scene().inventory.limit(&mut hosts, limit)?;
        }
        let matched = hosts.len();
        hosts.retain(|h| !self.is(h, HostProgress::is_down));
        let order =
            play.order.as_ref().map(|o| self.loader().template(o, &play.keywords.vars)).transpose()?;
        match order.map(|o| o.to_string()).as_deref() {
            Some("sorted") => hosts.sort(),
            Some("reverse_sorted") => {
                hosts.sort();
                hosts.reverse();
            }
            Some("reverse_inventory") => hosts.reverse(),
            Some("shuffle") => shuffle(&mut hosts),
            None | Some("inventory") => {}
            Some(other) => {
                return Err(crate::Error::message(format!(
                    "Invalid 'order' specified for inventory hosts: {other}"
                )));
            }
        }
        self.warn_of_reserved(&play.keywords.vars);
        let check = play.keywords.check_mode.as_ref().map_or(self.options.check, Value::is_true);
        let info = PlayInfo { id, name: play.name.clone(), origin: play.origin.clone(), check };
        self.callback().play_start(&info);
        if hosts.is_empty() {
            if matched == 0 {
                self.callback().no_hosts();
            }
            return Ok(());
        }
        for host in &hosts {
            self.known_host(host)?;
            self.mark(host, |s| {
                s.ended = false;
                s.notifications.clear();
                s.notified.clear();
            });
        }
        self.change_scene(|scene| {
            scene.play = Some(Arc::new(play.clone()));
            scene.play_hosts.clone_from(&hosts);
            scene.public_roles.clone_from(&play.public_roles);
        });
        self.handlers_mut().clear();
        self.progress().completed.clear();
        let context = Context {
            r#become: self.options.r#become.then_some(Value::Bool(true)).into_iter().collect(),
            no_log: self
                .loader()
                .settings
                .flag("ANSIBLE_NO_LOG", "defaults", "no_log", false)
                .then(|| true.into()),
            ..Context::default()
        }
        .enter(&play.keywords);
        // The play's own `vars` are a layer of their own, below those of roles.
        let context = Context { vars: vec![], ..context };
        self.collect_handlers(&play.handlers, &Context { handler: true, ..context.clone() });
        let serial = play.serial.as_ref().map(|s| self.loader().value(s, &play.keywords.vars)).transpose()?;
        let sizes = batches(serial.as_ref(), hosts.len());
        let most = play
            .max_fail_percentage
            .as_ref()
            .map(|v| self.loader().value(v, &play.keywords.vars))
            .transpose()?;
        {
            let mut progress = self.progress();
            progress.max_fail = most.and_then(|v| v.as_float().or_else(|| v.to_string().parse().ok()));
            progress.play_ended = false;
        }
        let strategy = Strategy::of(play, &self.loader())?;
        let mut rest = hosts.as_slice();
        for size in sizes {
            let (batch, others) = rest.split_at(size.min(rest.len()));
            rest = others;
            if batch.is_empty() {
                break;
            }
            self.change_scene(|scene| scene.batch = batch.to_vec());
            self.by_strategy(strategy, batch, |hosts| {
                self.vars_files(play, hosts, false)?;
                self.gather(play, hosts, &context)?;
                self.vars_files(play, hosts, true)?;
                for part in [&play.pre_tasks, &play.roles, &play.tasks, &play.post_tasks] {
                    self.entries(part, hosts, &context)?;
                    if !std::ptr::eq(part, &raw const play.roles) {
                        self.flush_handlers(hosts)?;
                    }
                }
                Ok(())
            })?;
            let all_down = batch.iter().all(|h| self.is(h, HostProgress::is_down));
            let progress = self.progress();
            if all_down || progress.stopped || progress.play_ended {
                break;
            }
        }
        Ok(())
    }

    /// A part of a play's `hosts` that names nothing (`HOST_PATTERN_MISMATCH`).
    fn pattern_mismatch(&self, part: &str) -> Result<()> {
        let text = format!("Could not match supplied host pattern, ignoring: {part}");
        let setting = self.loader().settings.text(
            "ANSIBLE_HOST_PATTERN_MISMATCH",
            "inventory",
            "host_pattern_mismatch",
        );
        match setting.as_deref() {
            Some("error") => {
                let text = format!("Could not match supplied host pattern: {part}");
                return Err(crate::Error::message(text));
            }
            Some("ignore") => {}
            _ => self.show_warnings(vec![text]),
        }
        Ok(())
    }

    /// Reads the play's `vars_files` for every host. Before facts are known, a name that depends on them is passed over.
    fn vars_files(&self, play: &Play, batch: &[String], gathered: bool) -> Result<()> {
        // Names that hold no template mean the same after facts are known.
        if play.vars_files.is_empty() || gathered && !play.vars_files.iter().any(Value::has_template) {
            return Ok(());
        }
        for host in batch {
            if !self.is(host, |s| !s.is_down()) {
                continue;
            }
            let all = Map::new();
            for entry in &play.vars_files {
                let choices = entry.as_items().unwrap_or_else(|| vec![entry.clone()]);
                let several = matches!(entry, Value::List(_));
                let mut found = None;
                for choice in &choices {
                    let templar = self.templar(host, &Context::default(), Map::new(), None).with(&all);
                    let name = match templar.text(choice) {
                        Ok(name) => name,
                        Err(_) if several || !gathered => continue,
                        Err(diagnostic) => return Err(crate::Error::other(diagnostic)),
                    };
                    let loader = self.loader();
                    let folder = &loader.playbook_dir;
                    let candidates = [folder.join("vars").join(&name), folder.join(&name)];
                    if let Some(path) = candidates.into_iter().find(|p| p.is_file()) {
                        found = Some(path);
                        break;
                    }
                    if !several {
                        return Err(crate::Error::message(format!("vars file {name} was not found")));
                    }
                }
                if let Some(path) = found {
                    all.extend(&self.loader().vars_file(&path)?);
                } else if several && (gathered || !entry.has_template()) {
                    let names = choices.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                    return Err(crate::Error::message(format!("vars file [{names}] was not found")));
                }
            }
            self.warn_of_reserved(&all);
            if let Some(state) = self.host(host) {
                state.vars.files.replace(&all);
            }
        }
        Ok(())
    }

    fn gather(&self, play: &Play, batch: &[String], context: &Context) -> Result<()> {
        let wanted =
            play.gather_facts.as_ref().is_none_or(|v| v.is_true() && v.to_string().to_lowercase() != "false");
        let gathering =
            self.loader().settings.text("ANSIBLE_GATHERING", "defaults", "gathering").unwrap_or_default();
        let explicit = gathering == "explicit" && play.gather_facts.is_none();
        let is_new = |host: &&String| gathering != "smart" || self.is(host, |s| !s.gathered);
        let batch: Vec<String> = batch.iter().filter(is_new).cloned().collect();
        if !wanted
            || explicit
            || batch.is_empty()
            || !super::context::selected(&["always".into()], &self.options.tags, &self.options.skip_tags)
        {
            return Ok(());
        }
        let source = Source::new("<gather_facts>", "");
        let args = Map::new();
        if let Some(subset) = &play.gather_subset {
            args.set("gather_subset", subset.clone());
        }
        if let Some(path) = &play.fact_path {
            args.set("fact_path", path.clone());
        }
        let task = Task {
            name: Some("Gathering Facts".into()),
            action: "gather_facts".into(),
            args,
            keywords: crate::playbook::Keywords { tags: vec!["always".into()], ..Default::default() },
            ..Task::new(source.at_offset(0))
        };
        let started = std::mem::replace(&mut self.progress().started, true);
        let result = self.entries(
            &[Entry::Task(std::sync::Arc::new(task))],
            &batch,
            // Of every host, even where tasks run once.
            &Context { when: vec![], run_once: None, ..context.clone() },
        );
        self.progress().started = started;
        result
    }
}

/// The sizes of `serial`'s batches; the last one repeats.
fn batches(serial: Option<&Value>, total: usize) -> Vec<usize> {
    let Some(serial) = serial else { return vec![total] };
    let sizes: Vec<usize> = serial
        .as_items()
        .unwrap_or_else(|| vec![serial.clone()])
        .iter()
        .map(|size| {
            let text = size.to_string();
            match text.strip_suffix('%') {
                Some(percent) => (percent.parse::<f64>().unwrap_or(100.0) / 100.0 * total as f64) as usize,
                None => text.parse().unwrap_or(total),
            }
            .max(1)
        })
        .collect();
    let mut out = Vec::new();
    let mut left = total;
    let mut at = 0;
    while left > 0 {
        let size = sizes.get(at).or(sizes.last()).copied().unwrap_or(left).min(left);
        out.push(size);
        left -= size;
        at += 1;
    }
    out
}

/// An order without a pattern: by the clock.
fn shuffle(hosts: &mut [String]) {
    let nanos = |at: usize| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.map_or(at, |d| (d.subsec_nanos() as usize).wrapping_mul(2_654_435_761).wrapping_add(at))
    };
    for at in (1..hosts.len()).rev() {
        hosts.swap(at, nanos(at) % (at + 1));
    }
}
