//! Playbooks beside ansible-core, the reference program: the same recap, statuses and files.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use super::{bakery, ok, write};

const PLAYBOOK: &str = r#"
- hosts: all
  gather_facts: false
  vars:
    base: "{{ lookup('env', 'OUT') }}"
    packages: [a, b]
    nested: { k: "{{ packages | join('-') }}" }
  tasks:
    - file: { path: "{{ base }}", state: directory, mode: "0750" }
    - name: write
      copy: { content: "x={{ nested.k }}\n", dest: "{{ base }}/c", mode: "0640" }
      notify: told
    - template: { src: t.j2, dest: "{{ base }}/t" }
    - lineinfile: { path: "{{ base }}/c", regexp: '^x=', line: 'x=2' }
    - lineinfile: { path: "{{ base }}/c", line: 'y=3', insertbefore: BOF }
    - blockinfile: { path: "{{ base }}/c", block: "one\ntwo" }
    - replace: { path: "{{ base }}/c", regexp: '^two$', replace: 'three' }
    - command: cat {{ base }}/c
      register: shown
      changed_when: false
    - assert: { that: ["'three' in shown.stdout", shown.rc == 0] }
    - name: loop
      file: { path: "{{ base }}/{{ item }}", state: touch, mode: "0600", modification_time: preserve, access_time: preserve }
      loop: "{{ packages }}"
      when: item != 'b' or packages | length > 1
    - file: { src: c, dest: "{{ base }}/link", state: link }
    - block:
        - command: /bin/false
      rescue:
        - debug: msg="rescued {{ ansible_failed_task.name }}"
      always:
        - debug: msg=always
    - command: /bin/false
      ignore_errors: true
    - set_fact: { answer: "{{ (shown.stdout_lines | length) * 2 }}" }
    - debug: var=answer
      when: answer | int > 2
    - command: /bin/true
      args: { creates: "{{ base }}/c" }
    - stat: { path: "{{ base }}/link" }
      register: s
    - fail: { msg: "no" }
      when: not s.stat.islnk
    - include_tasks: more.yml
      loop: [1, 2]
      loop_control: { loop_var: number }
    - shell: exit 3
      register: r
      failed_when: r.rc != 3
      until: r.rc == 3
      retries: 2
      delay: 0
  handlers:
    - name: told
      copy: { content: "told", dest: "{{ base }}/told" }
"#;

fn files(folder: &Path) -> BTreeMap<String, (u32, String)> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut out = BTreeMap::new();
    for entry in std::fs::read_dir(folder).expect("readable") {
        let path = entry.expect("an entry").path();
        let meta = path.symlink_metadata().expect("there");
        let content = if meta.is_symlink() {
            std::fs::read_link(&path).expect("a link").display().to_string()
        } else {
            std::fs::read_to_string(&path).unwrap_or_default()
        };
        out.insert(
            path.file_name().expect("a name").to_string_lossy().into_owned(),
            (meta.permissions().mode(), content),
        );
    }
    out
}

fn statuses(document: &str) -> Vec<String> {
    let start = document.find('{').expect("a document");
    let json: serde_json::Value = serde_json::from_str(&document[start..]).expect("JSON");
    let mut out = Vec::new();
    for task in json["plays"]
        .as_array()
        .expect("plays")
        .iter()
        .flat_map(|p| p["tasks"].as_array().cloned().unwrap_or_default())
    {
        for (host, result) in task["hosts"].as_object().expect("hosts") {
            let flag = |name: &str| result[name].as_bool().unwrap_or(false);
            out.push(format!(
                "{}|{host}|{}{}{}",
                task["task"]["name"].as_str().unwrap_or_default(),
                flag("changed"),
                flag("failed"),
                flag("skipped")
            ));
        }
    }
    let stats = &json["stats"]["localhost"];
    for name in ["ok", "changed", "failures", "skipped", "rescued", "ignored"] {
        out.push(format!("{name}={}", stats[name]));
    }
    out
}

