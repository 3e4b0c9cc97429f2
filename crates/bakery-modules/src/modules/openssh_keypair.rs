//! `openssh_keypair`: pairs of keys for ssh (`community.crypto`, `openssh_keypair.py`), by `ssh-keygen`.

use std::path::{Path, PathBuf};

use bakery_host::fs;
use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;

use crate::host::{FileAttributes, Replace};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Makes a private and a public key for ssh, unless the files hold such ones.
#[derive(ModuleArgs)]
struct Args {
    /// The file with the private key; the public one is in the file with `.pub` behind it.
    #[arg(required)]
    path: String,
    /// Whether the keys shall be there.
    #[arg(default = "present", choices = "present,absent")]
    state: String,
    /// How many bits the key has: at least 1024 of RSA (4096 if not given), 256, 384 or 521 of ECDSA.
    size: Option<i64>,
    /// The kind of key.
    #[arg(name = "type", default = "rsa", choices = "rsa,dsa,rsa1,ecdsa,ed25519")]
    kind: String,
    /// Whether it is made anew whatever is there.
    force: bool,
    /// The comment of the public key.
    comment: Option<String>,
    /// The passphrase that the private key is sealed with.
    #[arg(secret)]
    passphrase: Option<String>,
    /// How the private key is written, where `backend` is `cryptography`.
    #[arg(default = "auto", choices = "auto,pkcs1,pkcs8,ssh")]
    private_key_format: String,
    /// Accepted as in Ansible: which options may be given depends on it, but ssh-keygen makes all keys.
    #[arg(default = "auto", choices = "auto,cryptography,opensshbin")]
    backend: String,
    /// When a key that is there is replaced: never; never, and what does not fit is an error; when it is another kind of key;
    /// also when it cannot be read; always.
    #[arg(
        default = "partial_idempotence",
        choices = "never,fail,partial_idempotence,full_idempotence,always"
    )]
    regenerate: String,
    /// Permissions and ownership of both files.
    #[arg(flatten)]
    attributes: FileAttributes,
}

/// What is known of a private key.
struct Private {
    size: i64,
    kind: String,
    fingerprint: String,
}

/// A public key: its type, its data, and its comment.
#[derive(Clone)]
struct Public {
    key: String,
    comment: String,
}

impl Public {
    fn read(text: &str) -> Option<Self> {
        let mut parts = text.trim_matches([' ', '\n']).splitn(3, ' ');
        let key = format!("{} {}", parts.next()?, parts.next()?);
        Some(Self { key, comment: parts.next().unwrap_or_default().to_owned() })
    }
}

struct Pair<'a> {
    args: &'a Args,
    path: PathBuf,
    public_path: PathBuf,
    size: i64,
    passphrase: &'a str,
    /// Whether Ansible would ask its library in Python.
    is_by_library: bool,
}

impl<'a> Pair<'a> {
    fn new(args: &'a Args, host: &Host) -> Result<Self, Failure> {
        let passphrase = args.passphrase.as_deref().unwrap_or_default();
        let is_by_library = match args.backend.as_str() {
            "auto" => !passphrase.is_empty(),
            backend => backend == "cryptography",
        };
        if is_by_library && args.kind == "rsa1" {
            return Err("RSA1 keys are not supported by the cryptography backend".into());
        }
        let size = match (args.kind.as_str(), args.size) {
            ("rsa" | "rsa1", Some(size)) if size < 1024 => {
                return Err("For RSA keys, the minimum size is 1024 bits and the default is 4096 bits. Attempting to use bit lengths under 1024 will cause the module to fail.".into());
            }
            ("rsa" | "rsa1", size) => size.unwrap_or(4096),
            ("dsa", None | Some(1024)) => 1024,
            ("dsa", _) => return Err("DSA keys must be exactly 1024 bits as specified by FIPS 186-2.".into()),
            ("ecdsa", size) if matches!(size, None | Some(256 | 384 | 521)) => size.unwrap_or(256),
            ("ecdsa", _) => {
                return Err("For ECDSA keys, size determines the key length by selecting from one of three elliptic curve sizes: 256, 384 or 521 bits. Attempting to use bit lengths other than these three values for ECDSA keys will cause this module to fail.".into());
            }
            _ => 256,
        };
        let path = host.path(&args.path);
        if path.parent().is_some_and(|folder| !folder.is_dir()) {
            let shown = Path::new(&args.path).parent().unwrap_or(Path::new(".")).display().to_string();
            let why = format!("The directory {shown} does not exist or the file is not a directory");
            return Err(Failure::new(why).with("name", shown));
        }
        if path.is_dir() {
            return Err(format!("{} is a directory. Please specify a path to a file.", args.path).into());
        }
        if !is_by_library && args.private_key_format != "auto" {
            return Err("'auto' is the only valid option for 'private_key_format' when 'backend' is not 'cryptography'".into());
        }
        host.program("ssh-keygen")?;
        let public_path = PathBuf::from(format!("{}.pub", path.display()));
        Ok(Self { args, path, public_path, size, passphrase, is_by_library })
    }

