//! `rabbitmq_exchange`: exchanges (community.rabbitmq `rabbitmq_exchange.py`).

use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;

use crate::rabbitmq::api::{Api, Server, json_of};
use crate::registry::module;
use crate::{Host, Outcome, Run};

/// Makes and removes exchanges of RabbitMQ; one that is there cannot be changed.
#[derive(ModuleArgs)]
struct Args {
    /// The exchange.
    #[arg(required)]
    name: String,
    /// Whether it is there.
    #[arg(default = "present", choices = "present,absent")]
    state: String,
    /// Whether it survives the broker's restart.
    #[arg(default = "true")]
    durable: bool,
    /// Its type; those that begin with `x-` want a plugin.
    #[arg(
        default = "direct",
        alias = "type",
        choices = "fanout,direct,headers,topic,x-delayed-message,x-random,x-consistent-hash,x-recent-history"
    )]
    exchange_type: String,
    /// Whether it goes with the last queue that is bound to it.
    auto_delete: bool,
    /// Whether only other exchanges write to it.
    internal: bool,
    /// Further arguments.
    arguments: Option<Map>,
    #[arg(flatten)]
    server: Server,
}

/// The plugin that brings a type of exchanges.
fn plugin(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "x-consistent-hash" => "rabbitmq_consistent_hash_exchange",
        "x-random" => "rabbitmq_random_exchange",
        "x-delayed-message" => "rabbitmq_delayed_message_exchange",
        "x-recent-history" => "rabbitmq_recent_history_exchange",
        _ => return None,
    })
}

fn run(args: Args, host: &mut Host) -> Run {
    let api = Api::of(host, &args.server)?;
    let path = ["exchanges", args.server.vhost.as_str(), args.name.as_str()];
    let (now, details) =
        api.find(&path, "Invalid response from RESTAPI when trying to check if exchange exists")?;
    let arguments = args.arguments.unwrap_or_default();
    let attributes = [
        ("durable", Value::from(args.durable)),
        ("auto_delete", args.auto_delete.into()),
        ("internal", args.internal.into()),
        ("type", args.exchange_type.as_str().into()),
    ];
    let is_wanted = args.state == "present";
    if is_wanted
        && let Some(now) = &now
        && attributes.iter().any(|(name, wanted)| now.get(name).as_ref() != Some(wanted))
    {
        return Err("RabbitMQ RESTAPI doesn't support attribute changes for existing exchanges".into());
    }
    let changed = is_wanted != now.is_some();
    let outcome = Outcome::changed(changed).with("name", args.name.as_str());
    if host.check {
        return Ok(outcome.with("details", details).with("arguments", arguments));
    }
    if changed {
        let body: Map = attributes.into_iter().collect();
        body.set("arguments", arguments);
        let kind = args.exchange_type.as_str();
        let told = |answer: &_| {
            let reason = json_of(answer).ok().and_then(|said| said.get("reason")).unwrap_or_default();
            match (reason.to_string().starts_with("unknown exchange type"), plugin(kind)) {
                (true, Some(plugin)) => format!(
                    "Error creating exchange. You may need to enable the '{plugin}' plugin for exchange type {kind}"
                ),
                (true, None) => {
                    format!(
                        "Error creating exchange. You may need to enable a plugin for exchange type {kind}"
                    )
                }
                (false, _) if is_wanted => "Error creating exchange".to_owned(),
                (false, _) => "Error deleting exchange".to_owned(),
            }
        };
        api.keep(&path, is_wanted.then_some(&body.into()), told)?;
    }
    Ok(outcome)
}

module!("rabbitmq_exchange", "community.rabbitmq", Args, run);
