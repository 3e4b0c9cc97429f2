//! `authorized_key`: keys that may log in as a user (ansible.posix `authorized_key.py`).

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use bakery_host::{fs, users};
use bakery_macros::ModuleArgs;

use crate::http::{self, LARGEST_TEXT, Request};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Adds or removes keys that may log in as a user.
#[derive(ModuleArgs)]
struct Args {
    /// The user.
    #[arg(required)]
    user: String,
    /// The keys, one a line; or the address or the file (`file:///etc/key.pub`) to take them from.
    #[arg(required)]
    key: String,
    /// The file; the user's own if not given.
    path: Option<String>,
    /// Whether the folder is made and its permissions set.
    #[arg(default = "true")]
    manage_dir: bool,
    /// Whether they shall be there.
    #[arg(default = "present", choices = "absent,present")]
    state: String,
    /// Options before each key.
    key_options: Option<String>,
    /// Whether other keys are removed.
    exclusive: bool,
    /// A comment instead of the keys' own.
    comment: Option<String>,
    /// Whether certificates are checked when `key` is an address.
    #[arg(default = "true")]
    validate_certs: bool,
    /// Whether a link is followed; else it is replaced by a file.
    follow: bool,
}

/// The kinds of keys that OpenSSH knows; lines without one of these words are kept as they are.
const KINDS: &[&str] = &[
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp384-cert-v01@openssh.com",
    "ecdsa-sha2-nistp521",
    "ecdsa-sha2-nistp521-cert-v01@openssh.com",
    "sk-ssh-ed25519@openssh.com",
    "sk-ssh-ed25519-cert-v01@openssh.com",
    "ssh-ed25519",
    "ssh-ed25519-cert-v01@openssh.com",
    "ssh-dss",
    "ssh-rsa",
    "ssh-xmss@openssh.com",
    "ssh-xmss-cert-v01@openssh.com",
    "rsa-sha2-256",
    "rsa-sha2-512",
    "ssh-rsa-cert-v01@openssh.com",
    "rsa-sha2-256-cert-v01@openssh.com",
    "rsa-sha2-512-cert-v01@openssh.com",
    "ssh-dss-cert-v01@openssh.com",
];

/// A key's line.
#[derive(Clone, PartialEq)]
struct Key {
    kind: String,
    /// In any order, when they are compared.
    options: BTreeMap<String, Vec<Option<String>>>,
    /// As they are written.
    options_text: String,
    comment: String,
}

impl Key {
    /// Whether two lines say the same of a key.
    fn is_like(&self, other: &Self) -> bool {
        (&self.kind, &self.options, &self.comment) == (&other.kind, &other.options, &other.comment)
    }

    fn give_options(&mut self, text: &str) {
        let words = options(text);
        let one = |(name, value): &(String, Option<String>)| match value {
            Some(value) => format!("{name}={value}"),
            None => name.clone(),
        };
        self.options_text = words.iter().map(one).collect::<Vec<_>>().join(",");
        self.options = BTreeMap::new();
        for (name, value) in words {
            self.options.entry(name).or_default().push(value);
        }
    }
}

/// What a line of a file is known by, with the key if it is one.
type Line = (String, Option<Key>);

/// Options with commas between them, but for those in quotes.
fn options(text: &str) -> Vec<(String, Option<String>)> {
    let mut parts = vec![String::new()];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let last = parts.last_mut().expect("there is one");
        match c {
            ',' => parts.push(String::new()),
            '"' | '\'' if chars.as_str().contains(c) => {
                last.push(c);
                last.extend(chars.by_ref().take_while(|inner| *inner != c));
                last.push(c);
            }
            other => last.push(other),
        }
    }
    let parts = parts.into_iter().filter(|part| !part.is_empty());
    parts
        .map(|part| match part.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (part, None),
        })
        .collect()
}

/// A line that has a key, and what the key is known by.
fn key(line: &str) -> Option<(String, Key)> {
    let line = line.replace("\\#", "#");
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let at = words.iter().position(|word| KINDS.contains(word)).filter(|_| words[0] != "#")?;
    let body = *words.get(at + 1)?;
    let mut key = Key {
        kind: words[at].to_owned(),
        options: BTreeMap::new(),
        options_text: String::new(),
        comment: words[at + 2..].join(" "),
    };
    key.give_options(&words[..at].join(" "));
    Some((body.to_owned(), key))
}

/// The lines of a file; of those that say the same, the last one counts, at the place of the last one.
fn lines(text: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for line in text.split_inclusive('\n') {
        let (name, key) = key(line).map_or((line.to_owned(), None), |(name, key)| (name, Some(key)));
        lines.retain(|(other, _)| *other != name);
        lines.push((name, key));
    }
    lines
}

fn text(lines: &[Line]) -> String {
    let mut out = String::new();
    for (name, key) in lines {
        let Some(key) = key else {
            out.push_str(name);
            continue;
        };
        // The last line of the file may have had no end.
        if !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
        if !key.options_text.is_empty() {
            out.push_str(&key.options_text);
            out.push(' ');
        }
        out.push_str(&format!("{} {name} {}\n", key.kind, key.comment));
    }
    out
}

