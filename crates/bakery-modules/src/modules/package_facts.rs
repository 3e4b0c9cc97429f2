//! `package_facts`: installed packages (`ansible/modules/package_facts.py`).

use bakery_host::command::find_program;
use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Returns the installed packages as the fact `packages`.
#[derive(ModuleArgs)]
struct Args {
    /// Package managers to ask; `auto` for all that are known.
    #[arg(default = "auto")]
    manager: Vec<String>,
    /// Whether the first that has packages counts, or all of them.
    #[arg(default = "first", choices = "first,all")]
    strategy: String,
}

/// A package manager: its name, its program, and what asks it.
struct Manager {
    name: &'static str,
    program: &'static str,
    list: fn(&Host, &str) -> Result<Vec<Map>, Failure>,
}

const MANAGERS: &[Manager] = &[
    Manager { name: "rpm", program: "rpm", list: rpm },
    Manager { name: "apt", program: "dpkg-query", list: apt },
    Manager { name: "pacman", program: "pacman", list: pacman },
    Manager { name: "apk", program: "apk", list: apk },
];

/// Other names of managers, and those that only other systems have.
const OTHER_NAMES: &[(&str, &str)] = &[("dnf", "rpm"), ("dnf5", "rpm"), ("yum", "rpm"), ("zypper", "rpm")];
const ELSEWHERE: &[&str] = &["pkg", "pkg5", "pkgng", "portage", "pkg_info", "openbsd_pkg"];

fn package(fields: &[(&str, &str)]) -> Map {
    fields.iter().map(|(name, value)| (*name, Value::from(*value))).collect()
}

fn output(host: &Host, argv: &[&str]) -> Result<String, Failure> {
    let output = host.try_run(argv)?;
    if output.success() {
        return Ok(output.text());
    }
    let (code, said) = (output.code, output.error_text());
    Err(Failure::new(format!("Unable to list packages rc={code} : {said}")))
}

fn apt(host: &Host, program: &str) -> Result<Vec<Map>, Failure> {
    let format = "${Package}\t${Version}\t${Architecture}\t${Section}\t${db:Status-Status}\n";
    let read = |line: &str| match line.split('\t').collect::<Vec<_>>()[..] {
        [name, version, arch, category, "installed"] => {
            Some(package(&[("name", name), ("version", version), ("arch", arch), ("category", category)]))
        }
        _ => None,
    };
    Ok(output(host, &[program, "-W", "-f", format])?.lines().filter_map(read).collect())
}

fn rpm(host: &Host, program: &str) -> Result<Vec<Map>, Failure> {
    let format = "%{NAME}\t%{VERSION}\t%{RELEASE}\t%{EPOCH}\t%{ARCH}\n";
    let read = |line: &str| match line.split('\t').collect::<Vec<_>>()[..] {
        [name, version, release, epoch, arch] => {
            let one = package(&[("name", name), ("version", version), ("release", release), ("arch", arch)]);
            one.set("epoch", epoch.parse::<i64>().map_or(Value::None, Value::from));
            Some(one)
        }
        _ => None,
    };
    Ok(output(host, &[program, "-qa", "--qf", format])?.lines().filter_map(read).collect())
}

fn apk(host: &Host, program: &str) -> Result<Vec<Map>, Failure> {
    let read = |line: &str| match line.rsplitn(3, '-').collect::<Vec<_>>()[..] {
        [release, version, name] => package(&[("name", name), ("version", version), ("release", release)]),
        _ => package(&[("name", line), ("version", ""), ("release", "")]),
    };
    Ok(output(host, &[program, "info", "-v"])?.lines().map(read).collect())
}

