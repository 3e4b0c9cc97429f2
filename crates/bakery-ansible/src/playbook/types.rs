//! The shapes of plays, blocks and tasks.

use std::path::PathBuf;
use std::sync::Arc;

use bakery_lang::{Map, Origin, Value};

use super::RoleUse;

/// Keywords that plays, roles, blocks and tasks share and that inner ones inherit.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "the names are the language's own")]
pub struct Keywords {
    pub when: Vec<Value>,
    pub tags: Vec<Value>,
    pub vars: Map,
    pub environment: Vec<Value>,
    pub r#become: Option<Value>,
    pub become_user: Option<Value>,
    pub become_method: Option<Value>,
    pub become_exe: Option<Value>,
    pub become_flags: Option<Value>,
    pub connection: Option<Value>,
    pub delegate_to: Option<Value>,
    pub delegate_facts: Option<Value>,
    pub run_once: Option<Value>,
    pub ignore_errors: Option<Value>,
    pub ignore_unreachable: Option<Value>,
    pub any_errors_fatal: Option<Value>,
    pub check_mode: Option<Value>,
    pub diff: Option<Value>,
    pub no_log: Option<Value>,
    pub throttle: Option<Value>,
    pub timeout: Option<Value>,
    pub debugger: Option<Value>,
    pub module_defaults: Vec<Value>,
    pub collections: Vec<Value>,
    pub notify: Vec<Value>,
    pub remote_user: Option<Value>,
    pub port: Option<Value>,
}

/// A loop over the items of `loop`, or of a lookup.
#[derive(Debug, Clone)]
pub struct Loop {
    /// `items` for `loop`, else the lookup of a `with_` keyword.
    pub lookup: Option<String>,
    /// What is looped over.
    pub items: Value,
    /// `loop_control`.
    pub control: Map,
}

/// A task or handler.
#[derive(Debug, Clone)]
pub struct Task {
    /// Its name as written.
    pub name: Option<Value>,
    /// The action or module, as written.
    pub action: String,
    /// Its arguments.
    pub args: Map,
    /// What it inherits and hands down.
    pub keywords: Keywords,
    /// Its loop.
    pub r#loop: Option<Loop>,
    /// Where the result goes.
    pub register: Option<String>,
    /// When the result counts as changed.
    pub changed_when: Vec<Value>,
    /// When the result counts as failed.
    pub failed_when: Vec<Value>,
    /// When to stop trying.
    pub until: Vec<Value>,
    /// How often to try again.
    pub retries: Option<Value>,
    /// Seconds between tries.
    pub delay: Option<Value>,
    /// Seconds that an asynchronous task may take.
    pub r#async: Option<Value>,
    /// Seconds between looks at it.
    pub poll: Option<Value>,
    /// Topics that a handler answers to.
    pub listen: Vec<Value>,
    /// What `static` says of an old `include`: whether it is read before any host is known.
    pub include_is_static: Option<bool>,
    /// Where it is written.
    pub origin: Origin,
    /// The file that it is in.
    pub file: PathBuf,
    /// The role that it belongs to.
    pub role: Option<Arc<RoleUse>>,
}

impl Task {
    /// A task with nothing but where it is written.
    pub(crate) fn new(origin: Origin) -> Self {
        Self {
            name: None,
            action: String::new(),
            args: Map::new(),
            keywords: Keywords::default(),
            r#loop: None,
            register: None,
            changed_when: vec![],
            failed_when: vec![],
            until: vec![],
            retries: None,
            delay: None,
            r#async: None,
            poll: None,
            listen: vec![],
            include_is_static: None,
            origin,
            file: PathBuf::new(),
            role: None,
        }
    }
}

/// Tasks with common keywords, and what to do when they fail.
#[derive(Debug, Clone)]
pub struct Block {
    /// Its name.
    pub name: Option<Value>,
    /// What its tasks inherit.
    pub keywords: Keywords,
    /// The tasks.
    pub block: Vec<Entry>,
    /// What to do when one fails.
    pub rescue: Vec<Entry>,
    /// What to do in any case.
    pub always: Vec<Entry>,
    /// The role that begins here, if this block is one.
    pub role: Option<Arc<RoleUse>>,
    /// What tells this role from another use of it, if it runs once on a host.
    pub once: Option<String>,
}

/// A task or a block.
#[derive(Debug, Clone)]
pub enum Entry {
    /// A task.
    Task(Arc<Task>),
    /// A block.
    Block(Arc<Block>),
}

/// A play.
#[derive(Debug, Clone)]
pub struct Play {
    /// Its name; the hosts if it has none.
    pub name: String,
    /// The patterns of its hosts.
    pub hosts: Value,
    /// What everything in it inherits.
    pub keywords: Keywords,
    /// Files of variables.
    pub vars_files: Vec<Value>,
    /// Variables to ask for.
    pub vars_prompt: Vec<Value>,
    /// Whether facts are gathered.
    pub gather_facts: Option<Value>,
    /// Which facts.
    pub gather_subset: Option<Value>,
    /// `fact_path`: the folder of local facts.
    pub fact_path: Option<Value>,
    /// How many hosts at a time.
    pub serial: Option<Value>,
    /// Whether handlers run on hosts that failed.
    pub force_handlers: Option<Value>,
    /// How many hosts may fail, in percent.
    pub max_fail_percentage: Option<Value>,
    /// The order of hosts.
    pub order: Option<Value>,
    /// How tasks are spread over hosts.
    pub strategy: Option<Value>,
    /// Tasks before the roles.
    pub pre_tasks: Vec<Entry>,
    /// Roles as blocks.
    pub roles: Vec<Entry>,
    /// Tasks after the roles.
    pub tasks: Vec<Entry>,
    /// Tasks after those, and after their handlers.
    pub post_tasks: Vec<Entry>,
    /// Handlers of the play and its roles, in order of definition.
    pub handlers: Vec<Entry>,
    /// Roles whose defaults and variables the whole play sees.
    pub public_roles: Vec<Arc<RoleUse>>,
    /// The folder of its playbook, which may be an imported one.
    pub playbook_dir: PathBuf,
    /// Where its modules are searched after the playbook's and the roles' own folders.
    pub libraries: Vec<PathBuf>,
    /// Where it is written.
    pub origin: Origin,
}

/// A playbook.
#[derive(Debug, Clone)]
pub struct Playbook {
    /// Its file.
    pub path: PathBuf,
    /// Its plays, imported ones in their places.
    pub plays: Vec<Play>,
}
