//! What keys, requests and certificates say (community.crypto `_crypto/module_backends/*_info.py`).

use std::net::IpAddr;

use bakery_lang::{Map, Value, whole};
use base64::Engine as _;
use der::asn1::{BitString, UintRef};
use der::{Any, Decode, Encode, Sequence};
use pkcs8::ObjectIdentifier;
use rsa::traits::{PrivateKeyParts as _, PublicKeyParts as _};
use spki::SubjectPublicKeyInfoOwned;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityInfoAccessSyntax, AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage,
    KeyUsages, NameConstraints, SubjectAltName, SubjectKeyIdentifier,
};
use x509_cert::name::Name;

use super::extensions::{MUST_STAPLE, find};
use super::keys::Key;
use super::names::{attributes, long_name, short_name};
use super::pem::Block;

/// A public key of RSA (RFC 8017, A.1.1).
#[derive(Sequence)]
struct OfRsa<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

/// What keys of DSA share (RFC 3279, 2.3.2).
#[derive(Sequence)]
struct OfDsa<'a> {
    p: UintRef<'a>,
    q: UintRef<'a>,
    g: UintRef<'a>,
}

/// Elliptic curves: their number, name, and how many bits a private key has.
const CURVES: [(&str, &str, i64); 9] = [
    ("1.2.840.10045.3.1.1", "secp192r1", 192),
    ("1.3.132.0.33", "secp224r1", 224),
    ("1.2.840.10045.3.1.7", "secp256r1", 256),
    ("1.3.132.0.10", "secp256k1", 256),
    ("1.3.132.0.34", "secp384r1", 384),
    ("1.3.132.0.35", "secp521r1", 521),
    ("1.3.36.3.3.2.8.1.1.7", "brainpoolP256r1", 256),
    ("1.3.36.3.3.2.8.1.1.11", "brainpoolP384r1", 384),
    ("1.3.36.3.3.2.8.1.1.13", "brainpoolP512r1", 512),
];

