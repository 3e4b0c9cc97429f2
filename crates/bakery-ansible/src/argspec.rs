//! Argument specifications of roles (`ansible/module_utils/common/{arg_spec,parameters,validation}.py`): what an entry
//! point takes, and whether what is given fits.

use bakery_lang::{Map, Value, json, whole, yaml};
use bakery_modules::args::boolean;

/// What does not fit; nothing if all does. Defaults are not given to the role: they are its own affair.
pub(crate) fn validate(spec: &Map, given: &Map) -> Vec<String> {
    let mut check = Check::default();
    let parameters = given.copied();
    check.level(&Map::from_iter([("options", Value::Map(spec.clone()))]), &parameters, &[]);
    if let Some((_, supported)) = check.unsupported.last() {
        let mut all: Vec<&str> = check.unsupported.iter().map(|(n, _)| n.as_str()).collect();
        all.sort_unstable();
        check.errors.push(format!("{}. Supported parameters include: {supported}.", all.join(", ")));
    }
    check.errors
}

#[derive(Default)]
struct Check {
    errors: Vec<String>,
    /// Names with what is supported beside them.
    unsupported: Vec<(String, String)>,
}

fn strings(value: Option<Value>) -> Vec<String> {
    value
        .map(|v| v.as_items().unwrap_or_else(|| vec![v]))
        .unwrap_or_default()
        .iter()
        .map(ToString::to_string)
        .collect()
}

fn flag(spec: &Value, name: &str) -> bool {
    spec.get(name).is_some_and(|v| boolean(&v).unwrap_or(false))
}

fn kind(spec: &Value) -> String {
    spec.get("type").filter(|t| !t.is_none()).map_or_else(|| "str".to_owned(), |t| t.to_string())
}

impl Check {
    /// One level of options: of the specification itself, or of an option that is a mapping. `above` holds the options
    /// that it is in.
    fn level(&mut self, of: &Map, parameters: &Map, above: &[String]) {
        let Some(Value::Map(spec)) = of.get("options") else { return };
        let found =
            if above.is_empty() { String::new() } else { format!(" found in {}", above.join(" -> ")) };
        let mut known: Vec<String> = Vec::new();
        let mut aliases: Vec<String> = Vec::new();
        for (name, option) in spec.pairs() {
            let name = name.to_string();
            for alias in strings(option.get("aliases")) {
                if let Some(value) = parameters.remove(&alias) {
                    parameters.set(&name, value);
                }
                aliases.push(alias);
            }
            known.push(name);
        }
        for key in parameters.keys() {
            let key = key.to_string();
            if !known.contains(&key) && !above.is_empty() {
                known.sort();
                aliases.sort();
                let mut supported = known.join(", ");
                if !aliases.is_empty() {
                    supported.push_str(&format!(" ({})", aliases.join(", ")));
                }
                self.unsupported.push((format!("{}.{key}", above.join(".")), supported));
            }
        }
        let list_of_lists = |name: &str| -> Vec<Vec<Value>> {
            let rules = of.get(name).and_then(|r| r.as_items()).unwrap_or_default();
            let nested = rules.iter().all(|r| r.as_items().is_some());
            let rules = if nested { rules } else { vec![Value::list(rules)] };
            rules.iter().filter_map(Value::as_items).filter(|r| !r.is_empty()).collect()
        };
        let has = |name: &Value| parameters.get_value(name).is_some_and(|v| !v.is_none());
        let names = |rule: &[Value]| rule.iter().map(ToString::to_string).collect::<Vec<_>>();
        let exclusive: Vec<String> = list_of_lists("mutually_exclusive")
            .iter()
            .filter(|rule| rule.iter().filter(|n| has(n)).count() > 1)
            .map(|rule| names(rule).join("|"))
            .collect();
        if !exclusive.is_empty() {
            self.errors.push(format!("parameters are mutually exclusive: {}{found}", exclusive.join(", ")));
        }
        let mut missing: Vec<String> = Vec::new();
        for (name, option) in spec.pairs() {
            let name = name.to_string();
            let default = option.get("default").filter(|d| !d.is_none());
            if let Some(default) = default.filter(|_| !parameters.contains(&name)) {
                parameters.set(&name, default);
            }
            if flag(&option, "required") && !parameters.contains(&name) {
                missing.push(name);
            }
        }
        if !missing.is_empty() {
            missing.sort();
            self.errors.push(format!("missing required arguments: {}{found}", missing.join(", ")));
        }
        for (name, option) in spec.pairs() {
            self.types(&name.to_string(), &option, parameters, above);
        }
        for (name, option) in spec.pairs() {
            self.choices(&name.to_string(), &option, parameters, &found);
        }
        for rule in list_of_lists("required_together") {
            let count = rule.iter().filter(|n| has(n)).count();
            if count > 0 && count < rule.len() {
                self.errors
                    .push(format!("parameters are required together: {}{found}", names(&rule).join(", ")));
            }
        }
        for rule in list_of_lists("required_one_of") {
            if !rule.iter().any(has) {
                self.errors
                    .push(format!("one of the following is required: {}{found}", names(&rule).join(", ")));
            }
        }
        for rule in list_of_lists("required_if") {
            let [key, value, wanted, rest @ ..] = rule.as_slice() else { continue };
            let any = rest.first().is_some_and(Value::is_true);
            let wanted = wanted.as_items().unwrap_or_else(|| vec![wanted.clone()]);
            if parameters.get_value(key).is_some_and(|v| v == *value) {
                let absent: Vec<Value> = wanted.iter().filter(|n| !has(n)).cloned().collect();
                if !absent.is_empty() && (!any || absent.len() == wanted.len()) {
                    self.errors.push(format!(
                        "{key} is {value} but {} of the following are missing: {}{found}",
                        if any { "any" } else { "all" },
                        names(&absent).join(", ")
                    ));
                }
            }
        }
        if let Some(Value::Map(rules)) = of.get("required_by") {
            for (key, wanted) in rules.pairs() {
                if !has(&key) {
                    continue;
                }
                let wanted = wanted.as_items().unwrap_or_else(|| vec![wanted]);
                let absent: Vec<Value> = wanted.into_iter().filter(|n| !has(n)).collect();
                if !absent.is_empty() {
                    self.errors.push(format!(
                        "missing parameter(s) required by '{key}': {}{found}",
                        names(&absent).join(", ")
                    ));
                }
            }
        }
        for (name, option) in spec.pairs() {
            self.inner(&name.to_string(), &option, parameters, above);
        }
    }

