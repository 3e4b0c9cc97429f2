//! Vaults: text encrypted with a password (`ansible/parsing/vault/__init__.py`, format 1.1 and 1.2, AES256).
//!
//! PBKDF2 with SHA-256 and 10,000 rounds makes two keys and a counter; AES in counter mode encrypts, HMAC-SHA256 over the
//! ciphertext tells a wrong password.

use std::io::Read as _;
use std::path::Path;

use aes::cipher::{KeyIvInit as _, StreamCipher as _};
use bakery_host::{Cmd, fs};
use hmac::{KeyInit as _, Mac as _};

use crate::settings::expanded;
use crate::{Error, Result, Settings};

const HEADER: &str = "$ANSIBLE_VAULT";
const ROUNDS: u32 = 10_000;
type Ctr = ctr::Ctr128BE<aes::Aes256>;
type Hmac = hmac::Hmac<sha2::Sha256>;

/// A password under its vault id. It is never shown.
#[derive(Clone)]
pub struct Secret {
    /// The vault id; `default` if none is given.
    pub id: String,
    password: Vec<u8>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret({})", self.id)
    }
}

/// Where passwords come from, as the command line gives them.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `--vault-id`: `label@file`, `label@prompt`, or a file.
    pub ids: Vec<String>,
    /// `--vault-password-file`.
    pub files: Vec<String>,
    /// Whether to ask for one.
    pub ask: bool,
}

impl Secret {
    /// A password under a vault id.
    pub fn new(id: &str, password: impl Into<Vec<u8>>) -> Self {
        Self { id: id.to_owned(), password: password.into() }
    }

    /// Reads the passwords that a command line and settings name, in order. One that can be had is enough; warnings say
    /// what is the matter with the others.
    ///
    /// # Errors
    /// When there is none: the last file that cannot be read, program that fails, or empty password.
    pub fn load(sources: &Sources, settings: &Settings, warnings: &mut Vec<String>) -> Result<Vec<Self>> {
        let mut wanted: Vec<(String, String)> = Vec::new();
        let configured = settings.list("ANSIBLE_VAULT_IDENTITY_LIST", "defaults", "vault_identity_list");
        let default = settings
            .text("ANSIBLE_VAULT_IDENTITY", "defaults", "vault_identity")
            .unwrap_or_else(|| "default".into());
        for id in configured.iter().chain(&sources.ids) {
            let (label, source) = id.split_once('@').unwrap_or((&default, id));
            let label = if label.is_empty() { &default } else { label };
            wanted.push((label.to_owned(), source.to_owned()));
        }
        wanted.extend(sources.files.iter().map(|file| (default.clone(), file.clone())));
        if let Some(file) = settings.path("ANSIBLE_VAULT_PASSWORD_FILE", "defaults", "vault_password_file") {
            wanted.push((default.clone(), file.display().to_string()));
        }
        if sources.ask {
            wanted.push((default, "prompt".into()));
        }
        let mut secrets: Vec<Self> = Vec::new();
        let mut last = None;
        for (id, source) in wanted {
            if matches!(source.as_str(), "prompt" | "prompt_ask_vault_pass") {
                let password = ask("Vault password: ")?;
                if password.is_empty() {
                    return Err(Error::message("Empty password was provided from prompt"));
                }
                secrets.push(Self { id, password });
                continue;
            }
            let path = expanded(&source);
            let (what, found) = match usable(&path) {
                Err(error) => ("Error getting vault password file", Err(error)),
                Ok(()) => ("Error in vault password file loading", of_file(&path, &id, &secrets)),
            };
            match found {
                Ok(password) => secrets.push(Self { id, password }),
                Err(error) => {
                    warnings.push(format!("{what} ({id}): {}", error.diagnostic.message));
                    last = Some(error);
                }
            }
        }
        match last {
            Some(error) if secrets.is_empty() => Err(error),
            _ => Ok(secrets),
        }
    }
}

/// A password from the terminal, or the first line of standard input.
fn ask(prompt: &str) -> Result<Vec<u8>> {
    let text = bakery_host::terminal::ask_hidden(prompt).map_err(|e| Error::message(e.to_string()))?;
    Ok(text.into_bytes())
}

