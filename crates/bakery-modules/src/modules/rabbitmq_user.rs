//! `rabbitmq_user`: users of RabbitMQ and what they may do (community.rabbitmq `rabbitmq_user.py`).

use std::collections::BTreeSet;

use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;

use crate::rabbitmq::api::{Api, Login};
use crate::rabbitmq::permissions::{Broker, Kind, Rule};
use crate::rabbitmq::{Ctl, numbers};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Makes and removes users of RabbitMQ, with their tags and permissions.
#[derive(ModuleArgs)]
struct Args {
    /// The user.
    #[arg(required, alias = "username,name")]
    user: String,
    /// The password; without one, nobody logs in with one.
    #[arg(secret)]
    password: Option<String>,
    /// Tags, with commas between them: `management`, `policymaker`, `monitoring`, `administrator`.
    tags: Option<String>,
    /// All permissions of the user: `vhost`, `configure_priv`, `write_priv`, `read_priv` each. Without it, those for one
    /// virtual host are given by the options of these names.
    permissions: Vec<Map>,
    /// The virtual host.
    #[arg(default = "/")]
    vhost: String,
    /// A regular expression of what the user may configure.
    #[arg(default = "^$")]
    configure_priv: String,
    /// A regular expression of what the user may write to.
    #[arg(default = "^$")]
    write_priv: String,
    /// A regular expression of what the user may read.
    #[arg(default = "^$")]
    read_priv: String,
    /// All permissions for topics: `vhost`, `exchange`, `write_priv`, `read_priv` each.
    topic_permissions: Vec<Map>,
    /// Whether a user who is there is removed first.
    force: bool,
    /// Whether the user is there.
    #[arg(default = "present", choices = "present,absent")]
    state: String,
    /// The Erlang node.
    #[arg(default = "rabbit")]
    node: String,
    /// Whether the password of a user who is there is set.
    #[arg(default = "on_create", choices = "on_create,always")]
    update_password: String,
    #[arg(flatten)]
    login: Login,
}

/// The rules of an option, of which no two are about the same.
fn rules(kind: Kind, given: &[Map]) -> Result<Vec<Rule>, Failure> {
    let rules: Vec<Rule> = given.iter().map(|rule| Rule::read(kind, rule)).collect::<Result<_, _>>()?;
    let is_twice = |at: usize, rule: &Rule| rules[..at].iter().any(|other| other.has_place_of(rule));
    if rules.iter().enumerate().any(|(at, rule)| is_twice(at, rule)) {
        return Err(match kind {
            Kind::Resources => {
                "Error parsing vhost permissions: You can't have two permission dicts for the same vhost"
            }
            Kind::Topics => {
                "Error parsing vhost topic_permissions: You can't have two topic permission dicts for the same vhost and the same exchange"
            }
        }
        .into());
    }
    Ok(rules)
}

/// A user with a broker.
struct User<'a> {
    broker: &'a Broker<'a>,
    name: &'a str,
    password: &'a str,
}

impl User<'_> {
    /// The tags, if the user is there.
    fn tags(&self) -> Result<Option<BTreeSet<String>>, Failure> {
        let tags = match self.broker {
            Broker::Ctl(ctl) => {
                let users = ctl.json(&["list_users", "--formatter", "json"])?.as_items().unwrap_or_default();
                let user = users
                    .iter()
                    .find(|user| user.get("user").is_some_and(|name| name.as_str() == Some(self.name)));
                user.map(|user| user.get("tags").unwrap_or_default())
            }
            Broker::Api(api) => {
                let user = api.get(&["users", self.name], "Error getting the user")?;
                user.map(|user| user.get("tags").unwrap_or_default())
            }
        };
        // Before 3.9, the API has a text with commas.
        Ok(tags.map(|tags| match &tags {
            Value::Str(words) => {
                words.as_str().split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect()
            }
            _ => tags.as_items().unwrap_or_default().iter().map(ToString::to_string).collect(),
        }))
    }

    fn add(&self, tags: &[String]) -> Result<(), Failure> {
        match self.broker {
            Broker::Ctl(ctl) => {
                ctl.tell(&["add_user", self.name, self.password])?;
                if self.password.is_empty() {
                    ctl.tell(&["clear_password", self.name])?;
                }
                self.set_tags(tags)
            }
            Broker::Api(api) => self.put(api, &self.with_password(tags), "create user"),
        }
    }

    fn delete(&self) -> Result<(), Failure> {
        match self.broker {
            Broker::Ctl(ctl) => ctl.tell(&["delete_user", self.name]),
            Broker::Api(api) => {
                let what = format!("Error trying to remove user {}", self.name);
                api.tell("DELETE", &["users", self.name], None, &what)
            }
        }
    }

    fn has_password(&self) -> Result<bool, Failure> {
        match self.broker {
            Broker::Ctl(ctl) => Ok(ctl.try_ask(&["authenticate_user", self.name, self.password])?.success()),
            Broker::Api(api) => api.knows(self.name, self.password),
        }
    }

    fn set_password(&self, tags: &[String]) -> Result<(), Failure> {
        match self.broker {
            Broker::Ctl(ctl) if self.password.is_empty() => ctl.tell(&["clear_password", self.name]),
            Broker::Ctl(ctl) => ctl.tell(&["change_password", self.name, self.password]),
            Broker::Api(api) => self.put(api, &self.with_password(tags), "set the password of user"),
        }
    }

    fn set_tags(&self, tags: &[String]) -> Result<(), Failure> {
        match self.broker {
            Broker::Ctl(ctl) => {
                let mut words = vec!["set_user_tags", self.name];
                words.extend(tags.iter().map(String::as_str));
                ctl.tell(&words)
            }
            Broker::Api(api) => {
                // The API sets all of a user: the password stays what it is.
                let user = api.get(&["users", self.name], "Error getting the user")?.unwrap_or_default();
                let body = Map::new();
                for name in ["password_hash", "hashing_algorithm"] {
                    if let Some(value) = user.get(name) {
                        body.set(name, value);
                    }
                }
                body.set("tags", tags.join(","));
                self.put(api, &body, "set tags for the user")
            }
        }
    }

    fn with_password(&self, tags: &[String]) -> Map {
        [("password", Value::from(self.password)), ("tags", tags.join(",").into())].into_iter().collect()
    }

    fn put(&self, api: &Api<'_>, body: &Map, what: &str) -> Result<(), Failure> {
        let what = format!("Error trying to {what} {}", self.name);
        api.tell("PUT", &["users", self.name], Some(&body.clone().into()), &what)
    }
}

