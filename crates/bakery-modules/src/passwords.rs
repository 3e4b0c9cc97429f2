//! Hashes of passwords as `/etc/shadow` and Apache's files hold them (`ansible/utils/encrypt.py`, passlib).

use base64::Engine as _;
use md5::{Digest as _, Md5};

/// The alphabet of `crypt`.
const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Characters that salts are made of, as many as asked for.
///
/// # Errors
/// When there is no randomness to be had.
pub fn salt(length: usize) -> Result<String, String> {
    let mut bytes = vec![0u8; length];
    getrandom::fill(&mut bytes).map_err(|e| e.to_string())?;
    Ok(bytes.iter().map(|b| char::from(ALPHABET[usize::from(b % 64)])).collect())
}

/// What a hash is made with.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// `sha512`, `sha256`, `blowfish`, `md5`, `apr_md5`, or those with `_crypt`; `bcrypt`.
    pub algorithm: String,
    /// The salt; made anew if there is none.
    pub salt: Option<String>,
    /// How long a new salt is, in letters.
    pub salt_size: Option<usize>,
    /// Rounds, or the cost of bcrypt.
    pub rounds: Option<u32>,
    /// The prefix of bcrypt.
    pub ident: Option<String>,
}

/// Hashes a password.
///
/// # Errors
/// An algorithm that is not known, a salt that does not fit.
pub fn hash(password: &str, wanted: &Wanted) -> Result<String, String> {
    let name = wanted.algorithm.trim_end_matches("_crypt");
    let (length, exact) = match name {
        "sha512" | "sha256" => (16, false),
        "blowfish" | "bcrypt" => (22, true),
        "md5" | "apr_md5" => (8, false),
        _ => {
            return Err(format!(
                "{} is not in the list of supported passlib algorithms: md5, blowfish, sha256, sha512",
                wanted.algorithm
            ));
        }
    };
    let salt = match &wanted.salt {
        Some(own) => own.clone(),
        None if exact && wanted.salt_size.is_some_and(|size| size != length) => {
            return Err(format!("Could not hash the secret. A salt has {length} letters"));
        }
        None => salt(wanted.salt_size.unwrap_or(length).min(length))?,
    };
    if let Some(bad) = salt.chars().find(|c| !ALPHABET.contains(&(*c as u8)) || !c.is_ascii()) {
        return Err(format!("invalid characters in salt: {bad:?}"));
    }
    if exact && salt.len() != length || salt.len() > length {
        return Err(format!("invalid salt size supplied ({}), expected {length}", salt.len()));
    }
    match name {
        "sha512" | "sha256" => {
            // As many as ansible-core asks passlib for.
            let rounds = wanted.rounds.unwrap_or(if name == "sha512" { 656_000 } else { 535_000 });
            let params = sha_crypt::Params::new(rounds)
                .map_err(|_| format!("Could not hash the secret. {rounds} rounds are not possible"))?;
            let shown = if rounds == 5000 { String::new() } else { format!("rounds={rounds}$") };
            let (id, text) = if name == "sha512" {
                (6, encoded(&sha_crypt::sha512_crypt(password.as_bytes(), salt.as_bytes(), params)))
            } else {
                (5, encoded(&sha_crypt::sha256_crypt(password.as_bytes(), salt.as_bytes(), params)))
            };
            Ok(format!("${id}${shown}{salt}${text}"))
        }
        "md5" => Ok(md5_crypt(password, &salt, "$1$")),
        "apr_md5" => Ok(md5_crypt(password, &salt, "$apr1$")),
        _ => {
            let mut raw = [0u8; 16];
            for (at, byte) in unpacked(&salt).into_iter().take(16).enumerate() {
                raw[at] = byte;
            }
            let parts = bcrypt::hash_with_salt(password, wanted.rounds.unwrap_or(12), raw)
                .map_err(|e| e.to_string())?;
            let version = match wanted.ident.as_deref() {
                Some("2a" | "$2a$") => bcrypt::Version::TwoA,
                Some("2y" | "$2y$") => bcrypt::Version::TwoY,
                Some("2x" | "$2x$") => bcrypt::Version::TwoX,
                _ => bcrypt::Version::TwoB,
            };
            Ok(parts.format_for_version(version))
        }
    }
}

/// Whether a password is that of a hash, which may be any that this module makes, `{SHA}` and base 64, or the password itself.
pub fn verify(password: &str, hashed: &str) -> bool {
    let parts: Vec<&str> = hashed.split('$').collect();
    let again = |algorithm: &str, salt: &str, rounds: Option<u32>| {
        let wanted =
            Wanted { algorithm: algorithm.into(), salt: Some(salt.into()), rounds, ..Wanted::default() };
        hash(password, &wanted).is_ok_and(|made| made == hashed)
    };
    match parts[..] {
        ["", id @ ("1" | "apr1"), salt, _] => again(if id == "1" { "md5" } else { "apr_md5" }, salt, None),
        ["", id @ ("5" | "6"), salt, _] => {
            again(if id == "5" { "sha256" } else { "sha512" }, salt, Some(5000))
        }
        ["", id @ ("5" | "6"), rounds, salt, _] => {
            let rounds = rounds.strip_prefix("rounds=").and_then(|n| n.parse().ok());
            again(if id == "5" { "sha256" } else { "sha512" }, salt, rounds)
        }
        ["", id, _, _] if id.starts_with('2') => bcrypt::verify(password, hashed).unwrap_or(false),
        _ => match hashed.strip_prefix("{SHA}") {
            Some(_) => ldap_sha1(password) == hashed,
            None => password == hashed,
        },
    }
}

