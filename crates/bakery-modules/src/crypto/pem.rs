//! Texts that hold binary data between lines with its name (RFC 7468), and how OpenSSL seals them (RFC 1421's headers,
//! the key by `EVP_BytesToKey` with MD5).

use aes::cipher::{BlockModeDecrypt as _, BlockModeEncrypt as _, KeyIvInit as _, block_padding::Pkcs7};
use base64::Engine as _;
use md5::Digest as _;

/// One of them.
pub(crate) struct Block {
    pub(crate) label: String,
    pub(crate) data: Vec<u8>,
    /// The cipher that it is sealed with, and what it started with in hexadecimal.
    sealed: Option<(String, String)>,
}

/// The first one of a text.
pub(crate) fn first(content: &[u8]) -> Option<Block> {
    let text = std::str::from_utf8(content).ok()?;
    let mut lines = text.lines().map(str::trim).skip_while(|line| !line.starts_with("-----BEGIN "));
    let label = lines.next()?.strip_prefix("-----BEGIN ")?.strip_suffix("-----")?.to_owned();
    let (mut base64, mut sealed) = (String::new(), None);
    for line in lines {
        if line.starts_with("-----END ") {
            let data = base64::engine::general_purpose::STANDARD.decode(&base64).ok()?;
            return Some(Block { label, data, sealed });
        }
        match line.split_once(": ") {
            Some(("DEK-Info", how)) => {
                sealed = how.split_once(',').map(|(cipher, iv)| (cipher.to_owned(), iv.to_owned()));
            }
            Some(_) => {}
            None => base64.push_str(line),
        }
    }
    None
}

impl Block {
    pub(crate) fn new(label: &str, data: Vec<u8>) -> Self {
        Self { label: label.into(), data, sealed: None }
    }

    /// Whether a passphrase is needed.
    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed.is_some()
    }

    /// The text, with 64 letters a line.
    pub(crate) fn text(&self) -> String {
        self.written("", &self.data)
    }

    fn written(&self, headers: &str, data: &[u8]) -> String {
        let base64 = base64::engine::general_purpose::STANDARD.encode(data);
        let mut out = format!("-----BEGIN {}-----\n{headers}", self.label);
        for line in base64.as_bytes().chunks(64) {
            out.push_str(&String::from_utf8_lossy(line));
            out.push('\n');
        }
        out.push_str(&format!("-----END {}-----\n", self.label));
        out
    }

    /// The text, sealed with AES of 256 bits.
    pub(crate) fn sealed(&self, passphrase: &str) -> Result<String, String> {
        let mut iv = [0_u8; 16];
        getrandom::fill(&mut iv).map_err(|e| e.to_string())?;
        let cipher = cbc::Encryptor::<aes::Aes256>::new_from_slices(&derived(passphrase, &iv, 32), &iv)
            .map_err(|e| e.to_string())?;
        let data = cipher.encrypt_padded_vec::<Pkcs7>(&self.data);
        let hex: String = iv.iter().map(|byte| format!("{byte:02X}")).collect();
        Ok(self.written(&format!("Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,{hex}\n\n"), &data))
    }

    /// What is in it.
    ///
    /// # Errors
    /// When the passphrase is another one, or the cipher is not known.
    pub(crate) fn opened(&self, passphrase: &str) -> Result<Vec<u8>, String> {
        let Some((cipher, iv)) = &self.sealed else { return Ok(self.data.clone()) };
        let iv = unhex(iv).filter(|iv| iv.len() == 16).ok_or("the DEK-Info header cannot be read")?;
        let failed = "Bad decrypt. Incorrect password?";
        macro_rules! open {
            ($aes:ty, $length:literal) => {
                cbc::Decryptor::<$aes>::new_from_slices(&derived(passphrase, &iv, $length), &iv)
                    .map_err(|e| e.to_string())?
                    .decrypt_padded_vec::<Pkcs7>(&self.data)
                    .map_err(|_| failed.to_owned())
            };
        }
        match cipher.as_str() {
            "AES-128-CBC" => open!(aes::Aes128, 16),
            "AES-192-CBC" => open!(aes::Aes192, 24),
            "AES-256-CBC" => open!(aes::Aes256, 32),
            other => Err(format!("keys that are sealed with {other} are not read here")),
        }
    }
}

/// The bytes that hexadecimal letters mean.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|c| c.to_digit(16)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok()).collect()
}

fn derived(passphrase: &str, iv: &[u8], length: usize) -> Vec<u8> {
    let (mut key, mut last) = (Vec::new(), Vec::new());
    while key.len() < length {
        let mut hash = md5::Md5::new();
        hash.update(&last);
        hash.update(passphrase.as_bytes());
        hash.update(&iv[..8]);
        last = hash.finalize().to_vec();
        key.extend(&last);
    }
    key.truncate(length);
    key
}