    fn types(&mut self, name: &str, option: &Value, parameters: &Map, above: &[String]) {
        let Some(value) = parameters.get(name) else { return };
        if value.is_none() && !flag(option, "required") && option.get("default").is_none_or(|d| d.is_none()) {
            return;
        }
        let wanted = kind(option);
        let found =
            if above.is_empty() { String::new() } else { format!(" found in '{}'.", above.join(" -> ")) };
        let converted = match convert(&value, &wanted) {
            Ok(converted) => converted,
            Err(why) => {
                self.errors.push(format!(
                    "argument '{name}' is of type {}{found} and we were unable to convert to {wanted}: {why}",
                    value.type_name()
                ));
                return;
            }
        };
        parameters.set(name, converted.clone());
        let Some(elements) = option.get("elements").filter(|e| !e.is_none()).map(|e| e.to_string()) else {
            return;
        };
        let Value::List(items) = &converted else { return };
        let found =
            if above.is_empty() { String::new() } else { format!(" found in '{}'", above.join(" -> ")) };
        let mut out = Vec::new();
        for item in items.items() {
            match convert(&item, &elements) {
                Ok(item) => out.push(item),
                Err(why) => self.errors.push(format!(
                    "Elements value for option '{name}'{found} is of type {} and we were unable to convert to {elements}: {why}",
                    item.type_name()
                )),
            }
        }
        parameters.set(name, out);
    }

    fn choices(&mut self, name: &str, option: &Value, parameters: &Map, found: &str) {
        let Some(choices) = option.get("choices").and_then(|c| c.as_items()) else { return };
        let Some(value) = parameters.get(name).filter(|v| !v.is_none()) else { return };
        let all = choices.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        if let Value::List(items) = &value {
            let bad: Vec<String> =
                items.items().iter().filter(|i| !choices.contains(i)).map(ToString::to_string).collect();
            if !bad.is_empty() {
                self.errors.push(format!(
                    "value of {name} must be one or more of: {all}. Got no match for: {}{found}",
                    bad.join(", ")
                ));
            }
        } else if !choices.contains(&value) {
            self.errors.push(format!("value of {name} must be one of: {all}, got: {value}{found}"));
        }
    }

    fn inner(&mut self, name: &str, option: &Value, parameters: &Map, above: &[String]) {
        let wanted = kind(option);
        let of_maps = option.get("elements").is_some_and(|e| e.to_string() == "dict");
        if wanted != "dict" && !(wanted == "list" && of_maps) {
            return;
        }
        let Some(own) = option.as_map().filter(|m| m.get("options").is_some_and(|o| !o.is_none())) else {
            return;
        };
        let value = match parameters.get(name).filter(|v| !v.is_none()) {
            Some(value) => value,
            None if flag(option, "apply_defaults") => Value::Map(Map::new()),
            None => return,
        };
        let mut path = above.to_vec();
        path.push(name.to_owned());
        for element in value.as_items().unwrap_or_else(|| vec![value.clone()]) {
            match element {
                Value::Map(map) => self.level(own, &map.copied(), &path),
                _ => self.errors.push(format!("value of '{name}' must be of type dict or list of dicts")),
            }
        }
    }
}

