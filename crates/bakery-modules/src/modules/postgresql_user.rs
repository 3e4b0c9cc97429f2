//! `postgresql_user`: roles of PostgreSQL that log in (community.postgresql `postgresql_user.py`).

use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;
use base64::Engine as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::database;
use crate::database::postgresql::{self, Login, Refused, Session};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Adds, changes and removes roles of PostgreSQL that log in.
#[derive(ModuleArgs)]
struct Args {
    #[arg(flatten)]
    login: Login,
    /// The role.
    #[arg(required, alias = "user")]
    name: String,
    /// Its password, or the hash of one.
    #[arg(secret)]
    password: Option<String>,
    /// Whether it shall be there.
    #[arg(default = "present", choices = "absent,present")]
    state: String,
    /// The database to log in to.
    #[arg(default = "", alias = "db")]
    login_db: String,
    /// Whether a role that cannot be removed is an error.
    #[arg(default = "true", alias = "fail_on_role")]
    fail_on_user: bool,
    /// What it may: `CREATEDB,NOSUPERUSER` and the like.
    #[arg(default = "")]
    role_attr_flags: String,
    /// Whether the password is kept as a hash.
    #[arg(default = "true")]
    encrypted: bool,
    /// Whether the password of a role that is there stays as it is, and everything else but what it may.
    no_password_changes: bool,
    /// Until when the password is good.
    expires: Option<String>,
    /// How many connections it may have.
    conn_limit: Option<i64>,
    /// The role to become.
    session_role: Option<String>,
    /// A comment.
    comment: Option<String>,
    /// Whether names are not looked at for statements in them.
    #[arg(default = "true")]
    trust_input: bool,
    /// Settings that its sessions start with.
    configuration: Option<Map>,
    /// Whether settings that are not named are reset.
    reset_unspecified_configuration: bool,
    /// Whether values of settings are put into quotes.
    #[arg(default = "true")]
    quote_configuration_values: bool,
}

/// What a role may, and the column that says so.
const FLAGS: &[(&str, &str)] = &[
    ("SUPERUSER", "rolsuper"),
    ("CREATEROLE", "rolcreaterole"),
    ("CREATEDB", "rolcreatedb"),
    ("INHERIT", "rolinherit"),
    ("LOGIN", "rolcanlogin"),
    ("REPLICATION", "rolreplication"),
    ("BYPASSRLS", "rolbypassrls"),
];

/// The flags that are asked for: column, whether it shall be so, and the word for the statement.
fn flags(text: &str) -> Result<Vec<(&'static str, bool, String)>, Failure> {
    let mut all: Vec<(&'static str, bool, String)> = Vec::new();
    let mut wrong = Vec::new();
    for word in text.split(',').filter(|word| !word.is_empty()).map(str::to_uppercase) {
        let known = |name: &str| FLAGS.iter().find(|(flag, _)| *flag == name).map(|(_, column)| *column);
        match (known(&word), word.strip_prefix("NO").and_then(known)) {
            (Some(column), _) if all.iter().all(|(.., w)| *w != word) => all.push((column, true, word)),
            (None, Some(column)) if all.iter().all(|(.., w)| *w != word) => all.push((column, false, word)),
            (None, None) => wrong.push(word),
            _ => {}
        }
    }
    if wrong.is_empty() {
        Ok(all)
    } else {
        Err(Failure::new(format!("Invalid role_attr_flags specified: {}", wrong.join(" "))))
    }
}

/// The name in quotes; a dot in it does not part it.
fn quoted(user: &str) -> Result<String, Failure> {
    let (starts, ends) = (user.starts_with('"'), user.ends_with('"'));
    if starts != ends {
        return Err("The value of the user-field can't contain a double-quote in the end if it doesn't start with one and vice-versa.".into());
    }
    if starts {
        postgresql::name(user, 1, "role")
    } else {
        postgresql::name(&format!("\"{user}\""), 1, "role")
    }
}

/// The parts of `SCRAM-SHA-256$ROUNDS:SALT$STOREDKEY:SERVERKEY`: rounds, salt and the server's key.
fn scram(hash: &str) -> Option<(u32, Vec<u8>, Vec<u8>)> {
    let rest = hash.strip_prefix("SCRAM-SHA-256$")?;
    let (head, keys) = rest.split_once('$')?;
    let (rounds, salt) = head.split_once(':')?;
    let (_, server_key) = keys.split_once(':')?;
    let decode = |text: &str| base64::engine::general_purpose::STANDARD.decode(text).ok();
    Some((rounds.parse().ok()?, decode(salt)?, decode(server_key)?))
}

/// Whether a password is the one that a hash was made of (RFC 5802, section 3).
fn fits(password: &str, rounds: u32, salt: &[u8], server_key: &[u8]) -> bool {
    let prepared = stringprep::saslprep(password).unwrap_or(password.into());
    let mut salted = [0u8; 32];
    if pbkdf2::pbkdf2::<Hmac<Sha256>>(prepared.as_bytes(), salt, rounds, &mut salted).is_err() {
        return false;
    }
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&salted) else { return false };
    mac.update(b"Server Key");
    mac.verify_slice(server_key).is_ok()
}

