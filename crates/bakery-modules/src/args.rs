//! Arguments of modules: their specification, and Ansible's coercions and messages
//! (`ansible/module_utils/common/{validation,parameters,arg_spec}.py`).

use std::cell::RefCell;

use bakery_lang::{Map, Value, json};

/// One argument of a module.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the names are those of Ansible's argument specifications")]
pub struct ArgSpec {
    pub name: &'static str,
    pub aliases: &'static [&'static str],
    pub kind: &'static str,
    pub required: bool,
    pub default: Option<&'static str>,
    pub choices: &'static [&'static str],
    /// Values that older Ansibles took, and what they are today.
    pub formerly: &'static [(&'static str, &'static str)],
    pub secret: bool,
    pub doc: &'static str,
}

/// What a struct's arguments are made of. Data, and not code that makes them: there are thousands.
#[derive(Debug, Clone, Copy)]
pub enum Part {
    /// One argument.
    One(ArgSpec),
    /// Those of a struct within.
    All(&'static [Part]),
}

/// The arguments of these parts, in order.
pub fn flattened(parts: &'static [Part]) -> Vec<ArgSpec> {
    let mut spec = Vec::new();
    for part in parts {
        match part {
            Part::One(arg) => spec.push(*arg),
            Part::All(within) => spec.extend(flattened(within)),
        }
    }
    spec
}

/// A rule over several arguments.
#[derive(Debug, Clone, Copy)]
pub enum Rule {
    /// At most one of them.
    Exclusive(&'static [&'static str]),
    /// At least one of them.
    OneOf(&'static [&'static str]),
    /// All of them or none.
    Together(&'static [&'static str]),
}

/// A struct that is a module's arguments; derived.
pub trait ModuleArgs: Sized {
    /// What the module does, in a sentence.
    const SUMMARY: &'static str;
    /// The arguments.
    const PARTS: &'static [Part];
    /// The rules over several of them.
    const RULES: &'static [Rule];
    /// Reads them; whether all could be read is the reader's to say.
    fn read(args: &Reader) -> Self;
}

/// Arguments by their canonical name, defaults filled in.
#[derive(Debug)]
pub struct Reader {
    values: Map,
    spec: Vec<ArgSpec>,
    /// What was read as older Ansibles meant it, for people.
    pub warnings: Vec<String>,
    /// What is wrong with the first argument that could not be read.
    problem: RefCell<Option<String>>,
}

