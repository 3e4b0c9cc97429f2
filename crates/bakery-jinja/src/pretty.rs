//! Python's `pprint.pformat`: what does not fit into a line of 80 letters has a line for each of its items.

use bakery_lang::Value;
use bakery_lang::repr::repr;

const WIDTH: usize = 80;

/// The text of a value whose mappings are sorted by their keys.
pub fn pretty(value: &Value) -> String {
    let mut out = String::new();
    write(value, 0, 0, &mut out);
    out
}

/// Writes a value that starts behind `indent` letters and is followed by `allowance` of them.
fn write(value: &Value, indent: usize, allowance: usize, out: &mut String) {
    let line = flat(value);
    if line.chars().count() + indent + allowance <= WIDTH {
        out.push_str(&line);
        return;
    }
    let (open, close, items) = match value {
        Value::List(list) => ("[", "]", list.items()),
        Value::Tuple(items) => ("(", if items.len() == 1 { ",)" } else { ")" }, items.to_vec()),
        Value::Map(map) => {
            let pairs = sorted(map);
            out.push('{');
            for (at, (key, value)) in pairs.iter().enumerate() {
                let is_last = at + 1 == pairs.len();
                let key = repr(key);
                out.push_str(&format!("{key}: "));
                let used = indent + 1 + key.chars().count() + 2;
                write(value, used, if is_last { allowance + 1 } else { 1 }, out);
                out.push_str(&if is_last { "}".into() } else { format!(",\n{}", " ".repeat(indent + 1)) });
            }
            return;
        }
        _ => {
            out.push_str(&line);
            return;
        }
    };
    out.push_str(open);
    for (at, item) in items.iter().enumerate() {
        let is_last = at + 1 == items.len();
        write(item, indent + 1, if is_last { allowance + close.len() } else { 1 }, out);
        out.push_str(&if is_last { close.into() } else { format!(",\n{}", " ".repeat(indent + 1)) });
    }
}

fn sorted(map: &bakery_lang::Map) -> Vec<(Value, Value)> {
    let mut pairs = map.pairs();
    pairs.sort_by_key(|(key, _)| key.to_string());
    pairs
}

/// A value in one line.
fn flat(value: &Value) -> String {
    let all = |items: &[Value]| items.iter().map(flat).collect::<Vec<_>>().join(", ");
    match value {
        Value::List(list) => format!("[{}]", all(&list.items())),
        Value::Tuple(items) if items.len() == 1 => format!("({},)", flat(&items[0])),
        Value::Tuple(items) => format!("({})", all(items)),
        Value::Map(map) => {
            let pairs: Vec<String> =
                sorted(map).iter().map(|(k, v)| format!("{}: {}", repr(k), flat(v))).collect();
            format!("{{{}}}", pairs.join(", "))
        }
        other => repr(other),
    }
}
