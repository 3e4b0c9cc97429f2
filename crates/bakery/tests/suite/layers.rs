//! What bakes remember: a bake that uses it must come to the tree that a bake from nothing comes to, whatever changed,
//! and whatever went wrong before. The base is a small root of busybox, so that a bake takes a tenth of a second.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::{bakery, fails, ok, result, said, write};

/// A project with a base: `packer.json` and `playbook.yml` are the caller's.
pub(crate) struct Project {
    folder: tempfile::TempDir,
}

impl Project {
    pub(crate) fn new() -> Self {
        let project = Self { folder: tempfile::tempdir().expect("a folder") };
        let root = project.at().join("root");
        for folder in
            ["bin", "etc", "tmp", "run", "proc", "dev", "root", "usr/sbin", "usr/bin", "var/lib", "home"]
        {
            std::fs::create_dir_all(root.join(folder)).expect("made");
        }
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|p| Path::new(p).is_file());
        std::fs::copy(busybox.expect("busybox-static is installed"), root.join("bin/busybox"))
            .expect("copied");
        for name in [
            "sh", "cat", "echo", "sleep", "grep", "test", "ls", "mkdir", "chmod", "tar", "rm", "id", "true",
            "false",
        ] {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).expect("linked");
        }
        write(&root, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\nother:x:1000:1000::/home:/bin/sh\n");
        write(&root, "etc/group", "root:x:0:\nother:x:1000:\n");
        let tar = Command::new("tar")
            .args(["--mode=u+rwX,go+rX", "--owner=0", "--group=0", "--mtime=@0", "--sort=name", "-cf"])
            .arg(project.at().join("base.tar"))
            .arg("-C")
            .arg(&root)
            .arg(".")
            .status();
        assert!(tar.expect("tar runs").success());
        std::fs::remove_dir_all(&root).expect("removed");
        project.template(r#"{"type": "ansible", "playbook_file": "playbook.yml"}"#);
        project
    }

    pub(crate) fn at(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn template(&self, provisioners: &str) {
        let text = format!(
            r#"{{"builders": [{{"type": "disk", "base": "base.tar", "image_name": "small", "formats": ["tar"]}}], "provisioners": [{provisioners}]}}"#
        );
        write(self.at(), "packer.json", &text);
    }

    pub(crate) fn tasks(&self, tasks: &str) {
        let tasks = tasks.replace('\n', "\n    ");
        write(
            self.at(),
            "playbook.yml",
            &format!("- hosts: all\n  gather_facts: false\n  tasks:\n    {tasks}\n"),
        );
    }

    /// `bakery bake`, with a store of another place if one is named.
    fn bake(&self, store: &str) -> Command {
        let mut command = bakery(self.at(), &["bake", "--json", "packer.json"]);
        command.env("BAKERY_HOME", self.at().join(store));
        command
    }

    /// The tree that a bake comes to, and the notes that it made.
    pub(crate) fn baked(&self, store: &str) -> (BTreeMap<String, String>, String) {
        let output = self.bake(store).output().expect("runs");
        assert!(output.status.success(), "{}", said(&output));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let notes = text.lines().filter(|l| l.contains("\"event\":\"note\"")).collect::<Vec<_>>().join("\n");
        (tree(Path::new(result(&text)["files"]["tar"].as_str().expect("a path"))), notes)
    }

    /// What a bake from nothing comes to.
    fn cold(&self) -> BTreeMap<String, String> {
        let tree = self.baked("cold").0;
        std::fs::remove_dir_all(self.at().join("cold")).expect("removed");
        tree
    }
}

/// Every path of an archive with its kind, mode, owner, and content or target. Not its time.
fn tree(archive: &Path) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(std::fs::File::open(archive).expect("opens"));
    let entries = archive.entries().expect("an archive");
    let mut found = BTreeMap::new();
    for entry in entries {
        let mut entry = entry.expect("an entry");
        let path = entry.path().expect("a path").display().to_string();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("read");
        let header = entry.header();
        let target = entry.link_name().expect("a name").map(|t| t.display().to_string()).unwrap_or_default();
        let text = if content.len() > 4096 {
            content.len().to_string()
        } else {
            String::from_utf8_lossy(&content).into_owned()
        };
        let shown = format!(
            "{:?} {:o} {}:{} {target}{text}",
            header.entry_type(),
            header.mode().expect("a mode"),
            header.uid().expect("an owner"),
            header.gid().expect("a group"),
        );
        found.insert(path, shown);
    }
    found
}

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