impl Reader {
    /// Checks names, aliases, choices and rules.
    ///
    /// # Errors
    /// Ansible's sentence about what does not fit.
    pub fn new(
        module: &str,
        given: &Map,
        parts: &'static [Part],
        rules: &'static [Rule],
    ) -> Result<Self, String> {
        let spec = flattened(parts);
        let values = Map::new();
        let mut unknown = Vec::new();
        for (key, value) in given.pairs() {
            let key = key.to_string();
            let found = spec.iter().find(|s| s.name == key || s.aliases.contains(&key.as_str()));
            match found {
                Some(found) => values.set(found.name, value),
                None => unknown.push(key),
            }
        }
        if !unknown.is_empty() {
            unknown.sort();
            let mut known: Vec<String> = spec
                .iter()
                .map(|s| {
                    let aliases = if s.aliases.is_empty() {
                        String::new()
                    } else {
                        format!(" ({})", s.aliases.join(", "))
                    };
                    format!("{}{aliases}", s.name)
                })
                .collect();
            known.sort();
            let hint = bakery_lang::suggest(&unknown[0], spec.iter().map(|s| s.name))
                .map_or(String::new(), |h| format!(" ({h})"));
            return Err(format!(
                "Unsupported parameters for ({module}) module: {}. Supported parameters include: {}.{hint}",
                unknown.join(", "),
                known.join(", ")
            ));
        }
        let is_set = |name: &str| values.get(name).is_some_and(|v| !v.is_none());
        let missing: Vec<&str> =
            spec.iter().filter(|s| s.required && !is_set(s.name)).map(|s| s.name).collect();
        if !missing.is_empty() {
            return Err(format!("missing required arguments: {}", missing.join(", ")));
        }
        for rule in rules {
            let (names, wanted) = match rule {
                Rule::Exclusive(names) => (names, "parameters are mutually exclusive: "),
                Rule::OneOf(names) => (names, "one of the following is required: "),
                Rule::Together(names) => (names, "parameters are required together: "),
            };
            let count = names.iter().filter(|n| is_set(n)).count();
            let broken = match rule {
                Rule::Exclusive(_) => count > 1,
                Rule::OneOf(_) => count == 0,
                Rule::Together(_) => count != 0 && count != names.len(),
            };
            if broken {
                let separator = if matches!(rule, Rule::Exclusive(_)) { "|" } else { ", " };
                return Err(format!("{wanted}{}", names.join(separator)));
            }
        }
        let mut warnings = Vec::new();
        for arg in &spec {
            if let (Some(default), false) = (arg.default, is_set(arg.name)) {
                values.set(arg.name, default);
            }
            let Some(mut value) = values.get(arg.name).filter(|v| !v.is_none()) else { continue };
            if let Some((old, new)) = arg.formerly.iter().find(|(old, _)| value.as_str() == Some(*old)) {
                warnings.push(format!("{}={old} is said as in older Ansibles; today it is {new}", arg.name));
                value = Value::from(*new);
                values.set(arg.name, *new);
            }
            if !arg.choices.is_empty() {
                let items = if arg.kind.starts_with("list") {
                    string_list(&value).unwrap_or_default()
                } else {
                    vec![text(&value)]
                };
                for item in items {
                    // YAML turns an unquoted `yes` into true; accept it where the choice is spelled that way.
                    let same = |choice: &&&str| {
                        **choice == item
                            || (choice.eq_ignore_ascii_case("yes") && item == "True")
                            || (choice.eq_ignore_ascii_case("no") && item == "False")
                    };
                    match arg.choices.iter().find(same) {
                        Some(choice) if !arg.kind.starts_with("list") => values.set(arg.name, *choice),
                        Some(_) => {}
                        None => {
                            return Err(format!(
                                "value of {} must be one of: {}, got: {item}",
                                arg.name,
                                arg.choices.join(", ")
                            ));
                        }
                    }
                }
            }
        }
        Ok(Self { values, spec, warnings, problem: RefCell::default() })
    }

    /// Reads one argument. One that cannot be read is as good as none: [`Self::problem`] tells of it when all are read, so
    /// that not every argument of every module has a way out of its own.
    #[inline(never)]
    pub fn take<T: FromArg>(&self, name: &str) -> T {
        let read = match self.values.get(name).filter(|v| !v.is_none()) {
            Some(value) => T::from_arg(&value).map_err(|problem| {
                format!(
                    "argument '{name}' is of type {} and we were unable to convert to {}: {problem}",
                    python_type(&value),
                    T::KIND
                )
            }),
            None => T::absent().ok_or_else(|| format!("missing required arguments: {name}")),
        };
        read.unwrap_or_else(|problem| {
            self.problem.borrow_mut().get_or_insert(problem);
            T::default()
        })
    }

    /// Ansible's sentence about the first argument that could not be read.
    pub fn problem(&self) -> Option<String> {
        self.problem.borrow().clone()
    }

    /// A result without the secrets that it was asked with (`remove_values` in `ansible/module_utils/basic.py`).
    pub fn without_secrets(&self, result: &Map) -> Map {
        let secrets = self.spec.iter().filter(|arg| arg.secret).filter_map(|arg| self.values.get(arg.name));
        let secrets: Vec<String> =
            secrets.filter(|v| !v.is_none()).map(|v| text(&v)).filter(|s| !s.is_empty()).collect();
        if secrets.is_empty() {
            return result.clone();
        }
        hidden(&result.clone().into(), &secrets).as_map().cloned().unwrap_or_default()
    }

