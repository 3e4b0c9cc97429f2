//! Readers of what people and machines hand in, over texts that were made from good ones by chance: none may panic, hang, or
//! take the machine's memory.
//!
//! Every reader gets two seconds in the tests; `BAKERY_MUTATION_SECONDS=3600` lets each try for an hour. A failure prints
//! the text that it fails on, which then becomes a test of the reader.

#![allow(clippy::disallowed_methods, reason = "tests use the system as users do")]

use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bakery_ansible::inventory::Inventory;
use bakery_ansible::playbook::{Loader, parse_key_values, split_args};
use bakery_ansible::vault::{self, Secret};
use bakery_galaxy::cache::Cache;
use bakery_galaxy::collection;
use bakery_galaxy::lock::{LockFile, Pin};
use bakery_galaxy::requirements::{Kind, Source as From};
use bakery_galaxy::tree::{Entry, Tree};
use bakery_jinja::{Environment, MapScope, Syntax};
use bakery_lang::{Map, Source, json, yaml};
use libtest_mimic::{Arguments, Failed, Trial};

/// A text that takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// What languages are made of.
const TOKENS: &[&str] = &[
    "{{",
    "}}",
    "{%",
    "%}",
    "{#",
    "- ",
    ": ",
    "\n",
    "  ",
    "&a ",
    "*a ",
    "<<: ",
    "!vault |\n",
    "!!binary ",
    "'",
    "\"",
    "|",
    "|-\n",
    "[",
    "]",
    "{",
    "}",
    "(",
    ")",
    ",",
    "..",
    "[0:9]",
    "[a:z]",
    "!",
    "&",
    "~",
    "@",
    "for i in ",
    " if ",
    " is ",
    "%s",
    "\\",
    "\u{0}",
    "\u{feff}",
    "é",
    "0x",
    "1e999",
    "-1",
    "hosts: all\n",
    "tasks:\n",
    "[all:vars]\n",
    "$ANSIBLE_VAULT;1.1;AES256\n",
    "range(9)",
    " * 999999",
    " ** 99999",
    "endfor",
    "macro m()",
    "import_tasks: x.yml\n",
    "when: x\n",
    "=",
    "key=value ",
    "\t",
    "...",
    "---\n",
];

