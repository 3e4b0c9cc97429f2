//! `postgresql_privs`: what roles of PostgreSQL may (community.postgresql `postgresql_privs.py`).

use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::database;
use crate::database::postgresql::{self, Login, Session};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Grants privileges to roles of PostgreSQL, or revokes them.
#[derive(ModuleArgs)]
struct Args {
    #[arg(flatten)]
    login: Login,
    /// The database.
    #[arg(required, alias = "db,database")]
    login_db: String,
    /// Whether they shall have them.
    #[arg(default = "present", choices = "present,absent")]
    state: String,
    /// Privileges, separated by commas.
    #[arg(alias = "priv")]
    privs: Option<String>,
    /// What the privileges are on.
    #[arg(
        name = "type",
        default = "table",
        choices = "table,sequence,function,procedure,database,schema,language,tablespace,group,default_privs,foreign_data_wrapper,foreign_server,type,parameter"
    )]
    kind: String,
    /// Objects, separated by commas; `ALL_IN_SCHEMA` and `ALL_DEFAULT` for all.
    #[arg(alias = "obj")]
    objs: Option<String>,
    /// The schema that objects are in.
    schema: Option<String>,
    /// Roles, separated by commas.
    #[arg(required, alias = "role")]
    roles: String,
    /// The role to become.
    session_role: Option<String>,
    /// Roles whose new objects default privileges are for.
    target_roles: Option<String>,
    /// Whether they may pass the privileges on.
    #[arg(alias = "admin_option")]
    grant_option: Option<bool>,
    /// Whether a role that is not there is an error.
    #[arg(default = "true")]
    fail_on_role: bool,
    /// Whether names are not looked at for statements in them.
    #[arg(default = "true")]
    trust_input: bool,
}

/// All privileges that there are.
const PRIVILEGES: &[&str] = &[
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "TRUNCATE",
    "REFERENCES",
    "TRIGGER",
    "CREATE",
    "CONNECT",
    "TEMPORARY",
    "TEMP",
    "EXECUTE",
    "USAGE",
    "ALL",
    "SET",
    "ALTER_SYSTEM",
    "MAINTAIN",
];

/// What default privileges can be for, and which.
const DEFAULTS: &[(&str, &[&str])] = &[
    (
        "TABLES",
        &["ALL", "SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER", "MAINTAIN"],
    ),
    ("SEQUENCES", &["ALL", "SELECT", "UPDATE", "USAGE"]),
    ("FUNCTIONS", &["ALL", "EXECUTE"]),
    ("TYPES", &["ALL", "USAGE"]),
    ("SCHEMAS", &["CREATE", "USAGE"]),
];

/// Names that stand for roles, from which version on.
const IMPLICIT: &[(&str, u32)] =
    &[("PUBLIC", 0), ("CURRENT_USER", 95_000), ("SESSION_USER", 95_000), ("CURRENT_ROLE", 140_000)];

/// Kinds of objects that are in a schema.
fn is_in_schema(kind: &str) -> bool {
    matches!(kind, "table" | "sequence" | "function" | "procedure" | "type" | "default_privs")
}

fn is_routine(kind: &str) -> bool {
    matches!(kind, "function" | "procedure")
}

/// The names of all objects of a kind in a schema.
fn all_in_schema(server: &mut Session, kind: &str, schema: &str) -> Result<Vec<String>, Failure> {
    let query = "SELECT 1 AS found FROM pg_catalog.pg_namespace WHERE nspname = %(schema)s";
    let values = [("schema", Value::from(schema))];
    if server.with(query, &values)?.rows.is_empty() {
        return Err(Failure::new(format!("Schema \"{schema}\" does not exist.")));
    }
    if kind == "procedure" && server.version < 110_000 {
        return Err("PostgreSQL version must be >= 11 for type=procedure. Exit".into());
    }
    let relations = |kinds: &str| {
        format!(
            "SELECT relname AS name FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE nspname = %(schema)s AND relkind in ({kinds})"
        )
    };
    let routines = |more: &str| {
        format!(
            "SELECT p.proname || '(' || oidvectortypes(p.proargtypes) || ')' AS name FROM pg_catalog.pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE nspname = %(schema)s{more}"
        )
    };
    let query = match kind {
        "table" => relations("'r', 'v', 'm', 'p', 'f'"),
        "sequence" => relations("'S'"),
        "procedure" => routines(" AND p.prokind = 'p'"),
        _ if server.version >= 110_000 => routines(" AND p.prokind = 'f'"),
        _ => routines(""),
    };
    let found = server.with(&query, &values)?;
    Ok(found.rows.iter().filter_map(|row| row.get("name").map(|name| name.to_string())).collect())
}

