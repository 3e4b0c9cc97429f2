//! Ciphers as OpenSSL's lists name them (ciphers(1)), of those that the TLS library has.

use rustls::crypto::CryptoProvider;
use rustls::{CipherSuite, SupportedCipherSuite};

/// OpenSSL's names.
const NAMES: [(CipherSuite, &str); 6] = [
    (CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, "ECDHE-ECDSA-AES256-GCM-SHA384"),
    (CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, "ECDHE-ECDSA-AES128-GCM-SHA256"),
    (CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-ECDSA-CHACHA20-POLY1305"),
    (CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, "ECDHE-RSA-AES256-GCM-SHA384"),
    (CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, "ECDHE-RSA-AES128-GCM-SHA256"),
    (CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, "ECDHE-RSA-CHACHA20-POLY1305"),
];

/// Whether a cipher is one that a word of a list means: its name, or what several have, with `+` between them.
fn is_meant(name: &str, word: &str) -> bool {
    name == word
        || word.split('+').all(|part| match part {
            "ALL" | "DEFAULT" | "HIGH" | "ECDHE" | "EECDH" | "kECDHE" | "kEECDH" | "TLSv1.2" | "AEAD" => true,
            "ECDSA" | "aECDSA" => name.contains("-ECDSA-"),
            "aRSA" => name.contains("-RSA-"),
            "AES" | "AESGCM" => name.contains("-AES"),
            "AES128" => name.contains("-AES128-"),
            "AES256" => name.contains("-AES256-"),
            "CHACHA20" => name.contains("-CHACHA20-"),
            "SHA256" => name.ends_with("-SHA256"),
            "SHA384" => name.ends_with("-SHA384"),
            _ => false,
        })
}

/// The library's ciphers of those that a list names, in its order; those of TLS 1.3 always, as with OpenSSL.
///
/// # Errors
/// When it names none.
pub(super) fn chosen(list: &str, provider: &CryptoProvider) -> Result<CryptoProvider, String> {
    let known: Vec<(&str, SupportedCipherSuite)> = NAMES
        .iter()
        .filter_map(|(id, name)| {
            provider.cipher_suites.iter().find(|suite| suite.suite() == *id).map(|suite| (*name, *suite))
        })
        .collect();
    let mut chosen: Vec<(&str, SupportedCipherSuite)> = Vec::new();
    for word in list.split([':', ',', ' ']) {
        // How strong they are is the library's affair.
        let word = word.split('@').next().unwrap_or_default();
        match word.strip_prefix(['!', '-']) {
            Some(word) => chosen.retain(|(name, _)| !is_meant(name, word)),
            // With a plus they only come later.
            None if word.is_empty() || word.starts_with('+') => {}
            None => {
                let is_new = |name: &str| !chosen.iter().any(|(other, _)| *other == name);
                let new = known.iter().filter(|(name, _)| is_meant(name, word) && is_new(name));
                let new: Vec<_> = new.copied().collect();
                chosen.extend(new);
            }
        }
    }
    if chosen.is_empty() {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        return Err(format!(
            "ciphers: none of '{list}' is spoken here; what is spoken: {}",
            names.join(", ")
        ));
    }
    let newer = provider.cipher_suites.iter().copied().filter(|suite| suite.tls13().is_some());
    let cipher_suites = newer.chain(chosen.into_iter().map(|(_, suite)| suite)).collect();
    Ok(CryptoProvider { cipher_suites, ..provider.clone() })
}

#[cfg(test)]
mod tests {
    use super::chosen;

    #[test]
    fn lists_choose_as_openssl_reads_them() {
        let provider = rustls::crypto::ring::default_provider();
        let of = |list: &str| {
            let chosen = chosen(list, &provider)?;
            Ok::<_, String>(chosen.cipher_suites.iter().filter(|suite| suite.tls13().is_none()).count())
        };
        assert_eq!(of("DEFAULT@SECLEVEL=1"), Ok(6));
        assert_eq!(of("ECDHE-RSA-AES128-GCM-SHA256"), Ok(1));
        assert_eq!(of("ECDHE+AESGCM:!aRSA"), Ok(2));
        assert_eq!(of("HIGH:!CHACHA20:!aNULL"), Ok(4));
        assert!(of("AES128-SHA").is_err_and(|error| error.contains("ECDHE-RSA-AES256-GCM-SHA384")));
    }
}
