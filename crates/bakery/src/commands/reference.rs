//! `doc`, `completions` and `man`: generated from the code.

use std::io::Write as _;

use bakery_events::exit;
use clap::CommandFactory as _;

use super::{Failure, Outcome};
use crate::cli::Cli;
use crate::terminal;

pub(crate) fn doc(module: Option<&str>, list: bool) -> Outcome {
    let Some(name) = module.filter(|_| !list) else {
        let rows: Vec<Vec<String>> =
            bakery_modules::all().iter().map(|m| vec![m.full_name(), m.doc().summary.to_owned()]).collect();
        terminal::table(&rows);
        return Ok(exit::OK);
    };
    let module = bakery_modules::find(name).ok_or_else(|| Failure {
        hint: bakery_lang::suggest(name, bakery_modules::all().iter().map(|m| m.name)),
        ..Failure::new(format!("there is no module `{name}`"))
    })?;
    let doc = module.doc();
    terminal::say(&format!("{}\n\n{}\n", module.full_name(), doc.summary));
    for arg in doc.args.iter().filter(|a| !a.name.starts_with('_')) {
        let mut notes = vec![arg.kind.to_owned()];
        if arg.required {
            notes.push("required".into());
        }
        if let Some(default) = arg.default {
            notes.push(format!("default {default}"));
        }
        if !arg.choices.is_empty() {
            notes.push(arg.choices.join("|"));
        }
        for (old, new) in arg.formerly {
            notes.push(format!("formerly {old} for {new}"));
        }
        if !arg.aliases.is_empty() {
            notes.push(format!("also {}", arg.aliases.join(", ")));
        }
        terminal::say(&format!("  {} ({})\n      {}", arg.name, notes.join("; "), arg.doc));
    }
    Ok(exit::OK)
}

pub(crate) fn completions(shell: clap_complete::Shell) -> Outcome {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "bakery", &mut text);
    std::io::stdout().write_all(&text).map_err(|e| Failure::new(e.to_string()))?;
    Ok(exit::OK)
}

pub(crate) fn man() -> Outcome {
    clap_mangen::Man::new(Cli::command())
        .render(&mut std::io::stdout())
        .map_err(|e| Failure::new(e.to_string()))?;
    Ok(exit::OK)
}
