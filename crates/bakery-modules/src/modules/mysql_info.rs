//! `mysql_info`: what a server of MySQL or MariaDB is like (community.mysql `mysql_info.py`).

use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;

use crate::database::mysql::{self, Answer, Login, Session};
use crate::database::{accounts, privileges};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Tells of a server's version, settings, databases, accounts, engines and replication.
#[derive(ModuleArgs)]
struct Args {
    #[arg(flatten)]
    login: Login,
    /// The database to log in to.
    login_db: Option<String>,
    /// What is told: `version`, `databases`, `settings`, `global_status`, `engines`, `users`, `users_info`, `master_status`,
    /// `slave_hosts`, `slave_status`; with `!` before them, all but those. All if not given.
    filter: Option<Vec<String>>,
    /// What is not told of databases: `db_size`, `db_table_count`.
    exclude_fields: Option<Vec<String>>,
    /// Whether databases without tables are told of, too.
    return_empty_dbs: bool,
}

const SUBSETS: [&str; 10] = [
    "version",
    "databases",
    "settings",
    "global_status",
    "engines",
    "users",
    "users_info",
    "master_status",
    "slave_hosts",
    "slave_status",
];

/// A cell as the module in Python returns it: what is a whole number is one, and fixed-point numbers are numbers.
fn converted(name: &str, cell: Value) -> Value {
    match &cell {
        Value::Float(number) => Value::Int(*number as i128),
        // The one column of accounts with digits behind a point.
        Value::Str(text) if name == "max_statement_time" => {
            text.as_str().parse::<f64>().map_or(cell, Value::from)
        }
        Value::Str(text) => text.as_str().trim().parse::<i128>().map_or(cell, Value::Int),
        _ => cell,
    }
}

/// The rows of a table by the names of its columns.
fn rows(answer: Answer) -> Vec<Map> {
    let Answer { columns, rows, .. } = answer;
    rows.into_iter().map(|row| columns.iter().map(String::as_str).zip(row).collect()).collect()
}

/// The map under a key, which is made if it is not there.
fn inner(map: &Map, key: &Value) -> Map {
    let key = key.to_string();
    if let Some(found) = map.get(&key).and_then(|value| value.as_map().cloned()) {
        return found;
    }
    map.set(&key, Value::from(Map::new()));
    map.get(&key).and_then(|value| value.as_map().cloned()).unwrap_or_default()
}

struct Server<'a> {
    session: Session,
    args: &'a Args,
}