/// Tasks that lean on what tasks before did: registered results, facts that were set, files that were written, handlers.
/// `N` is another number each time.
const PIECES: &[&str] = &[
    "- command: echo N\n  register: r",
    "- copy: {dest: /etc/registered, content: \"{{ r.stdout | default('none') }}\\n\"}",
    "- set_fact: {f: \"{{ f | default('') }}N\"}",
    "- copy: {dest: /etc/fact, content: \"{{ f | default('none') }}\\n\"}",
    "- copy: {dest: \"/etc/loop{{ item }}\", content: \"N {{ item }}\\n\"}\n  loop: [1, 2, 3]\n  register: loops",
    "- lineinfile: {path: /etc/lines, line: \"line N\", create: true}\n  notify: told",
    "- shell: echo N >> /etc/appended; sleep 0.2",
    "- shell: echo \"$0 N\" >> /etc/slow; sleep 0.5",
    "- block:\n    - command: test -e /etc/loop2\n    - file: {path: /etc/block, state: touch, access_time: preserve, modification_time: preserve}\n  rescue:\n    - shell: echo N >> /etc/rescued\n  always:\n    - shell: echo N >> /etc/always",
    "- command: \"false\"\n  ignore_errors: true\n  register: failed",
    "- copy: {dest: /etc/was, content: \"{{ failed.rc | default(7) }}\\n\"}",
    "- include_vars: vars.yml",
    "- template: {src: t.j2, dest: /etc/template, mode: \"06N\"}\n  vars: {mine: N}",
    "- file: {path: /etc/registered, state: absent}",
    "- stat: {path: /etc/lines}\n  register: there\n- shell: echo seen N >> /etc/seen\n  when: there.stat.exists",
    "- shell: echo N > /tmp/between; chmod 644 /tmp/between\n- shell: cat /tmp/between > /var/lib/of-other\n  when: false\n- command: cat /tmp/between\n  become: true\n  become_user: other\n  register: r",
    "- command: echo N\n  loop: [a, b]\n  register: results\n- copy: {dest: /etc/results, content: \"{{ results.results | map(attribute='stdout') | join(' ') }} {{ item }}\\n\"}\n  loop: \"{{ results.results | map(attribute='item') }}\"",
    "- include_tasks: more.yml\n  vars: {given: N}",
    "- meta: flush_handlers",
];

const HANDLERS: &str = "\n  handlers:\n    - name: told\n      shell: cat /etc/lines >> /etc/handled\n";

/// A cached bake comes to the tree of a bake from nothing: after tasks were added, removed, changed and moved, with
/// every way in which a task can lean on those before.
#[test]
fn a_bake_that_remembers_comes_to_the_tree_of_one_from_nothing() {
    let project = Project::new();
    write(
        project.at(),
        "t.j2",
        "{{ mine }} {{ from_vars | default('none') }} {{ r.stdout | default('') }}\n",
    );
    write(project.at(), "vars.yml", "from_vars: one\n");
    write(project.at(), "more.yml", "- shell: echo {{ given }} >> /etc/more\n- set_fact: {f: more}\n");
    let mut random = Random(7);
    let mut tasks: Vec<String> = PIECES.iter().map(|p| p.replace('N', "0")).collect();
    let mut remembered = 0;
    for round in 0..24 {
        match random.below(5) {
            0 if tasks.len() > 4 => {
                tasks.remove(random.below(tasks.len()));
            }
            1 => {
                let (from, to) = (random.below(tasks.len()), random.below(tasks.len()));
                let task = tasks.remove(from);
                tasks.insert(to, task);
            }
            2 => write(project.at(), "vars.yml", &format!("from_vars: v{round}\n")),
            _ => {
                let piece = PIECES[random.below(PIECES.len())].replace('N', &random.below(8).to_string());
                let at = tasks.len() / 2 + random.below(tasks.len() / 2 + 1);
                tasks.insert(at, piece);
            }
        }
        project.tasks(&tasks.join("\n"));
        let playbook = project.at().join("playbook.yml");
        let text = std::fs::read_to_string(&playbook).expect("read") + HANDLERS;
        write(project.at(), "playbook.yml", &text);
        let (warm, notes) = project.baked("store");
        assert_eq!(warm, project.cold(), "round {round}\n{text}\n{notes}");
        remembered += usize::from(notes.contains("are remembered"));
    }
    assert!(remembered > 18, "only {remembered} bakes remembered anything");
}

