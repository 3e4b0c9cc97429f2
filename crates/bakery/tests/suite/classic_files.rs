//! The files of the classic example (`tests/classic`, MIT, see its LICENSE) are accepted as they are.

use std::path::Path;

use super::{bakery, copy_tree, fails, ok, old_role, write};

fn classic() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    copy_tree(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/classic/."), folder.path());
    folder
}

#[test]
fn the_template_is_valid() {
    let folder = classic();
    assert!(ok(bakery(folder.path(), &["validate", "packer.json"])).contains("valid"));
}

#[test]
fn the_playbook_needs_its_role_and_loads_once_it_is_installed() {
    let folder = classic();
    let (code, text) = fails(bakery(folder.path(), &["play", "playbook.yml", "--syntax-check"]));
    assert_eq!(code, 1);
    assert!(text.contains("the role 'ansible-prometheus' was not found"), "{text}");
    assert!(text.contains("playbook.yml:15"), "{text}");
    assert!(text.contains("bakery galaxy install"), "{text}");

    // The repository's address leads to a local mirror, by git's own means.
    let mirror = old_role(folder.path());
    let mut install = bakery(folder.path(), &["galaxy", "install", "-r", "requirements.yml", "-p", "roles"]);
    install
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", format!("url.file://{}.insteadOf", mirror.display()))
        .env("GIT_CONFIG_VALUE_0", "https://github.com/William-Yeh/ansible-prometheus");
    assert!(ok(install).contains("ansible-prometheus (2.3.2) was installed"));
    assert!(
        ok(bakery(folder.path(), &["play", "playbook.yml", "--syntax-check"]))
            .contains("playbook: playbook.yml")
    );
    let listed = ok(bakery(folder.path(), &["play", "playbook.yml", "--list-tasks"]));
    assert!(listed.contains("ansible-prometheus : unpack\tTAGS: [install]"), "{listed}");

    let explained = ok(bakery(folder.path(), &["explain", "playbook.yml"]));
    let line = |task: &str| {
        explained
            .lines()
            .find(|l| l.contains(task))
            .unwrap_or_else(|| panic!("no {task}\n{explained}"))
            .to_owned()
    };
    assert!(line("ansible-prometheus : unpack").starts_with("yes   -"), "{explained}");
    assert!(line("Backup bakery").starts_with("yes   -"), "{explained}");
    assert!(line("Check existing data volume").starts_with("-     yes"), "{explained}");
    // Whether the volume is new is only known at boot.
    assert!(
        line("Mount data volume").starts_with("-     -") || line("Mount data volume").starts_with("-     ?"),
        "{explained}"
    );
}

#[test]
fn the_user_data_can_be_carried_out() {
    let folder = classic();
    let text = ok(bakery(folder.path(), &["boot", "--dry-run", "--user-data", "cloud-init-example.conf"]));
    assert!(text.contains("set the host name to toast01.bakery.inet"), "{text}");
    assert!(text.contains("write /root/bakery/cloud-init.json"), "{text}");
    assert!(text.contains("run: ansible-playbook -v -i 'localhost,'"), "{text}");
    assert!(!text.contains("warning"), "{text}");
}

#[test]
fn the_terraform_file_plans() {
    let folder = classic();
    let text = ok(bakery(folder.path(), &["plan", "main.tf", "--local"]));
    for line in [
        "+ aws_instance.box",
        "+ aws_ebs_volume.data_volume  10 GiB",
        "+ aws_volume_attachment.attach_volume",
        "Plan: 3 to add, 0 to change, 0 to destroy.",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let mut detailed = bakery(folder.path(), &["plan", "main.tf", "--local", "--detailed-exitcode"]);
    assert_eq!(detailed.output().expect("runs").status.code(), Some(2));
}

#[test]
fn the_classic_names_of_the_tools_work() {
    let folder = classic();
    for name in ["ansible-playbook", "ansible-galaxy", "packer"] {
        std::os::unix::fs::symlink(super::program("bakery"), folder.path().join(name)).expect("linked");
    }
    write(
        folder.path(),
        "p.yml",
        "- hosts: localhost\n  gather_facts: false\n  tasks:\n    - debug: msg=hello\n",
    );
    let run = |name: &str, args: &[&str]| {
        let mut command = std::process::Command::new(folder.path().join(name));
        command.args(args).current_dir(folder.path()).env("BAKERY_HOME", folder.path().join("store"));
        ok(command)
    };
    assert!(run("ansible-playbook", &["-i", "localhost,", "-c", "local", "p.yml"]).contains("PLAY RECAP"));
    assert!(run("packer", &["validate", "packer.json"]).contains("The configuration is valid."));
    write(folder.path(), "roles/r/meta/main.yml", "dependencies: []\n");
    assert!(run("ansible-galaxy", &["list", "-p", "roles"]).contains("- r"));
}
