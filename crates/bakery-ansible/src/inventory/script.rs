//! Inventories that a program tells: JSON for `--list`, and for `--host` where that says no variables of hosts
//! (`ansible/plugins/inventory/script.py`, whose sentences these are).

use std::path::Path;

use bakery_host::Cmd;
use bakery_lang::{Diagnostic, Map, Source, Value, json, yaml};

use super::Inventory;
use crate::playbook::Loader;
use crate::{Error, Result};

/// Ansible's name for the type of a value.
fn kind(value: &Value) -> String {
    format!("'{}'", if value.is_none() { "NoneType" } else { value.type_name() })
}

/// What a program said.
struct Output {
    text: String,
    /// On its standard error.
    errors: String,
}

impl Output {
    /// An error that shows what the program said of it.
    fn wrong(&self, message: impl Into<String>) -> Error {
        wrong(message, &self.errors)
    }
}

fn wrong(message: impl Into<String>, errors: &str) -> Error {
    let said = format!("standard error of the inventory script:\n{errors}");
    Error::other(Diagnostic::new(message).maybe_hint((!errors.trim().is_empty()).then_some(said)))
}

/// Runs the program.
fn run(path: &Path, args: &[&str]) -> Result<Output> {
    let output = Cmd::new(path).args(args).output().map_err(|error| {
        let command = std::iter::once(path.display().to_string()).chain(args.iter().map(|a| (*a).to_owned()));
        let command = command.collect::<Vec<_>>().join(" ");
        Error::message(format!("Failed to execute inventory script command '{command}': {error}"))
    })?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.success() {
        let code = output.code;
        return Err(wrong(format!("Inventory script returned non-zero exit code {code}."), &errors));
    }
    let text = String::from_utf8(output.stdout).map_err(|_| {
        let text = "Inventory script result contained characters that cannot be interpreted as UTF-8.";
        wrong(text, &errors)
    })?;
    Ok(Output { text, errors })
}

/// Checks that what `--list` prints is a mapping of the form that is known.
fn check(output: &Output) -> Result<()> {
    let unable =
        |why: String| output.wrong(format!("Unable to get JSON decoder for inventory script result. {why}"));
    let value =
        json::parse(&output.text).map_err(|e| unable(format!("Value could not be parsed as JSON: {e}")))?;
    let Value::Map(all) = &value else {
        return Err(unable(format!("Value is {} instead of 'dict'.", kind(&value))));
    };
    let meta = match all.get("_meta") {
        None => return Ok(()),
        Some(Value::Map(meta)) => meta,
        Some(other) => {
            let why = format!("Value contains '_meta' which is {} instead of 'dict'.", kind(&other));
            return Err(unable(why));
        }
    };
    match meta.get("profile") {
        None => {}
        Some(Value::Str(profile)) => match profile.as_str() {
            "inventory_legacy" => {}
            name if name.starts_with("inventory_") => {
                return Err(unable(format!("Unknown profile name '{name}'.")));
            }
            name => return Err(unable(format!("Non-inventory profile '{name}' is not allowed."))),
        },
        Some(other) => {
            let why = format!("Value contains '_meta.profile' which is {} instead of 'str'.", kind(&other));
            return Err(unable(why));
        }
    }
    Ok(())
}

impl Inventory {
    /// Reads what a program tells.
    ///
    /// # Errors
    /// A program that does not run, and what is no inventory.
    pub(super) fn script(&mut self, path: &Path, loader: &Loader) -> Result<()> {
        let output = run(path, &["--list"])?;
        check(&output)?;
        let read = |output: &Output| read(path, output, loader);
        let all = read(&output).map_err(|error| {
            output.wrong(format!("Inventory script result could not be parsed as JSON. {}", error.message))
        })?;
        let shown =
            ("ANSIBLE_INVENTORY_PLUGIN_SCRIPT_STDERR", "inventory_plugin_script", "always_show_stderr");
        if !output.errors.is_empty() && loader.settings.flag(shown.0, shown.1, shown.2, true) {
            loader.warn(output.errors.trim_end());
        }
        let mut hosts = Vec::new();
        let mut meta = None;
        for (name, group) in all.pairs() {
            let name = name.to_string();
            if name != "_meta" {
                self.told_group(&name, group, &mut hosts, loader)?;
                continue;
            }
            let found = group.get("hostvars").unwrap_or_default();
            let Value::Map(found) = found else {
                let why =
                    format!("Value contains '_meta.hostvars' which is {} instead of 'dict'.", kind(&found));
                return Err(Error::message(why));
            };
            meta = Some(found);
        }
        if meta.is_none() {
            loader.deprecated(
                "Inventory scripts should always provide 'meta.hostvars'. Host variables will be collected by running the inventory script with the '--host' option for each host.",
            );
        }
        for host in hosts {
            let vars = match &meta {
                Some(meta) => meta.get(&host).unwrap_or_else(|| Map::new().into()),
                None => told_host(path, &host, &read)?,
            };
            let Value::Map(vars) = vars else {
                let why = format!("Invalid data from file, expected dictionary and got:\n\n{vars}");
                return Err(Error::message(why));
            };
            self.hosts.entry(host).or_default().extend(&vars);
        }
        Ok(())
    }

