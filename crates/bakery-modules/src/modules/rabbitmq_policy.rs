//! `rabbitmq_policy`: policies of virtual hosts (community.rabbitmq `rabbitmq_policy.py`).

use bakery_lang::{Map, Value, json};
use bakery_macros::ModuleArgs;

use crate::rabbitmq::api::{Api, Certificates, Login};
use crate::rabbitmq::{Ctl, parsed};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Sets and clears policies of RabbitMQ.
#[derive(ModuleArgs)]
struct Args {
    /// The policy.
    #[arg(required)]
    name: String,
    /// The virtual host.
    #[arg(default = "/")]
    vhost: String,
    /// What it is for.
    #[arg(default = "all", choices = "all,exchanges,queues,classic_queues,quorum_queues,streams")]
    apply_to: String,
    /// A regular expression of names; must be given to set one.
    pattern: Option<String>,
    /// What it says; must be given to set one.
    tags: Option<Map>,
    /// Which of several counts: the highest.
    #[arg(default = "0")]
    priority: String,
    /// The Erlang node.
    #[arg(default = "rabbit")]
    node: String,
    /// Whether it is set.
    #[arg(default = "present", choices = "present,absent")]
    state: String,
    #[arg(flatten)]
    login: Login,
    #[arg(flatten)]
    certificates: Certificates,
}

/// A policy as the broker has it.
struct Policy {
    name: String,
    pattern: String,
    apply_to: String,
    tags: Value,
    priority: String,
}

impl Policy {
    /// A policy of the API.
    fn of(policy: &Value) -> Self {
        let word = |name: &str| policy.get(name).unwrap_or_default().to_string();
        Self {
            name: word("name"),
            pattern: word("pattern"),
            apply_to: word("apply-to"),
            tags: policy.get("definition").unwrap_or_default(),
            priority: word("priority"),
        }
    }
}

/// The policies that the program lists: virtual host, name, pattern, what for, definition, priority; pattern and what for
/// changed places with RabbitMQ 3.7.
fn listed(ctl: &Ctl<'_>, vhost: &str) -> Result<Vec<Policy>, Failure> {
    let mut rows = ctl.rows(&["list_policies", "-p", vhost])?;
    rows.retain(|row| row.len() == 6);
    let has_names = rows.first().is_some_and(|row| row[1] == "name" && row[4] == "definition");
    // Newer ones name the columns.
    let is_old = !rows.is_empty() && !has_names && ctl.version()? < vec![3, 7];
    if has_names {
        rows.remove(0);
    }
    let (pattern, apply_to) = if is_old { (3, 2) } else { (2, 3) };
    let policy = |row: &Vec<String>| Policy {
        name: row[1].clone(),
        pattern: row[pattern].replace("\\\\", "\\"),
        apply_to: row[apply_to].clone(),
        tags: parsed(&row[4]).unwrap_or_else(|_| row[4].as_str().into()),
        priority: row[5].clone(),
    };
    Ok(rows.iter().map(policy).collect())
}

fn run(args: Args, host: &mut Host) -> Run {
    let api = Api::asked(host, &args.login, Some(&args.certificates))?;
    let ctl = api.is_none().then(|| Ctl::new(host, Some(&args.node))).transpose()?;
    let Args { name, vhost, .. } = &args;
    let policies = || match (&api, &ctl) {
        (Some(api), _) => {
            let what = format!("Error trying to retrieve policies on vhost {vhost} in rabbitmq.");
            let found = api.get(&["policies", vhost], &what)?.ok_or(what)?;
            Ok(found.as_items().unwrap_or_default().iter().map(Policy::of).collect())
        }
        (None, Some(ctl)) => listed(ctl, vhost),
        (None, None) => Ok(vec![]),
    };
    let changed = if args.state == "present" {
        let (Some(pattern), Some(tags)) = (&args.pattern, &args.tags) else {
            return Err("pattern and tags are required for state=present".into());
        };
        let tags = Value::from(tags.clone());
        let is_set = |policy: &Policy| {
            policy.name == *name
                && policy.apply_to == args.apply_to
                && policy.tags == tags
                && policy.priority == args.priority
                && policy.pattern == *pattern
        };
        let changed = !policies()?.iter().any(is_set);
        if changed && let Some(api) = &api {
            let priority: i64 = args
                .priority
                .trim()
                .parse()
                .map_err(|_| format!("priority must be a whole number, not {}", args.priority))?;
            let body = Value::map([
                ("vhost", vhost.into()),
                ("name", name.into()),
                ("pattern", pattern.into()),
                ("apply-to", Value::from(&args.apply_to)),
                ("definition", tags),
                ("priority", priority.into()),
            ]);
            api.tell(
                "PUT",
                &["policies", vhost, name],
                Some(&body),
                &format!("Error trying to set policy {name}"),
            )?;
        } else if changed && let Some(ctl) = &ctl {
            let definition = json::dumps(&tags, 0, false);
            let mut words =
                vec!["set_policy", "-p", vhost, name, pattern, &definition, "--priority", &args.priority];
            if args.apply_to != "all" {
                words.extend(["--apply-to", &args.apply_to]);
            }
            ctl.tell(&words)?;
        }
        changed
    } else {
        let changed = policies()?.iter().any(|policy| policy.name == *name);
        if changed && let Some(api) = &api {
            let what = format!("Error trying to remove policy {name}");
            api.tell("DELETE", &["policies", vhost, name], None, &what)?;
        } else if changed && let Some(ctl) = &ctl {
            ctl.tell(&["clear_policy", "-p", vhost, name])?;
        }
        changed
    };
    Ok(Outcome::changed(changed).with("name", name).with("state", args.state.as_str()))
}

module!("rabbitmq_policy", "community.rabbitmq", Args, run);
