//! The template engine of JSON templates (Go's `text/template` as Packer uses it): `{{user `x`}}`, `{{timestamp}}` …
//!
//! Fields such as `{{.Path}}` and functions that are only known while something runs are left as they are.

use std::collections::BTreeSet;

use bakery_lang::{Map, Value};

/// What functions can ask.
#[derive(Clone, Copy)]
pub(crate) struct Functions<'a> {
    /// Variables.
    pub(crate) user: &'a Map,
    /// Whether `env` is allowed, as it is in the defaults of variables only.
    pub(crate) env: bool,
    /// The template's folder.
    pub(crate) folder: &'a str,
    /// The build's name and type, once known.
    pub(crate) build: Option<(&'a str, &'a str)>,
    /// One clock for a whole run.
    pub(crate) now: jiff::Timestamp,
}

/// Evaluates text; the message names the function that failed.
pub(crate) fn render(text: &str, functions: &Functions<'_>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("{{") {
        out.push_str(&rest[..at]);
        let Some(length) = rest[at + 2..].find("}}") else {
            return Err("`{{` without `}}`".into());
        };
        let whole = &rest[at..at + 4 + length];
        let inner = rest[at + 2..at + 2 + length].trim().trim_matches('-').trim();
        match action(inner, functions)? {
            Some(value) => out.push_str(&value),
            None => out.push_str(whole),
        }
        rest = &rest[at + 4 + length..];
    }
    out.push_str(rest);
    Ok(out)
}

/// Text with what is only known when something runs: fields such as `{{.Path}}`, and parts that depend on whether one
/// is empty (`{{if .Vars}}…{{else}}…{{end}}`). What is not known stays as it is.
pub fn fill_in(template: &str, fields: &[(&str, &str)]) -> String {
    let mut out = String::new();
    let mut rest = template;
    // Of each open condition: whether this part of it counts.
    let mut open: Vec<Option<bool>> = Vec::new();
    while let Some(at) = rest.find("{{") {
        let Some(length) = rest[at..].find("}}") else { break };
        let (whole, inside) = (&rest[at..at + length + 2], &rest[at + 2..at + length]);
        let counts = open.iter().all(|part| *part != Some(false));
        let before = &rest[..at];
        rest = &rest[at + length + 2..];
        if counts {
            out.push_str(if inside.starts_with("- ") { before.trim_end() } else { before });
        }
        if inside.ends_with(" -") {
            rest = rest.trim_start();
        }
        let action = inside.trim_start_matches("- ").trim_end_matches(" -").trim();
        let field = |name: &str| {
            let name = name.trim().trim_start_matches('.');
            fields.iter().find(|(field, _)| *field == name).map(|(_, value)| *value)
        };
        let known = match action.split_once(' ') {
            Some(("if", condition)) => {
                open.push(field(condition).map(|value| !value.is_empty()));
                open.last().is_some_and(Option::is_some)
            }
            _ if action == "else" && open.last().is_some_and(Option::is_some) => {
                let last = open.last_mut();
                last.into_iter().for_each(|part| *part = part.map(|counts| !counts));
                true
            }
            _ if action == "end" && !open.is_empty() => open.pop().flatten().is_some(),
            _ => match field(action) {
                Some(value) if counts => {
                    out.push_str(value);
                    true
                }
                other => other.is_some(),
            },
        };
        if !known && counts {
            out.push_str(whole);
        }
    }
    if open.iter().all(|part| *part != Some(false)) {
        out.push_str(rest);
    }
    out
}

/// Evaluates every text in a value.
pub(crate) fn render_value(value: &Value, functions: &Functions<'_>) -> Result<Value, String> {
    Ok(match value {
        Value::Str(text) => render(text.as_str(), functions)?.into(),
        Value::List(list) => {
            Value::list(list.items().iter().map(|v| render_value(v, functions)).collect::<Result<_, _>>()?)
        }
        Value::Map(map) => {
            let out = Map::new();
            for (key, value) in map.pairs() {
                out.insert(key, render_value(&value, functions)?);
            }
            out.into()
        }
        other => other.clone(),
    })
}

/// Words of a pipeline: names, fields, and quoted text.
fn words(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => {}
            '"' | '`' => {
                let mut word = String::from("\"");
                while let Some(d) = chars.next() {
                    if d == c {
                        break;
                    }
                    if d == '\\' && c == '"' {
                        word.extend(chars.next());
                    } else {
                        word.push(d);
                    }
                }
                out.push(word);
            }
            '(' | ')' | '|' => out.push(c.to_string()),
            c => {
                let mut word = String::from(c);
                while let Some(d) =
                    chars.next_if(|d| !d.is_whitespace() && !matches!(d, '(' | ')' | '|' | '"' | '`'))
                {
                    word.push(d);
                }
                out.push(word);
            }
        }
    }
    out
}

