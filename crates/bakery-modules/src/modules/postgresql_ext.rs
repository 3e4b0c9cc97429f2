//! `postgresql_ext`: extensions in databases of PostgreSQL (community.postgresql `postgresql_ext.py`).

use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::database;
use crate::database::postgresql::{self, Login, Session};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Adds and removes extensions of a database of PostgreSQL.
#[derive(ModuleArgs)]
struct Args {
    #[arg(flatten)]
    login: Login,
    /// The database.
    #[arg(required, alias = "db")]
    login_db: String,
    /// The extension.
    #[arg(required, alias = "name")]
    ext: String,
    /// The schema that it goes into.
    schema: Option<String>,
    /// Whether it shall be there.
    #[arg(default = "present", choices = "absent,present")]
    state: String,
    /// Whether what it needs, or what needs it, goes along.
    cascade: bool,
    /// The role to become.
    session_role: Option<String>,
    /// The version, or `latest`.
    version: Option<String>,
    /// Whether names are not looked at for statements in them.
    #[arg(default = "true")]
    trust_input: bool,
    /// A comment.
    comment: Option<String>,
}

/// Which versions are there, usual, and to be had.
struct Versions {
    current: Option<String>,
    default: Option<String>,
    available: Vec<String>,
}

fn failed(error: postgresql::Refused) -> Failure {
    Failure::new(format!("Management of PostgreSQL extension failed: {error}"))
}

fn versions(server: &mut Session, ext: &str) -> Result<Versions, Failure> {
    let mut ask = |query: &str| server.with(query, &[("ext", ext.into())]).map_err(failed);
    let text = |value: Option<Value>| value.map(|value| value.to_string());
    let current =
        ask("SELECT extversion FROM pg_catalog.pg_extension WHERE extname = %(ext)s")?.first("extversion");
    let default = ask("SELECT default_version FROM pg_catalog.pg_available_extensions WHERE name = %(ext)s")?
        .first("default_version");
    let all = ask("SELECT version FROM pg_catalog.pg_available_extension_versions WHERE name = %(ext)s")?;
    let available = all.rows.iter().filter_map(|row| text(row.get("version"))).collect();
    Ok(Versions { current: text(current), default: text(default), available })
}

/// The statements that bring an extension to where it shall be.
fn statements(
    args: &Args,
    server: &mut Session,
    known: &Versions,
    target: &str,
) -> Result<Vec<String>, Failure> {
    let ext = &args.ext;
    if args.state == "absent" {
        let cascade = if args.cascade { " CASCADE" } else { "" };
        return Ok(known.current.iter().map(|_| format!("DROP EXTENSION \"{ext}\"{cascade}")).collect());
    }
    let mut all = Vec::new();
    let asked = args.version.as_deref();
    match (&known.current, asked) {
        (Some(current), Some(version)) if current != target => {
            let query = "SELECT path FROM pg_extension_update_paths(%(ext)s) WHERE source = %(cv)s AND target = %(ver)s";
            let values =
                [("ext", ext.as_str().into()), ("cv", current.as_str().into()), ("ver", target.into())];
            if server.with(query, &values).map_err(failed)?.rows.is_empty() {
                return Err(Failure::new(match version {
                    "latest" => format!(
                        "Latest version '{target}' has no valid update path from the currently installed version '{current}'"
                    ),
                    _ => format!(
                        "Passed version '{version}' has no valid update path from the currently installed version '{current}' or the passed version is not available"
                    ),
                }));
            }
            let to = if version == "latest" {
                String::new()
            } else {
                format!(" TO {}", postgresql::quoted(version))
            };
            all.push(format!("ALTER EXTENSION \"{ext}\" UPDATE{to}"));
        }
        (Some(_), _) => {}
        (None, version) => {
            if !known.available.iter().any(|available| available == target) {
                return Err(Failure::new(match version {
                    None => format!("Extension {ext} is not available"),
                    Some("latest") => format!("Latest version '{target}' is not available"),
                    Some(_) => format!("Passed version '{target}' is not available"),
                }));
            }
            let mut statement = format!("CREATE EXTENSION \"{ext}\"");
            if let Some(schema) = &args.schema {
                statement.push_str(&format!(" WITH SCHEMA \"{schema}\""));
            }
            if let Some(version) = version.filter(|version| *version != "latest") {
                statement.push_str(&format!(" VERSION {}", postgresql::quoted(version)));
            }
            if args.cascade {
                statement.push_str(" CASCADE");
            }
            all.push(statement);
        }
    }
    if let Some(comment) = &args.comment {
        let query = "SELECT pg_catalog.obj_description(e.oid, 'pg_extension') AS comment FROM pg_catalog.pg_extension AS e WHERE e.extname = %(ext)s";
        let held = server.with(query, &[("ext", ext.as_str().into())]).map_err(failed)?.first("comment");
        if held.map(|held| held.to_string()).unwrap_or_default() != *comment {
            all.push(format!("COMMENT ON EXTENSION \"{ext}\" IS {}", postgresql::quoted(comment)));
        }
    }
    Ok(all)
}

fn run(args: Args, host: &mut Host) -> Run {
    if !args.trust_input {
        let optional = [&args.schema, &args.version, &args.session_role, &args.comment].into_iter().flatten();
        database::refuse_dangerous(optional.chain([&args.ext]).map(String::as_str))?;
    }
    if args.version.is_some() && args.state == "absent" {
        host.warn("Parameter version is ignored when state=absent");
    }
    let mut server = Session::open(host, &args.login, Some(&args.login_db), args.session_role.as_deref())?;
    let known = versions(&mut server, &args.ext)?;
    let target = match args.version.as_deref() {
        None | Some("latest") => {
            if known.available.is_empty() {
                return Err(Failure::new(format!("Extension {} is not available", args.ext)));
            }
            known
                .default
                .clone()
                .ok_or("Passed version 'latest' but no default_version available in extension control file")?
        }
        Some(version) => version.to_owned(),
    };
    let statements = statements(&args, &mut server, &known, &target)?;
    let changed = !statements.is_empty();
    if !host.check {
        for statement in &statements {
            server.rows(statement).map_err(failed)?;
        }
    }
    let version = match (host.check && changed, args.state.as_str()) {
        (true, "present") => target,
        (true, _) => String::new(),
        (false, _) => versions(&mut server, &args.ext)?.current.unwrap_or_default(),
    };
    Ok(Outcome::changed(changed)
        .with("db", args.login_db.as_str())
        .with("ext", args.ext.as_str())
        .with("prev_version", known.current.unwrap_or_default())
        .with("version", version)
        .with("queries", Value::strings(statements)))
}

module!("postgresql_ext", "community.postgresql", Args, run);
