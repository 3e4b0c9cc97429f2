//! Actions on values: debug, set_fact, assert, include_vars.

use std::time::{Duration, Instant};

use bakery_host::fs;
use bakery_lang::{Map, Value};

use super::{Modules, Outcome, Trouble, fail, failure, ok};
use crate::Templar;

const UNTRUSTED_VAR: &str =
    "Error while resolving `var` expression: Encountered untrusted template or expression.";

pub(super) fn debug(args: &Map, templar: &Templar, verbosity: u8) -> Outcome {
    let result = ok();
    for key in args.keys() {
        if !matches!(key.as_str(), Some("msg" | "var" | "verbosity" | "_raw_params")) {
            return Err(fail(format!(
                "Unsupported parameters for (debug) module: {key}. Supported parameters include: msg, var, verbosity."
            )));
        }
    }
    let var = args.get("var").filter(|v| !matches!(v, Value::Omit));
    if var.is_some() && args.contains("msg") {
        return Err(fail("parameters are mutually exclusive: msg|var"));
    }
    let wanted = args.get("verbosity").map(|v| v.as_int().or_else(|| v.to_string().parse().ok()));
    if let Some(Some(wanted)) = wanted
        && wanted > i128::from(verbosity)
    {
        result.set("skipped_reason", "Verbosity threshold not met.");
        result.set("skipped", true);
        return Ok(result);
    }
    if let Some(var) = var {
        let name = var.to_string();
        // What says that it shall be left out is left out.
        let omitted = var.has_template() && templar.value(&var).is_ok_and(|v| matches!(v, Value::Omit));
        if omitted {
            result.set("msg", "Hello world!");
            result.set("_ansible_verbose_always", true);
            return Ok(result);
        }
        // A template gives the expression, or what is shown.
        let templated = match &var {
            Value::Str(text) if text.is_template() => Some(
                templar
                    .value(&var)
                    .map_err(|d| fail(format!("Error while resolving `var` expression: {}", d.message)))?,
            ),
            _ => None,
        };
        if let Some(value) = templated {
            // Text that a template made up is no expression for ansible-core; what variables hold as written is one.
            if templar.strict && matches!(&value, Value::Str(text) if text.origin().is_none()) {
                return Err(fail(UNTRUSTED_VAR));
            }
            let (name, shown) = match value.as_str().map(|text| templar.environment.expression(text, templar))
            {
                Some(Ok(inner)) if !inner.is_undefined() => (value.to_string(), inner.forced()),
                _ => (name, value),
            };
            return shown_as(&name, &shown);
        }
        let shown = match &var {
            Value::Str(text) if text.origin().is_none() => {
                return Err(fail(UNTRUSTED_VAR));
            }
            Value::Str(text) => match templar.environment.expression(text.as_str(), templar) {
                Ok(Value::Omit) => {
                    let text = format!("The variable '{name}' could not be omitted here.");
                    result.set("warnings", Value::strings([text]));
                    result.set(&name, "<<Omit>>");
                    result.set("_ansible_verbose_always", true);
                    return Ok(result);
                }
                Ok(value) => value.forced(),
                Err(error) if error.undefined => Value::undefined(error.message),
                Err(error) => {
                    return Err(fail(format!("Error while resolving `var` expression: {}", error.message)));
                }
            },
            other => {
                return Err(fail(format!(
                    "argument 'var' is of type {} and we were unable to convert to str: '{other}' is not a string and conversion is not allowed",
                    other.type_name()
                )));
            }
        };
        return shown_as(&name, &shown);
    }
    result.set(
        "msg",
        args.get("msg").or_else(|| args.get("_raw_params")).unwrap_or_else(|| "Hello world!".into()),
    );
    result.set("_ansible_verbose_always", true);
    Ok(result)
}

/// The result that shows a value; of what is not there it says so, and warns.
fn shown_as(name: &str, value: &Value) -> Outcome {
    let result = ok();
    let mut warnings = Vec::new();
    result.set(name, told(value, &mut warnings)?);
    if !warnings.is_empty() {
        result.set("warnings", Value::strings(warnings));
    }
    result.set("_ansible_verbose_always", true);
    Ok(result)
}

/// A value with words in the place of all that is not there; a vault that cannot be opened is an error.
fn told(value: &Value, warnings: &mut Vec<String>) -> Result<Value, Trouble> {
    Ok(match value {
        Value::Undefined(missing) if missing.vault.is_some() => {
            return Err(fail(format!("Error while resolving `var` expression: {}", missing.message)));
        }
        Value::Undefined(missing) => {
            let text = format!("error {} - {}", warnings.len() + 1, missing.message);
            warnings.push(format!("Encountered 1 template error.\n{text}"));
            format!("<< {text} >>").into()
        }
        Value::List(_) | Value::Tuple(_) | Value::Map(_) if value.first_undefined().is_none() => {
            value.clone()
        }
        Value::List(list) => {
            Value::list(list.items().iter().map(|item| told(item, warnings)).collect::<Result<_, _>>()?)
        }
        Value::Tuple(items) => {
            Value::list(items.iter().map(|item| told(item, warnings)).collect::<Result<_, _>>()?)
        }
        Value::Map(map) => {
            let pairs = map.pairs().into_iter().map(|(key, value)| Ok((key, told(&value, warnings)?)));
            Value::Map(pairs.collect::<Result<Map, Trouble>>()?)
        }
        other => other.clone(),
    })
}

