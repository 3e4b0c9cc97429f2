//! Private keys: made, read, written, and what is signed with them.

use der::{Decode, Encode, Sequence, asn1::BitString};
use ed25519_dalek::Signer as _;
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, ObjectIdentifier};
use rsa::pkcs1::{DecodeRsaPrivateKey as _, EncodeRsaPrivateKey as _};
use rsa::traits::PublicKeyParts as _;
use spki::{AlgorithmIdentifierOwned, EncodePublicKey as _, SubjectPublicKeyInfoOwned};

use super::pem::{self, Block};

const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const X25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.110");

/// The elliptic curves, with what each of them is called.
const CURVES: [(&str, ObjectIdentifier); 4] = [
    ("secp256r1", ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7")),
    ("secp256k1", ObjectIdentifier::new_unwrap("1.3.132.0.10")),
    ("secp384r1", ObjectIdentifier::new_unwrap("1.3.132.0.34")),
    ("secp521r1", ObjectIdentifier::new_unwrap("1.3.132.0.35")),
];

/// A private key.
pub(crate) enum Key {
    Rsa(Box<rsa::PrivateKey>),
    P256(p256::SecretKey),
    K256(k256::SecretKey),
    P384(p384::SecretKey),
    P521(p521::SecretKey),
    Ed25519(Box<ed25519_dalek::SigningKey>),
    X25519([u8; 32]),
}

/// How a key is written: as its own kind has it, in an envelope that all kinds share, or its bytes alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    Pkcs1,
    Pkcs8,
    Raw,
}

/// Why a key cannot be read.
pub(crate) enum Unreadable {
    /// There is a passphrase and none is given, or the other way round.
    Passphrase,
    /// The passphrase is another one, or this is no key.
    Wrong(String),
}

impl From<der::Error> for Unreadable {
    fn from(error: der::Error) -> Self {
        Self::Wrong(error.to_string())
    }
}

impl From<pkcs8::Error> for Unreadable {
    fn from(error: pkcs8::Error) -> Self {
        Self::Wrong(error.to_string())
    }
}

/// Does something with the key of any curve.
macro_rules! curve {
    ($key:expr, $secret:ident => $done:expr, $other:pat => $else:expr) => {
        match $key {
            Key::P256($secret) => $done,
            Key::K256($secret) => $done,
            Key::P384($secret) => $done,
            Key::P521($secret) => $done,
            $other => $else,
        }
    };
}

/// Where the format of a file with a key shows.
pub(crate) fn format_of(content: &[u8]) -> Option<Format> {
    let Some(block) = pem::first(content) else { return Some(Format::Raw) };
    match block.label.as_str() {
        "PRIVATE KEY" | "ENCRYPTED PRIVATE KEY" => Some(Format::Pkcs8),
        label if label.ends_with(" PRIVATE KEY") => Some(Format::Pkcs1),
        _ => None,
    }
}

impl Key {
    /// A new key: of RSA with so many bits, of an elliptic curve, or of one of the kinds that have no choice.
    ///
    /// # Errors
    /// Names a kind or curve that is not made here.
    pub(crate) fn make(kind: &str, bits: usize, curve: Option<&str>) -> Result<Self, String> {
        let mut bytes = [0_u8; 66];
        let mut random = || getrandom::fill(&mut bytes).map(|()| bytes).map_err(|e| e.to_string());
        match (kind, curve) {
            ("RSA", _) if bits < 512 => Err("key_size must be at least 512-bits.".into()),
            ("RSA", _) => rsa::PrivateKey::new(&mut getrandom::SysRng, bits)
                .map(|key| Self::Rsa(Box::new(key)))
                .map_err(|e| e.to_string()),
            ("Ed25519", _) => {
                let seed = random()?;
                Ok(Self::Ed25519(Box::new(ed25519_dalek::SigningKey::from_bytes(&first(&seed)))))
            }
            ("X25519", _) => Ok(Self::X25519(first(&random()?))),
            // Few numbers are too large for their curve.
            ("ECC", Some(curve)) => loop {
                let seed = random()?;
                let made = match curve {
                    "secp256r1" => p256::SecretKey::from_slice(&seed[..32]).map(Self::P256),
                    "secp256k1" => k256::SecretKey::from_slice(&seed[..32]).map(Self::K256),
                    "secp384r1" => p384::SecretKey::from_slice(&seed[..48]).map(Self::P384),
                    "secp521r1" => {
                        let mut seed = seed;
                        seed[0] &= 1;
                        p521::SecretKey::from_slice(&seed).map(Self::P521)
                    }
                    other => return Err(unknown(&format!("the elliptic curve {other}"))),
                };
                if let Ok(key) = made {
                    return Ok(key);
                }
            },
            (other, _) => Err(unknown(other)),
        }
    }

