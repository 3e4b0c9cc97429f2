//! `mysql_db`: databases of MySQL and MariaDB (community.mysql `mysql_db.py`).

use std::path::Path;

use bakery_lang::Value;
use bakery_lang::quote::shell_word;
use bakery_macros::ModuleArgs;

use crate::database::mysql::{self, Login, Session};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Creates, removes, dumps and imports databases of MySQL and MariaDB.
#[derive(ModuleArgs)]
struct Args {
    #[arg(flatten)]
    login: Login,
    /// Databases; `all` for a dump of all.
    #[arg(required, alias = "db")]
    name: Vec<String>,
    /// The character set of new ones.
    #[arg(default = "")]
    encoding: String,
    /// The collation of new ones.
    #[arg(default = "")]
    collation: String,
    /// The file to dump into or import from; packed if it ends in .gz, .bz2, .xz or .zst.
    target: Option<String>,
    /// What shall be.
    #[arg(default = "present", choices = "absent,dump,import,present")]
    state: String,
    /// Whether a dump is made in one transaction.
    single_transaction: bool,
    /// Whether large tables are dumped row by row.
    #[arg(default = "true")]
    quick: bool,
    /// Tables to leave out of a dump, as `DATABASE.TABLE`.
    ignore_tables: Vec<String>,
    /// Whether bytes are dumped in hexadecimal.
    hex_blob: bool,
    /// Whether errors of a dump or an import are no end.
    force: bool,
    /// Whether a dump says where its binary log is (1), in a comment (2), or not.
    #[arg(default = "0", choices = "0,1,2")]
    master_data: i64,
    /// Whether tables are not locked.
    skip_lock_tables: bool,
    /// Further options of the program that dumps.
    dump_extra_args: Option<String>,
    /// Accepted; an import of a packed file always goes through a pipe.
    use_shell: bool,
    /// Whether the password may be read by the shell.
    #[arg(secret)]
    unsafe_login_password: bool,
    /// Whether dumps and imports read no other configuration than `config_file`.
    restrict_config_file: bool,
    /// Whether `root` without a password is tried first.
    check_implicit_admin: bool,
    /// Whether the configuration's host and port win over the arguments.
    config_overrides_defaults: bool,
    /// The folder to work in.
    chdir: Option<String>,
    /// Whether a dump fails when any program of its pipe does; wants bash.
    #[arg(default = "true")]
    pipefail: bool,
    /// Whether the change goes to the binary log.
    #[arg(default = "true")]
    sql_log_bin: bool,
}

fn packer(host: &Host, target: &str) -> Result<Option<String>, Failure> {
    let program = match Path::new(target).extension().and_then(|e| e.to_str()) {
        Some("gz") => "gzip",
        Some("bz2") => "bzip2",
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return Ok(None),
    };
    host.program(program).map(Some)
}

/// A configuration with the password behind the user's own: no command line holds it, where everybody could read it.
fn with_password(args: &Args, host: &Host) -> Result<Option<tempfile::NamedTempFile>, Failure> {
    let password = args.login.login_password.as_ref().filter(|password| !password.is_empty());
    let Some(password) = password.filter(|_| !args.unsafe_login_password) else { return Ok(None) };
    let file = tempfile::NamedTempFile::new().map_err(|e| Failure::new(e.to_string()))?;
    let own = host.path(&args.login.config_file);
    let include = if own.exists() { format!("!include {}\n", own.display()) } else { String::new() };
    let escaped = password.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
    let text = format!("{include}[client]\npassword=\"{escaped}\"\n");
    bakery_host::fs::write_atomic_mode(file.path(), text, 0o600)?;
    Ok(Some(file))
}

/// The words that `mysqldump` and `mysql` get to find the server and log in, with the password in a file if there is one.
fn login_words(args: &Args, host: &Host, as_admin: bool, hidden: Option<&Path>) -> Vec<String> {
    let login = &args.login;
    let mut words = Vec::new();
    let file = host.path(&login.config_file);
    if let Some(file) = hidden.or_else(|| Some(file.as_path()).filter(|file| file.exists())) {
        let option = if args.restrict_config_file { "--defaults-file" } else { "--defaults-extra-file" };
        words.push(format!("{option}={}", shell_word(&file.display().to_string())));
    }
    if as_admin {
        words.push("--user=root --password=''".into());
    } else {
        words.extend(login.login_user.iter().map(|user| format!("--user={}", shell_word(user))));
        words.extend(login.login_password.iter().filter(|_| hidden.is_none()).map(|password| {
            let word = if args.unsafe_login_password { password.clone() } else { shell_word(password) };
            format!("--password={word}")
        }));
    }
    for (option, value) in
        [("--ssl-cert", &login.client_cert), ("--ssl-key", &login.client_key), ("--ssl-ca", &login.ca_cert)]
    {
        words.extend(value.iter().map(|value| format!("{option}={}", shell_word(value))));
    }
    words.extend(
        args.force.then(|| if args.state == "dump" { "--force".to_owned() } else { "-f".to_owned() }),
    );
    words.push(match &login.login_unix_socket {
        Some(socket) => format!("--socket={}", shell_word(socket)),
        None => format!("--host={} --port={}", shell_word(&login.login_host), login.login_port),
    });
    words
}

