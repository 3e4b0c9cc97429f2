//! Sessions with PostgreSQL, and statements as the Python driver of the community's modules makes them
//! (community.postgresql `module_utils/postgres.py`).

use std::sync::Arc;
use std::time::Duration;

use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;
use postgres::config::SslMode;
use postgres::{SimpleQueryMessage, types::Type};

use crate::tls::{self, Verifier};
use crate::{Failure, Host};

/// How to reach the server.
#[derive(Debug, Clone, ModuleArgs)]
pub struct Login {
    /// The user to log in as; `PGUSER` or `postgres` if not given.
    #[arg(alias = "login")]
    pub login_user: Option<String>,
    /// The user's password.
    #[arg(default = "", secret)]
    pub login_password: String,
    /// The server; its socket if not given.
    #[arg(default = "", alias = "host")]
    pub login_host: String,
    /// The folder with the server's socket.
    #[arg(default = "", alias = "unix_socket")]
    pub login_unix_socket: String,
    /// The server's port; `PGPORT` or 5432 if not given.
    #[arg(alias = "port")]
    pub login_port: Option<i64>,
    /// Whether the connection is encrypted, and what is checked then.
    #[arg(default = "prefer", choices = "allow,disable,prefer,require,verify-ca,verify-full")]
    pub ssl_mode: String,
    /// The certificate that the server's is checked against.
    #[arg(alias = "ssl_rootcert")]
    pub ca_cert: Option<String>,
    /// The client's certificate.
    pub ssl_cert: Option<String>,
    /// The client's key.
    pub ssl_key: Option<String>,
    /// Further parameters of the connection, by libpq's names.
    pub connect_params: Option<Map>,
}

/// A statement that the server refused.
#[derive(Debug)]
pub struct Refused {
    /// The SQL state, such as `42501`; empty when it was not the server.
    pub state: String,
    /// The error's first line.
    pub primary: String,
    text: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<postgres::Error> for Refused {
    fn from(error: postgres::Error) -> Self {
        let Some(told) = error.as_db_error() else {
            let mut text = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(inner) = cause {
                text = format!("{text}: {inner}");
                cause = inner.source();
            }
            return Self { state: String::new(), primary: text.clone(), text };
        };
        // The text of the Python driver's exceptions: the sentence, then what libpq shows under it.
        let mut text = format!("{}\n", told.message());
        for (title, line) in [("DETAIL", told.detail()), ("HINT", told.hint())] {
            if let Some(line) = line {
                text.push_str(&format!("{title}:  {line}\n"));
            }
        }
        Self { state: told.code().code().into(), primary: told.message().into(), text }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::new(refused.text)
    }
}

/// What a statement left.
#[derive(Debug, Default)]
pub struct Answer {
    /// The table, by the names of its columns.
    pub rows: Vec<Map>,
    /// How many rows it has, or how many were changed; -1 where that means nothing.
    pub count: i64,
}

impl Answer {
    /// The value of a column of the first row.
    pub fn first(&self, column: &str) -> Option<Value> {
        self.rows.first().and_then(|row| row.get(column)).filter(|value| !value.is_none())
    }
}

/// A session. Statements run in a transaction of their own each, unless one was begun.
pub struct Session {
    client: postgres::Client,
    /// The server's version, as `150003`.
    pub version: u32,
}

/// A parameter of libpq from several places.
fn parameter(login: &Login, name: &str) -> Option<String> {
    let given = login.connect_params.as_ref().and_then(|params| params.get(name));
    given.filter(|value| !value.is_none()).map(|value| value.to_string())
}

impl Login {
    /// Who logs in.
    pub fn user(&self) -> String {
        let named = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let given = self.login_user.clone().filter(|user| !user.is_empty());
        parameter(self, "user").or(given).or_else(|| named("PGUSER")).unwrap_or_else(|| "postgres".into())
    }

    /// The server or the folder of its socket; nothing for the usual folder.
    pub fn host(&self) -> Option<String> {
        let is_local = matches!(self.login_host.as_str(), "" | "localhost");
        let host = if is_local && !self.login_unix_socket.is_empty() {
            &self.login_unix_socket
        } else {
            &self.login_host
        };
        parameter(self, "host").or_else(|| Some(host.clone())).filter(|host| !host.is_empty())
    }

    /// The server's port.
    pub fn port(&self) -> u16 {
        let named = std::env::var("PGPORT").ok().and_then(|port| port.parse().ok());
        let given = self.login_port.and_then(|port| u16::try_from(port).ok());
        parameter(self, "port").and_then(|port| port.parse().ok()).or(given).or(named).unwrap_or(5432)
    }
}

/// Where sockets are: Debian's folder, else the one of upstream.
fn sockets() -> &'static str {
    if std::path::Path::new("/var/run/postgresql").is_dir() { "/var/run/postgresql" } else { "/tmp" }
}

