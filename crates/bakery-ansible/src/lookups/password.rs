//! The lookup `password`: a password kept in a file, made on first use (`ansible/plugins/lookup/password.py`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use bakery_host::fs;
use bakery_jinja::{Error, Result};
use bakery_lang::random::Random;
use bakery_lang::{Map, Value};

use crate::Templar;
use bakery_modules::passwords::{Wanted, hash, salt};

const PARAMETERS: &[&str] = &["length", "encrypt", "chars", "ident", "seed"];

/// How long another run may take to make the same password.
const PATIENCE: [u64; 3] = [1, 2, 4];

/// What a password is made of.
struct Parameters {
    length: usize,
    chars: Vec<char>,
    encrypt: Option<String>,
    ident: Option<String>,
    seed: Option<String>,
}

/// What the file holds: `password salt=… ident=…`.
struct Kept {
    password: String,
    salt: Option<String>,
    ident: Option<String>,
}

pub(super) fn run(templar: &Templar, term: &str, options: &Map) -> Result<Value> {
    let (path, wanted) = parameters(term, options)?;
    let path = crate::settings::expanded(&path);
    let path = match &templar.loader {
        Some(loader) => loader.playbook_dir.join(path),
        None => path,
    };
    let nowhere = path == Path::new("/dev/null");
    let _lock = if nowhere { None } else { Some(Lock::take(&path)?) };
    let kept = if nowhere { None } else { fs::read_to_string(&path).ok().map(|text| parse(text.trim_end())) };
    let mut changed = kept.is_none();
    let mut kept = match kept {
        Some(kept) => kept,
        None => Kept { password: random(&wanted)?, salt: None, ident: None },
    };
    if let Some(algorithm) = &wanted.encrypt {
        if kept.salt.is_none() {
            changed = true;
            let length = match algorithm.as_str() {
                "bcrypt" => 22,
                "sha256_crypt" | "sha512_crypt" => 16,
                _ => 8,
            };
            kept.salt = Some(salt(length).map_err(Error::new)?);
        }
        match (&kept.ident, &wanted.ident) {
            (Some(own), Some(other)) if own != other => {
                return Err(Error::new(format!(
                    "The ident parameter provided ({other}) does not match the stored one ({own})."
                )));
            }
            (None, given) => {
                kept.ident = given.clone().or_else(|| (algorithm == "bcrypt").then(|| "2b".to_owned()));
                changed |= kept.ident.is_some();
            }
            _ => {}
        }
    }
    if changed && !nowhere {
        let mut text = kept.password.clone();
        if let Some(salt) = &kept.salt {
            text += &format!(" salt={salt}");
            if let Some(ident) = &kept.ident {
                text += &format!(" ident={ident}");
            }
        }
        fs::write_atomic_mode(&path, format!("{text}\n"), 0o600).map_err(|e| Error::new(e.to_string()))?;
    }
    let Some(algorithm) = wanted.encrypt else { return Ok(kept.password.into()) };
    let how = Wanted { algorithm, salt: kept.salt, ident: kept.ident, ..Wanted::default() };
    Ok(hash(&kept.password, &how).map_err(Error::new)?.into())
}

