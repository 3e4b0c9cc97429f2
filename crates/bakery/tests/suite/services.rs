//! Modules that want systemd, beside ansible-core's own: each program works on a machine of its own, booted from the same
//! image. Results are compared, in check mode, for real and again, and what systemd and the kernel say afterwards.
//!
//! Python on an emulated processor is slow: what ansible-core answered is kept, with a digest over what it was asked.

use std::io::Read as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::{bakery_lasting as bakery, lasting_store, ok, program, result, said, write};

const TEMPLATE: &str = r#"{"builders": [{"type": "disk", "name": "services", "base": "debian:bookworm", "image_name": "services", "size": "3G", "formats": ["qcow2"]}],
"provisioners": [{"type": "shell", "inline": [
    "apt-get update -q && apt-get install -y -q --no-install-recommends python3 cron kmod",
    "printf '[Unit]\\nDescription=Ours\\n[Service]\\nExecStart=/bin/sleep infinity\\nExecReload=/bin/true\\n[Install]\\nWantedBy=multi-user.target\\n' > /etc/systemd/system/ours.service",
    "printf '[Unit]\\nDescription=Broken\\n[Service]\\nType=oneshot\\nExecStart=/bin/false\\n' > /etc/systemd/system/broken.service"
]}]}"#;

/// What is run. `differs` names what is not compared of a result, and why.
const TASKS: &str = r#"
- service: {name: ours, state: started, enabled: true}
- service: {name: ours, state: reloaded}
- service: {name: ours, state: restarted}
- systemd: {name: ours.service, enabled: false}
- systemd: {name: ours, masked: true}
- systemd: {name: ours, state: started}
- systemd: {name: ours, masked: false, enabled: true, state: started, daemon_reload: true}
- systemd: {daemon_reexec: true}
- systemd: {name: broken, state: started}
- systemd: {name: nothere, state: started}
- systemd: {name: nothere, enabled: true}
- service: {name: nothere, state: stopped}
- systemd: {name: ours, scope: system, state: stopped, no_block: true}
- service: {name: cron, state: stopped, enabled: false}
- service: {name: cron, enabled: true}
- hostname: {name: renamed}
- timezone: {name: Europe/Vienna}
- sysctl: {name: vm.swappiness, value: "17", sysctl_set: true}
- sysctl: {name: net.ipv4.ip_forward, value: "1", reload: true}
- sysctl: {name: no.such.thing, value: "1"}
- mount: {path: /srv/t, src: tmpfs, fstype: tmpfs, opts: size=1m, state: mounted}
- mount: {path: /srv/t, src: tmpfs, fstype: tmpfs, opts: size=2m, state: mounted}
- mount: {path: /srv/t, state: remounted}
- mount: {path: /srv/t, state: unmounted}
- modprobe: {name: loop, state: present}
- modprobe: {name: nosuchmodule}
- service_facts:
  vars: {differs: "units come and go while a machine starts"}
- setup: {gather_subset: ["!all", "!min", "service_mgr", "fips", "virtual"]}
  vars: {differs: "their addresses and names are their own"}
- shell: sleep 1; systemctl is-active ours cron; systemctl is-enabled ours cron; hostname; cat /etc/hostname /etc/timezone; readlink /etc/localtime; sysctl -n vm.swappiness net.ipv4.ip_forward; cat /etc/fstab; findmnt -n /srv/t; find /etc/systemd/system -name 'ours*' -o -name 'cron*' | sort; true
"#;

/// The restart of a machine, and that it is another boot.
const REBOOT: &str = r"
- command: cat /proc/sys/kernel/random/boot_id
  register: before
- reboot: {reboot_timeout: 300}
  register: reboot
- command: cat /proc/sys/kernel/random/boot_id
  register: after
- assert: {that: [reboot.changed, reboot.rebooted, before.stdout != after.stdout]}
- wait_for_connection:
- systemd: {name: ours, state: stopped}
";

/// Work while the clock jumps, thirty years back and forth: nothing waits for the clock, and what was done once is done.
const CLOCK: &str = r#"
- command: date -s 2010-01-01
- copy: {dest: /srv/kept, content: kept, backup: true}
  register: copied
- shell: sleep 2; date -s 2040-01-01; sleep 2; echo done
  async: 60
  poll: 1
  register: forward
- shell: sleep 2; date -s 2010-01-01; sleep 2; echo done
  async: 60
  poll: 1
  register: back
- wait_for: {path: /srv/nothere, timeout: 2}
  ignore_errors: true
  register: waited
- lineinfile: {path: /srv/kept, line: kept}
  register: line
