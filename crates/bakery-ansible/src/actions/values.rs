//! Actions on values: debug, set_fact, assert, include_vars, pause.

use std::time::Duration;

use bakery_host::fs;
use bakery_lang::{Map, Value};

use super::{Modules, Outcome, fail, failure, ok};
use crate::Templar;
use crate::actions::Trouble;

pub(super) fn debug(args: &Map, templar: &Templar) -> Outcome {
    let result = ok();
    if let Some(var) = args.get("var") {
        let name = var.to_string();
        let shown = match &var {
            Value::Str(_) => match templar.environment.expression(&name, templar) {
                Ok(value) if value.is_undefined() => Value::from("VARIABLE IS NOT DEFINED!"),
                Ok(value) => value,
                Err(error) if error.undefined => Value::from("VARIABLE IS NOT DEFINED!"),
                Err(error) => return Err(fail(error.message)),
            },
            other => other.clone(),
        };
        result.set(&name, shown);
    } else {
        result.set(
            "msg",
            args.get("msg").or_else(|| args.get("_raw_params")).unwrap_or_else(|| "Hello world!".into()),
        );
    }
    result.set("_ansible_verbose_always", true);
    Ok(result)
}

pub(super) fn set_fact(args: &Map) -> Outcome {
    let facts = args.copied();
    facts.remove("cacheable");
    for key in facts.keys() {
        let name = key.to_string();
        let valid = name.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_alphanumeric() || c == '_');
        if !valid {
            return Err(fail(format!(
                "The variable name '{name}' is not valid. Variables must start with a letter or underscore character, and contain only letters, numbers and underscores."
            )));
        }
    }
    if facts.is_empty() {
        return Err(fail("No key/value pairs provided, at least one is required for this action to succeed"));
    }
    let result = ok();
    result.set("ansible_facts", facts);
    Ok(result)
}

pub(super) fn assert(args: &Map, templar: &Templar) -> Outcome {
    let Some(that) = args.get("that") else { return Err(fail("conditional required in \"that\" string")) };
    let conditions = that.as_items().unwrap_or_else(|| vec![that.clone()]);
    for condition in conditions {
        if !templar.condition(&condition)? {
            let text = args
                .get("fail_msg")
                .or_else(|| args.get("msg"))
                .unwrap_or_else(|| Value::from("Assertion failed"));
            let result = failure("");
            result.set("msg", text);
            result.set("assertion", condition.untrusted());
            result.set("evaluated_to", false);
            return Err(Trouble::Failed(result, None));
        }
    }
    let result = ok();
    result.set("msg", args.get("success_msg").unwrap_or_else(|| "All assertions passed".into()));
    if !args.get("quiet").is_some_and(|q| q.is_true()) {
        result.set("_ansible_verbose_always", true);
    }
    Ok(result)
}

pub(super) fn include_vars(args: &Map, templar: &Templar, modules: &dyn Modules) -> Outcome {
    let name = args.get("file").or_else(|| args.get("_raw_params"));
    let all = Map::new();
    let mut included = Vec::new();
    if let Some(folder) = args.get("dir") {
        let folder = templar
            .find_file("vars", &folder.to_string())
            .ok_or_else(|| fail(format!("{folder} directory does not exist")))?;
        let extensions = args
            .get("extensions")
            .and_then(|e| e.as_items())
            .unwrap_or_else(|| vec!["yaml".into(), "yml".into(), "json".into()]);
        for path in fs::walk(&folder).map_err(|e| fail(e.to_string()))? {
            let fits = path
                .extension()
                .is_some_and(|e| extensions.iter().any(|x| x.to_string() == e.to_string_lossy()));
            if path.is_file() && fits {
                all.extend(&modules.vars_file(&path).map_err(|e| Trouble::from(e.diagnostic))?);
                included.push(Value::from(path.display().to_string()));
            }
        }
    } else {
        let name = name.ok_or_else(|| fail("No file or directory was specified"))?.to_string();
        let path = templar
            .find_file("vars", &name)
            .ok_or_else(|| fail(format!("Could not find or access '{name}'")))?;
        all.extend(&modules.vars_file(&path).map_err(|e| Trouble::from(e.diagnostic))?);
        included.push(path.display().to_string().into());
    }
    let facts = match args.get("name") {
        Some(name) => Value::map([(name.to_string(), Value::Map(all))]).as_map().cloned().unwrap_or_default(),
        None => all,
    };
    let result = ok();
    result.set("ansible_included_vars", facts);
    result.set("ansible_included_var_files", included);
    Ok(result)
}

pub(super) fn pause(args: &Map, check: bool) -> Outcome {
    let number = |name: &str| args.get(name).and_then(|v| v.as_int().or_else(|| v.to_string().parse().ok()));
    let seconds = number("seconds").or_else(|| number("minutes").map(|m| m * 60));
    let Some(seconds) = seconds else {
        // Nobody can answer while an image is baked or a machine boots.
        let result = ok();
        result.set("msg", "nobody is there to answer; going on");
        return Ok(result);
    };
    if !check {
        std::thread::sleep(Duration::from_secs(seconds.max(0) as u64));
    }
    let result = ok();
    result.set("delta", seconds);
    result.set("stdout", format!("Paused for {seconds} seconds"));
    Ok(result)
}