/// Whether a password may be in a file.
fn usable(path: &Path) -> Result<()> {
    let shown = path.display();
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => {
            Err(Error::message(format!("The vault password file provided '{shown}' can not be a directory")))
        }
        Ok(_) => Ok(()),
        Err(_) => Err(Error::message(format!("The vault password file {shown} was not found"))),
    }
}

/// A password from a file, from what an executable file prints, or from an encrypted file.
fn of_file(path: &Path, id: &str, known: &[Secret]) -> Result<Vec<u8>> {
    let password = read(path, id, known)?;
    if password.is_empty() {
        return Err(Error::message(format!(
            "Invalid vault password was provided from file ({})",
            path.display()
        )));
    }
    Ok(password)
}

fn read(path: &Path, id: &str, known: &[Secret]) -> Result<Vec<u8>> {
    use std::os::unix::fs::PermissionsExt as _;
    let meta = std::fs::metadata(path).map_err(|e| Error::message(e.to_string()))?;
    let trimmed = |bytes: Vec<u8>| bytes.trim_ascii().to_vec();
    if meta.permissions().mode() & 0o111 != 0 {
        let full = fs::canonicalize(path)?;
        let mut cmd = Cmd::new(&full);
        // Programs whose name ends so are told which password is wanted.
        if path.file_stem().is_some_and(|s| s.to_string_lossy().ends_with("-client")) {
            cmd = cmd.arg("--vault-id").arg(id);
        }
        let output = cmd.output()?;
        if !output.success() {
            return Err(Error::message(format!(
                "Vault password script {} returned non-zero ({}): {}",
                path.display(),
                output.code,
                String::from_utf8_lossy(&output.stderr).trim()
            )));
        }
        return Ok(trimmed(output.stdout));
    }
    let mut bytes = Vec::new();
    fs::open(path)?.read_to_end(&mut bytes).map_err(|e| Error::message(e.to_string()))?;
    let bytes = trimmed(bytes);
    if is_encrypted(&bytes) {
        return decrypt(&bytes, known, false).map(trimmed);
    }
    Ok(bytes)
}

/// Whether bytes are a vault.
pub fn is_encrypted(bytes: &[u8]) -> bool {
    bytes.starts_with(HEADER.as_bytes())
}

/// The keys and the first counter that a password and a salt make.
fn derive(password: &[u8], salt: &[u8]) -> ([u8; 32], [u8; 32], [u8; 16]) {
    let made = pbkdf2::pbkdf2_hmac_array::<sha2::Sha256, 80>(password, salt, ROUNDS);
    let mut parts = ([0; 32], [0; 32], [0; 16]);
    parts.0.copy_from_slice(&made[..32]);
    parts.1.copy_from_slice(&made[32..64]);
    parts.2.copy_from_slice(&made[64..]);
    parts
}

/// Bytes from digits; what is wrong with them in Python's words.
fn unhex(text: &[u8]) -> std::result::Result<Vec<u8>, &'static str> {
    let digits: Vec<u8> = text.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    if !digits.len().is_multiple_of(2) {
        return Err("Odd-length string");
    }
    let bytes: Option<_> =
        digits.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect();
    bytes.ok_or("Non-hexadecimal digit found")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Decrypts a vault with the first password that fits; the one of its own vault id is tried first, and alone when
/// `match_id` says so (`DEFAULT_VAULT_ID_MATCH`).
///
/// # Errors
/// A format that is none, no password, or none that fits.
pub fn decrypt(vault: &[u8], secrets: &[Secret], match_id: bool) -> Result<Vec<u8>> {
    open(vault, secrets, match_id).map(|(text, _)| text)
}