    /// The key that a file holds; of one that holds its bytes alone, `kind` says what it is.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub(crate) fn read(
        content: &[u8],
        passphrase: Option<&str>,
        kind: Option<&str>,
    ) -> Result<Self, Unreadable> {
        let Some(block) = pem::first(content) else {
            let bytes: [u8; 32] =
                content.try_into().map_err(|_| Unreadable::Wrong("Cannot load raw key".into()))?;
            return Ok(match kind {
                Some("Ed25519") => Self::Ed25519(Box::new(ed25519_dalek::SigningKey::from_bytes(&bytes))),
                _ => Self::X25519(bytes),
            });
        };
        let is_sealed = block.is_sealed() || block.label == "ENCRYPTED PRIVATE KEY";
        if is_sealed != passphrase.is_some() {
            return Err(Unreadable::Passphrase);
        }
        let passphrase = passphrase.unwrap_or_default();
        let data =
            if block.is_sealed() { block.opened(passphrase).map_err(Unreadable::Wrong)? } else { block.data };
        match block.label.as_str() {
            "ENCRYPTED PRIVATE KEY" => {
                let opened = pkcs8::EncryptedPrivateKeyInfoRef::from_der(&data)?.decrypt(passphrase)?;
                Self::of_envelope(opened.as_bytes())
            }
            "PRIVATE KEY" => Self::of_envelope(&data),
            "RSA PRIVATE KEY" => rsa::PrivateKey::from_pkcs1_der(&data)
                .map(|key| Self::Rsa(Box::new(key)))
                .map_err(|e| Unreadable::Wrong(e.to_string())),
            "EC PRIVATE KEY" => {
                let inner = sec1::EcPrivateKey::from_der(&data)?;
                let curve = inner.parameters.and_then(sec1::EcParameters::named_curve);
                let curve = CURVES.iter().find(|(_, oid)| Some(*oid) == curve).map(|(name, _)| *name);
                Self::of_curve(curve, inner.private_key)
            }
            label => Err(Unreadable::Wrong(format!("Unsupported PEM type: {label}"))),
        }
    }

    fn of_curve(curve: Option<&str>, bytes: &[u8]) -> Result<Self, Unreadable> {
        let wrong = |e: p256::elliptic_curve::Error| Unreadable::Wrong(e.to_string());
        match curve {
            Some("secp256r1") => p256::SecretKey::from_slice(bytes).map(Self::P256).map_err(wrong),
            Some("secp256k1") => k256::SecretKey::from_slice(bytes).map(Self::K256).map_err(wrong),
            Some("secp384r1") => p384::SecretKey::from_slice(bytes).map(Self::P384).map_err(wrong),
            Some("secp521r1") => p521::SecretKey::from_slice(bytes).map(Self::P521).map_err(wrong),
            _ => Err(Unreadable::Wrong(unknown("the elliptic curve of this key"))),
        }
    }

    fn of_envelope(data: &[u8]) -> Result<Self, Unreadable> {
        let info = pkcs8::PrivateKeyInfoRef::from_der(data)?;
        match info.algorithm.oid {
            RSA => Ok(Self::Rsa(Box::new(rsa::PrivateKey::from_pkcs8_der(data)?))),
            ED25519 => Ok(Self::Ed25519(Box::new(ed25519_dalek::SigningKey::from_pkcs8_der(data)?))),
            X25519 => {
                let inner = <&der::asn1::OctetStringRef>::from_der(info.private_key.as_bytes())?;
                let bytes = inner.as_bytes().try_into();
                bytes.map(Self::X25519).map_err(|_| Unreadable::Wrong("the key has another length".into()))
            }
            EC => {
                let curve = info.algorithm.parameters_oid().ok();
                let curve = CURVES.iter().find(|(_, oid)| Some(*oid) == curve).map(|(name, _)| *name);
                let inner = sec1::EcPrivateKey::from_der(info.private_key.as_bytes())?;
                Self::of_curve(curve, inner.private_key)
            }
            oid => Err(Unreadable::Wrong(unknown(&format!("the kind of key {oid}")))),
        }
    }

    /// What is written into a file, sealed with a passphrase.
    ///
    /// # Errors
    /// When keys of this kind have no such format.
    pub(crate) fn write(&self, format: Format, passphrase: Option<&str>) -> Result<Vec<u8>, String> {
        let failed = |_| String::from("the key cannot be written");
        match format {
            Format::Raw => match self {
                Self::Ed25519(key) if passphrase.is_none() => Ok(key.to_bytes().to_vec()),
                Self::X25519(bytes) if passphrase.is_none() => Ok(bytes.to_vec()),
                _ => Err(
                    "Cryptography backend cannot serialize the private key in the required format \"raw\""
                        .into(),
                ),
            },
            Format::Pkcs1 => {
                let (label, data) = match self {
                    Self::Rsa(key) => {
                        let data = key.to_pkcs1_der().map_err(|e| e.to_string())?;
                        ("RSA PRIVATE KEY", data.as_bytes().to_vec())
                    }
                    key => curve!(key, secret => {
                        ("EC PRIVATE KEY", secret.to_sec1_der().map_err(failed)?.to_vec())
                    }, _ => return Err("Cryptography backend cannot serialize the private key in the required format \"pkcs1\"".into())),
                };
                let block = Block::new(label, data);
                Ok(passphrase.map_or_else(|| Ok(block.text()), |p| block.sealed(p))?.into_bytes())
            }
            Format::Pkcs8 => {
                let data = self.envelope()?;
                let Some(passphrase) = passphrase else {
                    return Ok(Block::new("PRIVATE KEY", data).text().into_bytes());
                };
                let parameters = pkcs8::pkcs5::pbes2::Parameters::generate_pbkdf2(&mut getrandom::SysRng)
                    .map_err(|e| e.to_string())?;
                let info = pkcs8::PrivateKeyInfoRef::from_der(&data).map_err(failed)?;
                let sealed = info.encrypt_with_params(parameters, passphrase).map_err(|e| e.to_string())?;
                Ok(Block::new("ENCRYPTED PRIVATE KEY", sealed.as_bytes().to_vec()).text().into_bytes())
            }
        }
    }

    fn envelope(&self) -> Result<Vec<u8>, String> {
        let text = |e: pkcs8::Error| e.to_string();
        match self {
            Self::Rsa(key) => key.to_pkcs8_der().map(|d| d.as_bytes().to_vec()).map_err(text),
            // Without the public key, as OpenSSL writes them.
            Self::Ed25519(key) => wrapped(ED25519, &key.to_bytes()),
            Self::X25519(bytes) => wrapped(X25519, bytes),
            key => curve!(key, secret => {
                secret.to_pkcs8_der().map(|d| d.as_bytes().to_vec()).map_err(text)
            }, _ => Err(unknown("this kind of key"))),
        }
    }

    /// The public key, as certificates have it.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub(crate) fn public(&self) -> Result<Vec<u8>, String> {
        let text = |e: spki::Error| e.to_string();
        match self {
            Self::Rsa(key) => {
                key.to_public_key().to_public_key_der().map(der::Document::into_vec).map_err(text)
            }
            Self::Ed25519(key) => {
                key.verifying_key().to_public_key_der().map(der::Document::into_vec).map_err(text)
            }
            Self::X25519(bytes) => {
                let point = curve25519_dalek::MontgomeryPoint::mul_base_clamped(*bytes);
                let algorithm = AlgorithmIdentifierOwned { oid: X25519, parameters: None };
                let key = BitString::from_bytes(point.as_bytes()).map_err(|e| e.to_string())?;
                let info = SubjectPublicKeyInfoOwned { algorithm, subject_public_key: key };
                info.to_der().map_err(|e| e.to_string())
            }
            key => curve!(key, secret => {
                secret.public_key().to_public_key_der().map(der::Document::into_vec).map_err(text)
            }, _ => Err(unknown("this kind of key"))),
        }
    }

    /// The public key as `authorized_keys` has it, without a comment (RFC 4253, 5656 and 8709).
    ///
    /// # Errors
    /// When SSH has no such keys.
    pub(crate) fn public_of_ssh(&self) -> Result<String, String> {
        let mut blob = Vec::new();
        let mut field = |bytes: &[u8]| {
            blob.extend(u32::try_from(bytes.len()).unwrap_or_default().to_be_bytes());
            blob.extend(bytes);
        };
        // A number that would be negative has a zero before it.
        let number = |bytes: &[u8]| {
            let bytes = &bytes[bytes.iter().take_while(|b| **b == 0).count()..];
            let zero: &[u8] = if bytes.first().is_some_and(|b| b & 0x80 != 0) { &[0] } else { &[] };
            [zero, bytes].concat()
        };
        let point = |public: Vec<u8>| {
            SubjectPublicKeyInfoOwned::from_der(&public).map(|i| i.subject_public_key.raw_bytes().to_vec())
        };
        let name = match self {
            Self::Rsa(key) => {
                field(b"ssh-rsa");
                field(&number(&key.e_bytes()));
                field(&number(&key.n_bytes()));
                "ssh-rsa"
            }
            Self::Ed25519(key) => {
                field(b"ssh-ed25519");
                field(key.verifying_key().as_bytes());
                "ssh-ed25519"
            }
            Self::P256(_) | Self::P384(_) | Self::P521(_) => {
                let (name, curve) = match self {
                    Self::P256(_) => ("ecdsa-sha2-nistp256", "nistp256"),
                    Self::P384(_) => ("ecdsa-sha2-nistp384", "nistp384"),
                    _ => ("ecdsa-sha2-nistp521", "nistp521"),
                };
                field(name.as_bytes());
                field(curve.as_bytes());
                field(&point(self.public()?).map_err(|e| e.to_string())?);
                name
            }
            _ => return Err("SSH has no keys of this kind".into()),
        };
        use base64::Engine as _;
        Ok(format!("{name} {}", base64::engine::general_purpose::STANDARD.encode(blob)))
    }

    /// The kind, as the modules call it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RSA",
            Self::Ed25519(_) => "Ed25519",
            Self::X25519(_) => "X25519",
            _ => "ECC",
        }
    }

    /// How many bits a key of RSA has.
    pub(crate) fn bits(&self) -> Option<usize> {
        match self {
            Self::Rsa(key) => Some(super::bits(&key.n_bytes())),
            _ => None,
        }
    }

    /// The elliptic curve.
    pub(crate) fn curve(&self) -> Option<&'static str> {
        match self {
            Self::P256(_) => Some("secp256r1"),
            Self::K256(_) => Some("secp256k1"),
            Self::P384(_) => Some("secp384r1"),
            Self::P521(_) => Some("secp521r1"),
            _ => None,
        }
    }

    /// A signature, and its algorithm.
    ///
    /// # Errors
    /// When keys of this kind do not sign, or the digest is not known.
    pub(crate) fn sign(
        &self,
        digest: &str,
        message: &[u8],
    ) -> Result<(AlgorithmIdentifierOwned, Vec<u8>), String> {
        let algorithm = self.algorithm(digest)?;
        let signature = match self {
            Self::Rsa(key) => {
                key.sign(padding(digest)?, &hashed(digest, message)?).map_err(|e| e.to_string())?
            }
            Self::Ed25519(key) => key.sign(message).to_bytes().to_vec(),
            Self::P256(key) => {
                let made: p256::ecdsa::DerSignature =
                    signed(&p256::ecdsa::SigningKey::from(key), digest, message)?;
                made.as_bytes().to_vec()
            }
            Self::K256(key) => {
                let made: k256::ecdsa::DerSignature =
                    signed(&k256::ecdsa::SigningKey::from(key), digest, message)?;
                made.as_bytes().to_vec()
            }
            Self::P384(key) => {
                let made: p384::ecdsa::DerSignature =
                    signed(&p384::ecdsa::SigningKey::from(key), digest, message)?;
                made.as_bytes().to_vec()
            }
            Self::P521(key) => {
                let made: p521::ecdsa::DerSignature =
                    signed(&p521::ecdsa::SigningKey::from(key), digest, message)?;
                made.as_bytes().to_vec()
            }
            Self::X25519(_) => return Err("Key of type X25519 not supported for issuing certificates".into()),
        };
        Ok((algorithm, signature))
    }

    /// What a signature's algorithm is called (RFC 4055, 5758 and 8410).
    pub(crate) fn algorithm(&self, digest: &str) -> Result<AlgorithmIdentifierOwned, String> {
        let unsupported = || format!("Unsupported digest \"{digest}\"");
        let (name, null) = match self {
            Self::Rsa(_) => {
                let last = match digest {
                    "md5" => 4,
                    "sha1" => 5,
                    "sha256" => 11,
                    "sha384" => 12,
                    "sha512" => 13,
                    _ => return Err(unsupported()),
                };
                (format!("1.2.840.113549.1.1.{last}"), true)
            }
            Self::Ed25519(_) => (ED25519.to_string(), false),
            Self::X25519(_) => return Err("Key of type X25519 not supported for issuing certificates".into()),
            _ => match digest {
                "sha1" => ("1.2.840.10045.4.1".into(), false),
                "sha256" => ("1.2.840.10045.4.3.2".into(), false),
                "sha384" => ("1.2.840.10045.4.3.3".into(), false),
                "sha512" => ("1.2.840.10045.4.3.4".into(), false),
                _ => return Err(unsupported()),
            },
        };
        let oid = name.parse().map_err(|e: const_oid::Error| e.to_string())?;
        Ok(AlgorithmIdentifierOwned { oid, parameters: null.then(|| der::Any::from(der::asn1::Null)) })
    }
}

