//! `rabbitmq_queue`: queues (community.rabbitmq `rabbitmq_queue.py`).

use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;

use crate::rabbitmq::api::{Api, Server};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Makes and removes queues of RabbitMQ; one that is there cannot be changed.
#[derive(ModuleArgs)]
struct Args {
    /// The queue.
    #[arg(required)]
    name: String,
    /// Whether it is there.
    #[arg(default = "present", choices = "present,absent")]
    state: String,
    /// Whether it survives the broker's restart.
    #[arg(default = "true")]
    durable: bool,
    /// Whether it goes with its last consumer.
    auto_delete: bool,
    /// Milliseconds that a message stays.
    message_ttl: Option<i64>,
    /// Milliseconds that it stays unused.
    auto_expires: Option<i64>,
    /// How many messages it holds.
    max_length: Option<i64>,
    /// The exchange that gets messages which are refused or too old.
    dead_letter_exchange: Option<String>,
    /// The routing key of these.
    dead_letter_routing_key: Option<String>,
    /// How many priorities it knows.
    max_priority: Option<i64>,
    /// Further arguments of the queue; the options above come before them.
    arguments: Option<Map>,
    #[arg(flatten)]
    server: Server,
}

/// Refuses what cannot be changed.
fn compare(name: &str, now: Option<&Value>, wanted: Option<&Value>) -> Result<(), Failure> {
    let cannot = "RabbitMQ RESTAPI doesn't support attribute changes for existing queues.";
    Err(match (now, wanted) {
        (None, Some(_)) => format!("{cannot}Attempting to set {name} which is not currently set."),
        (Some(now), Some(wanted)) if now != wanted => {
            format!("{cannot}\nAttempting to change {name} from '{now}' to '{wanted}'")
        }
        (Some(now), None) => format!("{cannot}Attempting to unset {name} which is currently set to '{now}'."),
        _ => return Ok(()),
    }
    .into())
}

fn run(args: Args, host: &mut Host) -> Run {
    let api = Api::of(host, &args.server)?;
    let path = ["queues", args.server.vhost.as_str(), args.name.as_str()];
    let (now, details) =
        api.find(&path, "Invalid response from RESTAPI when trying to check if queue exists")?;
    let options = [
        ("x-message-ttl", Value::from(args.message_ttl)),
        ("x-expires", Value::from(args.auto_expires)),
        ("x-max-length", Value::from(args.max_length)),
        ("x-dead-letter-exchange", Value::from(args.dead_letter_exchange.clone())),
        ("x-dead-letter-routing-key", Value::from(args.dead_letter_routing_key.clone())),
        ("x-max-priority", Value::from(args.max_priority)),
    ];
    let arguments = args.arguments.map(|given| given.copied()).unwrap_or_default();
    for (name, value) in options.iter().filter(|(_, value)| !value.is_none()) {
        arguments.set(name, value.clone());
    }
    let is_wanted = args.state == "present";
    if is_wanted && let Some(now) = &now {
        compare("durable", now.get("durable").as_ref(), Some(&args.durable.into()))?;
        compare("auto_delete", now.get("auto_delete").as_ref(), Some(&args.auto_delete.into()))?;
        let set = now.get("arguments").unwrap_or_default();
        for (name, _) in &options {
            compare(name, set.get(name).as_ref(), arguments.get(name).as_ref())?;
        }
    }
    let changed = is_wanted != now.is_some();
    let outcome = Outcome::changed(changed).with("name", args.name.as_str());
    if host.check {
        return Ok(outcome.with("details", details).with("arguments", arguments));
    }
    if changed {
        let body = Value::map([
            ("durable", Value::from(args.durable)),
            ("auto_delete", args.auto_delete.into()),
            ("arguments", arguments.into()),
        ]);
        let told = |_: &_| if is_wanted { "Error creating queue" } else { "Error deleting queue" }.to_owned();
        api.keep(&path, is_wanted.then_some(&body), told)?;
    }
    Ok(outcome)
}

module!("rabbitmq_queue", "community.rabbitmq", Args, run);
