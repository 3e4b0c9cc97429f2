//! `postgresql_db`: databases of PostgreSQL (community.postgresql `postgresql_db.py`).

use std::path::Path;

use bakery_lang::Value;
use bakery_lang::quote::shell_word;
use bakery_macros::ModuleArgs;

use crate::database;
use crate::database::postgresql::{self, Answer, Login, Session};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Creates, removes, dumps and restores databases of PostgreSQL.
#[derive(ModuleArgs)]
struct Args {
    #[arg(flatten)]
    login: Login,
    /// The database.
    #[arg(required, alias = "db")]
    name: String,
    /// Its owner.
    #[arg(default = "")]
    owner: String,
    /// What it is a copy of.
    #[arg(default = "")]
    template: String,
    /// Its encoding.
    #[arg(default = "")]
    encoding: String,
    /// How its texts are sorted.
    #[arg(default = "")]
    lc_collate: String,
    /// What its characters are.
    #[arg(default = "")]
    lc_ctype: String,
    /// Its ICU locale.
    #[arg(default = "")]
    icu_locale: String,
    /// Where its locale comes from.
    #[arg(default = "")]
    locale_provider: String,
    /// What shall be.
    #[arg(default = "present", choices = "absent,dump,present,rename,restore")]
    state: String,
    /// The file to dump into or restore from, or the new name.
    #[arg(default = "")]
    target: String,
    /// Further options of the program that dumps or restores.
    #[arg(default = "")]
    target_opts: String,
    /// The database to log in to.
    #[arg(default = "postgres")]
    maintenance_db: String,
    /// The role to become.
    session_role: Option<String>,
    /// How many connections it takes.
    #[arg(default = "")]
    conn_limit: String,
    /// Where its files are.
    #[arg(default = "")]
    tablespace: String,
    /// Further options of the program that dumps.
    dump_extra_args: Option<String>,
    /// Whether names are not looked at for statements in them.
    #[arg(default = "true")]
    trust_input: bool,
    /// Whether connections are ended when it is removed.
    force: bool,
    /// A comment.
    comment: Option<String>,
}

struct Database<'a> {
    args: &'a Args,
    server: Session,
    commands: Vec<String>,
}