    /// What is known of the private key that is there.
    fn private(&self, host: &Host) -> Option<Private> {
        if !self.path.exists() {
            return None;
        }
        let output = if self.passphrase.is_empty() {
            host.try_run(&["ssh-keygen", "-l", "-f", &self.path.display().to_string()]).ok()?
        } else {
            let public = self.matching(host, self.passphrase)?;
            host.cmd("ssh-keygen").args(["-l", "-f", "-"]).input(public.key).output().ok()?
        };
        let text = output.success().then(|| output.text())?;
        let words: Vec<&str> = text.split_whitespace().collect();
        let kind = words.last()?.trim_matches(['(', ')']).to_lowercase();
        Some(Private { size: words.first()?.parse().ok()?, kind, fingerprint: (*words.get(1)?).to_owned() })
    }

    fn public(&self) -> Option<Public> {
        Public::read(&fs::read_to_string(&self.public_path).ok()?)
    }

    /// The public key that belongs to the private one; nothing where the passphrase is another one.
    fn matching(&self, host: &Host, passphrase: &str) -> Option<Public> {
        let path = self.path.display().to_string();
        let output = host.try_run(&["ssh-keygen", "-P", passphrase, "-y", "-f", &path]).ok()?;
        output.success().then(|| Public::read(&output.text()))?
    }

    fn is_readable(&self, host: &Host) -> bool {
        // A key that is open although a passphrase is given counts as one that cannot be read.
        self.matching(host, self.passphrase).is_some()
            && (self.passphrase.is_empty() || self.matching(host, "").is_none())
    }

    fn fits(&self, private: &Private) -> bool {
        let is_written_so = match self.args.private_key_format.as_str() {
            "auto" => true,
            wanted => fs::read_to_string(&self.path).is_ok_and(|text| format_of(&text) == wanted),
        };
        is_written_so && private.size == self.size && private.kind == self.args.kind
    }

    /// Makes both keys beside where they shall be, and puts them there.
    fn make(&self, host: &mut Host) -> Result<(), Failure> {
        let folder = tempfile::tempdir().map_err(|error| Failure::new(error.to_string()))?;
        let made = folder.path().join("key");
        let size = self.size.to_string();
        let comment = self.args.comment.as_deref().unwrap_or_default();
        let at = made.display().to_string();
        let mut argv = vec!["ssh-keygen", "-q", "-N", self.passphrase, "-b", &size, "-t", &self.args.kind];
        match self.args.private_key_format.as_str() {
            "pkcs1" => argv.extend(["-m", "PEM"]),
            "pkcs8" => argv.extend(["-m", "PKCS8"]),
            _ => {}
        }
        argv.extend(["-f", &at, "-C", comment]);
        host.run(&argv).map_err(|mut failure| {
            if !self.passphrase.is_empty() {
                failure.msg = failure.msg.replace(self.passphrase, "********");
            }
            failure
        })?;
        let secret = Replace { secret: true, ..Replace::default() };
        host.replace(&self.path, &fs::read(&made)?, &secret)?;
        let public = fs::read(made.with_extension("pub"))?;
        host.replace(&self.public_path, &public, &secret)?;
        fs::chmod(&self.public_path, 0o644)?;
        Ok(())
    }

    /// Writes the public key anew, and the comment that it shall have.
    fn restore(&self, host: &mut Host) -> Result<(), Failure> {
        let public = self.matching(host, self.passphrase).ok_or(
            "The public key is missing or does not match the private key. Unable to regenerate the public key.",
        )?;
        let comment = self.args.comment.as_deref().filter(|comment| !comment.is_empty());
        let text = match comment {
            Some(comment) if self.is_by_library => format!("{} {comment}\n", public.key),
            _ => format!("{}\n", public.key),
        };
        host.replace(&self.public_path, text.as_bytes(), &Replace::default())?;
        if let (Some(comment), false) = (comment, self.is_by_library) {
            let path = self.path.display().to_string();
            host.run(&["ssh-keygen", "-q", "-c", "-C", comment, "-f", &path])?;
        }
        Ok(())
    }
}

