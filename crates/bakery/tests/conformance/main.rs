//! ansible-core's own integration targets, with bakery answering to `ansible-playbook` and its relatives.
//!
//! The targets come with ansible-core's source distribution, which is fetched when the tests run and never stored: they
//! are under the GPL. `targets.tsv` says of every target whether it passes, is open, or cannot apply, and why; those that
//! pass must go on doing so, those that are `booted` want a machine and are run by the suite that boots one, the others are ignored tests: `cargo test --test conformance -- --ignored` tries them.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests use the system as users do")]

#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../reference/mod.rs"]
mod reference;

mod jinja;

use std::path::{Path, PathBuf};
use std::process::Command;

use bakery_lang::{Source, Value, yaml};
use libtest_mimic::{Arguments, Failed, Trial};
use reference::{programs_of_bakery, programs_of_reference, public_roles, sources_of_core};
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};

fn main() {
    let args = Arguments::from_args();
    let rows = include_str!("targets.tsv").lines().filter(|l| !l.starts_with('#') && !l.contains("\tbooted"));
    let mut trials: Vec<Trial> = rows
        .map(|row| {
            let mut cells = row.split('\t');
            let (name, status) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default());
            let target = name.to_owned();
            let left_out = cells.next().and_then(|cell| cell.strip_prefix("without ")).unwrap_or_default();
            let left_out = left_out.split(": ").next().unwrap_or_default().to_owned();
            Trial::test(name, move || run(&target, &left_out))
                .with_kind(status)
                .with_ignored_flag(status != "passes")
        })
        .collect();
    trials.push(Trial::test("every YAML file of ansible-core as PyYAML reads it", || {
        read_yaml(&[sources_of_core(&programs_of_reference()?)?])
    }));
    trials.push(Trial::test("every YAML file of public roles as PyYAML reads it", || {
        read_yaml(&public_roles(&programs_of_reference()?)?)
    }));
    trials.push(Trial::test("every public role loads", load_roles));
    trials.push(Trial::test("every distribution that ansible-core's unit tests know", distributions));
    trials.push(Trial::test("Jinja2's own tests", || jinja::suite(&programs_of_reference()?)));
    libtest_mimic::run(&args, trials).exit();
}

