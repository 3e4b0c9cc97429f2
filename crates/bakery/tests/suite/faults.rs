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
    // What a kill left is removed by whoever writes the file next, once the one that was killed is gone: on a busy machine it
    // may wait for its disk.
    let left = || -> Vec<_> {
        std::thread::sleep(Duration::from_millis(1100));
        std::fs::remove_file(&target).expect("removed");
        ok(copy("b.txt"));
        std::fs::read_dir(at.join("out")).expect("read").filter_map(Result::ok).collect()
    };
    let mut last = left();
    for _ in 0..9 {
        if last.len() > 1 {
            last = left();
        }
    }
    assert_eq!(last.len(), 1, "{last:?}");
}

/// A mirror of packages that is as bad as a file says: it gives other bytes, or stops in the middle.
const MIRROR: &str = r#"
import http.server, os, sys, time
class Mirror(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        path = self.path.lstrip("/")
        mode, _, what = open("mode").read().strip().partition(" ")
        if not os.path.isfile(path):
            return self.send_error(404)
        content = open(path, "rb").read()
        is_meant = what and path.endswith(what)
        if is_meant and mode == "lies":
            content = content[:-9] + bytes(9)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if is_meant and mode == "stalls":
            self.wfile.write(content[:len(content) // 2])
            self.wfile.flush()
            time.sleep(60)
            self.close_connection = True
            return
        self.wfile.write(content)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Mirror)
server.daemon_threads = True
server.serve_forever()
"#;

/// What runs on an overlay: a repository with one package, and what comes of it with a mirror of every kind.
const PACKAGES: &str = r#"
cd "$1"; bakery=$2; ip link set lo up
mkdir -p repository tree/DEBIAN tree/opt/bread; cd repository
printf 'Package: bread\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: bread\n' > ../tree/DEBIAN/control
head -c 300000 /dev/urandom > ../tree/opt/bread/loaf
dpkg-deb --build ../tree bread.deb > /dev/null
{ cat ../tree/DEBIAN/control; echo "Filename: ./bread.deb"; echo "Size: $(stat -c %s bread.deb)"; echo "SHA256: $(sha256sum bread.deb | cut -d' ' -f1)"; echo; } > Packages
{ echo "Date: $(date -Ru)"; echo "SHA256:"; echo " $(sha256sum Packages | cut -d' ' -f1) $(stat -c %s Packages) Packages"; } > Release
echo good > mode
python3 ../mirror.py 8099 & mirror=$!
trap "kill $mirror" EXIT
cd ..
until python3 -c 'import socket; socket.create_connection(("127.0.0.1", 8099))' 2>/dev/null; do sleep 0.1; done
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/* /var/lib/apt/lists/*
echo 'deb [trusted=yes] http://127.0.0.1:8099/ ./' > /etc/apt/sources.list
printf 'Acquire::http::Timeout "2";\nAcquire::Retries "0";\n' > /etc/apt/apt.conf.d/99impatient
sum=$(sha256sum repository/bread.deb | cut -d' ' -f1)
cat > play.yml <<END
- hosts: localhost
  gather_facts: false
  tasks:
  - apt: {name: bread, update_cache: true, update_cache_retries: 1}
    ignore_errors: true
  - get_url: {url: "http://127.0.0.1:8099/bread.deb", dest: $PWD/fetched.deb, checksum: "sha256:$sum", timeout: 2}
    ignore_errors: true
END
for mode in "lies Packages" "lies .deb" "stalls .deb" good; do
    echo "$mode" > repository/mode; rm -f fetched.deb
    echo "== $mode"
    timeout 60 "$bakery" play play.yml 2>&1 || echo "ended with $?"
    echo "installed: $(dpkg-query -W -f '${Status}' bread 2>/dev/null || echo no), loaf: $(test -e /opt/bread/loaf && cmp /opt/bread/loaf tree/opt/bread/loaf && echo whole || echo no), fetched: $(test -e fetched.deb && echo "$(cmp fetched.deb repository/bread.deb && echo whole)" || echo no), beside: $(ls -A | grep -c '^\.' || true)"
done
"#;

#[test]
fn a_mirror_that_lies_or_stalls_leaves_nothing_and_a_good_one_repairs() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    write(at, "mirror.py", MIRROR);
    write(at, "packages.sh", PACKAGES);
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut command = Command::new(tests.join("on-overlay"));
    command.arg("sh").arg(at.join("packages.sh")).arg(at).arg(program("bakery")).current_dir(at);
    command.env("UNSHARE", "--net").env("BAKERY_HOME", at.join("store")).env("NO_COLOR", "1");
    let said = ok(command);
    let states: Vec<&str> = said.lines().filter(|line| line.starts_with("installed: ")).collect();
    let (bad, good) = (
        "installed: no, loaf: no, fetched: no, beside: 0",
        "installed: install ok installed, loaf: whole, fetched: whole, beside: 0",
    );
    let index = "installed: no, loaf: no, fetched: whole, beside: 0";
    let wanted = [index, bad, bad, good];
    assert_eq!(states, wanted, "{said}");
    for word in ["Hash Sum mismatch", "Connection timed out", "checksum", "sent nothing for 2 seconds"] {
        assert!(said.contains(word), "nobody says {word}: {said}");
    }
}