    /// A group: its hosts, variables and children; old forms are a list of hosts, and the variables of a host.
    fn told_group(
        &mut self,
        name: &str,
        told: Value,
        hosts: &mut Vec<String>,
        loader: &Loader,
    ) -> Result<()> {
        if name != "all" && name != "ungrouped" {
            self.group_mut(name);
        }
        let group = match told {
            Value::Map(map) if ["hosts", "vars", "children"].iter().any(|k| map.contains(k)) => map,
            Value::Map(vars) => {
                loader.deprecated(&format!("Treating malformed group '{name}' as the sole host of that group. Variables provided in this manner cannot be templated."));
                Map::from_iter([("hosts", Value::strings([name])), ("vars", Value::Map(vars).untrusted())])
            }
            other => {
                let was = kind(&other);
                loader.deprecated(&format!("Group '{name}' was converted to 'dict' from {was}."));
                Map::from_iter([("hosts", other)])
            }
        };
        let expected = |part: &str, value: &Value, what: &str| {
            let kind = kind(value);
            Error::message(format!("Value contains '{name}.{part}' which is {kind} instead of '{what}'."))
        };
        match group.get("hosts") {
            None => {}
            Some(Value::List(list)) => {
                for host in list.items().iter().map(ToString::to_string) {
                    self.add_host(&host, name);
                    hosts.push(host);
                }
            }
            Some(other) => return Err(expected("hosts", &other, "list")),
        }
        match group.get("vars") {
            None => {}
            Some(Value::Map(vars)) => self.group_vars(name).extend(&vars),
            Some(other) => return Err(expected("vars", &other, "dict")),
        }
        for child in group.get("children").and_then(|c| c.as_items()).unwrap_or_default() {
            self.add_child(name, &child.to_string());
        }
        Ok(())
    }
}

/// What the program says of one host.
fn told_host(
    path: &Path,
    host: &str,
    read: &dyn Fn(&Output) -> std::result::Result<Map, Diagnostic>,
) -> Result<Value> {
    let output = run(path, &["--host", host])?;
    if output.text.trim().is_empty() {
        return Ok(Map::new().into());
    }
    let is_json = json::parse(&output.text).map(|_| ()).map_err(|error| error.to_string());
    is_json.and_then(|()| read(&output).map_err(|error| error.message)).map(Value::Map).map_err(|error| {
        let text = format!("Inventory script result for host '{host}' could not be parsed as JSON. {error}");
        output.wrong(text)
    })
}

/// The mapping that a program printed; its text may be templates, as that of a person's file.
fn read(path: &Path, output: &Output, loader: &Loader) -> std::result::Result<Map, Diagnostic> {
    let name = format!("<inventory script output from '{}'>", path.display());
    let mut node = yaml::parse_json_or_yaml(&Source::new(name, output.text.as_str()))?;
    loader.unlock(&mut node);
    let of_no_text = |key: &str| node.get(key).is_some();
    if ["__ansible_unsafe", "__ansible_vault"].into_iter().any(of_no_text) {
        return Err(Diagnostic::new("A mark of unsafe text or of a vault holds no text"));
    }
    match node.to_value() {
        Value::Map(map) => Ok(map),
        other => Err(Diagnostic::new(format!("Value is {} instead of 'dict'.", kind(&other)))),
    }
}
