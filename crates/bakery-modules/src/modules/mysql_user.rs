//! `mysql_user`: accounts of MySQL and MariaDB and their privileges (community.mysql `mysql_user.py` and
//! `module_utils/user.py`).

use bakery_lang::{Map, Value, json};
use bakery_macros::ModuleArgs;

use crate::database::accounts;
use crate::database::mysql::{self, Answer, Login, Refused, Session};
use crate::database::privileges::{self, Privileges};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Adds and removes accounts of MySQL and MariaDB, and gives them passwords and privileges.
#[derive(ModuleArgs)]
#[args(exclusive = "append_privs,subtract_privs")]
struct Args {
    #[arg(flatten)]
    login: Login,
    /// The account's name.
    #[arg(required, alias = "user")]
    name: String,
    /// Its password.
    #[arg(secret)]
    password: Option<String>,
    /// Whether the password is the hash of `mysql_native_password`.
    encrypted: bool,
    /// Where the account logs in from.
    #[arg(default = "localhost")]
    host: String,
    /// Whether all accounts of this name are meant.
    host_all: bool,
    /// Whether it shall be there.
    #[arg(default = "present", choices = "absent,present")]
    state: String,
    /// Its privileges: `db.table:PRIV,PRIV/db.table:PRIV`, or a mapping.
    #[arg(name = "priv")]
    privileges: Option<Value>,
    /// What it needs of the encryption: `SSL`, `X509`, or `CIPHER`, `ISSUER` and `SUBJECT`.
    tls_requires: Option<Map>,
    /// Whether privileges are added to those that it has.
    append_privs: bool,
    /// Whether privileges are taken from those that it has.
    subtract_privs: bool,
    /// Its attributes, on MySQL 8.0.
    attributes: Option<Map>,
    /// Whether `root` without a password is tried first.
    check_implicit_admin: bool,
    /// Whether the password of an account that is there is set, too.
    #[arg(default = "always", choices = "always,on_create,on_new_username")]
    update_password: String,
    /// Whether the change goes to the binary log.
    #[arg(default = "true")]
    sql_log_bin: bool,
    /// The plugin that checks it.
    plugin: Option<String>,
    /// The plugin's hash.
    plugin_hash_string: Option<String>,
    /// The plugin's password.
    plugin_auth_string: Option<String>,
    /// Refused: give the hash itself as `plugin_hash_string`.
    salt: Option<String>,
    /// Limits of its resources.
    resource_limits: Option<Map>,
    /// Whether the database `mysql` is used.
    force_context: bool,
    /// Variables of the session.
    session_vars: Option<Map>,
    /// Whether the case of columns counts.
    #[arg(default = "true")]
    column_case_sensitive: bool,
    /// When its password is no longer good.
    #[arg(choices = "now,never,default,interval")]
    password_expire: Option<String>,
    /// Days.
    password_expire_interval: Option<i64>,
    /// Whether it is locked.
    locked: Option<bool>,
}

/// What an account needs of the encryption.
#[derive(PartialEq)]
enum Requirement {
    Word(&'static str),
    Pairs(Vec<(String, String)>),
}

impl Requirement {
    /// As people and the server give it; what is more particular makes the rest moot.
    fn of(given: Option<&Map>) -> Option<Self> {
        let pairs = given?.pairs();
        let pairs: Vec<(String, Value)> =
            pairs.into_iter().map(|(k, v)| (k.to_string().to_uppercase(), v)).collect();
        if pairs.is_empty() {
            return None;
        }
        if pairs.iter().any(|(key, _)| matches!(key.as_str(), "CIPHER" | "ISSUER" | "SUBJECT")) {
            let kept = pairs.into_iter().filter(|(key, _)| !matches!(key.as_str(), "SSL" | "X509"));
            return Some(Self::Pairs(kept.map(|(key, value)| (key, value.to_string())).collect()));
        }
        Some(Self::Word(if pairs.iter().any(|(key, _)| key == "X509") { "X509" } else { "SSL" }))
    }

