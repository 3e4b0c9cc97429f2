//! `bakery`: bakes machine images and finishes them at boot, with the same code in both phases.
//!
//! `cli` is what can be typed, `commands` what it does, `terminal` how it is shown. Under the names `ansible-playbook`,
//! `ansible-galaxy` and `packer` the program behaves as those tools do.

mod cli;
mod commands;
mod terminal;

use std::ffi::OsString;
use std::process::ExitCode;

use bakery_events::exit;
use clap::Parser as _;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    if let Some(code) = hidden(&args) {
        return ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    let cli = cli::Cli::parse_from(cli::under_other_names(args));
    bakery_host::signal::default_broken_pipe();
    bakery_host::signal::catch_termination();
    let code = commands::run(cli);
    let code = if bakery_host::signal::caught().is_some() && code != exit::OK { 130 } else { code };
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// Verbs that bakery starts itself with: no parsing, no signal handlers, one thread.
fn hidden(args: &[OsString]) -> Option<i32> {
    if let Some(password) = bakery_ansible::connection::ask_password() {
        terminal::data(&password);
        return Some(exit::OK);
    }
    let words: Vec<String> = args.iter().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
    let (verb, rest) = words.split_first()?;
    let told = |result: Result<i32, String>| {
        result.unwrap_or_else(|message| {
            terminal::complain(&message, None);
            exit::ERROR
        })
    };
    match verb.as_str() {
        bakery_host::sandbox::VERB => {
            let (sandbox, program) = bakery_host::sandbox::Sandbox::from_args(rest)?;
            Some(told(bakery_host::sandbox::enter(&sandbox, &program).map_err(|e| e.to_string())))
        }
        bakery_image::seal::VERB => {
            Some(told(bakery_image::seal::run(rest).map(|()| exit::OK).map_err(|e| e.to_string())))
        }
        bakery_launch::imds::VERB => {
            let folder = std::path::PathBuf::from(rest.first()?);
            let (mut input, mut output) = (std::io::BufReader::new(std::io::stdin()), std::io::stdout());
            Some(told(
                bakery_launch::imds::answer(&folder, &mut input, &mut output)
                    .map(|()| exit::OK)
                    .map_err(|e| e.to_string()),
            ))
        }
        bakery_modules::BACKGROUND_VERB => {
            Some(bakery_modules::background(std::path::Path::new(rest.first()?)))
        }
        "serve" => {
            let user =
                rest.iter().position(|w| w == "--user").and_then(|at| rest.get(at + 1)).map(String::as_str);
            let sync = rest.iter().any(|w| w == "--sync");
            let (mut input, mut output) =
                (std::io::BufReader::new(std::io::stdin()), std::io::BufWriter::new(std::io::stdout()));
            Some(told(
                bakery_agent::serve(&mut input, &mut output, user, sync)
                    .map(|()| exit::OK)
                    .map_err(|e| e.to_string()),
            ))
        }
        _ => None,
    }
}
