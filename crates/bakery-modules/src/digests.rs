//! The digests that Python's hashlib is sure to have.

use blake2::digest::Update as _;
use md5::Digest as _;
use sha3::digest::ExtendableOutput as _;

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

/// The digest of some bytes, of 32 bytes where the algorithm leaves that open; `None` for an algorithm that is none.
pub fn digest(algorithm: &str, bytes: &[u8]) -> Option<Vec<u8>> {
    Some(match algorithm {
        "blake2b" => blake2::Blake2b512::digest(bytes).to_vec(),
        "blake2s" => blake2::Blake2s256::digest(bytes).to_vec(),
        "md5" => md5::Md5::digest(bytes).to_vec(),
        "sha1" => sha1::Sha1::digest(bytes).to_vec(),
        "sha224" => sha2::Sha224::digest(bytes).to_vec(),
        "sha256" => sha2::Sha256::digest(bytes).to_vec(),
        "sha384" => sha2::Sha384::digest(bytes).to_vec(),
        "sha3_224" => sha3::Sha3_224::digest(bytes).to_vec(),
        "sha3_256" => sha3::Sha3_256::digest(bytes).to_vec(),
        "sha3_384" => sha3::Sha3_384::digest(bytes).to_vec(),
        "sha3_512" => sha3::Sha3_512::digest(bytes).to_vec(),
        "sha512" => sha2::Sha512::digest(bytes).to_vec(),
        "shake_128" => {
            let mut out = vec![0; 32];
            let mut hash = sha3::Shake128::default();
            hash.update(bytes);
            hash.finalize_xof_into(&mut out);
            out
        }
        "shake_256" => {
            let mut out = vec![0; 32];
            let mut hash = sha3::Shake256::default();
            hash.update(bytes);
            hash.finalize_xof_into(&mut out);
            out
        }
        _ => return None,
    })
}

/// The same in hexadecimal.
pub fn hex(algorithm: &str, bytes: &[u8]) -> Option<String> {
    digest(algorithm, bytes).map(|digest| digest.iter().map(|byte| format!("{byte:02x}")).collect())
}
