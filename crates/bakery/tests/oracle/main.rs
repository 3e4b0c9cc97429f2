//! Modules beside ansible-core's and the community's own: lists of tasks that both programs run, each on an overlay of its
//! own over this machine's files, in check mode, for real, and again. `compare.py` says what is compared.
//!
//! Every file of `cases/` is a test; a module without a case is named here with its reason. Those of `playbooks/`
//! are compared by what is printed, and those of `roles/` are playbooks of public roles, whose tasks nobody here has written;
//! with `# older` at its head one is compared with ansible-core 2.14. What today's ansible-core refuses or reads otherwise is in `older/`, beside ansible-core 2.14, as Debian 12 has it.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests use the system as users do")]

#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../reference/mod.rs"]
mod reference;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::{Arguments, Failed, Trial};
use reference::{COLLECTIONS, collections, programs_of_bakery, programs_of_reference, public_roles};

/// Modules that no case names, and why.
const WITHOUT_CASE: &[(&str, &str)] = &[
    ("apk", "wants Alpine Linux"),
    ("async_status", "what async tasks are asked with; it runs by `async` in the case `command`"),
    ("async_wrapper", "what `async` runs by"),
    ("apt_key", "wants a server of keys; ansible-core's own target runs"),
    ("foreign", "how modules that are not native are run"),
    ("git", "has a test of its own, over repositories"),
    ("hostname", "wants systemd"),
    ("setup", "facts are compared by ansible-core's own targets"),
    ("systemd", "wants systemd"),
];

fn main() {
    let args = Arguments::from_args();
    let in_folder = |name: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle").join(name);
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(&folder).expect("cases").map(|entry| entry.expect("an entry").path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "yml"));
        files.sort();
        files
    };
    let files = in_folder("cases");
    let text: String = files.iter().map(|file| std::fs::read_to_string(file).expect("readable")).collect();
    let name = |file: &Path| file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut trials: Vec<Trial> =
        files.into_iter().map(|file| Trial::test(name(&file), move || compare(&file, "venv"))).collect();
    for (folder, venv) in [("playbooks", "venv"), ("older", "venv-2.14")] {
        trials.extend(
            in_folder(folder)
                .into_iter()
                .map(|file| Trial::test(format!("{folder} {}", name(&file)), move || compare(&file, venv))),
        );
    }
    // Roles start servers, and the network that they install packages by is the machine's own: one at a time.
    let ports = Arc::new(Mutex::new(()));
    trials.extend(in_folder("roles").into_iter().map(|file| {
        let ports = Arc::clone(&ports);
        Trial::test(format!("role {}", name(&file)), move || {
            let _alone = ports.lock().unwrap_or_else(PoisonError::into_inner);
            public_roles(&programs_of_reference()?)?;
            let older = std::fs::read_to_string(&file)?.lines().any(|line| line == "# older");
            compare(&file, if older { "venv-2.14" } else { "venv" })
        })
    }));
    let roles: Vec<String> = in_folder("roles").iter().map(|file| name(file)).collect();
    trials.push(Trial::test("the table of roles is true", move || table(&roles)));
    trials.push(Trial::test("callbacks say the same", callbacks));
    trials.push(Trial::test("every module has a case", move || every_module(&text)));
    trials.push(Trial::test("every documented option is known", every_option));
    libtest_mimic::run(&args, trials).exit();
}

fn every_module(text: &str) -> Result<(), Failed> {
    let mut wrong = Vec::new();
    for module in bakery_modules::all() {
        let named = ["- ", "."].iter().any(|before| text.contains(&format!("{before}{}: ", module.name)));
        let excused = WITHOUT_CASE.iter().any(|(name, _)| *name == module.name);
        if named == excused {
            wrong.push(module.name);
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("without a case, or with one and excused: {wrong:?}").into())
    }
}

/// Options that are documented and not read, and why.
const NOT_OPTIONS: &[(&str, &str)] = &[
    ("free_form", "what the words of a command are called"),
    ("_substitute_controller", "the action's own"),
];

