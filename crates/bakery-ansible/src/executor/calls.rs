//! The module calls of one task: on its target, in the background, by modules that bakery does not have itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bakery_lang::{Diagnostic, Map, Value, json};

use super::interpreters::{Found, Python, clean};
use crate::actions::{self, Modules, Place, failure};
use crate::bundle::{self, Bundle};
use crate::connection::{Call, Connections, Endpoint, Escalation, Target, Unreachable};
use crate::playbook::Loader;
use crate::{Templar, foreign};

/// The parameters that Ansible gives every module (`ansible/plugins/action/__init__.py`, `_update_module_args`).
pub(super) fn internal(name: &str, check: bool, diff: bool, no_log: bool, verbosity: u8) -> Map {
    let map = Map::new();
    map.set("_ansible_check_mode", check);
    map.set("_ansible_diff", diff);
    map.set("_ansible_no_log", no_log);
    map.set("_ansible_debug", false);
    map.set("_ansible_verbosity", u32::from(verbosity));
    map.set("_ansible_version", "2.19.14");
    map.set("_ansible_module_name", name);
    map.set("_ansible_syslog_facility", "LOG_USER");
    map.set("_ansible_selinux_special_fs", Value::strings(["fuse", "nfs", "vboxsf", "ramfs", "9p", "vfat"]));
    map.set("_ansible_socket", Value::None);
    map.set("_ansible_shell_executable", "/bin/sh");
    map.set("_ansible_keep_remote_files", false);
    map.set("_ansible_tmpdir", Value::None);
    map.set("_ansible_remote_tmp", "~/.ansible/tmp");
    map.set("_ansible_ignore_unknown_opts", false);
    map.set("_ansible_target_log_info", Value::None);
    map.set("_ansible_tracebacks_for", vec![]);
    map
}

/// Takes out what Ansible tells its modules and no one else (`ansible/vars/clean.py`, `strip_internal_keys`).
fn without_internal(value: &Value) {
    match value {
        Value::Map(map) => {
            for (key, inner) in map.pairs() {
                match key.as_str() {
                    Some(name) if name.starts_with("_ansible_") => drop(map.remove(name)),
                    _ => without_internal(&inner),
                }
            }
        }
        Value::List(list) => list.items().iter().for_each(without_internal),
        _ => {}
    }
}

/// Module calls of one task.
pub(super) struct Calls<'a> {
    pub(super) connections: &'a Connections,
    /// The task's name as it is shown.
    pub(super) task: String,
    pub(super) scope: foreign::Scope<'a>,
    /// What Ansible tells its modules besides their own parameters.
    pub(super) internal: Map,
    /// The task's host, as messages name it.
    pub(super) host: &'a str,
    pub(super) python: Python,
    /// The interpreter that was looked for in this task.
    pub(super) found: Option<Found>,
    /// What variables say of other interpreters, by the line that names one.
    pub(super) others: &'a dyn Fn(&str) -> Result<Option<String>, Diagnostic>,
    pub(super) verbosity: u8,
    pub(super) limit: Option<Duration>,
    /// Seconds that the module may take in the background, and those between looks at it.
    pub(super) background: Option<(u64, u64)>,
    /// Where jobs in the background have their files, unless in the usual place.
    pub(super) async_dir: Option<String>,
    /// What `module_defaults` gives a module.
    pub(super) defaults: &'a dyn Fn(&str, &Templar) -> Result<Map, Diagnostic>,
    /// Is told what each look at such a job finds.
    pub(super) polled: &'a dyn Fn(&Value),
    /// Where modules run; an error if there is no way.
    pub(super) endpoint: Result<Endpoint, String>,
    /// The host that the task is delegated to.
    pub(super) delegated: Option<String>,
    pub(super) escalation: Option<Escalation>,
    pub(super) check: bool,
    pub(super) diff: bool,
    pub(super) environment: Vec<(String, String)>,
}

