//! What the controller does itself: actions without a module, and the controller's half of modules that need files or
//! templates from it. Everything else goes to the target as it is.

mod fetch;
mod files;
mod folder;
mod gather;
mod machines;
mod managers;
mod values;

pub(crate) use files::render_lookup;

use bakery_lang::{Diagnostic, Map, Value};

use crate::Templar;
use crate::collections::parts;
use crate::connection::{Ssh, Unreachable};
use crate::plugins::{Call, Kind};

/// Names of actions that are no modules.
pub(crate) const NAMES: &[&str] = &[
    "add_host",
    "assert",
    "debug",
    "fail",
    "fetch",
    "gather_facts",
    "group_by",
    "import_role",
    "import_tasks",
    "include",
    "include_role",
    "include_tasks",
    "include_vars",
    "meta",
    "pause",
    "reboot",
    "script",
    "set_fact",
    "set_stats",
    "template",
    "validate_argument_spec",
    "wait_for_connection",
];

/// Whether a name is an action or a module that plays may use.
pub(crate) fn is_known(name: &str) -> bool {
    let short = bakery_modules::canonical_name(name);
    NAMES.contains(&short) || bakery_modules::find(name).is_some() || bakery_modules::is_known_elsewhere(name)
}

/// Where a task's modules run, as seen from the controller.
pub(crate) enum Place {
    /// On the controller itself.
    Here,
    /// In an image that is being made.
    Image,
    /// On a machine that is reached by ssh.
    Ssh(Box<Ssh>),
}

/// How an action calls modules on the target or the controller.
pub(crate) trait Modules {
    /// Runs a module on the task's target.
    fn module(&mut self, name: &str, args: &Map) -> Result<Value, Unreachable>;
    /// The bytes of a file on the controller, or `None` when it is not there.
    fn controller_file(&mut self, path: &std::path::Path) -> Option<Vec<u8>>;
    /// Runs a module on the controller, as whoever started the run.
    fn on_controller(&mut self, name: &str, args: &Map) -> Result<Value, Unreachable>;
    /// Where the task's target is.
    fn place(&self) -> Place;
    /// Whether modules see the controller's files under their own paths.
    fn shares_files(&self) -> bool;
    /// Closes the connection to the target; the next module opens another one.
    fn reset(&mut self);
    /// The host that the task is delegated to.
    fn delegated(&self) -> Option<String>;
    /// The user that modules run as, if it is another one than who logs in.
    fn becomes(&self) -> Option<String>;
    /// Whether nothing may be changed.
    fn check(&self) -> bool;
    /// Runs a module that bakery does not have itself; `None` when it is not found. With `local_only`, only one that
    /// comes with the playbook, its roles or its configuration.
    fn foreign(&mut self, name: &str, args: &Map, local_only: bool) -> Option<Outcome>;
    /// The full name of an action in Python of the playbook or of a role, which goes before what bakery has.
    fn local_action(&self, name: &str) -> Option<String>;
    /// The full name of an action in Python, if there is one of a name.
    fn python_action(&self, name: &str) -> Option<String>;
    /// The collections in which names without one are searched.
    fn collections(&self) -> Vec<String>;
    /// How much is said.
    fn verbosity(&self) -> u8;
    /// What `module_defaults` gives a module.
    fn defaults(&self, name: &str, templar: &Templar) -> Result<Map, Diagnostic>;
    /// Has the next module start in the background, for so many seconds at the most: its result is that of the start.
    fn next_in_background(&mut self, limit: u64);
    /// What reads files.
    fn loader(&self) -> &crate::playbook::Loader;
}

/// How an action ended.
pub(crate) type Outcome = Result<Map, Trouble>;

/// Why an action has no result.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It failed, with what to show.
    Failed(Map, Option<Diagnostic>),
    /// The target could not be reached.
    Unreachable(String),
}

impl From<Unreachable> for Trouble {
    fn from(unreachable: Unreachable) -> Self {
        Self::Unreachable(unreachable.0)
    }
}

impl From<Diagnostic> for Trouble {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::Failed(failure(&diagnostic.message), Some(diagnostic))
    }
}

