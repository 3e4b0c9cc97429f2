//! What is known about a key besides its layer: the answer that a call got, the state that a step came to, the calls
//! that a build made last.
//!
//! ```text
//! HOME/records/KEY    an answer, encrypted with what was asked; the layers of the state after it
//! HOME/runs/KEY       the calls of a build's last run, in order
//! ```
//!
//! An answer may hold what its question held: passwords, keys. It can be read by whoever can ask the same question, and
//! by nobody else.

use std::collections::BTreeMap;

use aes::cipher::{KeyIvInit as _, StreamCipher as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use bakery_host::{Result, fs};

use crate::{Key, Store};

/// A call in words that give nothing away: names, and digests of what they stood for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The task.
    pub task: String,
    /// The module.
    pub module: String,
    /// The user that it runs as; empty for root.
    pub user: String,
    /// Digests of its arguments by name, of its environment, and of its flags; none of a task with `no_log`.
    pub parts: BTreeMap<String, String>,
}

/// What a key came to.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Record {
    /// The layers of the state after it, the lowest first, where that state was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<Key>>,
    /// The key of the state after it, where it is not the record's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Key>,
    /// What containers are started with, where the state is an image of them: the `config` of the OCI image specification.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<serde_json::Value>,
    /// What a name came to when a base was made of it, such as a digest: whoever asks again sees whether it has moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved: Option<String>,
    /// The answer, sealed ([`seal`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

const CHECK: &str = "bakery check of an answer, version 1";
const SECRET: &str = "bakery answer of a call, version 1";

/// Seals an answer so that only its question opens it; base64.
pub fn seal(question: &[u8], answer: &[u8]) -> String {
    let check = check(question, answer);
    let mut sealed = check.as_bytes().to_vec();
    sealed.extend(answer);
    cipher(question, &check).apply_keystream(&mut sealed[32..]);
    STANDARD.encode(sealed)
}

/// Opens an answer; `None` if it is not whole, or the answer to something else.
pub fn open(question: &[u8], sealed: &str) -> Option<Vec<u8>> {
    let sealed = STANDARD.decode(sealed).ok()?;
    let (told, body) = sealed.split_at_checked(32)?;
    let told = blake3::Hash::from_bytes(told.try_into().ok()?);
    let mut answer = body.to_vec();
    cipher(question, &told).apply_keystream(&mut answer);
    (check(question, &answer) == told).then_some(answer)
}

/// Says whether an answer is whole, and begins its stream: no two answers share one.
fn check(question: &[u8], answer: &[u8]) -> blake3::Hash {
    blake3::keyed_hash(&blake3::derive_key(CHECK, question), answer)
}

fn cipher(question: &[u8], check: &blake3::Hash) -> ctr::Ctr128BE<aes::Aes256> {
    let mut start = [0u8; 16];
    start.copy_from_slice(&check.as_bytes()[..16]);
    ctr::Ctr128BE::new(&blake3::derive_key(SECRET, question).into(), &start.into())
}

impl Store {
    /// The state that a key came to: its key and its layers, all of which are there.
    pub fn state(&self, key: &Key) -> Option<(Key, Vec<Key>)> {
        let record = self.record(key)?;
        let layers = record.layers.filter(|layers| layers.iter().all(|id| self.layer(id).is_some()))?;
        Some((record.state.unwrap_or_else(|| key.clone()), layers))
    }

    /// The record of a key; one that cannot be read counts as none.
    pub fn record(&self, key: &Key) -> Option<Record> {
        self.read("records", key.as_str())
    }

    /// Keeps the record of a key.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_record(&self, key: &Key, record: &Record) -> Result<()> {
        self.write("records", key.as_str(), record)
    }

    /// The calls that a build made last; none of one that was never made.
    pub fn last_run(&self, build: &Key) -> Vec<Asked> {
        self.read("runs", build.as_str()).unwrap_or_default()
    }

    /// Keeps the calls that a build made.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn keep_run(&self, build: &Key, calls: &[Asked]) -> Result<()> {
        self.write("runs", build.as_str(), &calls)
    }

    fn read<T: DeserializeOwned>(&self, folder: &str, name: &str) -> Option<T> {
        let bytes = fs::read(self.root().join(folder).join(name)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    fn write(&self, folder: &str, name: &str, what: &impl Serialize) -> Result<()> {
        let bytes = serde_json::to_vec(what).unwrap_or_default();
        fs::write_lightly(self.root().join(folder).join(name), bytes, 0o600)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_question_opens_an_answer() {
        let sealed = seal(b"user: password=secret", b"the answer holds secret");
        assert!(!STANDARD.decode(&sealed).expect("base64").windows(6).any(|w| w == b"secret"));
        assert_eq!(open(b"user: password=secret", &sealed).as_deref(), Some(&b"the answer holds secret"[..]));
        assert_eq!(open(b"user: password=other", &sealed), None);
        for at in 0..sealed.len() - 2 {
            let mut changed = sealed.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("text");
            assert_eq!(open(b"user: password=secret", &changed), None, "letter {at}");
        }
        assert_eq!(open(b"q", "c2hvcnQ="), None);
    }
}