impl Database<'_> {
    /// Runs a statement that changes something, and remembers it.
    fn act(&mut self, statement: String) -> Result<(), Failure> {
        let done = self.server.rows(&statement);
        self.commands.push(statement);
        done.map(drop).map_err(|e| Failure::new(format!("Database query failed: {e}")))
    }

    fn ask(&mut self, query: &str, values: &[(&str, Value)]) -> Result<Answer, Failure> {
        self.server.with(query, values).map_err(|e| Failure::new(format!("Database query failed: {e}")))
    }

    fn exists(&mut self, name: &str) -> Result<bool, Failure> {
        let query = "SELECT 1 AS found FROM pg_database WHERE datname=%(db)s";
        Ok(!self.ask(query, &[("db", name.into())])?.rows.is_empty())
    }

    fn set_comment(&mut self, comment: &str) -> Result<(), Failure> {
        self.act(format!("COMMENT ON DATABASE \"{}\" IS {}", self.args.name, postgresql::quoted(comment)))
    }

    fn create(&mut self) -> Result<(), Failure> {
        let args = self.args;
        let has_icu = self.server.version >= 150_000;
        let mut statement = format!("CREATE DATABASE \"{}\"", args.name);
        let parts = [
            ("OWNER", &args.owner, true, true),
            ("TEMPLATE", &args.template, true, true),
            ("ENCODING", &args.encoding, false, true),
            ("LC_COLLATE", &args.lc_collate, false, true),
            ("LC_CTYPE", &args.lc_ctype, false, true),
            ("ICU_LOCALE", &args.icu_locale, false, has_icu),
            ("LOCALE_PROVIDER", &args.locale_provider, false, has_icu),
            ("TABLESPACE", &args.tablespace, true, true),
        ];
        for (word, value, is_name, applies) in parts {
            if applies && !value.is_empty() {
                let value = if is_name { format!("\"{value}\"") } else { postgresql::quoted(value) };
                statement.push_str(&format!(" {word} {value}"));
            }
        }
        if !args.conn_limit.is_empty() {
            statement.push_str(&format!(" CONNECTION LIMIT {}", args.conn_limit));
        }
        self.act(statement)?;
        match args.comment.as_deref().filter(|comment| !comment.is_empty()) {
            Some(comment) => self.set_comment(comment),
            None => Ok(()),
        }
    }

    /// What has to change of a database that is there, as statements; an error for what cannot change, unless it is
    /// only asked whether all is as it shall be.
    fn differences(&mut self) -> Result<(Vec<String>, Option<Failure>), Failure> {
        let args = self.args;
        let (icu, provider) = match self.server.version {
            170_000.. => ("datlocale", "CASE datlocprovider WHEN 'c' THEN 'libc' WHEN 'i' THEN 'icu' END"),
            150_000.. => ("daticulocale", "CASE datlocprovider WHEN 'c' THEN 'libc' WHEN 'i' THEN 'icu' END"),
            _ => ("null::text", "null::text"),
        };
        let query = format!(
            "SELECT rolname AS owner, pg_encoding_to_char(encoding) AS encoding, encoding AS encoding_id, datcollate AS lc_collate, datctype AS lc_ctype, {icu} AS icu_locale, {provider} AS locale_provider, pg_database.datconnlimit AS conn_limit, spcname AS tablespace, pg_catalog.shobj_description(pg_database.oid, 'pg_database') AS comment FROM pg_database JOIN pg_roles ON pg_roles.oid = pg_database.datdba JOIN pg_tablespace ON pg_tablespace.oid = pg_database.dattablespace WHERE datname = %(db)s"
        );
        let held = self.ask(&query, &[("db", args.name.as_str().into())])?;
        let text = |column: &str| held.first(column).map(|value| value.to_string()).unwrap_or_default();
        let mut fixed = None;
        if !args.encoding.is_empty() {
            let query = "SELECT pg_char_to_encoding(%(encoding)s) AS encoding_id";
            let wanted = self.ask(query, &[("encoding", args.encoding.as_str().into())])?;
            if wanted.first("encoding_id").map(|id| id.to_string()) != Some(text("encoding_id")) {
                let msg = format!(
                    "Changing database encoding is not supported. Current encoding: {}",
                    text("encoding")
                );
                fixed.get_or_insert(Failure::new(msg));
            }
        }
        let mut refuse = |what: &str, wanted: &str, now: String| {
            if !wanted.is_empty() && wanted != now {
                fixed.get_or_insert(Failure::new(format!(
                    "Changing {what} is not supported. Current {what}: {now}"
                )));
            }
        };
        refuse("LC_COLLATE", &args.lc_collate, text("lc_collate"));
        refuse("LC_CTYPE", &args.lc_ctype, text("lc_ctype"));
        refuse("ICU_LOCALE", &args.icu_locale, text("icu_locale"));
        refuse("LOCALE_PROVIDER", &args.locale_provider, text("locale_provider"));
        let alter = format!("ALTER DATABASE \"{}\"", args.name);
        let mut changes = Vec::new();
        if !args.owner.is_empty() && args.owner != text("owner") {
            changes.push(format!("{alter} OWNER TO \"{}\"", args.owner));
        }
        if !args.conn_limit.is_empty() && args.conn_limit != text("conn_limit") {
            changes.push(format!("{alter} CONNECTION LIMIT {}", args.conn_limit));
        }
        if !args.tablespace.is_empty() && args.tablespace != text("tablespace") {
            changes.push(format!("{alter} SET TABLESPACE \"{}\"", args.tablespace));
        }
        if let Some(comment) = args.comment.as_ref().filter(|comment| **comment != text("comment")) {
            changes.push(format!("COMMENT ON DATABASE \"{}\" IS {}", args.name, postgresql::quoted(comment)));
        }
        Ok((changes, fixed))
    }

    fn delete(&mut self) -> Result<(), Failure> {
        let args = self.args;
        let mut statement = format!("DROP DATABASE \"{}\"", args.name);
        if args.force && self.server.version >= 130_000 {
            statement.push_str(" WITH (FORCE)");
        } else if args.force {
            let query = "UPDATE pg_database SET datallowconn = false WHERE datname=%(db)s; SELECT pg_terminate_backend(pg_stat_activity.pid) FROM pg_stat_activity WHERE pg_stat_activity.datname=%(db)s AND pid <> pg_backend_pid()";
            self.ask(query, &[("db", args.name.as_str().into())])?;
        }
        self.act(statement)
    }
}