pub(super) fn set_stats(args: &Map) -> Outcome {
    let stats = Map::from_iter([
        ("data", Value::Map(Map::new())),
        ("per_host", false.into()),
        ("aggregate", true.into()),
    ]);
    match args.get("data") {
        Some(Value::Map(data)) => {
            for key in data.keys() {
                valid_name(&key.to_string())?;
            }
            stats.set("data", data);
        }
        None => {}
        Some(_) => return Err(fail("The 'data' option needs to be a dictionary/hash")),
    }
    for name in ["per_host", "aggregate"] {
        if let Some(value) = args.get(name) {
            stats.set(name, bakery_modules::args::boolean(&value).unwrap_or(false));
        }
    }
    let result = ok();
    result.set("ansible_stats", stats);
    Ok(result)
}

/// Whether a name can be a variable's.
fn valid_name(name: &str) -> Result<(), Trouble> {
    if crate::vars::is_name(name) {
        return Ok(());
    }
    Err(fail(format!(
        "Invalid variable name '{name}'. Variables must start with a letter or underscore character, and contain only letters, numbers and underscores."
    )))
}

pub(super) fn set_fact(args: &Map) -> Outcome {
    let facts = args.copied();
    facts.remove("cacheable");
    for key in facts.keys() {
        if key.as_str().is_none() {
            return Err(fail(format!("Invalid variable name '{key}' of type '{}'.", key.type_name())));
        }
        valid_name(&key.to_string())?;
    }
    if facts.is_empty() {
        return Err(fail("No key/value pairs provided, at least one is required for this action to succeed"));
    }
    let result = ok();
    result.set("ansible_facts", facts);
    Ok(result)
}

pub(super) fn assert(args: &Map, templar: &Templar) -> Outcome {
    for key in args.keys() {
        if !matches!(
            key.as_str(),
            Some("that" | "msg" | "fail_msg" | "success_msg" | "quiet" | "_raw_params")
        ) {
            return Err(fail(format!(
                "Unsupported parameters for (assert) module: {key}. Supported parameters include: fail_msg, quiet, success_msg, that (msg)."
            )));
        }
    }
    let Some(that) = args.get("that") else {
        return Err(fail("missing required arguments: that"));
    };
    // The list itself may come out of a template; its items are expressions and stay.
    let that = match &that {
        Value::Str(text) if text.is_template() && text.as_str().trim().starts_with("{{") => match templar
            .environment
            .parse(&bakery_lang::Source::new("that", text.as_str()), &bakery_jinja::Syntax::default())
            .and_then(|template| templar.environment.lazy(&template, templar))
        {
            Ok(list @ Value::List(_)) => list,
            _ => that.clone(),
        },
        other => other.clone(),
    };
    for name in ["fail_msg", "msg", "success_msg"] {
        if let Some(value) = args.get(name) {
            let is_text = value.as_str().is_some()
                || value.as_items().is_some_and(|items| items.iter().all(|v| v.as_str().is_some()));
            if !is_text {
                return Err(fail(format!(
                    "argument '{}' is of type {} and we were unable to convert to str_or_list_of_str: a string or list of strings is required",
                    if name == "msg" { "fail_msg" } else { name },
                    value.type_name()
                )));
            }
        }
    }
    let conditions = match &that {
        Value::List(items) => items.items(),
        Value::Str(_) | Value::Bool(_) | Value::None => vec![that.clone()],
        other => {
            return Err(fail(format!(
                "argument 'that' is of type {} and we were unable to convert to list: '{}' is not a list or string",
                other.type_name(),
                other.type_name()
            )));
        }
    };
    let braced = |c: &Value| c.as_str().is_some_and(|t| t.trim().starts_with("{{")) && c.has_template();
    let deprecations = if conditions.iter().any(braced) {
        let text = "Conditionals should not be surrounded by templating delimiters such as {{ }} or {% %}.";
        vec![Value::map([("msg", Value::from(text)), ("version", "2.23".into())])]
    } else {
        vec![]
    };
    let quiet = args.get("quiet").is_some_and(|q| bakery_modules::args::boolean(&q).unwrap_or(false));
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
            if !quiet {
                result.set("_ansible_verbose_always", true);
            }
            return Err(Trouble::Failed(result, None));
        }
    }
    let result = ok();
    result.set("msg", args.get("success_msg").unwrap_or_else(|| "All assertions passed".into()));
    if !deprecations.is_empty() {
        result.set("deprecations", deprecations);
    }
    if !quiet {
        result.set("_ansible_verbose_always", true);
    }
    Ok(result)
}

