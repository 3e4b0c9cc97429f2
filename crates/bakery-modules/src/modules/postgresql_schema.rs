//! `postgresql_schema`: schemas of PostgreSQL (community.postgresql `postgresql_schema.py`).

use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::database;
use crate::database::postgresql::{self, Login, Session};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Creates and removes schemas of PostgreSQL.
#[derive(ModuleArgs)]
struct Args {
    #[arg(flatten)]
    login: Login,
    /// The schema.
    #[arg(required, alias = "schema")]
    name: String,
    /// Its owner.
    #[arg(default = "")]
    owner: String,
    /// The database.
    #[arg(default = "postgres", alias = "db,database")]
    login_db: String,
    /// Whether what is in it goes with it.
    cascade_drop: bool,
    /// Whether it shall be there.
    #[arg(default = "present", choices = "absent,present")]
    state: String,
    /// The role to become.
    session_role: Option<String>,
    /// Whether names are not looked at for statements in them.
    #[arg(default = "true")]
    trust_input: bool,
    /// A comment.
    comment: Option<String>,
}

fn run(args: Args, host: &mut Host) -> Run {
    if !args.trust_input {
        let optional = [&args.session_role, &args.comment].into_iter().flatten();
        database::refuse_dangerous(
            [&args.name, &args.owner].into_iter().chain(optional).map(String::as_str),
        )?;
    }
    let mut server = Session::open(host, &args.login, Some(&args.login_db), args.session_role.as_deref())?;
    let failed = |e: postgresql::Refused| Failure::new(format!("Database query failed: {e}"));
    let query = "SELECT obj_description((SELECT oid FROM pg_namespace WHERE nspname = %(schema)s), 'pg_namespace') AS comment, schema_owner AS owner FROM information_schema.schemata WHERE schema_name = %(schema)s";
    let held = server.with(query, &[("schema", args.name.as_str().into())]).map_err(failed)?;
    let there = !held.rows.is_empty();
    let text = |column: &str| held.first(column).map(|value| value.to_string()).unwrap_or_default();
    let name = postgresql::name(&args.name, 2, "schema")?;
    let comment = |text: &str| format!("COMMENT ON SCHEMA \"{}\" IS {}", args.name, postgresql::quoted(text));
    let mut statements = Vec::new();
    match (args.state.as_str(), there) {
        ("absent", true) => {
            statements.push(format!("DROP SCHEMA {name}{}", if args.cascade_drop { " CASCADE" } else { "" }));
        }
        ("absent", false) => {}
        (_, false) => {
            let owner = match args.owner.as_str() {
                "" => String::new(),
                owner => format!(" AUTHORIZATION \"{owner}\""),
            };
            statements.push(format!("CREATE SCHEMA {name}{owner}"));
            statements.extend(args.comment.as_deref().map(comment));
        }
        (_, true) => {
            if !args.owner.is_empty() && args.owner != text("owner") {
                statements.push(format!("ALTER SCHEMA {name} OWNER TO \"{}\"", args.owner));
            }
            statements.extend(args.comment.as_deref().filter(|c| *c != text("comment")).map(comment));
        }
    }
    let outcome = Outcome::changed(!statements.is_empty()).with("schema", args.name.as_str());
    if host.check {
        return Ok(outcome);
    }
    for statement in &statements {
        server.rows(statement).map_err(failed)?;
    }
    Ok(outcome.with("queries", Value::strings(statements)))
}

module!("postgresql_schema", "community.postgresql", Args, run);