/// The program, of a release that answers in JSON.
fn program<'a>(host: &'a Host, node: &str) -> Result<Ctl<'a>, Failure> {
    let ctl = Ctl::new(host, Some(node))?;
    let status = ctl.json(&["status", "--formatter", "json"])?;
    let version = status.get("rabbitmq_version").unwrap_or_default().to_string();
    // 3.7.6 to 3.7.28 do not say it under this name, and answer in JSON, too.
    if !version.is_empty() && numbers(&version) < vec![3, 7, 6] {
        return Err(format!("RabbitMQ {version} is too old: its users are known since 3.7.6").into());
    }
    Ok(ctl)
}

fn run(args: Args, host: &mut Host) -> Run {
    if host.check {
        return Ok(Outcome::no_check_mode("rabbitmq_user"));
    }
    let is_whole = !args.permissions.is_empty();
    let mut wanted = rules(Kind::Resources, &args.permissions)?;
    if !is_whole {
        wanted.push(Rule::of_resources(
            &args.vhost,
            &args.configure_priv,
            &args.write_priv,
            &args.read_priv,
        )?);
    }
    let wanted_topics = rules(Kind::Topics, &args.topic_permissions)?;
    let broker = match Api::asked(host, &args.login, None)? {
        Some(api) => Broker::Api(api),
        None => Broker::Ctl(program(host, &args.node)?),
    };
    let user =
        User { broker: &broker, name: &args.user, password: args.password.as_deref().unwrap_or_default() };
    let tags: Vec<String> =
        args.tags.iter().flat_map(|tags| tags.split(',')).map(|tag| tag.replace(' ', "")).collect();
    let tags: Vec<String> = tags.into_iter().filter(|tag| !tag.is_empty()).collect();
    let outcome = |changed: bool| {
        Outcome::changed(changed).with("user", args.user.as_str()).with("state", args.state.as_str())
    };
    let mut now = user.tags()?;
    if args.state == "absent" {
        if now.is_some() {
            user.delete()?;
        }
        return Ok(outcome(now.is_some()));
    }
    let mut changed = false;
    if now.is_some() && args.force {
        user.delete()?;
        now = None;
    } else if now.is_some() && args.update_password == "always" && !user.has_password()? {
        user.set_password(&tags)?;
        changed = true;
    }
    match &now {
        None => {
            user.add(&tags)?;
            changed = true;
        }
        Some(now) if *now != tags.iter().cloned().collect() => {
            user.set_tags(&tags)?;
            changed = true;
        }
        Some(_) => {}
    }
    for (kind, wanted) in [(Kind::Resources, wanted), (Kind::Topics, wanted_topics)] {
        let mut set = if now.is_some() { broker.rules(kind, user.name)? } else { vec![] };
        // Who gives one rule leaves those of other virtual hosts alone.
        if kind == Kind::Resources && !is_whole {
            set.retain(|rule| wanted.iter().any(|wanted| wanted.has_place_of(rule)));
        }
        if set.len() != wanted.len() || set.iter().any(|rule| !wanted.contains(rule)) {
            broker.apply(kind, user.name, &set, &wanted)?;
            changed = true;
        }
    }
    Ok(outcome(changed))
}

module!("rabbitmq_user", "community.rabbitmq", Args, run);
