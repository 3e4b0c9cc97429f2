//! Names in certificates: what attributes and uses are called, and the names of hosts, addresses and people
//! (community.crypto `_crypto/cryptography_support.py`).

use std::net::IpAddr;

use const_oid::ObjectIdentifier;
use der::asn1::{Ia5String, OctetString, PrintableString, Utf8StringRef};
use der::{Any, Decode, Encode, Tag, Tagged};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::ext::pkix::name::{GeneralName, OtherName};
use x509_cert::name::{Name, RdnSequence, RelativeDistinguishedName};

use super::pem::unhex;

/// Attributes of names, uses of keys and algorithms of signatures, as OpenSSL calls them at length and in short; other ones are said as numbers with dots.
const OBJECTS: &[(&str, &[&str])] = &[
    ("2.5.4.3", &["commonName", "CN"]),
    ("2.5.4.4", &["surname", "SN"]),
    ("2.5.4.5", &["serialNumber"]),
    ("2.5.4.6", &["countryName", "C"]),
    ("2.5.4.7", &["localityName", "L"]),
    ("2.5.4.8", &["stateOrProvinceName", "ST"]),
    ("2.5.4.9", &["streetAddress", "street"]),
    ("2.5.4.10", &["organizationName", "O"]),
    ("2.5.4.11", &["organizationalUnitName", "OU"]),
    ("2.5.4.12", &["title"]),
    ("2.5.4.13", &["description"]),
    ("2.5.4.15", &["businessCategory"]),
    ("2.5.4.16", &["postalAddress"]),
    ("2.5.4.17", &["postalCode"]),
    ("2.5.4.20", &["telephoneNumber"]),
    ("2.5.4.41", &["name"]),
    ("2.5.4.42", &["givenName", "GN"]),
    ("2.5.4.43", &["initials"]),
    ("2.5.4.44", &["generationQualifier"]),
    ("2.5.4.45", &["x500UniqueIdentifier"]),
    ("2.5.4.46", &["dnQualifier"]),
    ("2.5.4.65", &["pseudonym"]),
    ("2.5.4.72", &["role"]),
    ("2.5.4.97", &["organizationIdentifier"]),
    ("0.9.2342.19200300.100.1.1", &["userId", "UID", "userID"]),
    ("0.9.2342.19200300.100.1.3", &["rfc822Mailbox", "mail"]),
    ("0.9.2342.19200300.100.1.25", &["domainComponent", "DC"]),
    ("0.9.2342.19200300.100.1.44", &["uniqueIdentifier", "uid"]),
    ("1.2.840.113549.1.9.1", &["emailAddress"]),
    ("1.2.840.113549.1.9.2", &["unstructuredName"]),
    ("1.2.840.113549.1.9.8", &["unstructuredAddress"]),
    ("1.3.6.1.4.1.311.60.2.1.1", &["jurisdictionLocalityName", "jurisdictionL"]),
    ("1.3.6.1.4.1.311.60.2.1.2", &["jurisdictionStateOrProvinceName", "jurisdictionST"]),
    ("1.3.6.1.4.1.311.60.2.1.3", &["jurisdictionCountryName", "jurisdictionC"]),
    ("1.3.6.1.5.5.7.3.1", &["TLS Web Server Authentication", "serverAuth"]),
    ("1.3.6.1.5.5.7.3.2", &["TLS Web Client Authentication", "clientAuth"]),
    ("1.3.6.1.5.5.7.3.3", &["Code Signing", "codeSigning"]),
    ("1.3.6.1.5.5.7.3.4", &["E-mail Protection", "emailProtection"]),
    ("1.3.6.1.5.5.7.3.5", &["IPSec End System", "ipsecEndSystem"]),
    ("1.3.6.1.5.5.7.3.6", &["IPSec Tunnel", "ipsecTunnel"]),
    ("1.3.6.1.5.5.7.3.7", &["IPSec User", "ipsecUser"]),
    ("1.3.6.1.5.5.7.3.8", &["Time Stamping", "timeStamping"]),
    ("1.3.6.1.5.5.7.3.9", &["OCSP Signing", "OCSPSigning"]),
    ("1.3.6.1.5.5.7.3.10", &["dvcs", "DVCS"]),
    ("1.3.6.1.5.5.7.3.17", &["ipsec Internet Key Exchange", "ipsecIKE"]),
    ("1.3.6.1.5.5.7.3.21", &["SSH Client", "secureShellClient"]),
    ("1.3.6.1.5.5.7.3.22", &["SSH Server", "secureShellServer"]),
    ("1.3.6.1.4.1.311.10.3.1", &["Microsoft Trust List Signing", "msCTLSign"]),
    ("1.3.6.1.4.1.311.10.3.4", &["Microsoft Encrypted File System", "msEFS"]),
    ("1.3.6.1.4.1.311.20.2.2", &["Microsoft Smartcardlogin", "msSmartcardLogin"]),
    ("2.5.29.37.0", &["Any Extended Key Usage", "anyExtendedKeyUsage"]),
    ("1.2.840.10040.4.3", &["dsaWithSHA1", "DSA-SHA1"]),
    ("2.16.840.1.101.3.4.3.1", &["dsa_with_SHA224"]),
    ("2.16.840.1.101.3.4.3.2", &["dsa_with_SHA256"]),
    ("1.2.840.113549.1.1.4", &["md5WithRSAEncryption", "RSA-MD5"]),
    ("1.2.840.113549.1.1.5", &["sha1WithRSAEncryption", "RSA-SHA1"]),
    ("1.2.840.113549.1.1.10", &["rsassaPss", "RSASSA-PSS"]),
    ("1.2.840.113549.1.1.11", &["sha256WithRSAEncryption", "RSA-SHA256"]),
    ("1.2.840.113549.1.1.12", &["sha384WithRSAEncryption", "RSA-SHA384"]),
    ("1.2.840.113549.1.1.13", &["sha512WithRSAEncryption", "RSA-SHA512"]),
    ("1.2.840.113549.1.1.14", &["sha224WithRSAEncryption", "RSA-SHA224"]),
    ("1.2.840.10045.4.1", &["ecdsa-with-SHA1"]),
    ("1.2.840.10045.4.3.1", &["ecdsa-with-SHA224"]),
    ("1.2.840.10045.4.3.2", &["ecdsa-with-SHA256"]),
    ("1.2.840.10045.4.3.3", &["ecdsa-with-SHA384"]),
    ("1.2.840.10045.4.3.4", &["ecdsa-with-SHA512"]),
    ("1.3.101.112", &["ED25519"]),
    ("1.3.101.113", &["ED448"]),
];