fn colons(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

fn text(error: der::Error) -> String {
    error.to_string()
}

/// A public key as text.
///
/// # Errors
/// When it cannot be encoded.
pub(crate) fn public_text(key: &SubjectPublicKeyInfoOwned) -> Result<String, String> {
    Ok(Block::new("PUBLIC KEY", key.to_der().map_err(text)?).text())
}

/// The kind of a public key, and its numbers.
///
/// # Errors
/// When these cannot be read.
pub(crate) fn public(key: &SubjectPublicKeyInfoOwned) -> Result<(String, Map), String> {
    let bits = key.subject_public_key.raw_bytes();
    let data = Map::new();
    let number = |name: &str, number: UintRef<'_>| data.set(name, whole::from_bytes(number.as_bytes()));
    let kind = match key.algorithm.oid.to_string().as_str() {
        "1.2.840.113549.1.1.1" => {
            let key = OfRsa::from_der(bits).map_err(text)?;
            data.set("size", super::bits(key.modulus.as_bytes()));
            number("modulus", key.modulus);
            number("exponent", key.exponent);
            "RSA"
        }
        "1.2.840.10040.4.1" => {
            let shared = key
                .algorithm
                .parameters
                .as_ref()
                .ok_or("the key has no parameters")?
                .to_der()
                .map_err(text)?;
            let shared = OfDsa::from_der(&shared).map_err(text)?;
            data.set("size", super::bits(shared.p.as_bytes()));
            number("p", shared.p);
            number("q", shared.q);
            number("g", shared.g);
            number("y", UintRef::from_der(bits).map_err(text)?);
            "DSA"
        }
        "1.2.840.10045.2.1" => {
            let curve = key
                .algorithm
                .parameters
                .as_ref()
                .and_then(|named| named.decode_as::<ObjectIdentifier>().ok());
            let curve = curve.ok_or("the key's curve has no name")?.to_string();
            let (_, name, size) = CURVES
                .iter()
                .find(|(number, ..)| *number == curve)
                .ok_or_else(|| format!("Curve {curve} is not supported"))?;
            let [0x04, point @ ..] = bits else { return Err("compressed points are not read here".into()) };
            let (x, y) = point.split_at(point.len() / 2);
            data.set("curve", *name);
            data.set("x", whole::from_bytes(x));
            data.set("y", whole::from_bytes(y));
            data.set("exponent_size", *size);
            "ECC"
        }
        "1.3.101.110" => "X25519",
        "1.3.101.111" => "X448",
        "1.3.101.112" => "Ed25519",
        "1.3.101.113" => "Ed448",
        other => return Ok((format!("unknown ({other})"), data)),
    };
    Ok((kind.into(), data))
}

/// The numbers of a private key that nobody else knows.
pub(crate) fn private(key: &Key) -> Map {
    let pairs: Vec<(&str, Value)> = match key {
        Key::Rsa(key) => {
            let prime = |at: usize| {
                key.primes().get(at).map_or(Value::None, |prime| whole::from_bytes(&prime.to_be_bytes()))
            };
            vec![("p", prime(0)), ("q", prime(1)), ("exponent", whole::from_bytes(&key.d().to_be_bytes()))]
        }
        Key::P256(key) => vec![("multiplier", whole::from_bytes(&key.to_bytes()))],
        Key::K256(key) => vec![("multiplier", whole::from_bytes(&key.to_bytes()))],
        Key::P384(key) => vec![("multiplier", whole::from_bytes(&key.to_bytes()))],
        Key::P521(key) => vec![("multiplier", whole::from_bytes(&key.to_bytes()))],
        Key::Ed25519(_) | Key::X25519(_) => vec![],
    };
    pairs.into_iter().collect()
}

/// Whether the numbers of a private key belong to each other; nothing where no one can tell.
pub(crate) fn is_consistent(key: &Key) -> Option<bool> {
    match key {
        Key::Rsa(key) => Some(key.validate().is_ok() && key.n_bytes().len() > 1),
        Key::X25519(_) => None,
        // Their public key is made out of them.
        _ => Some(true),
    }
}

/// What an algorithm is called.
pub(crate) fn name_of(number: &ObjectIdentifier) -> String {
    long_name(&number.to_string()).to_owned()
}

/// A name as a mapping under `name`, and in its order under `name_ordered`.
pub(crate) fn tell_name(out: &Map, key: &str, name: &Name) {
    let attributes = attributes(name);
    let named = || attributes.iter().map(|(oid, value)| (long_name(oid), value.as_str()));
    out.set(key, named().map(|(name, value)| (name, Value::from(value))).collect::<Map>());
    let pairs = named().map(|(name, value)| Value::strings([name, value]));
    out.set(&format!("{key}_ordered"), Value::list(pairs.collect()));
}

/// What a distinguished name's value is between commas (`_dn_escape_value`).
fn escaped(value: &str) -> String {
    let mut out = String::new();
    for letter in value.chars() {
        match letter {
            '\\' | ',' | '+' | '<' | '>' | ';' | '"' => out.extend(['\\', letter]),
            '\0' => out.push_str("\\00"),
            _ => out.push(letter),
        }
    }
    if out.starts_with([' ', '#']) {
        out.insert(0, '\\');
    }
    if out.ends_with(' ') {
        out.insert(out.len() - 1, '\\');
    }
    out
}

/// The name of a host, with the letters that it stands for if they are asked for.
fn host(name: &str, encoding: &str) -> String {
    if encoding != "unicode" {
        return name.to_owned();
    }
    let label = |label: &str| match label.strip_prefix("xn--") {
        Some(_) => idna::domain_to_unicode(label).0,
        None => label.to_owned(),
    };
    name.split('.').map(label).collect::<Vec<_>>().join(".")
}

/// An address with its scheme and host in small letters, as Python takes it apart and puts it together.
fn address(url: &str, encoding: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (place, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (user, place) = place.rsplit_once('@').map_or((None, place), |(user, place)| (Some(user), place));
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    format!("{}://{user}{}{rest}", scheme.to_lowercase(), host(&place.to_lowercase(), encoding))
}

/// An address or a network of its bytes.
fn internet(bytes: &[u8]) -> Option<String> {
    let one = |bytes: &[u8]| -> Option<String> {
        Some(match (<[u8; 4]>::try_from(bytes), <[u8; 16]>::try_from(bytes)) {
            (Ok(four), _) => IpAddr::from(four).to_string(),
            (_, Ok(sixteen)) => {
                let address = std::net::Ipv6Addr::from(sixteen);
                match (address.to_ipv4_mapped(), address.segments()) {
                    (Some(_), [.., high, low]) => format!("::ffff:{high:x}:{low:x}"),
                    _ => address.to_string(),
                }
            }
            _ => return None,
        })
    };
    match bytes.len() {
        8 | 32 => {
            let (network, mask) = bytes.split_at(bytes.len() / 2);
            let length: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
            Some(format!("{}/{length}", one(network)?))
        }
        _ => one(bytes),
    }
}

/// A name with its kind before it (`cryptography_decode_name`); what `names::general` reads.
fn general(name: &GeneralName, encoding: &str) -> Result<String, String> {
    Ok(match name {
        GeneralName::DnsName(name) => format!("DNS:{}", host(name.as_str(), encoding)),
        GeneralName::IpAddress(bytes) => {
            format!("IP:{}", internet(bytes.as_bytes()).ok_or("an address has another length")?)
        }
        GeneralName::Rfc822Name(name) => match name.as_str().split_once('@') {
            Some((user, at)) => format!("email:{user}@{}", host(at, encoding)),
            None => format!("email:{}", name.as_str()),
        },
        GeneralName::UniformResourceIdentifier(url) => format!("URI:{}", address(url.as_str(), encoding)),
        GeneralName::DirectoryName(name) => {
            let parts = attributes(name).into_iter().rev();
            let parts = parts.map(|(oid, value)| format!("{}={}", short_name(&oid), escaped(&value)));
            format!("dirName:{}", parts.collect::<Vec<_>>().join(","))
        }
        GeneralName::RegisteredId(oid) => format!("RID:{oid}"),
        GeneralName::OtherName(other) => {
            format!("otherName:{};{}", other.type_id, colons(&other.value.to_der().map_err(text)?))
        }
        GeneralName::EdiPartyName(_) => return Err("Cannot decode the name of a party of EDI".into()),
    })
}

fn generals<'a>(names: impl IntoIterator<Item = &'a GeneralName>, encoding: &str) -> Result<Value, String> {
    let names: Result<Vec<String>, String> = names.into_iter().map(|name| general(name, encoding)).collect();
    Ok(Value::strings(names?))
}

fn uses(usage: &KeyUsage) -> Vec<&'static str> {
    let mut uses: Vec<&str> = [
        (KeyUsages::DigitalSignature, "Digital Signature"),
        (KeyUsages::NonRepudiation, "Non Repudiation"),
        (KeyUsages::KeyEncipherment, "Key Encipherment"),
        (KeyUsages::DataEncipherment, "Data Encipherment"),
        (KeyUsages::KeyAgreement, "Key Agreement"),
        (KeyUsages::KeyCertSign, "Certificate Sign"),
        (KeyUsages::CRLSign, "CRL Sign"),
    ]
    .into_iter()
    .filter_map(|(flag, name)| usage.0.contains(flag).then_some(name))
    .collect();
    // Both say how keys are agreed on.
    if usage.key_agreement() {
        uses.extend(usage.encipher_only().then_some("Encipher Only"));
        uses.extend(usage.decipher_only().then_some("Decipher Only"));
    }
    uses.sort_unstable();
    uses
}