/// Whatever a step can read, a change of it is seen, and `cache why` names it.
#[test]
fn every_input_that_changes_is_noticed_and_named() {
    let project = Project::new();
    let at = project.at();
    let provisioners = |extra: &str, inline: &str, content: &str| {
        project.template(&format!(
            r#"{{"type": "file", "source": "sent.txt", "destination": "/etc/sent"}},
               {{"type": "ansible", "playbook_file": "playbook.yml", "extra_arguments": ["-e", "extra={extra}"]}},
               {{"type": "file", "source": "/etc/sent", "destination": "store/back", "direction": "download"}},
               {{"type": "shell", "inline": ["echo {inline} > /etc/inline"]}},
               {{"type": "shell", "script": "script.sh", "environment_vars": ["GIVEN={content}"]}}"#
        ));
    };
    let role = at.join("roles/r");
    for (path, text) in [
        ("sent.txt", "sent 1\n"),
        ("script.sh", "#!/bin/sh\necho \"script 1 $GIVEN\" > /etc/script\n"),
        ("copied.txt", "copied 1\n"),
        ("group_vars/all.yml", "grouped: 1\n"),
        (
            "roles/r/tasks/main.yml",
            "- copy: {dest: /etc/role, content: \"1 {{ defaulted }}\\n\"}\n- template: {src: t.j2, dest: /etc/t}\n",
        ),
        ("roles/r/defaults/main.yml", "defaulted: 1\n"),
        ("roles/r/templates/t.j2", "{% include 'part.j2' %}{{ lookup('file', 'read.txt') }}\n"),
        ("roles/r/templates/part.j2", "part 1\n"),
        ("roles/r/files/read.txt", "read 1\n"),
        ("requirements.txt", "1\n"),
    ] {
        write(at, path, text);
    }
    assert!(role.is_dir());
    let elsewhere = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(elsewhere.path(), "elsewhere 1\n").expect("written");
    let outside = elsewhere.path().display().to_string();
    let tasks = |value: &str| {
        project.tasks(&format!(
            "- copy: {{src: copied.txt, dest: /etc/copied}}\n- copy: {{dest: /etc/vars, content: \"{{{{ grouped }}}} {{{{ extra }}}} {{{{ lookup('pipe', 'cat {outside}') }}}} {value}\\n\"}}\n- include_role: {{name: r}}\n- shell: echo \"$SET\" > /etc/environment.txt\n  environment: {{SET: \"{{{{ lookup('file', 'requirements.txt') }}}}\"}}"
        ));
    };
    provisioners("1", "1", "1");
    tasks("1");
    let mut last = project.baked("store").0;
    assert!(project.baked("store").1.is_empty(), "nothing changed, and something was said");
    let why = || ok(with_store(bakery(at, &["cache", "why", "packer.json"]), at));
    assert_eq!(why().trim(), "disk: nothing changed");
    let edit = |path: &str| {
        let text = std::fs::read_to_string(at.join(path)).expect("read");
        write(at, path, &text.replace('1', "2"));
    };
    let changes: Vec<(&str, &str, Box<dyn Fn()>)> = vec![
        ("etc/sent", "the file `sent.txt` changed", Box::new(|| edit("sent.txt"))),
        ("etc/script", "the file `script.sh` changed", Box::new(|| edit("script.sh"))),
        ("etc/script", "the option `environment_vars` changed", Box::new(|| provisioners("1", "1", "2"))),
        ("etc/inline", "the option `inline` changed", Box::new(|| provisioners("1", "2", "2"))),
        ("etc/vars", "the argument `_data` changed", Box::new(|| provisioners("2", "2", "2"))),
        ("etc/vars", "copy [copy]", Box::new(|| tasks("2"))),
        ("etc/copied", "copy [copy]", Box::new(|| edit("copied.txt"))),
        ("etc/vars", "copy [copy]", Box::new(|| edit("group_vars/all.yml"))),
        ("etc/role", "copy [r : copy]", Box::new(|| edit("roles/r/defaults/main.yml"))),
        ("etc/role", "copy [r : copy]", Box::new(|| edit("roles/r/tasks/main.yml"))),
        ("etc/t", "[r : template]", Box::new(|| edit("roles/r/templates/part.j2"))),
        ("etc/t", "[r : template]", Box::new(|| edit("roles/r/files/read.txt"))),
        (
            "etc/environment.txt",
            "the environment variable `SET` changed",
            Box::new(|| edit("requirements.txt")),
        ),
    ];
    for (path, named, change) in changes {
        change();
        let said = why();
        assert!(said.contains(named), "`{named}` of {path}: {said}");
        let now = project.baked("store").0;
        assert_ne!(last.get(path), now.get(path), "{path} is as it was: {named}");
        assert_eq!(now, project.cold(), "{path}");
        last = now;
    }
    // What nobody reads makes nothing anew.
    write(at, "README", "new\n");
    let before = std::fs::read_dir(at.join("store/images")).expect("listed").count();
    assert_eq!(project.baked("store").0, last);
    assert_eq!(std::fs::read_dir(at.join("store/images")).expect("listed").count(), before);
}

