//! Keys, requests and certificates, without a program or a library of the target: what the modules of community.crypto
//! share. `keys` makes and reads keys, `names` and `extensions` what is said of them, `signed` puts it together,
//! `info` tells what is in them.

pub(crate) mod extensions;
pub(crate) mod info;
pub(crate) mod keys;
pub(crate) mod names;
pub(crate) mod pem;
pub(crate) mod request;
pub(crate) mod signed;
pub(crate) mod times;

use std::path::{Path, PathBuf};

use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;

use crate::host::{FileAttributes, Replace};
use crate::{Failure, Host, Outcome, digests};
use keys::{Key, Unreadable};

/// The digests of some bytes by every algorithm that Python is sure to have, in hexadecimal with colons
/// (`get_fingerprint_of_bytes` in `_crypto/support.py`).
pub(crate) fn fingerprints(bytes: &[u8]) -> Map {
    let hex = |digest: Vec<u8>| {
        Value::from(digest.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"))
    };
    digests::NAMES.iter().filter_map(|name| Some((*name, hex(digests::digest(name, bytes)?)))).collect()
}

/// How many bits a number has, the highest byte first.
pub(crate) fn bits(number: &[u8]) -> usize {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros).map_or(0, |first| (number.len() - zeros) * 8 - first.leading_zeros() as usize)
}

/// The bytes of a file that must be there, or those that are given instead.
///
/// # Errors
/// Says which file is not there.
pub(crate) fn content(
    host: &Host,
    path: Option<&str>,
    given: Option<&str>,
    what: &str,
) -> Result<Vec<u8>, Failure> {
    match (path, given) {
        (_, Some(text)) => Ok(text.as_bytes().to_vec()),
        (Some(path), None) => host
            .read_optional(&host.path(path))?
            .ok_or_else(|| Failure::new(format!("The {what} {path} does not exist"))),
        (None, None) => Err(Failure::new(format!("the {what} is not given"))),
    }
}

/// A private key that a file or a text holds.
///
/// # Errors
/// In the words of `load_privatekey` in `_crypto/support.py`.
pub(crate) fn private_key(content: &[u8], passphrase: Option<&str>) -> Result<Key, Failure> {
    Key::read(content, passphrase, None).map_err(|error| {
        Failure::new(match error {
            Unreadable::Passphrase => "Wrong or empty passphrase provided for private key".into(),
            Unreadable::Wrong(why) => {
                format!("Wrong passphrase provided for private key, or private key cannot be parsed: {why}")
            }
        })
    })
}

/// The options about the file that such a module keeps.
#[derive(ModuleArgs)]
pub(crate) struct FileOptions {
    /// The file.
    #[arg(required)]
    pub(crate) path: String,
    /// Whether it shall be there.
    #[arg(default = "present", choices = "present,absent")]
    pub(crate) state: String,
    /// Whether it is made anew whatever is there.
    pub(crate) force: bool,
    /// Whether a dated copy of the old file is kept.
    pub(crate) backup: bool,
    /// Whether the result has what the file holds.
    pub(crate) return_content: bool,
    /// Permissions and ownership.
    #[arg(flatten)]
    pub(crate) attributes: FileAttributes,
}

/// A file that such a module keeps.
pub(crate) struct Kept<'a> {
    pub(crate) path: PathBuf,
    pub(crate) options: &'a FileOptions,
    /// Where a dated copy was made.
    pub(crate) backup_file: Option<String>,
    /// Whether it is for its owner alone.
    pub(crate) secret: bool,
}

impl<'a> Kept<'a> {
    pub(crate) fn new(host: &Host, options: &'a FileOptions) -> Self {
        Self { path: host.path(&options.path), options, backup_file: None, secret: false }
    }

    /// # Errors
    /// When the folder of the file is not there.
    pub(crate) fn in_folder(self) -> Result<Self, Failure> {
        if self.path.parent().is_none_or(Path::is_dir) {
            return Ok(self);
        }
        let shown = Path::new(&self.options.path).parent().unwrap_or(Path::new(".")).display().to_string();
        let why = format!("The directory {shown} does not exist or the file is not a directory");
        Err(Failure::new(why).with("name", shown))
    }

    /// What it holds now.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub(crate) fn read(&self, host: &Host) -> Result<Option<Vec<u8>>, Failure> {
        host.read_optional(&self.path)
    }

    /// Writes it, unless this is only asked.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write(&mut self, host: &mut Host, content: &[u8]) -> Result<(), Failure> {
        let options = Replace { backup: self.options.backup, secret: self.secret, ..Replace::default() };
        let (_, backup) = host.replace(&self.path, content, &options)?;
        self.backup_file = backup.map(|copy| copy.display().to_string());
        Ok(())
    }

    /// Sets its permissions, and says whether something is, or would be, another than before.
    ///
    /// # Errors
    /// When they cannot be set.
    pub(crate) fn settled(&self, host: &mut Host, changed: bool) -> Result<bool, Failure> {
        if host.check && !self.path.exists() {
            return Ok(true);
        }
        Ok(host.attributes(&self.path, &self.options.attributes)? || changed)
    }

    /// The result of a module that keeps it.
    pub(crate) fn outcome(&self, changed: bool) -> Outcome {
        let outcome = Outcome::changed(changed).with("filename", self.options.path.as_str());
        match &self.backup_file {
            Some(copy) => outcome.with("backup_file", copy.as_str()),
            None => outcome,
        }
    }

    /// Removes it, and says whether it was there.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub(crate) fn remove(&mut self, host: &mut Host) -> Result<bool, Failure> {
        let Some(old) = host.read_optional(&self.path)? else { return Ok(false) };
        if !host.check {
            if self.options.backup {
                self.backup_file = Some(Host::back_up(&self.path)?.display().to_string());
            }
            bakery_host::fs::remove_file(&self.path)?;
        }
        if !self.secret {
            host.record_diff(&self.path, &old, b"");
        }
        Ok(true)
    }
}