fn md5_hash(password: &str, user: &str) -> String {
    use md5::Digest as _;
    let digest = md5::Md5::digest(format!("{password}{user}").as_bytes());
    format!("md5{}", digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

struct Role<'a> {
    args: &'a Args,
    server: Session,
    queries: Vec<String>,
    flags: Vec<(&'static str, bool, String)>,
}

impl Role<'_> {
    /// Runs a statement; the one that is remembered has names in the places of passwords.
    fn act(&mut self, statement: &str) -> Result<(), Refused> {
        let password = self.args.password.clone().map_or(Value::None, Value::from);
        let expires = self.args.expires.clone().map_or(Value::None, Value::from);
        self.server.with(statement, &[("password", password), ("expires", expires)])?;
        self.queries.push(statement.to_owned());
        Ok(())
    }

    fn flag_words(&self) -> String {
        self.flags.iter().map(|(.., word)| word.as_str()).collect::<Vec<_>>().join(" ")
    }

    fn crypt(&self) -> &'static str {
        if self.args.encrypted { "ENCRYPTED" } else { "UNENCRYPTED" }
    }

    fn add(&mut self) -> Result<bool, Failure> {
        let args = self.args;
        let mut words = vec![format!("CREATE USER {}", quoted(&args.name)?)];
        if args.password.as_ref().is_some_and(|password| !password.is_empty()) {
            words.push(format!("WITH {} PASSWORD %(password)s", self.crypt()));
        }
        words.extend(args.expires.iter().map(|_| "VALID UNTIL %(expires)s".to_owned()));
        words.extend(args.conn_limit.map(|limit| format!("CONNECTION LIMIT {limit}")));
        words.push(self.flag_words());
        self.act(&words.join(" "))
            .map_err(|e| Failure::new(format!("Unable to add user with given requirement due to : {e}")))?;
        Ok(true)
    }

    /// What is known of the role; the passwords are not for everybody.
    fn attributes(&mut self) -> Result<Map, Failure> {
        let user = [("user", Value::from(self.args.name.as_str()))];
        // A failed statement must not end the transaction.
        self.server.rows("SAVEPOINT bakery")?;
        let of_table = |server: &mut Session, table: &str| {
            server.with(&format!("SELECT * FROM {table} WHERE rolname=%(user)s"), &user)
        };
        let held = match of_table(&mut self.server, "pg_authid") {
            Ok(answer) => answer,
            Err(_) => {
                self.server.rows("ROLLBACK TO SAVEPOINT bakery")?;
                of_table(&mut self.server, "pg_roles").map_err(|e| {
                    Failure::new(format!(
                        "Failed to get role details for current user {}: {e}",
                        self.args.name
                    ))
                })?
            }
        };
        self.server.rows("RELEASE SAVEPOINT bakery")?;
        Ok(held.rows.into_iter().next().unwrap_or_default())
    }

    /// Whether the password is another one than the role's.
    fn password_differs(&mut self, held: &Map) -> Result<bool, Failure> {
        let args = self.args;
        let Some(password) = &args.password else { return Ok(false) };
        let now = held.get("rolpassword").filter(|v| !v.is_none()).map(|v| v.to_string());
        if password.is_empty() {
            return Ok(now.is_some());
        }
        if scram(password).is_some() {
            return Ok(now.as_ref() != Some(password));
        }
        if let Some((rounds, salt, key)) = now.as_deref().and_then(scram) {
            return Ok(!fits(password, rounds, &salt, &key));
        }
        let is_md5 = password.len() == 35 && password.starts_with("md5");
        if is_md5 || !args.encrypted {
            return Ok(now.as_ref() != Some(password));
        }
        let kind = self.server.rows("SHOW password_encryption")?.first("password_encryption");
        Ok(match kind.map(|kind| kind.to_string()).as_deref() {
            Some("md5" | "on") => now != Some(md5_hash(password, &args.name)),
            _ => true,
        })
    }

    fn alter(&mut self) -> Result<bool, Failure> {
        let args = self.args;
        if args.name == "PUBLIC" {
            return match (&args.password, self.flags.is_empty()) {
                (Some(_), _) => Err("cannot change the password for PUBLIC user".into()),
                (None, false) => Err("cannot change the role_attr_flags for PUBLIC user".into()),
                (None, true) => Ok(false),
            };
        }
        let nothing = args.password.is_none() && args.expires.is_none() && args.conn_limit.is_none();
        if self.flags.is_empty() && (nothing || args.no_password_changes) {
            return Ok(false);
        }
        let held = self.attributes()?;
        let flags_differ =
            self.flags.iter().any(|(column, wanted, _)| held.get(column) != Some(Value::Bool(*wanted)));
        let mut words = vec![format!("ALTER USER {}", quoted(&args.name)?)];
        if args.no_password_changes {
            if !flags_differ {
                return Ok(false);
            }
            words.push(format!("WITH {}", self.flag_words()));
            self.alter_by(&words.join(" "))?;
            return Ok(Value::Map(held) != Value::Map(self.attributes()?));
        }
        let password_differs = self.password_differs(&held)?;
        let expiry_differs = match &args.expires {
            None => false,
            Some(expires) => {
                let query = "SELECT %(expires)s::timestamptz AS exp_timestamp";
                let wanted = self.server.with(query, &[("expires", expires.as_str().into())])?;
                wanted.first("exp_timestamp") != held.get("rolvaliduntil").filter(|v| !v.is_none())
            }
        };
        let limit_differs =
            args.conn_limit.is_some_and(|limit| held.get("rolconnlimit") != Some(limit.into()));
        if !password_differs && !flags_differ && !expiry_differs && !limit_differs {
            return Ok(false);
        }
        match (password_differs, &args.password) {
            (true, Some(password)) => {
                words.push(if password.is_empty() {
                    "WITH PASSWORD NULL".into()
                } else {
                    format!("WITH {} PASSWORD %(password)s", self.crypt())
                });
                words.push(self.flag_words());
            }
            _ if !self.flags.is_empty() => words.push(format!("WITH {}", self.flag_words())),
            _ => {}
        }
        words.extend(args.expires.iter().map(|_| "VALID UNTIL %(expires)s".to_owned()));
        words.extend(args.conn_limit.map(|limit| format!("CONNECTION LIMIT {limit}")));
        self.alter_by(&words.join(" "))?;
        Ok(true)
    }

    fn alter_by(&mut self, statement: &str) -> Result<(), Failure> {
        self.act(statement).map_err(|error| match error.state.as_str() {
            // A server that only reads, or a password in clear where that is not supported.
            "25006" | "0A000" => Failure::new(error.primary),
            _ => error.into(),
        })
    }

    fn set_comment(&mut self, comment: &str) -> Result<bool, Failure> {
        let query = "SELECT pg_catalog.shobj_description(r.oid, 'pg_authid') AS comment FROM pg_catalog.pg_roles AS r WHERE r.rolname = %(user)s";
        let held = self.server.with(query, &[("user", self.args.name.as_str().into())])?.first("comment");
        if held.map(|held| held.to_string()).unwrap_or_default() == comment {
            return Ok(false);
        }
        let statement = format!("COMMENT ON ROLE \"{}\" IS {}", self.args.name, postgresql::quoted(comment));
        self.server
            .rows(&statement)
            .map_err(|e| Failure::new(format!("Unable to add comment on role: {e}")))?;
        self.queries.push(statement);
        Ok(true)
    }

    fn configure(&mut self) -> Result<bool, Failure> {
        let args = self.args;
        let wanted: Vec<(String, String)> = match &args.configuration {
            Some(map) => map.pairs().into_iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
            None => vec![],
        };
        let query = "SELECT rolconfig FROM pg_roles WHERE rolname = %(user)s";
        let held = self.server.with(query, &[("user", args.name.as_str().into())])?;
        if held.rows.is_empty() {
            return Err(Failure::new(format!("Can't find user {} in 'pg_roles'", args.name)));
        }
        let held: Vec<(String, String)> = held
            .first("rolconfig")
            .and_then(|list| list.as_items())
            .unwrap_or_default()
            .iter()
            .filter_map(|pair| pair.to_string().split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())))
            .collect();
        let user = quoted(&args.name)?;
        let mut statements = Vec::new();
        if args.reset_unspecified_configuration {
            let gone = held.iter().filter(|(key, _)| wanted.iter().all(|(wanted, _)| wanted != key));
            statements.extend(gone.map(|(key, _)| format!("ALTER ROLE {user} RESET \"{key}\";")));
        }
        for (key, value) in wanted {
            if held.iter().any(|(k, v)| *k == key && *v == value) {
                continue;
            }
            if args.quote_configuration_values && key.contains(['"', '\'']) {
                return Err("The key of a configuration may not contain single or double quotes".into());
            }
            let value = if args.quote_configuration_values {
                format!("'{}'", value.replace('\'', "''"))
            } else {
                value
            };
            statements.push(format!("ALTER ROLE {user} SET \"{key}\" TO {value};"));
        }
        let any = !statements.is_empty();
        for statement in statements {
            self.server.rows(&statement).map_err(|e| {
                Failure::new(format!("Unable to update configuration for '{}' due to: {e}", args.name))
            })?;
            self.queries.push(statement);
        }
        Ok(any)
    }

    fn remove(&mut self) -> Result<bool, Failure> {
        let statement = format!("DROP USER {}", quoted(&self.args.name)?);
        self.queries.push(statement.clone());
        self.server.rows("SAVEPOINT bakery")?;
        match self.server.rows(&statement) {
            Ok(_) => Ok(true),
            Err(error) if self.args.fail_on_user => {
                Err(Failure::new(format!("Unable to remove user: {error}")))
            }
            Err(_) => {
                self.server.rows("ROLLBACK TO SAVEPOINT bakery")?;
                Ok(false)
            }
        }
    }
}

