//! `mysql_query`: statements for MySQL and MariaDB (community.mysql `mysql_query.py`).

use std::time::Instant;

use bakery_lang::{Map, Value, repr};
use bakery_macros::ModuleArgs;

use crate::database::mysql::{self, Login, Session};
use crate::database::{filled, filled_by_name};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Runs statements and returns their tables.
#[derive(ModuleArgs)]
#[args(exclusive = "positional_args,named_args")]
struct Args {
    #[arg(flatten)]
    login: Login,
    /// A statement, or a list of them.
    #[arg(required)]
    query: Value,
    /// The database.
    login_db: Option<String>,
    /// Values for `%s`.
    positional_args: Option<Value>,
    /// Values for `%(name)s`.
    named_args: Option<Map>,
    /// Whether all statements are one transaction.
    single_transaction: bool,
    /// Variables of the session.
    session_vars: Option<Map>,
}

/// Sets variables of the session.
pub(super) fn set_session(server: &mut Session, variables: Option<&Map>) -> Result<(), Failure> {
    for (name, value) in variables.map(Map::pairs).unwrap_or_default() {
        let head = format!("SET SESSION {} = ", mysql::name(&name.to_string(), 1, "vars")?);
        let statement = format!("{head}{}", mysql::literal(&value));
        server.rows(&statement).map_err(|e| Failure::new(format!("Failed to execute {head}{value}: {e}")))?;
    }
    Ok(())
}

/// Whether a statement that was run counts as a change: by its words, and by what it touched.
fn changes(statement: &str, count: u64) -> bool {
    let head: String = statement.trim_start().chars().take("TRUNCATE".len()).collect();
    let head = head.to_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| head.contains(word));
    has(&["INSERT", "UPDATE", "DELETE", "REPLACE"]) && count > 0
        || has(&["CREATE", "DROP", "ALTER", "RENAME", "TRUNCATE"])
}

fn run(args: Args, host: &mut Host) -> Run {
    if host.check {
        return Ok(Outcome::no_check_mode("community.mysql.mysql_query"));
    }
    let queries: Vec<Value> = match &args.query {
        Value::Str(_) => vec![args.query.clone()],
        Value::List(list) => list.items(),
        other => {
            return Err(Failure::new(format!(
                "the query option value must be a string or list, passed <class '{}'>",
                other.type_name()
            )));
        }
    };
    let (mut server, _) = mysql::open(host, &args.login, args.login_db.as_deref(), false)?;
    server.has_plain_dates = true;
    set_session(&mut server, args.session_vars.as_ref())?;
    if args.single_transaction {
        server.rows("START TRANSACTION")?;
    }
    let positional =
        args.positional_args.as_ref().and_then(Value::as_items).filter(|items| !items.is_empty());
    let named = args.named_args.as_ref().filter(|map| !map.is_empty());
    let (mut executed, mut tables, mut counts, mut times) = (vec![], vec![], vec![], vec![]);
    let mut changed = false;
    for query in &queries {
        let Some(query) = query.as_str() else {
            return Err(Failure::new(format!(
                "the elements in query list must be strings, passed '{query}' <class '{}'>",
                query.type_name()
            )));
        };
        let statement = match (&positional, named) {
            (Some(values), _) => filled(query, values, mysql::literal),
            (None, Some(values)) => filled_by_name(query, values, mysql::literal),
            (None, None) => Ok(query.to_owned()),
        };
        let shown = || match (&args.positional_args, &args.named_args) {
            (Some(values), _) => repr::repr(values),
            (None, Some(values)) => repr::repr(&Value::Map(values.clone())),
            (None, None) => "None".into(),
        };
        let refused =
            |why: String| Failure::new(format!("Cannot execute SQL '{query}' args [{}]: {why}", shown()));
        let statement = statement.map_err(refused)?;
        let start = Instant::now();
        let answer = server.rows(&statement).map_err(|e| refused(e.to_string()))?;
        times.push(Value::from((start.elapsed().as_secs_f64() * 1e7).round() / 1e4));
        changed |= changes(&statement, answer.count);
        counts.push(Value::Int(answer.count.into()));
        let row = |cells: &Vec<Value>| -> Value {
            answer.columns.iter().map(String::as_str).zip(cells.iter().cloned()).collect::<Map>().into()
        };
        tables.push(Value::list(answer.rows.iter().map(row).collect()));
        executed.push(Value::from(statement));
    }
    if args.single_transaction {
        server.rows("COMMIT")?;
    }
    Ok(Outcome::changed(changed)
        .with("executed_queries", Value::list(executed))
        .with("query_result", Value::list(tables))
        .with("rowcount", Value::list(counts))
        .with("execution_time_ms", Value::list(times)))
}

module!("mysql_query", "community.mysql", Args, run);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_that_change_something() {
        assert!(changes("  insert into t values (1)", 1));
        assert!(!changes("UPDATE t SET a = 1", 0));
        assert!(changes("CREATE TABLE IF NOT EXISTS t (a int)", 0));
        assert!(!changes("SELECT 'CREATE'", 1));
    }
}
