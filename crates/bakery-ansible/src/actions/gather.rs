//! `gather_facts`: the modules that gather, one after the other or side by side
//! (`ansible/plugins/action/gather_facts.py`).

use std::time::Duration;

use bakery_jinja::Scope as _;
use bakery_lang::{Diagnostic, Map, Value};

use super::{Modules, Outcome, Trouble, fail, failure, ok};
use crate::Templar;
use crate::filters::merge_into;

/// Seconds that a module may take beside others where nothing limits it: a day.
const LONG: u64 = 86_400;

/// Between looks at modules that run side by side.
const PAUSE: Duration = Duration::from_millis(100);

/// What the modules' results make together.
struct Gathered {
    result: Map,
    failed: Map,
    skipped: Map,
}

impl Gathered {
    /// Takes the result of a module; of the same fact the last one counts, mappings are merged and lists joined.
    fn add(&mut self, module: &str, result: &Map) {
        let is = |name: &str| result.get(name).is_some_and(|v| v.is_true());
        if is("failed") {
            self.failed.set(module, result.copied());
        } else if is("skipped") {
            self.skipped.set(module, result.copied());
        } else {
            let kept = ["ansible_facts", "warnings", "deprecations"];
            let kept = kept.iter().filter_map(|name| Some((*name, result.get(name)?)));
            merge_into(&self.result, &kept.collect(), true, "append_rp");
        }
    }

    /// The result of the action.
    fn outcome(self, modules: usize) -> Outcome {
        let names =
            |of: &Map| of.pairs().iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>().join(", ");
        let facts = self.result.get("ansible_facts").and_then(|f| f.as_map().cloned()).unwrap_or_default();
        if !self.skipped.is_empty() {
            self.result.set("msg", format!("The following modules were skipped: {}.", names(&self.skipped)));
            if self.skipped.len() == modules {
                self.result.set("skipped", true);
            }
            self.result.set("skipped_modules", self.skipped);
        }
        if self.failed.is_empty() {
            facts.set("_ansible_facts_gathered", true);
            return Ok(self.result);
        }
        let text = format!("The following modules failed to execute: {}.", names(&self.failed));
        self.result.extend(&failure(&text));
        let reasons = self.failed.pairs().into_iter().filter_map(|(_, result)| result.get("msg"));
        let reasons: Vec<String> = reasons.map(|reason| reason.to_string()).collect();
        let shown = Diagnostic::new(format!("Task failed: Action failed: {text} {}", reasons.join(" ")));
        self.result.set("failed_modules", self.failed);
        Err(Trouble::Failed(self.result, Some(shown)))
    }
}

pub(super) fn gather_facts(args: &Map, templar: &Templar, modules: &mut dyn Modules) -> Outcome {
    let args = args.copied();
    let names = fact_modules(&args, templar, modules)?;
    let parallel = match templar.variable("ansible_facts_parallel") {
        Some(given) => Some(templar.value(&given)?),
        None => args.get("parallel"),
    };
    args.remove("parallel");
    let parallel = match parallel.filter(|given| !given.is_none()) {
        Some(given) => bakery_modules::args::boolean(&given).map_err(fail)?,
        None => names.len() > 1,
    };
    let result = ok();
    result.set("ansible_facts", Map::new());
    let mut gathered = Gathered { result, failed: Map::new(), skipped: Map::new() };
    if parallel {
        side_by_side(&names, &args, templar, modules, &mut gathered)?;
    } else {
        for name in &names {
            let args = module_args(name, &args, templar, modules)?;
            gathered.add(name, &result_of(super::run(name, &args, templar, modules))?);
        }
    }
    gathered.outcome(names.len())
}

