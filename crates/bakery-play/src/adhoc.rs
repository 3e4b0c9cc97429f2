//! The `ansible` command: one task on the hosts of a pattern (`ansible/cli/adhoc.py`).

use std::io::Write;
use std::path::Path;

use bakery_ansible::Error;
use bakery_ansible::connection::Connections;
use bakery_ansible::inventory::Inventory;
use bakery_events::exit;
use bakery_lang::{Map, Value, yaml};
use clap::Args;

use crate::{Colour, CommonArgs, MinimalOutput};

/// Runs one module on hosts.
#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  bakery adhoc localhost -m setup\n  bakery adhoc all -i hosts -m command -a uptime"
)]
pub struct AdhocArgs {
    /// The pattern of hosts
    pub pattern: String,
    /// What all of these commands take
    #[command(flatten)]
    pub common: CommonArgs,
    /// The module
    #[arg(short = 'm', long, default_value = "command")]
    pub module_name: String,
    /// Its arguments: `key=value` words or JSON
    #[arg(short = 'a', long, default_value = "", allow_hyphen_values = true)]
    pub args: String,
    /// Show a result on one line
    #[arg(short = 'o', long)]
    pub one_line: bool,
    /// The folder for relative paths and roles
    #[arg(long, value_name = "FOLDER")]
    pub playbook_dir: Option<String>,
    /// Seconds that the task may take in the background
    #[arg(short = 'B', long, value_name = "SECONDS")]
    pub background: Option<u64>,
    /// Seconds between looks at it
    #[arg(short = 'P', long, value_name = "SECONDS")]
    pub poll: Option<u64>,
}

/// Runs the command; the exit code is Ansible's.
pub fn adhoc(
    args: &AdhocArgs,
    out: &mut (dyn Write + Send),
    err: &mut (dyn Write + Send),
    colour: Colour,
) -> i32 {
    run(args, out, err, colour).unwrap_or_else(|error| {
        // Nothing else can be done when stderr is gone.
        let _ = writeln!(err, "{}", colour.red(&format!("[ERROR]: {}", error.diagnostic)));
        error.code
    })
}

fn run(
    args: &AdhocArgs,
    out: &mut (dyn Write + Send),
    err: &mut (dyn Write + Send),
    colour: Colour,
) -> Result<i32, Error> {
    let folder = CommonArgs::folder(args.playbook_dir.as_deref(), ".");
    let loader = args.common.loader(&folder.join("adhoc.yml"))?;
    let (inventory, mut warnings) = Inventory::load(&args.common.sources(&loader.settings), &loader)?;
    warnings.extend(loader.take_warnings());
    for warning in &warnings {
        let _ = writeln!(err, "{}", colour.purple(&format!("[WARNING]: {warning}")));
    }
    if args.common.list_hosts {
        let (mut hosts, _) = inventory.matching(&args.pattern)?;
        if let Some(limit) = &args.common.limit {
            inventory.limit(&mut hosts, limit)?;
        }
        let _ = writeln!(out, "  hosts ({}):", hosts.len());
        for host in hosts {
            let _ = writeln!(out, "    {host}");
        }
        return Ok(exit::OK);
    }
    args.common.flush(&loader, &inventory);
    let needs_args = ["command", "shell", "raw", "script", "win_command", "win_shell"];
    let short = args.module_name.rsplit('.').next().unwrap_or_default();
    if args.args.is_empty() && needs_args.contains(&short) {
        let message = format!("No argument passed to {} module", args.module_name);
        let hint =
            if args.pattern.ends_with(".yml") { " (did you mean to run ansible-playbook?)" } else { "" };
        return Err(Error { code: exit::BAD_OPTIONS, ..Error::message(message + hint) });
    }
    // The play as a person would write it, so that it is read as any other.
    let task = Map::new();
    if args.args.trim_start().starts_with('{')
        && let Ok(Value::Map(given)) = yaml::parse_data("--args", &args.args)
    {
        task.set(&args.module_name, given);
    } else {
        task.set("action", format!("{} {}", args.module_name, args.args).trim());
    }
    if let Some(seconds) = args.background {
        task.set("async", seconds);
        task.set("poll", args.poll.unwrap_or(15));
    }
    let play = Map::new();
    play.set("name", "Ansible Ad-Hoc");
    play.set("hosts", args.pattern.as_str());
    play.set("gather_facts", false);
    play.set("tasks", vec![task.into()]);
    let text =
        yaml::emit(&Value::list(vec![play.into()]), yaml::Style { sort_keys: false, ..Default::default() });
    let playbook = loader.playbook_of(&text, Path::new("<adhoc>"))?;
    let options = args.common.options(&loader)?;
    let connections = Connections::local(Some(loader.playbook_dir.clone()));
    let mut callback = MinimalOutput::new(out, err, colour);
    let named = loader.settings.text("ANSIBLE_STDOUT_CALLBACK", "defaults", "stdout_callback");
    let heard =
        loader.settings.flag("ANSIBLE_LOAD_CALLBACK_PLUGINS", "defaults", "bin_ansible_callbacks", false);
    callback.one_line = args.one_line || heard && named.is_some_and(|n| n.ends_with("oneline"));
    let outcome = bakery_ansible::run(&playbook, inventory, &loader, &options, &connections, &mut callback)?;
    Ok(outcome.code)
}