/// Who may what on the objects, as the server keeps it; only whether it is another one afterwards matters.
fn status(
    server: &mut Session,
    args: &Args,
    schema: Option<&str>,
    objects: &[String],
) -> Result<Vec<String>, Failure> {
    let in_schema = "JOIN pg_catalog.pg_namespace n ON n.oid";
    let of_schema = if schema.is_some() { "nspname = %(schema)s AND" } else { "" };
    let query = match args.kind.as_str() {
        "table" => format!("SELECT relacl::text AS acl FROM pg_catalog.pg_class c {in_schema} = c.relnamespace WHERE {of_schema} relkind in ('r','p','v','m','f') AND relname = ANY (%(objects)s)"),
        "sequence" => format!("SELECT relacl::text AS acl FROM pg_catalog.pg_class c {in_schema} = c.relnamespace WHERE {of_schema} relkind = 'S' AND relname = ANY (%(objects)s)"),
        "function" | "procedure" => format!("SELECT proacl::text AS acl FROM pg_catalog.pg_proc p {in_schema} = p.pronamespace WHERE {of_schema} proname = ANY (%(objects)s) ORDER BY proname, proargtypes"),
        "type" => format!("SELECT t.typacl::text AS acl FROM pg_catalog.pg_type t {in_schema} = t.typnamespace WHERE {of_schema} t.typname = ANY (%(objects)s)"),
        "default_privs" if schema.is_some() => "SELECT defaclacl::text AS acl FROM pg_default_acl a JOIN pg_namespace b ON a.defaclnamespace=b.oid WHERE b.nspname = %(schema)s".into(),
        "default_privs" => "SELECT defaclacl::text AS acl FROM pg_default_acl".into(),
        "group" => "SELECT concat_ws(' ', roleid, grantor, member, admin_option) AS acl FROM pg_catalog.pg_auth_members am JOIN pg_catalog.pg_roles r ON r.oid = am.roleid WHERE r.rolname = ANY(%(objects)s)".into(),
        kind => {
            if kind == "parameter" && server.version < 150_000 {
                return Err("PostgreSQL version must be >= 15 for type=parameter. Exit".into());
            }
            let (acl, table, name) = match kind {
                "schema" => ("nspacl", "pg_namespace", "nspname"),
                "language" => ("lanacl", "pg_language", "lanname"),
                "tablespace" => ("spcacl", "pg_tablespace", "spcname"),
                "database" => ("datacl", "pg_database", "datname"),
                "foreign_data_wrapper" => ("fdwacl", "pg_foreign_data_wrapper", "fdwname"),
                "foreign_server" => ("srvacl", "pg_foreign_server", "srvname"),
                _ => ("paracl", "pg_parameter_acl", "parname"),
            };
            format!("SELECT {acl}::text AS acl FROM pg_catalog.{table} WHERE {name} = ANY (%(objects)s)")
        }
    };
    let bare = |object: &String| object.split('(').next().unwrap_or_default().to_owned();
    let names: Vec<String> = objects
        .iter()
        .map(|object| if is_routine(&args.kind) { bare(object) } else { object.clone() })
        .collect();
    let values = [("schema", schema.map_or(Value::None, Value::from)), ("objects", Value::strings(names))];
    let held = server.with(&query, &values)?;
    let mut all: Vec<String> =
        held.rows.iter().map(|row| row.get("acl").map(|acl| acl.to_string()).unwrap_or_default()).collect();
    all.sort();
    Ok(all)
}