- file: {path: /srv/touched, state: touch, modification_time: preserve, access_time: preserve}
- find: {paths: /srv, patterns: ".bakery-*,kept.*", hidden: true}
  register: left
- command: date -s @{{ lookup('pipe', 'date +%s') }}
- assert:
    that:
    - forward.stdout_lines[-1] == 'done' and back.stdout_lines[-1] == 'done'
    - waited is failed and waited.elapsed < 60
    - copied.changed == (round == 'first') and not line.changed
    - left.files == []
"#;

struct CleanUp(PathBuf);

impl Drop for CleanUp {
    fn drop(&mut self) {
        let _ = bakery(&self.0, &["destroy", "main.tf", "--local"]).output();
    }
}

/// A play over the one host of an inventory.
fn play(tasks: &str) -> String {
    let indented: String = tasks.trim().lines().map(|line| format!("    {line}\n")).collect();
    format!("- hosts: all\n  gather_facts: false\n  tasks:\n{indented}")
}

/// The tasks with names for their results, which the last one writes down here.
fn registered(results: &Path) -> String {
    let mut names = Vec::new();
    let mut out = String::new();
    let lines: Vec<&str> = TASKS.trim().lines().collect();
    for (at, line) in lines.iter().enumerate() {
        out.push_str(&format!("{line}\n"));
        if lines.get(at + 1).is_none_or(|next| next.starts_with("- ")) {
            let name = format!("r{}", names.len());
            out.push_str(&format!("  register: {name}\n  ignore_errors: true\n"));
            names.push(name);
        }
    }
    let all: Vec<String> = names.iter().map(|name| format!("'{name}': {name}")).collect();
    out.push_str(&format!(
        "- copy: {{dest: \"{}\", content: \"{{{{ {{{}}} | to_json }}}}\"}}\n  delegate_to: localhost\n  check_mode: false\n",
        results.display(),
        all.join(", ")
    ));
    play(&out)
}

/// A play with ansible-core's own integration targets that want systemd, beside which their roles are found.
fn targets(at: &Path) -> String {
    let reference = std::env::var_os("BAKERY_REFERENCE").map(PathBuf::from);
    let reference = reference.expect("BAKERY_REFERENCE names ansible-core's programs; scripts/test sets it");
    let sources = crate::reference::sources_of_core(&reference);
    let sources = sources.unwrap_or_else(|failed| panic!("no sources: {failed:?}"));
    std::os::unix::fs::symlink(sources.join("test/integration/targets"), at.join("roles")).expect("linked");
    let rows = include_str!("../conformance/targets.tsv").lines();
    let names: Vec<&str> = rows.filter_map(|row| row.split_once("\tbooted")).map(|(name, _)| name).collect();
    assert!(!names.is_empty(), "no target wants a machine");
    format!("- hosts: all\n  roles: [{}]\n", names.join(", "))
}

/// Runs a playbook by one of the programs; all that it said.
fn run(at: &Path, who: &str, playbook: &str, more: &[&str]) -> String {
    let reference = std::env::var_os("BAKERY_REFERENCE").map(PathBuf::from);
    let reference = reference.expect("BAKERY_REFERENCE names ansible-core's programs; scripts/test sets it");
    let mut command = if who == "theirs" {
        let mut command = Command::new(reference.join("ansible-playbook"));
        let collections = crate::reference::collections(&reference);
        let collections = collections.unwrap_or_else(|failed| panic!("no collections: {failed:?}"));
        command.env("ANSIBLE_COLLECTIONS_PATH", collections);
        command
    } else {
        let mut command = Command::new(program("bakery"));
        command.arg("play");
        command
    };
    command.args(["-i", &format!("{who}.hosts"), playbook]).args(more).current_dir(at);
    command.env("ANSIBLE_PIPELINING", "1").env("ANSIBLE_HOST_KEY_CHECKING", "false").env("NO_COLOR", "1");
    let output = command.output().expect("runs");
    let text = said(&output);
    assert!(output.status.success(), "{who} {playbook}:\n{text}");
    text
}

/// What is compared of a result.
fn steady(result: &Json) -> Json {
    let mut out = serde_json::Map::new();
    let failed = result["failed"] == true;
    for (key, value) in result.as_object().into_iter().flatten() {
        let told = match key.as_str() {
            "changed" | "failed" | "skipped" => true,
            // What units are like changes by itself, and sentences about failures are each program's own.
            "name" | "enabled" | "state" | "stdout" | "rc" => !failed,
            _ => false,
        };
        if told {
            out.insert(key.clone(), value.clone());
        }
    }
    for key in ["changed", "failed"] {
        out.entry(key).or_insert(Json::Bool(false));
    }
    Json::Object(out)
}

