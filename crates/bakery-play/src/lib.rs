//! The `ansible-playbook` command, as `bakery play` and as the agent's boot phase run it: options, and the output
//! formats that people and programs know.
//!
//! A crate of its own because two programs format playbook runs: `bakery` on a workstation and the agent in an image.

mod default_output;
mod json_output;
mod listing;
mod options;

use std::io::Write;
use std::path::Path;

use bakery_ansible::connection::Connections;
use bakery_ansible::inventory::Inventory;
use bakery_ansible::playbook::{Loader, Playbook};
use bakery_ansible::{Callback, Error, RunOutcome, Settings, vars};
use bakery_events::exit;

pub use default_output::{Colour, DefaultOutput};
pub use json_output::JsonOutput;
pub use options::{Output, PlayArgs};

/// Runs the command; the exit code is Ansible's.
pub fn main(args: &PlayArgs, out: &mut dyn Write, err: &mut dyn Write, colour: Colour) -> i32 {
    let mut code = exit::OK;
    for playbook in &args.playbooks {
        match one(args, Path::new(playbook), out, err, colour) {
            Ok(one) => code |= one,
            Err(error) => {
                // Nothing else can be done when stderr is gone.
                let _ = writeln!(err, "{}", colour.red(&format!("ERROR! {}", error.diagnostic)));
                return error.code;
            }
        }
    }
    code
}

fn one(
    args: &PlayArgs,
    path: &Path,
    out: &mut dyn Write,
    err: &mut dyn Write,
    colour: Colour,
) -> Result<i32, Error> {
    let (loader, playbook, inventory, warnings) = load(args, path)?;
    for warning in &warnings {
        let _ = writeln!(err, "{}", colour.purple(&format!("[WARNING]: {warning}")));
    }
    if args.syntax_check {
        let _ = writeln!(out, "\nplaybook: {}", path.display());
        return Ok(exit::OK);
    }
    let options = args.options(&loader)?;
    if args.list_tasks || args.list_tags || args.list_hosts {
        listing::list(args, path, &playbook, &inventory, &options, out);
        return Ok(exit::OK);
    }
    let mut connections = Connections::local(Some(loader.playbook_dir.clone()));
    let outcome = with_output(args, out, err, colour, |callback| {
        bakery_ansible::run(&playbook, inventory, &loader, &options, &mut connections, callback)
    })?;
    Ok(outcome.code)
}

/// Reads what a run needs.
///
/// # Errors
/// What cannot be found or understood, with its place.
pub fn load(args: &PlayArgs, path: &Path) -> Result<(Loader, Playbook, Inventory, Vec<String>), Error> {
    let mut loader = Loader::new(path, bakery_lang::Map::new());
    loader.secrets = args.secrets(&loader)?.into();
    loader.extra_vars = vars::extra_vars(&args.extra_vars, &loader)?;
    if let Some(paths) = &args.module_path {
        loader.libraries.splice(0..0, std::env::split_paths(paths));
    }
    let playbook = loader.playbook(path)?;
    let (inventory, warnings) = Inventory::load(&inventory_sources(&args.inventory, &loader.settings), &loader)?;
    Ok((loader, playbook, inventory, warnings))
}

/// The inventory sources: the options, else what settings say, else the system's file.
pub fn inventory_sources(given: &[String], settings: &Settings) -> Vec<String> {
    if !given.is_empty() {
        return given.to_vec();
    }
    let named = settings.paths("ANSIBLE_INVENTORY", "defaults", "inventory");
    if !named.is_empty() {
        let text = settings.text("ANSIBLE_INVENTORY", "defaults", "inventory").unwrap_or_default();
        return if text.contains(',') {
            vec![text]
        } else {
            named.iter().map(|path| path.display().to_string()).collect()
        };
    }
    let system = "/etc/ansible/hosts";
    if Path::new(system).exists() { vec![system.into()] } else { vec![] }
}

/// Runs something with the callback that the options or `ANSIBLE_STDOUT_CALLBACK` name.
///
/// # Errors
/// What the run says.
pub fn with_output(
    args: &PlayArgs,
    out: &mut dyn Write,
    err: &mut dyn Write,
    colour: Colour,
    run: impl FnOnce(&mut dyn Callback) -> Result<RunOutcome, Error>,
) -> Result<RunOutcome, Error> {
    match args.output() {
        Output::Default => run(&mut DefaultOutput::new(out, err, colour, args.verbose, args.diff)),
        Output::Json => {
            let mut json = JsonOutput::new(out, err);
            run(&mut json)
        }
    }
}