fn main() {
    let args = Arguments::from_args();
    let trials = [
        ("yaml", corpus_yaml(), yaml_reader as fn(&[u8])),
        ("templates", corpus_templates(), templates),
        ("playbooks", corpus_yaml(), playbooks),
        ("inventories", corpus_inventories(), inventories),
        ("words", corpus_words(), words),
        ("vaults", vec![made_vault()], vaults),
        ("frames", vec![frame()], frames),
        ("json", vec![br#"{"a": [1, 2.5e3, null, "x\u00e9", {"b": true}]}"#.to_vec()], json_reader),
        ("requirements", corpus_requirements(), requirements),
        ("locks", vec![made_lock()], locks),
        ("archives", corpus_archives(), archives),
        ("caches", vec![made_tree().to_archive()], caches),
    ];
    let trials = trials.into_iter().map(|(name, corpus, reader)| {
        Trial::test(format!("no text breaks the reader of {name}"), move || try_out(name, &corpus, reader))
    });
    libtest_mimic::run(&args, trials.collect()).exit();
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn yaml_reader(bytes: &[u8]) {
    if let Ok(documents) = yaml::parse_all(&Source::new("text", text(bytes))) {
        // What was read can be written and read again.
        for document in documents {
            let written = yaml::emit(&document.to_value(), yaml::Style::default());
            let again = yaml::parse_all(&Source::new("written", written.as_str()));
            assert!(again.is_ok(), "{written:?}: {:?}", again.err());
        }
    }
}

fn templates(bytes: &[u8]) {
    let environment = Environment::new();
    let variables = json::parse(r#"{"s": "Hello", "n": 3, "l": [3, 1, 2], "d": {"a": 1}}"#).expect("JSON");
    let scope = MapScope(variables.as_map().cloned().unwrap_or_default());
    if let Ok(template) = environment.parse(&Source::new("text", text(bytes)), &Syntax::default()) {
        let _ = environment.render(&template, &scope);
    }
}

fn playbooks(bytes: &[u8]) {
    let loader = Loader::new(Path::new("/nonexistent/p.yml"), Map::new());
    if let Err(error) = loader.playbook_of(&text(bytes), Path::new("/nonexistent/p.yml")) {
        let _ = error.diagnostic.to_string();
    }
}

fn inventories(bytes: &[u8]) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), bytes).expect("written");
    let loader = Loader::new(Path::new("/nonexistent/p.yml"), Map::new());
    if let Ok((inventory, _)) = Inventory::load(&[file.path().display().to_string()], &loader) {
        for (host, _) in inventory.hosts.iter().take(20) {
            let _ = inventory.host_vars(host, &loader);
        }
        let _ = inventory.matching(&text(bytes).lines().next().unwrap_or_default().replace('@', ""));
    }
}

fn words(bytes: &[u8]) {
    let text = text(bytes);
    let _ = split_args(&text);
    let _ = parse_key_values(&text, None, None);
    let _ = parse_key_values(&text, None, Some(&["creates", "chdir"]));
}

fn vaults(bytes: &[u8]) {
    let _ = vault::decrypt(bytes, &[Secret::new("default", "word")], false);
}

fn frames(bytes: &[u8]) {
    let mut channel = bytes;
    while bakery_protocol::read::<bakery_protocol::Request>(&mut channel).is_ok() {}
    let _ = bakery_protocol::sync(&mut &bytes[..]);
}

fn json_reader(bytes: &[u8]) {
    let _ = json::parse(&text(bytes));
}

fn requirements(bytes: &[u8]) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), bytes).expect("written");
    if let Err(error) = bakery_galaxy::requirements::read(file.path()) {
        let _ = error.to_string();
    }
    let line = text(bytes);
    let _ = bakery_galaxy::requirements::role_line(&line, Path::new("/nonexistent"));
    let _ = bakery_galaxy::requirements::collection_word(&line);
    let _ = bakery_galaxy::version::Wanted::parse(&line).map(|w| w.range());
}

fn locks(bytes: &[u8]) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), bytes).expect("written");
    if let Ok(Some(lock)) = LockFile::read(file.path()) {
        let _ = lock.drift(&[]);
        // What was read can be written and read again.
        lock.write(file.path()).expect("written");
        assert_eq!(LockFile::read(file.path()).expect("reads"), Some(lock));
    }
}

fn archives(bytes: &[u8]) {
    let Ok((tree, _)) = Tree::from_archive(bytes) else { return };
    for (path, _) in tree.entries() {
        assert!(
            !path.starts_with('/') && path.split('/').all(|part| part != ".." && !part.is_empty()),
            "{path}"
        );
    }
    if tree.check_links().is_ok() {
        let folder = tempfile::tempdir().expect("a folder");
        // Names may be too long for a file system.
        if tree.write(&folder.path().join("tree")).is_ok() {
            let read = Tree::from_folder(&folder.path().join("tree")).expect("reads");
            assert_eq!(read.digest(), tree.digest());
        }
    }
    let _ = collection::about(&tree);
    let _ = collection::built(tree.clone());
    let _ = collection::from_artifact(tree);
}

fn caches(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    let cache = Cache::at(folder.path());
    let digest = cache.keep(&made_tree()).expect("kept");
    let place =
        std::fs::read_dir(folder.path().join("trees")).expect("there").next().expect("one").expect("one");
    std::fs::write(place.path(), bytes).expect("written");
    if let Some(tree) = cache.tree(&digest) {
        assert_eq!(tree.digest(), digest, "only what is meant is given");
    }
}

