//! `rabbitmq_parameter`: parameters of components (community.rabbitmq `rabbitmq_parameter.py`).

use bakery_lang::{Value, json};
use bakery_macros::ModuleArgs;

use crate::rabbitmq::{Ctl, parsed};
use crate::registry::module;
use crate::{Host, Outcome, Run};

/// Sets and clears parameters of RabbitMQ's components, such as shovels.
#[derive(ModuleArgs)]
struct Args {
    /// The component.
    #[arg(required)]
    component: String,
    /// The parameter.
    #[arg(required)]
    name: String,
    /// Its value, in JSON.
    value: Option<String>,
    /// The virtual host.
    #[arg(default = "/")]
    vhost: String,
    /// Whether it is set.
    #[arg(default = "present", choices = "present,absent")]
    state: String,
    /// The Erlang node.
    #[arg(default = "rabbit")]
    node: String,
}

fn run(args: Args, host: &mut Host) -> Run {
    let Args { component, name, vhost, state, .. } = &args;
    let ctl = Ctl::new(host, Some(&args.node))?;
    let value = args.value.as_deref().map_or(Ok(Value::None), parsed)?;
    let rows = ctl.rows(&["list_parameters", "-p", vhost])?;
    let now = rows.iter().find(|row| row.len() == 3 && row[0] == *component && row[1] == *name);
    let now = now.map(|row| parsed(&row[2])).transpose()?;
    let changed = match state.as_str() {
        "absent" if now.is_some() => {
            ctl.tell(&["clear_parameter", "-p", vhost, component, name])?;
            true
        }
        "present" if now.as_ref() != Some(&value) => {
            ctl.tell(&["set_parameter", "-p", vhost, component, name, &json::dumps(&value, 0, false)])?;
            true
        }
        _ => false,
    };
    Ok(Outcome::changed(changed)
        .with("component", component)
        .with("name", name)
        .with("vhost", vhost)
        .with("state", state))
}

module!("rabbitmq_parameter", "community.rabbitmq", Args, run);
