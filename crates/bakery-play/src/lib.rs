//! The `ansible-playbook` command, as `bakery play` and as the agent's boot phase run it: options, and the output
//! formats that people and programs know.
//!
//! A crate of its own because two programs format playbook runs: `bakery` on a workstation and the agent in an image.

mod adhoc;
mod colour;
mod companions;
mod default_output;
mod inventory;
mod json_output;
pub mod junit;
mod listing;
mod minimal_output;
mod options;
mod shown;
mod unified;
mod vault;

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bakery_ansible::callback::Chorus;
use bakery_ansible::connection::Connections;
use bakery_ansible::inventory::Inventory;
use bakery_ansible::playbook::{Loader, Playbook};
use bakery_ansible::{Callback, Error, RunOutcome, Settings};
use bakery_events::exit;

pub use adhoc::{AdhocArgs, adhoc};
pub use colour::Colour;
pub use default_output::DefaultOutput;
pub use inventory::{InventoryArgs, inventory};
pub use json_output::JsonOutput;
pub use minimal_output::MinimalOutput;
pub use options::{CommonArgs, Output, PlayArgs};
pub use vault::{VaultArgs, vault};

/// Runs the command; the exit code is Ansible's.
pub fn main(
    args: &PlayArgs,
    out: &mut (dyn Write + Send),
    err: &mut (dyn Write + Send),
    colour: Colour,
) -> i32 {
    if args.common.verbose > 0 {
        let text = match bakery_ansible::Settings::load().file {
            Some(file) => format!("Using {} as config file", file.display()),
            None => "No config file found; using defaults".into(),
        };
        let _ = writeln!(out, "{}", colour.blue(&text));
    }
    let mut code = exit::OK;
    for playbook in &args.playbooks {
        let named = playbook.matches('.').count() > 1 && !playbook.contains('/');
        let loader = named.then(|| Loader::new(Path::new(playbook), bakery_lang::Map::new()));
        let of_collection = loader.and_then(|loader| loader.playbook_of_collection(playbook));
        let path = of_collection.as_deref().unwrap_or(Path::new(playbook));
        match one(args, path, out, err, colour) {
            Ok(one) => code |= one,
            Err(error) => {
                // Nothing else can be done when stderr is gone.
                let _ = writeln!(err, "{}", colour.red(&format!("[ERROR]: {}", error.diagnostic)));
                return error.code;
            }
        }
    }
    code
}

fn one(
    args: &PlayArgs,
    path: &Path,
    out: &mut (dyn Write + Send),
    err: &mut (dyn Write + Send),
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
    if let Some(limit) = &options.limit {
        inventory.check_limit(limit)?;
    }
    if args.list_tasks || args.list_tags || args.common.list_hosts {
        listing::list(args, path, &playbook, &inventory, &loader, &options, out);
        return Ok(exit::OK);
    }
    args.common.flush(&loader, &inventory);
    let connections = Connections::local(Some(loader.playbook_dir.clone()));
    if args.common.verbose > 1 {
        let _ = writeln!(
            out,
            "{}",
            colour.blue(&format!("{} plays in {}", playbook.plays.len(), path.display()))
        );
    }
    let outcome = with_output(args, &loader.settings, out, err, colour, |callback| {
        bakery_ansible::run(&playbook, inventory, &loader, &options, &connections, callback)
    })?;
    Ok(outcome.code)
}

/// Reads what a run needs.
///
/// # Errors
/// What cannot be found or understood, with its place.
pub fn load(args: &PlayArgs, path: &Path) -> Result<(Loader, Playbook, Inventory, Vec<String>), Error> {
    let loader = args.common.loader(path)?;
    let playbook = loader.playbook(path)?;
    let (inventory, mut warnings) = Inventory::load(&args.common.sources(&loader.settings), &loader)?;
    warnings.extend(loader.take_warnings());
    Ok((loader, playbook, inventory, warnings))
}

/// Runs something with the callbacks that the options or settings name.
///
/// # Errors
/// What the run says.
fn with_output(
    args: &PlayArgs,
    settings: &Settings,
    out: &mut (dyn Write + Send),
    err: &mut (dyn Write + Send),
    colour: Colour,
    run: impl FnOnce(&mut dyn Callback) -> Result<RunOutcome, Error>,
) -> Result<RunOutcome, Error> {
    let (output, unknown) = args.output(settings);
    let verbosity = args.common.verbose;
    let (out, err) = (Shared(Arc::new(Mutex::new(out))), Shared(Arc::new(Mutex::new(err))));
    // Beside one document at the end nothing else is printed.
    let beside = if output == Output::Json { &err } else { &out };
    let (others, further) = companions::enabled(settings, &|| Box::new(beside.clone()), verbosity);
    let (mut out, mut err) = (out.clone(), err.clone());
    for name in unknown.into_iter().chain(further) {
        let text = format!("[WARNING]: the callback '{name}' is none of bakery's; its output is left out");
        // Nothing else can be done when stderr is gone.
        let _ = writeln!(err, "{}", colour.purple(&text));
    }
    let run = |first: &mut dyn Callback| run(&mut Chorus { first, others });
    match output {
        Output::Default => {
            run(&mut DefaultOutput::new(&mut out, &mut err, colour, verbosity, args.common.check))
        }
        Output::Yaml => {
            run(&mut DefaultOutput::new(&mut out, &mut err, colour, verbosity, args.common.check).in_yaml())
        }
        Output::Minimal | Output::Oneline => {
            let mut minimal = MinimalOutput::new(&mut out, &mut err, colour);
            minimal.one_line = output == Output::Oneline;
            run(&mut minimal)
        }
        Output::Json => {
            let mut json = JsonOutput::new(&mut out, &mut err);
            run(&mut json)
        }
    }
}

/// A stream that several write to, one after the other.
#[derive(Clone)]
struct Shared<'a>(Arc<Mutex<&'a mut (dyn Write + Send)>>);

impl Write for Shared<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }
}
