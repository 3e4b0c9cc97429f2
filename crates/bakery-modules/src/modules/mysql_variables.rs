//! `mysql_variables`: settings of a running MySQL or MariaDB (community.mysql `mysql_variables.py`).

use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::database::mysql::{self, Login};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Shows a setting of the server, or changes it.
#[derive(ModuleArgs)]
struct Args {
    #[arg(flatten)]
    login: Login,
    /// The setting.
    #[arg(required)]
    variable: String,
    /// Its value; without it, the setting is shown.
    value: Option<String>,
    /// Whether it holds now, now and after a restart, or after a restart only.
    #[arg(default = "global", choices = "global,persist,persist_only")]
    mode: String,
}

/// A number where a text is one, as the community's module reads both sides before it compares them.
fn typed(text: &str) -> Value {
    let text = text.trim();
    text.parse::<i128>()
        .map(Value::Int)
        .or_else(|_| text.parse::<f64>().map(Value::from))
        .unwrap_or(text.into())
}

fn run(args: Args, host: &mut Host) -> Run {
    if host.check {
        return Ok(Outcome::no_check_mode("community.mysql.mysql_variables"));
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.');
    if args.variable.is_empty() || !args.variable.chars().all(is_name) {
        return Err(Failure::new(format!("invalid variable name \"{}\"", args.variable)));
    }
    let opened = mysql::open(host, &args.login, Some("mysql"), false);
    let (mut server, _) =
        opened.map_err(|failure| super::mysql_db::missing_file(host, &args.login, failure))?;
    let shown = server.with("SHOW VARIABLES WHERE Variable_name = %s", &[&args.variable])?;
    let Some(now) = shown.rows.first().and_then(|row| row.get(1)).map(ToString::to_string) else {
        return Err(Failure::new(format!("Variable not available \"{}\"", args.variable)));
    };
    let Some(wanted) = &args.value else {
        return Ok(Outcome::unchanged().msg(now));
    };
    let mut actual = typed(&now);
    let mut stored = None;
    if args.mode != "global" {
        let query =
            "SELECT VARIABLE_VALUE FROM performance_schema.persisted_variables WHERE VARIABLE_NAME = %s";
        let answer = server.with(query, &[&args.variable]).map_err(|error| {
            if error.to_string().contains("persisted_variables' doesn't exist") {
                Failure::new("Server version must be 8.0 or greater.")
            } else {
                error.into()
            }
        })?;
        stored = answer.first().map(|value| typed(&value.to_string()));
        if args.mode == "persist_only" {
            actual = stored.clone().unwrap_or(Value::Bool(false));
        }
    }
    let mut value = typed(wanted);
    let is_switch = |value: &Value| matches!(value.as_str(), Some("ON" | "OFF"));
    if is_switch(&actual) && !is_switch(&value) {
        value = match (value.as_str(), value.as_int()) {
            (Some("on"), _) | (_, Some(1)) => "ON".into(),
            (Some("off"), _) | (_, Some(0)) => "OFF".into(),
            _ => value,
        };
    }
    let is_stored = stored.as_ref() == Some(&value);
    let done = match args.mode.as_str() {
        "global" if value == actual => Some("Variable is already set to requested value."),
        "persist" if value == actual && is_stored => {
            Some("Variable is already set to requested value globallyand stored into mysqld-auto.cnf file.")
        }
        "persist_only" if is_stored => {
            Some("Variable is already stored into mysqld-auto.cnf with requested value.")
        }
        _ => None,
    };
    if let Some(done) = done {
        return Ok(Outcome::unchanged().msg(done));
    }
    let scope = args.mode.to_uppercase();
    let head = format!("SET {scope} {} = ", mysql::name(&args.variable, 1, "vars")?);
    server.rows(&format!("{head}{}", mysql::literal(&value)))?;
    Ok(Outcome::changed(true)
        .msg(format!("Variable change succeeded prev_value={actual}"))
        .with("queries", vec![format!("{head}{value}").into()]))
}

module!("mysql_variables", "community.mysql", Args, run);