/// The keys that are given: as they are, at an address, or in a file.
fn given(args: &Args, host: &Host) -> Result<String, Failure> {
    let key = args.key.as_str();
    if key.starts_with("http") {
        let request = Request {
            validate_certs: args.validate_certs,
            timeout_whole: Some(30),
            most: LARGEST_TEXT,
            ..Request::by(host, key)
        };
        return match http::send(&request) {
            Ok(answer) if answer.status == 200 => Ok(String::from_utf8_lossy(&answer.body).into_owned()),
            Ok(answer) => Err(format!("Error getting key from: {key}: http status {}", answer.status).into()),
            Err(why) => Err(format!("Error getting key from: {key}: {why}").into()),
        };
    }
    if !key.starts_with("file") {
        return Ok(key.to_owned());
    }
    let path = key.strip_prefix("file:").unwrap_or(key);
    let path = path.strip_prefix("//").map_or(path, |rest| &rest[rest.find('/').unwrap_or(rest.len())..]);
    if !Path::new(path).exists() {
        return Err(format!("Path to a key file not found: {path}").into());
    }
    if !Path::new(path).is_file() {
        return Err(format!("Path to a key is a directory and must be a file: {path}").into());
    }
    Ok(fs::read_to_string(path)?)
}

/// Refuses what a user could have made root write or read in his stead: a link of his own that leads to what is not his.
/// Ansible's module replaces such a link, but takes over what it leads to, and follows one that stands for the folder.
fn check_links(path: &Path, user: &users::User) -> Result<(), Failure> {
    for place in path.parent().into_iter().chain([path]) {
        let Ok(link) = fs::symlink_metadata(place) else { continue };
        let Ok(target) = fs::metadata(place) else { continue };
        if link.is_symlink() && link.uid() != 0 && target.uid() != user.uid {
            return Err(Failure::new(format!(
                "{} is a link that is not root's and leads to {}, which is not {}'s: set `follow: true` if that is meant",
                place.display(),
                fs::canonicalize(place)?.display(),
                user.name
            )));
        }
    }
    Ok(())
}

/// The folder as it shall be, and the file in it: there in a moment, with its mode and owner.
fn write(folder: &Path, path: &Path, content: &str, user: &users::User, args: &Args) -> Result<(), Failure> {
    if args.manage_dir {
        if !folder.exists() {
            fs::create_private_dir(folder)?;
        }
        if args.follow || !folder.is_symlink() {
            fs::chmod(folder, 0o700)?;
            fs::lchown(fs::canonicalize(folder)?, Some(user.uid), Some(user.gid))?;
        }
    } else if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    // What the file's attributes were is kept where it is the user's own already.
    match fs::symlink_metadata(path) {
        Ok(file) if file.is_file() && file.uid() == user.uid => {
            fs::write_atomic(path, content)?;
            fs::chmod(path, 0o600)?;
        }
        _ => fs::write_atomic_mode(path, content, 0o600)?,
    }
    Ok(fs::lchown(path, Some(user.uid), Some(user.gid))?)
}

fn run(args: Args, host: &mut Host) -> Run {
    let user = users::find_user(&args.user);
    let path = match (&args.path, &user) {
        (Some(path), Some(_)) => host.path(path),
        (Some(path), None) if host.check => host.path(path),
        (None, Some(user)) => Path::new(&user.home).join(".ssh/authorized_keys"),
        (None, None) if host.check => {
            return Err(
                "Either user must exist or you must provide full path to key file in check mode".into()
            );
        }
        (_, None) => return Err(format!("Failed to lookup user {}", args.user).into()),
    };
    if let (Some(user), false) = (&user, args.follow) {
        check_links(&path, user)?;
    }
    let folder = path.parent().unwrap_or(Path::new("/")).to_path_buf();
    let path = if args.follow { fs::canonicalize(&path).unwrap_or(path) } else { path };
    let given = given(&args, host)?;
    let before = host.read_optional(&path)?.map(|b| String::from_utf8_lossy(&b).into_owned());
    let before = before.unwrap_or_default();
    let mut now = lines(&before);
    let present = args.state == "present";
    let mut changed = false;
    let mut named = Vec::new();
    for line in given.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (name, mut key) =
            key(line).ok_or_else(|| Failure::new(format!("invalid key specified: {line}")))?;
        if let Some(options) = &args.key_options {
            key.give_options(options);
        }
        if let Some(comment) = &args.comment {
            key.comment.clone_from(comment);
        }
        let found = now.iter().position(|(other, _)| *other == name);
        let is_same = found.is_some_and(|at| now[at].1.as_ref().is_some_and(|other| other.is_like(&key)));
        if let Some(at) = found.filter(|_| !present || !is_same) {
            // One that differs in options or comment goes, and comes again at the end.
            now.remove(at);
            changed = true;
        }
        if present && !is_same {
            now.push((name.clone(), Some(key)));
            changed = true;
        }
        named.push(name);
    }
    if args.exclusive && present {
        let count = now.len();
        now.retain(|(name, _)| named.contains(name));
        changed |= now.len() != count;
    }
    if changed {
        let content = text(&now);
        host.record_diff(&path, before.as_bytes(), content.as_bytes());
        if let (Some(user), false) = (&user, host.check) {
            write(&folder, &path, &content, user, &args)?;
        }
    }
    Ok(Outcome::changed(changed)
        .with("keyfile", path.display().to_string())
        .with("user", args.user)
        .with("key", args.key)
        .with("path", args.path)
        .with("manage_dir", args.manage_dir)
        .with("state", args.state)
        .with("key_options", args.key_options)
        .with("exclusive", args.exclusive)
        .with("comment", args.comment)
        .with("validate_certs", args.validate_certs)
        .with("follow", args.follow))
}

module!("authorized_key", "ansible.posix", Args, run);
