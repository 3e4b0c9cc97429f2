//! Templates with the text that Jinja2 3.1.6, configured as ansible-core 2.19 does, makes of them.
//!
//! `cases.json` holds `[template, expected]` pairs over the variables below; `scripts/record-jinja-cases` writes it.

use bakery_jinja::{Environment, MapScope, Syntax};
use bakery_lang::{Source, json};

#[test]
fn templates_render_as_jinja2_renders_them() {
    let recorded = json::parse(include_str!("cases.json")).expect("cases.json is JSON");
    let variables = recorded.get("variables").expect("variables").as_map().expect("a mapping").clone();
    let scope = MapScope(variables);
    let environment = Environment::new();
    let cases = recorded.get("cases").expect("cases").as_items().expect("a list");
    let mut failures = Vec::new();
    for case in &cases {
        let pair = case.as_items().expect("a pair");
        let text = pair[0].to_string();
        let got = environment
            .parse(&Source::new("case", text.as_str()), &Syntax::default())
            .and_then(|template| environment.render(&template, &scope));
        match (&got, pair[1].as_str()) {
            (Ok(got), Some(expected)) if got == expected => {}
            (Err(_), None) => {}
            _ => failures.push(format!("{text:?}\n  expected {:?}\n  got      {got:?}", pair[1])),
        }
    }
    assert!(failures.is_empty(), "{} of {} differ:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

/// Texts that grow with every step end in an error before they take the memory.
#[test]
fn text_that_grows_is_bounded() {
    let environment = Environment::new();
    let scope = MapScope(bakery_lang::Map::new());
    for step in [" | join('a long separator')", " | replace('', '0123456789')", ".replace('', '0123456789')"]
    {
        let text = format!("{{{{ 'abc'{} }}}}", step.repeat(60));
        let template =
            environment.parse(&Source::new("case", text.as_str()), &Syntax::default()).expect("parses");
        let error = environment.render(&template, &scope).expect_err(step);
        assert!(error.to_string().contains("too long"), "{step}: {error}");
    }
}

/// Whole numbers have any size that memory and time allow.
#[test]
fn numbers_that_grow_are_bounded() {
    let environment = Environment::new();
    for text in ["{{ 9 ** (9 ** 9) }}", "{% set x = 2 ** 1000000 %}{{ x * x }}", "{{ 2 ** (2 ** 200) }}"] {
        let template = environment.parse(&Source::new("case", text), &Syntax::default()).expect("parses");
        let error = environment.render(&template, &MapScope(bakery_lang::Map::new())).expect_err(text);
        assert!(error.to_string().contains("integer too large"), "{text}: {error}");
    }
}

/// A comparison that fails in the middle of a sort is an error of the template.
#[test]
fn what_cannot_be_sorted_is_an_error() {
    let environment = Environment::new();
    let text = format!("{{{{ [{}1, '1', 1.0, true] | sort }}}}", "0, '2', ".repeat(30));
    let template =
        environment.parse(&Source::new("case", text.as_str()), &Syntax::default()).expect("parses");
    let error = environment.render(&template, &MapScope(bakery_lang::Map::new())).expect_err("not in order");
    assert!(error.to_string().contains("'<' not supported between"), "{error}");
}

/// Templates by name, for those that bring others in.
struct Named(Vec<(&'static str, &'static str)>);

impl bakery_jinja::Scope for Named {
    fn variable(&self, _: &str) -> Option<bakery_lang::Value> {
        None
    }

    fn load(&self, name: &str) -> bakery_jinja::Result<std::sync::Arc<Source>> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.map(|(name, text)| Source::new(*name, *text)).ok_or_else(|| bakery_jinja::Error::new("none"))
    }
}

/// However many templates one includes that extend another, it is their depth that is bounded.
#[test]
fn depth_is_that_of_templates_in_each_other() {
    let scope = Named(vec![
        ("child", "{% extends 'parent' %}{% block b %}x{% endblock %}"),
        ("parent", "{% block b %}{% endblock %}"),
        ("itself", "{% include 'itself' %}"),
    ]);
    let render = |text: &str| {
        let environment = Environment::new();
        let template = environment.parse(&Source::new("t", text), &Syntax::default()).expect("parses");
        environment.render(&template, &scope)
    };
    let many = "{% for i in range(200) %}{% include 'child' %}{% endfor %}";
    assert_eq!(render(many).expect("renders"), "x".repeat(200));
    assert!(render("{% include 'itself' %}").expect_err("no end").message.contains("too deep"));
    let escaped =
        "{% autoescape true %}{{ '<'.upper() }}{% macro m() %}<b>{% endmacro %}{{ m() }}{% endautoescape %}";
    assert_eq!(render(escaped).expect("renders"), "&lt;<b>");
}

/// Nothing times a million is nothing, and takes no time.
#[test]
fn nothing_is_repeated_at_once() {
    let text = format!("{{{{ []{} }}}}", " * 999999".repeat(100));
    let environment = Environment::new();
    let template = environment.parse(&Source::new("t", text.as_str()), &Syntax::default()).expect("parses");
    assert_eq!(environment.render(&template, &MapScope::default()).expect("renders"), "[]");
}

/// Templates that make values which the stack or the memory cannot hold: each is an error, and nothing is lost.
#[test]
fn values_have_bounds() {
    let grown = |step: &str| {
        format!(
            "{{% set ns = namespace(l=[1]) %}}{{% for i in range(60000) %}}{{% set ns.l = {step} %}}{{% endfor %}}{{{{ ns.l }}}}"
        )
    };
    let cases = [
        "{% set l = [] %}{% set x = l.append(l) %}{{ l }}".to_owned(),
        "{% set d = {} %}{% set x = d.update({'a': [d]}) %}{{ d | list }}".to_owned(),
        grown("[ns.l]"),
        grown("{'a': ns.l}"),
        grown("[ns.l, ns.l]"),
        grown("ns.l + ns.l"),
        format!("{{{{ (('{}', 1) * 999999) | string }}}}", "a".repeat(2000)),
    ];
    for case in cases {
        let environment = Environment::new();
        let template =
            environment.parse(&Source::new("t", case.as_str()), &Syntax::default()).expect("parses");
        let error = environment.render(&template, &MapScope::default()).expect_err(&case);
        assert!(error.message.contains("too l"), "{case}: {}", error.message);
    }
}
