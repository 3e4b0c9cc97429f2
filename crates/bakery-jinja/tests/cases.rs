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