    /// The values as `invocation.module_args` shows them, secrets hidden.
    pub fn shown(&self) -> Map {
        // What an action hands on, such as the whole text of a file, is nobody's argument.
        self.spec
            .iter()
            .filter(|arg| !arg.name.starts_with('_') || self.values.contains(arg.name) && arg.name != "_data")
            .map(|arg| {
                let value = self.values.get(arg.name).unwrap_or_default();
                let value = if arg.secret && !value.is_none() { Value::from(HIDDEN) } else { value };
                (arg.name, value)
            })
            .collect()
    }
}

/// What is shown in a secret's place.
const HIDDEN: &str = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER";

fn hidden(value: &Value, secrets: &[String]) -> Value {
    match value {
        Value::Str(text) if secrets.iter().any(|secret| secret == text.as_str()) => HIDDEN.into(),
        Value::Str(text) if secrets.iter().any(|secret| text.as_str().contains(secret.as_str())) => secrets
            .iter()
            .fold(text.as_str().to_owned(), |text, secret| text.replace(secret, "********"))
            .into(),
        Value::List(items) => Value::list(items.items().iter().map(|item| hidden(item, secrets)).collect()),
        Value::Map(map) => {
            let pairs = map.pairs().into_iter();
            pairs.map(|(key, value)| (key, hidden(&value, secrets))).collect::<Map>().into()
        }
        other => other.clone(),
    }
}

/// A value whose mappings have no secrets in their keys (`sanitize_keys` in `ansible/module_utils/common/parameters.py`).
pub fn without_secret_keys(value: &Value, secrets: &[String], kept: &[&str]) -> Value {
    match value {
        Value::List(items) => {
            let items = items.items().iter().map(|item| without_secret_keys(item, secrets, kept)).collect();
            Value::list(items)
        }
        Value::Map(map) => {
            let key = |key: Value| {
                if kept.contains(&key.to_string().as_str()) { key } else { hidden(&key, secrets) }
            };
            let pairs = map.pairs().into_iter();
            pairs.map(|(k, v)| (key(k), without_secret_keys(&v, secrets, kept))).collect::<Map>().into()
        }
        other => other.clone(),
    }
}

fn python_type(value: &Value) -> String {
    format!("<class '{}'>", value.type_name())
}

/// A type that an argument can have.
pub trait FromArg: Default {
    /// Ansible's name of the type.
    const KIND: &'static str;
    /// Converts as Ansible does.
    ///
    /// # Errors
    /// Says what does not fit.
    fn from_arg(value: &Value) -> Result<Self, String>;
    /// What an argument that is not given is, unless it must be given.
    fn absent() -> Option<Self> {
        None
    }
}

/// Ansible's text of any value: JSON for collections.
pub fn text(value: &Value) -> String {
    match value {
        Value::Map(_) | Value::List(_) | Value::Tuple(_) => json::dumps(value, 0, false),
        other => other.to_string(),
    }
}

/// Ansible's `bool` conversion.
pub fn boolean(value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(b) => Ok(*b),
        Value::Int(i @ (0 | 1)) => Ok(*i == 1),
        other => match other.to_string().trim().to_lowercase().as_str() {
            "y" | "yes" | "on" | "1" | "true" | "t" | "1.0" => Ok(true),
            "n" | "no" | "off" | "0" | "false" | "f" | "0.0" => Ok(false),
            text => Err(format!("The value '{text}' is not a valid boolean.")),
        },
    }
}

/// Ansible's `list` of `str`: a list, or text split at commas.
pub fn string_list(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::List(_) | Value::Tuple(_) => {
            Ok(value.as_items().unwrap_or_default().iter().map(text).collect())
        }
        Value::Str(s) => Ok(s.as_str().split(',').map(|part| part.trim().to_owned()).collect()),
        Value::Int(_) | Value::Big(_) | Value::Float(_) => Ok(vec![value.to_string()]),
        other => Err(format!("{} cannot be converted to a list", python_type(other))),
    }
}