/// The value of an action; nothing when it belongs to a later time.
fn action(text: &str, functions: &Functions<'_>) -> Result<Option<String>, String> {
    let words = words(text);
    if words.iter().any(|w| w.starts_with('.'))
        || matches!(
            words.first().map(String::as_str),
            Some("if" | "else" | "end" | "range" | "with" | "build")
        )
    {
        return Ok(None);
    }
    let mut at = 0;
    pipeline(&words, &mut at, functions)
}

fn pipeline(words: &[String], at: &mut usize, functions: &Functions<'_>) -> Result<Option<String>, String> {
    let mut piped: Option<String> = None;
    loop {
        let mut args: Vec<String> = Vec::new();
        let mut name = None;
        while let Some(word) = words.get(*at) {
            *at += 1;
            match word.as_str() {
                "|" => break,
                ")" => {
                    *at -= 1;
                    break;
                }
                "(" => {
                    args.push(pipeline(words, at, functions)?.unwrap_or_default());
                    *at += 1;
                }
                word if word.starts_with('"') => args.push(word[1..].to_owned()),
                word if name.is_none()
                    && args.is_empty()
                    && !word.starts_with(|c: char| c.is_ascii_digit() || c == '-') =>
                {
                    name = Some(word.to_owned());
                }
                word => args.push(word.to_owned()),
            }
        }
        args.extend(piped.take());
        let value = match name {
            Some(name) => match call(&name, &args, functions)? {
                Some(value) => value,
                None => return Ok(None),
            },
            None => args.first().cloned().unwrap_or_default(),
        };
        let more = *at < words.len() && words.get(*at - 1).is_some_and(|w| w == "|");
        if !more {
            return Ok(Some(value));
        }
        piped = Some(value);
    }
}

/// An action as an expression of HCL; nothing if it belongs to a later time. Names of what it uses are added.
pub(crate) fn as_hcl(text: &str, used: &mut BTreeSet<String>) -> Result<Option<String>, String> {
    let words = words(text);
    let later = ["if", "else", "end", "range", "with", "build"];
    if words.iter().any(|w| w.starts_with('.')) || words.first().is_some_and(|w| later.contains(&w.as_str()))
    {
        return Ok(None);
    }
    let mut at = 0;
    hcl_pipeline(&words, &mut at, used).map(Some)
}

fn hcl_pipeline(words: &[String], at: &mut usize, used: &mut BTreeSet<String>) -> Result<String, String> {
    let mut piped: Option<String> = None;
    loop {
        let (mut name, mut args): (Option<String>, Vec<String>) = (None, Vec::new());
        let mut more = false;
        while let Some(word) = words.get(*at) {
            *at += 1;
            match word.as_str() {
                "|" => {
                    more = true;
                    break;
                }
                ")" => {
                    *at -= 1;
                    break;
                }
                "(" => {
                    args.push(hcl_pipeline(words, at, used)?);
                    *at += 1;
                }
                word if word.starts_with('"') => {
                    args.push(bakery_lang::json::dumps_readable(&word[1..].into(), 0));
                }
                word if name.is_none()
                    && args.is_empty()
                    && !word.starts_with(|c: char| c.is_ascii_digit()) =>
                {
                    name = Some(word.to_owned());
                }
                word => args.push(word.to_owned()),
            }
        }
        args.extend(piped.take());
        let value = match name {
            Some(name) => hcl_call(&name, &args, used)?,
            None => args.first().cloned().unwrap_or_default(),
        };
        if !more {
            return Ok(value);
        }
        piped = Some(value);
    }
}

fn hcl_call(name: &str, args: &[String], used: &mut BTreeSet<String>) -> Result<String, String> {
    let arg = |at: usize| args.get(at).cloned().ok_or_else(|| format!("`{name}` needs more arguments"));
    Ok(match name {
        "user" => {
            let variable = arg(0)?.trim_matches('"').to_owned();
            used.insert(format!("var.{variable}"));
            format!("var.{variable}")
        }
        "timestamp" => {
            used.insert("timestamp".into());
            "local.timestamp".into()
        }
        "env" => format!("env({})", arg(0)?),
        "isotime" => format!("legacy_isotime({})", args.join(", ")),
        "strftime" => format!("legacy_strftime({})", arg(0)?),
        "build_name" => "source.name".into(),
        "build_type" => "source.type".into(),
        "template_dir" => "path.root".into(),
        "pwd" => "path.cwd".into(),
        "packer_version" => "packer.version".into(),
        "uuid" => "uuidv4()".into(),
        "upper" | "lower" => format!("{name}({})", arg(0)?),
        "split" => format!("element(split({}, {}), {})", arg(1)?, arg(0)?, arg(2)?),
        "replace_all" => format!("replace({}, {}, {})", arg(2)?, arg(0)?, arg(1)?),
        "replace" => format!("replace({}, {}, {})", arg(3)?, arg(0)?, arg(1)?),
        "clean_resource_name" | "clean_ami_name" => {
            format!("regex_replace({}, \"[^a-zA-Z0-9()\\\\[\\\\] ./'@_-]\", \"-\")", arg(0)?)
        }
        other => return Err(format!("`{other}` has no counterpart in HCL")),
    })
}