/// The newer of two names of a program, where the server is one that comes with it.
fn client(host: &Host, server: &Session, new: &str, old: &str) -> Result<String, Failure> {
    let name = if server.is_mariadb() && server.is_at_least([10, 4, 6]) { new } else { old };
    host.program(name).map_err(|failure| {
        let what = if new == "mariadb" { "mysql/mariadb" } else { "dump" };
        Failure::new(format!("Error determining {what} command: {}", failure.msg))
    })
}

/// The command line of a dump, with the words to log in.
fn dump(
    args: &Args,
    host: &Host,
    server: &Session,
    login: &[String],
    target: &str,
) -> Result<String, Failure> {
    let mut words = vec![client(host, server, "mariadb-dump", "mysqldump")?];
    words.extend(login.iter().cloned());
    words.push(match args.name.as_slice() {
        [all] if all == "all" => "--all-databases".into(),
        [one] => shell_word(one),
        many => format!("--databases {}", many.join(" ")),
    });
    words.extend(args.skip_lock_tables.then(|| "--skip-lock-tables".to_owned()));
    words.extend(character_set(args));
    words.extend(args.single_transaction.then(|| "--single-transaction=true".to_owned()));
    words.extend(args.quick.then(|| "--quick".to_owned()));
    words.extend(args.ignore_tables.iter().map(|table| format!("--ignore-table={table}")));
    words.extend(args.hex_blob.then(|| "--hex-blob".to_owned()));
    if args.master_data != 0 {
        let is_new = !server.is_mariadb() && server.is_at_least([8, 2, 0]);
        let option = if is_new { "--source-data" } else { "--master-data" };
        words.push(format!("{option}={}", args.master_data));
    }
    words.extend(args.dump_extra_args.clone());
    let line = words.join(" ");
    let (packer, target) = (packer(host, target)?, shell_word(target));
    let tells = if args.pipefail && host.program("bash").is_ok() { "set -o pipefail && " } else { "" };
    Ok(match packer {
        Some(packer) => format!("{tells}{line} | {packer} > {target}"),
        None => format!("{line} > {target}"),
    })
}

/// The command line of an import, with the words to log in.
fn import(
    args: &Args,
    host: &Host,
    server: &Session,
    login: &[String],
    target: &str,
) -> Result<String, Failure> {
    if !Path::new(target).exists() {
        return Err(Failure::new(format!("target {target} does not exist on the host")));
    }
    let mut words = vec![client(host, server, "mariadb", "mysql")?];
    words.extend(login.iter().cloned());
    words.extend(character_set(args));
    if args.name != ["all"] {
        words.extend(["--one-database".to_owned(), shell_word(&args.name.concat())]);
    }
    let line = words.join(" ");
    Ok(match packer(host, target)? {
        Some(packer) => format!("{packer} -dc {} | {line}", shell_word(target)),
        None => format!("{line} < {}", shell_word(target)),
    })
}

fn character_set(args: &Args) -> Option<String> {
    (!args.encoding.is_empty()).then(|| format!("--default-character-set={}", shell_word(&args.encoding)))
}

/// Dumps or imports; what was said, and the command line as it is returned.
fn carry(
    args: &Args,
    host: &Host,
    server: &Session,
    as_admin: bool,
    target: &str,
) -> Result<(String, String), Failure> {
    let make = if args.state == "dump" { dump } else { import };
    let hidden = with_password(args, host)?.filter(|_| !as_admin);
    let line =
        |hidden: Option<&Path>| make(args, host, server, &login_words(args, host, as_admin, hidden), target);
    let real = line(hidden.as_ref().map(tempfile::NamedTempFile::path))?;
    // A packed dump whose first program fails is none; only bash tells.
    let shell = if args.pipefail && host.program("bash").is_ok() { "bash" } else { "/bin/sh" };
    let output = host.try_run(&[shell, "-c", &real])?;
    if !output.success() {
        return Err(Failure::new(output.error_text()));
    }
    Ok((output.text(), line(None)?))
}

