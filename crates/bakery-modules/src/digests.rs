//! The digests that Python's hashlib is sure to have.

use std::io::{Read as _, Write as _};

/// Their names, in order.
pub const NAMES: [&str; 14] = [
    "blake2b",
    "blake2s",
    "md5",
    "sha1",
    "sha224",
    "sha256",
    "sha384",
    "sha3_224",
    "sha3_256",
    "sha3_384",
    "sha3_512",
    "sha512",
    "shake_128",
    "shake_256",
];

/// A digest that is being made.
trait Making: std::io::Write {
    fn done(self: Box<Self>) -> Vec<u8>;
}

struct Fixed<D>(D);

impl<D: md5::Digest> std::io::Write for Fixed<D> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<D: md5::Digest> Making for Fixed<D> {
    fn done(self: Box<Self>) -> Vec<u8> {
        self.0.finalize().to_vec()
    }
}

/// One whose length is left open: 32 bytes.
struct Open<D>(D);

impl<D: blake2::digest::Update> std::io::Write for Open<D> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<D: blake2::digest::Update + sha3::digest::ExtendableOutput> Making for Open<D> {
    fn done(self: Box<Self>) -> Vec<u8> {
        let mut out = vec![0; 32];
        self.0.finalize_xof_into(&mut out);
        out
    }
}

fn begun(algorithm: &str) -> Option<Box<dyn Making>> {
    use md5::Digest as _;
    Some(match algorithm {
        "blake2b" => Box::new(Fixed(blake2::Blake2b512::new())),
        "blake2s" => Box::new(Fixed(blake2::Blake2s256::new())),
        "md5" => Box::new(Fixed(md5::Md5::new())),
        "sha1" => Box::new(Fixed(sha1::Sha1::new())),
        "sha224" => Box::new(Fixed(sha2::Sha224::new())),
        "sha256" => Box::new(Fixed(sha2::Sha256::new())),
        "sha384" => Box::new(Fixed(sha2::Sha384::new())),
        "sha3_224" => Box::new(Fixed(sha3::Sha3_224::new())),
        "sha3_256" => Box::new(Fixed(sha3::Sha3_256::new())),
        "sha3_384" => Box::new(Fixed(sha3::Sha3_384::new())),
        "sha3_512" => Box::new(Fixed(sha3::Sha3_512::new())),
        "sha512" => Box::new(Fixed(sha2::Sha512::new())),
        "shake_128" => Box::new(Open(sha3::Shake128::default())),
        "shake_256" => Box::new(Open(sha3::Shake256::default())),
        _ => return None,
    })
}

/// The digest of some bytes, of 32 bytes where the algorithm leaves that open; `None` for an algorithm that is none.
pub fn digest(algorithm: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    let mut making = begun(algorithm)?;
    making.write_all(bytes).ok()?;
    Some(making.done())
}

fn shown(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The same in hexadecimal.
pub fn hex(algorithm: &str, bytes: &[u8]) -> Option<String> {
    digest(algorithm, bytes).map(|digest| shown(&digest))
}

/// Digests of a file of any size in hexadecimal, for which it is read once; of an algorithm that is none, none.
///
/// # Errors
/// When the file cannot be read.
pub fn of_file<const N: usize>(
    path: &std::path::Path,
    algorithms: [&str; N],
) -> Result<[Option<String>; N], bakery_host::fs::Error> {
    let mut file = bakery_host::fs::open(path)?;
    let mut making = algorithms.map(begun);
    let failed = |error| bakery_host::fs::Error::new("read", path, error);
    let mut piece = vec![0; 256 << 10];
    loop {
        let count = file.read(&mut piece).map_err(failed)?;
        if count == 0 {
            return Ok(making.map(|making| making.map(|making| shown(&making.done()))));
        }
        for making in making.iter_mut().flatten() {
            making.write_all(&piece[..count]).map_err(failed)?;
        }
    }
}