fn call(name: &str, args: &[String], functions: &Functions<'_>) -> Result<Option<String>, String> {
    let arg = |at: usize| args.get(at).cloned().ok_or_else(|| format!("`{name}` needs more arguments"));
    let clean = |text: &str| {
        text.chars()
            .map(|c| if c.is_ascii_alphanumeric() || "()[] ./-'@_".contains(c) { c } else { '-' })
            .collect::<String>()
    };
    Ok(Some(match name {
        "user" => {
            // Undeclared variables are empty, as in Packer.
            let value = functions.user.get(&arg(0)?).unwrap_or_default();
            if value.is_none() { String::new() } else { value.to_string() }
        }
        "env" if functions.env => std::env::var(arg(0)?).unwrap_or_default(),
        "env" => return Err("`env` can only be used in the defaults of variables".into()),
        "timestamp" => functions.now.as_second().to_string(),
        "isotime" => match args.first() {
            None => functions.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            Some(layout) => functions.now.strftime(&bakery_lang::hcl::go_layout(layout)).to_string(),
        },
        "strftime" => functions.now.strftime(&arg(0)?).to_string(),
        "uuid" => uuid::Uuid::new_v4().to_string(),
        "pwd" => std::env::current_dir().map(|p| p.display().to_string()).unwrap_or_default(),
        "template_dir" => functions.folder.to_owned(),
        "packer_version" => crate::VERSION.into(),
        "build_name" => match functions.build {
            Some((name, _)) => name.to_owned(),
            None => return Ok(None),
        },
        "build_type" => match functions.build {
            Some((_, kind)) => kind.to_owned(),
            None => return Ok(None),
        },
        "upper" => arg(0)?.to_uppercase(),
        "lower" => arg(0)?.to_lowercase(),
        "clean_resource_name" | "clean_ami_name" => clean(&arg(0)?),
        "replace_all" => arg(2)?.replace(&arg(0)?, &arg(1)?),
        "replace" => {
            let count: i64 = arg(2)?.parse().map_err(|_| "`replace` needs a count")?;
            let text = arg(3)?;
            if count < 0 {
                text.replace(&arg(0)?, &arg(1)?)
            } else {
                text.replacen(&arg(0)?, &arg(1)?, count as usize)
            }
        }
        "split" => {
            let index: usize = arg(2)?.parse().map_err(|_| "`split` needs an index")?;
            arg(0)?.split(&arg(1)?).nth(index).ok_or("`split` has no such part")?.to_owned()
        }
        "printf" => return Ok(None),
        other => {
            let known = [
                "user",
                "env",
                "timestamp",
                "isotime",
                "uuid",
                "pwd",
                "template_dir",
                "build_name",
                "build_type",
                "upper",
                "lower",
                "clean_resource_name",
                "replace",
                "split",
                "strftime",
            ];
            let hint = bakery_lang::suggest(other, known).map(|h| format!(" ({h})")).unwrap_or_default();
            return Err(format!("function \"{other}\" not defined{hint}"));
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_pipes_and_late_fields() {
        let user = Map::new();
        user.set("v", "A b:c");
        let functions = Functions {
            user: &user,
            env: false,
            folder: "/t",
            build: Some(("n", "disk")),
            now: jiff::Timestamp::UNIX_EPOCH,
        };
        let render = |text: &str| render(text, &functions);
        assert_eq!(render("x-{{user `v` | clean_resource_name}}").as_deref(), Ok("x-A b-c"));
        assert_eq!(render("{{ split (user \"v\") \" \" 1 }}").as_deref(), Ok("b:c"));
        assert_eq!(render("{{timestamp}} {{isotime \"2006-01-02\"}}").as_deref(), Ok("0 1970-01-01"));
        assert_eq!(render("{{.Vars}} {{build_type}}").as_deref(), Ok("{{.Vars}} disk"));
        assert_eq!(render("[{{user `undeclared`}}]").as_deref(), Ok("[]"));
        let late = |text: &str| fill_in(text, &[("Path", "/p"), ("Vars", ""), ("Env", "A=b")]);
        for (template, expected) in [
            ("{{.Path}} {{ .Vars }}|{{.Other}}", "/p |{{.Other}}"),
            ("{{if .Vars}}v {{.Vars}}{{else}}none{{end}} {{ .Path }}", "none /p"),
            ("{{if .Env}}sudo {{.Env}} {{end}}{{.Path}}", "sudo A=b /p"),
            ("{{if .Env}}{{if .Vars}}both{{else}}one{{end}}{{else}}none{{end}}", "one"),
            ("a {{- .Path -}} b", "a/pb"),
            ("{{if .Other}}x{{end}}", "{{if .Other}}x{{end}}"),
            ("{{ unclosed", "{{ unclosed"),
        ] {
            assert_eq!(late(template), expected, "{template}");
        }
        assert!(render("{{usr `v`}}").expect_err("unknown").contains("did you mean `user`"));
    }
}
