//! The list of modules, and how one is called.

use bakery_lang::{Map, Value};

use crate::args::{ArgSpec, ModuleArgs, Part, Reader, Rule, flattened};
use crate::{Host, Outcome, Run, modules};

/// A module: its name and what to call.
#[derive(Debug)]
pub struct Module {
    /// The short name, such as `file`.
    pub name: &'static str,
    /// The collection that it lives in, such as `ansible.builtin`.
    pub collection: &'static str,
    pub(crate) call: fn(&str, &Map, &mut Host) -> Value,
    pub(crate) doc: fn() -> ModuleDoc,
}

/// What the reference page shows.
#[derive(Debug)]
pub struct ModuleDoc {
    /// A sentence.
    pub summary: &'static str,
    /// The arguments.
    pub args: Vec<ArgSpec>,
}

impl Module {
    /// A module from its arguments' type and its function.
    pub(crate) const fn new(
        name: &'static str,
        collection: &'static str,
        call: fn(&str, &Map, &mut Host) -> Value,
        doc: fn() -> ModuleDoc,
    ) -> Self {
        Self { name, collection, call, doc }
    }

    /// Its reference page.
    pub fn doc(&self) -> ModuleDoc {
        (self.doc)()
    }

    /// Its name with its collection, `ansible.builtin.file`.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.collection, self.name)
    }

    /// Whether tasks may leave its collection out.
    fn is_found_by_short_name(&self) -> bool {
        PREFIXES.iter().any(|prefix| prefix.strip_suffix('.') == Some(self.collection))
    }
}

/// Makes a `MODULE` constant out of a name, a collection, an arguments type and a function.
macro_rules! module {
    ($name:literal, $collection:literal, $args:ty, $run:path) => {
        /// The module as the registry knows it.
        pub(crate) const MODULE: $crate::registry::Module = $crate::registry::Module::new(
            $name,
            $collection,
            |name, args, host| $crate::registry::call::<$args>(name, args, host, $run),
            $crate::registry::doc::<$args>,
        );
    };
}
pub(crate) use module;

pub(crate) fn doc<A: ModuleArgs>() -> ModuleDoc {
    ModuleDoc { summary: A::SUMMARY, args: flattened(A::PARTS) }
}

pub(crate) fn call<A: ModuleArgs>(
    name: &str,
    given: &Map,
    host: &mut Host,
    run: fn(A, &mut Host) -> Run,
) -> Value {
    called(name, given, host, A::PARTS, A::RULES, &mut |reader, host| {
        let args = A::read(reader);
        match reader.problem() {
            Some(problem) => Err(problem),
            None => Ok(run(args, host)),
        }
    })
}

/// What all modules have done for them around their own work.
fn called(
    name: &str,
    given: &Map,
    host: &mut Host,
    parts: &'static [Part],
    rules: &'static [Rule],
    run: &mut dyn FnMut(&Reader, &mut Host) -> Result<Run, String>,
) -> Value {
    let failed = |msg: String| {
        let map = Map::new();
        map.set("failed", true);
        map.set("changed", false);
        map.set("msg", msg);
        map
    };
    let reader = match Reader::new(name, given, parts, rules) {
        Ok(reader) => reader,
        Err(message) => return failed(message).into(),
    };
    for warning in &reader.warnings {
        host.warn(warning.as_str());
    }
    let by_environment = || {
        let own = host.environment.iter().find(|(name, _)| name == "ANSIBLE_UNSAFE_WRITES");
        own.map(|(_, value)| value.as_str().into())
    };
    let is_unsafe = given.get("unsafe_writes").filter(|v| !v.is_none()).or_else(by_environment);
    host.unsafe_writes = is_unsafe.is_some_and(|value| crate::args::boolean(&value).unwrap_or(false));
    let ran = run(&reader, host);
    host.clear_scratch();
    let result = match ran {
        Err(message) => return failed(message).into(),
        Ok(Ok(Outcome { changed, fields })) => {
            let map = Map::new();
            map.set("changed", changed);
            map.extend(&fields);
            map
        }
        Ok(Err(failure)) => {
            let map = failed(failure.msg);
            map.extend(&failure.fields);
            map
        }
    };
    add_path_info(&result);
    let diffs = host.take_diffs();
    // A module that shows its own diff has said all.
    if host.diff && !diffs.is_empty() && !result.contains("diff") {
        result.set("diff", Value::list(diffs));
    }
    let left = host.take_left_to_boot();
    if !left.is_empty() {
        result.set("left_to_boot", Value::strings(left));
    }
    let warnings = host.take_warnings();
    if !warnings.is_empty() {
        result.set("warnings", Value::strings(warnings));
    }
    let result = reader.without_secrets(&result);
    // A module that ran another one has said how that one was called.
    if !result.contains("invocation") {
        result.set("invocation", Map::from_iter([("module_args", Value::Map(reader.shown()))]));
    }
    result.into()
}