fn with_store(mut command: Command, at: &Path) -> Command {
    command.env("BAKERY_HOME", at.join("store"));
    command
}

/// Whatever is killed, and wherever: nothing is published that is not whole, and the next bake comes to the right tree.
#[test]
fn a_bake_that_is_killed_leaves_nothing_and_the_next_one_goes_on() {
    let project = Project::new();
    let slow: Vec<String> = (0..12).map(|n| format!("- shell: echo {n} >> /etc/steps; sleep 0.1")).collect();
    project.tasks(&slow.join("\n"));
    let mut random = Random(3);
    for round in 0..10 {
        let mut child = project
            .bake("store")
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("starts");
        std::thread::sleep(std::time::Duration::from_millis(40 + random.below(1500) as u64));
        child.kill().expect("killed");
        child.wait().expect("ended");
        let mounts = std::fs::read_to_string("/proc/mounts").expect("read");
        assert!(
            !mounts.contains(&project.at().display().to_string()),
            "round {round} left a mount\n{mounts}"
        );
    }
    let (warm, notes) = project.baked("store");
    assert_eq!(warm, project.cold(), "{notes}");
    assert!(notes.contains("are remembered") || notes.is_empty(), "nothing was kept: {notes}");
    let work: Vec<PathBuf> = std::fs::read_dir(project.at().join("store/work"))
        .expect("listed")
        .map(|e| e.expect("an entry").path())
        .collect();
    assert!(work.iter().all(|p| p.ends_with("failed")), "{work:?}");
}

/// Starts a bake that says what it does (`--json`), and kills it as soon as it has said `count` things of its steps. Whether
/// it had more to say.
pub(crate) fn killed_after(mut command: Command, count: usize) -> bool {
    use std::io::{BufRead as _, BufReader};
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null());
    let mut child = command.spawn().expect("starts");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
    let said = lines.filter(|line| line.contains("\"event\":\"step_")).take(count).count();
    child.kill().expect("killed");
    child.wait().expect("ended");
    said == count
}

/// What a bake that was killed must not leave, once another has run.
pub(crate) fn nothing_is_left(at: &Path, store: &Path) {
    let mounts = std::fs::read_to_string("/proc/mounts").expect("read");
    assert!(!mounts.contains(&at.display().to_string()), "a mount is left\n{mounts}");
    let work = std::fs::read_dir(store.join("work")).expect("listed");
    let work: Vec<PathBuf> =
        work.map(|e| e.expect("an entry").path()).filter(|p| !p.ends_with("failed")).collect();
    assert!(work.is_empty(), "{work:?}");
}