/// Waits until modules can run on the target (`ansible/plugins/action/wait_for_connection.py`).
pub(super) fn wait_for_connection(args: &Map, modules: &mut dyn Modules) -> Outcome {
    let seconds = |name: &str, default: u64| {
        let value = args.get(name).filter(|v| !v.is_none());
        let number = value.and_then(|v| v.as_float().or_else(|| v.to_string().trim().parse().ok()));
        Duration::from_secs_f64(number.unwrap_or(default as f64).clamp(0.0, 1e8))
    };
    let began = Instant::now();
    let result = ok();
    if modules.check() {
        result.set("skipped", true);
        result.set("elapsed", 0);
        return Ok(result);
    }
    bakery_host::signal::sleep(seconds("delay", 0));
    let (limit, pause) = (seconds("timeout", 600), seconds("sleep", 1));
    loop {
        let Err(unreachable) = modules.module("ping", &Map::new()) else { break };
        if began.elapsed() >= limit || bakery_host::signal::caught().is_some() {
            let why = format!("timed out waiting for ping module test: {}", unreachable.0);
            let result = failure(&why);
            result.set("elapsed", began.elapsed().as_secs());
            return Err(Trouble::Failed(result, None));
        }
        bakery_host::signal::sleep(pause.min(limit.saturating_sub(began.elapsed())));
    }
    result.set("elapsed", began.elapsed().as_secs());
    Ok(result)
}

/// `include_vars` of a file or of a folder (`ansible/plugins/action/include_vars.py`).
pub(super) fn include_vars(args: &Map, templar: &Templar, modules: &dyn Modules) -> Outcome {
    const OF_FOLDERS: &[&str] =
        &["dir", "depth", "files_matching", "ignore_files", "extensions", "ignore_unknown_extensions"];
    const OF_FILES: &[&str] = &["file", "_raw_params"];
    let (mut for_folder, mut for_file) = (false, false);
    for key in args.keys() {
        let key = key.to_string();
        for_folder |= OF_FOLDERS.contains(&key.as_str());
        for_file |= OF_FILES.contains(&key.as_str());
        if !OF_FOLDERS.contains(&key.as_str())
            && !OF_FILES.contains(&key.as_str())
            && !matches!(key.as_str(), "name" | "hash_behaviour")
        {
            return Err(fail(format!("{key} is not a valid option in include_vars")));
        }
    }
    if for_folder && for_file {
        return Err(fail("You are mixing file only and dir only arguments, these are incompatible"));
    }
    let told = |message: String| {
        let result = failure(&message);
        result.set("message", message);
        Trouble::Failed(result, None)
    };
    let all = Map::new();
    let mut included: Vec<Value> = Vec::new();
    let mut is_secret = false;
    let mut load = |path: &std::path::Path| -> Result<(), Trouble> {
        is_secret |= fs::read(path).is_ok_and(|bytes| crate::vault::is_encrypted(&bytes));
        match modules.loader().yaml(path).map_err(|e| told(e.diagnostic.to_string()))?.to_value() {
            Value::Map(map) => all.extend(&map),
            Value::None => {}
            _ => return Err(told(format!("{} must be stored as a dictionary/hash", path.display()))),
        }
        included.push(path.display().to_string().into());
        Ok(())
    };
    if let Some(folder) = args.get("dir") {
        let name = folder.to_string();
        let folder = templar
            .find_file("vars", &name)
            .ok_or_else(|| told(format!("{name} directory does not exist")))?;
        if !folder.is_dir() {
            return Err(told(format!("{} is not a directory", folder.display())));
        }
        let list =
            |name: &str| args.get(name).map(|v| v.as_items().unwrap_or_else(|| vec![v])).unwrap_or_default();
        let mut extensions: Vec<String> = list("extensions").iter().map(ToString::to_string).collect();
        if !args.contains("extensions") {
            extensions = ["yaml", "yml", "json"].map(str::to_owned).to_vec();
        }
        let pattern = |text: &str| {
            bakery_lang::regex::compile(text, bakery_lang::regex::Flags::default())
                .map_err(|_| fail(format!("Invalid regular expression: {text}")))
        };
        let matching = args
            .get("files_matching")
            .filter(|v| !v.is_none())
            .map(|m| pattern(&m.to_string()))
            .transpose()?;
        let ignored: Vec<_> =
            list("ignore_files").iter().map(|i| pattern(&format!("{i}$"))).collect::<Result<_, _>>()?;
        let depth =
            args.get("depth").and_then(|d| d.as_int().or_else(|| d.to_string().parse().ok())).unwrap_or(0);
        let skip_unknown = args
            .get("ignore_unknown_extensions")
            .is_some_and(|v| bakery_modules::args::boolean(&v).unwrap_or(false));
        let main = templar.search.first().map(|role| role.join("vars/main.yml"));
        for path in in_order(&folder, if depth == 0 { usize::MAX } else { depth as usize })
            .map_err(|e| fail(e.to_string()))?
        {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            let fits = |regex: &bakery_lang::regex::Regex| regex.is_match(&name).unwrap_or(false);
            if matching.as_ref().is_some_and(|m| !fits(m))
                || ignored.iter().any(fits)
                || Some(&path) == main.as_ref()
            {
                continue;
            }
            let extension = path.extension().map(|e| e.to_string_lossy().into_owned()).unwrap_or_default();
            if extensions.contains(&extension) {
                load(&path)?;
            } else if !skip_unknown {
                return Err(told(format!(
                    "{} does not have a valid extension: {}",
                    path.display(),
                    extensions.join(", ")
                )));
            }
        }
    } else {
        let name = args
            .get("file")
            .or_else(|| args.get("_raw_params"))
            .ok_or_else(|| fail("No file or directory was specified"))?;
        if name.is_none() {
            return Err(told("Could not find file: none was named".into()));
        }
        let name = name.to_string();
        let name = name.trim_end_matches('\n');
        let path = templar
            .find_file("vars", name)
            .ok_or_else(|| told(format!("Could not find or access '{name}'")))?;
        load(&path)?;
    }
    let vars = match args.get("name") {
        Some(name) => Map::from_iter([(name.to_string(), Value::Map(all))]),
        None => all,
    };
    if args.get("hash_behaviour").is_some_and(|b| b.to_string() == "merge") {
        let merged = Map::new();
        for key in vars.keys() {
            if let Some(Value::Map(old)) = bakery_jinja::Scope::variable(templar, &key.to_string()) {
                merged.insert(key, Value::Map(old));
            }
        }
        let both = merged.copied();
        crate::vars::merge(&both, &vars);
        vars.extend(&both);
    }
    let result = ok();
    result.set("ansible_included_vars", vars);
    // What was encrypted is not shown.
    if is_secret {
        result.set("_ansible_no_log", true);
    }
    result.set("ansible_included_var_files", included);
    Ok(result)
}