/// A value as a type wants it.
fn convert(value: &Value, wanted: &str) -> Result<Value, String> {
    let class = || format!("<class '{}'>", value.type_name());
    let text = || value.to_string();
    Ok(match wanted {
        "str" => match value {
            Value::Str(_) => value.clone(),
            _ => text().into(),
        },
        "raw" => value.clone(),
        "path" => text().into(),
        "list" => match value {
            Value::List(_) => value.clone(),
            Value::Str(words) => Value::strings(words.as_str().split(',').map(str::trim)),
            Value::Int(_) | Value::Big(_) | Value::Float(_) => Value::list(vec![text().into()]),
            _ => return Err(format!("{} cannot be converted to a list", class())),
        },
        "dict" => match value {
            Value::Map(_) => value.clone(),
            Value::Str(words) if words.as_str().trim_start().starts_with('{') => {
                match yaml::parse_data("argument", words.as_str()) {
                    Ok(map @ Value::Map(_)) => map,
                    _ => return Err("unable to evaluate string as dictionary".into()),
                }
            }
            Value::Str(words) if words.as_str().contains('=') => {
                Value::Map(crate::playbook::parse_key_values(words.as_str(), None, None))
            }
            Value::Str(_) => return Err("dictionary requested, could not parse JSON or key=value".into()),
            _ => return Err(format!("{} cannot be converted to a dict", class())),
        },
        "bool" => match value {
            Value::Str(_) | Value::Int(_) | Value::Big(_) | Value::Float(_) | Value::Bool(_) => boolean(value)
                .map_err(|_| {
                    format!("The value '{value}' is not a valid boolean.  Valid booleans include: 0, 1, 'f', 'false', 'n', 'no', 'off', 'on', 't', 'true', 'y', 'yes'")
                })?
                .into(),
            _ => return Err(format!("{} cannot be converted to a bool", class())),
        },
        "int" => match value {
            Value::Int(_) | Value::Big(_) => value.clone(),
            Value::Float(f) if f.fract() == 0.0 => whole::truncated(*f).unwrap_or_default(),
            Value::Str(digits) => {
                let number = whole::parse(digits.as_str().trim(), 10);
                number.ok_or_else(|| format!("\"{value:?}\" cannot be converted to an int"))?
            }
            _ => return Err(format!("\"{value:?}\" cannot be converted to an int")),
        },
        "float" => match value.as_float() {
            Some(number) if value.as_bool().is_none() => number.into(),
            _ => match value.as_str().and_then(|s| s.trim().parse::<f64>().ok()) {
                Some(number) => number.into(),
                None => return Err(format!("{} cannot be converted to a float", class())),
            },
        },
        "json" | "jsonarg" => match value {
            Value::Str(_) => value.clone(),
            Value::Map(_) | Value::List(_) => json::dumps(value, 0, false).into(),
            _ => return Err(format!("{} cannot be converted to a json string", class())),
        },
        "bytes" | "bits" => value.clone(),
        other => return Err(format!("unknown type '{other}'")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: &str, given: &str) -> Vec<String> {
        let map =
            |text: &str| yaml::parse_data("t", text).expect("YAML").as_map().cloned().expect("a mapping");
        validate(&map(spec), &map(given))
    }

    #[test]
    fn what_does_not_fit_is_said_as_ansible_says_it() {
        let spec = "{a: {type: int, required: true}, b: {choices: [x, y]}, c: {type: dict, options: {d: {required: true}}}}";
        assert_eq!(check(spec, "{a: '1', b: x, c: {d: e}}"), Vec::<String>::new());
        assert_eq!(check(spec, "{}"), ["missing required arguments: a"]);
        assert_eq!(
            check(spec, "{a: z}"),
            [
                "argument 'a' is of type str and we were unable to convert to int: \"'z'\" cannot be converted to an int"
            ]
        );
        assert_eq!(check(spec, "{a: 1, b: q}"), ["value of b must be one of: x, y, got: q"]);
        assert_eq!(check(spec, "{a: 1, c: {}}"), ["missing required arguments: d found in c"]);
        assert_eq!(check(spec, "{a: 1, c: {d: 1, e: 2}}"), ["c.e. Supported parameters include: d."]);
    }
}