/// Killed at the begin and the end of every step, in a store of its own each: the next bake comes to what one from nothing
/// comes to.
#[test]
fn a_bake_may_be_killed_at_every_step() {
    let project = Project::new();
    let at = project.at();
    write(at, "sent.txt", "sent\n");
    project.tasks("- shell: echo a > /etc/a\n- copy: {content: b, dest: /etc/b}");
    project.template(
        r#"{"type": "shell", "inline": ["echo one > /etc/one"]}, {"type": "file", "source": "sent.txt", "destination": "/etc/sent"},
        {"type": "ansible", "playbook_file": "playbook.yml"}, {"type": "shell-local", "inline": ["true"]}"#,
    );
    let cold = project.cold();
    let mut count = 1;
    loop {
        let store = format!("killed-{count}");
        let more = killed_after(project.bake(&store), count);
        assert_eq!(project.baked(&store).0, cold, "killed after {count} events");
        nothing_is_left(at, &at.join(&store));
        std::fs::remove_dir_all(at.join(&store)).expect("removed");
        if !more {
            break;
        }
        count += 1;
    }
    assert!(count > 12, "{count} events");
}

/// A playbook that fails goes on where it failed; what it did before is not done again.
#[test]
fn a_bake_that_failed_goes_on_where_it_failed() {
    let project = Project::new();
    let tasks = |last: &str| {
        project.tasks(&format!(
            "- shell: echo once >> /etc/once; sleep 0.5\n- shell: echo twice >> /etc/once\n- command: {last}"
        ));
    };
    tasks("\"false\"");
    let (code, text) = fails(project.bake("store"));
    assert!(code == 1 && text.contains("failed while baking"), "{code} {text}");
    tasks("\"true\"");
    let (warm, notes) = project.baked("store");
    assert!(notes.contains("2 of 3 calls are remembered"), "{notes}");
    assert_eq!(warm, project.cold());
}

/// Two bakes of the same at once: both succeed, and each step was done once.
#[test]
fn bakes_of_the_same_at_once_do_it_once() {
    let project = Project::new();
    project.tasks("- shell: cat /proc/sys/kernel/random/uuid > /etc/random; sleep 0.6");
    let bakes: Vec<_> = (0..3)
        .map(|_| {
            let mut command = project.bake("store");
            std::thread::spawn(move || command.output().expect("runs"))
        })
        .collect();
    let outputs: Vec<_> = bakes.into_iter().map(|t| t.join().expect("ran")).collect();
    let ids: Vec<serde_json::Value> = outputs
        .iter()
        .map(|output| {
            assert!(output.status.success(), "{}", said(output));
            result(&String::from_utf8_lossy(&output.stdout))["id"].clone()
        })
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let list = ok(bakery(project.at(), &["cache", "ls", "--json"]));
    let list: serde_json::Value = serde_json::from_str(list.lines().last().expect("a line")).expect("JSON");
    let shells =
        list["data"].as_array().expect("layers").iter().filter(|l| l["made_by"] == "shell [shell]").count();
    assert_eq!(shells, 1, "{list}");
}

/// Rotten layers and records are noticed, dropped and made anew.
#[test]
fn what_rots_in_the_store_is_noticed_and_made_anew() {
    let project = Project::new();
    project.tasks("- shell: echo sound > /etc/content; sleep 0.5\n- shell: echo more > /etc/more");
    let cold = project.baked("store").0;
    let store = project.at().join("store");
    let rotten: Vec<PathBuf> = std::fs::read_dir(store.join("layers"))
        .expect("listed")
        .map(|e| e.expect("an entry").path().join("diff/etc/content"))
        .filter(|p| p.is_file())
        .collect();
    assert_eq!(rotten.len(), 1);
    let times = std::fs::metadata(&rotten[0]).expect("read").modified().expect("a time");
    std::fs::write(&rotten[0], "rotten").expect("written");
    std::fs::File::open(&rotten[0]).expect("opens").set_modified(times).expect("set");
    let said = ok(bakery(project.at(), &["cache", "verify"]));
    assert!(said.contains("1 damaged"), "{said}");
    std::fs::remove_dir_all(store.join("images")).expect("removed");
    assert_eq!(project.baked("store").0, cold);
    for path in std::fs::read_dir(store.join("records")).expect("listed").map(|e| e.expect("an entry").path())
    {
        let mut bytes = std::fs::read(&path).expect("read");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        std::fs::write(&path, bytes).expect("written");
    }
    std::fs::remove_dir_all(store.join("images")).expect("removed");
    assert_eq!(project.baked("store").0, cold);
}

