//! `rabbitmq_binding`: bindings of exchanges (community.rabbitmq `rabbitmq_binding.py`).

use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;

use crate::rabbitmq::api::{Api, Server, json_of, refused, text_of};
use crate::registry::module;
use crate::{Host, Outcome, Run};

/// Binds queues and exchanges of RabbitMQ to exchanges.
#[derive(ModuleArgs)]
struct Args {
    /// The exchange that messages come from.
    #[arg(required, alias = "src,source")]
    name: String,
    /// The queue or exchange that they go to.
    #[arg(required, alias = "dst,dest")]
    destination: String,
    /// Which of both.
    #[arg(required, alias = "type,dest_type", choices = "queue,exchange")]
    destination_type: String,
    /// The routing key.
    #[arg(default = "#")]
    routing_key: String,
    /// Further arguments.
    arguments: Option<Map>,
    /// Whether they are bound.
    #[arg(default = "present", choices = "present,absent")]
    state: String,
    #[arg(flatten)]
    server: Server,
}

fn run(args: Args, host: &mut Host) -> Run {
    let api = Api::of(host, &args.server)?;
    let kind = if args.destination_type == "queue" { "q" } else { "e" };
    let path = ["bindings", &args.server.vhost, "e", &args.name, kind, &args.destination];
    let answer = api.send("GET", &path, None)?;
    if !matches!(answer.status, 200 | 404) {
        return Err(refused(&answer, "Unexpected reply from API"));
    }
    let arguments = Value::from(args.arguments.unwrap_or_default());
    let routing_key = Value::from(args.routing_key);
    let said = json_of(&answer)?;
    let bindings = said.as_items().unwrap_or_default();
    let is_it = |binding: &&Value| {
        binding.get("arguments").as_ref() == Some(&arguments)
            && binding.get("routing_key").as_ref() == Some(&routing_key)
    };
    let now = bindings.iter().find(is_it);
    let is_wanted = args.state == "present";
    let changed = is_wanted != now.is_some();
    let outcome = Outcome::changed(changed).with("name", args.name.as_str());
    if host.check {
        let details = if now.is_some() { said.clone() } else { text_of(&answer).into() };
        return Ok(outcome.with("details", details).with("arguments", arguments));
    }
    if !changed {
        return Ok(outcome);
    }
    let answer = match now {
        None => {
            let body = Value::map([("routing_key", routing_key), ("arguments", arguments)]);
            api.send("POST", &path, Some(&body))?
        }
        Some(binding) => {
            let key = binding.get("properties_key").unwrap_or_default().to_string();
            let path: Vec<&str> = path.into_iter().chain([key.as_str()]).collect();
            api.send("DELETE", &path, None)?
        }
    };
    if !matches!(answer.status, 201 | 204) {
        return Err(refused(&answer, "Unexpected reply from API"));
    }
    Ok(outcome.with("destination", args.destination))
}

module!("rabbitmq_binding", "community.rabbitmq", Args, run);
