//! Bakes of a user who is not root: in a user namespace of its own, with the same bytes as root's.

use std::path::Path;
use std::process::Command;

use super::layers::Project;
use super::{fails, ok, program, result, write};

/// `bakery args` as a user of the number 4321, who has subordinate ids or not. The user exists for this command alone.
fn as_user(at: &Path, subordinate: bool, args: &[&str]) -> Command {
    write(at, "user/passwd", "root:x:0:0::/root:/bin/sh\nbaker:x:4321:4321::/nowhere:/bin/sh\n");
    write(at, "user/group", "root:x:0:\nbaker:x:4321:\n");
    let ids = if subordinate { "baker:200000:65536\n" } else { "" };
    write(at, "user/subuid", ids);
    write(at, "user/subgid", ids);
    // The programs lie where only root may look.
    for name in ["bakery", "bakery-agent"] {
        let to = at.join("user").join(name);
        if !to.exists() {
            std::fs::copy(program(name), to).expect("copied");
        }
    }
    let script = "for name in passwd group subuid subgid; do mount --bind user/$name /etc/$name; done
        cd project; [ -d .local ] || chown -R 4321:4321 .
        exec setpriv --reuid 4321 --regid 4321 --clear-groups \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-ec", script, "sh"]).arg(at.join("user/bakery")).args(args);
    command.current_dir(at).env("HOME", at.join("project")).env("NO_COLOR", "1").env_remove("BAKERY_HOME");
    command.env("PATH", "/usr/local/bin:/usr/bin:/bin").env("SOURCE_DATE_EPOCH", "1700000000");
    command
}

#[test]
fn a_bake_without_root_comes_to_the_same_bytes() {
    let project = Project::new();
    project.tasks(
        "- shell: id -u; id -u > /etc/who; ls /etc > /dev/null
  become: true
- copy: {content: a, dest: /etc/mine, owner: other, group: other, mode: '4750'}
- file: {path: /var/lib/full, state: directory}
- copy: {content: b, dest: /var/lib/full/one}
- command: id -u
  become: true
  become_user: other
  register: other
- copy: {content: '{{ other.stdout }}', dest: /etc/other}
- command: cat /etc/hostname
  delegate_to: localhost
  register: here
- local_action: copy content=x dest=/etc/written-on-the-host
- assert: {that: here.stdout | length > 0}",
    );
    let again = r#"{"type": "shell", "inline": ["rm -r /var/lib/full", "mkdir /var/lib/full", "echo new > /var/lib/full/two"]}"#;
    project.template(&format!(r#"{{"type": "ansible", "playbook_file": "playbook.yml"}}, {again}"#));
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    for name in ["packer.json", "playbook.yml", "base.tar"] {
        std::fs::create_dir_all(at.join("project")).expect("made");
        std::fs::copy(project.at().join(name), at.join("project").join(name)).expect("copied");
    }
    // Other users must be able to come here.
    let open = Command::new("chmod").arg("755").arg(at).status();
    assert!(open.expect("runs").success());
    let formats = |text: &str| text.replace(r#""formats": ["tar"]"#, r#""formats": ["tar", "oci"]"#);
    for folder in [project.at().to_path_buf(), at.join("project")] {
        let text = std::fs::read_to_string(folder.join("packer.json")).expect("read");
        write(&folder, "packer.json", &formats(&text));
    }
    let mut root = super::bakery(project.at(), &["bake", "--json", "packer.json"]);
    root.env("SOURCE_DATE_EPOCH", "1700000000");
    let by_root = result(&ok(root))["files"].clone();

    let (_, text) = fails(as_user(at, false, &["bake", "packer.json"]));
    assert!(text.contains("subordinate ids are given by"), "{text}");
    let by_user = result(&ok(as_user(at, true, &["bake", "--json", "packer.json"])))["files"].clone();
    let path = |files: &serde_json::Value, format: &str| files[format].as_str().expect("a path").to_owned();
    let tree = |files| std::fs::read(path(files, "tar")).expect("read");
    assert!(tree(&by_root) == tree(&by_user), "the archives differ");
    // What hides something below is hidden in either way. (The history names the base by its path.)
    let layers = |files| {
        let archive = format!("oci-archive:{}", path(files, "oci"));
        let output =
            Command::new("skopeo").args(["inspect", "--config", &archive]).output().expect("skopeo runs");
        let config: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        config["rootfs"]["diff_ids"].clone()
    };
    assert_eq!(layers(&by_root), layers(&by_user));
    assert!(!Path::new("/etc/written-on-the-host").exists());
    // What is remembered holds, and can be looked after.
    let text = ok(as_user(at, true, &["bake", "packer.json"]));
    assert!(text.contains("nothing changed"), "{text}");
    let text = ok(as_user(at, true, &["cache", "verify"]));
    assert!(text.contains(" 0 damaged"), "{text}");
    let text = ok(as_user(at, true, &["cache", "prune", "--all"]));
    assert!(text.contains("removed"), "{text}");
}
