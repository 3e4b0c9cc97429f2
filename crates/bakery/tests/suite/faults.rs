//! What goes wrong below a module: a disk that is full or read-only, a kill in the middle of a write. Files are the old ones
//! or the new ones, nothing is left beside them, and doing it again repairs.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{bakery, ok, program, write};

/// A task for every module that writes files, each with more than the small disk has room for.
const TASKS: &str = r#"
- {name: copy, copy: {content: "{{ big }}", dest: SMALL/copy}}
- {name: copy_file, copy: {src: big.txt, dest: SMALL/copy_file}}
- {name: remote, copy: {src: HERE/big.txt, dest: SMALL/remote, remote_src: true}}
- {name: template, template: {src: big.j2, dest: SMALL/template}}
- {name: lineinfile, lineinfile: {path: SMALL/lineinfile, line: "{{ big }}"}}
- {name: blockinfile, blockinfile: {path: SMALL/blockinfile, block: "{{ big }}"}}
- {name: replace, replace: {path: SMALL/replace, regexp: old, replace: "{{ big }}"}}
- {name: ini_file, ini_file: {path: SMALL/ini_file, section: a, option: b, value: "{{ big }}"}}
- {name: assemble, assemble: {src: HERE/parts, dest: SMALL/assemble, remote_src: false}}
- {name: unarchive, unarchive: {src: big.tar, dest: SMALL}}
- {name: get_url, get_url: {url: "http://127.0.0.1:PORT/big.txt", dest: SMALL/get_url, force: true}}
"#;

/// The files that the tasks write.
const FILES: &[&str] = &[
    "copy",
    "copy_file",
    "remote",
    "template",
    "lineinfile",
    "blockinfile",
    "replace",
    "ini_file",
    "assemble",
    "unarchive",
    "get_url",
];

/// A web server for a folder; it ends with the test.
struct Web {
    child: Child,
    port: u16,
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Web {
    fn start(at: &Path) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let mut command = Command::new("python3");
        command.args(["-m", "http.server", "--bind", "127.0.0.1", &port.to_string()]).current_dir(at);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("python3 runs");
        let server = Self { child, port };
        for _ in 0..200 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return server;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the web server does not answer");
    }
}

/// Puts a playbook into a folder, and old files on its small disk.
fn set_up(at: &Path, port: u16) {
    std::fs::create_dir_all(at.join("small")).expect("made");
    let place = at.display().to_string();
    let tasks = TASKS.replace("SMALL", &format!("{place}/small")).replace("HERE", &place);
    let tasks = tasks.replace("PORT", &port.to_string()).replace("}}\n", "}, ignore_errors: true}\n");
    write(at, "tasks.yml", &tasks);
    write(
        at,
        "play.yml",
        "- hosts: localhost\n  gather_facts: false\n  vars: {big: \"{{ lookup('file', 'big.txt') }}\"}\n  tasks: [{include_tasks: tasks.yml}]\n",
    );
    write(at, "big.txt", &"0123456789abcdef".repeat(6 << 10));
    write(at, "big.j2", "{{ big }}");
    std::fs::create_dir_all(at.join("parts")).expect("made");
    std::fs::copy(at.join("big.txt"), at.join("parts/one")).expect("copied");
    std::fs::copy(at.join("big.txt"), at.join("unarchive")).expect("copied");
    let mut tar = Command::new("tar");
    tar.arg("-C").arg(at).arg("-cf").arg(at.join("big.tar")).arg("unarchive");
    ok(tar);
}

/// Runs a shell script in a mount namespace of its own.
fn apart(at: &Path, script: &str) -> String {
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-euc", script]).current_dir(at).env("BAKERY", program("bakery"));
    command.env("BAKERY_HOME", at.join("store")).env("NO_COLOR", "1");
    ok(command)
}

/// What starts every script: a small disk with old files, all but full.
fn small_disk() -> String {
    let files = FILES.join(" ");
    format!(
        "mount -t tmpfs -o size=2m none small; for f in {files}; do echo old > small/$f; done\n\
         state() {{ for f in {files}; do if [ \"$(cat small/$f)\" = old ]; then echo $f old; elif [ $(wc -c < small/$f) -ge 98304 ]; then echo $f new; else echo $f half; fi; done; ls -A small | grep '^\\.' || true; }}\n"
    )
}

fn all(state: &str) -> String {
    FILES.iter().map(|file| format!("{file} {state}\n")).collect()
}

#[test]
fn a_full_disk_leaves_the_old_files_and_a_second_run_repairs() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let server = Web::start(at);
    set_up(at, server.port);
    let script = small_disk()
        + "dd if=/dev/zero of=small/filler bs=4k 2>/dev/null || true\n\
           \"$BAKERY\" play play.yml > out 2>&1 || true; state > full; rm small/filler\n\
           \"$BAKERY\" play play.yml > again 2>&1 || true; state > repaired\n";
    apart(at, &script);
    drop(server);
    let read = |name: &str| std::fs::read_to_string(at.join(name)).expect("there");
    let said = read("out");
    assert_eq!(read("full"), all("old"), "{said}");
    let told = said.lines().filter(|l| l.contains("fatal:") && l.contains("No space left on device")).count();
    assert_eq!(told, FILES.len(), "{said}");
    assert_eq!(read("repaired"), all("new"), "{}", read("again"));
}

#[test]
fn a_read_only_disk_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let server = Web::start(at);
    set_up(at, server.port);
    let script = small_disk()
        + "mount -o remount,ro small\n\"$BAKERY\" play play.yml > out 2>&1 || true; state > after\n";
    apart(at, &script);
    drop(server);
    let said = std::fs::read_to_string(at.join("out")).expect("there");
    assert_eq!(std::fs::read_to_string(at.join("after")).expect("there"), all("old"), "{said}");
    let told = said.lines().filter(|l| l.contains("fatal:") && l.contains("Read-only file system")).count();
    assert_eq!(told, FILES.len(), "{said}");
}

#[test]
fn a_kill_leaves_the_old_file_or_the_new_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    let size = 24 << 20;
    let contents = [vec![b'a'; size], vec![b'b'; size]];
    for (name, content) in ["a.txt", "b.txt"].iter().zip(&contents) {
        std::fs::write(at.join(name), content).expect("written");
    }
    std::fs::create_dir(at.join("out")).expect("made");
    let target = at.join("out/target");
    let copy = |from: &str| {
        let arguments = format!("src={}/{from} dest={}", at.display(), target.display());
        bakery(at, &["adhoc", "localhost", "-m", "copy", "-a", &arguments])
    };
    ok(copy("a.txt"));
    for round in 0..24u64 {
        let from = if round % 2 == 0 { "b.txt" } else { "a.txt" };
        let mut child = copy(from).spawn().expect("starts");
        std::thread::sleep(Duration::from_millis(10 + round * 6));
        let _ = child.kill();
        child.wait().expect("ends");
        let held = std::fs::read(&target).expect("there");
        assert!(contents.contains(&held), "half a file after round {round}");
    }
    // What a kill left is removed by whoever writes the file next.
    std::thread::sleep(Duration::from_millis(1100));
    std::fs::remove_file(&target).expect("removed");
    ok(copy("b.txt"));
    let left: Vec<_> = std::fs::read_dir(at.join("out")).expect("read").filter_map(Result::ok).collect();
    assert_eq!(left.len(), 1, "{left:?}");
}