/// The path, which may hold blanks, and the parameters after it, above those of the call.
fn parameters(term: &str, options: &Map) -> Result<(String, Parameters)> {
    let (first, rest) = term.split_once(' ').unwrap_or((term, ""));
    let given = crate::playbook::parse_key_values(rest, None, None);
    let mut path = first.to_owned();
    if let Some(more) = given.remove("_raw_params") {
        path = format!("{first} {more}");
        if !term.starts_with(&path) {
            return Err(Error::new("Unrecognized value after key=value parameters given to password lookup"));
        }
    }
    let unknown: Vec<String> =
        given.keys().iter().map(ToString::to_string).filter(|k| !PARAMETERS.contains(&k.as_str())).collect();
    if !unknown.is_empty() {
        let names = unknown.join(", ");
        return Err(Error::new(format!("Unrecognized parameter(s) given to password lookup: {names}")));
    }
    let value = |name: &str| given.get(name).or_else(|| options.get(name)).filter(|v| !v.is_none());
    let text = |name: &str| value(name).map(|v| v.to_string());
    let length = match value("length") {
        None => 20,
        Some(length) => length
            .as_int()
            .or_else(|| length.to_string().trim().parse().ok())
            .and_then(|n| usize::try_from(n).ok())
            .ok_or_else(|| Error::new(format!("the length of a password must be a number, not {length}")))?,
    };
    let sets = match value("chars") {
        Some(Value::List(items)) => items.items().iter().map(ToString::to_string).collect(),
        Some(other) => {
            let text = other.to_string();
            let comma = text.contains(",,").then(|| ",".to_owned());
            let names = text.replace(",,", ",");
            let names = names.split(',').filter(|n| !n.is_empty()).map(str::to_owned);
            comma.into_iter().chain(names).collect()
        }
        None => vec!["ascii_letters".to_owned(), "digits".into(), ".,:-_".into()],
    };
    let mut chars: Vec<char> = sets.iter().flat_map(|name| characters(name)).collect();
    chars.retain(|c| !matches!(c, '"' | '\''));
    if chars.is_empty() {
        return Err(Error::new("there are no characters to make a password of"));
    }
    let parameters = Parameters {
        length,
        chars,
        encrypt: text("encrypt").filter(|e| !e.is_empty()),
        ident: text("ident"),
        seed: text("seed"),
    };
    Ok((path, parameters))
}

/// The sets of Python's `string`, else the characters themselves.
fn characters(name: &str) -> Vec<char> {
    const PUNCTUATION: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
    match name {
        "ascii_letters" => ('a'..='z').chain('A'..='Z').collect(),
        "ascii_lowercase" => ('a'..='z').collect(),
        "ascii_uppercase" => ('A'..='Z').collect(),
        "digits" => ('0'..='9').collect(),
        "hexdigits" => "0123456789abcdefABCDEF".chars().collect(),
        "octdigits" => ('0'..='7').collect(),
        "punctuation" => PUNCTUATION.chars().collect(),
        "whitespace" => " \t\n\r\u{b}\u{c}".chars().collect(),
        "printable" => [
            characters("digits"),
            characters("ascii_letters"),
            characters("punctuation"),
            characters("whitespace"),
        ]
        .concat(),
        other => other.chars().collect(),
    }
}

/// A seed makes the same password each time (`random_password` of `ansible/utils/encrypt.py`).
fn random(wanted: &Parameters) -> Result<String> {
    let seed = wanted.seed.as_deref().map_or(Value::None, Value::from);
    let mut random = Random::seeded(&seed).map_err(Error::new)?;
    Ok((0..wanted.length).filter_map(|_| random.choice(&wanted.chars)).collect())
}

fn parse(text: &str) -> Kept {
    let (password, rest) = text.rsplit_once(" salt=").map_or((text, None), |(p, r)| (p, Some(r)));
    let (salt, ident) = match rest.map(|rest| rest.rsplit_once(" ident=").ok_or(rest)) {
        None => (None, None),
        Some(Ok((salt, ident))) => (Some(salt.to_owned()), Some(ident.to_owned())),
        Some(Err(salt)) => (Some(salt.to_owned()), None),
    };
    Kept { password: password.to_owned(), salt, ident }
}

/// The file that says that somebody is making the password; it is removed when this is dropped.
struct Lock(PathBuf);

impl Lock {
    fn take(path: &Path) -> Result<Self> {
        use sha1::Digest as _;
        let failed = |e: bakery_host::Error| Error::new(e.to_string());
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_private_dirs(folder).map_err(failed)?;
        let digest = sha1::Sha1::digest(path.as_os_str().as_encoded_bytes());
        let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let lock = folder.join(format!("{name}.ansible_lockfile"));
        for seconds in PATIENCE.iter().map(Some).chain([None]) {
            if fs::create_new(&lock).map_err(failed)? {
                return Ok(Self(lock));
            }
            match seconds {
                Some(seconds) => std::thread::sleep(Duration::from_secs(*seconds)),
                None => break,
            }
        }
        Err(Error::new(format!(
            "Password lookup cannot get the lock in 7 seconds, abort...This may caused by un-removed lockfileyou can manually remove it from controller machine at {} and try again",
            lock.display()
        )))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