impl Server<'_> {
    fn ask(&mut self, statement: &str) -> Result<Vec<Map>, Failure> {
        let answer = self.session.rows(statement);
        answer.map(rows).map_err(|why| Failure::new(format!("Cannot execute SQL '{statement}': {why}")))
    }

    /// A table of names and values.
    fn settings(&mut self, statement: &str) -> Result<Map, Failure> {
        let all = Map::new();
        for row in self.ask(statement)? {
            let name = row.get("Variable_name").unwrap_or_default().to_string();
            all.set(&name, converted(&name, row.get("Value").unwrap_or_default()));
        }
        Ok(all)
    }

    fn version(&mut self) -> Result<Map, Failure> {
        let full = self.settings("SHOW GLOBAL VARIABLES LIKE 'version'")?.get("version").unwrap_or_default();
        let full = full.to_string();
        let mut parts = full.splitn(3, '.');
        let mut number = || parts.next().unwrap_or_default().to_owned();
        let (major, minor, rest) = (number(), number(), number());
        let (release, suffix) = rest.split_once('-').unwrap_or((rest.as_str(), ""));
        let whole = |text: &str| Value::Int(text.split('.').next().unwrap_or_default().parse().unwrap_or(0));
        Ok(Map::from_iter([
            ("major", whole(&major)),
            ("minor", whole(&minor)),
            ("release", whole(release)),
            ("suffix", Value::from(suffix.split('.').next().unwrap_or_default())),
            ("full", Value::from(full.as_str())),
        ]))
    }

    fn databases(&mut self) -> Result<Map, Failure> {
        let is_left_out =
            |field: &str| self.args.exclude_fields.iter().flatten().any(|left| left.trim() == field);
        let (size, count) = (!is_left_out("db_size"), !is_left_out("db_table_count"));
        let mut query = "SELECT table_schema AS \"name\"".to_owned();
        if size {
            query.push_str(", SUM(data_length + index_length) AS \"size\"");
        }
        if count {
            query.push_str(", COUNT(table_name) as \"tables\"");
        }
        query.push_str(" FROM information_schema.TABLES GROUP BY table_schema");
        let info = |row: &Map| {
            let number =
                |name: &str| Value::Int(row.get(name).unwrap_or_default().to_string().parse().unwrap_or(0));
            let info = Map::new();
            if size {
                info.set("size", number("size"));
            }
            if count {
                info.set("tables", number("tables"));
            }
            Value::from(info)
        };
        let all = Map::new();
        for row in self.ask(&query)? {
            all.set(&row.get("name").unwrap_or_default().to_string(), info(&row));
        }
        if self.args.return_empty_dbs {
            for row in self.ask("SHOW DATABASES")? {
                let name = row.get("Database").unwrap_or_default().to_string();
                if !all.contains(&name) {
                    all.set(&name, info(&Map::new()));
                }
            }
        }
        Ok(all)
    }

    /// A table as maps in maps, by the columns that are named: the first that there is of each.
    fn by(&mut self, statement: &str, keys: &[&[&str]], converts: bool) -> Result<Map, Failure> {
        let all = Map::new();
        for row in self.ask(statement)? {
            let mut place = all.clone();
            for names in keys {
                let key = names.iter().find_map(|name| row.get(name)).unwrap_or_default();
                place = inner(&place, &key);
            }
            for (name, cell) in row.pairs() {
                let name = name.to_string();
                if !keys.iter().any(|names| names.contains(&name.as_str())) {
                    place.set(&name, if converts { converted(&name, cell) } else { cell });
                }
            }
        }
        Ok(all)
    }

    fn privileges(
        &mut self,
        user: &str,
        host: &str,
        is_role: bool,
    ) -> Result<privileges::Privileges, Failure> {
        if !is_role {
            return privileges::of_account(&mut self.session, user, host);
        }
        let mut all = privileges::Privileges::new();
        for row in self.session.with("SHOW GRANTS FOR %s", &[user])?.rows {
            let line = row.first().map(ToString::to_string).unwrap_or_default();
            let parts = line.strip_prefix("GRANT ").and_then(|rest| rest.split_once(" ON "));
            let Some((given, rest)) = parts else { continue };
            let object = rest.rsplit_once(" TO ").map_or(rest, |(object, _)| object);
            let given = given.split(',').map(|one| one.trim().replace("ALL PRIVILEGES", "ALL"));
            all.entry(object.to_owned()).or_default().extend(given);
        }
        Ok(all)
    }

    /// Accounts as `mysql_user` takes them.
    fn accounts(&mut self, host: &mut Host) -> Result<Value, Failure> {
        let mut all = Vec::new();
        for row in self.ask("SELECT * FROM mysql.user")? {
            let text = |name: &str| row.get(name).unwrap_or_default().to_string();
            let (user, at) = (text("User"), text("Host"));
            let is_role = self.session.is_mariadb() && at.is_empty();
            let held = self.privileges(&user, &at, is_role)?;
            if held.is_empty() {
                host.warn(format!("No privileges found for {user} on host {at}"));
                continue;
            }
            let is_proxy = |given: &[String]| {
                given.iter().any(|one| one == "PROXY")
                    && given.iter().all(|one| one == "PROXY" || one == "GRANT")
            };
            let told = held.iter().filter(|(_, given)| !is_proxy(given));
            let mut told: Vec<String> = told
                .map(|(object, given)| format!("{}:{}", object.replace(['`', '\''], ""), given.join(",")))
                .collect();
            if told.len() > 1
                && let Some(at) = told.iter().position(|one| one == "*.*:USAGE")
            {
                told.remove(at);
            }
            let account = Map::new();
            account.set("name", user.as_str());
            account.set("host", at.as_str());
            account.set("priv", told.join("/"));
            let limits = Map::new();
            let held = accounts::resource_limits(&mut self.session, &user, &at)?;
            for (name, limit) in held.iter().flat_map(Map::pairs) {
                let limit = if name.to_string() == "MAX_STATEMENT_TIME" {
                    converted("max_statement_time", limit)
                } else {
                    limit
                };
                if limit.to_string().parse::<f64>().ok() != Some(0.0) {
                    limits.insert(name, limit);
                }
            }
            if !limits.is_empty() {
                account.set("resource_limits", Value::from(limits));
            }
            let requirements = accounts::tls_requirements(&mut self.session, &user, &at)?;
            if !requirements.is_empty() {
                account.set("tls_requires", Value::from(requirements));
            }
            if let Some((plugin, hash)) = self.authentication(&user, &at)? {
                account.set("plugin", plugin);
                account.set("plugin_hash_string", hash);
            }
            if text("is_role") == "N" {
                let created = self.session.with("SHOW CREATE USER %s@%s", &[&user, &at])?;
                let is_locked = created.first().is_some_and(|line| line.to_string().contains("ACCOUNT LOCK"));
                account.set("locked", is_locked);
            }
            all.push(Value::from(account));
        }
        Ok(Value::list(all))
    }

    /// How an account proves who it is: the plugin, and what that compares with.
    fn authentication(&mut self, user: &str, host: &str) -> Result<Option<(Value, Value)>, Failure> {
        let is_mariadb = self.session.is_mariadb();
        // Roles have no host, which asks for the name alone.
        let (place, mut values) =
            if host.is_empty() { ("", vec![user]) } else { (" AND host = %s", vec![user, host]) };
        let query = if is_mariadb {
            values.extend(values.clone());
            format!(
                "SELECT plugin, auth FROM (SELECT plugin, password AS auth FROM mysql.user WHERE user = %s{place} UNION SELECT plugin, authentication_string AS auth FROM mysql.user WHERE user = %s{place}) x GROUP BY plugin, auth"
            )
        } else {
            format!(
                "SELECT plugin, authentication_string AS auth FROM mysql.user WHERE user = %s{place} GROUP BY plugin, authentication_string"
            )
        };
        let answer = self.session.with(&query, &values)?;
        let first = answer.rows.into_iter().next();
        Ok(first.and_then(|row| Some((row.first()?.clone(), row.get(1)?.clone()))))
    }

    fn subset(&mut self, name: &str, host: &mut Host) -> Result<Value, Failure> {
        let is_newer = |session: &Session, mariadb, mysql| session.is_since(mariadb, mysql);
        let (master, primary) = (&["Master_Host", "Source_Host"][..], &["Master_Port", "Source_Port"][..]);
        Ok(Value::from(match name {
            "version" => self.version()?,
            "databases" => self.databases()?,
            "settings" => self.settings("SHOW GLOBAL VARIABLES")?,
            "global_status" => self.settings("SHOW GLOBAL STATUS")?,
            "engines" => self.by("SHOW ENGINES", &[&["Engine"]], false)?,
            "users" => self.by("SELECT * FROM mysql.user", &[&["Host"], &["User"]], true)?,
            "users_info" => return self.accounts(host),
            "master_status" => {
                let query = match (self.session.is_mariadb(), is_newer(&self.session, [10, 5, 2], [8, 2, 0]))
                {
                    (true, true) => "SHOW BINLOG STATUS",
                    (false, true) => "SHOW BINARY LOG STATUS",
                    (_, false) => "SHOW MASTER STATUS",
                };
                self.by(query, &[], true)?
            }
            "slave_hosts" => {
                let query = match (self.session.is_mariadb(), is_newer(&self.session, [10, 5, 1], [8, 0, 22]))
                {
                    (true, true) => "SHOW REPLICA HOSTS",
                    (false, true) => "SHOW REPLICAS",
                    (_, false) => "SHOW SLAVE HOSTS",
                };
                self.by(query, &[&["Server_id"]], true)?
            }
            _ => {
                let is_newer = is_newer(&self.session, [10, 5, 1], [8, 0, 22]);
                let query = if is_newer { "SHOW REPLICA STATUS" } else { "SHOW SLAVE STATUS" };
                self.by(query, &[master, primary, &["Master_User", "Source_User"]], true)?
            }
        }))
    }
}

fn run(args: Args, host: &mut Host) -> Run {
    let (mut included, mut excluded) = (Vec::new(), Vec::new());
    for word in args.filter.iter().flatten().map(|word| word.trim()) {
        let name = word.trim_start_matches('!');
        if !SUBSETS.contains(&name) {
            host.warn(format!("filter element: {word} is not allowable, ignored"));
        } else if word.starts_with('!') {
            excluded.push(name);
        } else {
            included.push(name);
        }
    }
    let is_wanted =
        |name: &&&str| if included.is_empty() { !excluded.contains(*name) } else { included.contains(*name) };
    let (session, _) = mysql::open(host, &args.login, args.login_db.as_deref(), false)?;
    let engine = if session.is_mariadb() { "MariaDB" } else { "MySQL" };
    let mut server = Server { session, args: &args };
    let mut outcome = Outcome::unchanged()
        .with("server_engine", engine)
        .with("connector_name", "bakery")
        .with("connector_version", env!("CARGO_PKG_VERSION"));
    for name in SUBSETS.iter().filter(is_wanted) {
        let told = server.subset(name, host)?;
        outcome = outcome.with(name, told);
    }
    Ok(outcome)
}

module!("mysql_info", "community.mysql", Args, run);
