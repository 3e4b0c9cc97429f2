//! `postgresql_query`: statements for PostgreSQL (community.postgresql `postgresql_query.py`).

use std::time::Instant;

use bakery_lang::{Map, Value, repr};
use bakery_macros::ModuleArgs;

use crate::database::postgresql::{self, Answer, Login, Session};
use crate::database::{self, filled, filled_by_name};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Runs statements and returns their tables.
#[derive(ModuleArgs)]
#[args(exclusive = "positional_args,named_args")]
struct Args {
    #[arg(flatten)]
    login: Login,
    /// A statement, or a list of them.
    query: Option<Value>,
    /// The database.
    #[arg(alias = "db")]
    login_db: Option<String>,
    /// Values for `%s`.
    positional_args: Option<Value>,
    /// Values for `%(name)s`.
    named_args: Option<Map>,
    /// The role to become.
    session_role: Option<String>,
    /// Whether statements run outside of a transaction, as some have to.
    autocommit: bool,
    /// The encoding of the session.
    encoding: Option<String>,
    /// Whether names are not looked at for statements in them.
    #[arg(default = "true")]
    trust_input: bool,
    /// Schemas to look in.
    search_path: Option<Vec<String>>,
}

/// What the server says when a statement is done, from the statement's first words: `SELECT 1`, `INSERT 0 2`, `GRANT`.
fn status(statement: &str, answer: &Answer) -> String {
    let mut words =
        statement.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    let verb = words.next().unwrap_or_default().to_uppercase();
    match verb.as_str() {
        "INSERT" => format!("INSERT 0 {}", answer.count),
        "UPDATE" | "DELETE" | "COPY" | "MERGE" | "MOVE" | "FETCH" => format!("{verb} {}", answer.count),
        "SELECT" | "VALUES" | "TABLE" | "WITH" => format!("SELECT {}", answer.count),
        "CREATE" | "ALTER" | "DROP" => {
            let mut kind = words.map(str::to_uppercase);
            let skipped =
                ["OR", "REPLACE", "UNIQUE", "TEMP", "TEMPORARY", "UNLOGGED", "GLOBAL", "LOCAL", "RECURSIVE"];
            let kind = kind.find(|word| !skipped.contains(&word.as_str())).unwrap_or_default();
            // Users are roles.
            let kind = if matches!(kind.as_str(), "USER" | "GROUP") { "ROLE".into() } else { kind };
            format!("{verb} {kind}")
        }
        "TRUNCATE" => "TRUNCATE TABLE".into(),
        _ => verb,
    }
}

fn changes(status: &str) -> bool {
    if status.contains("SELECT") || status.contains("SHOW") {
        return false;
    }
    let is_count = ["UPDATE", "INSERT", "DELETE"].iter().any(|verb| status.contains(verb));
    !(is_count && status.ends_with(" 0"))
}

/// A list among values is the text of an array, as the community's module makes it.
fn as_array(value: Value) -> Value {
    match value {
        Value::List(_) => {
            let text = value.to_string();
            format!("{{{}}}", text.trim_matches(['[', ']'])).into()
        }
        other => other,
    }
}

fn run(args: Args, host: &mut Host) -> Run {
    let queries: Vec<Value> = match &args.query {
        Some(query @ Value::Str(_)) => vec![query.clone()],
        Some(Value::List(list)) => list.items(),
        None | Some(Value::None) => vec![],
        Some(_) => return Err("query argument must be of type string or list".into()),
    };
    if !args.trust_input {
        database::refuse_dangerous(args.session_role.as_deref())?;
    }
    if args.autocommit && host.check {
        return Err("Using autocommit is mutually exclusive with check_mode".into());
    }
    if args.login_db.is_none() {
        host.warn("Database name has not been passed, used default database to connect to.");
    }
    let mut server =
        Session::open(host, &args.login, args.login_db.as_deref(), args.session_role.as_deref())?;
    if let Some(encoding) = &args.encoding {
        server.rows(&format!("SET client_encoding TO {}", postgresql::quoted(encoding)))?;
    }
    if let Some(path) = &args.search_path {
        let path: Vec<&str> = path.iter().map(|schema| schema.trim()).collect();
        server.rows(&format!("SET search_path TO {}", path.join(",")))?;
    }
    let values = args.positional_args.as_ref().and_then(Value::as_items).filter(|items| !items.is_empty());
    let values = values.map(|items| items.into_iter().map(as_array).collect::<Vec<_>>());
    let named = args.named_args.as_ref().filter(|map| !map.is_empty()).map(|map| -> Map {
        let named = Map::new();
        for (name, value) in map.pairs() {
            named.insert(name, as_array(value));
        }
        named
    });
    if !args.autocommit {
        server.rows("BEGIN")?;
    }
    let mut changed = false;
    let (mut last, mut message, mut count) = (Value::None, String::new(), 0);
    let (mut results, mut times) = (vec![], vec![]);
    for query in &queries {
        let text = query.to_string();
        let statement = match (&values, &named) {
            (Some(values), _) => filled(&text, values, postgresql::literal),
            (None, Some(named)) => filled_by_name(&text, named, postgresql::literal),
            (None, None) => Ok(text.clone()),
        };
        let refused = |why: String| {
            let given = match (&values, &named) {
                (Some(values), _) => repr::repr(&Value::list(values.clone())),
                (None, Some(named)) => repr::repr(&Value::Map(named.clone())),
                (None, None) => "None".into(),
            };
            let list = repr::repr(&Value::list(queries.clone()));
            Failure::new(format!("Cannot execute SQL '{text}' {given}: {why}, query list: {list}"))
        };
        let statement = statement.map_err(refused)?;
        let start = Instant::now();
        let answer = server.rows(&statement).map_err(|e| refused(e.to_string()))?;
        times.push(Value::from((start.elapsed().as_secs_f64() * 1e7).round() / 1e4));
        message = status(&statement, &answer);
        changed |= changes(&message);
        let is_counted = message.ends_with(|c: char| c.is_ascii_digit());
        count += if is_counted { answer.count.max(0) } else { 0 };
        results.push(if answer.rows.is_empty() {
            Value::Map(Map::new())
        } else {
            Value::list(answer.rows.into_iter().map(Value::Map).collect())
        });
        last = statement.into();
    }
    if !args.autocommit {
        server.rows(if host.check { "ROLLBACK" } else { "COMMIT" })?;
    }
    Ok(Outcome::changed(changed)
        .with("query", last)
        .with("query_list", Value::list(queries))
        .with("statusmessage", message)
        .with("query_result", results.last().cloned().unwrap_or_default())
        .with("query_all_results", Value::list(results))
        .with("rowcount", Value::Int(count.into()))
        .with("execution_time_ms", Value::list(times)))
}

module!("postgresql_query", "community.postgresql", Args, run);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says() {
        let answer = |count| Answer { count, ..Answer::default() };
        for (statement, count, said, changed) in [
            ("insert into t values (1)", 1, "INSERT 0 1", true),
            ("UPDATE t SET a = 1", 0, "UPDATE 0", false),
            ("CREATE OR REPLACE FUNCTION f()", 0, "CREATE FUNCTION", true),
            ("create user joe", 0, "CREATE ROLE", true),
            (" SELECT 1", 1, "SELECT 1", false),
            ("SHOW all", 1, "SHOW", false),
        ] {
            assert_eq!(status(statement, &answer(count)), said);
            assert_eq!(changes(said), changed, "{said}");
        }
    }
}