fn create(
    server: &mut Session,
    args: &Args,
    names: &[&String],
    commands: &mut Vec<String>,
) -> Result<(), Failure> {
    for name in names {
        let mut statement = format!("CREATE DATABASE {}", mysql::name(name, 1, "database")?);
        if !args.encoding.is_empty() {
            statement.push_str(&format!(" CHARACTER SET {}", mysql::quoted(&args.encoding)));
        }
        if !args.collation.is_empty() {
            statement.push_str(&format!(" COLLATE {}", mysql::quoted(&args.collation)));
        }
        server.rows(&statement).map_err(|e| Failure::new(format!("error creating database: {e}")))?;
        commands.push(statement);
    }
    Ok(())
}

fn run(mut args: Args, host: &mut Host) -> Run {
    args.name = args.name.iter().map(|name| name.trim().to_owned()).collect();
    let list = Value::strings(&args.name);
    if args.name.is_empty() {
        return Ok(Outcome::unchanged().with("db", list).with("db_list", Value::list(vec![])));
    }
    if !(0..=65535).contains(&args.login.login_port) {
        return Err("login_port must be a valid unix port number (0-65535)".into());
    }
    if args.ignore_tables.iter().any(String::is_empty) {
        return Err("Name of ignored table cannot be empty".into());
    }
    if let Some(folder) = &args.chdir {
        host.cwd = Some(host.path(folder));
    }
    if args.name.len() > 1 && args.state == "import" {
        return Err("Multiple databases are not supported with state=import".into());
    }
    let all = args.name == ["all"];
    let moves = matches!(args.state.as_str(), "dump" | "import");
    if moves && args.target.is_none() {
        return Err(Failure::new(format!("with state={} target is required", args.state)));
    }
    if all && !moves {
        return Err("name is not allowed to equal 'all' unless state equals import, or dump.".into());
    }
    let target = args.target.as_ref().map(|t| host.path(t).display().to_string()).unwrap_or_default();
    if args.config_overrides_defaults {
        let options = mysql::client_options(host, &args.login.config_file);
        for (name, value) in options {
            match name.as_str() {
                "host" => args.login.login_host = value,
                "port" => args.login.login_port = value.parse().unwrap_or(args.login.login_port),
                _ => {}
            }
        }
    }
    let opened = mysql::open(host, &args.login, None, args.check_implicit_admin);
    let (mut server, as_admin) = opened.map_err(|failure| missing_file(host, &args.login, failure))?;
    if !moves && !args.sql_log_bin {
        server.rows("SET SQL_LOG_BIN=0")?;
    }
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    for name in args.name.iter().filter(|_| !all) {
        let query = "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = %s";
        let found = server.with(query, &[name])?.count > 0;
        if found { there.push(name) } else { missing.push(name) }
    }
    let mut commands = Vec::new();
    let changed = match args.state.as_str() {
        "absent" => !there.is_empty(),
        "present" => !missing.is_empty(),
        _ => true,
    };
    if args.state == "dump" && !missing.is_empty() {
        let names: Vec<&str> = missing.iter().map(|name| name.as_str()).collect();
        return Err(Failure::new(format!("Cannot dump database(s) '{}' - not found", names.join(", "))));
    }
    let outcome = Outcome::changed(changed).with("db", args.name.join(" ")).with("db_list", list);
    if host.check {
        return Ok(outcome);
    }
    let mut said = None;
    match args.state.as_str() {
        "absent" => {
            for name in there {
                let statement = format!("DROP DATABASE {}", mysql::name(name, 1, "database")?);
                server.rows(&statement).map_err(|e| Failure::new(format!("error deleting database: {e}")))?;
                commands.push(statement);
            }
        }
        "present" => create(&mut server, &args, &missing, &mut commands)?,
        state => {
            if state == "import" {
                create(&mut server, &args, &missing, &mut commands)?;
            }
            let (text, line) = carry(&args, host, &server, as_admin, &target)?;
            said = Some(text);
            commands.push(line);
        }
    }
    let outcome = outcome.with("executed_commands", Value::strings(commands));
    Ok(match said {
        Some(said) => outcome.msg(said),
        None => outcome,
    })
}

/// Says that the configuration is not there, where it is not and the login failed.
pub(super) fn missing_file(host: &Host, login: &Login, failure: Failure) -> Failure {
    if host.path(&login.config_file).exists() {
        return failure;
    }
    let why = failure.msg.split_once("Exception message: ").map_or(failure.msg.as_str(), |(_, why)| why);
    Failure::new(format!("unable to find {}. Exception message: {why}", login.config_file))
}

module!("mysql_db", "community.mysql", Args, run);