impl Calls<'_> {
    /// What a module in Python needs on another machine; its call then names what is in the bundle.
    fn bundle(&self, call: &Map, found: &foreign::Foreign) -> crate::Result<Option<Arc<Bundle>>> {
        let is_python = call.get("style").is_some_and(|s| s.as_str() == Some("python"));
        if !is_python || !matches!(self.endpoint, Ok(Endpoint::Ssh(_))) {
            return Ok(None);
        }
        let folders = |name: &str| -> Vec<PathBuf> {
            let items = call.get(name).and_then(|v| v.as_items()).unwrap_or_default();
            items.iter().map(|path| PathBuf::from(path.to_string())).collect()
        };
        let mut named = bundle::collections_in(&found.text());
        for other in [call.get("package"), call.get("moved")].into_iter().flatten() {
            named.extend(bundle::collections_in(&other.to_string()));
        }
        let bundle = bundle::of(&folders("paths"), &folders("utils"), &named)?;
        call.set("bundle", bundle.digest.as_str());
        call.set("paths", Value::strings(["."]));
        call.set("utils", Value::strings(&bundle.utils));
        Ok(Some(bundle))
    }

    /// A call as the task makes it.
    pub(super) fn call_of<'b>(
        &'b self,
        module: &'b str,
        args: &'b Map,
        escalation: Option<Escalation>,
    ) -> Call<'b> {
        Call {
            task: &self.task,
            secret: self.internal.get("_ansible_no_log").is_some_and(|v| v.is_true()),
            module,
            args,
            check: self.check,
            diff: self.diff,
            environment: self.environment.clone(),
            escalation,
            limit: self.limit,
        }
    }

    fn call(&mut self, name: &str, args: &Map) -> Result<Value, Unreachable> {
        let call = self.call_of(name, args, self.escalation.clone());
        let endpoint = self.endpoint.as_ref().map_err(|why| Unreachable(why.clone()))?;
        self.connections.run(endpoint, &call)
    }

    /// Starts a module in the background; with `poll`, looks at it every so many seconds until it ended.
    fn in_background(&mut self, name: &str, args: &Map, limit: u64, poll: u64) -> Result<Value, Unreachable> {
        let mut random = [0u8; 8];
        // Without randomness the clock and the process tell jobs apart.
        let _ = getrandom::fill(&mut random);
        let jid = format!("j{}.{}", u64::from_le_bytes(random) % 1_000_000_000_000, std::process::id());
        let start = Map::new();
        start.set("_async_dir", self.async_dir.clone());
        start.set("jid", jid.as_str());
        start.set("time_limit", limit);
        start.set("module", name);
        start.set("arguments", json::dumps(&Value::Map(args.clone()), 0, false));
        let started = self.call("async_wrapper", &start)?;
        if poll == 0 {
            if let Value::Map(map) = &started {
                map.remove("_pid");
                map.remove("invocation");
            }
            return Ok(started);
        }
        let folder = self.async_dir.clone();
        let ask = |mode: &str| {
            Map::from_iter([
                ("_async_dir", Value::from(folder.clone())),
                ("jid", jid.as_str().into()),
                ("mode", mode.into()),
            ])
        };
        let mut left = limit;
        loop {
            bakery_host::signal::sleep(Duration::from_secs(poll.min(left.max(1))));
            left = left.saturating_sub(poll);
            let now = self.call("async_status", &ask("status"))?;
            let finished = now.get("finished").is_some_and(|f| f.is_true());
            if !finished {
                (self.polled)(&now);
            }
            if finished || left == 0 || bakery_host::signal::caught().is_some() {
                if !finished {
                    let result =
                        failure(&format!("async task did not complete within the requested time - {limit}s"));
                    result.set("async_result", now);
                    return Ok(result.into());
                }
                self.call("async_status", &ask("cleanup"))?;
                return Ok(now);
            }
        }
    }
}