impl Session {
    /// Logs in and becomes another role if one is named.
    ///
    /// # Errors
    /// In the words of the community's modules.
    pub fn open(
        host: &Host,
        login: &Login,
        database: Option<&str>,
        role: Option<&str>,
    ) -> Result<Self, Failure> {
        let failed = |why: String| Failure::new(format!("unable to connect to database: {why}"));
        let user = login.user();
        let mut config = postgres::Config::new();
        config.user(&user).port(login.port()).connect_timeout(Duration::from_secs(30));
        config.application_name("bakery");
        let place = login.host().unwrap_or_else(|| sockets().into());
        let is_socket = place.starts_with('/');
        if is_socket {
            config.host_path(&place);
        } else {
            config.host(&place);
        }
        let password = parameter(login, "password").unwrap_or_else(|| login.login_password.clone());
        if !password.is_empty() {
            config.password(password);
        }
        let database = parameter(login, "dbname").or_else(|| database.map(str::to_owned));
        config.dbname(database.as_deref().filter(|name| !name.is_empty()).unwrap_or(&user));
        if let Some(options) = parameter(login, "options") {
            config.options(&options);
        }
        // libpq encrypts nothing on a socket, whatever it is asked.
        let mode = if is_socket {
            "disable".into()
        } else {
            parameter(login, "sslmode").unwrap_or_else(|| login.ssl_mode.clone())
        };
        config.ssl_mode(match mode.as_str() {
            "disable" | "allow" => SslMode::Disable,
            "prefer" => SslMode::Prefer,
            _ => SslMode::Require,
        });
        let client = match tls(host, login, &mode).map_err(failed)? {
            Some(tls) => config.connect(tls),
            None => config.connect(postgres::NoTls),
        };
        let client = client.map_err(|error| failed(Refused::from(error).to_string()))?;
        let mut session = Self { client, version: 0 };
        let version = session.rows("SHOW server_version_num")?.first("server_version_num");
        session.version = version.and_then(|v| v.to_string().parse().ok()).unwrap_or(0);
        session.rows("SET datestyle TO iso")?;
        if let Some(role) = role {
            let statement = format!("SET ROLE \"{}\"", role.replace('"', "\"\""));
            session.rows(&statement).map_err(|e| Failure::new(format!("Could not switch role: {e}")))?;
        }
        Ok(session)
    }

    /// Runs statements; the table is that of the last one that has one, its cells in the types of their columns.
    ///
    /// # Errors
    /// What the server says.
    pub fn rows(&mut self, statement: &str) -> Result<Answer, Refused> {
        let messages = self.client.simple_query(statement)?;
        // Cells come as text: the types are asked for where a table is expected and it is a single statement.
        let has_rows = messages.iter().any(|m| matches!(m, SimpleQueryMessage::Row(_)));
        let types: Vec<Type> = if has_rows { self.types(statement) } else { vec![] };
        let mut answer = Answer { count: -1, ..Answer::default() };
        for message in &messages {
            match message {
                SimpleQueryMessage::RowDescription(_) => {
                    answer.rows.clear();
                }
                SimpleQueryMessage::Row(row) => {
                    let cells = row.columns().iter().enumerate().map(|(at, column)| {
                        let kind = types.get(at).unwrap_or(&Type::TEXT);
                        (column.name(), row.get(at).map_or(Value::None, |text| value(text, kind)))
                    });
                    answer.rows.push(cells.collect());
                }
                SimpleQueryMessage::CommandComplete(count) => {
                    answer.count = i64::try_from(*count).unwrap_or(-1);
                }
                _ => {}
            }
        }
        Ok(answer)
    }

    /// The types of a statement's columns, unless it is one that cannot be prepared.
    fn types(&mut self, statement: &str) -> Vec<Type> {
        match self.client.prepare(statement) {
            Ok(prepared) => prepared.columns().iter().map(|column| column.type_().clone()).collect(),
            Err(_) => vec![],
        }
    }

    /// Runs a statement whose `%(name)s` stand for values.
    ///
    /// # Errors
    /// What the server says.
    pub fn with(&mut self, statement: &str, values: &[(&str, Value)]) -> Result<Answer, Refused> {
        let values: Map = values.iter().map(|(name, value)| (*name, value.clone())).collect();
        let statement = super::filled_by_name(statement, &values, literal).map_err(|text| Refused {
            state: String::new(),
            primary: text.clone(),
            text,
        })?;
        self.rows(&statement)
    }
}

