//! The lookup `config`: settings, and the options of the connection, become and shell plugins whose work bakery does
//! itself (`ansible/plugins/lookup/config.py`).

use bakery_jinja::{Error, Result};
use bakery_lang::{Map, Value};

use crate::Templar;

/// Options of plugins: type, plugin, option, the variables that set it, and its default.
const PLUGINS: &[(&str, &str, &str, &[&str], &str)] = &[
    ("connection", "ssh", "remote_user", &["ansible_user", "ansible_ssh_user"], ""),
    ("connection", "ssh", "port", &["ansible_port", "ansible_ssh_port"], ""),
    ("connection", "ssh", "host", &["ansible_host", "ansible_ssh_host"], ""),
    ("connection", "ssh", "password", &["ansible_password", "ansible_ssh_pass", "ansible_ssh_password"], ""),
    (
        "connection",
        "ssh",
        "ssh_args",
        &["ansible_ssh_args"],
        "-C -o ControlMaster=auto -o ControlPersist=60s",
    ),
    ("connection", "ssh", "ssh_common_args", &["ansible_ssh_common_args"], ""),
    ("connection", "ssh", "ssh_extra_args", &["ansible_ssh_extra_args"], ""),
    ("connection", "ssh", "timeout", &["ansible_ssh_timeout"], "10"),
    ("become", "sudo", "become_flags", &["ansible_become_flags", "ansible_sudo_flags"], "-H -S -n"),
    ("become", "sudo", "become_exe", &["ansible_become_exe", "ansible_sudo_exe"], "sudo"),
    ("become", "sudo", "become_user", &["ansible_become_user", "ansible_sudo_user"], "root"),
    ("become", "su", "become_flags", &["ansible_become_flags", "ansible_su_flags"], ""),
    ("become", "su", "become_exe", &["ansible_become_exe", "ansible_su_exe"], "su"),
    ("become", "su", "become_user", &["ansible_become_user", "ansible_su_user"], "root"),
    ("shell", "sh", "remote_tmp", &["ansible_remote_tmp"], "~/.ansible/tmp"),
];

pub(super) fn run(templar: &Templar, terms: &[Value], options: &Map) -> Result<Vec<Value>> {
    let text = |name: &str| options.get(name).filter(|v| !v.is_none()).map(|v| v.to_string());
    let missing = text("on_missing").unwrap_or_else(|| "error".into());
    if !matches!(missing.as_str(), "error" | "warn" | "skip") {
        return Err(Error::new(format!(
            "Invalid value '{missing}' for 'on_missing': it must be one of: error, skip, warn"
        )));
    }
    let origin = options.get("show_origin").is_some_and(|v| v.is_true());
    let plugin = match (text("plugin_type"), text("plugin_name")) {
        (Some(kind), Some(name)) => Some((kind, name)),
        (None, None) => None,
        _ => {
            return Err(Error::new(
                "Both plugin_type and plugin_name are required, cannot use one without the other",
            ));
        }
    };
    let mut out = Vec::new();
    for term in terms {
        let Some(name) = term.as_str() else {
            return Err(Error::new(format!("Invalid setting identifier, \"{term}\" is not a string")));
        };
        let found = match &plugin {
            Some((kind, plugin)) => option(templar, kind, plugin, name)?,
            None => setting(templar, name),
        };
        match found {
            Some((value, from)) if origin => out.push(Value::list(vec![value, from.into()])),
            Some((value, _)) => out.push(value),
            None if missing == "error" => {
                return Err(Error::new(format!("No config definition exists for '{name}'")));
            }
            None if missing == "warn" => templar.warn(format!("Skipping, did not find setting {name}")),
            None => {}
        }
    }
    Ok(out)
}

fn setting(templar: &Templar, name: &str) -> Option<(Value, String)> {
    let settings = &templar.loader.as_ref()?.settings;
    Some((settings.named(name)?, settings.origin_of(name)))
}

/// An option of a plugin, and where it comes from.
fn option(templar: &Templar, kind: &str, plugin: &str, name: &str) -> Result<Option<(Value, String)>> {
    let plugin = plugin.strip_prefix("ansible.builtin.").unwrap_or(plugin);
    let known = PLUGINS.iter().any(|(k, p, ..)| *k == kind && *p == plugin)
        || kind == "lookup" && super::NAMES.contains(&plugin);
    if !known {
        return Err(Error::new(format!("Unable to load {kind} plugin \"{plugin}\"")));
    }
    let Some((.., variables, default)) =
        PLUGINS.iter().find(|(k, p, o, ..)| (*k, *p, *o) == (kind, plugin, name))
    else {
        return Ok(None);
    };
    for variable in *variables {
        if let Some(value) = templar.layers.get(variable) {
            return Ok(Some((templar.evaluate(&value)?, format!("var: {variable}"))));
        }
    }
    let value = if default.is_empty() { Value::None } else { (*default).into() };
    Ok(Some((value, "default".into())))
}
