//! `debconf`: answers to questions of packages (`ansible/modules/debconf.py`).

use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;

use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Sets an answer to a question of a package before it is configured, or shows all answers.
#[derive(ModuleArgs)]
struct Args {
    /// The package.
    #[arg(required, alias = "pkg")]
    name: String,
    /// The question.
    #[arg(alias = "selection,setting")]
    question: Option<String>,
    /// The question's type.
    #[arg(choices = "boolean,error,multiselect,note,password,seen,select,string,text,title")]
    vtype: Option<String>,
    /// The answer; a list for `multiselect`.
    #[arg(alias = "answer")]
    value: Option<Value>,
    /// Whether the question is asked all the same.
    unseen: bool,
}

fn run(args: Args, host: &mut Host) -> Run {
    let together = [args.question.is_some(), args.vtype.is_some(), args.value.is_some()];
    if together.contains(&true) && together.contains(&false) {
        return Err("parameters are required together: question, vtype, value".into());
    }
    let shown = host.run(&["debconf-show", &args.name])?.text();
    let before = Map::new();
    for line in shown.lines() {
        if let Some((key, value)) = line.split_once(':') {
            before.set(key.trim_matches('*').trim(), value.trim());
        }
    }
    let (Some(question), Some(vtype), Some(value)) = (args.question, args.vtype, args.value) else {
        return Ok(Outcome::unchanged().msg("").with("current", before));
    };
    let mixed = |items: &[Value]| {
        items.iter().any(|i| i.as_str().is_none()) && items.iter().any(|i| i.as_str().is_some())
    };
    if vtype == "multiselect" && value.as_items().is_some_and(|items| mixed(&items)) {
        return Err("Invalid value provided for 'multiselect': its items are text and something else".into());
    }
    let list = (vtype == "multiselect").then(|| value.as_items()).flatten().map(|items| {
        let mut items: Vec<String> = items.iter().map(ToString::to_string).collect();
        items.sort();
        items
    });
    let wanted = match (&list, vtype.as_str()) {
        (Some(list), _) => list.join(", "),
        (None, "boolean") => value.to_string().to_lowercase(),
        (None, _) => value.to_string(),
    };
    let known = before.get(&question).map(|v| v.to_string());
    let changed = match &known {
        None => true,
        Some(known) => match vtype.as_str() {
            "boolean" => known.to_lowercase() != wanted,
            "password" => password(host, &args.name, &question)? != wanted,
            "multiselect" if list.is_some() => {
                let mut items: Vec<&str> = known.split(',').map(str::trim).collect();
                items.sort_unstable();
                items.join(", ") != wanted
            }
            _ => *known != wanted,
        },
    };
    if !changed {
        return Ok(Outcome::unchanged().msg("").with("current", before));
    }
    if !host.check {
        let mut command = host.cmd("debconf-set-selections");
        if args.unseen {
            command = command.arg("-u");
        }
        let output = command.input(format!("{} {question} {vtype} {wanted}", args.name)).output()?;
        if !output.success() {
            return Err(Failure::new(output.error_text()));
        }
    }
    let value = |text: String| Value::map([(question.clone(), Value::from(text))]);
    let previous = match known {
        Some(known) => value(known),
        None => {
            before.set(&question, "");
            before.into()
        }
    };
    Ok(Outcome::changed(true).msg("").with("current", value(wanted)).with("previous", previous))
}

/// A password as it is kept: it is not shown otherwise.
fn password(host: &Host, package: &str, question: &str) -> Result<String, Failure> {
    let all = host.run(&["debconf-get-selections"])?.text();
    let found = all.lines().find_map(|line| {
        let fields: Vec<&str> = line.split('\t').collect();
        (fields.len() > 3 && fields[0] == package && fields[1] == question && fields[2] == "password")
            .then(|| fields[3].to_owned())
    });
    Ok(found.unwrap_or_default())
}

module!("debconf", "ansible.builtin", Args, run);