/// The encryption that is asked for.
fn tls(
    host: &Host,
    login: &Login,
    mode: &str,
) -> Result<Option<tokio_postgres_rustls::MakeRustlsConnect>, String> {
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject as _;
    if matches!(mode, "disable" | "allow") {
        return Ok(None);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let path = |given: &Option<String>, name: &str| {
        given.clone().or_else(|| parameter(login, name)).map(|path| host.path(&path))
    };
    let certificates = |file: &std::path::Path| {
        let failed = |error: String| format!("{}: {error}", file.display());
        let text = bakery_host::fs::read(file).map_err(|error| error.to_string())?;
        tls::certificates(&text).map_err(failed)
    };
    let ca = path(&login.ca_cert, "sslrootcert");
    let trusted = ca.as_deref().map_or(Ok(vec![]), certificates)?;
    // libpq checks certificates where it is told to, or given one to check against: the chain alone, or the name, too.
    let checks = mode.starts_with("verify-") || ca.is_some();
    if checks && trusted.is_empty() {
        return Err("root certificate file is needed for sslmode verify-ca and verify-full (ca_cert)".into());
    }
    let verifier = if checks {
        Verifier::of(trusted, mode == "verify-full", provider)?
    } else {
        Verifier::unchecked(provider)
    };
    let verifier = Arc::new(verifier);
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let config = match (path(&login.ssl_cert, "sslcert"), path(&login.ssl_key, "sslkey")) {
        (Some(cert), Some(key)) => {
            let key = PrivateKeyDer::from_pem_file(&key).map_err(|e| format!("{}: {e}", key.display()))?;
            builder.with_client_auth_cert(certificates(&cert)?, key).map_err(|e| e.to_string())?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(Some(tokio_postgres_rustls::MakeRustlsConnect::new(config)))
}

/// A cell in the type of its column, as the Python driver and Ansible's results have it.
fn value(text: &str, kind: &Type) -> Value {
    let plain = || Value::from(text);
    match *kind {
        Type::BOOL => Value::Bool(text == "t"),
        Type::INT2 | Type::INT4 | Type::INT8 | Type::OID => text.parse().map_or_else(|_| plain(), Value::Int),
        Type::FLOAT4 | Type::FLOAT8 | Type::NUMERIC => {
            text.parse::<f64>().map_or_else(|_| plain(), Value::from)
        }
        Type::JSON | Type::JSONB => bakery_lang::json::parse(text).unwrap_or_else(|_| plain()),
        Type::TIMESTAMP | Type::TIMESTAMPTZ => text.replacen(' ', "T", 1).into(),
        Type::TEXT_ARRAY | Type::VARCHAR_ARRAY | Type::NAME_ARRAY => array(text)
            .map_or_else(plain, |items| {
                Value::list(items.into_iter().map(|i| i.map_or(Value::None, Value::from)).collect())
            }),
        Type::INT2_ARRAY | Type::INT4_ARRAY | Type::INT8_ARRAY | Type::OID_ARRAY => {
            let number =
                |item: Option<String>| item.and_then(|i| i.parse().ok()).map_or(Value::None, Value::Int);
            array(text).map_or_else(plain, |items| Value::list(items.into_iter().map(number).collect()))
        }
        _ => plain(),
    }
}

/// The items of an array's text, such as `{a,"b c",NULL}`; nothing for arrays of arrays.
fn array(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    let mut items = Vec::new();
    let mut chars = inner.chars().peekable();
    while chars.peek().is_some() {
        let mut item = String::new();
        let is_quoted = chars.next_if_eq(&'"').is_some();
        while let Some(c) = chars.next() {
            match c {
                '\\' => item.extend(chars.next()),
                '"' if is_quoted => {
                    chars.next_if_eq(&',');
                    break;
                }
                ',' if !is_quoted => break,
                '{' if !is_quoted => return None,
                c => item.push(c),
            }
        }
        items.push(if !is_quoted && item == "NULL" { None } else { Some(item) });
    }
    Some(items)
}

/// A value as it stands in a statement.
pub fn literal(value: &Value) -> String {
    match value {
        Value::None => "NULL".into(),
        Value::Bool(on) => on.to_string(),
        Value::Int(_) | Value::Big(_) => {
            let digits = value.to_string();
            if digits.starts_with('-') { format!(" {digits}") } else { digits }
        }
        Value::Float(number) => bakery_lang::repr::float(*number),
        Value::List(_) | Value::Tuple(_) => {
            let items = value.as_items().unwrap_or_default();
            if items.is_empty() {
                "'{}'".into()
            } else {
                format!("ARRAY[{}]", items.iter().map(literal).collect::<Vec<_>>().join(","))
            }
        }
        Value::Map(_) => quoted(&bakery_lang::json::dumps(value, 0, false)),
        other => quoted(&other.to_string()),
    }
}

/// A text in quotes.
pub fn quoted(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if text.contains('\\') {
        format!(" E'{}'", doubled.replace('\\', "\\\\"))
    } else {
        format!("'{doubled}'")
    }
}

/// A name for a statement, of so many parts at most.
///
/// # Errors
/// When it has more, or quotes that do not fit.
pub fn name(name: &str, most: usize, kind: &str) -> Result<String, Failure> {
    super::identifier(name, '"', most, "PostgreSQL", kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_and_values() {
        assert_eq!(
            array(r#"{a,"b c",NULL,"q\"uote"}"#),
            Some(vec![Some("a".into()), Some("b c".into()), None, Some("q\"uote".into())])
        );
        assert_eq!(array("{}"), Some(vec![]));
        assert_eq!(literal(&"it's".into()), "'it''s'");
        assert_eq!(literal(&Value::list(vec![1.into(), "a".into()])), "ARRAY[1,'a']");
    }
}