#[test]
fn a_playbook_ends_as_with_ansible_core_on_both_runs_and_in_check_mode() {
    let Some(reference) = std::env::var_os("BAKERY_REFERENCE") else {
        // Outside of the test script there is no reference program; the script always has one.
        assert!(std::env::var_os("CI").is_none(), "the reference program is missing");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    write(at, "p.yml", PLAYBOOK);
    write(
        at,
        "templates/t.j2",
        "{% for p in packages %}\n{{ loop.index }}: {{ p }}\n{% endfor %}\n{{ nested | to_nice_json }}\n{{ [1, 'two', True, none] }}\n",
    );
    write(at, "more.yml", "- debug: msg=\"number {{ number }}\"\n");
    let mut results = Vec::new();
    for engine in ["ansible", "bakery"] {
        let out = at.join("out");
        std::fs::remove_dir_all(&out).ok();
        let mut runs = Vec::new();
        for check in [false, false, true] {
            let mut command = if engine == "bakery" {
                bakery(at, &["play"])
            } else {
                {
                    let mut ansible = Command::new(Path::new(&reference).join("ansible-playbook"));
                    let python = Path::new(&reference).join("python3");
                    ansible.arg("-e").arg(format!("ansible_python_interpreter={}", python.display()));
                    ansible
                }
            };
            command.args(["-i", "localhost,", "-c", "local", "p.yml"]).current_dir(at).env("OUT", &out).env(
                "ANSIBLE_STDOUT_CALLBACK",
                if engine == "bakery" { "json" } else { "ansible.posix.json" },
            );
            if check {
                command.arg("--check");
            }
            runs.push(ok_or_json(command, engine, at));
        }
        results.push((runs, files(&out)));
    }
    let (ansible, ours) = (&results[0], &results[1]);
    assert_eq!(ansible.1, ours.1, "the files differ");
    for (run, (a, b)) in ansible.0.iter().zip(&ours.0).enumerate() {
        assert_eq!(a, b, "run {run} differs");
    }
}

/// ansible-core alone has no `json` callback; its default output gives the recap and the statuses.
fn ok_or_json(mut command: Command, engine: &str, _: &Path) -> Vec<String> {
    if engine == "bakery" {
        let output = command.output().expect("runs");
        return recap(&statuses(&String::from_utf8_lossy(&output.stdout)));
    }
    command.env("ANSIBLE_STDOUT_CALLBACK", "default").env("ANSIBLE_NOCOLOR", "1");
    let text = String::from_utf8_lossy(&command.output().expect("runs").stdout).into_owned();
    let line =
        text.lines().find(|l| l.starts_with("localhost ")).unwrap_or_else(|| panic!("no recap\n{text}"));
    let word = |name: &str| {
        line.split_whitespace()
            .find_map(|w| w.strip_prefix(&format!("{name}=")).map(str::to_owned))
            .unwrap_or_default()
    };
    [
        ("ok", "ok"),
        ("changed", "changed"),
        ("failures", "failed"),
        ("skipped", "skipped"),
        ("rescued", "rescued"),
        ("ignored", "ignored"),
    ]
    .iter()
    .map(|(n, k)| format!("{n}={}", word(k)))
    .collect()
}

fn recap(statuses: &[String]) -> Vec<String> {
    statuses.iter().filter(|s| s.contains('=') && !s.contains('|')).cloned().collect()
}

#[test]
fn exit_codes_and_diffs() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    write(at, "fail.yml", "- hosts: all\n  gather_facts: false\n  tasks:\n    - fail: msg=no\n");
    write(at, "far.yml", "- hosts: all\n  gather_facts: false\n  tasks:\n    - ping:\n");
    write(
        at,
        "diff.yml",
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - copy: content=\"new\\n\" dest=target\n",
    );
    write(at, "target", "old\n");
    let code = |args: &[&str]| bakery(at, args).output().expect("runs").status.code();
    assert_eq!(code(&["play", "-i", "localhost,", "-c", "local", "fail.yml"]), Some(2));
    assert_eq!(code(&["play", "-i", "elsewhere,", "far.yml"]), Some(4));
    assert_eq!(code(&["play", "-i", "localhost,", "none.yml"]), Some(1));
    let text = ok(bakery(at, &["play", "-i", "localhost,", "-c", "local", "--check", "--diff", "diff.yml"]));
    assert!(text.contains("-old") && text.contains("+new"), "{text}");
    assert_eq!(
        std::fs::read_to_string(at.join("target")).expect("there"),
        "old\n",
        "check mode changed something"
    );
}

#[test]
fn a_playbook_that_imports_itself_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "p.yml", "- import_playbook: p.yml\n");
    let output = bakery(folder.path(), &["play", "p.yml"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(4));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("imports nest too deep") && said.contains("p.yml:1:3"), "{said}");
}

#[test]
fn a_file_in_the_working_folder_is_no_module() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    write(at, "ping", "#!/bin/sh\necho '{\"changed\": false, \"msg\": \"hijacked\"}'\n");
    write(at, "book/p.yml", "- hosts: localhost\n  gather_facts: false\n  tasks:\n  - ping:\n");
    let text = ok(bakery(at, &["play", "-i", "localhost,", "-c", "local", "-v", "book/p.yml"]));
    assert!(text.contains("pong") && !text.contains("hijacked"), "{text}");
}

#[test]
fn what_a_module_in_python_keeps_secret_is_not_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    write(
        at,
        "library/secretive.py",
        "from ansible.module_utils.basic import AnsibleModule\n\
         m = AnsibleModule(dict(password=dict(no_log=True), name=dict()))\n\
         m.exit_json(changed=False, hello=m.params['name'])\n",
    );
    write(
        at,
        "p.yml",
        "- hosts: localhost\n  gather_facts: false\n  tasks:\n  - secretive: {name: world, password: hunter2}\n",
    );
    // The interpreter of the reference programs has the module utilities.
    let reference = std::env::var("BAKERY_REFERENCE").expect("scripts/test sets it");
    let python = format!("ansible_python_interpreter={reference}/python3");
    for how in [&["-vvv"][..], &["--output", "json"][..]] {
        let args = [&["play", "-i", "localhost,", "-c", "local", "-e", &python, "p.yml"][..], how].concat();
        let mut command = bakery(at, &args);
        command.env("PATH", format!("{reference}:{}", std::env::var("PATH").unwrap_or_default()));
        let text = ok(command);
        assert!(text.contains("world") && !text.contains("hunter2"), "{text}");
    }
}
