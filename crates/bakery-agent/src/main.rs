//! `bakery-agent`: one static program in images and on targets.
//!
//! Under the names `ansible-playbook` and `cloud-init` it behaves as those tools do.

use std::io::{BufReader, BufWriter, IsTerminal as _, Write as _};
use std::process::ExitCode;

use bakery_play::{Colour, PlayArgs};
use clap::{Parser, Subcommand};

/// Runs inside images: serves modules while they are baked, and finishes them at boot.
#[derive(Debug, Parser)]
#[command(name = "bakery-agent", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Answer module calls on stdin and stdout
    Serve {
        /// Run modules as this user
        #[arg(long)]
        user: Option<String>,
        /// Begin after the line that says so: before it may stand a password that nobody read
        #[arg(long)]
        sync: bool,
    },
    /// Run playbooks on this machine
    Play(PlayArgs),
    /// Finish this machine's boot from its user-data
    Boot(bakery_cloudinit::BootArgs),
    /// Say how this machine's boot went
    Status {
        /// Wait until it is finished
        #[arg(long)]
        wait: bool,
    },
}

#[derive(Debug, Parser)]
#[command(name = "ansible-playbook", version = "[core 2.19.14] (bakery)")]
struct AnsiblePlaybook {
    #[command(flatten)]
    args: PlayArgs,
}

fn main() -> ExitCode {
    bakery_host::signal::default_broken_pipe();
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    if args.next().is_some_and(|verb| verb == bakery_modules::BACKGROUND_VERB) {
        let code = args.next().map_or(1, |file| bakery_modules::background(std::path::Path::new(&file)));
        return ExitCode::from(u8::try_from(code).unwrap_or(1));
    }
    let name =
        std::path::Path::new(&name).file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let code = match name.as_str() {
        "ansible-playbook" => play(&AnsiblePlaybook::parse().args),
        _ => verb(Cli::parse().verb),
    };
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn play(args: &PlayArgs) -> i32 {
    bakery_host::signal::catch_termination();
    let colour = Colour(std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    let mut out = BufWriter::new(std::io::stdout());
    let code = bakery_play::main(args, &mut out, &mut std::io::stderr(), colour);
    let _ = out.flush();
    code
}

fn verb(verb: Verb) -> i32 {
    let told = |result: Result<i32, String>| {
        result.unwrap_or_else(|message| {
            let _ = writeln!(std::io::stderr(), "error: {message}");
            1
        })
    };
    match verb {
        Verb::Serve { user, sync } => {
            let mut input = BufReader::new(std::io::stdin());
            let mut output = BufWriter::new(std::io::stdout());
            told(
                bakery_agent::serve(&mut input, &mut output, user.as_deref(), sync)
                    .map(|()| 0)
                    .map_err(|e| e.to_string()),
            )
        }
        Verb::Play(args) => play(&args),
        Verb::Boot(args) => {
            told(bakery_cloudinit::boot(&args, &mut std::io::stdout()).map_err(|e| e.to_string()))
        }
        Verb::Status { wait } => {
            told(bakery_cloudinit::status(wait, &mut std::io::stdout()).map_err(|e| e.to_string()))
        }
    }
}