fn first(bytes: &[u8; 66]) -> [u8; 32] {
    std::array::from_fn(|at| bytes[at])
}

fn unknown(what: &str) -> String {
    format!(
        "{what} is not known here; RSA, ECC with secp256r1, secp256k1, secp384r1 or secp521r1, Ed25519 and X25519 are"
    )
}

/// An envelope as RFC 8410 has it: version, algorithm, and the bytes in a string in a string.
fn wrapped(oid: ObjectIdentifier, bytes: &[u8]) -> Result<Vec<u8>, String> {
    #[derive(Sequence)]
    struct Envelope {
        version: u8,
        algorithm: AlgorithmIdentifierOwned,
        key: der::asn1::OctetString,
    }
    let text = |e: der::Error| e.to_string();
    let inner = der::asn1::OctetString::new(bytes).and_then(|inner| inner.to_der()).map_err(text)?;
    let key = der::asn1::OctetString::new(inner).map_err(text)?;
    let algorithm = AlgorithmIdentifierOwned { oid, parameters: None };
    Envelope { version: 0, algorithm, key }.to_der().map_err(text)
}

fn hashed(digest: &str, message: &[u8]) -> Result<Vec<u8>, String> {
    crate::digests::digest(digest, message).ok_or_else(|| format!("Unsupported digest \"{digest}\""))
}