fn corpus_requirements() -> Vec<Vec<u8>> {
    let texts = [
        "- src: https://github.com/a/b\n  version: 1.0\n  name: n\n- git+ssh://h/x.git,v1,y\n- a.b,1\n- {role: x, scm: hg}\n- include: more.yml\n",
        "roles:\n- {name: a.b, version: '>=1,<2'}\ncollections:\n- n.c\n- {name: n.d, source: s, signatures: [a]}\n- {name: 'git+https://h/r.git#/s,v2', type: git}\n",
        "n.c:>=1.2.3,!=2.0.0-rc1",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn made_tree() -> Tree {
    let mut tree = Tree::default();
    let mut file = |path: &str, text: &str| {
        tree.insert(path, Entry::File { bytes: text.into(), executable: path.ends_with("sh"), modified: 9 });
    };
    file("meta/main.yml", "dependencies: []\n");
    file(
        "galaxy.yml",
        "{namespace: n, name: c, version: 1.0.0, readme: r, authors: [a], dependencies: {a.b: '*'}}",
    );
    file("files/run.sh", "#!/bin/sh\n");
    tree.insert("files/link", Entry::Link("run.sh".into()));
    tree
}

fn corpus_archives() -> Vec<Vec<u8>> {
    let built = collection::built(made_tree()).expect("builds");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packed, &built.to_archive()).expect("packed");
    vec![made_tree().to_archive(), built.to_archive(), packed.finish().expect("packed")]
}

fn made_lock() -> Vec<u8> {
    let pin = |kind, name: &str, source| Pin {
        kind,
        name: name.into(),
        source,
        wanted: Some(">=1".into()),
        version: "1.2.3".into(),
        commit: Some("0123456789abcdef".into()),
        artifact: None,
        digest: "sha256:00".into(),
        needs: vec!["role b".into()],
    };
    let lock = LockFile::new(vec![
        pin(Kind::Role, "a", From::Git("https://h/a.git".into(), String::new())),
        pin(Kind::Role, "b", From::File("/x/b.tgz".into())),
        pin(Kind::Collection, "n.c", From::Galaxy("n.c".into(), Some("s".into()))),
    ]);
    let file = tempfile::NamedTempFile::new().expect("a file");
    lock.write(file.path()).expect("written");
    std::fs::read(file.path()).expect("reads")
}

fn corpus_yaml() -> Vec<Vec<u8>> {
    let books = [
        "- hosts: all\n  vars: {a: 1, b: [x, 'y']}\n  roles:\n  - {role: r, when: a, tags: [t]}\n  tasks:\n  - name: n\n    command: echo {{ a }} chdir=/tmp\n    loop: '{{ b }}'\n    register: r\n    when: [a, b]\n    notify: h\n  - block:\n    - debug: {msg: x}\n    rescue:\n    - fail:\n    always: []\n  handlers:\n  - name: h\n    service: name=x state=restarted\n",
        "a: &x {k: v, n: 0o17, o: 017, t: 1:30, f: 1_000.5, d: 2020-01-02}\nb:\n  <<: *x\n  k: w\nc: |\n  text\n   more\nd: >-\n  folded\n  text\ne: \"\\x41\\u00e9\"\nf: !unsafe '{{ x }}'\n",
        "- import_playbook: x.yml\n- hosts: [a, b]\n  vars_prompt:\n  - name: x\n  gather_facts: false\n  serial: [1, 50%]\n  tasks:\n  - include_tasks: {file: t.yml, apply: {tags: x}}\n  - import_role: name=r tasks_from=x\n  - local_action: copy src=a dest=b\n  - action: {module: file, path: /x}\n    until: r is success\n    retries: 3\n",
    ];
    books.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn corpus_templates() -> Vec<Vec<u8>> {
    let recorded = json::parse(include_str!("../../../bakery-jinja/tests/cases.json")).expect("JSON");
    let cases = recorded.get("cases").and_then(|c| c.as_items()).unwrap_or_default();
    cases.iter().filter_map(|case| Some(case.as_items()?.first()?.to_string().into_bytes())).collect()
}

fn corpus_inventories() -> Vec<Vec<u8>> {
    let texts = [
        "[all:vars]\na=1\nb='x y'\n[web]\nh[1:3] ansible_host=10.0.0.1 p=\"q\"\nx:2222\n[db:children]\nweb\n[db:vars]\nl=[1, 'a']\n",
        "all:\n  hosts:\n    a: {v: 1}\n  children:\n    web:\n      hosts:\n        b[01:02]:\n      vars: {x: y}\n",
        "plugin: constructed\nstrict: false\ncompose: {a: b | default(1)}\ngroups: {g: x is defined}\nkeyed_groups:\n- {key: a, prefix: p}\n",
        "{\"web\": {\"hosts\": [\"a\"], \"vars\": {\"x\": 1}}, \"_meta\": {\"hostvars\": {\"a\": {\"y\": 2}}}}",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn corpus_words() -> Vec<Vec<u8>> {
    let texts = [
        "src={{ a | join(' ') }} dest=\"/x y\" mode=0644",
        "echo 'a b' creates=/x \\\" {% if x %}y{% endif %} a=b=c",
    ];
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn made_vault() -> Vec<u8> {
    vault::encrypt(b"plain", &Secret::new("default", "word"), None, None).expect("encrypts").into_bytes()
}

fn frame() -> Vec<u8> {
    let mut bytes = Vec::new();
    let request = bakery_protocol::Request { module: "ping".into(), ..Default::default() };
    bakery_protocol::write(&mut bytes, &request).expect("written");
    bytes
}

/// Runs a reader over mutated texts for as long as there is time.
fn try_out(name: &str, corpus: &[Vec<u8>], reader: fn(&[u8])) -> Result<(), Failed> {
    let wanted = std::env::var("BAKERY_MUTATION_SECONDS").ok().and_then(|s| s.parse().ok());
    let (is_long, seconds) = (wanted.is_some(), wanted.unwrap_or(2));
    // For what ends the process: the text that it was at.
    let trace = std::env::var_os("BAKERY_MUTATION_TRACE");
    let until = Instant::now() + Duration::from_secs(seconds);
    let current: Arc<Mutex<Vec<u8>>> = Arc::default();
    let count = Arc::new(AtomicU64::new(0));
    let worker = {
        let (current, count, corpus) = (Arc::clone(&current), Arc::clone(&count), corpus.to_vec());
        std::thread::Builder::new().stack_size(8 << 20).spawn(move || {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            // A short trial tries the same texts every time, so that it fails for who broke something; a long one others.
            let seed = if is_long { now.map_or(1, |d| d.as_nanos() as u64) | 1 } else { 0x0bad_c0de };
            let mut chance = Chance(seed);
            while Instant::now() < until {
                let case = chance.mutated(&corpus);
                current.lock().expect("no panic holds it").clone_from(&case);
                if let Some(file) = &trace {
                    std::fs::write(file, &case).expect("written");
                }
                reader(&case);
                count.fetch_add(1, Ordering::Relaxed);
            }
        })?
    };
    let mut seen = (0, Instant::now());
    while !worker.is_finished() {
        std::thread::sleep(Duration::from_millis(20));
        let done = count.load(Ordering::Relaxed);
        if done != seen.0 {
            seen = (done, Instant::now());
        } else if seen.1.elapsed() > PATIENCE {
            let case = current.lock().expect("no panic holds it").clone();
            return Err(format!("it hangs on {:?}", text(&case)).into());
        }
    }
    if worker.join().is_err() {
        let case = current.lock().expect("no panic holds it").clone();
        return Err(format!("it panics on {:?}", case.escape_ascii().to_string()).into());
    }
    let tried = count.load(Ordering::Relaxed);
    if is_long {
        writeln!(std::io::stderr(), "{name}: {tried} texts in {seconds} s")?;
    }
    if tried < 10 { Err(format!("only {tried} texts were tried").into()) } else { Ok(()) }
}

/// xorshift64: the same numbers on every machine, from a seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }

    fn mutated(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut case = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(4) {
            let at = self.below(case.len() + 1);
            let end = (at + self.below(12)).min(case.len());
            match self.below(6) {
                0 if at < case.len() => case[at] ^= 1 << self.below(8),
                1 => drop(case.drain(at..end)),
                2 => {
                    let part = case[at..end].to_vec();
                    let times = self.below(40);
                    case.splice(at..at, part.repeat(times));
                }
                3 => {
                    let token = TOKENS[self.below(TOKENS.len())];
                    case.splice(at..end, token.bytes());
                }
                4 => {
                    let token = TOKENS[self.below(TOKENS.len())];
                    let times = self.below(300);
                    case.splice(at..at, token.repeat(times).into_bytes());
                }
                _ => {
                    let other = &corpus[self.below(corpus.len())];
                    let from = self.below(other.len() + 1);
                    case.splice(at.., other[from..].iter().copied());
                }
            }
        }
        case
    }
}