/// Release files of distributions with the facts that ansible-core's unit tests expect of them.
fn distributions() -> Result<(), Failed> {
    // What is expected of these is in no file: their tests give it to the program as the answer of `lsb_release` or of
    // another release of the library `distro`.
    const ELSEWHERE: &[&str] = &[
        "amazon_linux_2",
        "amazon_linux_2_karoo",
        "archlinux_rolling",
        "debian_10",
        "debian_7.9",
        "debian_stretch_sid",
        "fedora_25",
        "osmc",
        "steamos_2.0",
        "virtuozzo_7.3",
    ];
    let folder = "test/units/module_utils/facts/system/distribution/fixtures";
    let (mut tried, mut wrong) = (0, Vec::new());
    for entry in std::fs::read_dir(sources_of_core(&programs_of_reference()?)?.join(folder))? {
        let path = entry?.path();
        let case: Json = serde_json::from_str(&std::fs::read_to_string(&path)?)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let system = case["platform.system"].as_str().unwrap_or("Linux");
        if system != "Linux" || ELSEWHERE.contains(&name.as_str()) {
            continue;
        }
        tried += 1;
        let read = |file: &str| case["input"][file].as_str().map(str::to_owned);
        let facts = bakery_modules::facts::distribution_of(&read);
        for (fact, expected) in case["result"].as_object().into_iter().flatten() {
            let found = facts.get(fact).map(|value| value.to_string());
            if found.as_deref() != expected.as_str() {
                wrong.push(format!("{name}: {fact} is {found:?}, not {expected}"));
            }
        }
    }
    if tried < 50 {
        return Err(format!("only {tried} distributions were tried").into());
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// Reads ansible-core's YAML files, of which there are some two thousand, beside PyYAML.
fn read_yaml(folders: &[PathBuf]) -> Result<(), Failed> {
    let reference = programs_of_reference()?;
    let mut text = String::new();
    for folder in folders {
        text.push_str(&told(&reference, "read-yaml.py", folder)?);
    }
    let mut wrong = Vec::new();
    for line in text.lines() {
        let (path, expected, events): (String, Option<Vec<Json>>, String) = serde_json::from_str(line)?;
        let Ok(text) = std::fs::read_to_string(&path) else {
            // PyYAML reads UTF-16, too; playbooks are UTF-8.
            continue;
        };
        if events_of(&text) != events {
            wrong.push(format!("{path}: other events"));
        }
        let read = yaml::parse_all(&Source::new(path.as_str(), text));
        let same = match (&read, &expected) {
            (Ok(read), Some(expected)) => {
                read.len() == expected.len() && read.iter().zip(expected).all(|(r, e)| is(&r.to_value(), e))
            }
            (Err(_), None) => true,
            _ => false,
        };
        if !same {
            wrong.push(format!("{path}: {}", read.err().map_or("other values".into(), |e| e.message)));
        }
    }
    let files = text.lines().count();
    if files < 1000 {
        return Err(format!("only {files} files were found").into());
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("{} of {files}:\n{}", wrong.len(), wrong.join("\n")).into())
    }
}

/// The digest of the events of a text, as `read-yaml.py` makes it.
fn events_of(text: &str) -> String {
    use libyaml_safer::{EventData as E, MappingStyle, Parser, ScalarStyle, SequenceStyle};

    let ended = if text.ends_with('\n') { text.to_owned() } else { format!("{text}\n") };
    let mut bytes = ended.as_bytes();
    let mut parser = Parser::new();
    parser.set_input_string(&mut bytes);
    let mut digest = Sha256::new();
    loop {
        let Ok(event) = parser.parse() else {
            digest.update(b"error");
            break;
        };
        let (mark, is_last) = (event.start_mark, matches!(event.data, E::StreamEnd));
        let line = |name: &str, anchor: Option<&str>, tag: Option<&str>, rest: &str| {
            let (anchor, tag) = (anchor.unwrap_or_default(), tag.unwrap_or_default());
            format!("{name}\t{}\t{}\t{anchor}\t{tag}{rest}\n", mark.line, mark.column)
        };
        let told = match &event.data {
            E::StreamStart { .. } => line("StreamStart", None, None, ""),
            E::StreamEnd => line("StreamEnd", None, None, ""),
            E::DocumentStart { implicit, .. } => {
                line("DocumentStart", None, None, &format!("\t{}", u8::from(*implicit)))
            }
            E::DocumentEnd { implicit } => {
                line("DocumentEnd", None, None, &format!("\t{}", u8::from(*implicit)))
            }
            E::Alias { anchor } => line("Alias", Some(anchor), None, ""),
            E::Scalar { anchor, tag, value, plain_implicit, quoted_implicit, style } => {
                let style = match style {
                    ScalarStyle::SingleQuoted => "'",
                    ScalarStyle::DoubleQuoted => "\"",
                    ScalarStyle::Literal => "|",
                    ScalarStyle::Folded => ">",
                    _ => "",
                };
                let (plain, quoted) = (u8::from(*plain_implicit), u8::from(*quoted_implicit));
                let rest = format!("\t{plain}\t{quoted}\t{style}\t{value}");
                line("Scalar", anchor.as_deref(), tag.as_deref(), &rest)
            }
            E::SequenceStart { anchor, tag, implicit, style } => {
                let flow = u8::from(*style == SequenceStyle::Flow);
                let rest = format!("\t{}\t{flow}", u8::from(*implicit));
                line("SequenceStart", anchor.as_deref(), tag.as_deref(), &rest)
            }
            E::SequenceEnd => line("SequenceEnd", None, None, ""),
            E::MappingStart { anchor, tag, implicit, style } => {
                let flow = u8::from(*style == MappingStyle::Flow);
                let rest = format!("\t{}\t{flow}", u8::from(*implicit));
                line("MappingStart", anchor.as_deref(), tag.as_deref(), &rest)
            }
            E::MappingEnd => line("MappingEnd", None, None, ""),
        };
        digest.update(told.as_bytes());
        if is_last {
            break;
        }
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What roles want that their packages do not bring: roles of others, and a module of their author's.
const ELSEWHERE: &[&str] = &[
    "the role 'ahuffman.resolv' was not found",
    "the role 'geerlingguy.apache' was not found",
    "the role 'geerlingguy.mailhog' was not found",
    "the role 'openstack.kolla.docker' was not found",
    "the role 'stackhpc.openstack.os_openstacksdk' was not found",
    "couldn't resolve module/action 'vci_config'",
];

/// Roles load whatever modules they name, installed or not.
fn load_roles() -> Result<(), Failed> {
    let folders = public_roles(&programs_of_reference()?)?;
    let output = Command::new(programs_of_bakery().join("bakery"))
        .args(["survey", "--json"])
        .args(&folders)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let last: Json = serde_json::from_str(text.lines().last().unwrap_or_default())?;
    let reports = last["data"]["reports"].as_array().map(Vec::as_slice).unwrap_or_default();
    if reports.len() < 540 {
        return Err(format!("only {} roles were found", reports.len()).into());
    }
    let wrong = |report: &&Json| {
        let trouble = report["trouble"].as_str();
        let is_known = |said: &str| ELSEWHERE.iter().any(|known| said.contains(known));
        trouble.is_some_and(|said| !is_known(said))
            || report["unreadable"].as_array().is_some_and(|r| !r.is_empty())
    };
    let wrong: Vec<String> = reports.iter().filter(wrong).map(ToString::to_string).collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// Whether a value is what PyYAML made, as `read-yaml.py` writes it.
fn is(value: &Value, expected: &Json) -> bool {
    let Json::Array(tagged) = expected else {
        return match (value, expected) {
            (Value::None, Json::Null) => true,
            (Value::Bool(value), Json::Bool(expected)) => value == expected,
            (Value::Str(value), Json::String(expected)) => value.as_str() == expected,
            _ => false,
        };
    };
    let inner = tagged.get(1).and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
    match (tagged[0].as_str(), value) {
        (Some("map"), Value::Map(map)) => {
            let pairs = map.pairs();
            pairs.len() == inner.len()
                && pairs.iter().zip(inner).all(|((k, v), e)| is(k, &e[0]) && is(v, &e[1]))
        }
        (Some("list"), _) => value.as_items().is_some_and(|items| {
            items.len() == inner.len() && items.iter().zip(inner).all(|(v, e)| is(v, e))
        }),
        (Some("int" | "float"), Value::Int(_) | Value::Float(_)) => {
            tagged[1].as_str() == Some(&value.to_string())
        }
        // Dates stay the text that they are written as, and so do other types that Ansible's variables do not have.
        (Some("date" | "bytes"), Value::Str(_) | Value::Time(_)) => true,
        _ => false,
    }
}

/// Runs a target without the lines of its files, `FILE:FROM,TO FILE:FROM,TO`, that are named; what it said is the
/// failure.
fn run(target: &str, left_out: &str) -> Result<(), Failed> {
    let reference = programs_of_reference()?;
    let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/run-target"))
        .arg(target)
        .env("WITHOUT", left_out)
        .env("SOURCES", sources_of_core(&reference)?)
        .env("PROGRAMS", programs_of_bakery())
        .env("VENV", &reference)
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&said);
    let from = text.char_indices().rev().nth(4000).map_or(0, |(at, _)| at);
    Err(format!("{}\n…{}", output.status, &text[from..]).into())
}

/// What a script of this folder prints about a folder.
pub(crate) fn told(reference: &Path, script: &str, folder: &Path) -> Result<String, Failed> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance").join(script);
    let output = Command::new(reference.join("python")).arg(script).arg(folder).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