/// The files of a folder and of those in it, folder by folder, each sorted.
fn in_order(folder: &std::path::Path, depth: usize) -> bakery_host::Result<Vec<std::path::PathBuf>> {
    let mut paths = fs::read_dir(folder)?;
    paths.sort();
    let (folders, files): (Vec<_>, Vec<_>) = paths.into_iter().partition(|p| p.is_dir());
    let mut out: Vec<_> = files.into_iter().filter(|p| p.is_file()).collect();
    if depth > 1 {
        for inner in folders {
            out.extend(in_order(&inner, depth - 1)?);
        }
    }
    Ok(out)
}

/// `validate_argument_spec`: what is given, and variables of the names that are specified
/// (`ansible/plugins/action/validate_argument_spec.py`).
pub(super) fn validate_argument_spec(args: &Map, templar: &Templar) -> Outcome {
    let spec = match args.get("argument_spec") {
        Some(Value::Map(spec)) => spec,
        None => return Err(fail("\"argument_spec\" arg is required in args")),
        Some(other) => {
            return Err(fail(format!(
                "Incorrect type for argument_spec, expected dict and got <class '{}'>",
                other.type_name()
            )));
        }
    };
    let provided = match args.get("provided_arguments") {
        None | Some(Value::None) => Map::new(),
        Some(Value::Map(map)) => map,
        Some(other) => {
            return Err(fail(format!(
                "Incorrect type for provided_arguments, expected dict and got <class '{}'>",
                other.type_name()
            )));
        }
    };
    let given = Map::new();
    for name in spec.keys() {
        if let Some(value) = bakery_jinja::Scope::variable(templar, &name.to_string()) {
            given.insert(name, templar.value(&value)?);
        }
    }
    given.extend(&provided);
    let errors = crate::argspec::validate(&spec, &given);
    let context = args.get("validate_args_context").unwrap_or_else(|| Map::new().into());
    if errors.is_empty() {
        let result = ok();
        result.set("msg", "The arg spec validation passed");
        result.set("validate_args_context", context);
        return Ok(result);
    }
    let result = failure(&format!("Validation of arguments failed:\n{}", errors.join("\n")));
    result.set("argument_errors", Value::strings(&errors));
    result.set("argument_spec_data", spec);
    result.set("validate_args_context", context);
    Err(Trouble::Failed(result, None))
}
