//! Jinja2's own test suite, which comes with its source distribution: every template that it renders, beside the answer
//! that Jinja2 gives when it is configured as Ansible configures it. `record-jinja.py` says what is left out.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use bakery_jinja::{Environment, Error, Scope, Syntax};
use bakery_lang::{Map, Source, Value};
use libtest_mimic::Failed;
use serde_json::Value as Json;

/// The release whose tests are run.
const RELEASE: &str = "3.1.6";

/// Cases that bakery answers in another way on purpose, by the name of their test, and why.
const OTHERWISE: &[(&str, &str)] = &[
    ("TestFilter::test_random", "the choice is one of chance"),
    ("test_item_and_attribute", "calls a method that a filter gives as a value"),
    ("test_chainable_undefined", "asks a class of Python for its own attributes"),
];

#[derive(Debug)]
struct Suite {
    variables: Map,
    templates: HashMap<String, String>,
}

impl Scope for Suite {
    fn variable(&self, name: &str) -> Option<Value> {
        self.variables.get(name)
    }

    fn is_strict_inside(&self) -> bool {
        false
    }

    fn load(&self, name: &str) -> bakery_jinja::Result<Arc<Source>> {
        let text =
            self.templates.get(name).ok_or_else(|| Error::new(format!("template not found: {name}")))?;
        Ok(Source::new(name, text.as_str()))
    }
}

/// Records the suite's cases and compares every answer.
pub(crate) fn suite(reference: &Path) -> Result<(), Failed> {
    let sources = crate::reference::sources(reference, "jinja2", RELEASE)?;
    let recorded = crate::told(reference, "record-jinja.py", &sources.join("tests"))?;
    let (mut tried, mut wrong) = (0, Vec::new());
    for line in recorded.lines() {
        let case: Json = serde_json::from_str(line)?;
        let Some(test) = case["test"].as_str() else { continue };
        tried += 1;
        if OTHERWISE.iter().any(|(name, _)| test.contains(name)) {
            continue;
        }
        let found = answer(&case);
        let same = match (&found, &case["answer"]) {
            (Err(_), Json::Null) => case.get("error").is_some(),
            (Ok(found), expected) => case.get("error").is_none() && *found == value(expected),
            _ => false,
        };
        if !same {
            let expected = case.get("error").unwrap_or(&case["answer"]);
            let found = found.map_or_else(|e| format!("error: {}", e.message), |v| format!("{v:?}"));
            wrong.push(format!(
                "{test}\n  {}\n  with {}\n  gives {found}\n  not   {expected}",
                case["source"], case["context"]
            ));
        }
    }
    if tried < 500 {
        return Err(format!("only {tried} cases were recorded").into());
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("{} of {tried}:\n{}", wrong.len(), wrong.join("\n")).into())
    }
}

fn answer(case: &Json) -> bakery_jinja::Result<Value> {
    let options = &case["options"];
    let text = |name: &str| options[name].as_str().unwrap_or_default().to_owned();
    let flag = |name: &str| options[name].as_bool().unwrap_or_default();
    let syntax = Syntax {
        block_start: text("block_start_string"),
        block_end: text("block_end_string"),
        variable_start: text("variable_start_string"),
        variable_end: text("variable_end_string"),
        comment_start: text("comment_start_string"),
        comment_end: text("comment_end_string"),
        trim_blocks: flag("trim_blocks"),
        lstrip_blocks: flag("lstrip_blocks"),
        keep_trailing_newline: flag("keep_trailing_newline"),
        line_statement_prefix: options["line_statement_prefix"].as_str().map(str::to_owned),
        line_comment_prefix: options["line_comment_prefix"].as_str().map(str::to_owned),
        ..Syntax::default()
    };
    let templates = case["templates"].as_object().into_iter().flatten();
    let templates = templates.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect();
    let variables = value(&case["context"]).as_map().cloned().unwrap_or_default();
    let scope = Suite { variables, templates };
    let environment = Environment::new();
    let source = case["source"].as_str().unwrap_or_default();
    if case["kind"] == "expression" {
        return environment.expression(source, &scope);
    }
    let template = environment.parse(&Source::new("case", source), &syntax)?;
    let text = environment.render(&template, &scope)?;
    let newline = options["newline_sequence"].as_str().unwrap_or("\n");
    Ok(text.replace('\n', newline).into())
}

/// A value as `record-jinja.py` writes it.
fn value(json: &Json) -> Value {
    let tagged = json.as_object().and_then(|map| map.iter().next());
    let items = |json: &Json| json.as_array().into_iter().flatten().map(value).collect::<Vec<_>>();
    match (json, tagged) {
        (Json::Bool(flag), _) => (*flag).into(),
        (Json::String(text), _) => text.into(),
        (_, Some((tag, inner))) => match tag.as_str() {
            "int" => inner.as_str().and_then(|n| n.parse().ok()).map_or(Value::None, Value::Int),
            "float" => inner.as_str().and_then(|n| n.parse().ok()).map_or(Value::None, Value::Float),
            "tuple" => Value::tuple(items(inner)),
            "list" => Value::list(items(inner)),
            _ => {
                let pairs = inner.as_array().into_iter().flatten();
                pairs.map(|pair| (value(&pair[0]), value(&pair[1]))).collect::<Map>().into()
            }
        },
        _ => Value::None,
    }
}
