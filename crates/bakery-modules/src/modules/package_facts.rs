//! `package_facts`: installed packages.

use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Host, Outcome, Run};

/// Returns the installed packages as the fact `packages`.
#[derive(ModuleArgs)]
struct Args {
    /// Package managers to ask.
    #[arg(default = "auto")]
    manager: Vec<String>,
    /// Which of several managers counts.
    #[arg(default = "first")]
    strategy: String,
}

fn run(args: Args, host: &mut Host) -> Run {
    let _ = (args.manager, args.strategy);
    let packages = Map::new();
    let add = |name: &str, fields: Vec<(&str, Value)>| {
        let list = packages.get(name).unwrap_or_else(|| Value::list(vec![]));
        if let Value::List(items) = &list {
            items.update(|items| items.push(Value::map(fields)));
        }
        packages.set(name, list);
    };
    // The task's own PATH may lead elsewhere.
    if let Some(program) = bakery_host::command::find_program("dpkg-query") {
        let format = "${Package}\t${Version}\t${Architecture}\t${Section}\t${db:Status-Status}\n";
        for line in host.run(&[&program.display().to_string(), "-W", "-f", format])?.text().lines() {
            let parts: Vec<&str> = line.split('\t').collect();
            if let [name, version, arch, section, "installed"] = parts.as_slice() {
                add(
                    name,
                    vec![
                        ("name", (*name).into()),
                        ("version", (*version).into()),
                        ("arch", (*arch).into()),
                        ("category", (*section).into()),
                        ("source", "apt".into()),
                    ],
                );
            }
        }
    } else {
        let format = "%{NAME}\t%{VERSION}\t%{RELEASE}\t%{EPOCH}\t%{ARCH}\n";
        for line in host.run(&["rpm", "-qa", "--qf", format])?.text().lines() {
            let parts: Vec<&str> = line.split('\t').collect();
            if let [name, version, release, epoch, arch] = parts.as_slice() {
                add(
                    name,
                    vec![
                        ("name", (*name).into()),
                        ("version", (*version).into()),
                        ("release", (*release).into()),
                        ("epoch", epoch.parse::<i64>().map_or(Value::None, Value::from)),
                        ("arch", (*arch).into()),
                        ("source", "rpm".into()),
                    ],
                );
            }
        }
    }
    Ok(Outcome::unchanged().with("ansible_facts", Value::map([("packages", packages.into())])))
}

module!("package_facts", "ansible.builtin", Args, run);