/// Waits until a port speaks ssh.
fn wait_for_ssh(port: u64) {
    let started = Instant::now();
    let mut banner = [0; 4];
    while started.elapsed() < Duration::from_mins(3) {
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port as u16)) {
            let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
            if stream.read_exact(&mut banner).is_ok() && banner == *b"SSH-" {
                return;
            }
        }
        std::thread::sleep(Duration::from_millis(500));
    }
    panic!("nothing speaks ssh on port {port}");
}

/// Where ansible-core's answers are kept.
fn kept() -> PathBuf {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    (TEMPLATE, TASKS).hash(&mut hasher);
    lasting_store().with_file_name("oracle").join(format!("services-{:016x}.json", hasher.finish()))
}

#[test]
fn modules_of_systemd_do_as_those_of_ansible_core() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    write(at, "services.json", TEMPLATE);
    ok(bakery(at, &["bake", "services.json"]));
    let kept = kept();
    let mut known: Vec<Json> = match std::fs::read(&kept) {
        Ok(text) => serde_json::from_slice(&text).expect("JSON"),
        Err(_) => vec![],
    };
    let is_known = !known.is_empty();
    let who: &[&str] = if is_known { &["ours"] } else { &["theirs", "ours"] };
    let machine = |name: &&str| {
        format!(
            "resource \"aws_instance\" \"{name}\" {{\n  ami = \"services\"\n  instance_type = \"t3.medium\"\n}}\n"
        )
    };
    write(at, "main.tf", &who.iter().map(machine).collect::<String>());
    let _clean_up = CleanUp(at.to_path_buf());
    let machines = result(&ok(bakery(at, &["apply", "main.tf", "--local", "--wait", "--json"])));
    let key = lasting_store().join("id_ed25519");
    assert!(key.exists(), "{} is not there", key.display());
    for who in who {
        let all = machines.as_array().expect("instances").iter();
        let machine = all.clone().find(|m| m["address"].as_str().is_some_and(|a| a.ends_with(who)));
        let machine = machine.unwrap_or_else(|| panic!("no {who} in {machines}"));
        let ports = machine["ports"].as_array().expect("ports");
        let port = ports.iter().find(|p| p[0] == 22).and_then(|p| p[1].as_u64()).expect("ssh");
        wait_for_ssh(port);
        let line = format!(
            "machine ansible_host=127.0.0.1 ansible_port={port} ansible_user=root ansible_ssh_private_key_file={} ansible_python_interpreter=/usr/bin/python3\n",
            key.display()
        );
        write(at, &format!("{who}.hosts"), &line);
        write(at, &format!("{who}.yml"), &registered(&at.join(format!("{who}.json"))));
    }
    write(at, "reboot.yml", &play(REBOOT));
    let mut wrong = Vec::new();
    for (number, (round, more)) in
        [("check", &["--check"][..]), ("first", &[]), ("second", &[])].into_iter().enumerate()
    {
        std::thread::scope(|threads| {
            for who in who {
                threads.spawn(move || run(at, who, &format!("{who}.yml"), more));
            }
        });
        let read = |who: &str| -> Json {
            let text = std::fs::read_to_string(at.join(format!("{who}.json"))).expect("written");
            serde_json::from_str(&text).expect("JSON")
        };
        if !is_known {
            known.push(read("theirs"));
        }
        let (theirs, ours) = (&known[number], &read("ours"));
        let tasks: Vec<&str> = TASKS.trim().split("\n- ").collect();
        for (number, task) in tasks.iter().enumerate().filter(|(_, task)| !task.contains("differs:")) {
            let of = |all: &Json| steady(&all[format!("r{number}")]);
            if of(theirs) != of(ours) {
                wrong.push(format!(
                    "{round}: {task}\n  theirs {}\n  ours   {}\n  {} | {}",
                    of(theirs),
                    of(ours),
                    theirs[format!("r{number}")]["msg"],
                    ours[format!("r{number}")]["msg"]
                ));
            }
        }
    }
    if !is_known {
        std::fs::create_dir_all(kept.parent().expect("a folder")).expect("made");
        std::fs::write(&kept, serde_json::to_vec(&known).expect("JSON")).expect("kept");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    write(at, "targets.yml", &targets(at));
    run(at, "ours", "targets.yml", &[]);
    run(at, "ours", "reboot.yml", &[]);
    write(at, "clock.yml", &play(CLOCK));
    for round in ["first", "second"] {
        run(at, "ours", "clock.yml", &["-e", &format!("round={round}")]);
    }
}
