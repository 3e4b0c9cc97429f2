//! Certificates of servers, checked as programs over OpenSSL check them, for which people's certificates are made: one that
//! is trusted itself is good whatever else it may sign, and one without other names is its common name's.

use std::sync::Arc;

use der::Decode as _;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::crypto::{extensions, names};

/// The certificates of a text.
///
/// # Errors
/// When one of them cannot be read.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|error| error.to_string())
}

/// The authorities that this machine trusts.
///
/// # Errors
/// When it trusts none.
pub(crate) fn of_system() -> Result<Vec<CertificateDer<'static>>, String> {
    let found = rustls_native_certs::load_native_certs();
    match found.errors.first() {
        Some(error) if found.certs.is_empty() => Err(error.to_string()),
        None if found.certs.is_empty() => {
            Err("this machine trusts no authority: its certificates are not installed".into())
        }
        _ => Ok(found.certs),
    }
}

/// Checks the certificate of a server: that it is trusted, and that it is the server's.
#[derive(Debug)]
pub(crate) struct Verifier {
    /// None where nothing is checked.
    inner: Option<Arc<WebPkiServerVerifier>>,
    trusted: Vec<CertificateDer<'static>>,
    /// Whether it has to be this server's.
    name_counts: bool,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    /// One that trusts these.
    ///
    /// # Errors
    /// When none of them can be read.
    pub(crate) fn of(
        trusted: Vec<CertificateDer<'static>>,
        name_counts: bool,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(trusted.iter().cloned());
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { inner: Some(inner), trusted, name_counts, provider })
    }

    /// One that takes whatever comes.
    pub(crate) fn unchecked(provider: Arc<CryptoProvider>) -> Self {
        Self { inner: None, trusted: vec![], name_counts: false, provider }
    }

    /// Whether a certificate is trusted itself, is the server's and is good now.
    fn is_trusted_itself(
        &self,
        shown: &CertificateDer<'_>,
        server: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<bool, Error> {
        if !self.trusted.iter().any(|trusted| trusted == shown) {
            return Ok(false);
        }
        let Ok(certificate) = Certificate::from_der(shown) else { return Ok(false) };
        let validity = certificate.tbs_certificate().validity();
        let (from, until) = (validity.not_before.to_unix_duration(), validity.not_after.to_unix_duration());
        if now.as_secs() < from.as_secs() {
            return Err(CertificateError::NotValidYet.into());
        }
        if now.as_secs() > until.as_secs() {
            return Err(CertificateError::Expired.into());
        }
        match rustls::client::verify_server_name(&ParsedCertificate::try_from(shown)?, server) {
            Err(_) if !self.name_counts => Ok(true),
            Err(error) if !has_common_name(shown, server) => Err(error),
            _ => Ok(true),
        }
    }
}

/// Whether a certificate without names of hosts has the server's for its common name, as Python has OpenSSL look.
fn has_common_name(shown: &CertificateDer<'_>, server: &ServerName<'_>) -> bool {
    let (Ok(certificate), ServerName::DnsName(server)) = (Certificate::from_der(shown), server) else {
        return false;
    };
    let inner = certificate.tbs_certificate();
    let others: Option<SubjectAltName> = inner.extensions().and_then(|all| extensions::find(all));
    if others.is_some_and(|others| others.0.iter().any(|name| matches!(name, GeneralName::DnsName(_)))) {
        return false;
    }
    let common = names::attributes(inner.subject()).into_iter().rfind(|(number, _)| number == "2.5.4.3");
    let Some((_, common)) = common else { return false };
    let (common, server) = (common.to_lowercase(), server.as_ref().to_lowercase());
    match common.strip_prefix("*.") {
        // A star is one label, and not of a whole domain of its own.
        Some(domain) => {
            domain.contains('.') && server.split_once('.').is_some_and(|(_, rest)| rest == domain)
        }
        None => common == server,
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(inner) = &self.inner else { return Ok(ServerCertVerified::assertion()) };
        let error = match inner.verify_server_cert(shown, intermediates, server, ocsp_response, now) {
            Ok(good) => return Ok(good),
            // One that may sign others, and that nobody else has signed: what people know as self-signed.
            Err(Error::InvalidCertificate(CertificateError::Other(why)))
                if why.to_string().contains("CaUsedAsEndEntity") =>
            {
                CertificateError::UnknownIssuer.into()
            }
            Err(error) => error,
        };
        let is_other_name = matches!(
            &error,
            Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
            )
        );
        // The name is looked at when all else is good.
        let is_good = (is_other_name && (!self.name_counts || has_common_name(shown, server)))
            || self.is_trusted_itself(shown, server, now)?;
        if is_good { Ok(ServerCertVerified::assertion()) } else { Err(error) }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match &self.inner {
            Some(inner) => inner.verify_tls12_signature(message, shown, signature),
            None => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match &self.inner {
            Some(inner) => inner.verify_tls13_signature(message, shown, signature),
            None => Ok(HandshakeSignatureValid::assertion()),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