/// The words by which `pg_dump` and its like log in.
fn login_words(login: &Login) -> String {
    let mut words = String::new();
    if let Some(host) = login.host() {
        words.push_str(&format!(" --host={host}"));
    }
    words + &format!(" --port={} --username={}", login.port(), login.user())
}

/// Runs a command line by a shell, with the password in its environment.
fn shell(args: &Args, host: &Host, line: &str) -> Run {
    let mut command = host.cmd("/bin/sh").args(["-c", line]);
    if !args.login.login_password.is_empty() {
        command = command.env("PGPASSWORD", &args.login.login_password);
    }
    let output = command.output()?;
    if !output.success() {
        return Err(Failure::new(output.error_text())
            .with("stdout", output.text())
            .with("rc", output.code)
            .with("cmd", line));
    }
    Ok(Outcome::changed(true)
        .msg(output.text())
        .with("stderr", output.error_text())
        .with("rc", output.code)
        .with("cmd", line)
        .with("executed_commands", vec![line.into()]))
}

fn dump(args: &Args, host: &Host, target: &str) -> Run {
    let extension = Path::new(target).extension().and_then(|e| e.to_str()).unwrap_or_default();
    let mut line = host.program("pg_dump")?;
    line.push_str(&format!(" {}{}", shell_word(&args.name), login_words(&args.login)));
    line.push_str(match extension {
        "tar" => " --format=t",
        "pgc" => " --format=c",
        "dir" => " --format=d",
        _ => "",
    });
    if let Some(role) = &args.session_role {
        line.push_str(&format!(" --role={}", shell_word(role)));
    }
    for words in [args.dump_extra_args.as_deref().unwrap_or_default(), &args.target_opts] {
        if !words.is_empty() {
            line.push_str(&format!(" {words} "));
        }
    }
    let packer = match extension {
        "gz" => Some(host.program("pigz").or_else(|_| host.program("gzip"))?),
        "bz2" => Some(host.program("bzip2")?),
        "xz" => Some(host.program("xz")?),
        _ => None,
    };
    let target = shell_word(target);
    match packer {
        None if extension == "dir" => shell(args, host, &format!("{line} -f {target}")),
        None => shell(args, host, &format!("{line} > {target}")),
        Some(packer) => {
            // The dump's exit code counts, not that of what packs it.
            let folder = tempfile::tempdir().map_err(|e| Failure::new(e.to_string()))?;
            let pipe = folder.path().join("pg_fifo").display().to_string();
            let line = format!(
                "mkfifo {pipe} && {{ {packer} <{pipe} > {target} & {line} >{pipe}; rc=$?; wait; exit $rc; }}"
            );
            shell(args, host, &line)
        }
    }
}

