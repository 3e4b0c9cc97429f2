//! The filter `json_query` of `community.general`: queries in the language JMESPath.

use bakery_jinja::{Error, Result};
use bakery_lang::{Value, json};
use jmespath::ast::Ast;
use jmespath::{Context, Rcvar, Variable};

/// What a query finds in a value.
///
/// # Errors
/// For a query that cannot be read, or whose functions are called with values that they do not take.
pub(super) fn search(value: &Value, query: &str) -> Result<Value> {
    let failed =
        |e: jmespath::JmespathError| Error::new(format!("JMESPathError in json_query filter plugin:\n{e}"));
    let mut tree = jmespath::parse(query).map_err(failed)?;
    mend(&mut tree);
    let mut originals = Originals::default();
    let data = originals.variable(value);
    let mut context = Context::new(query, &jmespath::DEFAULT_RUNTIME);
    // The data is held until the end: what is found is told from it by where it lies in memory.
    let found = jmespath::interpret(&data, &tree, &mut context).map_err(failed)?;
    Ok(originals.value(&found, query))
}

/// Makes numbers of the numbers in a query: with numbers of any size, which this program has serde_json read, the library
/// takes them for mappings.
fn mend(tree: &mut Ast) {
    match tree {
        Ast::Literal { value, .. } => *value = number_mended(value),
        Ast::Comparison { lhs, rhs, .. }
        | Ast::Projection { lhs, rhs, .. }
        | Ast::And { lhs, rhs, .. }
        | Ast::Or { lhs, rhs, .. }
        | Ast::Subexpr { lhs, rhs, .. } => {
            mend(lhs);
            mend(rhs);
        }
        Ast::Condition { predicate, then, .. } => {
            mend(predicate);
            mend(then);
        }
        Ast::Expref { ast: inner, .. }
        | Ast::Flatten { node: inner, .. }
        | Ast::Not { node: inner, .. }
        | Ast::ObjectValues { node: inner, .. } => mend(inner),
        Ast::Function { args: all, .. } | Ast::MultiList { elements: all, .. } => {
            all.iter_mut().for_each(mend);
        }
        Ast::MultiHash { elements, .. } => elements.iter_mut().for_each(|pair| mend(&mut pair.value)),
        Ast::Identity { .. } | Ast::Field { .. } | Ast::Index { .. } | Ast::Slice { .. } => {}
    }
}

fn number_mended(value: &Rcvar) -> Rcvar {
    match &**value {
        Variable::Object(map) => {
            let digits = map.get("$serde_json::private::Number").and_then(|v| v.as_string());
            match digits.and_then(|digits| digits.parse().ok()) {
                Some(number) => Rcvar::new(Variable::Number(number)),
                None => Rcvar::new(Variable::Object(
                    map.iter().map(|(key, value)| (key.clone(), number_mended(value))).collect(),
                )),
            }
        }
        Variable::Array(items) => Rcvar::new(Variable::Array(items.iter().map(number_mended).collect())),
        _ => Rcvar::clone(value),
    }
}

/// The values that a query is made over, found again by where the query's own copies of them are: those know neither the
/// order of keys nor numbers of any size.
#[derive(Default)]
struct Originals(std::collections::HashMap<*const Variable, Value>);

impl Originals {
    fn variable(&mut self, value: &Value) -> Rcvar {
        let made = Rcvar::new(match value {
            Value::Bool(on) => Variable::Bool(*on),
            Value::Int(_) | Value::Big(_) | Value::Float(_) => match json::to_json(value) {
                serde_json::Value::Number(number) => Variable::Number(number),
                _ => Variable::Null,
            },
            Value::List(_) | Value::Tuple(_) => Variable::Array(
                value.as_items().unwrap_or_default().iter().map(|i| self.variable(i)).collect(),
            ),
            Value::Map(map) => Variable::Object(
                map.pairs().iter().map(|(key, value)| (key.to_string(), self.variable(value))).collect(),
            ),
            Value::None | Value::Undefined(_) | Value::Omit => Variable::Null,
            Value::Str(text) => Variable::String(text.as_str().to_owned()),
            Value::Time(time) => Variable::String(time.iso()),
        });
        self.0.insert(Rcvar::as_ptr(&made), value.clone());
        made
    }

    fn value(&self, found: &Rcvar, query: &str) -> Value {
        if let Some(original) = self.0.get(&Rcvar::as_ptr(found)) {
            return original.clone();
        }
        match &**found {
            Variable::Null | Variable::Expref(_) => Value::None,
            Variable::String(text) => text.as_str().into(),
            Variable::Bool(on) => (*on).into(),
            Variable::Number(number) => json::from_json(&serde_json::Value::Number(number.clone())),
            Variable::Array(items) => Value::list(items.iter().map(|i| self.value(i, query)).collect()),
            Variable::Object(map) => {
                let mut keys: Vec<&String> = map.keys().collect();
                // What the query itself made has its keys in the order in which the query names them.
                keys.sort_by_key(|key| query.find(&format!("{key}:")));
                Value::map(keys.into_iter().map(|key| (key, self.value(&map[key], query))))
            }
        }
    }
}