/// As [`decrypt`], with the password that fitted.
///
/// # Errors
/// As [`decrypt`].
pub fn open<'a>(vault: &[u8], secrets: &'a [Secret], match_id: bool) -> Result<(Vec<u8>, &'a Secret)> {
    let failed = |message: &str| Error::message(message.to_owned());
    let end = vault.iter().position(|b| *b == b'\n').unwrap_or(vault.len());
    let header = String::from_utf8_lossy(&vault[..end]).trim().to_owned();
    let fields: Vec<&str> = header.split(';').collect();
    if fields.first() != Some(&HEADER) {
        return Err(failed("input is not vault encrypted data."));
    }
    if fields.get(2) != Some(&"AES256") {
        return Err(failed(&format!("{} cipher could not be found", fields.get(2).unwrap_or(&"?"))));
    }
    let id = fields.get(3).copied().unwrap_or("default");
    let bad = |why: &str| failed(&format!("Vault format unhexlify error: {why}"));
    let inner = unhex(&vault[end..]).map_err(bad)?;
    let mut parts = inner.splitn(3, |b| *b == b'\n').map(unhex);
    let mut next = || parts.next().ok_or_else(|| bad("the vault is not whole"))?.map_err(bad);
    let (salt, mac, ciphertext) = (next()?, next()?, next()?);
    if secrets.is_empty() {
        return Err(failed("Attempting to decrypt but no vault secrets found."));
    }
    let (own, others): (Vec<&Secret>, Vec<&Secret>) = secrets.iter().partition(|s| s.id == id);
    let tried = own.into_iter().chain(if match_id { vec![] } else { others });
    for secret in tried {
        let (key, mac_key, iv) = derive(&secret.password, &salt);
        let mut check = Hmac::new_from_slice(&mac_key).map_err(|e| failed(&e.to_string()))?;
        check.update(&ciphertext);
        if check.verify_slice(&mac).is_err() {
            continue;
        }
        let mut text = ciphertext.clone();
        Ctr::new(&key.into(), &iv.into()).apply_keystream(&mut text);
        let padding = usize::from(text.last().copied().unwrap_or_default());
        text.truncate(text.len().saturating_sub(padding));
        return Ok((text, secret));
    }
    Err(failed("Decryption failed (no vault secrets were found that could decrypt)."))
}

/// Encrypts; the vault names its id unless it is the default one. With a salt of one's own, the same text gives the same
/// vault (`VAULT_ENCRYPT_SALT`).
///
/// # Errors
/// When there is no randomness to be had.
pub fn encrypt(plain: &[u8], secret: &Secret, id: Option<&str>, salt: Option<&str>) -> Result<String> {
    let mut random = [0u8; 32];
    let salt = match salt {
        Some(salt) => salt.as_bytes(),
        None => {
            getrandom::fill(&mut random).map_err(|e| Error::message(e.to_string()))?;
            &random
        }
    };
    let (key, mac_key, iv) = derive(&secret.password, salt);
    let mut text = plain.to_vec();
    let padding = 16 - text.len() % 16;
    text.extend(std::iter::repeat_n(padding as u8, padding));
    Ctr::new(&key.into(), &iv.into()).apply_keystream(&mut text);
    let mut mac = Hmac::new_from_slice(&mac_key).map_err(|e| Error::message(e.to_string()))?;
    mac.update(&text);
    let mac = mac.finalize().into_bytes();
    let inner = format!("{}\n{}\n{}", hex(salt), hex(&mac), hex(&text));
    let body = hex(inner.as_bytes());
    let mut out = match id.filter(|id| *id != "default") {
        Some(id) => format!("{HEADER};1.2;AES256;{id}\n"),
        None => format!("{HEADER};1.1;AES256\n"),
    };
    for line in body.as_bytes().chunks(80) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by `ansible-vault encrypt` of ansible-core 2.19 with the password `p`.
    const THEIRS: &str = include_str!("../tests/vault-of-ansible.txt");

    #[test]
    fn opens_what_ansible_made_and_its_own() {
        let secrets = [Secret::new("dev", "wrong"), Secret::new("default", "p")];
        assert_eq!(decrypt(THEIRS.as_bytes(), &secrets, false).expect("fits"), b"hello vault\n");
        assert!(decrypt(THEIRS.as_bytes(), &secrets[..1], false).is_err());
        let made = encrypt(b"x", &secrets[0], Some("dev"), None).expect("made");
        assert!(made.starts_with("$ANSIBLE_VAULT;1.2;AES256;dev\n"));
        assert_eq!(decrypt(made.as_bytes(), &secrets, true).expect("fits"), b"x");
        assert!(decrypt(b"$ANSIBLE_VAULT;1.1;AES256\nzz", &secrets, false).is_err());
    }
}