/// Reads `pacman -Qi`: paragraphs of fields that may go on in the next line.
fn pacman(host: &Host, program: &str) -> Result<Vec<Map>, Failure> {
    let text = output(host, &["env", "LC_ALL=C.UTF-8", program, "-Qi"])?;
    let read = |paragraph: &str| {
        let mut fields: Vec<(&str, String)> = Vec::new();
        for line in paragraph.lines() {
            match (line.split_once(" : "), fields.last_mut()) {
                (Some((name, value)), _) if !line.starts_with(' ') => {
                    fields.push((name.trim(), value.to_owned()));
                }
                (_, Some((_, value))) => {
                    value.push_str("  ");
                    value.push_str(line.trim_start());
                }
                _ => {}
            }
        }
        let field = |name: &str| fields.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_str());
        let version = field("Version").unwrap_or_default();
        let arch = field("Architecture").unwrap_or_default();
        let one = package(&[("name", field("Name")?), ("version", version), ("arch", arch)]);
        let provided = field("Provides").filter(|text| *text != "None");
        let names = |text: &str| {
            let names = text.split("  ").map(|name| name.split('=').next().unwrap_or_default());
            Value::strings(names.filter(|name| !name.is_empty()))
        };
        one.set("provides", provided.map_or(Value::None, names));
        Some(one)
    };
    Ok(text.split("\n\n").filter_map(read).collect())
}

fn run(args: Args, host: &mut Host) -> Run {
    let asked: Vec<String> = args.manager.iter().map(|name| name.to_lowercase()).collect();
    let is_auto = asked.iter().any(|name| name == "auto");
    let mut wanted: Vec<&str> = asked.iter().map(String::as_str).filter(|name| *name != "auto").collect();
    if is_auto {
        wanted.extend(MANAGERS.iter().map(|manager| manager.name));
    }
    let own = |name: &str| {
        OTHER_NAMES.iter().find(|(other, _)| *other == name).map_or(name.to_owned(), |o| o.1.into())
    };
    let known = |name: &str| ELSEWHERE.contains(&name) || MANAGERS.iter().any(|m| m.name == own(name));
    let unknown: Vec<&str> = wanted.iter().copied().filter(|name| !known(name)).collect();
    if !unknown.is_empty() {
        return Err(Failure::new(if is_auto {
            "Could not auto detect a usable package manager, check warnings for details.".to_owned()
        } else {
            format!("Unsupported package managers requested: {}", unknown.join(", "))
        }));
    }
    let packages = Map::new();
    let mut seen: Vec<String> = Vec::new();
    let mut found = false;
    for name in &wanted {
        let name = own(name);
        if seen.contains(&name) || found && args.strategy == "first" {
            continue;
        }
        seen.push(name.clone());
        let is_asked = asked.contains(&name);
        let manager = MANAGERS.iter().find(|m| m.name == name);
        // The task's own PATH may lead elsewhere.
        let program = manager.and_then(|m| find_program(m.program));
        let (Some(manager), Some(program)) = (manager, program) else {
            if is_asked {
                let program = manager.map_or(name.as_str(), |m| m.program);
                host.warn(format!(
                    "Requested package manager {name} was not usable by this module: Failed to find required executable \"{program}\" in paths: {}",
                    std::env::var("PATH").unwrap_or_default()
                ));
            }
            continue;
        };
        let list = (manager.list)(host, &program.display().to_string()).unwrap_or_else(|failure| {
            host.warn(format!("Failed to retrieve packages with {name}: {}", failure.msg));
            vec![]
        });
        if list.is_empty() && is_asked {
            host.warn(format!("Found \"{name}\" but no associated packages"));
        }
        found |= !list.is_empty();
        for one in list {
            one.set("source", name.as_str());
            let key = one.get("name").unwrap_or_default().to_string();
            match packages.get(&key) {
                Some(Value::List(same)) => same.update(|items| items.push(one.into())),
                _ => {
                    packages.set(&key, vec![one.into()]);
                }
            }
        }
    }
    if !found {
        let managers = Value::strings(&wanted);
        return Err(Failure::new(format!(
            "Could not detect a supported package manager from the following list: {managers}, or the required Python library is not installed. Check warnings for details."
        )));
    }
    Ok(Outcome::unchanged().with("ansible_facts", Value::map([("packages", packages.into())])))
}

module!("package_facts", "ansible.builtin", Args, run);