/// What the store keeps of calls gives no secret away, and `--refresh`, `--no-cache` make everything anew.
#[test]
fn what_is_remembered_gives_no_secret_away() {
    let project = Project::new();
    project.tasks("- command: echo \"{{ word }}\"\n  no_log: true\n  vars: {word: \"pass{{ 'word' }}-4711\"}\n  register: r\n- command: echo open-{{ r.stdout }}");
    project.baked("store");
    for folder in ["records", "runs"] {
        for path in std::fs::read_dir(project.at().join("store").join(folder)).expect("listed") {
            let bytes = std::fs::read(path.expect("an entry").path()).expect("read");
            let text = String::from_utf8_lossy(&bytes);
            assert!(!text.contains("4711"), "{text}");
        }
    }
    let mut anew = project.bake("store");
    anew.arg("--no-cache");
    let text = ok(anew);
    assert!(!text.contains("are remembered") && !text.contains("\"outcome\":\"cached\""), "{text}");
}

/// What is pushed to a shared folder spares another machine the work; `prune` keeps what images have.
#[test]
fn a_team_shares_what_is_remembered() {
    let project = Project::new();
    project.tasks("- shell: echo shared > /etc/shared; sleep 0.5");
    let first = project.baked("store").0;
    let mirror = project
        .at()
        .parent()
        .expect("a folder")
        .join(format!("{}-mirror", project.at().file_name().expect("a name").to_string_lossy()));
    let folder = mirror.display().to_string();
    ok(bakery(project.at(), &["cache", "push", &folder]));
    let mut pull = bakery(project.at(), &["cache", "pull", &folder]);
    pull.env("BAKERY_HOME", project.at().join("other"));
    ok(pull);
    let (second, notes) = project.baked("other");
    assert_eq!(first, second);
    assert!(!notes.contains("remembered") || notes.contains("1 of 1"), "{notes}");
    let layers = || std::fs::read_dir(project.at().join("store/layers")).expect("listed").count();
    let before = layers();
    ok(bakery(project.at(), &["cache", "prune", "--all"]));
    assert_eq!(layers(), before, "images have all of them");
    std::fs::remove_dir_all(project.at().join("store/images")).expect("removed");
    ok(bakery(project.at(), &["cache", "prune", "--all"]));
    assert_eq!(layers(), 0);
    std::fs::remove_dir_all(mirror).expect("removed");
}

/// The same by a bucket, of a server that speaks S3's language (moto); without credentials, or without the bucket, a
/// clear error.
#[test]
fn a_team_shares_by_a_bucket() {
    let reference = std::env::var("BAKERY_REFERENCE").expect("BAKERY_REFERENCE is set by the test script");
    let project = Project::new();
    let at = project.at();
    project.tasks("- shell: echo shared > /etc/shared; sleep 0.5");
    let first = project.baked("store").0;
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let mut server = Command::new(Path::new(&reference).join("moto_server"))
        .args(["-H", "127.0.0.1", "-p", &port.to_string()])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("moto is installed");
    let endpoint = format!("http://127.0.0.1:{port}");
    let started = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(started.elapsed() < Duration::from_mins(1), "no server");
        std::thread::sleep(Duration::from_millis(100));
    }
    let run = |verb: &str, store: &str, bucket: &str| {
        let mut command = bakery(at, &["cache", verb, bucket]);
        command.env("BAKERY_HOME", at.join(store)).env("AWS_ENDPOINT_URL_S3", &endpoint).env("HOME", at);
        command
    };
    let (_, text) = fails(run("push", "store", "s3://team/cache"));
    assert!(text.contains("there are no credentials: AWS_ACCESS_KEY_ID is not set"), "{text}");
    write(at, ".aws/credentials", "[default]\naws_access_key_id = key\naws_secret_access_key = secret\n");
    let (_, text) = fails(run("push", "store", "s3://team/cache"));
    assert!(text.contains("list: it is not there"), "{text}");
    let made = Command::new(Path::new(&reference).join("python"))
        .args(["-c", "import boto3, sys; boto3.client('s3', endpoint_url=sys.argv[1], region_name='us-east-1', aws_access_key_id='key', aws_secret_access_key='secret').create_bucket(Bucket='team')", &endpoint])
        .output()
        .expect("python runs");
    assert!(made.status.success(), "{}", said(&made));
    let (_, text) = fails(run("pull", "other", "s3://team/cache"));
    assert!(text.contains("nothing is there"), "{text}");
    let text = ok(run("push", "store", "s3://team/cache"));
    assert!(!text.contains("copied 0 layers"), "{text}");
    assert!(ok(run("push", "store", "s3://team/cache")).contains("copied 0 layers and 0 records"));
    ok(run("pull", "other", "s3://team/cache"));
    let (second, notes) = project.baked("other");
    assert_eq!(first, second);
    assert!(!notes.contains("remembered") || notes.contains("1 of 1"), "{notes}");
    server.kill().expect("killed");
    server.wait().expect("gone");
    let (_, text) = fails(run("pull", "third", "s3://team/cache"));
    assert!(text.contains("(5 times)"), "{text}");
}

