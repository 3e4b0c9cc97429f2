//! ansible-core's own integration targets, with bakery answering to `ansible-playbook` and its relatives.
//!
//! The targets come with ansible-core's source distribution, which is fetched when the tests run and never stored: they
//! are under the GPL. `targets.tsv` says of every target whether it passes, is open, or cannot apply, and why; those that
//! pass must go on doing so, the others are ignored tests: `cargo test --test conformance -- --ignored` tries them.

#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "tests use the system as users do")]

use std::path::{Path, PathBuf};
use std::process::Command;

use libtest_mimic::{Arguments, Failed, Trial};

/// The release whose targets are run.
const RELEASE: &str = "2.19.14";

fn main() {
    let args = Arguments::from_args();
    let rows = include_str!("targets.tsv").lines().filter(|l| !l.starts_with('#'));
    let trials = rows
        .map(|row| {
            let mut cells = row.split('\t');
            let (name, status) = (cells.next().unwrap_or_default(), cells.next().unwrap_or_default());
            let target = name.to_owned();
            Trial::test(name, move || run(&target)).with_kind(status).with_ignored_flag(status != "passes")
        })
        .collect();
    libtest_mimic::run(&args, trials).exit();
}

/// Runs a target; what it said is the failure.
fn run(target: &str) -> Result<(), Failed> {
    let Some(reference) = std::env::var_os("BAKERY_REFERENCE").map(PathBuf::from) else {
        return Err(
            "BAKERY_REFERENCE names no folder with ansible-core's programs; scripts/test sets it".into()
        );
    };
    let programs = match std::env::var_os("BAKERY_BIN") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(env!("CARGO_BIN_EXE_bakery")).with_file_name(""),
    };
    let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/run-target"))
        .arg(target)
        .env("SOURCES", sources(&reference)?)
        .env("PROGRAMS", programs)
        .env("VENV", &reference)
        .output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&said);
    let from = text.char_indices().rev().nth(4000).map_or(0, |(at, _)| at);
    Err(format!("{}\n…{}", output.status, &text[from..]).into())
}

/// The unpacked source distribution, fetched on first use.
fn sources(reference: &Path) -> Result<PathBuf, Failed> {
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let folder = reference.join("../..");
    let unpacked = folder.join(format!("ansible_core-{RELEASE}"));
    if unpacked.is_dir() {
        return Ok(unpacked.canonicalize()?);
    }
    let scratch = tempfile::tempdir_in(&folder)?;
    let run = |command: &mut Command| -> Result<(), Failed> {
        let output = command.output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
    };
    run(Command::new(reference.join("pip"))
        .args(["download", "-q", "--no-deps", "--no-binary", ":all:", "-d"])
        .arg(scratch.path())
        .arg(format!("ansible-core=={RELEASE}")))?;
    run(Command::new("tar")
        .arg("xzf")
        .arg(scratch.path().join(format!("ansible_core-{RELEASE}.tar.gz")))
        .arg("-C")
        .arg(scratch.path()))?;
    // Whole or not at all: a test that is killed leaves no half of it.
    std::fs::rename(scratch.path().join(format!("ansible_core-{RELEASE}")), &unpacked)?;
    Ok(unpacked.canonicalize()?)
}