impl Modules for Calls<'_> {
    fn module(&mut self, name: &str, args: &Map) -> Result<Value, Unreachable> {
        self.discover()?;
        match self.background.take() {
            Some((limit, poll)) => self.in_background(name, args, limit, poll),
            None if name == "async_status" => {
                let args = args.copied();
                args.set("_async_dir", self.async_dir.clone());
                self.call(name, &args)
            }
            None => self.call(name, args),
        }
    }

    fn controller_file(&mut self, path: &Path) -> Option<Vec<u8>> {
        if matches!(self.connections.controller, Target::Local { .. }) {
            return bakery_host::fs::read(path).ok();
        }
        let args = Map::from_iter([("src", Value::from(path.display().to_string()))]);
        let call = Call {
            task: "",
            secret: false,
            check: false,
            diff: false,
            environment: vec![],
            limit: None,
            ..self.call_of("slurp", &args, None)
        };
        let result = self.connections.run(&Endpoint::Controller, &call).ok()?;
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.decode(result.get("content")?.to_string()).ok()
    }

    fn on_controller(&mut self, name: &str, args: &Map) -> Result<Value, Unreachable> {
        self.connections.run(&Endpoint::Controller, &self.call_of(name, args, None))
    }

    fn place(&self) -> Place {
        match &self.endpoint {
            Ok(Endpoint::Ssh(ssh)) => Place::Ssh(Box::new(ssh.clone())),
            Ok(Endpoint::Target) if self.connections.phase == bakery_modules::Phase::Bake => Place::Image,
            _ => Place::Here,
        }
    }

    fn shares_files(&self) -> bool {
        let is_local = |target: &Target| matches!(target, Target::Local { .. });
        // What was done while baking is known by what calls have in them.
        self.connections.phase != bakery_modules::Phase::Bake
            && is_local(&self.connections.controller)
            && match &self.endpoint {
                Ok(Endpoint::Target) => is_local(&self.connections.target),
                Ok(Endpoint::Controller) => true,
                _ => false,
            }
    }

    fn reset(&mut self) {
        if let Ok(endpoint) = &self.endpoint {
            self.connections.reset(endpoint);
        }
    }

    fn delegated(&self) -> Option<String> {
        self.delegated.clone()
    }

    fn becomes(&self) -> Option<String> {
        self.escalation.as_ref().map(|wanted| wanted.user.clone())
    }

    fn check(&self) -> bool {
        self.check
    }

    fn verbosity(&self) -> u8 {
        self.verbosity
    }

    fn defaults(&self, name: &str, templar: &Templar) -> Result<Map, Diagnostic> {
        (self.defaults)(name, templar)
    }

    fn next_in_background(&mut self, limit: u64) {
        self.background = Some((limit, 0));
    }

    fn loader(&self) -> &Loader {
        self.scope.loader
    }

    fn python_action(&self, name: &str) -> Option<String> {
        self.scope.python_action(name)
    }

    fn collections(&self) -> Vec<String> {
        let mut names: Vec<String> = self.scope.searched().map(str::to_owned).collect();
        // What comes with the playbook and ansible-core is searched in any case.
        if !names.is_empty()
            && !names.iter().any(|n| matches!(n.as_str(), "ansible.builtin" | "ansible.legacy"))
        {
            names.push("ansible.legacy".into());
        }
        names
    }

    fn local_action(&self, name: &str) -> Option<String> {
        self.scope.local_action(name)
    }

    fn foreign(&mut self, name: &str, args: &Map, local_only: bool) -> Option<actions::Outcome> {
        let found = if local_only { self.scope.local(name) } else { self.scope.find(name) }?;
        if let Err(unreachable) = self.discover() {
            return Some(Err(unreachable.into()));
        }
        let interpreter = |shebang: Option<&str>| match shebang {
            Some(line) => (self.others)(line).map_err(crate::Error::other),
            None => self.interpreter(),
        };
        let call = match self.scope.call(name, &found, args, &self.internal, &interpreter) {
            Ok(call) => call,
            Err(error) => return Some(Err(error.diagnostic.into())),
        };
        let bundle = match self.bundle(&call, &found) {
            Ok(bundle) => bundle,
            Err(error) => return Some(Err(error.diagnostic.into())),
        };
        let mut result = self.module("foreign", &call);
        if let (Some(bundle), Ok(answer)) = (bundle, &result)
            && answer.get("bundle_is_missing").is_some_and(|m| m.is_true())
        {
            // Only the first module of its kind on a target.
            use base64::Engine as _;
            call.set("bundle_data", base64::engine::general_purpose::STANDARD.encode(&bundle.bytes));
            result = self.module("foreign", &call);
        }
        let result = match result {
            Ok(result) => result.as_map().cloned().unwrap_or_default(),
            Err(unreachable) => return Some(Err(unreachable.into())),
        };
        for (key, value) in result.pairs() {
            if key.as_str() != Some("ansible_facts") {
                without_internal(&value);
            }
        }
        if let Some(Value::Map(facts)) = result.get("ansible_facts") {
            let taken = clean(&facts).into_iter();
            let texts = taken.map(|name| format!("Removed restricted key from module data: {name}"));
            let warnings = result.get("warnings").and_then(|w| w.as_items()).unwrap_or_default();
            let warnings: Vec<Value> = warnings.into_iter().chain(texts.map(Value::from)).collect();
            if !warnings.is_empty() {
                result.set("warnings", warnings);
            }
        }
        // Only the module knows which of its parameters are secret: what it does not show of its call is not shown.
        let own = result
            .get("invocation")
            .filter(|i| i.get("module_args").is_some_and(|a| a.get("program").is_none()));
        let invocation = own.and_then(|i| i.as_map().cloned()).unwrap_or_default();
        let interpreter = self.interpreter().ok().flatten();
        invocation.set("interpreter", interpreter.unwrap_or_else(|| "python3".into()));
        result.set("invocation", invocation);
        Some(Ok(result))
    }
}