/// The statement that grants or revokes.
fn statement(
    args: &Args,
    what: &str,
    whom: &str,
    target: Option<&str>,
    schema: &str,
    objects: &[String],
) -> String {
    let mut lines: Vec<String> = Vec::new();
    let present = args.state == "present";
    let head = match target {
        Some(roles) => format!("ALTER DEFAULT PRIVILEGES FOR ROLE {roles}{schema}"),
        None => format!("ALTER DEFAULT PRIVILEGES{schema}"),
    };
    let is_group = args.kind == "group";
    let granted = |lines: &mut Vec<String>, line: String| match args.grant_option {
        Some(true) => lines.push(format!("{line} WITH {} OPTION;", if is_group { "ADMIN" } else { "GRANT" })),
        Some(false) => {
            lines.push(format!("{line};"));
            if args.kind != "default_privs" {
                let option = if is_group { "ADMIN" } else { "GRANT" };
                lines.push(format!("REVOKE {option} OPTION FOR {what} FROM {whom};"));
            }
        }
        None => lines.push(format!("{line};")),
    };
    if args.kind == "default_privs" {
        let all = ["TABLES", "FUNCTIONS", "SEQUENCES", "TYPES"].map(str::to_owned);
        for object in if present { objects } else { &all[..] } {
            lines.push(format!("{head} REVOKE ALL ON {object} FROM {whom};"));
        }
        if present {
            for object in objects {
                granted(&mut lines, format!("{head} GRANT {what} ON {object} TO {whom}"));
            }
        }
    } else if present {
        granted(&mut lines, format!("GRANT {what} TO {whom}"));
    } else {
        lines.push(format!("REVOKE {what} FROM {whom};"));
    }
    lines.join("\n")
}

/// The privileges that are asked for, in capitals and without doubles.
fn privileges(args: &Args) -> Result<Vec<String>, Failure> {
    let mut all: Vec<String> = Vec::new();
    for name in args.privs.iter().flat_map(|privs| privs.split(',')).map(str::to_uppercase) {
        if !PRIVILEGES.contains(&name.as_str()) {
            return Err(Failure::new(format!("Invalid privileges specified: {name}")));
        }
        if !all.contains(&name) {
            all.push(name);
        }
    }
    Ok(all)
}

/// The objects that default privileges are for.
fn default_objects(names: &str, privileges: &[String]) -> Result<Vec<String>, Failure> {
    let known = |name: &str| DEFAULTS.iter().find(|(object, _)| *object == name);
    let names: Vec<String> = match names {
        "ALL_DEFAULT" => {
            DEFAULTS.iter().map(|(name, _)| (*name).to_owned()).filter(|n| n != "SCHEMAS").collect()
        }
        names => names.split(',').map(str::to_uppercase).collect(),
    };
    for name in &names {
        let Some((_, allowed)) = known(name) else {
            return Err(Failure::new(format!("Invalid Object set specified: {name}")));
        };
        if privileges.iter().any(|privilege| !allowed.contains(&privilege.as_str())) {
            return Err(Failure::new(format!(
                "Invalid priv specified. Valid object for priv: {}. Objects: {name}",
                allowed.join(", ")
            )));
        }
    }
    Ok(names)
}

