//! Modules beside ansible-core's own: the same play, one after the other in a folder of the same name, leaves the same results and files.

use std::path::Path;
use std::process::Command;

use super::{ok, program, write};

/// Runs a play with both programs, twice, and compares what it says in `OUT/results` and what it leaves in `OUT/tree`.
///
/// The play knows `out`; what it wants to be compared of its results it writes to `{{ out }}/results`.
fn same(play: &str, setup: impl Fn(&Path)) {
    let reference = std::env::var("BAKERY_REFERENCE").expect("scripts/test sets it");
    let mut seen: Vec<Vec<(String, String)>> = Vec::new();
    let folder = tempfile::tempdir().expect("a folder");
    for theirs in [true, false] {
        // The same path for both: what is left may name it.
        let at = &folder.path().join("world");
        std::fs::remove_dir_all(at).ok();
        std::fs::create_dir_all(at.join("out/tree")).expect("made");
        setup(at);
        write(at, "p.yml", play);
        let mut rounds = Vec::new();
        for _ in 0..2 {
            let mut command = if theirs {
                Command::new(Path::new(&reference).join("ansible-playbook"))
            } else {
                let mut command = Command::new(program("bakery"));
                command.arg("play");
                command
            };
            command.args(["-i", "localhost,", "-c", "local", "-e"]).arg(format!(
                "out={}/out base={}",
                at.display(),
                at.display()
            ));
            command.args(["-e", "ansible_python_interpreter=/usr/bin/python3", "p.yml"]);
            command.current_dir(at).env("HOME", at).env("NO_COLOR", "1").env("BAKERY_HOME", at.join("store"));
            ok(command);
            let results = std::fs::read_to_string(at.join("out/results")).expect("written");
            let list = Command::new("/bin/sh")
                .args(["-c", "cd out/tree && find . -path '*/.git/*' -prune -o -printf '%p %y %m %l\\n' | sort; find . -path '*/.git/*' -prune -o -type f -exec sha256sum {} + | sort -k2"])
                .current_dir(at)
                .output()
                .expect("runs");
            let tree = String::from_utf8_lossy(&list.stdout).into_owned();
            rounds.push((results, tree));
        }
        seen.push(rounds);
    }
    assert_eq!(seen[0], seen[1], "left is ansible-core");
}

#[test]
fn git_brings_what_ansible_core_brings() {
    let play = r#"
- hosts: all
  gather_facts: false
  tasks:
  - git: {repo: "{{ base }}/r.git", dest: "{{ out }}/tree/head"}
    register: r1
  - git: {repo: "file://{{ base }}/r.git", dest: "{{ out }}/tree/tag", version: v1}
    register: r2
  - git: {repo: "file://{{ base }}/r.git", dest: "{{ out }}/tree/branch", version: other, depth: 1}
    register: r3
  - git: {repo: "file://{{ base }}/r.git", dest: "{{ out }}/tree/branch", version: v1, depth: 1}
    register: r4
  - git: {repo: "file://{{ base }}/r.git", dest: "{{ out }}/tree/tag", version: main}
    register: r5
  - git: {repo: "file://{{ base }}/r.git", dest: "{{ out }}/tree/tag", version: main, update: false}
    register: r6
  - copy: {content: "mine\n", dest: "{{ out }}/tree/tag/f"}
  - git: {repo: "file://{{ base }}/r.git", dest: "{{ out }}/tree/tag", version: main}
    register: r7
    ignore_errors: true
  - git: {repo: "file://{{ base }}/r.git", dest: "{{ out }}/tree/tag", version: v1, force: true}
    register: r8
  - git: {repo: "file://{{ base }}/r.git", dest: "{{ out }}/tree/never", version: other}
    check_mode: true
    register: r9
  - git: {repo: "file://{{ base }}/r.git", dest: "{{ out }}/tree/tag", version: other}
    check_mode: true
    register: r10
  - git: {repo: "file://{{ base }}/r.git", dest: "{{ out }}/tree/bare", bare: true}
    register: r11
  - git: {repo: "file://{{ base }}/r.git", clone: false, update: false, version: v1}
    register: r12
  - git: {repo: "file://{{ base }}/r.git", dest: "{{ out }}/tree/none", version: nowhere}
    register: r13
    ignore_errors: true
  - git: {repo: "file://{{ base }}/s.git", dest: "{{ out }}/tree/sub"}
    register: r14
  - copy:
      dest: "{{ out }}/results"
      content: "{% for r in [r1,r2,r3,r4,r5,r6,r7,r8,r9,r10,r11,r12,r13,r14] %}{{ loop.index }} {{ r.changed }} {{ r.failed | default(false) }} {{ r.before | default('-') }} {{ r.after | default('-') }} {{ r.remote_url_changed | default('-') }}\n{% endfor %}"
"#;
    same(play, |at| {
        let script = "git init -q -b main r.git; cd r.git; echo 1 > f; git add f; git commit -qm 1; git tag v1; git checkout -qb other; echo o > o; git add o; git commit -qm o; git checkout -q main; echo 2 > f; git commit -qam 2; cd ..; git init -q -b main s.git; cd s.git; git -c protocol.file.allow=always submodule -q add file://$PWD/../r.git m; git commit -qm s";
        write(
            at,
            ".gitconfig",
            "[user]\nname = n\nemail = a@b\n[protocol \"file\"]\nallow = always\n[safe]\ndirectory = *\n",
        );
        let mut command = Command::new("/bin/sh");
        // Commits at one time have one name in both folders.
        command.args(["-ec", script]).current_dir(at).env("HOME", at);
        command
            .env("GIT_AUTHOR_DATE", "2026-01-01T00:00:00Z")
            .env("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z");
        ok(command);
    });
}
