//! Hashes of passwords as `/etc/shadow` holds them (`ansible/utils/encrypt.py`).

use bakery_host::Cmd;

/// The alphabet of `crypt`.
const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Characters that salts are made of, as many as asked for.
///
/// # Errors
/// When there is no randomness to be had.
pub(crate) fn salt(length: usize) -> Result<String, String> {
    let mut bytes = vec![0u8; length];
    getrandom::fill(&mut bytes).map_err(|e| e.to_string())?;
    Ok(bytes.iter().map(|b| char::from(ALPHABET[usize::from(b % 64)])).collect())
}

/// What a hash is made with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// `sha512`, `sha256`, `blowfish`, `md5`, or those with `_crypt`; `bcrypt`.
    pub(crate) algorithm: String,
    /// The salt; made anew if there is none.
    pub(crate) salt: Option<String>,
    /// How long a new salt is, in letters.
    pub(crate) salt_size: Option<usize>,
    /// Rounds, or the cost of bcrypt.
    pub(crate) rounds: Option<u32>,
    /// The prefix of bcrypt.
    pub(crate) ident: Option<String>,
}

/// Hashes a password.
///
/// # Errors
/// An algorithm that is not known, a salt that does not fit.
pub(crate) fn hash(password: &str, wanted: &Wanted) -> Result<String, String> {
    let name = wanted.algorithm.trim_end_matches("_crypt");
    let (length, exact) = match name {
        "sha512" | "sha256" => (16, false),
        "blowfish" | "bcrypt" => (22, true),
        "md5" => (8, false),
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
        "md5" => {
            let output = Cmd::new("openssl")
                .args(["passwd", "-1", "-salt", &salt, "-stdin"])
                .input(format!("{password}\n"))
                .run()
                .map_err(|e| e.to_string())?;
            Ok(output.text().trim().to_owned())
        }
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
        assert!(hash("sha512", "bad salt", None).is_err());
        assert!(hash("rot13", "x", None).is_err());
    }

    const SHA512: &str =
        "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1";
    const SHA256: &str = "$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA";
}