impl FromArg for String {
    const KIND: &'static str = "str";
    fn from_arg(value: &Value) -> Result<Self, String> {
        Ok(text(value))
    }
}

impl FromArg for bool {
    const KIND: &'static str = "bool";
    fn from_arg(value: &Value) -> Result<Self, String> {
        boolean(value)
    }
    fn absent() -> Option<Self> {
        Some(false)
    }
}

impl FromArg for i64 {
    const KIND: &'static str = "int";
    fn from_arg(value: &Value) -> Result<Self, String> {
        let number = value.as_int().or_else(|| value.to_string().trim().parse().ok());
        number.and_then(|n| i64::try_from(n).ok()).ok_or_else(|| format!("'{value}' is no integer"))
    }
}

impl FromArg for f64 {
    const KIND: &'static str = "float";
    fn from_arg(value: &Value) -> Result<Self, String> {
        value
            .as_float()
            .or_else(|| value.to_string().trim().parse().ok())
            .ok_or_else(|| format!("'{value}' is no number"))
    }
}

impl FromArg for Vec<String> {
    const KIND: &'static str = "list of str";
    fn from_arg(value: &Value) -> Result<Self, String> {
        string_list(value)
    }
    fn absent() -> Option<Self> {
        Some(vec![])
    }
}

impl FromArg for Map {
    const KIND: &'static str = "dict";
    fn from_arg(value: &Value) -> Result<Self, String> {
        match value {
            Value::Map(map) => Ok(map.clone()),
            Value::Str(s) if s.as_str().trim_start().starts_with('{') => json::parse(s.as_str())
                .ok()
                .and_then(|v| v.as_map().cloned())
                .ok_or_else(|| "unable to evaluate string as dictionary".into()),
            Value::Str(s) => s
                .as_str()
                .split(',')
                .map(|pair| {
                    pair.split_once('=')
                        .map(|(k, v)| (k.trim().to_owned(), Value::from(v.trim())))
                        .ok_or_else(|| "dictionary requested, could not parse JSON or key=value".to_owned())
                })
                .collect(),
            other => Err(format!("{} cannot be converted to a dict", python_type(other))),
        }
    }
}

impl FromArg for Vec<Map> {
    const KIND: &'static str = "list of dict";
    fn from_arg(value: &Value) -> Result<Self, String> {
        match value.as_items() {
            Some(items) => items.iter().map(Map::from_arg).collect(),
            None => Ok(vec![Map::from_arg(value)?]),
        }
    }
    fn absent() -> Option<Self> {
        Some(vec![])
    }
}

impl FromArg for Vec<Value> {
    const KIND: &'static str = "list of raw";
    fn from_arg(value: &Value) -> Result<Self, String> {
        match value {
            Value::List(_) | Value::Tuple(_) => Ok(value.as_items().unwrap_or_default()),
            other => Ok(string_list(other)?.into_iter().map(Value::from).collect()),
        }
    }
    fn absent() -> Option<Self> {
        Some(vec![])
    }
}

impl FromArg for Value {
    const KIND: &'static str = "raw";
    fn from_arg(value: &Value) -> Result<Self, String> {
        Ok(value.clone())
    }
}

impl<T: FromArg> FromArg for Option<T> {
    const KIND: &'static str = T::KIND;
    fn from_arg(value: &Value) -> Result<Self, String> {
        T::from_arg(value).map(Some)
    }
    fn absent() -> Option<Self> {
        Some(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_are_those_of_ansible() {
        assert_eq!(boolean(&"yes".into()), Ok(true));
        assert_eq!(boolean(&Value::Int(0)), Ok(false));
        assert!(boolean(&"maybe".into()).is_err());
        assert_eq!(string_list(&"a, b".into()), Ok(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(i64::from_arg(&"12".into()), Ok(12));
        assert_eq!(text(&Value::list(vec![1.into()])), "[1]");
    }
}
