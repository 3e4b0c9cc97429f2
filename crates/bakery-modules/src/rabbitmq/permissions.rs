//! What a user may do in virtual hosts, and with topics of their exchanges.

use bakery_lang::{Map, Value};

use super::Ctl;
use super::api::Api;
use crate::Failure;

/// Which of both kinds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What may be done with a virtual host's resources.
    Resources,
    /// Which routing keys may be used with an exchange.
    Topics,
}

/// A rule: for a virtual host, for an exchange of it (of topics), with regular expressions.
#[derive(Clone, PartialEq, Eq)]
pub struct Rule {
    /// The virtual host.
    pub vhost: String,
    /// The exchange; empty for resources.
    pub exchange: String,
    configure: String,
    write: String,
    read: String,
}

/// An expression under its name, or under that which it had in options and before RabbitMQ 3.7.6; one that matches
/// nothing where there is none.
fn expression(map: &Map, name: &str) -> String {
    let value = map.get(&format!("{name}_priv")).or_else(|| map.get(name));
    value.filter(|value| !value.is_none()).map_or_else(|| "^$".to_owned(), |value| value.to_string())
}

fn named(vhost: String) -> Result<String, Failure> {
    if vhost.is_empty() {
        return Err(
            "Error parsing vhost permissions: You can't have an empty vhost when setting permissions".into(),
        );
    }
    Ok(vhost)
}

impl Rule {
    /// A rule as an option or the broker has it.
    ///
    /// # Errors
    /// When it names no virtual host.
    pub fn read(kind: Kind, map: &Map) -> Result<Self, Failure> {
        let word =
            |name: &str, default: &str| map.get(name).map_or_else(|| default.to_owned(), |v| v.to_string());
        let is_topic = kind == Kind::Topics;
        let vhost = named(word("vhost", if is_topic { "/" } else { "" }))?;
        Ok(Self {
            vhost,
            exchange: if is_topic { word("exchange", "amq.topic") } else { String::new() },
            configure: if is_topic { String::new() } else { expression(map, "configure") },
            write: expression(map, "write"),
            read: expression(map, "read"),
        })
    }

    /// The rule of the module's own options, for one virtual host.
    ///
    /// # Errors
    /// When it names none.
    pub fn of_resources(vhost: &str, configure: &str, write: &str, read: &str) -> Result<Self, Failure> {
        Ok(Self {
            vhost: named(vhost.to_owned())?,
            exchange: String::new(),
            configure: configure.to_owned(),
            write: write.to_owned(),
            read: read.to_owned(),
        })
    }

    /// Whether both are about the same.
    pub fn has_place_of(&self, other: &Self) -> bool {
        self.vhost == other.vhost && self.exchange == other.exchange
    }
}

/// Who is asked and told.
pub enum Broker<'a> {
    /// The command line.
    Ctl(Ctl<'a>),
    /// The management API.
    Api(Api<'a>),
}

impl Broker<'_> {
    /// The rules of a user.
    ///
    /// # Errors
    /// What the broker says.
    pub fn rules(&self, kind: Kind, user: &str) -> Result<Vec<Rule>, Failure> {
        let rules = match (self, kind) {
            (Self::Ctl(ctl), Kind::Resources) => {
                ctl.json(&["list_user_permissions", user, "--formatter", "json"])?
            }
            (Self::Ctl(ctl), Kind::Topics) => {
                ctl.json(&["list_user_topic_permissions", user, "--formatter", "json"])?
            }
            (Self::Api(api), _) => {
                let name = if kind == Kind::Resources { "permissions" } else { "topic-permissions" };
                api.get(&["users", user, name], "Error getting the user")?.unwrap_or_default()
            }
        };
        let rules = rules.as_items().unwrap_or_default();
        rules.iter().filter_map(Value::as_map).map(|rule| Rule::read(kind, rule)).collect()
    }

    /// Makes a user's rules those that are wanted.
    ///
    /// # Errors
    /// What the broker says.
    pub fn apply(&self, kind: Kind, user: &str, now: &[Rule], wanted: &[Rule]) -> Result<(), Failure> {
        let unwanted: Vec<&Rule> =
            now.iter().filter(|rule| !wanted.iter().any(|other| other.has_place_of(rule))).collect();
        for rule in &unwanted {
            self.clear(kind, user, rule)?;
        }
        // The API takes those of all exchanges.
        let is_taken = |rule: &Rule| {
            kind == Kind::Topics
                && matches!(self, Self::Api(_))
                && unwanted.iter().any(|other| other.vhost == rule.vhost)
        };
        for rule in wanted.iter().filter(|rule| !now.contains(rule) || is_taken(rule)) {
            self.set(kind, user, rule)?;
        }
        Ok(())
    }

    fn clear(&self, kind: Kind, user: &str, rule: &Rule) -> Result<(), Failure> {
        let vhost = rule.vhost.as_str();
        match (self, kind) {
            (Self::Ctl(ctl), Kind::Resources) => ctl.tell(&["clear_permissions", "-p", vhost, user]),
            (Self::Ctl(ctl), Kind::Topics) => {
                ctl.tell(&["clear_topic_permissions", "-p", vhost, user, &rule.exchange])
            }
            (Self::Api(api), Kind::Resources) => {
                let what = format!("Error trying to remove permission from user {user}");
                api.tell("DELETE", &["permissions", vhost, user], None, &what)
            }
            (Self::Api(api), Kind::Topics) => {
                let what = format!("Error trying to remove topic permission from user {user}");
                api.tell("DELETE", &["topic-permissions", vhost, user], None, &what)
            }
        }
    }

    fn set(&self, kind: Kind, user: &str, rule: &Rule) -> Result<(), Failure> {
        let Rule { vhost, exchange, configure, write, read } = rule;
        let body = |first: (&'static str, &str)| {
            Value::map([
                (first.0, first.1.into()),
                ("write", write.as_str().into()),
                ("read", Value::from(read.as_str())),
            ])
        };
        match (self, kind) {
            (Self::Ctl(ctl), Kind::Resources) => {
                ctl.tell(&["set_permissions", "-p", vhost, user, configure, write, read])
            }
            (Self::Ctl(ctl), Kind::Topics) => {
                ctl.tell(&["set_topic_permissions", "-p", vhost, user, exchange, write, read])
            }
            (Self::Api(api), Kind::Resources) => {
                let what = format!("Error trying to add permission to user {user}");
                api.tell("PUT", &["permissions", vhost, user], Some(&body(("configure", configure))), &what)
            }
            (Self::Api(api), Kind::Topics) => {
                let what = format!("Error trying to add topic permission to user {user}");
                let body = body(("exchange", exchange));
                api.tell("PUT", &["topic-permissions", vhost, user], Some(&body), &what)
            }
        }
    }
}