/// Starts every module in the background, and collects what they find in the order in which they end.
fn side_by_side(
    names: &[String],
    args: &Map,
    templar: &Templar,
    modules: &mut dyn Modules,
    gathered: &mut Gathered,
) -> Result<(), Trouble> {
    let timeout = args.get("gather_timeout").and_then(|t| t.to_string().parse().ok());
    let mut jobs = Vec::new();
    for name in names {
        let args = module_args(name, args, templar, modules)?;
        // A module that takes the time limit itself keeps it.
        let limit = timeout.filter(|_| !args.contains("gather_timeout"));
        modules.next_in_background(limit.unwrap_or(LONG));
        let started = result_of(super::run(name, &args, templar, modules))?;
        match started.get("ansible_job_id") {
            Some(id) => jobs.push((name, id)),
            None => gathered.add(name, &started),
        }
    }
    while !jobs.is_empty() {
        let mut running = Vec::new();
        for (name, id) in jobs {
            let ask = |mode: &str| Map::from_iter([("jid", id.clone()), ("mode", mode.into())]);
            let state = modules.module("async_status", &ask("status"))?;
            let state = state.as_map().cloned().unwrap_or_default();
            if state.get("finished").is_some_and(|f| f.is_true()) {
                modules.module("async_status", &ask("cleanup"))?;
                gathered.add(name, &state);
            } else {
                running.push((name, id));
            }
        }
        jobs = running;
        if !jobs.is_empty() {
            if bakery_host::signal::caught().is_some() {
                return Err(fail("interrupted while facts were gathered"));
            }
            std::thread::sleep(PAUSE);
        }
    }
    Ok(())
}

/// A module's result, whether it failed or not.
fn result_of(outcome: Outcome) -> Outcome {
    match outcome {
        Err(Trouble::Failed(result, _)) => Ok(result),
        other => other,
    }
}

fn is_setup(name: &str) -> bool {
    matches!(name, "setup" | "ansible.builtin.setup" | "ansible.legacy.setup")
}

/// The modules of `FACTS_MODULES`; `smart` is the one of the network's operating system, or `setup`.
fn fact_modules(args: &Map, templar: &Templar, modules: &dyn Modules) -> Result<Vec<String>, Trouble> {
    let settings = &modules.loader().settings;
    let given = match templar.variable("ansible_facts_modules") {
        Some(given) => templar.value(&given)?,
        None => settings.named("FACTS_MODULES").unwrap_or_default(),
    };
    let mut names = bakery_modules::args::string_list(&given).map_err(fail)?;
    let Some(smart) = names.iter().position(|name| name == "smart") else { return Ok(names) };
    names.remove(smart);
    let has_setup = |names: &[String]| names.iter().any(|name| is_setup(name));
    let system = match args.get("network_os").or_else(|| templar.variable("ansible_network_os")) {
        Some(system) => templar.value(&system)?,
        None => Value::None,
    };
    if !system.is_true() {
        if !has_setup(&names) {
            names.push("ansible.legacy.setup".into());
        }
        return Ok(names);
    }
    let known = settings.named("CONNECTION_FACTS_MODULES").unwrap_or_default();
    match known.get(&system.to_string()) {
        Some(module) => names.push(module.to_string()),
        None if names.is_empty() => {
            return Err(fail(format!(
                "No fact modules available and we could not find a fact module for your network OS ({system}), try setting one via the `FACTS_MODULES` configuration."
            )));
        }
        None => {}
    }
    if has_setup(&names) {
        templar.warn("Detected 'setup' module and a network OS is set, the output when running it will reflect 'localhost' and not the target when a networking connection plugin is used.".into());
    }
    Ok(names)
}

/// The arguments for one of the modules: those of `setup` are for it alone, and every module has its own defaults.
fn module_args(name: &str, args: &Map, templar: &Templar, modules: &mut dyn Modules) -> Result<Map, Trouble> {
    let own: Map = args.pairs().into_iter().filter(|(_, value)| !value.is_none()).collect();
    if !is_setup(name) {
        for (key, called) in
            [("gather_subset", "subset"), ("gather_timeout", "timeout"), ("filter", "filter")]
        {
            let Some(value) = own.remove(key) else { continue };
            let is_all =
                key == "gather_subset" && (value.as_str() == Some("all") || value == Value::strings(["all"]));
            if !is_all {
                templar.warn(format!("Not passing {called}({value}) to {name}"));
            }
        }
    }
    for (key, value) in modules.defaults(name, templar)?.pairs() {
        if own.get_value(&key).is_none() {
            own.insert(key, value);
        }
    }
    Ok(own)
}
