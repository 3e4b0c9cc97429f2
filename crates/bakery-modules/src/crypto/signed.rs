//! Requests and certificates: read, made and signed.

use der::asn1::{BitString, Uint};
use der::{Decode, Encode, Sequence};
use md5::Digest as _;
use spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::Certificate;
use x509_cert::attr::{Attribute, Attributes};
use x509_cert::ext::pkix::SubjectKeyIdentifier;
use x509_cert::ext::{Extension, Extensions};
use x509_cert::name::Name;
use x509_cert::request::{CertReq, CertReqInfo, ExtensionReq, Version};
use x509_cert::time::{Time, Validity};

use super::keys::{Key, is_signed};
use super::pem::{self, Block};

/// The attribute of a request that holds its extensions (RFC 2985).
const EXTENSION_REQUEST: const_oid::ObjectIdentifier =
    const_oid::ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.14");

/// What is signed of a certificate (RFC 5280, 4.1).
#[derive(Sequence)]
struct ToBeSigned {
    #[asn1(context_specific = "0")]
    version: u8,
    serial: Uint,
    algorithm: AlgorithmIdentifierOwned,
    issuer: Name,
    validity: Validity,
    subject: Name,
    key: SubjectPublicKeyInfoOwned,
    #[asn1(context_specific = "3", optional = "true")]
    extensions: Option<Extensions>,
}

/// Something with its signature.
#[derive(Sequence)]
struct Signed {
    content: ToBeSigned,
    algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
}

fn text(error: der::Error) -> String {
    error.to_string()
}

/// The public key of a private one, as certificates have it.
///
/// # Errors
/// When it cannot be encoded.
pub(crate) fn public(key: &Key) -> Result<SubjectPublicKeyInfoOwned, String> {
    SubjectPublicKeyInfoOwned::from_der(&key.public()?).map_err(text)
}

/// The identifier that a key's certificates have: SHA-1 over its bits.
///
/// # Errors
/// When it cannot be encoded.
pub(crate) fn identifier(key: &SubjectPublicKeyInfoOwned) -> Result<SubjectKeyIdentifier, String> {
    let hash = sha1::Sha1::digest(key.subject_public_key.raw_bytes());
    der::asn1::OctetString::new(hash.to_vec()).map(SubjectKeyIdentifier).map_err(text)
}

/// A request that a file holds.
///
/// # Errors
/// When it holds none.
pub(crate) fn read_request(content: &[u8]) -> Result<CertReq, String> {
    let block = pem::first(content).filter(|block| block.label.ends_with("CERTIFICATE REQUEST"));
    CertReq::from_der(
        &block.ok_or("Unable to load PEM file: there is no certificate signing request in it")?.data,
    )
    .map_err(text)
}

/// The first certificate that a file holds.
///
/// # Errors
/// When it holds none.
pub(crate) fn read_certificate(content: &[u8]) -> Result<Certificate, String> {
    let block = pem::first(content).filter(|block| block.label.ends_with("CERTIFICATE"));
    Certificate::from_der(&block.ok_or("Unable to load PEM file: there is no certificate in it")?.data)
        .map_err(text)
}

/// What a request asks for.
pub(crate) fn extensions_of(request: &CertReq) -> Extensions {
    let asked = request.info.attributes.iter().find(|attribute| attribute.oid == EXTENSION_REQUEST);
    let values = asked.into_iter().flat_map(|attribute| attribute.values.iter());
    values.filter_map(|value| value.decode_as::<ExtensionReq>().ok()).flat_map(|asked| asked.0).collect()
}

/// Whether a request is signed with the key that it names.
pub(crate) fn is_request_signed(request: &CertReq) -> bool {
    let message = request.info.to_der().unwrap_or_default();
    is_signed(&request.info.public_key, &request.algorithm, request.signature.raw_bytes(), &message)
}

/// Whether a certificate is signed with a key.
pub(crate) fn is_certificate_signed(certificate: &Certificate, key: &SubjectPublicKeyInfoOwned) -> bool {
    let message = certificate.tbs_certificate().to_der().unwrap_or_default();
    is_signed(key, certificate.signature_algorithm(), certificate.signature().raw_bytes(), &message)
}

/// A new request, as text.
///
/// # Errors
/// When the key cannot sign, or the digest is not known.
pub(crate) fn make_request(
    subject: Name,
    extensions: Vec<Extension>,
    key: &Key,
    digest: &str,
) -> Result<String, String> {
    let mut attributes = Attributes::new();
    if !extensions.is_empty() {
        let value = der::Any::encode_from(&ExtensionReq(extensions)).map_err(text)?;
        let values = der::asn1::SetOfVec::try_from(vec![value]).map_err(text)?;
        attributes.insert(Attribute { oid: EXTENSION_REQUEST, values }).map_err(text)?;
    }
    let info = CertReqInfo { version: Version::V1, subject, public_key: public(key)?, attributes };
    let (algorithm, signature) = key.sign(digest, &info.to_der().map_err(text)?)?;
    let signature = BitString::from_bytes(&signature).map_err(text)?;
    let request = CertReq { info, algorithm, signature };
    Ok(Block::new("CERTIFICATE REQUEST", request.to_der().map_err(text)?).text())
}

/// What a new certificate says.
pub(crate) struct Content {
    /// The number, without a sign, the highest byte first.
    pub(crate) serial: Vec<u8>,
    pub(crate) issuer: Name,
    pub(crate) subject: Name,
    /// From when on it holds, and until when, in seconds since 1970.
    pub(crate) validity: (i64, i64),
    pub(crate) key: SubjectPublicKeyInfoOwned,
    pub(crate) extensions: Extensions,
}

/// A new certificate, as text.
///
/// # Errors
/// When the key cannot sign, or the digest is not known.
pub(crate) fn make_certificate(content: Content, signer: &Key, digest: &str) -> Result<String, String> {
    let algorithm = signer.algorithm(digest)?;
    let (from, until) = content.validity;
    let to_be_signed = ToBeSigned {
        version: 2,
        serial: Uint::new(&content.serial).map_err(text)?,
        algorithm,
        issuer: content.issuer,
        validity: Validity::new(time(from)?, time(until)?),
        subject: content.subject,
        key: content.key,
        extensions: (!content.extensions.is_empty()).then_some(content.extensions),
    };
    let (algorithm, signature) = signer.sign(digest, &to_be_signed.to_der().map_err(text)?)?;
    let signature = BitString::from_bytes(&signature).map_err(text)?;
    let signed = Signed { content: to_be_signed, algorithm, signature };
    Ok(Block::new("CERTIFICATE", signed.to_der().map_err(text)?).text())
}

/// A time as certificates have it: with two digits of the year before 2050 (RFC 5280, 4.1.2.5).
fn time(seconds: i64) -> Result<Time, String> {
    let since = std::time::Duration::from_secs(u64::try_from(seconds).map_err(|_| "a time before 1970")?);
    let at = der::DateTime::from_unix_duration(since).map_err(text)?;
    Ok(if at.year() < 2050 {
        Time::UtcTime(der::asn1::UtcTime::from_date_time(at).map_err(text)?)
    } else {
        Time::GeneralTime(der::asn1::GeneralizedTime::from_date_time(at))
    })
}