fn restore(args: &Args, host: &Host, target: &str) -> Run {
    let extension = Path::new(target).extension().and_then(|e| e.to_str()).unwrap_or_default();
    let format = match extension {
        "tar" => Some("Tar"),
        "pgc" => Some("Custom"),
        "dir" => Some("Directory"),
        _ => None,
    };
    let mut line = host.program(if format.is_some() { "pg_restore" } else { "psql" })?;
    line.push_str(&format!(" --dbname={}{}", shell_word(&args.name), login_words(&args.login)));
    match format {
        Some(format) => line.push_str(&format!(" --format={format}")),
        None if extension == "sql" => line.push_str(&format!(" --file={}", shell_word(target))),
        None => {}
    }
    if let (Some(role), true) = (&args.session_role, format.is_some()) {
        line.push_str(&format!(" --role={}", shell_word(role)));
    }
    if !args.target_opts.is_empty() {
        line.push_str(&format!(" {} ", args.target_opts));
    }
    let unpacker = match extension {
        "gz" => Some(host.program("zcat")?),
        "bz2" => Some(host.program("bzcat")?),
        "xz" => Some(host.program("xzcat")?),
        _ => None,
    };
    let target = shell_word(target);
    let line = match (unpacker, extension) {
        (Some(unpacker), _) => format!("{unpacker} {target} | {line}"),
        (None, "dir" | "pgc") => format!("{line} {target}"),
        (None, "sql") => line,
        (None, _) => format!("{line} < {target}"),
    };
    shell(args, host, &line)
}

fn run(args: Args, host: &mut Host) -> Run {
    if args.state == "rename" {
        host.warn("The rename choice of the state option is deprecated and will be removed in version 5.0.0. Use the community.postgresql.postgresql_query module instead.");
        if args.target.is_empty() {
            return Err("The \"target\" option must be defined when the \"rename\" option is used.".into());
        }
        if args.name == args.target {
            return Err("The \"name/db\" option and the \"target\" option cannot be the same.".into());
        }
        if args.maintenance_db == args.name {
            return Err("The \"maintenance_db\" option and the \"name/db\" option cannot be the same.".into());
        }
    }
    if !args.trust_input {
        let optional = [&args.session_role, &args.comment].into_iter().flatten();
        let all =
            [&args.owner, &args.conn_limit, &args.encoding, &args.name, &args.template, &args.tablespace];
        database::refuse_dangerous(all.into_iter().chain(optional).map(String::as_str))?;
    }
    let target = match args.target.as_str() {
        "" => host.path(&format!("{}.sql", args.name)).display().to_string(),
        given => host.path(given).display().to_string(),
    };
    let name = args.name.as_str();
    if matches!(args.state.as_str(), "dump" | "restore") {
        if host.check {
            return Ok(Outcome::unchanged().with("db", name).with("executed_commands", Value::list(vec![])));
        }
        return if args.state == "dump" { dump(&args, host, &target) } else { restore(&args, host, &target) };
    }
    let server = Session::open(host, &args.login, Some(&args.maintenance_db), args.session_role.as_deref())?;
    let mut database = Database { args: &args, server, commands: vec![] };
    let there = database.exists(name)?;
    let changed = match args.state.as_str() {
        "absent" => {
            if there && !host.check {
                database.delete()?;
            }
            there
        }
        "rename" => {
            match (there, database.exists(&args.target)?) {
                (true, true) => return Err("Both the source and the target databases exist.".into()),
                (false, false) => return Err("The source and the target databases do not exist.".into()),
                _ => {}
            }
            if there && !host.check {
                database.act(format!("ALTER DATABASE \"{name}\" RENAME TO \"{}\"", args.target))?;
            }
            there
        }
        _ if !there => {
            if !host.check {
                database.create()?;
            }
            true
        }
        _ => {
            let (changes, fixed) = database.differences()?;
            match (fixed, host.check) {
                (Some(failure), false) => return Err(failure),
                (fixed, true) => fixed.is_some() || !changes.is_empty(),
                (None, false) => {
                    let any = !changes.is_empty();
                    for statement in changes {
                        database.act(statement)?;
                    }
                    any
                }
            }
        }
    };
    Ok(Outcome::changed(changed)
        .with("db", name)
        .with("executed_commands", Value::strings(database.commands)))
}

module!("postgresql_db", "community.postgresql", Args, run);