/// A disk that is full, a base that was cut off, a provisioner that takes too much: a clear error, nothing left, and the
/// next bake succeeds.
#[test]
fn what_goes_wrong_around_a_bake_leaves_nothing() {
    let project = Project::new();
    let at = project.at();
    project.tasks("- shell: echo small > /etc/small\n- shell: cat /bin/busybox /bin/busybox /bin/busybox /bin/busybox > /etc/large");
    // A store of a few megabytes, in a mount namespace of its own: full, then larger.
    let program = super::program("bakery");
    std::fs::create_dir_all(at.join("little")).expect("made");
    let script = format!(
        "mount -t tmpfs -o size=9m none little && export BAKERY_HOME=$PWD/little\n\
         {bakery} bake packer.json > full.log 2>&1 && exit 9\n\
         ls little/images little/work > left.log; grep little /proc/mounts | grep -c overlay >> left.log\n\
         mount -o remount,size=200m little && {bakery} bake packer.json > larger.log 2>&1 && cp little/images/*/root.tar larger.tar",
        bakery = program.display()
    );
    let output =
        Command::new("unshare").args(["-m", "sh", "-c", &script]).current_dir(at).output().expect("runs");
    let read = |name: &str| std::fs::read_to_string(at.join(name)).unwrap_or_default();
    assert!(output.status.success(), "{}{}{}", said(&output), read("full.log"), read("larger.log"));
    assert!(read("full.log").to_lowercase().contains("no space left"), "{}", read("full.log"));
    assert_eq!(read("left.log").split_whitespace().last(), Some("0"), "{}", read("left.log"));
    assert!(!read("left.log").contains("ami-"), "{}", read("left.log"));
    assert_eq!(tree(&at.join("larger.tar")), project.cold());

    // A base of which the end is missing.
    let whole = std::fs::read(at.join("base.tar")).expect("read");
    std::fs::write(at.join("base.tar"), &whole[..whole.len() / 2]).expect("written");
    let (_, text) = fails(project.bake("cut"));
    assert!(text.contains("the base tarball cannot be unpacked"), "{text}");
    assert_eq!(std::fs::read_dir(at.join("cut/layers")).expect("listed").count(), 0);
    std::fs::write(at.join("base.tar"), &whole).expect("written");
    assert_eq!(project.baked("cut").0, project.cold());

    // A provisioner that takes all memory is ended, and so is one that starts too many programs.
    project.template(
        r#"{"type": "shell", "inline": ["dd if=/dev/zero of=/dev/null bs=400M count=2 || exit 7"]}"#,
    );
    let mut command = project.bake("store");
    command.args(["--memory", "100M"]);
    let (_, text) = fails(command);
    assert!(text.contains("the provisioner `shell` failed"), "{text}");
    project
        .template(r#"{"type": "shell", "inline": ["for i in 1 2 3 4 5 6 7 8 9; do sleep 1 & done; wait"]}"#);
    let mut command = project.bake("store");
    command.args(["--processes", "6"]);
    let (_, text) = fails(command);
    assert!(text.contains("the provisioner `shell` failed"), "{text}");
    let mut command = project.bake("store");
    command.args(["--processes", "60", "--memory", "1G"]);
    ok(command);
}

/// A server of one file that ends its answers early, as often as it is told to; how often it was asked.
fn server_that_cuts(file: Vec<u8>, cuts: usize) -> (String, std::sync::Arc<std::sync::Mutex<Vec<String>>>) {
    use std::io::{BufRead as _, BufReader, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/root.tar", listener.local_addr().expect("an address"));
    let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = std::sync::Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut reader = BufReader::new(stream.try_clone().expect("cloned"));
            let mut request = String::new();
            while reader.read_line(&mut request).expect("read") > 2 {}
            let range = request.to_lowercase().lines().find_map(|line| {
                line.strip_prefix("range: bytes=")?.trim_end_matches('-').parse::<usize>().ok()
            });
            if request.starts_with("HEAD") {
                let head = format!(
                    "HTTP/1.1 200 OK\r\nETag: \"one\"\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    file.len()
                );
                // Who hangs up is not our concern.
                let _ = stream.write_all(head.as_bytes());
                continue;
            }
            let mut seen = seen.lock().expect("locked");
            seen.push(request);
            let start = range.unwrap_or(0);
            let status = if range.is_some() { "206 Partial Content" } else { "200 OK" };
            let rest = &file[start..];
            let sent = if seen.len() <= cuts { &rest[..rest.len() / 2] } else { rest };
            // Who hangs up is not our concern.
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nETag: \"one\"\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                rest.len()
            )
            .and_then(|()| stream.write_all(sent));
        }
    });
    (url, asked)
}