fn padding(digest: &str) -> Result<rsa::Pkcs1v15Sign, String> {
    Ok(match digest {
        "md5" => rsa::Pkcs1v15Sign::new::<md5::Md5>(),
        "sha1" => rsa::Pkcs1v15Sign::new::<sha1::Sha1>(),
        "sha256" => rsa::Pkcs1v15Sign::new::<sha2::Sha256>(),
        "sha384" => rsa::Pkcs1v15Sign::new::<sha2::Sha384>(),
        "sha512" => rsa::Pkcs1v15Sign::new::<sha2::Sha512>(),
        other => return Err(format!("Unsupported digest \"{other}\"")),
    })
}

fn signed<S>(
    key: &impl p256::ecdsa::signature::hazmat::PrehashSigner<S>,
    digest: &str,
    message: &[u8],
) -> Result<S, String> {
    // A digest that is shorter than half of the curve's numbers is refused.
    key.sign_prehash(&hashed(digest, message)?).map_err(|e| e.to_string())
}

/// The number of a public key's elliptic curve.
fn curve_of(public: &SubjectPublicKeyInfoOwned) -> Option<String> {
    let curve = public.algorithm.parameters.as_ref()?.decode_as::<ObjectIdentifier>().ok()?;
    Some(curve.to_string())
}

