//! Sessions with MySQL and MariaDB, and statements as the Python driver of the community's modules makes them
//! (community.mysql `module_utils/mysql.py`, PyMySQL's `converters.py` and `connections.py`).

use std::time::Duration;

use bakery_lang::{Value, repr};
use bakery_macros::ModuleArgs;
use mysql::consts::ColumnType;
use mysql::prelude::Queryable as _;

use crate::{Failure, Host};

/// How to reach the server.
#[derive(Debug, Clone, ModuleArgs)]
pub struct Login {
    /// The user to log in as.
    pub login_user: Option<String>,
    /// The user's password.
    #[arg(secret)]
    pub login_password: Option<String>,
    /// The server.
    #[arg(default = "localhost")]
    pub login_host: String,
    /// The server's port.
    #[arg(default = "3306")]
    pub login_port: i64,
    /// The server's socket; the host and the port do not matter then.
    pub login_unix_socket: Option<String>,
    /// A file with what is not given here, in its section `client`.
    #[arg(default = "~/.my.cnf")]
    pub config_file: String,
    /// Seconds to wait for the server.
    #[arg(default = "30")]
    pub connect_timeout: i64,
    /// The client's certificate.
    #[arg(alias = "ssl_cert")]
    pub client_cert: Option<String>,
    /// The client's key.
    #[arg(alias = "ssl_key")]
    pub client_key: Option<String>,
    /// The certificate that the server's is checked against.
    #[arg(alias = "ssl_ca")]
    pub ca_cert: Option<String>,
    /// Whether the server's name must be that of its certificate.
    pub check_hostname: Option<bool>,
}

/// A statement that the server refused: its number, or 0 when it was not the server, and what it said.
#[derive(Debug)]
pub struct Refused {
    /// The error's number.
    pub number: u16,
    message: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The text of the Python driver's exceptions, which is that of a tuple.
        write!(f, "({}, {})", self.number, repr::quote(&self.message))
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::new(refused.to_string())
    }
}

impl From<mysql::Error> for Refused {
    fn from(error: mysql::Error) -> Self {
        match error {
            mysql::Error::MySqlError(e) => Self { number: e.code, message: e.message },
            other => Self { number: 0, message: other.to_string() },
        }
    }
}

/// What a statement left.
#[derive(Debug, Default)]
pub struct Answer {
    /// Names of the columns, if there is a table.
    pub columns: Vec<String>,
    /// The table.
    pub rows: Vec<Vec<Value>>,
    /// How many rows it has, or how many were changed.
    pub count: u64,
}

impl Answer {
    /// The value of the first row's first column.
    pub fn first(&self) -> Option<&Value> {
        self.rows.first().and_then(|row| row.first())
    }

    /// The first row by the names of its columns.
    pub fn first_row(&self) -> Option<bakery_lang::Map> {
        let row = self.rows.first()?;
        Some(self.columns.iter().map(String::as_str).zip(row.iter().cloned()).collect())
    }
}

/// A session.
pub struct Session {
    connection: mysql::Conn,
    /// What the server calls its version.
    pub version: String,
    /// Whether dates with times are told as Python's `str` has them, not with a `T` as in ISO 8601.
    pub has_plain_dates: bool,
}

impl Session {
    /// Logs in. What the arguments leave open comes from the configuration file, then from the driver's defaults.
    ///
    /// # Errors
    /// What the server or the network says.
    pub fn open(host: &Host, login: &Login, database: Option<&str>) -> Result<Self, Refused> {
        let file = client_options(host, &login.config_file);
        let option = |name: &str| file.iter().rev().find(|(n, _)| n == name).map(|(_, v)| v.clone());
        let given = |value: &Option<String>| value.clone().filter(|value| !value.is_empty());
        let user = given(&login.login_user).or_else(|| option("user"));
        let password = given(&login.login_password).or_else(|| option("password"));
        let wait = Duration::from_secs(u64::try_from(login.connect_timeout).unwrap_or(30));
        let mut options = mysql::OptsBuilder::new()
            .user(Some(user.unwrap_or_else(bakery_host::users::effective_name)))
            .pass(password)
            .db_name(database.map(str::to_owned).or_else(|| option("database")))
            .tcp_connect_timeout(Some(wait))
            .prefer_socket(false);
        let path = |given: &Option<String>, name: &str| {
            given.as_ref().map(|path| host.path(path)).or_else(|| option(name).map(Into::into))
        };
        options = match given(&login.login_unix_socket).or_else(|| option("socket")) {
            Some(socket) => options.socket(Some(socket)),
            None => {
                let ca = path(&login.ca_cert, "ssl-ca");
                let (cert, key) = (path(&login.client_cert, "ssl-cert"), path(&login.client_key, "ssl-key"));
                if ca.is_some() || cert.is_some() || key.is_some() || login.check_hostname.is_some() {
                    // Without a certificate to check it against, the driver takes what the server shows.
                    let mut tls = mysql::SslOpts::default()
                        .with_danger_accept_invalid_certs(ca.is_none())
                        .with_danger_skip_domain_validation(login.check_hostname != Some(true));
                    tls = tls.with_root_cert_path(ca);
                    if let (Some(cert), Some(key)) = (cert, key) {
                        tls = tls.with_client_identity(Some(mysql::ClientIdentity::new(cert, key)));
                    }
                    options = options.ssl_opts(tls);
                }
                let port = u16::try_from(login.login_port).unwrap_or(3306);
                options.ip_or_hostname(Some(login.login_host.clone())).tcp_port(port)
            }
        };
        let connection = mysql::Conn::new(options)?;
        let mut session = Self { connection, version: String::new(), has_plain_dates: false };
        session.version =
            session.rows("SELECT VERSION()")?.first().map(ToString::to_string).unwrap_or_default();
        Ok(session)
    }