    /// ` REQUIRE …` for a statement that values are put into afterwards.
    fn clause(requirement: Option<&Self>) -> String {
        match requirement {
            None => String::new(),
            Some(Self::Word(word)) => format!(" REQUIRE {word}"),
            Some(Self::Pairs(pairs)) => {
                let pair = |(key, value): &(String, String)| {
                    format!("{key} {}", mysql::quoted(value).replace('%', "%%"))
                };
                format!(" REQUIRE {}", pairs.iter().map(pair).collect::<Vec<_>>().join(" AND "))
            }
        }
    }
}

/// What was done to an account.
#[derive(Default)]
struct Done {
    changed: bool,
    msg: String,
    password_changed: Option<bool>,
    attributes: Value,
}

const NO_HASHES: &str = "The 'encrypted' option is not supported on MySQL 9.7.0+ because the mysql_native_password plugin has been removed. Use a plaintext password instead.";

/// An account and the server it is on.
struct Account<'a> {
    args: &'a Args,
    server: &'a mut Session,
    host: String,
    requirement: Option<Requirement>,
    check: bool,
}

impl Account<'_> {
    /// Runs a statement that begins with the account: `%s@%s`, then values.
    fn with(&mut self, statement: &str, further: &[&str]) -> Result<Answer, Refused> {
        let values = [&[self.args.name.as_str(), self.host.as_str()], further].concat();
        self.server.with(statement, &values)
    }

    fn cell(&mut self, statement: &str) -> Result<Option<String>, Refused> {
        Ok(self.with(statement, &[])?.first().filter(|v| !v.is_none()).map(ToString::to_string))
    }

    /// Whether the server has `mysql_native_password` and its hashes: MySQL lost it with release 9.
    fn has_native_password(&self) -> bool {
        self.server.is_mariadb() || !self.server.is_at_least([9, 7, 0])
    }

    fn native_hash(&mut self, password: &str) -> Result<String, Refused> {
        let query = "SELECT CONCAT('*', UCASE(SHA1(UNHEX(SHA1(%s)))))";
        Ok(self.server.with(query, &[password])?.first().map(ToString::to_string).unwrap_or_default())
    }

    fn set_expiry(&mut self, when: &str) -> Result<(), Failure> {
        if !self.server.is_since([10, 4, 3], [5, 7, 0]) {
            return Err("The server version does not match the requirements for password_expire parameter. See module's documentation.".into());
        }
        let clause = match when {
            "never" => "PASSWORD EXPIRE NEVER".to_owned(),
            "default" => "PASSWORD EXPIRE DEFAULT".to_owned(),
            "interval" => {
                format!("PASSWORD EXPIRE INTERVAL {} DAY", self.args.password_expire_interval.unwrap_or(0))
            }
            _ => "PASSWORD EXPIRE".to_owned(),
        };
        self.with(&format!("ALTER USER %s@%s {clause}"), &[])?;
        Ok(())
    }

    /// How the plugin is named in a statement, with the values for it.
    fn by_plugin(&self, plugin: &str) -> (String, Vec<String>) {
        let args = self.args;
        let clause = |text: &str, further: &[&String]| {
            let mut values = vec![plugin.to_owned()];
            values.extend(further.iter().map(|v| (*v).clone()));
            (format!("IDENTIFIED WITH %s{text}"), values)
        };
        match (&args.plugin_hash_string, &args.plugin_auth_string) {
            (Some(hash), _) => clause(" AS %s", &[hash]),
            (None, Some(text)) if plugin == "pam" => clause(" USING %s", &[text]),
            (None, Some(text)) if matches!(plugin, "ed25519" | "parsec") => {
                clause(" USING PASSWORD(%s)", &[text])
            }
            (None, Some(text)) => clause(" BY %s", &[text]),
            (None, None) => clause("", &[]),
        }
    }

    fn add(&mut self, wanted: Option<&Privileges>, host: &mut Host) -> Result<Done, Failure> {
        let args = self.args;
        let given = args.attributes.as_ref().filter(|map| !map.is_empty());
        if given.is_some() && !self.knows_attributes() {
            return Err(
                "user attributes were specified but the server does not support user attributes".into()
            );
        }
        let mut done = Done { changed: true, msg: "User added".into(), ..Done::default() };
        if self.check {
            done.attributes = args.attributes.clone().map_or(Value::None, Value::Map);
            return Ok(done);
        }
        let mut reused = None;
        if args.update_password == "on_new_username" {
            let known = self.known_passwords()?;
            if known.len() > 1 {
                host.warn(format!("An account with the username {} has a different password than the others existing accounts. Thus on_new_username can't decide which password to reuse so it will use your provided password instead. If no password is provided, the account will have an empty password!", args.name));
            } else {
                reused = known.into_iter().next();
            }
        }
        let password = args.password.as_ref().filter(|p| !p.is_empty() && reused.is_none());
        let native = "IDENTIFIED WITH mysql_native_password AS %s".to_owned();
        let (clause, values) = match (&reused, password, &args.plugin) {
            (Some((plugin, hash)), ..) => {
                ("IDENTIFIED WITH %s AS %s".to_owned(), vec![plugin.clone(), hash.clone()])
            }
            (None, Some(_), _) if args.encrypted && !self.has_native_password() => {
                return Err(NO_HASHES.into());
            }
            (None, Some(password), _) if args.encrypted => {
                let by_password = self.server.is_mariadb() || !self.server.is_at_least([8, 0, 0]);
                (
                    if by_password { "IDENTIFIED BY PASSWORD %s".into() } else { native },
                    vec![password.clone()],
                )
            }
            (None, Some(password), _) if self.server.knows_grants_only() || !self.has_native_password() => {
                ("IDENTIFIED BY %s".into(), vec![password.clone()])
            }
            (None, Some(password), _) => (native, vec![self.native_hash(password)?]),
            (None, None, Some(plugin)) => self.by_plugin(plugin),
            (None, None, None) => (String::new(), vec![]),
        };
        let old = self.server.knows_grants_only();
        let required = if old { String::new() } else { Requirement::clause(self.requirement.as_ref()) };
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        self.with(&format!("CREATE USER %s@%s {clause}{required}"), &values)?;
        if let Some(when) = &args.password_expire {
            self.set_expiry(when)?;
        }
        let late = if old { Requirement::clause(self.requirement.as_ref()) } else { String::new() };
        let account = (args.name.as_str(), self.host.clone());
        for (object, list) in wanted.into_iter().flatten() {
            privileges::grant(self.server, (account.0, &account.1), object, list, &late)?;
        }
        if self.requirement.is_some() {
            let held = self.global_privileges()?;
            privileges::grant(self.server, (account.0, &account.1), "*.*", &held, &late)?;
        }
        if let Some(attributes) = given {
            self.with(
                "ALTER USER %s@%s ATTRIBUTE %s",
                &[&json::dumps(&Value::Map(attributes.clone()), 0, false)],
            )?;
            done.attributes = self.attributes()?;
        }
        if args.locked == Some(true) {
            self.with("ALTER USER %s@%s ACCOUNT LOCK", &[])?;
        }
        done.password_changed = Some(reused.is_none());
        Ok(done)
    }

    /// Plugins and hashes of all accounts of this name.
    fn known_passwords(&mut self) -> Result<Vec<(String, String)>, Failure> {
        let query = if self.server.is_mariadb() {
            "select plugin, auth from (select plugin, password as auth from mysql.user where user=%s union select plugin, authentication_string as auth from mysql.user where user=%s) x group by plugin, auth"
        } else {
            "select plugin, authentication_string as auth from mysql.user where user=%s group by plugin, authentication_string"
        };
        let name = self.args.name.as_str();
        let values: &[&str] = if self.server.is_mariadb() { &[name, name] } else { &[name] };
        let text = |row: &Vec<Value>, at: usize| row.get(at).map(ToString::to_string).unwrap_or_default();
        Ok(self.server.with(query, values)?.rows.iter().map(|row| (text(row, 0), text(row, 1))).collect())
    }

    fn global_privileges(&mut self) -> Result<Vec<String>, Failure> {
        let all = privileges::of_account(self.server, &self.args.name, &self.host)?;
        let held = all.get("*.*").cloned().unwrap_or_else(|| vec!["USAGE".into()]);
        Ok(held
            .into_iter()
            .filter(|p| p != "GRANT")
            .map(|p| if p == "ALL" { "ALL PRIVILEGES".into() } else { p })
            .collect())
    }

    fn change_password(&mut self, password: &str, done: &mut Done) -> Result<(), Failure> {
        let args = self.args;
        if !self.has_native_password() {
            if args.encrypted {
                return Err(NO_HASHES.into());
            }
            // What the server keeps has a salt of its own, so nobody can tell whether it is this one.
            done.password_changed = Some(true);
            done.changed = true;
            done.msg = "Password updated".into();
            if !self.check {
                self.with("ALTER USER %s@%s IDENTIFIED BY %s", &[password])?;
                done.msg = "Password updated (new style)".into();
            }
            return Ok(());
        }
        let columns = self.server.rows(
            "SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = 'mysql' AND TABLE_NAME = 'user' AND COLUMN_NAME IN ('Password', 'authentication_string') ORDER BY COLUMN_NAME DESC",
        )?;
        let names: Vec<String> =
            columns.rows.iter().filter_map(|row| row.first().map(ToString::to_string)).collect();
        let (Some(first), Some(last)) = (names.first(), names.last()) else {
            return Err("the table mysql.user has no column for passwords".into());
        };
        let query = format!(
            "SELECT COALESCE(CASE WHEN {first} = '' THEN NULL ELSE {first} END, CASE WHEN {last} = '' THEN NULL ELSE {last} END) FROM mysql.user WHERE user = %s AND host = %s"
        );
        let now = self.cell(&query)?;
        let hash = if args.encrypted {
            let is_hash = password.len() == 41
                && password
                    .strip_prefix('*')
                    .is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()));
            if !is_hash {
                return Err("encrypted was specified however it does not appear to be a valid hash expecting: *SHA1(SHA1(your_password))".into());
            }
            password.to_owned()
        } else {
            self.native_hash(password)?
        };
        if now.as_deref() == Some(&hash) {
            return Ok(());
        }
        done.password_changed = Some(true);
        done.changed = true;
        done.msg = "Password updated".into();
        if self.check {
            return Ok(());
        }
        if self.server.knows_grants_only() {
            self.with("SET PASSWORD FOR %s@%s = %s", &[&hash])?;
            done.msg = "Password updated (old style)".into();
            return Ok(());
        }
        match self.with("ALTER USER %s@%s IDENTIFIED WITH mysql_native_password AS %s", &[&hash]) {
            Ok(_) => done.msg = "Password updated (new style)".into(),
            // An account whose plugin keeps its passwords elsewhere is changed in the table.
            Err(error) if error.number == 1396 => {
                self.server.with(
                    "UPDATE mysql.user SET plugin = %s, authentication_string = %s, Password = '' WHERE User = %s AND Host = %s",
                    &["mysql_native_password", &hash, &args.name, &self.host],
                )?;
                self.server.rows("FLUSH PRIVILEGES")?;
                done.msg = "Password forced update".into();
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn change_expiry(&mut self, when: &str, done: &mut Done) -> Result<(), Failure> {
        let query = if self.server.is_mariadb() {
            "SELECT JSON_EXTRACT(Priv, '$.password_lifetime') AS password_lifetime FROM mysql.global_priv WHERE User = %s AND Host = %s"
        } else {
            "SELECT IFNULL(password_lifetime, -1) FROM mysql.user WHERE User = %s AND Host = %s"
        };
        let policy: i64 = self.cell(query)?.and_then(|days| days.parse().ok()).unwrap_or(-1);
        let expired = self.cell("SELECT password_expired FROM mysql.user WHERE User = %s AND Host = %s")?;
        let is_so = match when {
            "default" => policy == -1,
            "never" => policy == 0,
            "interval" => Some(policy) == self.args.password_expire_interval,
            _ => expired.as_deref() == Some("Y"),
        };
        if !is_so && !self.check {
            self.set_expiry(when)?;
            done.password_changed = Some(true);
            done.changed = true;
        }
        Ok(())
    }

    fn change_plugin(&mut self, plugin: &str, done: &mut Done) -> Result<(), Failure> {
        let args = self.args;
        let query = "SELECT plugin, authentication_string FROM mysql.user WHERE user = %s AND host = %s";
        let row = self.with(query, &[])?.rows.into_iter().next().unwrap_or_default();
        let held = |at: usize| row.get(at).map(ToString::to_string).unwrap_or_default();
        let differs = |wanted: &Option<String>| wanted.as_ref().is_some_and(|wanted| *wanted != held(1));
        // The plugin may keep a password otherwise, which nobody can tell: rather once too often.
        if held(0) == plugin && !differs(&args.plugin_hash_string) && !differs(&args.plugin_auth_string) {
            return Ok(());
        }
        if !self.check {
            let (clause, values) = self.by_plugin(plugin);
            let values: Vec<&str> = values.iter().map(String::as_str).collect();
            self.with(&format!("ALTER USER %s@%s {clause}"), &values)?;
        }
        done.password_changed = Some(true);
        done.changed = true;
        Ok(())
    }

    fn change_privileges(&mut self, wanted: &Privileges, done: &mut Done) -> Result<(), Failure> {
        let args = self.args;
        let (name, host) = (args.name.clone(), self.host.clone());
        let account = (name.as_str(), host.as_str());
        let late = if self.server.knows_grants_only() {
            Requirement::clause(self.requirement.as_ref())
        } else {
            String::new()
        };
        let before = privileges::of_account(self.server, account.0, account.1)?;
        let mut grant_option = false;
        if !args.append_privs && !args.subtract_privs {
            for (object, held) in &before {
                grant_option |= held.iter().any(|p| p == "GRANT");
                if !wanted.contains_key(object) && name != "root" && !held.iter().any(|p| p == "PROXY") {
                    done.msg = "Privileges updated".into();
                    done.changed = true;
                    if !self.check {
                        privileges::revoke(self.server, account, object, held, grant_option)?;
                    }
                }
            }
        }
        for (object, list) in
            wanted.iter().filter(|(object, _)| !args.subtract_privs && !before.contains_key(*object))
        {
            done.msg = "New privileges granted".into();
            done.changed = true;
            if !self.check {
                privileges::grant(self.server, account, object, list, &late)?;
            }
        }
        for (object, list) in wanted {
            let Some(held) = before.get(object) else { continue };
            let without = |left: &[String], right: &[String]| -> Vec<String> {
                left.iter().filter(|p| !right.contains(p)).cloned().collect()
            };
            let (mut given, mut taken) = (vec![], vec![]);
            if args.append_privs {
                given = without(list, held);
            } else if args.subtract_privs {
                taken = list.iter().filter(|p| held.contains(p)).cloned().collect();
            } else {
                given = without(list, held);
                taken = without(held, list);
                // All privileges take the place of single ones.
                if given.iter().any(|p| p == "ALL" || p == "ALL PRIVILEGES") {
                    taken.retain(|p| p == "GRANT" || p == "PROXY");
                }
                let has = |list: &[String]| list.iter().any(|p| p == "GRANT");
                grant_option = has(&taken) && !has(&given);
            }
            if given == ["GRANT"] {
                // The option cannot stand alone, and USAGE grants nothing.
                given.push("USAGE".into());
            }
            if given.is_empty() && taken.is_empty() {
                continue;
            }
            let shown = |list: &[String]| Value::strings(list).to_string();
            done.msg = format!("Privileges updated: granted {}, revoked {}", shown(&given), shown(&taken));
            if self.check {
                done.changed = true;
                continue;
            }
            if !taken.is_empty() {
                privileges::revoke(self.server, account, object, &taken, grant_option)?;
            }
            if !given.is_empty() {
                privileges::grant(self.server, account, object, &given, &late)?;
            }
        }
        done.changed |= before != privileges::of_account(self.server, account.0, account.1)?;
        Ok(())
    }

    fn knows_attributes(&mut self) -> bool {
        self.server.rows("SELECT attribute FROM INFORMATION_SCHEMA.USER_ATTRIBUTES LIMIT 0").is_ok()
    }

    fn attributes(&mut self) -> Result<Value, Failure> {
        let query = "SELECT attribute FROM INFORMATION_SCHEMA.USER_ATTRIBUTES WHERE user = %s AND host = %s";
        let text = self.cell(query)?.unwrap_or_default();
        Ok(json::parse(&text)
            .ok()
            .filter(|v| v.as_map().is_some_and(|map| !map.is_empty()))
            .unwrap_or_default())
    }

    fn change_attributes(&mut self, done: &mut Done) -> Result<(), Failure> {
        let supported = self.knows_attributes();
        let Some(wanted) = self.args.attributes.as_ref().filter(|map| !map.is_empty()) else {
            done.attributes = if supported { self.attributes()? } else { Value::Map(Map::new()) };
            return Ok(());
        };
        if !supported {
            return Err(
                "user attributes were specified but the server does not support user attributes".into()
            );
        }
        let held = self.attributes()?.as_map().cloned().unwrap_or_default();
        let other: Vec<(Value, Value)> = wanted
            .pairs()
            .into_iter()
            .filter(|(key, value)| held.get_value(key).as_ref() != Some(value))
            .collect();
        if other.is_empty() {
            done.attributes = Value::Map(held);
            return Ok(());
        }
        let shown: Vec<String> = other.iter().map(|(key, value)| format!("{key}: {value}")).collect();
        done.msg = format!("Attributes updated: {}", shown.join(", "));
        done.changed = true;
        if self.check {
            for (key, value) in other {
                if value.is_none() { drop(held.remove(&key.to_string())) } else { held.insert(key, value) }
            }
            done.attributes = if held.is_empty() { Value::None } else { Value::Map(held) };
            return Ok(());
        }
        let change = Map::new();
        for (key, value) in other {
            change.insert(key, value);
        }
        self.with("ALTER USER %s@%s ATTRIBUTE %s", &[&json::dumps(&Value::Map(change), 0, false)])?;
        done.attributes = self.attributes()?;
        Ok(())
    }

    fn change_lock(&mut self, wanted: bool, done: &mut Done) -> Result<(), Failure> {
        let created = self.cell("SHOW CREATE USER %s@%s")?.unwrap_or_default();
        if created.contains("ACCOUNT LOCK") == wanted {
            return Ok(());
        }
        let (verb, word) = if wanted { ("LOCK", "locked") } else { ("UNLOCK", "unlocked") };
        done.msg = if self.check { format!("User will be {word}") } else { format!("User {word}") };
        done.changed = true;
        if !self.check {
            self.with(&format!("ALTER USER %s@%s ACCOUNT {verb}"), &[])?;
        }
        Ok(())
    }

    fn held_requirement(&mut self) -> Result<Option<Requirement>, Failure> {
        let held = accounts::tls_requirements(self.server, &self.args.name, &self.host)?;
        Ok(Requirement::of(Some(&held)))
    }

    fn change_requirement(&mut self, done: &mut Done) -> Result<(), Failure> {
        if self.held_requirement()? == self.requirement {
            return Ok(());
        }
        done.msg = "TLS requires updated".into();
        done.changed = true;
        if self.check {
            return Ok(());
        }
        let head = if self.server.knows_grants_only() {
            format!("GRANT {} ON *.* TO", self.global_privileges()?.join(","))
        } else {
            "ALTER USER".into()
        };
        let clause = match &self.requirement {
            None => " REQUIRE NONE".into(),
            wanted => Requirement::clause(wanted.as_ref()),
        };
        self.with(&format!("{head} %s@%s{clause}"), &[])?;
        Ok(())
    }

    fn limit(&mut self, wanted: &Map) -> Result<bool, Failure> {
        if !self.server.is_since([10, 2, 0], [5, 6, 0]) {
            return Err("The server version does not match the requirements for resource_limits parameter. See module's documentation.".into());
        }
        let is_mariadb = self.server.is_mariadb();
        if !is_mariadb && wanted.contains("MAX_STATEMENT_TIME") {
            return Err("MAX_STATEMENT_TIME resource limit is only supported by MariaDB.".into());
        }
        let held = accounts::resource_limits(self.server, &self.args.name, &self.host)?;
        let mut change = Vec::new();
        for (key, value) in wanted.pairs() {
            let key = key.to_string();
            let Some(held) = &held else {
                change.push(format!("{key} {value}"));
                continue;
            };
            let Some(now) = held.get(&key) else {
                return Err(Failure::new(format!("resource_limits: key '{key}' is unsupported.")));
            };
            let Ok(number) = value.to_string().parse::<i64>() else {
                return Err(Failure::new(format!("Can't convert value '{value}' to integer.")));
            };
            if now.to_string().parse::<f64>().ok() != Some(number as f64) {
                change.push(format!("{key} {number}"));
            }
        }
        if !change.is_empty() && !self.check {
            self.with(&format!("ALTER USER %s@%s WITH {}", change.join(" ")), &[])?;
        }
        Ok(!change.is_empty())
    }
}

fn run(args: Args, host: &mut Host) -> Run {
    let text = match &args.privileges {
        None | Some(Value::None) => None,
        Some(Value::Map(map)) => {
            let item = |(key, value): (Value, Value)| format!("{key}:{value}");
            Some(map.pairs().into_iter().map(item).collect::<Vec<_>>().join("/"))
        }
        Some(Value::Str(text)) => Some(text.as_str().to_owned()),
        Some(other) => {
            return Err(Failure::new(format!(
                "priv parameter must be str or dict but <class '{}'> was passed",
                other.type_name()
            )));
        }
    };
    if args.password_expire.as_deref() == Some("interval")
        && args.password_expire_interval.is_none_or(|days| days < 1)
    {
        return Err("password_expire_interval value should be positive number".into());
    }
    if args.salt.is_some() {
        return Err("`salt` is not supported: give the hash itself as plugin_hash_string".into());
    }
    let database = args.force_context.then_some("mysql");
    let (mut server, _) = mysql::open(host, &args.login, database, args.check_implicit_admin)?;
    if !args.sql_log_bin {
        server.rows("SET SQL_LOG_BIN=0")?;
    }
    super::mysql_query::set_session(&mut server, args.session_vars.as_ref())?;
    let wanted = match &text {
        None => None,
        Some(text) => {
            let mode = server.rows("SELECT @@sql_mode")?.first().map(ToString::to_string).unwrap_or_default();
            Some(privileges::unpack(
                text,
                mode.contains("ANSI"),
                args.column_case_sensitive,
                !args.subtract_privs,
            )?)
        }
    };
    let mut account = Account {
        host: args.host.to_lowercase(),
        requirement: Requirement::of(args.tls_requires.as_ref()),
        check: host.check,
        args: &args,
        server: &mut server,
    };
    let hosts: Vec<String> = {
        let query = "SELECT Host FROM mysql.user WHERE user = %s";
        let all = account.server.with(query, &[&args.name])?.rows;
        let all = all.iter().filter_map(|row| row.first().map(ToString::to_string));
        all.filter(|known| args.host_all || *known == account.host).collect()
    };
    let mut done = Done { msg: "User unchanged".into(), password_changed: Some(false), ..Done::default() };
    if args.state == "absent" {
        done = Done { password_changed: Some(false), ..Done::default() };
        done.msg = if hosts.is_empty() { "User doesn't exist".into() } else { "User deleted".into() };
        done.changed = !hosts.is_empty();
        for known in hosts.into_iter().filter(|_| !host.check) {
            account.host = known;
            account.with("DROP USER %s@%s", &[])?;
        }
    } else if hosts.is_empty() {
        if args.host_all {
            return Err("host_all parameter cannot be used when adding a user".into());
        }
        done = account.add(wanted.as_ref().filter(|_| !args.subtract_privs), host)?;
    } else {
        let always = args.update_password == "always";
        for known in hosts {
            account.host = known;
            if let Some(password) = args.password.as_ref().filter(|p| always && !p.is_empty()) {
                account.change_password(password, &mut done)?;
            }
            if let Some(when) = &args.password_expire {
                account.change_expiry(when, &mut done)?;
            }
            if let Some(plugin) = args.plugin.as_ref().filter(|_| always) {
                account.change_plugin(plugin, &mut done)?;
            }
            if let Some(wanted) = &wanted {
                account.change_privileges(wanted, &mut done)?;
            }
            account.change_attributes(&mut done)?;
            // What is not said of the lock means that it is off, as in the community's module.
            account.change_lock(args.locked.unwrap_or(false), &mut done)?;
            account.change_requirement(&mut done)?;
        }
        account.host = args.host.to_lowercase();
    }
    if let Some(limits) =
        args.resource_limits.as_ref().filter(|map| args.state == "present" && !map.is_empty())
    {
        done.changed |= account.limit(limits)?;
    }
    Ok(Outcome::changed(done.changed)
        .with("user", args.name)
        .msg(done.msg)
        .with("password_changed", done.password_changed.map_or(Value::None, Value::Bool))
        .with("attributes", done.attributes))
}

module!("mysql_user", "community.mysql", Args, run);