/// A SHA-1 as LDAP and Apache write it.
pub fn ldap_sha1(password: &str) -> String {
    let digest = <sha1::Sha1 as sha1::Digest>::digest(password.as_bytes());
    format!("{{SHA}}{}", base64::engine::general_purpose::STANDARD.encode(digest))
}

/// MD5 as `crypt` (`$1$`) and Apache (`$apr1$`) stretch it.
fn md5_crypt(password: &str, salt: &str, magic: &str) -> String {
    let (password, salt) = (password.as_bytes(), salt.as_bytes());
    let digest = |parts: &[&[u8]]| {
        let mut hasher = Md5::new();
        parts.iter().for_each(|part| hasher.update(part));
        hasher.finalize().to_vec()
    };
    let alternate = digest(&[password, salt, password]);
    let mut first = [password, magic.as_bytes(), salt].concat();
    first.extend(alternate.iter().cycle().take(password.len()));
    let mut length = password.len();
    while length > 0 {
        first.push(if length & 1 == 1 { 0 } else { password.first().copied().unwrap_or_default() });
        length >>= 1;
    }
    let mut last = digest(&[&first]);
    for round in 0..1000 {
        let (odd, none) = (round % 2 == 1, &[][..]);
        last = digest(&[
            if odd { password } else { &last },
            if round % 3 == 0 { none } else { salt },
            if round % 7 == 0 { none } else { password },
            if odd { &last } else { password },
        ]);
    }
    let mut out = format!("{magic}{}$", String::from_utf8_lossy(salt));
    let mut put = |word: u32, count: usize| {
        out.extend((0..count).map(|at| char::from(ALPHABET[(word >> (6 * at) & 0x3f) as usize])));
    };
    let byte = |at: usize| u32::from(last[at]);
    for at in 0..5 {
        let third = if at == 4 { 5 } else { at + 12 };
        put(byte(at) << 16 | byte(at + 6) << 8 | byte(third), 4);
    }
    put(byte(11), 2);
    out
}

/// The bytes that bcrypt's own base 64 stands for.
fn unpacked(salt: &str) -> Vec<u8> {
    const OWN: &[u8; 64] = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut out = Vec::new();
    let (mut bits, mut count) = (0u32, 0);
    for c in salt.bytes() {
        let value = OWN.iter().position(|o| *o == c).unwrap_or(0) as u32;
        bits = bits << 6 | value;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count & 0xff) as u8);
        }
    }
    out
}

/// A digest in the order and alphabet of `crypt`: three bytes at a time, a third of the digest apart, taking turns.
fn encoded(digest: &[u8]) -> String {
    let mut out = String::new();
    let mut put = |word: u32, count: usize| {
        for at in 0..count {
            out.push(char::from(ALPHABET[(word >> (6 * at) & 0x3f) as usize]));
        }
    };
    let third = digest.len() / 3;
    let word = |a: usize, b: usize, c: usize| {
        u32::from(digest[a]) << 16 | u32::from(digest[b]) << 8 | u32::from(digest[c])
    };
    let (mut a, mut b, mut c) = (0, third, 2 * third);
    for _ in 0..third {
        put(word(a, b, c), 4);
        (a, b, c) = if digest.len() == 64 { (b + 1, c + 1, a + 1) } else { (c + 1, a + 1, b + 1) };
    }
    if digest.len() == 64 {
        put(u32::from(digest[63]), 2);
    } else {
        put(u32::from(digest[31]) << 8 | u32::from(digest[30]), 3);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_crypt() {
        // Answers of `openssl passwd -6 -salt saltsalt secret` and the like.
        let hash = |algorithm: &str, salt: &str, rounds: Option<u32>| {
            super::hash(
                "secret",
                &Wanted { algorithm: algorithm.into(), salt: Some(salt.into()), rounds, ..Wanted::default() },
            )
        };
        assert_eq!(hash("sha512", "saltsalt", Some(5000)).expect("known"), SHA512);
        assert_eq!(hash("sha256_crypt", "saltsalt", Some(5000)).expect("known"), SHA256);
        assert!(
            hash("bcrypt", "1234567890123456789012", Some(4))
                .expect("known")
                .starts_with("$2b$04$123456789012345678901")
        );
        assert_eq!(hash("md5", "saltsalt", None).expect("known"), MD5);
        assert_eq!(hash("apr_md5_crypt", "saltsalt", None).expect("known"), APR);
        for hashed in [SHA512, SHA256, MD5, APR, "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "secret"] {
            assert!(verify("secret", hashed), "{hashed}");
            assert!(!verify("Secret", hashed), "{hashed}");
        }
        assert!(hash("sha512", "bad salt", None).is_err());
        assert!(hash("rot13", "x", None).is_err());
    }

    const MD5: &str = "$1$saltsalt$9xy1btjgzLYfb7hivXtC//";
    const APR: &str = "$apr1$saltsalt$LrttParrLPdxvgutaSXWJ0";
    const SHA512: &str =
        "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1";
    const SHA256: &str = "$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA";
}