fn names_of(number: &str) -> &'static [&'static str] {
    OBJECTS.iter().find(|(known, _)| *known == number).map_or(&[], |(_, names)| names)
}

/// What the number of an attribute, a use or a signature's algorithm is called at length; itself where it has no name.
pub(crate) fn long_name(number: &str) -> &str {
    names_of(number).first().copied().unwrap_or(number)
}

/// As [`long_name`], in short.
pub(crate) fn short_name(number: &str) -> &str {
    // One has a second spelling.
    names_of(number).iter().rfind(|name| **name != "userID").copied().unwrap_or(number)
}

/// The number of an attribute or a use.
///
/// # Errors
/// When the name is not known and is no number with dots.
pub(crate) fn object(name: &str) -> Result<ObjectIdentifier, String> {
    let known = OBJECTS.iter().find(|(_, names)| names.contains(&name)).map(|(number, _)| *number);
    let number = known.or_else(|| name.starts_with(|c: char| c.is_ascii_digit()).then_some(name));
    number.and_then(|number| number.parse().ok()).ok_or_else(|| format!("Cannot find OID for \"{name}\""))
}

/// A name of attributes in order, each of its own level.
///
/// # Errors
/// When an attribute is not known, or its value may not be its.
pub(crate) fn distinguished(attributes: &[(String, String)]) -> Result<Name, String> {
    let levels = attributes.iter().map(|(name, value)| {
        RelativeDistinguishedName::try_from(vec![attribute(name, value)?]).map_err(|e| e.to_string())
    });
    Ok(Name::hazmat_from_rdn_sequence(RdnSequence::from(levels.collect::<Result<Vec<_>, _>>()?)))
}