/// What `ansible-doc` says of a module's options, beside what the module here says of its own.
fn every_option() -> Result<(), Failed> {
    // They have no page of their own: they are bakery's.
    let pages = |name: &str| match name {
        "async_wrapper" | "foreign" => None,
        other => Some(other.to_owned()),
    };
    let modules = bakery_modules::all();
    let named: Vec<(String, _)> = modules
        .iter()
        .filter_map(|m| pages(m.name).map(|page| (format!("{}.{page}", m.collection), m)))
        .collect();
    let reference = programs_of_reference()?;
    let output = Command::new(reference.join("ansible-doc"))
        .arg("-j")
        .args(named.iter().map(|(page, _)| page))
        .env("ANSIBLE_COLLECTIONS_PATH", collections(&reference)?)
        .output()?;
    let all: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let mut wrong = Vec::new();
    for (page, module) in named {
        let Some(options) = all[&page]["doc"]["options"].as_object() else {
            // A module without options has no list of them.
            if all[&page]["doc"].is_null() {
                wrong.push(format!("{page} has no page"));
            }
            continue;
        };
        let args = module.doc().args;
        let known = |name: &str| args.iter().any(|arg| arg.name == name || arg.aliases.contains(&name));
        for (name, option) in options {
            let aliases = option["aliases"].as_array().into_iter().flatten().filter_map(|a| a.as_str());
            for name in std::iter::once(name.as_str()).chain(aliases) {
                if !known(name) && NOT_OPTIONS.iter().all(|(other, _)| *other != name) {
                    wrong.push(format!("{page}: {name}"));
                }
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// Every role that the table calls equal is run, and no other.
fn table(run: &[String]) -> Result<(), Failed> {
    let rows = include_str!("roles.tsv").lines().filter(|line| !line.starts_with('#'));
    let equal = rows.filter_map(|line| line.split_once("\tequal")).map(|(role, _)| role.to_owned());
    let mut equal: Vec<String> = equal.collect();
    equal.sort();
    if equal == run { Ok(()) } else { Err(format!("the table has {equal:?}, the folder {run:?}").into()) }
}

/// What the callbacks that settings name print of a playbook, with both programs, without the times.
fn callbacks() -> Result<(), Failed> {
    let reference = programs_of_reference()?;
    let scratch = tempfile::tempdir()?;
    let playbook = scratch.path().join("play.yml");
    std::fs::write(&playbook, include_str!("callbacks.yml"))?;
    let run = |program: &str, words: &[&str], reports: &str| -> Result<(String, String), Failed> {
        let reports = scratch.path().join(reports);
        let output = Command::new(program)
            .args(words)
            .arg(&playbook)
            .env(
                "ANSIBLE_CALLBACKS_ENABLED",
                "ansible.posix.timer,profile_tasks,ansible.posix.profile_roles,junit",
            )
            .env("ANSIBLE_COLLECTIONS_PATH", collections(&reference)?)
            .env("PROFILE_TASKS_SORT_ORDER", "none")
            .env("JUNIT_OUTPUT_DIR", &reports)
            .env("JUNIT_TASK_RELATIVE_PATH", scratch.path())
            .output()?;
        let report = std::fs::read_dir(&reports)?.next().ok_or("no report")??;
        Ok((String::from_utf8(output.stdout)?, std::fs::read_to_string(report.path())?))
    };
    let timeless = |text: &str| -> Result<String, Failed> {
        // The order of roles is that of their times, which are too short to differ.
        let text = text.split("ROLES RECAP").next().unwrap_or_default();
        let mut text = text.to_owned();
        for pattern in [
            r"\d+:\d\d:\d\d(\.\d+)?",
            r"-+ \d+\.\d\ds",
            r"\d+ seconds",
            r#" time="[\d.]+""#,
            r"(?s)<system-out>.*?</system-out>",
        ] {
            let regex = bakery_lang::regex::compile(pattern, bakery_lang::regex::Flags::default())?;
            text = regex.replace_all(&text, "T").into_owned();
        }
        Ok(text)
    };
    let ansible = reference.join("ansible-playbook");
    let (theirs, their_report) = run(&ansible.to_string_lossy(), &[], "theirs")?;
    let bakery = programs_of_bakery().join("bakery");
    let (ours, our_report) = run(&bakery.to_string_lossy(), &["play"], "ours")?;
    for (left, right) in [(theirs, ours), (their_report, our_report)] {
        let (left, right) = (timeless(&left)?, timeless(&right)?);
        if left != right {
            return Err(format!("ansible-core:\n{left}\nbakery:\n{right}").into());
        }
    }
    Ok(())
}

/// Runs a case with bakery and with ansible-core of one of the virtual environments that `scripts/test` makes.
fn compare(case: &Path, venv: &str) -> Result<(), Failed> {
    let reference = programs_of_reference()?;
    let cache = reference.join("../..").canonicalize()?;
    let programs = cache.join(venv).join("bin");
    let output = Command::new(programs.join("python"))
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/compare.py"))
        .arg(case)
        .env("VENV", &programs)
        .env("PROGRAMS", programs_of_bakery())
        .env("COLLECTIONS", collections(&reference)?)
        .env("ROLES", &cache)
        .env("KEEP", cache.join(format!("oracle-{COLLECTIONS}")))
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned().into())
}