fn run(args: Args, host: &mut Host) -> Run {
    if !args.trust_input {
        let optional =
            [&args.password, &args.expires, &args.comment, &args.session_role].into_iter().flatten();
        database::refuse_dangerous(optional.chain([&args.name, &args.role_attr_flags]).map(String::as_str))?;
    }
    let flags = flags(&args.role_attr_flags)?;
    let server = Session::open(host, &args.login, Some(&args.login_db), args.session_role.as_deref())?;
    let mut role = Role { args: &args, server, queries: vec![], flags };
    // All of it or nothing, and nothing in check mode.
    role.server.rows("BEGIN")?;
    let query = "SELECT 1 AS found FROM pg_roles WHERE rolname=%(user)s";
    let found = role.server.with(query, &[("user", args.name.as_str().into())])?;
    let there = args.name == "PUBLIC" || !found.rows.is_empty();
    let mut removed = None;
    let changed = match (args.state.as_str(), there) {
        ("absent", false) => false,
        ("absent", true) => {
            let done = host.check || role.remove()?;
            removed = Some(done);
            done
        }
        (_, there) => {
            let mut changed = if there { role.alter()? } else { role.add()? };
            if let Some(comment) = &args.comment {
                changed |= role.set_comment(comment)?;
            }
            let is_set = args.configuration.as_ref().is_some_and(|map| !map.is_empty());
            if is_set || args.reset_unspecified_configuration {
                changed |= role.configure()?;
            }
            changed
        }
    };
    role.server.rows(if host.check { "ROLLBACK" } else { "COMMIT" })?;
    let outcome = Outcome::changed(changed)
        .with("user", args.name.as_str())
        .with("queries", Value::strings(role.queries));
    Ok(match removed {
        Some(removed) => outcome.with("user_removed", removed),
        None => outcome,
    })
}

module!("postgresql_user", "community.postgresql", Args, run);

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7677, section 3.
    #[test]
    fn a_password_and_its_hash() {
        let salt =
            base64::engine::general_purpose::STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
        let key = base64::engine::general_purpose::STANDARD
            .decode("wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=")
            .expect("base64");
        assert!(fits("pencil", 4096, &salt, &key));
        assert!(!fits("pencils", 4096, &salt, &key));
    }

    #[test]
    fn flags_and_hashes() {
        let all = flags("createdb,NOSUPERUSER,NOINHERIT").expect("known");
        assert_eq!(all[1], ("rolsuper", false, "NOSUPERUSER".into()));
        assert!(flags("CREATEDB,FLY").is_err());
        assert_eq!(md5_hash("secret", "joe").len(), 35);
        assert_eq!(quoted("a.b").ok().as_deref(), Some("\"a.b\""));
        assert!(quoted("\"a").is_err());
    }
}