fn run(args: Args, host: &mut Host) -> Run {
    let kind = args.kind.as_str();
    let schema = match (is_in_schema(kind), args.schema.as_deref()) {
        (true, Some("not-specified")) => None,
        (true, _) if args.objs.as_deref() == Some("schemas") => None,
        (true, given) => Some(given.filter(|s| !s.is_empty()).unwrap_or("public")),
        (false, Some(given)) if !given.is_empty() => {
            return Err(Failure::new(format!("Argument \"schema\" is not allowed for type \"{kind}\".")));
        }
        (false, _) => None,
    };
    let is_all = args.objs.as_deref() == Some("ALL_IN_SCHEMA");
    if is_all && !matches!(kind, "table" | "sequence" | "function" | "procedure") {
        return Err(Failure::new(format!(
            "Argument \"objs\": ALL_IN_SCHEMA can be used only for type: table, sequence, function or procedure, {kind} was passed."
        )));
    }
    let objs = match args.objs.as_deref().filter(|objs| !objs.is_empty()) {
        Some(objs) => objs,
        None if kind == "database" => &args.login_db,
        None => return Err(Failure::new(format!("Argument \"objs\" is required for type \"{kind}\"."))),
    };
    match (kind, args.privs.as_deref().unwrap_or_default()) {
        ("group", "") => {}
        ("group", _) => return Err("Argument \"privs\" is not allowed for type \"group\".".into()),
        (_, "") => return Err(Failure::new(format!("Argument \"privs\" is required for type \"{kind}\"."))),
        _ => {}
    }
    if !args.trust_input {
        let optional = [&args.target_roles, &args.session_role, &args.schema].into_iter().flatten();
        database::refuse_dangerous(optional.chain([&args.roles]).map(String::as_str))?;
    }
    let privileges = privileges(&args)?;
    let mut server = Session::open(host, &args.login, Some(&args.login_db), args.session_role.as_deref())?;
    // All of it or nothing, and nothing in check mode.
    server.rows("BEGIN")?;
    let objects: Vec<String> = if is_all {
        all_in_schema(&mut server, kind, schema.unwrap_or("public"))?
    } else if kind == "default_privs" {
        default_objects(objs, &privileges)?
    } else {
        // Arguments of a function are separated by colons, as commas separate functions.
        let name = |name: &str| if is_routine(kind) { name.replace(':', ",") } else { name.to_owned() };
        objs.split(',').map(name).collect()
    };
    let mut roles = Vec::new();
    for role in args.roles.split(',') {
        let upper = role.to_uppercase();
        let is_implicit = IMPLICIT.iter().any(|(name, since)| *name == upper && server.version >= *since);
        let query = "SELECT 1 AS found FROM pg_catalog.pg_roles WHERE rolname = %(role)s";
        if is_implicit {
            roles.push(upper);
        } else if !server.with(query, &[("role", role.into())])?.rows.is_empty() {
            roles.push(format!("\"{}\"", role.replace('"', "\"\"")));
        } else if args.fail_on_role {
            return Err(Failure::new(format!("Role '{role}' does not exist")));
        } else {
            host.warn(format!("Role '{role}' does not exist, pass it"));
        }
    }
    if roles.is_empty() {
        host.warn("No valid roles provided, nothing to do");
        return Ok(Outcome::unchanged().with("queries", Value::list(vec![])));
    }
    if args.target_roles.is_some() && kind != "default_privs" {
        host.warn("\"target_roles\" will be ignored Argument \"type: default_privs\" is required for usage of \"target_roles\".");
    }
    if objects.is_empty() {
        return Ok(Outcome::unchanged().with("queries", Value::list(vec![])));
    }
    let quoted_schema = schema.map(|schema| format!("\"{}\"", schema.replace('"', "\"\"")));
    let place = quoted_schema.as_deref().unwrap_or("None");
    let words = privileges.join(",");
    let what = match kind {
        "group" => objects.iter().map(|object| format!("\"{object}\"")).collect::<Vec<_>>().join(","),
        "default_privs" => words,
        _ if is_all => {
            format!("{} ON ALL {}S IN SCHEMA {place}", words.replace('_', " "), kind.to_uppercase())
        }
        _ => {
            let mut names = Vec::new();
            for object in &objects {
                names.push(if is_routine(kind) {
                    let (name, signature) = object.split_once('(').ok_or_else(|| {
                        Failure::new(format!("Illegal function / procedure signature: \"{object}\"."))
                    })?;
                    format!("{place}.\"{name}\"({signature}")
                } else if is_in_schema(kind) {
                    postgresql::name(&format!("{place}.\"{object}\""), 3, "table")?
                } else {
                    postgresql::name(&format!("\"{object}\""), 3, "table")?
                });
            }
            format!("{} ON {} {}", words.replace('_', " "), kind.replace('_', " "), names.join(","))
        }
    };
    let target = args
        .target_roles
        .as_deref()
        .map(|roles| roles.split(',').map(|role| format!("\"{role}\"")).collect::<Vec<_>>().join(","));
    let in_schema = quoted_schema.as_deref().map(|schema| format!(" IN SCHEMA {schema}")).unwrap_or_default();
    let statement = statement(&args, &what, &roles.join(","), target.as_deref(), &in_schema, &objects);
    let before = status(&mut server, &args, schema, &objects)?;
    server.rows(&statement).map_err(|e| Failure::new(format!("Cannot execute SQL '{statement}': {e}")))?;
    let changed = before != status(&mut server, &args, schema, &objects)?;
    server.rows(if host.check || !changed { "ROLLBACK" } else { "COMMIT" })?;
    Ok(Outcome::changed(changed).with("queries", vec![statement.into()]))
}

module!("postgresql_privs", "community.postgresql", Args, run);
