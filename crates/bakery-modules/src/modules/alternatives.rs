//! `alternatives`: which program a common name leads to (community.general `alternatives.py`).

use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Chooses what a name of update-alternatives leads to.
#[derive(ModuleArgs)]
struct Args {
    /// The name, such as `editor`.
    #[arg(required)]
    name: String,
    /// The program that it shall lead to.
    path: Option<String>,
    /// Where the name's link is; needed when the name is new.
    link: Option<String>,
    /// How strong the choice is in automatic mode.
    priority: Option<i64>,
    /// Whether the choice is registered, chosen, left to the system, or removed.
    #[arg(default = "selected", choices = "present,selected,absent,auto")]
    state: String,
    /// Further links that follow the choice: `name`, `path` and `link` each.
    #[arg(alias = "slaves")]
    subcommands: Option<Value>,
    /// A family of names (RHEL).
    family: Option<String>,
}

struct Known {
    exists: bool,
    automatic: bool,
    current: Option<String>,
    link: Option<String>,
    /// Path, priority and followers (name and path).
    choices: Vec<(String, i64, Vec<(String, String)>)>,
}

fn known(host: &Host, program: &str, name: &str) -> Result<Known, Failure> {
    let mut known = Known { exists: false, automatic: false, current: None, link: None, choices: vec![] };
    let output = host.try_run(&[program, "--query", name])?;
    if !output.success() {
        return Ok(known);
    }
    known.exists = true;
    let text = output.text();
    let mut in_choices = false;
    for line in text.lines() {
        let (key, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.trim().to_owned();
        match key {
            "Status" => known.automatic = value == "auto",
            "Link" => known.link = Some(value),
            "Value" => known.current = Some(value).filter(|v| v != "none"),
            "Alternative" => {
                in_choices = true;
                known.choices.push((value, 0, vec![]));
            }
            "Priority" => {
                if let Some(choice) = known.choices.last_mut() {
                    choice.1 = value.parse().unwrap_or(0);
                }
            }
            _ if in_choices && line.starts_with(' ') => {
                if let (Some(choice), Some((name, path))) =
                    (known.choices.last_mut(), line.trim().split_once(' '))
                {
                    choice.2.push((name.to_owned(), path.to_owned()));
                }
            }
            _ => {}
        }
    }
    Ok(known)
}

fn run(args: Args, host: &mut Host) -> Run {
    let programs = ["update-alternatives", "alternatives"];
    let program = programs.into_iter().find(|p| bakery_host::command::find_program(p).is_some());
    let program = program.ok_or("Failed to find required executable \"update-alternatives\"")?;
    let before = known(host, program, &args.name)?;
    if args.state == "auto" {
        if !before.exists {
            return Err(Failure::new(format!("{} has no alternatives", args.name)));
        }
        if !before.automatic && !host.check {
            host.run(&[program, "--auto", &args.name])?;
        }
        let said = format!("Set alternative to auto for '{}'.", args.name);
        return Ok(Outcome::changed(!before.automatic).msg(if before.automatic {
            String::new()
        } else {
            said
        }));
    }
    let path = args
        .path
        .clone()
        .ok_or("state is present, selected or absent but all of the following are missing: path")?;
    let choice = before.choices.iter().find(|(p, ..)| *p == path);
    if args.state == "absent" {
        if choice.is_some() && !host.check {
            host.run(&[program, "--remove", &args.name, &path])?;
        }
        let said = format!("Remove alternative '{path}' from '{}'.", args.name);
        return Ok(Outcome::changed(choice.is_some()).msg(if choice.is_some() {
            said
        } else {
            String::new()
        }));
    }
    let mut followers: Vec<(String, String, String)> = Vec::new();
    for one in args.subcommands.as_ref().and_then(Value::as_items).unwrap_or_default() {
        let get = |key: &str| {
            one.get(key).map(|v| v.to_string()).ok_or_else(|| format!("a subcommand needs `{key}`"))
        };
        followers.push((get("link")?, get("name")?, get("path")?));
    }
    let priority = args.priority.or_else(|| choice.map(|c| c.1)).unwrap_or(50);
    let link = args.link.clone().or_else(|| before.link.clone());
    let same = choice.is_some_and(|(_, p, known)| {
        args.priority.is_none_or(|wanted| wanted == *p)
            && args.link.as_ref().is_none_or(|l| Some(l) == before.link.as_ref())
            && (args.subcommands.is_none()
                || (known.len() == followers.len()
                    && followers
                        .iter()
                        .all(|(_, name, path)| known.iter().any(|k| (&k.0, &k.1) == (name, path)))))
    });
    let mut said = Vec::new();
    if !same {
        said.push(format!("Install alternative '{path}' for '{}'.", args.name));
        if !std::path::Path::new(&path).exists() {
            return Err(Failure::new(format!("Specified path {path} does not exist")));
        }
        let link =
            link.ok_or("Needed to install the alternative, but unable to do so as we are missing the link")?;
        if !host.check {
            let priority = priority.to_string();
            let mut command: Vec<&str> = vec![program, "--install", &link, &args.name, &path, &priority];
            if let Some(family) = args.family.as_ref().filter(|_| program == "alternatives") {
                command.extend(["--family", family]);
            }
            for (link, name, path) in &followers {
                command.extend(["--slave", link, name, path]);
            }
            host.run(&command)?;
        }
    }
    if args.state == "selected" && before.current.as_ref() != Some(&path) {
        said.push(format!("Set alternative '{path}' for '{}'.", args.name));
        if !host.check {
            host.run(&[program, "--set", &args.name, &path])?;
        }
    }
    Ok(Outcome::changed(!said.is_empty()).msg(said.join(" ")))
}

module!("alternatives", "community.general", Args, run);