/// What extensions say that requests and certificates both have.
///
/// # Errors
/// Names a name that cannot be read.
pub(crate) fn tell_extensions(out: &Map, extensions: &[Extension], encoding: &str) -> Result<(), String> {
    let tell = |key: &str, oid: ObjectIdentifier, value: Value| {
        let critical =
            extensions.iter().find(|other| other.extn_id == oid).is_some_and(|other| other.critical);
        out.set(&format!("{key}_critical"), critical && !value.is_none());
        out.set(key, value);
    };
    use const_oid::AssociatedOid as _;
    let usage: Option<KeyUsage> = find(extensions);
    tell("key_usage", KeyUsage::OID, usage.map(|usage| Value::strings(uses(&usage))).into());
    let extended: Option<ExtendedKeyUsage> = find(extensions);
    let extended = extended.map(|extended| {
        let mut names: Vec<String> =
            extended.0.iter().map(|oid| long_name(&oid.to_string()).to_owned()).collect();
        names.sort_unstable();
        Value::strings(names)
    });
    tell("extended_key_usage", ExtendedKeyUsage::OID, extended.into());
    let basic: Option<BasicConstraints> = find(extensions);
    let basic = basic.map(|basic| {
        let mut said = vec![format!("CA:{}", if basic.ca { "TRUE" } else { "FALSE" })];
        said.extend(basic.path_len_constraint.map(|length| format!("pathlen:{length}")));
        Value::strings(said)
    });
    tell("basic_constraints", BasicConstraints::OID, basic.into());
    let (features, status) = MUST_STAPLE;
    let staple = extensions.iter().find(|extension| extension.extn_id == features).map(|extension| {
        let features = Vec::<u64>::from_der(extension.extn_value.as_bytes()).unwrap_or_default();
        features.contains(&u64::from(status[4]))
    });
    tell("ocsp_must_staple", features, staple.into());
    let names: Option<SubjectAltName> = find(extensions);
    let names = names.map(|names| generals(&names.0, encoding)).transpose()?;
    tell("subject_alt_name", SubjectAltName::OID, names.into());
    let identifier: Option<SubjectKeyIdentifier> = find(extensions);
    out.set("subject_key_identifier", identifier.map(|identifier| colons(identifier.0.as_bytes())));
    let authority: Option<AuthorityKeyIdentifier> = find(extensions);
    let (mut key, mut issuer, mut serial) = (Value::None, Value::None, Value::None);
    if let Some(authority) = &authority {
        key = authority.key_identifier.as_ref().map(|key| colons(key.as_bytes())).into();
        issuer = authority
            .authority_cert_issuer
            .as_ref()
            .map(|names| generals(names, encoding))
            .transpose()?
            .into();
        serial = authority
            .authority_cert_serial_number
            .as_ref()
            .map(|serial| whole::from_bytes(serial.as_bytes()))
            .into();
    }
    out.set("authority_key_identifier", key);
    out.set("authority_cert_issuer", issuer);
    out.set("authority_cert_serial_number", serial);
    let base64 = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let by_oid = extensions.iter().map(|extension| {
        let said = [
            ("critical", extension.critical.into()),
            ("value", base64(extension.extn_value.as_bytes()).into()),
        ];
        (extension.extn_id.to_string(), Value::map(said))
    });
    out.set("extensions_by_oid", by_oid.collect::<Map>());
    Ok(())
}