    /// Runs a statement.
    ///
    /// # Errors
    /// What the server says.
    pub fn rows(&mut self, statement: &str) -> Result<Answer, Refused> {
        let mut result = self.connection.query_iter(statement)?;
        let mut answer = Answer::default();
        let columns = result.columns().as_ref().to_vec();
        let affected = result.affected_rows();
        let is_plain = self.has_plain_dates;
        answer.columns = columns.iter().map(|column| column.name_str().into_owned()).collect();
        for row in result.by_ref() {
            let cells = row?.unwrap().into_iter().zip(&columns);
            answer.rows.push(cells.map(|(cell, column)| value(cell, column, is_plain)).collect());
        }
        answer.count = if columns.is_empty() { affected } else { answer.rows.len() as u64 };
        Ok(answer)
    }

    /// Runs a statement whose `%s` stand for values.
    ///
    /// # Errors
    /// What the server says.
    pub fn with(&mut self, statement: &str, values: &[&str]) -> Result<Answer, Refused> {
        let values: Vec<Value> = values.iter().map(|v| Value::from(*v)).collect();
        let statement =
            super::filled(statement, &values, literal).map_err(|message| Refused { number: 0, message })?;
        self.rows(&statement)
    }

    /// Whether the server is MariaDB.
    pub fn is_mariadb(&self) -> bool {
        self.version.to_lowercase().contains("mariadb")
    }

    /// Whether the server's version is this or a later one: major, minor, patch.
    pub fn is_at_least(&self, version: [u32; 3]) -> bool {
        let number = self.version.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or_default();
        let mut held = [0; 3];
        for (part, digits) in held.iter_mut().zip(number.split('.')) {
            *part = digits.parse().unwrap_or(0);
        }
        held >= version
    }

    /// Whether accounts are changed by GRANT only, and told of by it.
    pub fn knows_grants_only(&self) -> bool {
        !self.is_since([10, 2, 0], [5, 7, 0])
    }

    /// Whether the server is MariaDB of one version on, or MySQL of another.
    pub fn is_since(&self, mariadb: [u32; 3], mysql: [u32; 3]) -> bool {
        self.is_at_least(if self.is_mariadb() { mariadb } else { mysql })
    }
}

/// Logs in, as an administrator without a password first if that is wished.
///
/// # Errors
/// In the words of the community's modules.
pub fn open(
    host: &Host,
    login: &Login,
    database: Option<&str>,
    implicit_admin: bool,
) -> Result<(Session, bool), Failure> {
    if implicit_admin {
        let admin = Login { login_user: Some("root".into()), login_password: None, ..login.clone() };
        if let Ok(session) = Session::open(host, &admin, database) {
            return Ok((session, true));
        }
    }
    let session = Session::open(host, login, database).map_err(|error| {
        Failure::new(format!(
            "unable to connect to database, check login_user and login_password are correct or {} has the credentials. Exception message: {error}",
            login.config_file
        ))
    })?;
    Ok((session, false))
}

