//! What `lint` finds in an image, and where; what archives and OCI images hold.

use std::process::Command;

use super::layers::Project;
use super::{bakery, fails, ok, result, said, write};

#[test]
fn what_must_not_be_in_an_image_is_found() {
    let project = Project::new();
    let at = project.at();
    project.tasks("- shell: echo clean > /etc/clean");
    project.baked("store");
    assert!(ok(bakery(at, &["lint", "small"])).contains("0 errors, 0 warnings"));
    // Put together here, so that nobody takes this file for one with secrets.
    let (begin, aws) = (["-----BEGIN", "PRIVATE KEY-----"].join(" "), ["AKIA", "Z7Q4W2E9R5T1Y8U3"].concat());
    project.tasks(&format!(
        "- copy: {{dest: /etc/shadow, mode: \"0644\", content: \"root:$6$abc$def:1::::::\\nopen::1::::::\\n\"}}\n\
         - shell: mkdir -p /opt/app /srv /home/other/.ssh /etc/sudoers.d /etc/ssh\n\
         - copy: {{dest: /opt/app/key.pem, content: \"{begin}\\nabc\\n\"}}\n\
         - copy: {{dest: /srv/.env, content: \"KEY={aws}\\n\"}}\n\
         - copy: {{dest: /root/.my.cnf, content: \"x\\n\"}}\n\
         - copy: {{dest: /etc/open, mode: \"0666\", content: \"x\\n\"}}\n\
         - copy: {{dest: /home/other/.ssh/authorized_keys2, content: \"ssh-ed25519 AAAA\\n\"}}\n\
         - copy: {{dest: /etc/sudoers.d/other, content: \"other ALL=(ALL) NOPASSWD: ALL\\n\"}}\n\
         - copy: {{dest: /etc/ssh/sshd_config, content: \"PermitRootLogin yes\\n\"}}"
    ));
    project.baked("store");
    let (code, text) = fails(bakery(at, &["lint", "small"]));
    assert_eq!(code, 1);
    for (severity, path, check) in [
        ("error", "/etc/shadow", "[password]"),
        ("error", "/etc/shadow", "[mode]"),
        ("error", "/opt/app/key.pem", "[secret]"),
        ("error", "/srv/.env", "[secret]"),
        ("error", "/root/.my.cnf", "[credentials]"),
        ("error", "/etc/open", "[world-writable]"),
        ("error", "/home/other/.ssh/authorized_keys2", "[authorized-keys]"),
        ("warning", "/etc/ssh/sshd_config", "[sshd]"),
        ("note", "/etc/sudoers.d/other", "[sudo]"),
    ] {
        let is_it = |l: &str| l.starts_with(severity) && l.contains(path) && l.ends_with(check);
        assert!(text.lines().any(is_it), "{severity} {path} {check}\n{text}");
    }
    assert!(!text.contains("/etc/clean"), "{text}");
}

/// The OCI image of a build is what other programs take for one, holds the tree of the archive, and is a base itself.
#[test]
fn oci_images_hold_the_tree_and_are_bases() {
    let project = Project::new();
    let at = project.at();
    let template = |base: &str, name: &str, line: &str| {
        let text = format!(
            r#"{{"builders": [{{"type": "disk", "name": "{name}", "base": "{base}", "image_name": "{name}", "formats": ["oci", "tar"],
            "changes": ["CMD [\"/bin/echo\", \"hello\"]", "ENV A=b", "EXPOSE 80", "LABEL k=v", "WORKDIR /var"]}}],
            "provisioners": [{{"type": "shell", "inline": ["{line}"]}}, {{"type": "shell", "inline": ["rm -r /var/lib; mkdir /var/lib; echo new > /var/lib/new"]}}]}}"#
        );
        write(at, "oci.json", &text);
        let text = ok(bakery(at, &["bake", "--json", "oci.json"]));
        let files = result(&text)["files"].clone();
        let file = |format: &str| files[format].as_str().expect("a path").to_owned();
        (file("oci"), file("tar"))
    };
    let run = |program: &str, args: &[&str]| -> String {
        let output = Command::new(program).args(args).current_dir(at).output().expect("runs");
        assert!(output.status.success(), "{program} {args:?}\n{}", said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let (oci, tar) =
        template("base.tar", "first", "mkdir -p /var/lib/old && echo x > /var/lib/old/x && rm /etc/group");
    let seen = run("skopeo", &["inspect", "--config", &format!("oci-archive:{oci}")]);
    let seen: serde_json::Value = serde_json::from_str(&seen).expect("JSON");
    assert_eq!(seen["config"]["Cmd"], serde_json::json!(["/bin/echo", "hello"]));
    assert_eq!(seen["config"]["WorkingDir"], "/var");
    assert!(seen["config"]["Env"].as_array().expect("a list").iter().any(|e| e == "A=b"));
    // The reference tool unpacks it to the tree of the archive.
    run("skopeo", &["copy", "-q", &format!("oci-archive:{oci}"), "oci:layout:latest"]);
    run("umoci", &["unpack", "--image", "layout:latest", "bundle"]);
    run("mkdir", &["-p", "plain"]);
    run("tar", &["-xpf", &tar, "-C", "plain"]);
    let differences = Command::new("diff")
        .args(["-r", "--no-dereference", "bundle/rootfs", "plain"])
        .current_dir(at)
        .output();
    let differences = said(&differences.expect("diff runs"));
    assert_eq!(differences, "");
    assert!(at.join("plain/var/lib/new").is_file() && !at.join("plain/var/lib/old").exists());
    assert!(!at.join("plain/etc/group").exists());
    // As a base, from its archive, its layout, and what Docker would save.
    run("skopeo", &["copy", "-q", &format!("oci-archive:{oci}"), "docker-archive:saved.tar:first:latest"]);
    let archive = std::path::Path::new(&oci).display().to_string();
    for base in [archive.as_str(), "layout", "docker-archive:saved.tar"] {
        let (_, again) = template(base, "second", "cat /var/lib/new > /etc/was");
        run("rm", &["-rf", "again"]);
        run("mkdir", &["-p", "again"]);
        run("tar", &["-xpf", &again, "-C", "again"]);
        assert_eq!(std::fs::read_to_string(at.join("again/etc/was")).expect("read"), "new\n");
        assert!(!at.join("again/var/lib/old").exists() && !at.join("again/etc/group").exists());
    }
}