pub(crate) fn attribute(name: &str, value: &str) -> Result<AttributeTypeAndValue, String> {
    let oid = object(name)?;
    let text = |e: der::Error| format!("{value}: {e}");
    if value.is_empty() {
        return Err("Value cannot be an empty string".into());
    }
    // The kinds of text that the Python library takes for them (`_NAMEOID_DEFAULT_TYPE`).
    let value = match oid.to_string().as_str() {
        "2.5.4.6" | "1.3.6.1.4.1.311.60.2.1.3" if value.len() != 2 => {
            return Err("Country name must be a 2 character country code".into());
        }
        "2.5.4.5" | "2.5.4.6" | "2.5.4.46" | "1.3.6.1.4.1.311.60.2.1.3" => {
            PrintableString::new(value).and_then(|value| Any::encode_from(&value)).map_err(text)?
        }
        "1.2.840.113549.1.9.1" | "0.9.2342.19200300.100.1.25" => {
            Ia5String::new(value).and_then(|value| Any::encode_from(&value)).map_err(text)?
        }
        _ => Utf8StringRef::new(value).and_then(|value| Any::encode_from(&value)).map_err(text)?,
    };
    Ok(AttributeTypeAndValue { oid, value })
}

/// The attributes of a name with their numbers and texts.
pub(crate) fn attributes(name: &Name) -> Vec<(String, String)> {
    let all = name.iter_rdn().flat_map(RelativeDistinguishedName::iter);
    all.map(|attribute| (attribute.oid.to_string(), letters(&attribute.value))).collect()
}

/// The text of an attribute in whichever letters it is written.
fn letters(value: &Any) -> String {
    let bytes = value.value();
    match value.tag() {
        Tag::BmpString => {
            let units = bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
            char::decode_utf16(units).map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        }
        Tag::TeletexString => bytes.iter().copied().map(char::from).collect(),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// `CN=name, O=name`, or `/CN=name/O=name`, in this order.
fn parts_of_name(text: &str) -> Result<Vec<(String, String)>, String> {
    let trimmed = text.trim_start();
    let (separator, trimmed) = match trimmed.strip_prefix('/') {
        Some(rest) => ('/', rest),
        None => (',', trimmed),
    };
    let failed = |why: &str| format!("Error while parsing distinguished name {text:?}: {why}");
    let (mut parts, mut part) = (vec![], String::new());
    let mut letters = trimmed.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => {
                let next = letters.next().ok_or_else(|| failed("unexpected end of string"))?;
                match (next.to_digit(16), letters.peek().and_then(|c| c.to_digit(16))) {
                    (Some(high), Some(low)) => {
                        letters.next();
                        part.extend(char::from_u32(high * 16 + low));
                    }
                    _ => part.push(next),
                }
            }
            letter if letter == separator => parts.push(std::mem::take(&mut part)),
            letter => part.push(letter),
        }
    }
    parts.push(part);
    let pair = |part: &String| {
        let (name, value) =
            part.split_once('=').ok_or_else(|| failed(&format!("cannot start part in \"{part}\"")))?;
        Ok((name.trim().to_owned(), value.trim_start().to_owned()))
    };
    parts.iter().map(pair).collect()
}

