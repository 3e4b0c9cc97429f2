//! `mysql_replication`: copies of databases that follow their primary (community.mysql `mysql_replication.py`, and the names
//! of statements in `module_utils/command_resolver.py`).

use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::database::mysql::{self, Login, Session, quoted};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Shows how a server replicates, starts and stops it, and says whom it follows.
#[derive(ModuleArgs)]
#[args(exclusive = "connection_name,channel")]
struct Args {
    #[arg(flatten)]
    login: Login,
    /// What is done.
    #[arg(
        default = "getreplica",
        choices = "getprimary,getreplica,changeprimary,stopreplica,startreplica,resetprimary,resetreplica,resetreplicaall,changereplication"
    )]
    mode: String,
    /// The primary's name or address.
    #[arg(alias = "master_host")]
    primary_host: Option<String>,
    /// Who logs in there.
    #[arg(alias = "master_user")]
    primary_user: Option<String>,
    /// The password there.
    #[arg(secret, alias = "master_password")]
    primary_password: Option<String>,
    /// The port there.
    #[arg(alias = "master_port")]
    primary_port: Option<i64>,
    /// Seconds until the next attempt.
    #[arg(alias = "master_connect_retry")]
    primary_connect_retry: Option<i64>,
    /// The primary's log to start in.
    #[arg(alias = "master_log_file")]
    primary_log_file: Option<String>,
    /// The place in it.
    #[arg(alias = "master_log_pos")]
    primary_log_pos: Option<i64>,
    /// The own log to start in.
    relay_log_file: Option<String>,
    /// The place in it.
    relay_log_pos: Option<i64>,
    /// Whether the connection is encrypted.
    #[arg(alias = "master_ssl")]
    primary_ssl: Option<bool>,
    /// The file with the certificate of the authority.
    #[arg(alias = "master_ssl_ca")]
    primary_ssl_ca: Option<String>,
    /// The folder with certificates of authorities.
    #[arg(alias = "master_ssl_capath")]
    primary_ssl_capath: Option<String>,
    /// The file with the own certificate.
    #[arg(alias = "master_ssl_cert")]
    primary_ssl_cert: Option<String>,
    /// The file with the own key.
    #[arg(alias = "master_ssl_key")]
    primary_ssl_key: Option<String>,
    /// Ciphers that may be used, with colons.
    #[arg(alias = "master_ssl_cipher")]
    primary_ssl_cipher: Option<String>,
    /// Whether the primary's certificate is checked.
    primary_ssl_verify_server_cert: Option<bool>,
    /// Whether transactions are found by their identifiers (MySQL).
    #[arg(alias = "master_auto_position")]
    primary_auto_position: bool,
    /// How transactions are found by their identifiers (MariaDB).
    #[arg(choices = "current_pos,replica_pos,disabled", alias = "master_use_gtid")]
    primary_use_gtid: Option<String>,
    /// Seconds that the copy stays behind.
    #[arg(alias = "master_delay")]
    primary_delay: Option<i64>,
    /// The connection, of several (MariaDB).
    connection_name: Option<String>,
    /// The channel, of several (MySQL).
    channel: Option<String>,
    /// Whether a statement that the server refuses is an error.
    fail_on_error: bool,
}

impl Args {
    /// A statement about the replica, such as `STOP REPLICA 'name'`.
    fn statement(&self, verb: &str, object: &str, rest: &str) -> String {
        let mut statement = format!("{verb} {object}");
        if let Some(name) = self.connection_name.as_deref().filter(|name| !name.is_empty()) {
            statement.push_str(&format!(" {}", quoted(name)));
        }
        statement.push_str(rest);
        if let Some(channel) = self.channel.as_deref().filter(|channel| !channel.is_empty()) {
            statement.push_str(&format!(" FOR CHANNEL {}", quoted(channel)));
        }
        statement
    }

    /// What is said of the primary; `word` is what the server calls it.
    fn changes(&self, word: &str, uses_replica: bool) -> Vec<String> {
        let mut all = Vec::new();
        let mut add = |name: String, value: Option<String>| {
            all.extend(value.map(|value| format!("{name}={value}")));
        };
        let text = |value: &Option<String>| value.as_deref().map(quoted);
        let number = |value: Option<i64>| value.map(|value| value.to_string());
        let flag = |value: Option<bool>| value.map(|value| i32::from(value).to_string());
        add(format!("{word}_HOST"), text(&self.primary_host));
        add(format!("{word}_USER"), text(&self.primary_user));
        add(format!("{word}_PASSWORD"), text(&self.primary_password));
        add(format!("{word}_PORT"), number(self.primary_port));
        add(format!("{word}_CONNECT_RETRY"), number(self.primary_connect_retry));
        add(format!("{word}_LOG_FILE"), text(&self.primary_log_file));
        add(format!("{word}_LOG_POS"), number(self.primary_log_pos));
        add(format!("{word}_DELAY"), number(self.primary_delay));
        add("RELAY_LOG_FILE".into(), text(&self.relay_log_file));
        add("RELAY_LOG_POS".into(), number(self.relay_log_pos));
        add(format!("{word}_SSL"), flag(self.primary_ssl));
        add(format!("{word}_SSL_CA"), text(&self.primary_ssl_ca));
        add(format!("{word}_SSL_CAPATH"), text(&self.primary_ssl_capath));
        add(format!("{word}_SSL_CERT"), text(&self.primary_ssl_cert));
        add(format!("{word}_SSL_KEY"), text(&self.primary_ssl_key));
        add(format!("{word}_SSL_CIPHER"), text(&self.primary_ssl_cipher));
        add(format!("{word}_SSL_VERIFY_SERVER_CERT"), flag(self.primary_ssl_verify_server_cert));
        add(format!("{word}_AUTO_POSITION"), self.primary_auto_position.then(|| "1".into()));
        if self.mode == "changeprimary" {
            let gtid = self.primary_use_gtid.as_deref().map(|gtid| match gtid {
                "disabled" => "no",
                "replica_pos" if !uses_replica => "slave_pos",
                other => other,
            });
            add("MASTER_USE_GTID".into(), gtid.map(str::to_owned));
        }
        all
    }
}