/// Whether a signature is that of a public key, as certificates have it.
pub(crate) fn is_signed(
    public: &SubjectPublicKeyInfoOwned,
    algorithm: &AlgorithmIdentifierOwned,
    signature: &[u8],
    message: &[u8],
) -> bool {
    let name = algorithm.oid.to_string();
    let digest = match name.as_str() {
        "1.2.840.113549.1.1.4" => "md5",
        "1.2.840.113549.1.1.5" | "1.2.840.10045.4.1" => "sha1",
        "1.2.840.113549.1.1.11" | "1.2.840.10045.4.3.2" => "sha256",
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => "sha384",
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => "sha512",
        _ => "",
    };
    let Ok(key) = public.to_der() else { return false };
    macro_rules! of_curve {
        ($curve:ident) => {{
            use $curve::pkcs8::DecodePublicKey as _;
            let key = $curve::ecdsa::VerifyingKey::from_public_key_der(&key);
            let signature = $curve::ecdsa::DerSignature::from_bytes(signature);
            match (key, signature, hashed(digest, message)) {
                (Ok(key), Ok(signature), Ok(hash)) => key.verify_prehash(&hash, &signature).is_ok(),
                _ => false,
            }
        }};
    }
    match public.algorithm.oid {
        RSA => {
            use spki::DecodePublicKey as _;
            match (rsa::PublicKey::from_public_key_der(&key), padding(digest), hashed(digest, message)) {
                (Ok(key), Ok(padding), Ok(hash)) => key.verify(padding, &hash, signature).is_ok(),
                _ => false,
            }
        }
        ED25519 => {
            use ed25519_dalek::{Verifier as _, pkcs8::DecodePublicKey as _};
            match (ed25519_dalek::VerifyingKey::from_public_key_der(&key), signature.try_into()) {
                (Ok(key), Ok(bytes)) => {
                    key.verify(message, &ed25519_dalek::Signature::from_bytes(bytes)).is_ok()
                }
                _ => false,
            }
        }
        EC => match curve_of(public).as_deref() {
            Some("1.2.840.10045.3.1.7") => of_curve!(p256),
            Some("1.3.132.0.10") => of_curve!(k256),
            Some("1.3.132.0.34") => of_curve!(p384),
            Some("1.3.132.0.35") => of_curve!(p521),
            _ => false,
        },
        _ => false,
    }
}