/// What every result says of the file that it names, as `AnsibleModule.add_path_info` adds it.
fn add_path_info(result: &Map) {
    let name = |key| result.get(key).and_then(|v: Value| v.as_str().map(str::to_owned));
    let Some(path) = name("path").or_else(|| name("dest")) else { return };
    let path = std::path::Path::new(&path);
    if path.exists() {
        result.extend(&crate::host::describe(path));
    }
}

/// Every module, by name.
pub fn all() -> &'static [&'static Module] {
    modules::ALL
}

/// Collections whose modules are found under their short names, most specific last.
const PREFIXES: &[&str] = &[
    "ansible.builtin.",
    "ansible.legacy.",
    "ansible.posix.",
    "ansible.windows.",
    "community.general.",
    "community.crypto.",
    "ansible.mysql.",
    "ansible.mariadb.",
    "community.mysql.",
    "community.postgresql.",
    "community.rabbitmq.",
    "community.docker.",
    "community.zabbix.",
    "community.grafana.",
    "community.mongodb.",
    "ansible.utils.",
    "ansible.netcommon.",
    "bakery.internal.",
];

/// Collections that have the modules of another one: `community.mysql` redirects to the first since its release 5, and
/// the second was cloned from it.
const SAME_MODULES: &[(&str, &str)] =
    &[("ansible.mysql", "community.mysql"), ("ansible.mariadb", "community.mysql")];

/// The name that modules are searched under, with today's name for renamed ones: without its collection, if that is one of
/// those whose modules may be named so.
pub fn canonical_name(name: &str) -> &str {
    let short = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    match short {
        "systemd_service" => "systemd",
        "yum" | "yum4" | "dnf4" | "dnf5" => "dnf",
        // `ansible.mariadb` has the modules of `ansible.mysql` under names of its own.
        "mariadb_db" => "mysql_db",
        "mariadb_info" => "mysql_info",
        "mariadb_query" => "mysql_query",
        "mariadb_replication" => "mysql_replication",
        "mariadb_user" => "mysql_user",
        "mariadb_variables" => "mysql_variables",
        other => other,
    }
}

/// The module of a name, with or without its collection.
pub fn find(name: &str) -> Option<&'static Module> {
    let searched = canonical_name(name);
    let (collection, short) = searched.rsplit_once('.').unwrap_or(("", searched));
    all().iter().copied().find(|module| {
        module.name == short
            && if collection.is_empty() {
                module.is_found_by_short_name()
            } else {
                module.collection == collection
            }
    })
}

/// Whether a collection, `community.general`, has a module that is native.
pub fn has(collection: &str, name: &str) -> bool {
    let same = SAME_MODULES.iter().find_map(|(other, own)| (*other == collection).then_some(*own));
    find(&format!("{collection}.{name}"))
        .is_some_and(|module| module.collection == same.unwrap_or(collection))
}

/// The collection that a module's old name means, and its name there, as ansible-core routes it: `amazon.aws` and `ec2_ami`
/// for `ec2_ami`.
pub fn moved_to(name: &str) -> Option<(&'static str, &'static str)> {
    let collections = include_str!("elsewhere.txt").lines().filter(|line| !line.starts_with('#'));
    collections.filter_map(|line| line.split_once(' ')).find_map(|(collection, names)| {
        let mut names = names.split(' ').map(|name| name.split_once('>').unwrap_or((name, name)));
        names.find(|(old, _)| *old == name).map(|(_, today)| (collection, today))
    })
}

/// Whether a name is that of a module of ansible-core or of a collection that is not native here, so that a play which
/// never runs it still loads.
pub fn is_known_elsewhere(name: &str) -> bool {
    name.matches('.').count() >= 2 || moved_to(canonical_name(name)).is_some()
}

/// Runs a module; the result is a mapping with at least `changed`, and `failed` and `msg` when it could not.
pub fn run(name: &str, args: &Map, host: &mut Host) -> Value {
    match find(name) {
        Some(module) => (module.call)(canonical_name(name), args, host),
        None => {
            let map = Map::new();
            map.set("failed", true);
            map.set("changed", false);
            map.set("msg", format!("the module `{name}` is not one that bakery has"));
            map.into()
        }
    }
}
