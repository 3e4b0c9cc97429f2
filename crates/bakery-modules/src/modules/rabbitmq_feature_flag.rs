//! `rabbitmq_feature_flag`: feature flags of RabbitMQ (community.rabbitmq `rabbitmq_feature_flag.py`).

use bakery_macros::ModuleArgs;

use crate::rabbitmq::Ctl;
use crate::registry::module;
use crate::{Host, Outcome, Run};

/// Enables a feature flag of RabbitMQ.
#[derive(ModuleArgs)]
struct Args {
    /// The flag.
    #[arg(required)]
    name: String,
    /// The Erlang node.
    #[arg(default = "rabbit")]
    node: String,
}

fn run(args: Args, host: &mut Host) -> Run {
    let ctl = Ctl::new(host, Some(&args.node))?;
    let rows = ctl.rows(&["list_feature_flags"])?;
    let flag = rows.iter().find(|row| row.len() == 2 && row[0] == args.name);
    let flag = flag.ok_or_else(|| format!("{} feature flag is not available", args.name))?;
    if flag[1] == "enabled" {
        return Ok(Outcome::unchanged());
    }
    ctl.tell(&["enable_feature_flag", &args.name])?;
    Ok(Outcome::changed(true))
}

module!("rabbitmq_feature_flag", "community.rabbitmq", Args, run);