/// The first row of a statement's answer, as a result.
fn shown(server: &mut Session, statement: &str) -> Result<Option<bakery_lang::Map>, Failure> {
    Ok(server.rows(statement)?.first_row())
}

fn run(args: Args, host: &mut Host) -> Run {
    if host.check {
        return Ok(Outcome::no_check_mode("community.mysql.mysql_replication"));
    }
    let opened = mysql::open(host, &args.login, None, false);
    let (mut server, _) =
        opened.map_err(|failure| super::mysql_db::missing_file(host, &args.login, failure))?;
    let uses_replica = server.is_since([10, 5, 1], [8, 0, 22]);
    let replica = if uses_replica { "REPLICA" } else { "SLAVE" };
    let is_newer = !server.is_mariadb() && server.is_at_least([8, 0, 23]);
    let has_logs = !server.is_mariadb() && server.is_at_least([8, 4, 0]);
    let reset = if has_logs { "RESET BINARY LOGS AND GTIDS" } else { "RESET MASTER" };
    let told = |outcome: Outcome, queries: &[String]| {
        outcome.with("queries", queries.iter().map(Value::from).collect::<Vec<_>>())
    };
    // What is refused is taken for what is done already, unless it shall be an error.
    let mut attempt = |statement: String, name: &str, [done, was]: [&str; 2]| -> Run {
        match server.rows(&statement) {
            Ok(_) => Ok(told(Outcome::changed(true).msg(done), &[statement])),
            Err(error) if args.fail_on_error => Err(Failure::new(format!("{name} failed: {error}"))),
            Err(_) => Ok(told(Outcome::unchanged().msg(was), &[statement])),
        }
    };
    match args.mode.as_str() {
        "startreplica" => attempt(
            args.statement("START", replica, ""),
            "START REPLICA",
            ["Replica started ", "Replica already started (Or cannot be started)"],
        ),
        "stopreplica" => attempt(
            args.statement("STOP", replica, ""),
            "STOP REPLICA",
            ["Replica stopped", "Replica already stopped"],
        ),
        "resetreplica" => attempt(
            args.statement("RESET", replica, ""),
            "RESET REPLICA",
            ["Replica reset", "Replica already reset"],
        ),
        "resetreplicaall" => attempt(
            args.statement("RESET", replica, " ALL"),
            "RESET REPLICA ALL",
            ["Replica reset", "Replica already reset"],
        ),
        "resetprimary" => attempt(reset.into(), reset, ["Primary reset", "Primary already reset"]),
        mode @ ("changeprimary" | "changereplication") => {
            let is_source = is_newer || mode == "changereplication";
            let word = if is_source { "SOURCE" } else { "MASTER" };
            let object = if is_source { "REPLICATION SOURCE" } else { "MASTER" };
            let changes = args.changes(word, uses_replica);
            let statement = args.statement("CHANGE", object, &format!(" TO {}", changes.join(",")));
            server.rows(&statement).map_err(|error| {
                let changes: Vec<Value> = changes.iter().map(Value::from).collect();
                Failure::new(format!("{error}. Query == CHANGE {object} TO {}", Value::list(changes)))
            })?;
            Ok(told(Outcome::changed(true), &[statement]))
        }
        "getprimary" => {
            let statement = if server.is_since([10, 5, 2], [8, 2, 0]) {
                if server.is_mariadb() { "SHOW BINLOG STATUS" } else { "SHOW BINARY LOG STATUS" }
            } else {
                "SHOW MASTER STATUS"
            };
            let status = shown(&mut server, statement)?;
            Ok(match status.filter(|row| row.contains("File") && row.contains("Position")) {
                Some(row) => status_of(&row, "Is_Primary"),
                None => told(Outcome::unchanged(), &[])
                    .with("Is_Primary", false)
                    .msg("Server is not configured as mysql primary. Meaning: Binary logs are disabled"),
            })
        }
        _ => {
            let statement = args.statement("SHOW", replica, " STATUS");
            let status = shown(&mut server, &statement)?;
            let is_replica = |row: &bakery_lang::Map| {
                row.contains("Slave_IO_Running") || row.contains("Replica_IO_Running")
            };
            Ok(match status.filter(is_replica) {
                Some(row) => status_of(&row, "Is_Replica"),
                None => told(Outcome::unchanged(), &[])
                    .with("Is_Replica", false)
                    .msg("Server is not configured as mysql replica"),
            })
        }
    }
}

/// A row as a result, with a word that says what the server is.
fn status_of(row: &bakery_lang::Map, word: &str) -> Outcome {
    let pairs = row.pairs().into_iter();
    let outcome =
        pairs.fold(Outcome::unchanged(), |outcome, (name, value)| outcome.with(&name.to_string(), value));
    outcome.with(word, true).with("queries", Value::list(vec![]))
}

module!("mysql_replication", "community.mysql", Args, run);
