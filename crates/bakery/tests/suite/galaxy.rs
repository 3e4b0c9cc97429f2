//! Roles and collections from real servers on loopback, beside ansible-galaxy.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use super::{bakery, fails, ok, said, write};

/// A world to install from: repositories, archives, a Galaxy server, and a project.
struct World {
    folder: tempfile::TempDir,
    server: Child,
    port: u16,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn sh(at: &Path, script: &str) -> String {
    let output = Command::new("/bin/sh")
        .args(["-ec", script])
        .current_dir(at)
        .env("GIT_CONFIG_GLOBAL", at.join("nothing"))
        .env("HGUSER", "t")
        .output()
        .expect("runs");
    assert!(output.status.success(), "{script}\n{}", said(&output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let at = folder.path();
        for name in ["git", "files", "project"] {
            std::fs::create_dir_all(at.join(name)).expect("made");
        }
        write(at, "catalog.json", "{\"roles\": {}, \"collections\": {}}");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/galaxy/server.py");
        let port_file = at.join("port");
        let server = Command::new("python3").arg(script).arg(at).arg(&port_file).spawn().expect("runs");
        let begun = Instant::now();
        let port = loop {
            if let Some(port) = std::fs::read_to_string(&port_file).ok().and_then(|t| t.parse().ok()) {
                break port;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "the server does not start");
            std::thread::sleep(Duration::from_millis(20));
        };
        Self { folder, server, port }
    }

    fn at(&self) -> &Path {
        self.folder.path()
    }

    fn project(&self) -> PathBuf {
        self.at().join("project")
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// A role in a repository of its own, with a tag for each version; the last one is a branch, too.
    fn role(&self, name: &str, meta: &str, versions: &[&str]) -> PathBuf {
        let place = self.at().join("git").join(format!("{name}.git"));
        write(&place, "meta/main.yml", meta);
        write(&place, "files/run.sh", "#!/bin/sh\n");
        write(&place, "secret.txt", "not for export\n");
        write(&place, ".gitattributes", "secret.txt export-ignore\nversion.txt export-subst\n");
        write(&place, "version.txt", "$Format:%H$\n");
        sh(
            &place,
            "chmod +x files/run.sh; ln -s run.sh files/link; git init -q -b main .; git config user.email a@b; git config user.name n; git config uploadpack.allowAnySHA1InWant true",
        );
        for version in versions {
            write(&place, "tasks/main.yml", &format!("- debug: msg={name}-{version}\n"));
            sh(&place, &format!("git add -A; git commit -qm {version}; git tag {version}"));
        }
        place
    }

    /// A collection's folder.
    fn collection(&self, name: &str, version: &str, dependencies: &str) -> PathBuf {
        let (namespace, short) = name.split_once('.').expect("a name");
        let place = self.at().join("collections").join(format!("{name}-{version}"));
        let text = format!(
            "namespace: {namespace}\nname: {short}\nversion: {version}\nreadme: README.md\nauthors: [me]\ndependencies: {dependencies}\nbuild_ignore: ['*.log']\n"
        );
        write(&place, "galaxy.yml", &text);
        write(&place, "README.md", &format!("{name} {version}\n"));
        write(&place, "plugins/modules/m.py", "#!/usr/bin/python\n");
        write(&place, "roles/r/tasks/main.yml", "[]\n");
        write(&place, "left.log", "out\n");
        sh(&place, "chmod +x plugins/modules/m.py; ln -s README.md docs.md");
        place
    }

    /// A collection's archive on the server, and in its catalog; the name of the file.
    fn published(&self, name: &str, version: &str, dependencies: &str) -> String {
        let place = self.collection(name, version, dependencies);
        let to = self.at().join("files");
        ok(self.galaxy(&[
            "collection",
            "build",
            &place.display().to_string(),
            "--output-path",
            &to.display().to_string(),
            "-f",
        ]));
        let file = format!("{}-{version}.tar.gz", name.replace('.', "-"));
        let sum = sh(&to, &format!("sha256sum {file} | cut -d' ' -f1"));
        self.catalog(|catalog| {
            let dependencies: serde_json::Value =
                serde_json::from_str(&dependencies.replace('\'', "\"")).expect("JSON");
            catalog["collections"][name][version] =
                serde_json::json!({ "file": file, "sha256": sum, "dependencies": dependencies });
        });
        file
    }

    fn catalog(&self, change: impl FnOnce(&mut serde_json::Value)) {
        let path = self.at().join("catalog.json");
        let text = std::fs::read_to_string(&path).expect("reads");
        let mut catalog = serde_json::from_str(&text).expect("JSON");
        change(&mut catalog);
        std::fs::write(path, catalog.to_string()).expect("written");
    }

    /// `bakery galaxy …` in the project, with the world's server.
    fn galaxy(&self, args: &[&str]) -> Command {
        let mut command = bakery(&self.project(), &[&["galaxy"], args].concat());
        command.env("HOME", self.at()).env("BAKERY_HOME", self.at().join("store"));
        command.env("ANSIBLE_GALAXY_SERVER", self.url("api/"));
        command
    }

    fn install(&self, args: &[&str]) -> Command {
        self.galaxy(
            &[&["install", "-r", "requirements.yml", "-p", "roles", "--collections-path", "."], args]
                .concat(),
        )
    }

    fn requirements(&self, text: &str) {
        write(&self.project(), "requirements.yml", text);
    }

    fn task(&self, role: &str) -> String {
        std::fs::read_to_string(self.project().join("roles").join(role).join("tasks/main.yml"))
            .unwrap_or_default()
    }

    fn requests(&self) -> usize {
        std::fs::read_to_string(self.at().join("requests.log")).unwrap_or_default().lines().count()
    }
}

/// Every path of a tree with its mode and content, but for records of an install.
fn tree(root: &Path) -> BTreeMap<String, String> {
    fn walk(root: &Path, at: &Path, out: &mut BTreeMap<String, String>) {
        use std::os::unix::fs::PermissionsExt as _;
        for entry in std::fs::read_dir(at).expect("reads") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(root).expect("below").display().to_string();
            let meta = path.symlink_metadata().expect("is there");
            if meta.is_symlink() {
                out.insert(name, format!("-> {}", std::fs::read_link(&path).expect("a link").display()));
            } else if meta.is_dir() {
                out.insert(name, format!("folder {:o}", meta.permissions().mode() & 0o777));
                walk(root, &path, out);
            } else {
                let bytes = std::fs::read(&path).expect("reads");
                let mut text = String::from_utf8_lossy(&bytes).into_owned();
                if name.ends_with(".galaxy_install_info") {
                    // The date of an install is no content.
                    text = text.lines().filter(|l| !l.starts_with("install_date")).collect();
                } else if name.ends_with("FILES.json") {
                    // ansible-galaxy lists files in the order of the folder.
                    let value: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
                    let mut files: Vec<String> =
                        value["files"].as_array().expect("a list").iter().map(ToString::to_string).collect();
                    files.sort();
                    text = files.join("\n");
                } else if name.ends_with("MANIFEST.json") {
                    let mut value: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
                    value["file_manifest_file"]["chksum_sha256"] = "depends on the order".into();
                    text = value.to_string();
                }
                out.insert(name, format!("{:o} {text}", meta.permissions().mode() & 0o777));
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(root, root, &mut out);
    let own = ["meta/.bakery_install.json", "BAKERY.json"];
    out.retain(|path, _| !own.iter().any(|o| path.ends_with(o)));
    // An `.info` folder that holds only our record is ours.
    let empty: Vec<String> = out
        .keys()
        .filter(|p| p.ends_with(".info") && !out.keys().any(|o| o.starts_with(&format!("{p}/"))))
        .cloned()
        .collect();
    out.retain(|path, _| !empty.contains(path));
    out
}

fn reference() -> PathBuf {
    PathBuf::from(std::env::var_os("BAKERY_REFERENCE").expect("scripts/test says where ansible-core is"))
}

#[test]
fn what_is_installed_is_what_ansible_galaxy_installs() {
    let world = World::new();
    let at = world.at().to_path_buf();
    let ssh = super::many_hosts::Server::start(&at);
    world.role("over_ssh", "dependencies: []\n", &["v1", "v2"]);
    let over_http = world.role("over_http", "galaxy_info: {author: a}\ndependencies: []\n", &["1.0.0"]);
    let more =
        format!("- {{src: 'git+file://{}/git/needed.git', version: v1, name: needed_more}}\n", at.display());
    write(&over_http, "meta/requirements.yml", &more);
    sh(&over_http, "git add -A; git commit -qm more; git tag 1.1.0");
    world.role("over_file", &format!("dependencies:\n- {{src: 'git+file://{}/git/needed.git', version: v1, name: needed}}\n- plain_local_name\n", at.display()), &["v1"]);
    world.role("needed", "dependencies: []\n", &["v1"]);
    let by_commit = world.role("by_commit", "dependencies: []\n", &["a", "b", "c"]);
    let commit = sh(&by_commit, "git rev-parse b");
    let archived = world.role("archived", "dependencies: []\n", &["1.0"]);
    let files = at.join("files").display().to_string();
    sh(
        &archived,
        &format!(
            "git archive --prefix=archived-1.0/ 1.0 | gzip > {files}/archived-1.0.tar.gz; git archive --prefix=deep/er/ 1.0 > {files}/local.tar"
        ),
    );
    sh(
        &archived,
        &format!(
            "git archive --prefix=g/ 1.0 | gzip > {files}/g-2.0.0.tar.gz; cp {files}/g-2.0.0.tar.gz {files}/g-10.0.0.tar.gz"
        ),
    );
    world.catalog(|c| {
        c["roles"]["some.galaxy_role"] = serde_json::json!({
            "id": 7, "versions": {"2.0.0": "g-2.0.0.tar.gz", "10.0.0": "g-10.0.0.tar.gz"}
        });
    });
    sh(
        &at,
        "hg init hgrole; cd hgrole; mkdir tasks meta; echo 'dependencies: []' > meta/main.yml; echo '[]' > tasks/main.yml; hg add -q; hg commit -qm one; hg tag -q one; echo '- debug:' > tasks/main.yml; hg commit -qm two",
    );
    // Collections of every kind.
    world.published("n.listed", "1.0.0", "{}");
    world.published("n.listed", "1.5.0", "{'n.below': '>=1.0.0,<2.0.0'}");
    world.published("n.listed", "2.0.0-beta1", "{}");
    for version in ["1.0.0", "1.9.0", "2.0.0"] {
        world.published("n.below", version, "{}");
    }
    let url_file = world.published("n.by_url", "3.0.0", "{}");
    let path_file = world.published("n.by_path", "3.1.0", "{}");
    let in_folder = world.collection("n.in_folder", "0.1.0", "{}");
    let in_git = world.collection("n.in_git", "0.2.0", "{}");
    sh(
        &at,
        &format!(
            "mkdir -p git/cols.git/sub; cp -a {}/. git/cols.git/sub/; cd git/cols.git; git init -q -b main .; git add -A; git -c user.email=a@b -c user.name=n commit -qm 1; git tag v1",
            in_git.display()
        ),
    );

    world.requirements(&format!(
        "roles:\n- src: git+ssh://root@127.0.0.1:{}{at}/git/over_ssh.git\n  version: v1\n  name: over_ssh\n\
         - src: {git}/over_http.git\n  scm: git\n  version: 1.1.0\n- {{src: 'file://{at}/git/over_file.git', scm: git, version: v1, name: over_file}}\n\
         - {{src: 'git+file://{at}/git/by_commit.git', version: '{commit}', name: by_commit}}\n\
         - {{src: 'file://{at}/git/needed.git', scm: git, name: at_head}}\n\
         - {{src: '{files}/archived-1.0.tar.gz', name: from_url}}\n- {{src: '{at}/files/local.tar', name: from_file}}\n\
         - {{src: 'hg+{at}/hgrole', version: one, name: from_hg}}\n- some.galaxy_role\n- {{name: some.galaxy_role_2, src: some.galaxy_role, version: 2.0.0}}\n\
         - include: more.yml\n\
         collections:\n- n.listed\n- {{name: '{files}/{url_file}', type: url}}\n- {{name: '{at}/files/{path_file}', type: file}}\n\
         - {{name: '{folder}', type: dir}}\n- {{name: 'git+file://{at}/git/cols.git#/sub', type: git, version: v1}}\n",
        ssh.port,
        at = at.display(),
        git = world.url("git"),
        files = world.url("files"),
        folder = in_folder.display(),
    ));
    write(
        &world.project(),
        "more.yml",
        &format!("- {{src: 'git+file://{}/git/needed.git', version: v1, name: included}}\n", at.display()),
    );
    let ssh_command = format!(
        "ssh -i {}/key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR",
        at.display()
    );
    // Theirs, by both of its verbs, each into a place of its own.
    let theirs = at.join("theirs");
    let run = |args: &[&str]| {
        let mut command = Command::new(reference().join("ansible-galaxy"));
        command.args(args).current_dir(world.project()).env("HOME", &at).env("GIT_SSH_COMMAND", &ssh_command);
        command
            .env("ANSIBLE_GALAXY_SERVER", world.url("api/"))
            .env("ANSIBLE_COLLECTIONS_PATH", theirs.join("c"));
        ok(command)
    };
    let to = |name: &str| theirs.join(name).display().to_string();
    run(&["role", "install", "-r", "requirements.yml", "-p", &to("roles")]);
    run(&["collection", "install", "-r", "requirements.yml", "-p", &to("c")]);
    let mut ours = world.install(&[]);
    ours.env("GIT_SSH_COMMAND", &ssh_command);
    let text = ok(ours);
    assert!(text.contains("- some.galaxy_role (10.0.0) was installed successfully"), "{text}");
    assert!(text.contains("n.below:1.9.0 was installed successfully"), "{text}");
    for (mine, other) in [("roles", "roles"), ("ansible_collections", "c/ansible_collections")] {
        let (mine, other) = (tree(&world.project().join(mine)), tree(&theirs.join(other)));
        let paths: std::collections::BTreeSet<&String> = mine.keys().chain(other.keys()).collect();
        for path in paths {
            assert_eq!(mine.get(path), other.get(path), "{path}");
        }
        assert!(mine.len() > 50, "{mine:?}");
    }
    // Once more, without any server: the lock and the cache have all of it.
    drop(ssh);
    let seen = world.requests();
    sh(&world.project(), "mv roles roles.1; mv ansible_collections collections.1");
    ok(world.install(&["--locked", "--offline"]));
    assert_eq!(world.requests(), seen, "nobody was asked");
    let again = world.project();
    sh(
        &again,
        "diff -r --no-dereference roles roles.1 && diff -r --no-dereference ansible_collections collections.1",
    );
    let listed = ok(world.galaxy(&["list", "-p", "roles"]));
    assert!(listed.contains("- over_ssh, v1") && listed.contains("- at_head, (unknown version)"), "{listed}");
    let listed = ok(world.galaxy(&["collection", "list", "-p", "."]));
    assert!(listed.lines().any(|l| l.split_whitespace().eq(["n.listed", "1.5.0"])), "{listed}");
    // What is there and locked is not touched.
    let text = ok(world.install(&[]));
    assert!(!text.contains("was installed") && text.contains("is already installed"), "{text}");
    assert_eq!(world.requests(), seen, "nobody was asked");
}

#[test]
fn a_lock_holds_until_it_is_moved_on() {
    let world = World::new();
    let role = world.role("web", "dependencies: []\n", &["1.0.0"]);
    let branch = world.role("branch", "dependencies: []\n", &["x"]);
    let requirements = |version: &str| {
        format!(
            "- {{src: '{git}/web.git', scm: git, version: '{version}', name: web}}\n- {{src: '{git}/branch.git', scm: git, version: main, name: branch}}\n",
            git = world.url("git")
        )
    };
    world.requirements(&requirements(">=1,<2"));
    let (_, text) = fails(world.install(&["--locked"]));
    assert!(text.contains("there is no requirements.lock"), "{text}");
    ok(world.install(&[]));
    let lock = std::fs::read_to_string(world.project().join("requirements.lock")).expect("made");
    assert!(lock.contains("commit:") && lock.contains("digest: sha256:") && lock.contains("1.0.0"), "{lock}");
    // Newer ones do not come by themselves, not even to a new folder.
    for (place, version) in [(&role, "1.2.0"), (&branch, "y")] {
        write(place, "tasks/main.yml", &format!("- debug: msg={version}\n"));
        sh(place, &format!("git commit -qam {version}; git tag {version}"));
    }
    sh(&world.project(), "rm -r roles");
    ok(world.install(&["--locked"]));
    assert!(world.task("web").contains("web-1.0.0") && world.task("branch").contains("branch-x"));
    let outdated = ok(world.galaxy(&["outdated"]));
    assert!(outdated.contains("1.0.0 -> 1.2.0") && outdated.contains("branch "), "{outdated}");
    // One by name, then all.
    ok(world.install(&["--upgrade", "web"]));
    assert!(world.task("web").contains("1.2.0") && world.task("branch").contains("branch-x"));
    ok(world.install(&["--upgrade"]));
    assert!(world.task("branch").contains("msg=y"));
    assert!(ok(world.galaxy(&["outdated"])).contains("everything is up to date"));
    // Requirements that say something else are drift.
    world.requirements(&requirements("1.0.0"));
    let (_, text) = fails(world.install(&["--locked"]));
    assert!(text.contains("the role web is locked for version `>=1,<2`, and `1.0.0` is wanted"), "{text}");
    ok(world.install(&[]));
    assert!(world.task("web").contains("web-1.0.0"));
    // What was edited by hand is told, and not lost.
    assert!(ok(world.galaxy(&["verify", "-p", "roles"])).contains("the role web is what was installed"));
    write(&world.project(), "roles/web/tasks/main.yml", "- debug: msg=mine\n");
    let (code, text) = fails(world.galaxy(&["verify", "-p", "roles"]));
    assert!(
        code == 1
            && text.contains("Role web contains modified content")
            && text.contains("    tasks/main.yml"),
        "{text}"
    );
    world.requirements(&requirements("1.2.0"));
    let (_, text) = fails(world.install(&[]));
    assert!(text.contains("web was edited by hand (tasks/main.yml)") && text.contains("--force"), "{text}");
    assert!(world.task("web").contains("msg=mine"));
    ok(world.install(&["--force"]));
    assert!(world.task("web").contains("1.2.0"));
    // A tag that moves is refused, with both commits.
    let before = sh(&role, "git rev-parse 1.2.0");
    write(&role, "tasks/main.yml", "- debug: msg=moved\n");
    sh(&role, "git commit -qam moved; git tag -f 1.2.0");
    let after = sh(&role, "git rev-parse 1.2.0");
    let (_, text) = fails(world.install(&["--upgrade"]));
    assert!(text.contains("has moved") && text.contains(&before) && text.contains(&after), "{text}");
    sh(world.at(), "rm -r store/galaxy project/roles");
    let (_, text) = fails(world.install(&["--locked"]));
    assert!(text.contains("has moved") && text.contains(&before) && text.contains(&after), "{text}");
    assert!(!world.project().join("roles/web").exists());
    ok(world.install(&["--upgrade", "--accept-changed"]));
    assert!(world.task("web").contains("moved"));
    // So is an archive that changes.
    sh(&role, &format!("git archive --prefix=r/ 1.0.0 | gzip > {}/files/r.tar.gz", world.at().display()));
    world.requirements(&format!("- {{src: '{}', name: r}}\n", world.url("files/r.tar.gz")));
    ok(world.install(&[]));
    let sum = || sh(world.at(), "sha256sum files/r.tar.gz | cut -d' ' -f1");
    let before = sum();
    sh(&role, &format!("git archive --prefix=r/ 1.2.0 | gzip > {}/files/r.tar.gz", world.at().display()));
    sh(world.at(), "rm -r store/galaxy project/roles");
    let (_, text) = fails(world.install(&["--locked"]));
    assert!(text.contains("has changed") && text.contains(&before) && text.contains(&sum()), "{text}");
}

#[test]
fn servers_that_stall_truncate_redirect_and_lie() {
    let world = World::new();
    let role = world.role("r", "dependencies: []\n", &["1.0"]);
    // Big enough that a half of it is not in one packet.
    sh(
        &role,
        &format!(
            "head -c 300000 /dev/urandom > files/big; git add -A; git commit -qm big; git archive --prefix=r/ HEAD | gzip > {}/files/r.tar.gz",
            world.at().display()
        ),
    );
    let from = |way: &str| world.requirements(&format!("- {{src: '{}', name: r}}\n", world.url(way)));
    for way in ["cut/r.tar.gz", "moved/r.tar.gz"] {
        from(way);
        ok(world.install(&["--no-lock", "--force"]));
        assert_eq!(
            std::fs::metadata(world.project().join("roles/r/files/big")).expect("is there").len(),
            300_000
        );
    }
    let before = tree(&world.project());
    for (path, words) in
        [("files/missing.tar.gz", "answered 404"), ("http://127.0.0.1:1/r.tar.gz", "cannot be reached")]
    {
        let url = if path.contains("://") { path.to_owned() } else { world.url(path) };
        world.requirements(&format!("- {{src: '{url}', name: r}}\n"));
        let (code, text) = fails(world.install(&["--no-lock", "--force"]));
        assert!(code == 1 && text.contains(words) && text.contains("requirements.yml:1"), "{text}");
    }
    // Bombs, devices, links and paths that lead out.
    sh(
        world.at(),
        "mkdir t; cd t; mkdir -p r/meta r/tasks; echo '{}' > r/meta/main.yml; ln -s /etc/passwd r/tasks/main.yml; tar czf ../files/link.tgz r; rm r/tasks/main.yml; mknod r/tasks/null c 1 3; tar czf ../files/device.tgz r; rm r/tasks/null; tar czPf ../files/dots.tgz --transform 's,r/meta,../../r/meta,' r/meta/main.yml; head -c 700M /dev/zero > r/tasks/zero; tar czf ../files/bomb.tgz r; rm -r r; printf 'not a tar' > ../files/not.tgz",
    );
    for (file, words) in [
        ("link.tgz", "leads outside of it"),
        ("device.tgz", "is no file"),
        ("dots.tgz", "leads outside of it"),
        ("bomb.tgz", "unpacks to more than"),
        ("not.tgz", "no valid tar archive"),
    ] {
        from(&format!("files/{file}"));
        let (code, text) = fails(world.install(&["--no-lock", "--force"]));
        assert!(code == 1 && text.contains(words), "{file}: {text}");
    }
    write(&world.project(), "requirements.yml", "");
    let mut after = tree(&world.project());
    after.insert("requirements.yml".into(), before["requirements.yml"].clone());
    assert_eq!(after, before, "nothing of it came into the project");
    // A stalled download ends by the time limit and goes on where it was.
    from("stall/r.tar.gz");
    let stalled = world.install(&["--no-lock", "--force", "--timeout", "1"]);
    let begun = Instant::now();
    ok(stalled);
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
}

#[test]
fn galaxy_servers_with_and_without_the_right_token() {
    let world = World::new();
    world.published("n.a", "1.0.0", "{}");
    world.published("n.bad", "1.0.0", "{}");
    world.catalog(|c| c["collections"]["n.bad"]["1.0.0"]["sha256"] = "0".repeat(64).into());
    write(
        &world.project(),
        "ansible.cfg",
        &format!(
            "[galaxy]\nserver_list = inner\n[galaxy_server.inner]\nurl = {}\ntoken = secret\n",
            world.url("private/api/")
        ),
    );
    let install = |names: &[&str]| world.galaxy(&[&["collection", "install", "-p", "."], names].concat());
    assert!(ok(install(&["n.a:1.0.0"])).contains("n.a:1.0.0 was installed successfully"));
    let mut wrong = install(&["n.a", "--force"]);
    wrong.env("ANSIBLE_GALAXY_SERVER_INNER_TOKEN", "wrong");
    let (_, text) = fails(wrong);
    assert!(
        text.contains("answered 401: Invalid token. (is the token of the server inner right?)"),
        "{text}"
    );
    assert!(!text.contains("wrong"), "{text}");
    let mut circle = install(&["n.a", "--force"]);
    circle.env("ANSIBLE_GALAXY_SERVER_INNER_URL", world.url("circle/"));
    assert!(fails(circle).1.contains("leads elsewhere without an end"));
    let (_, text) = fails(install(&["n.bad"]));
    assert!(text.contains(&"0".repeat(64)) && text.contains("checksum"), "{text}");
    let (_, text) = fails(install(&["n.nobody"]));
    assert!(text.contains("there is no collection `n.nobody`"), "{text}");
    let (_, text) = fails(world.galaxy(&["install", "nobody.knows", "-p", "roles"]));
    assert!(text.contains("there is no role `nobody.knows`"), "{text}");
    assert!(
        ok(world.galaxy(&["collection", "verify", "n.a", "-p", "."])).contains("n.a is what was installed")
    );
    write(&world.project(), "ansible_collections/n/a/README.md", "edited");
    let (_, text) = fails(world.galaxy(&["collection", "verify", "n.a", "-p", "."]));
    assert!(text.contains("    README.md"), "{text}");
    // Downloads for an install elsewhere.
    ok(world.galaxy(&["collection", "download", "n.a", "-p", "out"]));
    sh(&world.project(), "test -f out/n-a-1.0.0.tar.gz; cd out; grep -q n-a-1.0.0.tar.gz requirements.yml");
    let elsewhere = world.at().join("elsewhere").display().to_string();
    ok(world.galaxy(&["collection", "install", "-r", "out/requirements.yml", "-p", &elsewhere, "--offline"]));
    sh(world.at(), "test -f elsewhere/ansible_collections/n/a/README.md");
    let role = world.role("taken", "dependencies: []\n", &["v1"]).display().to_string();
    ok(world.galaxy(&["role", "download", &format!("git+file://{role},v1"), "-p", "out"]));
    ok(world.galaxy(&["install", "-r", "out/requirements.yml", "-p", &elsewhere, "--offline"]));
    sh(world.at(), "grep -q taken-v1 elsewhere/taken/tasks/main.yml");
    assert!(
        ok(world.galaxy(&["collection", "remove", "n.a", "-p", "."])).contains("successfully removed n.a")
    );
    assert!(!world.project().join("ansible_collections/n").exists());
    // New ones.
    ok(world.galaxy(&["role", "init", "mine", "--init-path", "new"]));
    ok(world.galaxy(&["collection", "init", "my.own", "--init-path", "new"]));
    sh(&world.project(), "test -f new/mine/tasks/main.yml; test -f new/my/own/galaxy.yml");
    ok(world.galaxy(&["collection", "install", "new/my/own", "-p", "."]));
    let info = ok(world.galaxy(&["collection", "info", "my.own", "-p", ".", "--offline"]));
    assert!(info.contains("installed_version: 1.0.0"), "{info}");
}

#[test]
fn what_cannot_be_is_told_where_it_is_written() {
    let world = World::new();
    let at = world.at().display().to_string();
    world.role("a", &format!("dependencies:\n- {{src: 'git+file://{at}/git/b.git', name: b}}\n"), &["1"]);
    world.role("b", &format!("dependencies:\n- {{src: 'git+file://{at}/git/a.git', name: a}}\n"), &["1"]);
    world.role(
        "c",
        &format!("dependencies:\n- {{src: 'git+file://{at}/git/d.git', name: d, version: v1}}\n"),
        &["1"],
    );
    world.role(
        "e",
        &format!("dependencies:\n- {{src: 'git+file://{at}/git/d.git', name: d, version: v2}}\n"),
        &["1"],
    );
    world.role("d", "dependencies: []\n", &["v1", "v2"]);
    for version in ["1.0.0", "2.0.0"] {
        world.published("n.base", version, "{}");
    }
    world.published("n.one", "1.0.0", "{'n.base': '<2.0.0'}");
    world.published("n.two", "1.0.0", "{'n.base': '>=2.0.0'}");
    let role =
        |name: &str, more: &str| format!("- {{src: 'git+file://{at}/git/{name}.git', name: {name}{more}}}\n");
    for (text, words) in [
        (role("a", ""), vec!["in a circle", "the role a -> the role b -> the role a"]),
        (
            role("c", "") + &role("e", ""),
            vec!["no versions fit together", "the role c", "the role e", "the role d", "v1", "v2"],
        ),
        (
            role("d", ", version: v1") + &role("d", ", version: v2"),
            vec!["requirements.yml:2", "wanted twice", "`v1`", "`v2`"],
        ),
        (role("d", "") + &role("d", ", version: v9"), vec!["requirements.yml:2", "wanted twice"]),
        (role("d", ", version: v9"), vec!["requirements.yml:1", "has no tag, branch or commit `v9`"]),
        (role("nowhere", ""), vec!["requirements.yml:1", "nowhere"]),
        (
            "collections: [n.one, n.two]\n".into(),
            vec!["no versions fit together", "n.one", "n.two", "n.base", "Because"],
        ),
        ("collections: [{name: n.base, version: '>=3'}]\n".into(), vec!["n.base", ">=3"]),
        ("roles: {a: b}\n".into(), vec!["requirements.yml:1", "must be a list"]),
        ("roles: [\n".into(), vec!["requirements.yml"]),
    ] {
        world.requirements(&text);
        let (code, told) = fails(world.install(&["--no-lock"]));
        for word in words {
            assert!(code == 1 && told.contains(word), "{word} in\n{told}\nfor\n{text}");
        }
        assert!(!world.project().join("roles").join("d").exists());
    }
    // What the project pins itself is meant, and what cannot be had may be left out.
    world.requirements(&(role("c", "") + &role("d", ", version: v2")));
    let output = world.install(&["--no-lock"]).output().expect("runs");
    assert!(output.status.success() && said(&output).contains("the project pins `v2`"), "{}", said(&output));
    assert!(world.task("d").contains("d-v2"));
    world.requirements(&(role("nowhere", "") + &role("d", ", version: v1")));
    ok(world.install(&["--no-lock", "--ignore-errors"]));
    assert!(world.task("d").contains("d-v1"));
}

#[test]
fn signatures_are_checked_with_the_keys_of_a_keyring() {
    let world = World::new();
    let file = world.published("n.a", "1.0.0", "{}");
    let home = world.at().join("gpg");
    sh(
        world.at(),
        &format!(
            "mkdir -m 700 {home}; export GNUPGHOME={home}; \
             for who in one two; do gpg --batch --quiet --pinentry-mode loopback --passphrase '' --quick-generate-key $who@x default default 2>/dev/null; done; \
             tar xzf files/{file} MANIFEST.json; \
             for who in one two; do gpg --batch --armor --local-user $who@x --output $who.asc --detach-sign MANIFEST.json; done; \
             gpg --batch --export one@x > ring.gpg; gpgconf --kill all",
            home = home.display()
        ),
    );
    let signature = |who: &str| std::fs::read_to_string(world.at().join(format!("{who}.asc"))).expect("made");
    let ring = world.at().join("ring.gpg").display().to_string();
    let install = |args: &[&str]| {
        let mut command = world.galaxy(
            &[&["collection", "install", "n.a", "-p", ".", "--force", "--keyring", &ring], args].concat(),
        );
        // A home without keys of its own, as a build has it.
        std::fs::create_dir_all(world.at().join("empty")).expect("made");
        command.env("GNUPGHOME", world.at().join("empty"));
        command
    };
    let signed = |who: &[&str]| {
        world.catalog(|c| {
            c["collections"]["n.a"]["1.0.0"]["signatures"] =
                who.iter().map(|w| serde_json::json!({ "signature": signature(w) })).collect();
        });
    };
    signed(&["one"]);
    ok(install(&[]));
    signed(&["two"]);
    let (_, text) = fails(install(&[]));
    assert!(text.contains("n.a has 0 good signatures of the 1") && text.contains("NO_PUBKEY"), "{text}");
    signed(&["one", "two"]);
    ok(install(&[]));
    let (_, text) = fails(install(&["--required-valid-signature-count", "all"]));
    assert!(text.contains("not good"), "{text}");
    let codes = [
        "--required-valid-signature-count",
        "all",
        "--ignore-signature-status-code",
        "NO_PUBKEY",
        "--ignore-signature-status-code",
        "ERRSIG",
    ];
    ok(install(&codes));
    signed(&[]);
    ok(install(&[]));
    let (_, text) = fails(install(&["--required-valid-signature-count", "+1"]));
    assert!(text.contains("no good signature"), "{text}");
}

#[test]
fn an_install_that_is_killed_leaves_the_old_or_the_new() {
    let world = World::new();
    let mut text = String::new();
    for number in 0..6 {
        let place = world.role(&format!("r{number}"), "dependencies: []\n", &["v1"]);
        for file in 0..40 {
            write(&place, &format!("templates/{file}.j2"), "v1\n");
        }
        sh(
            &place,
            "git add -A; git commit -qm more; git tag -f v1; sed -i s/v1/v2/ templates/* tasks/main.yml; git commit -qam 2; git tag v2",
        );
        text.push_str(&format!(
            "- {{src: '{}/r{number}.git', scm: git, version: VERSION, name: r{number}}}\n",
            world.url("git")
        ));
    }
    let want = |version: &str| world.requirements(&text.replace("VERSION", version));
    want("v1");
    ok(world.install(&[]));
    let clean = |version: &str| -> Vec<BTreeMap<String, String>> {
        (0..6)
            .map(|number| {
                let mut tree = tree(&world.project().join(format!("roles/r{number}")));
                tree.remove("meta/.galaxy_install_info");
                assert!(tree["tasks/main.yml"].contains(version));
                tree
            })
            .collect()
    };
    let old = clean("v1");
    want("v2");
    let begun = Instant::now();
    ok(world.install(&[]));
    let whole = begun.elapsed();
    let new = clean("v2");
    let mut seen = [0, 0];
    for round in 0..24u32 {
        // From one to the other and back, so that there is always something to do.
        let version = if round % 2 == 0 { "v1" } else { "v2" };
        want(version);
        if round % 4 == 0 {
            sh(world.at(), "rm -rf store/galaxy");
        }
        let mut child = world
            .install(&[])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("runs");
        std::thread::sleep(whole * (round % 12 + 1) / 8);
        let _ = child.kill();
        let _ = child.wait();
        for number in 0..6 {
            let mut tree = tree(&world.project().join(format!("roles/r{number}")));
            tree.remove("meta/.galaxy_install_info");
            let which = [&old[number], &new[number]].iter().position(|known| **known == tree);
            seen[which.unwrap_or_else(|| panic!("r{number} is neither the old nor the new: {tree:?}"))] += 1;
        }
    }
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
    want("v2");
    ok(world.install(&[]));
    assert_eq!(clean("v2"), new);
    let left = sh(&world.project(), "ls -A roles");
    assert!(!left.contains(".bakery"), "{left}");
}

/// A folder of this machine is somebody's work: what was changed there is taken, locked or not, unless `--locked` demands
/// what was locked.
#[test]
fn a_folder_of_this_machine_is_taken_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    write(at, "shared/mine/tasks/main.yml", "- debug: msg=one\n");
    write(at, "requirements.yml", "- src: shared/mine\n  name: mine\n");
    let install = |more: &[&str]| {
        bakery(at, &[&["galaxy", "install", "-r", "requirements.yml", "-p", "roles"], more].concat())
    };
    let installed = || std::fs::read_to_string(at.join("roles/mine/tasks/main.yml")).expect("installed");
    ok(install(&[]));
    write(at, "shared/mine/tasks/main.yml", "- debug: msg=two\n");
    let (_, text) = fails(install(&["--locked"]));
    assert!(text.contains("mine") && text.contains("has changed"), "{text}");
    assert_eq!(installed(), "- debug: msg=one\n");
    ok(install(&[]));
    assert_eq!(installed(), "- debug: msg=two\n");
    ok(install(&["--locked"]));
}