/// A failed result with a message.
pub(crate) fn failure(message: &str) -> Map {
    let map = Map::new();
    map.set("changed", false);
    map.set("failed", true);
    map.set("msg", message);
    map
}

pub(crate) fn fail(message: impl AsRef<str>) -> Trouble {
    Trouble::Failed(failure(message.as_ref()), None)
}

/// A result without change.
pub(crate) fn ok() -> Map {
    let map = Map::new();
    map.set("changed", false);
    map
}

/// Runs an action or module with evaluated arguments.
pub(crate) fn run(name: &str, args: &Map, templar: &Templar, modules: &mut dyn Modules) -> Outcome {
    // What comes with the playbook goes before what is here, unless that is asked for.
    if !name.starts_with("ansible.builtin.") {
        if let Some(action) = modules.local_action(name) {
            return python_action(&action, name, args, templar, modules);
        }
        if let Some(outcome) = modules.foreign(name, args, true) {
            return outcome;
        }
    }
    let short = bakery_modules::canonical_name(name);
    match short {
        "gather_facts" => gather::gather_facts(args, templar, modules),
        "package" => managers::package(args, templar, modules),
        "service" => managers::service(args, templar, modules),
        "debug" => values::debug(args, templar, modules.verbosity()),
        "set_fact" => values::set_fact(args),
        "set_stats" => values::set_stats(args),
        "assert" => values::assert(args, templar),
        "fail" => Err(fail(
            args.get("msg").map_or_else(|| "Failed as requested from task".into(), |m| m.to_string()),
        )),
        "include_vars" => values::include_vars(args, templar, modules),
        "add_host" | "group_by" => {
            // The executor changes the inventory; the result says what with.
            let result = ok();
            result.set(short, args.clone());
            Ok(result)
        }
        "validate_argument_spec" => values::validate_argument_spec(args, templar),
        "wait_for_connection" => values::wait_for_connection(args, modules),
        "template" => files::template(args, templar, modules),
        "copy" => files::copy(args, templar, modules),
        "unarchive" => files::unarchive(args, templar, modules),
        "assemble" => files::assemble(args, templar, modules),
        "script" => files::script(args, templar, modules),
        "uri" => files::uri(args, templar, modules),
        "fetch" => fetch::fetch(args, templar, modules),
        "patch" => files::patch(args, templar, modules),
        "reboot" => machines::reboot(args, modules),
        "synchronize" => machines::synchronize(args, templar, modules),
        _ if bakery_modules::find(name).is_some() => module(modules, short, args),
        _ => {
            if let Some(action) = modules.python_action(name) {
                return python_action(&action, name, args, templar, modules);
            }
            modules.foreign(name, args, false).unwrap_or_else(|| {
            let collection = match parts(name) {
                Some((namespace, collection, _)) => Some(format!("{namespace}.{collection}")),
                None => bakery_modules::moved_to(short).map(|(collection, _)| collection.to_owned()),
            };
            let install = match collection.as_deref() {
                Some(core @ ("ansible.builtin" | "ansible.legacy")) => format!("it is part of {core}: install ansible-core"),
                Some(collection) => format!("install its collection with `bakery galaxy collection install {collection}`"),
                None => "install the collection that it comes from".into(),
            };
            Err(fail(format!(
                "the module `{name}` is not one that bakery has, and it was found in no `library` folder, collection or installed ansible-core; {install}, or use a module that bakery has (`bakery doc --list`)"
            )))
        })
        }
    }
}

/// Runs an action in Python on the controller.
fn python_action(action: &str, task: &str, args: &Map, templar: &Templar, modules: &dyn Modules) -> Outcome {
    let call = Call {
        named: args.clone(),
        variables: templar.everything(),
        check: modules.check(),
        task,
        collections: modules.collections(),
        ..Call::new(Kind::Action, action)
    };
    let loader = modules.loader();
    let result = loader.plugins.run(loader, &call);
    let result = result.map_err(|why| fail(format!("Task failed: {}", why.message)))?;
    result.as_map().cloned().ok_or_else(|| fail("the action returned no mapping"))
}

fn module(modules: &mut dyn Modules, name: &str, args: &Map) -> Outcome {
    let result = modules.module(name, args)?;
    result.as_map().cloned().ok_or_else(|| fail("the module returned no mapping"))
}