/// A name with its kind before it: `DNS:`, `IP:`, `email:`, `URI:`, `RID:`, `dirName:` or `otherName:`. Names of hosts
/// with other letters than ASCII are written as IDNA has it.
///
/// # Errors
/// When the kind is not known, or the rest is no such name.
pub(crate) fn general(name: &str, what: &str) -> Result<GeneralName, String> {
    let failed = |why: &str| format!("Cannot parse {what} \"{name}\": {why}");
    let ascii = |text: &str| Ia5String::new(text).map_err(|e| failed(&e.to_string()));
    let Some((kind, value)) = name.split_once(':') else {
        return Err(format!("Cannot parse {what} \"{name}\" (forgot \"DNS:\" prefix?)"));
    };
    Ok(match kind {
        "DNS" => GeneralName::DnsName(ascii(&host(value).map_err(|e| failed(&e))?)?),
        "email" => {
            let (user, at) = value.rsplit_once('@').unwrap_or(("", value));
            let at = host(at).map_err(|e| failed(&e))?;
            GeneralName::Rfc822Name(ascii(&if value.contains('@') { format!("{user}@{at}") } else { at })?)
        }
        "URI" => GeneralName::UniformResourceIdentifier(ascii(value)?),
        "IP" => {
            let (address, length) = match value.split_once('/') {
                Some((address, length)) => (address, Some(length)),
                None => (value, None),
            };
            let not = || failed(&format!("'{value}' does not appear to be an IPv4 or IPv6 address"));
            let address: IpAddr = address.parse().map_err(|_| not())?;
            let mut bytes = match address {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            if let Some(length) = length {
                let mask = mask(length, bytes.len()).ok_or_else(not)?;
                if bytes.iter().zip(&mask).any(|(byte, mask)| byte & !mask != 0) {
                    return Err(failed(&format!("{value} has host bits set")));
                }
                bytes.extend(mask);
            }
            GeneralName::IpAddress(OctetString::new(bytes).map_err(|e| failed(&e.to_string()))?)
        }
        "RID" => {
            GeneralName::RegisteredId(value.parse().map_err(|_| format!("Cannot parse {what} \"{name}\""))?)
        }
        "dirName" => {
            let mut parts = parts_of_name(value).map_err(|e| failed(&e))?;
            parts.reverse();
            GeneralName::DirectoryName(distinguished(&parts).map_err(|e| failed(&e))?)
        }
        "otherName" => {
            let (oid, value) = value.split_once(';').ok_or_else(|| format!("Cannot parse {what} otherName \"{value}\", must be in the format \"otherName:<OID>;<ASN.1 OpenSSL Encoded String>\" or \"otherName:<OID>;<hex string>\""))?;
            let type_id = oid.parse().map_err(|_| failed("the OID cannot be read"))?;
            let data = match value.split_once(':') {
                Some(("UTF8" | "UTF8String", text)) => Utf8StringRef::new(text)
                    .and_then(|text| text.to_der())
                    .map_err(|e| failed(&e.to_string()))?,
                _ => unhex(&value.replace(':', ""))
                    .ok_or_else(|| failed("only UTF8 texts and hexadecimal bytes are read here"))?,
            };
            let value = Any::from_der(&data).map_err(|e| failed(&e.to_string()))?;
            GeneralName::OtherName(OtherName { type_id, value })
        }
        _ => {
            return Err(format!(
                "Cannot parse {what} \"{name}\" (potentially unsupported by cryptography backend)"
            ));
        }
    })
}

/// The mask of a network with so many bits, or with the address that is its mask.
fn mask(length: &str, bytes: usize) -> Option<Vec<u8>> {
    if let Ok(IpAddr::V4(mask)) = length.parse() {
        return (bytes == 4).then(|| mask.octets().to_vec());
    }
    let length: usize = length.parse().ok().filter(|length| *length <= bytes * 8)?;
    let of_byte = |at: usize| !(0xff_u16 >> length.saturating_sub(at * 8).min(8)) as u8;
    Some((0..bytes).map(of_byte).collect())
}

/// The name of a host in ASCII; stars and dots before it stay.
fn host(name: &str) -> Result<String, String> {
    if name.is_ascii() {
        return Ok(name.to_owned());
    }
    let (before, rest) = name.split_at(name.find(|c| c != '*' && c != '.').unwrap_or(name.len()));
    let ascii = idna::domain_to_ascii(rest).map_err(|e| e.to_string())?;
    Ok(format!("{before}{ascii}"))
}

#[cfg(test)]
mod tests {
    use super::{general, mask, parts_of_name};

    #[test]
    fn masks_are_those_of_their_length() {
        assert_eq!(mask("0", 4), Some(vec![0, 0, 0, 0]));
        assert_eq!(mask("20", 4), Some(vec![255, 255, 240, 0]));
        assert_eq!(mask("255.255.0.0", 4), Some(vec![255, 255, 0, 0]));
        assert_eq!(mask("33", 4), None);
    }

    #[test]
    fn names_are_taken_apart() {
        let parts = |text: &str| {
            parts_of_name(text).map(|p| p.into_iter().map(|(n, v)| format!("{n}:{v}")).collect::<Vec<_>>())
        };
        assert_eq!(parts("CN=a\\, b, O = c").as_deref(), Ok(&["CN:a, b".to_owned(), "O:c".to_owned()][..]));
        assert_eq!(parts("/CN=a/O=b,c").as_deref(), Ok(&["CN:a".to_owned(), "O:b,c".to_owned()][..]));
        assert!(parts("CN").is_err());
        assert!(general("IP:10.0.0.1/8", "name").is_err());
        assert!(general("example.org", "name").is_err());
    }
}