/// The options of the section `client` of a configuration file, in its order, names in lower case with dashes.
pub fn client_options(host: &Host, file: &str) -> Vec<(String, String)> {
    let text = bakery_host::fs::read_to_string(host.path(file)).unwrap_or_default();
    let mut options = Vec::new();
    let mut is_client = false;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';', '!']) {
            continue;
        }
        if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            is_client = section == "client";
            continue;
        }
        if let (true, Some((name, value))) = (is_client, line.split_once('=')) {
            let value = value.trim();
            let quoted = |quote: char| value.len() > 1 && value.starts_with(quote) && value.ends_with(quote);
            let bare = if quoted('"') || quoted('\'') { &value[1..value.len() - 1] } else { value };
            options.push((name.trim().to_lowercase().replace('_', "-"), bare.to_owned()));
        }
    }
    options
}

/// A cell of a table, in the type that its column has.
fn value(cell: mysql::Value, column: &mysql::Column, has_plain_dates: bool) -> Value {
    let bytes = match cell {
        mysql::Value::NULL => return Value::None,
        mysql::Value::Bytes(bytes) => bytes,
        mysql::Value::Int(number) => return Value::Int(number.into()),
        mysql::Value::UInt(number) => return Value::Int(number.into()),
        mysql::Value::Float(number) => return Value::from(f64::from(number)),
        mysql::Value::Double(number) => return Value::from(number),
        other => return other.as_sql(true).trim_matches('\'').into(),
    };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    match column.column_type() {
        ColumnType::MYSQL_TYPE_TINY
        | ColumnType::MYSQL_TYPE_SHORT
        | ColumnType::MYSQL_TYPE_INT24
        | ColumnType::MYSQL_TYPE_LONG
        | ColumnType::MYSQL_TYPE_LONGLONG
        | ColumnType::MYSQL_TYPE_YEAR => text.parse::<i128>().map_or_else(|_| text.into(), Value::Int),
        ColumnType::MYSQL_TYPE_FLOAT | ColumnType::MYSQL_TYPE_DOUBLE => {
            text.parse::<f64>().map_or_else(|_| text.into(), Value::from)
        }
        ColumnType::MYSQL_TYPE_DATETIME | ColumnType::MYSQL_TYPE_TIMESTAMP if !has_plain_dates => {
            text.replacen(' ', "T", 1).into()
        }
        _ => text.into(),
    }
}

/// A value as it stands in a statement.
pub fn literal(value: &Value) -> String {
    match value {
        Value::None => "NULL".into(),
        Value::Bool(on) => u8::from(*on).to_string(),
        Value::Int(_) | Value::Big(_) => value.to_string(),
        Value::Float(number) => {
            let text = repr::float(*number);
            if text.contains('e') { text } else { format!("{text}e0") }
        }
        Value::List(_) | Value::Tuple(_) => {
            let items = value.as_items().unwrap_or_default();
            format!("({})", items.iter().map(literal).collect::<Vec<_>>().join(","))
        }
        other => quoted(&other.to_string()),
    }
}

/// A text in quotes, with what the server would read otherwise escaped.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("'");
    for c in text.chars() {
        match c {
            '\0' => out.push_str("\\0"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\x1a' => out.push_str("\\Z"),
            '"' | '\'' | '\\' => out.extend(['\\', c]),
            other => out.push(other),
        }
    }
    out.push('\'');
    out
}

/// A name for a statement: at most so many parts beyond the first.
///
/// # Errors
/// When the quotes in it do not fit.
pub fn name(name: &str, dots: usize, kind: &str) -> Result<String, Failure> {
    let quoted = super::identifier(name, '`', dots + 1, "MySQL", kind)?;
    Ok(quoted.split('.').map(|part| if part == "`*`" { "*" } else { part }).collect::<Vec<_>>().join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_with_values() {
        let values = [Value::from("it's"), Value::Int(3), Value::None, Value::Bool(true)];
        assert_eq!(
            super::super::filled("SELECT %s, %s, %s, %s, '100%%'", &values, literal).as_deref(),
            Ok("SELECT 'it\\'s', 3, NULL, 1, '100%'")
        );
        assert!(super::super::filled("SELECT %s", &[], literal).is_err());
        assert!(super::super::filled("SELECT 1", &values, literal).is_err());
        let named = bakery_lang::Map::from_iter([("a", Value::list(vec!["x".into(), Value::Int(2)]))]);
        assert_eq!(super::super::filled_by_name("IN %(a)s", &named, literal).as_deref(), Ok("IN ('x',2)"));
        assert!(super::super::filled_by_name("%(b)s", &named, literal).is_err());
    }

    #[test]
    fn names_of_databases() {
        assert_eq!(name("db", 1, "database").ok().as_deref(), Some("`db`"));
        assert_eq!(name("d`b", 1, "database").ok().as_deref(), Some("`d``b`"));
        assert_eq!(name("db.*", 2, "table").ok().as_deref(), Some("`db`.*"));
    }
}
