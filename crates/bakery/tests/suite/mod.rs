//! What several tests share: running the program, and scratch folders.

mod bake_and_boot;
mod boots;
mod classic_files;
mod command_line;
mod containers;
mod facts;
mod faults;
mod galaxy;
mod hostile;
mod layers;
mod look;
mod machines;
mod many_hosts;
mod modules;
mod playbooks;
mod rootless;
mod services;
mod templates;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The release programs where the test script built them, else those beside the tests.
pub(crate) fn program(name: &str) -> PathBuf {
    match std::env::var_os("BAKERY_BIN") {
        Some(folder) => PathBuf::from(folder).join(name),
        None => Path::new(env!("CARGO_BIN_EXE_bakery")).with_file_name(name),
    }
}

/// `bakery args`, in a folder, with a store of its own unless the test says otherwise.
pub(crate) fn bakery(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program("bakery"));
    command.args(args).current_dir(folder).env("BAKERY_HOME", folder.join("store")).env("NO_COLOR", "1");
    command
}

/// A store that survives the tests, so that a base is made once.
pub(crate) fn lasting_store() -> PathBuf {
    std::env::var_os("BAKERY_HOME")
        .map_or_else(|| std::env::temp_dir().join("bakery-test-store"), PathBuf::from)
}

/// `bakery args`, in a folder, with the store that survives.
pub(crate) fn bakery_lasting(folder: &Path, args: &[&str]) -> Command {
    let mut command = bakery(folder, args);
    command.env("BAKERY_HOME", lasting_store());
    command
}

/// Runs it, and panics with all it said unless it succeeded.
pub(crate) fn ok(mut command: Command) -> String {
    let output = command.output().expect("runs");
    assert!(output.status.success(), "{command:?}\n{}", said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs it, and gives its exit code and all it said.
pub(crate) fn fails(mut command: Command) -> (i32, String) {
    let output = command.output().expect("runs");
    assert!(!output.status.success(), "{command:?} succeeded\n{}", said(&output));
    (output.status.code().unwrap_or(-1), said(&output))
}

/// The data of the last result that `--json` gives.
pub(crate) fn result(text: &str) -> serde_json::Value {
    let line = text.lines().rev().find(|l| l.contains("\"event\":\"result\""));
    let line = line.unwrap_or_else(|| panic!("no result\n{text}"));
    serde_json::from_str::<serde_json::Value>(line).expect("JSON")["data"].clone()
}

pub(crate) fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs a line of shell that must succeed; what it says.
pub(crate) fn shell(at: &Path, line: &str) -> String {
    let output = Command::new("sh").args(["-ec", line]).current_dir(at).output().expect("sh runs");
    assert!(output.status.success(), "{line}\n{}", said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn write(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    std::fs::write(path, text).expect("written");
}

pub(crate) fn copy_tree(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("runs");
    assert!(status.success());
}

/// A role of the old kind in a git repository, as the classic requirements name it.
pub(crate) fn old_role(folder: &Path) -> PathBuf {
    let role = folder.join("ansible-prometheus.git");
    write(&role, "meta/main.yml", "dependencies: []\n");
    write(&role, "defaults/main.yml", "prometheus_version: 2.42\nprometheus_use_service: true\n");
    write(
        &role,
        "tasks/main.yml",
        "- include: install.yml\n- include: \"{{ item }}.yml\"\n  with_items: [\"service\"]\n  when: prometheus_use_service\n",
    );
    write(
        &role,
        "tasks/install.yml",
        "- name: unpack\n  command: echo {{ prometheus_version }}\n  sudo: yes\n  tags: install\n",
    );
    write(&role, "tasks/service.yml", "- debug: msg=service\n");
    let script = "git init -q . && git config user.email a@b && git config user.name n && git add . && git commit -qm role && git tag 2.3.2";
    let status = Command::new("sh").args(["-ec", script]).current_dir(&role).status().expect("git runs");
    assert!(status.success());
    role
}