/// How a private key is written, by its first line.
fn format_of(text: &str) -> &'static str {
    match text.lines().next().unwrap_or_default() {
        "-----BEGIN OPENSSH PRIVATE KEY-----" => "ssh",
        "-----BEGIN PRIVATE KEY-----" | "-----BEGIN ENCRYPTED PRIVATE KEY-----" => "pkcs8",
        _ => "pkcs1",
    }
}

/// What a difference shows of the keys.
fn shown(private: Option<&Private>, public: Option<&Public>) -> Value {
    let map = Map::new();
    if let Some(private) = private {
        map.set("size", private.size);
        map.set("type", private.kind.as_str());
        map.set("fingerprint", private.fingerprint.as_str());
    }
    if let Some(public) = public {
        map.set("comment", public.comment.as_str());
        map.set("public_key", public.key.as_str());
    }
    Value::from(map)
}

fn run(args: Args, host: &mut Host) -> Run {
    let pair = Pair::new(&args, host)?;
    let (private, public) = (pair.private(host), pair.public());
    let before = shown(private.as_ref(), public.as_ref());
    let mut changed = false;
    let is_there = pair.path.exists();
    if args.state == "absent" {
        for path in [&pair.path, &pair.public_path].into_iter().filter(|path| path.exists()) {
            changed = true;
            if !host.check {
                fs::remove_file(path)?;
            }
        }
        return Ok(told(&pair, host, changed, private, public, &before));
    }
    let regenerate = if args.force { "always" } else { args.regenerate.as_str() };
    let is_careful = matches!(regenerate, "never" | "fail" | "partial_idempotence");
    if is_there && is_careful && (private.is_none() || !pair.is_readable(host)) {
        return Err("Unable to read the key. The key is protected with a passphrase or broken. Will not proceed. To force regeneration, call the module with `generate` set to `full_idempotence` or `always`, or with `force=true`.".into());
    }
    let makes = match (&private, regenerate) {
        (None, _) | (_, "always") => true,
        (_, "never") => false,
        (Some(private), "fail") if !pair.fits(private) => {
            return Err("Key has wrong type and/or size. Will not proceed. To force regeneration, call the module with `generate` set to `partial_idempotence`, `full_idempotence` or `always`, or with `force=true`.".into());
        }
        (Some(private), _) => !pair.fits(private),
    };
    let is_right = || {
        let (Some(public), Some(matching)) = (&public, pair.matching(host, pair.passphrase)) else {
            return false;
        };
        public.key == matching.key && args.comment.as_ref().is_none_or(|comment| *comment == public.comment)
    };
    if makes {
        changed = true;
        if !host.check {
            pair.make(host)?;
        }
    } else if !is_right() {
        changed = true;
        if !host.check {
            pair.restore(host)?;
        }
    }
    for path in [&pair.path, &pair.public_path] {
        changed |= (host.check && !path.exists()) || host.attributes(path, &args.attributes)?;
    }
    let now = (pair.private(host).or(private), pair.public().or(public));
    Ok(told(&pair, host, changed, now.0, now.1, &before))
}

fn told(
    pair: &Pair<'_>,
    host: &Host,
    changed: bool,
    private: Option<Private>,
    public: Option<Public>,
    before: &Value,
) -> Outcome {
    let mut outcome = Outcome::changed(changed);
    if host.diff {
        let after = match pair.args.state.as_str() {
            "absent" => Value::from(Map::new()),
            _ => shown(private.as_ref(), public.as_ref()),
        };
        outcome = outcome.with("diff", Value::map([("before", before.clone()), ("after", after)]));
    }
    outcome
        .with("size", pair.size)
        .with("type", pair.args.kind.as_str())
        .with("filename", pair.args.path.as_str())
        .with("fingerprint", private.map(|key| key.fingerprint).unwrap_or_default())
        .with("public_key", public.as_ref().map(|key| key.key.clone()).unwrap_or_default())
        .with("comment", public.map(|key| key.comment).unwrap_or_default())
}

module!("openssh_keypair", "community.crypto", Args, run);
