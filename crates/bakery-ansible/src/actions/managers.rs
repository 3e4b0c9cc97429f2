//! `service` and `package`: which module of the target's manager they are, where that matters (`plugins/action/service.py`,
//! `plugins/action/package.py`).
//!
//! The modules of these names ask the target themselves, which saves a question. It has to be known here what the manager
//! is if `module_defaults` has something for it, or if a task gives options that are its alone.

use bakery_jinja::Scope as _;
use bakery_lang::Map;

use super::{Modules, Outcome, Trouble};
use crate::templar::Templar;

/// Modules that `service` may be, and what one of them does not take of it.
const SERVICE: &[&str] = &["systemd", "sysvinit"];
const NOT_OF_SYSTEMD: &[&str] = &["pattern", "runlevel", "sleep", "arguments", "args"];
/// Modules that `package` may be.
const PACKAGE: &[&str] = &[
    "apt",
    "dnf",
    "dnf5",
    "yum",
    "zypper",
    "pacman",
    "apk",
    "homebrew",
    "pkgng",
    "portage",
    "xbps",
    "rpm_ostree_pkg",
];

pub(super) fn service(args: &Map, templar: &Templar, modules: &mut dyn Modules) -> Outcome {
    let own = bakery_modules::find("service").map(|module| module.doc().args).unwrap_or_default();
    let is_own = |name: &str| own.iter().any(|arg| arg.name == name || arg.aliases.contains(&name));
    let is_others = args.keys().iter().any(|name| !is_own(&name.to_string()));
    let is_named = args.get("use").is_some_and(|named| named.to_string() == "sysvinit");
    if !is_others && !is_named && !has_defaults(SERVICE, templar, modules)? {
        return super::module(modules, "service", args);
    }
    let manager = manager("service_mgr", None, args, templar, modules)?;
    if manager == "sysvinit" {
        let args = with_defaults("sysvinit", args, templar, modules)?.copied();
        args.remove("use");
        return super::module(modules, "sysvinit", &args);
    }
    if manager != "systemd" {
        let args = with_defaults(&manager, args, templar, modules)?;
        return super::module(modules, "service", &args);
    }
    let args = args.copied();
    args.remove("use");
    for name in NOT_OF_SYSTEMD {
        if args.remove(name).is_some() {
            templar.warn(format!("Ignoring \"{name}\" as it is not used in \"systemd\""));
        }
    }
    let args = with_defaults("systemd", &args, templar, modules)?;
    super::module(modules, "systemd", &args)
}

pub(super) fn package(args: &Map, templar: &Templar, modules: &mut dyn Modules) -> Outcome {
    let setting = match templar.variable("ansible_package_use").filter(|_| !args.contains("use")) {
        Some(setting) => Some(templar.value(&setting)?.to_string()).filter(|setting| !setting.is_empty()),
        None => None,
    };
    if setting.is_none() && !has_defaults(PACKAGE, templar, modules)? {
        return super::module(modules, "package", args);
    }
    let manager = manager("pkg_mgr", setting, args, templar, modules)?;
    let args = with_defaults(&manager, args, templar, modules)?.copied();
    args.set("use", manager);
    super::module(modules, "package", &args)
}

fn has_defaults(names: &[&str], templar: &Templar, modules: &dyn Modules) -> Result<bool, Trouble> {
    for name in names {
        if !modules.defaults(name, templar)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Defaults of the manager's module stand behind what the task gives.
fn with_defaults(
    manager: &str,
    args: &Map,
    templar: &Templar,
    modules: &dyn Modules,
) -> Result<Map, Trouble> {
    let all = modules.defaults(manager, templar)?.copied();
    all.extend(args);
    Ok(all)
}

/// The manager: what the task says, the setting, a fact of the target, or what the target answers.
fn manager(
    fact: &str,
    setting: Option<String>,
    args: &Map,
    templar: &Templar,
    modules: &mut dyn Modules,
) -> Result<String, Trouble> {
    let named = args.get("use").map(|named| named.to_string().to_lowercase()).filter(|named| named != "auto");
    if let Some(named) = named.or(setting) {
        return Ok(named);
    }
    let known = match modules.delegated() {
        // Facts are the host's that the task is for.
        Some(_) => None,
        None => templar.variable("ansible_facts").and_then(|facts| facts.get(fact)),
    };
    if let Some(known) = known {
        return Ok(templar.value(&known)?.to_string());
    }
    let ask = Map::from_iter([
        ("gather_subset", bakery_lang::Value::strings(["!all"])),
        ("filter", bakery_lang::Value::strings([format!("ansible_{fact}")])),
    ]);
    let answer = super::module(modules, "setup", &ask)?;
    let found = answer.get("ansible_facts").and_then(|facts| facts.get(&format!("ansible_{fact}")));
    Ok(found.map(|found| found.to_string()).unwrap_or_default())
}
