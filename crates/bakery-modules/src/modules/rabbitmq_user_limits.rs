//! `rabbitmq_user_limits`: limits of users (community.rabbitmq `rabbitmq_user_limits.py`).

use bakery_lang::{Value, json};
use bakery_macros::ModuleArgs;

use crate::rabbitmq::Ctl;
use crate::registry::module;
use crate::{Host, Outcome, Run};

/// Sets and clears the limits of a user of RabbitMQ 3.8.10 or newer.
#[derive(ModuleArgs)]
struct Args {
    /// The user.
    #[arg(required, alias = "username,name")]
    user: String,
    /// How many connections; a negative number does not limit them.
    #[arg(default = "-1")]
    max_connections: i64,
    /// How many channels; a negative number does not limit them.
    #[arg(default = "-1")]
    max_channels: i64,
    /// Whether the limits are set; `absent` clears both.
    #[arg(default = "present", choices = "present,absent")]
    state: String,
    /// The Erlang node.
    node: Option<String>,
}

fn run(args: Args, host: &mut Host) -> Run {
    let ctl = Ctl::new(host, args.node.as_deref())?;
    let version = ctl.version()?;
    if !version.is_empty() && version < vec![3, 8, 10] {
        let version: Vec<String> = version.iter().map(u64::to_string).collect();
        let version = version.join(".");
        return Err(format!(
            "User limits are only available for RabbitMQ >= 3.8.10. Detected version: {version}"
        )
        .into());
    }
    let now = match ctl.json(&["list_user_limits", "--user", &args.user]) {
        // The user may be one whom a task before would have made.
        Err(_) if host.check => Value::None,
        now => now?,
    };
    let given = args.state == "present";
    let wanted = [("max-connections", args.max_connections), ("max-channels", args.max_channels)];
    // No limit is none, however it is said.
    let wanted = wanted.map(|(name, limit)| (name, Some(limit).filter(|limit| given && *limit >= 0)));
    let mut changed = false;
    for (name, limit) in wanted {
        let limit = limit.map(Value::from);
        if now.get(name).filter(|limit| limit.as_int() >= Some(0)) == limit {
            continue;
        }
        changed = true;
        match limit {
            Some(limit) => {
                let limits = json::dumps(&Value::map([(name, limit)]), 0, false);
                ctl.tell(&["set_user_limits", &args.user, &limits])?;
            }
            None => ctl.tell(&["clear_user_limits", &args.user, name])?,
        }
    }
    Ok(Outcome::changed(changed))
}

module!("rabbitmq_user_limits", "community.rabbitmq", Args, run);