#[test]
fn bases_are_fetched_whole_or_not_at_all() {
    let project = Project::new();
    let at = project.at();
    project.tasks("- copy: {content: a, dest: /etc/a}");
    let cold = project.cold();
    let whole = std::fs::read(at.join("base.tar")).expect("read");
    let sum = Command::new("sha256sum").arg(at.join("base.tar")).output().expect("runs");
    let sum = String::from_utf8_lossy(&sum.stdout)[..64].to_owned();
    let template = |url: &str, sum: &str| {
        let text = format!(
            r#"{{"builders": [{{"type": "disk", "base": "{url}", "base_checksum": "{sum}", "image_name": "small", "formats": ["tar"]}}], "provisioners": [{{"type": "ansible", "playbook_file": "playbook.yml"}}]}}"#
        );
        write(at, "packer.json", &text);
    };
    // Cut off once: the rest is asked for.
    let (url, asked) = server_that_cuts(whole.clone(), 1);
    template(&url, &format!("sha256:{sum}"));
    assert_eq!(project.baked("once").0, cold);
    let requests = asked.lock().expect("locked").clone();
    assert_eq!(requests.len(), 2, "{requests:?}");
    assert!(
        requests[1].to_lowercase().contains(&format!("range: bytes={}-", whole.len() / 2)),
        "{requests:?}"
    );
    // Nobody is asked again, even for another base of the same sum; a rotten file is noticed.
    template(&url.replace("root.tar", "other.tar"), &format!("sha256:{sum}"));
    assert_eq!(project.baked("once").0, cold);
    assert_eq!(asked.lock().expect("locked").len(), 2);
    let kept = std::fs::read_dir(at.join("once/downloads"))
        .expect("listed")
        .next()
        .expect("one")
        .expect("read")
        .path();
    std::fs::write(&kept, &whole[1..]).expect("written");
    template(&url.replace("root.tar", "third.tar"), &format!("sha256:{sum}"));
    assert_eq!(project.baked("once").0, cold);
    assert_eq!(asked.lock().expect("locked").len(), 3);

    // Who asks anew hears that it has not moved.
    let mut refresh = project.bake("once");
    refresh.arg("--refresh");
    let text = ok(refresh);
    assert!(text.contains("has not moved"), "{text}");
    assert_eq!(asked.lock().expect("locked").len(), 3);

    // Cut off each time, and another file than it should be: nothing is kept.
    let (url, _) = server_that_cuts(whole.clone(), usize::MAX);
    template(&url, "none");
    let (_, text) = fails(project.bake("cut-off"));
    assert!(text.contains("ended early") || text.contains("was cut off"), "{text}");
    let (url, _) = server_that_cuts(whole, 0);
    template(&url, &format!("sha256:{}", "0".repeat(64)));
    let (_, text) = fails(project.bake("cut-off"));
    assert!(text.contains(&format!("its sha256 is {sum}")), "{text}");
    for folder in ["downloads", "layers", "work", "images"] {
        let left = std::fs::read_dir(at.join("cut-off").join(folder)).map_or(0, Iterator::count);
        assert_eq!(left, 0, "{folder}");
    }
    template(&url, "none");
    assert_eq!(project.baked("cut-off").0, cold);
}
