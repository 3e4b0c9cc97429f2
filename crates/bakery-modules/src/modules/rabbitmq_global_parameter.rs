//! `rabbitmq_global_parameter`: parameters of a whole cluster (community.rabbitmq `rabbitmq_global_parameter.py`).

use bakery_lang::{Value, json};
use bakery_macros::ModuleArgs;

use crate::rabbitmq::{Ctl, parsed};
use crate::registry::module;
use crate::{Host, Outcome, Run};

/// Sets and clears global parameters of RabbitMQ.
#[derive(ModuleArgs)]
struct Args {
    /// The parameter.
    #[arg(required)]
    name: String,
    /// Its value, in JSON.
    value: Option<String>,
    /// Whether it is set.
    #[arg(default = "present", choices = "present,absent")]
    state: String,
    /// The Erlang node.
    #[arg(default = "rabbit")]
    node: String,
}

fn run(args: Args, host: &mut Host) -> Run {
    let ctl = Ctl::new(host, Some(&args.node))?;
    let value = args.value.as_deref().map_or(Ok(Value::None), parsed)?;
    let rows = ctl.rows(&["list_global_parameters"])?;
    let now = rows.iter().find(|row| row.len() == 2 && row[0] == args.name).map(|row| parsed(&row[1]));
    let now = now.transpose()?;
    let changed = match args.state.as_str() {
        "absent" if now.is_some() => {
            ctl.tell(&["clear_global_parameter", &args.name])?;
            true
        }
        "present" if now.as_ref() != Some(&value) => {
            ctl.tell(&["set_global_parameter", &args.name, &json::dumps(&value, 0, false)])?;
            true
        }
        _ => false,
    };
    Ok(Outcome::changed(changed).with("name", args.name).with("value", value).with("state", args.state))
}

module!("rabbitmq_global_parameter", "community.rabbitmq", Args, run);