/// What names a request allows and forbids.
///
/// # Errors
/// Names one that cannot be read.
pub(crate) fn tell_constraints(out: &Map, extensions: &[Extension], encoding: &str) -> Result<(), String> {
    use const_oid::AssociatedOid as _;
    let constraints: Option<NameConstraints> = find(extensions);
    let critical = extensions.iter().any(|other| other.extn_id == NameConstraints::OID && other.critical);
    out.set("name_constraints_critical", critical && constraints.is_some());
    let (mut permitted, mut excluded) = (Value::None, Value::None);
    if let Some(constraints) = constraints {
        let names = |trees: Option<Vec<x509_cert::ext::pkix::constraints::name::GeneralSubtree>>| {
            let trees = trees.unwrap_or_default();
            generals(trees.iter().map(|tree| &tree.base), encoding)
        };
        permitted = names(constraints.permitted_subtrees)?;
        excluded = names(constraints.excluded_subtrees)?;
    }
    out.set("name_constraints_permitted", permitted);
    out.set("name_constraints_excluded", excluded);
    Ok(())
}

/// The address where something of an authority is found, by what it is for.
pub(crate) fn access(extensions: &[Extension], method: &str) -> Option<String> {
    let all: AuthorityInfoAccessSyntax = find(extensions)?;
    all.0.iter().find_map(|access| match &access.access_location {
        GeneralName::UniformResourceIdentifier(url) if access.access_method.to_string() == method => {
            Some(url.as_str().to_owned())
        }
        _ => None,
    })
}

/// A public key out of a text: as certificates have it, or of RSA alone.
///
/// # Errors
/// When there is none in it.
pub(crate) fn read_public(content: &[u8]) -> Result<SubjectPublicKeyInfoOwned, String> {
    let failed = |why: &str| format!("Error while deserializing key: {why}");
    let block = super::pem::first(content).ok_or_else(|| failed("there is no PEM in it"))?;
    match block.label.as_str() {
        "PUBLIC KEY" => SubjectPublicKeyInfoOwned::from_der(&block.data).map_err(|e| failed(&e.to_string())),
        "RSA PUBLIC KEY" => {
            let algorithm = spki::AlgorithmIdentifierOwned {
                oid: ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1"),
                parameters: Some(Any::null()),
            };
            let key = BitString::from_bytes(&block.data).map_err(text)?;
            Ok(SubjectPublicKeyInfoOwned { algorithm, subject_public_key: key })
        }
        other => Err(failed(&format!("a {other} is no public key"))),
    }
}

#[cfg(test)]
mod tests {
    use super::{address, escaped, host, internet};

    /// What `cryptography_decode_name` gives, with Python 3.11.
    #[test]
    fn names_are_told_as_python_tells_them() {
        assert_eq!(internet(&[10, 0, 0, 0, 255, 0, 0, 0]).as_deref(), Some("10.0.0.0/8"));
        let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 1, 2, 3, 4];
        assert_eq!(internet(&mapped).as_deref(), Some("::ffff:102:304"));
        assert_eq!(internet(&[1, 2, 3]), None);
        assert_eq!(escaped(" a, b\\+ "), "\\ a\\, b\\\\\\+\\ ");
        assert_eq!(host("*.xn--mnchen-3ya.de", "unicode"), "*.münchen.de");
        assert_eq!(host("*.xn--mnchen-3ya.de", "ignore"), "*.xn--mnchen-3ya.de");
        assert_eq!(address("HTTP://Me@Example.ORG:80/A?b", "ignore"), "http://Me@example.org:80/A?b");
        assert_eq!(address("urn:x:Y", "ignore"), "urn:x:Y");
    }
}
