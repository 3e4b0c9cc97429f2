//! `rabbitmq_plugin`: plugins of RabbitMQ (community.rabbitmq `rabbitmq_plugin.py`).

use bakery_lang::Value;
use bakery_macros::ModuleArgs;

use crate::host::Phase;
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Enables and disables plugins of RabbitMQ.
#[derive(ModuleArgs)]
struct Args {
    /// The plugins' names, with commas between them.
    #[arg(required, alias = "name")]
    names: String,
    /// Whether other plugins that are enabled stay so.
    new_only: bool,
    /// Whether they are enabled.
    #[arg(default = "enabled", choices = "enabled,disabled")]
    state: String,
    /// Whether the broker must run. In an image that is being baked it does not matter: none runs there, and the one that
    /// starts at boot has the plugins.
    #[arg(default = "online", choices = "online,offline")]
    broker_state: String,
    /// The folder that RabbitMQ is installed in.
    prefix: Option<String>,
}

fn program(host: &Host, prefix: Option<&str>) -> Result<String, Failure> {
    let Some(prefix) = prefix.filter(|prefix| !prefix.is_empty()) else {
        return host.program("rabbitmq-plugins");
    };
    let folders = ["bin", "sbin"].map(|name| host.path(prefix).join(name));
    let folder = folders.iter().find(|folder| folder.is_dir());
    let folder = folder.ok_or_else(|| format!("No binary folder in prefix {prefix}"))?;
    Ok(folder.join("rabbitmq-plugins").display().to_string())
}

fn run(args: Args, host: &mut Host) -> Run {
    let program = program(host, args.prefix.as_deref())?;
    let names: Vec<&str> = args.names.split(',').collect();
    let said = host.run(&[program.as_str(), "list", "-E", "-m"])?.text();
    // A line of the program's own may stand before the names.
    let known: Vec<&str> =
        said.lines().take_while(|line| !line.is_empty()).filter(|line| !line.contains(' ')).collect();
    let is_named = |plugin: &&str| names.contains(plugin);
    let (mut enabled, mut disabled): (Vec<&str>, Vec<&str>) = (vec![], vec![]);
    if args.state == "enabled" {
        if !args.new_only {
            disabled = known.iter().copied().filter(|plugin| !is_named(plugin)).collect();
        }
        enabled = names.iter().copied().filter(|name| !known.contains(name)).collect();
    } else {
        disabled = known.iter().copied().filter(is_named).collect();
    }
    if !host.check {
        let broker =
            if host.phase == Phase::Bake { "--offline" } else { &format!("--{}", args.broker_state) };
        for (verb, plugins) in [("disable", &disabled), ("enable", &enabled)] {
            for plugin in plugins {
                host.run(&[program.as_str(), verb, broker, plugin])?;
            }
        }
    }
    Ok(Outcome::changed(!enabled.is_empty() || !disabled.is_empty())
        .with("enabled", Value::strings(enabled))
        .with("disabled", Value::strings(disabled)))
}

module!("rabbitmq_plugin", "community.rabbitmq", Args, run);
