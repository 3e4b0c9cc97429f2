//! `rabbitmq_vhost_limits`: limits of virtual hosts (community.rabbitmq `rabbitmq_vhost_limits.py`).

use bakery_lang::{Map, Value, json};
use bakery_macros::ModuleArgs;

use crate::rabbitmq::{Ctl, parsed};
use crate::registry::module;
use crate::{Host, Outcome, Run};

/// Sets and clears the limits of a virtual host of RabbitMQ.
#[derive(ModuleArgs)]
struct Args {
    /// How many connections; a negative number does not limit them.
    #[arg(default = "-1")]
    max_connections: i64,
    /// How many queues; a negative number does not limit them.
    #[arg(default = "-1")]
    max_queues: i64,
    /// The Erlang node.
    node: Option<String>,
    /// Whether the limits are set; `absent` clears both.
    #[arg(default = "present", choices = "present,absent")]
    state: String,
    /// The virtual host.
    #[arg(default = "/")]
    vhost: String,
}

fn run(args: Args, host: &mut Host) -> Run {
    let ctl = Ctl::new(host, args.node.as_deref())?;
    let said = ctl.ask(&["list_vhost_limits", "-p", &args.vhost])?;
    let now = match said.lines().next().unwrap_or_default() {
        "" => Value::map::<&str>([]),
        line => parsed(line)?,
    };
    let wanted: Map = match args.state.as_str() {
        "present" => {
            [("max-connections", args.max_connections.into()), ("max-queues", Value::from(args.max_queues))]
                .into_iter()
                .collect()
        }
        _ => Map::new(),
    };
    let is_same = ["max-connections", "max-queues"].iter().all(|name| now.get(name) == wanted.get(name));
    if is_same {
        return Ok(Outcome::unchanged());
    }
    match args.state.as_str() {
        "present" => {
            ctl.tell(&["set_vhost_limits", "-p", &args.vhost, &json::dumps(&wanted.into(), 0, false)])?;
        }
        _ => ctl.tell(&["clear_vhost_limits", "-p", &args.vhost])?,
    }
    Ok(Outcome::changed(true))
}

module!("rabbitmq_vhost_limits", "community.rabbitmq", Args, run);
