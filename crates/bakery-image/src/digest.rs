//! Digests of what is written or read, however large.

use std::io::Write;
use std::path::Path;

use bakery_host::fs;
use sha2::Digest;

use crate::{Error, Result};

/// Counts and digests what is written through it.
pub(crate) struct Hashing<W, D> {
    to: W,
    hasher: D,
    /// Bytes so far.
    pub(crate) length: u64,
}

impl<W: Write, D: Digest> Hashing<W, D> {
    pub(crate) fn new(to: W) -> Self {
        Self { to, hasher: D::new(), length: 0 }
    }

    /// The digest in hexadecimal digits.
    pub(crate) fn finish(self) -> String {
        hex(&self.hasher.finalize())
    }
}

impl<W: Write, D: Digest> Write for Hashing<W, D> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

/// Bytes in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The digest of a file in hexadecimal digits.
pub(crate) fn of_file<D: Digest>(path: &Path) -> Result<String> {
    let mut hashing = Hashing::<_, D>::new(std::io::sink());
    std::io::copy(&mut fs::open(path)?, &mut hashing)
        .map_err(|e| Error::new(format!("cannot read `{}`: {e}", path.display())))?;
    Ok(hashing.finish())
}

/// The digest of a kind over a file, in hexadecimal digits.
pub(crate) fn named(kind: &str, path: &Path) -> Result<String> {
    match kind {
        "md5" => of_file::<md5::Md5>(path),
        "sha1" => of_file::<sha1::Sha1>(path),
        "sha224" => of_file::<sha2::Sha224>(path),
        "sha256" => of_file::<sha2::Sha256>(path),
        "sha384" => of_file::<sha2::Sha384>(path),
        "sha512" => of_file::<sha2::Sha512>(path),
        other => Err(Error::new(format!("unknown checksum type `{other}`"))
            .hint("known: md5, sha1, sha224, sha256, sha384, sha512")),
    }
}
