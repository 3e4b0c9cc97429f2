//! `x509_certificate`: certificates that are signed here (community.crypto `x509_certificate.py`,
//! `_crypto/module_backends/certificate{,_selfsigned,_ownca}.py`).

use bakery_lang::whole;
use bakery_macros::ModuleArgs;
use const_oid::AssociatedOid as _;
use spki::SubjectPublicKeyInfoOwned;
use x509_cert::Certificate;
use x509_cert::ext::Extensions;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, SubjectKeyIdentifier};
use x509_cert::name::Name;
use x509_cert::request::CertReq;

use crate::crypto::extensions::{extension, find};
use crate::crypto::keys::Key;
use crate::crypto::signed::{self, Content};
use crate::crypto::times::{moment, shown};
use crate::crypto::{FileOptions, Kept, content, private_key};
use crate::registry::module;
use crate::{Failure, Host, Outcome, Run};

/// Makes a certificate, signed with its own key or with that of an authority of one's own.
#[derive(ModuleArgs)]
#[args(
    exclusive = "csr_path,csr_content",
    exclusive = "privatekey_path,privatekey_content",
    exclusive = "ownca_path,ownca_content",
    exclusive = "ownca_privatekey_path,ownca_privatekey_content"
)]
struct Args {
    /// The file that is kept.
    #[arg(flatten)]
    file: FileOptions,
    /// Who signs it: its own key, or an authority of one's own. `acme` asks others, which is not done here.
    #[arg(choices = "acme,ownca,selfsigned")]
    provider: Option<String>,
    /// The file with the request.
    csr_path: Option<String>,
    /// The request itself.
    csr_content: Option<String>,
    /// Whether a certificate with other times stays.
    #[arg(default = "true")]
    ignore_timestamps: bool,
    /// The file with the private key.
    privatekey_path: Option<String>,
    /// The private key itself.
    #[arg(secret)]
    privatekey_content: Option<String>,
    /// The passphrase that the private key is sealed with.
    #[arg(secret)]
    privatekey_passphrase: Option<String>,
    /// The version of certificates; there is one.
    #[arg(default = "3", choices = "3")]
    selfsigned_version: String,
    /// The digest that is signed with its own key.
    #[arg(default = "sha256")]
    selfsigned_digest: String,
    /// From when on it holds: `20260131235959Z`, or as long after now as `+1w2d3h4m5s` says.
    #[arg(default = "+0s", alias = "selfsigned_notBefore")]
    selfsigned_not_before: String,
    /// Until when it holds.
    #[arg(default = "+3650d", alias = "selfsigned_notAfter")]
    selfsigned_not_after: String,
    /// Whether it says how its key is identified.
    #[arg(default = "create_if_not_provided", choices = "create_if_not_provided,always_create,never_create")]
    selfsigned_create_subject_key_identifier: String,
    /// The file with the authority's certificate.
    ownca_path: Option<String>,
    /// The authority's certificate itself.
    ownca_content: Option<String>,
    /// The file with the authority's private key.
    ownca_privatekey_path: Option<String>,
    /// The authority's private key itself.
    #[arg(secret)]
    ownca_privatekey_content: Option<String>,
    /// The passphrase that the authority's private key is sealed with.
    #[arg(secret)]
    ownca_privatekey_passphrase: Option<String>,
    /// The digest that the authority signs.
    #[arg(default = "sha256")]
    ownca_digest: String,
    /// The version of certificates; there is one.
    #[arg(default = "3", choices = "3")]
    ownca_version: String,
    /// From when on a certificate of the authority holds.
    #[arg(default = "+0s")]
    ownca_not_before: String,
    /// Until when a certificate of the authority holds.
    #[arg(default = "+3650d")]
    ownca_not_after: String,
    /// Whether a certificate of the authority says how its key is identified.
    #[arg(default = "create_if_not_provided", choices = "create_if_not_provided,always_create,never_create")]
    ownca_create_subject_key_identifier: String,
    /// Whether a certificate of the authority says how the authority's key is identified.
    #[arg(default = "true")]
    ownca_create_authority_key_identifier: bool,
    /// Not known here: whom `acme` asks.
    #[arg(secret)]
    acme_accountkey_path: Option<String>,
    /// Not known here: what `acme` shows.
    acme_challenge_path: Option<String>,
    /// Not known here: whether `acme` gives the chain, too.
    acme_chain: bool,
    /// Not known here: whom `acme` asks.
    #[arg(default = "https://acme-v02.api.letsencrypt.org/directory")]
    acme_directory: String,
    /// Accepted without effect.
    #[arg(default = "auto", choices = "auto,cryptography")]
    select_crypto_backend: String,
}

/// Who signs.
struct Signer {
    key: Key,
    name: Name,
    public: SubjectPublicKeyInfoOwned,
    /// How a certificate says who signed it.
    identifier: Option<AuthorityKeyIdentifier>,
}

/// What the certificate is to be.
struct Wanted {
    signer: Signer,
    key: SubjectPublicKeyInfoOwned,
    subject: Name,
    extensions: Extensions,
    request: Option<CertReq>,
    digest: String,
    validity: (i64, i64),
    /// `create_if_not_provided`, `always_create` or `never_create`.
    identifies: String,
}

impl Args {
    fn key(&self, host: &Host) -> Result<Option<Key>, Failure> {
        if self.privatekey_path.is_none() && self.privatekey_content.is_none() {
            return Ok(None);
        }
        let bytes = content(
            host,
            self.privatekey_path.as_deref(),
            self.privatekey_content.as_deref(),
            "private key file",
        )?;
        private_key(&bytes, self.privatekey_passphrase.as_deref()).map(Some)
    }

    fn request(&self, host: &Host) -> Result<Option<CertReq>, Failure> {
        if self.csr_path.is_none() && self.csr_content.is_none() {
            return Ok(None);
        }
        let what = "certificate signing request file";
        let bytes = content(host, self.csr_path.as_deref(), self.csr_content.as_deref(), what)?;
        Ok(Some(signed::read_request(&bytes)?))
    }

    fn selfsigned(&self, host: &Host, now: i64) -> Result<Wanted, Failure> {
        let key = self.key(host)?.ok_or(
            "One of privatekey_path and privatekey_content must be specified for the selfsigned provider.",
        )?;
        let request = self.request(host)?;
        let public = signed::public(&key)?;
        let subject = request.as_ref().map_or_else(Name::default, |request| request.info.subject.clone());
        let signer = Signer { key, name: subject.clone(), public: public.clone(), identifier: None };
        Ok(Wanted {
            signer,
            key: public,
            subject,
            extensions: request.as_ref().map(signed::extensions_of).unwrap_or_default(),
            request,
            digest: self.selfsigned_digest.clone(),
            validity: (
                moment(&self.selfsigned_not_before, "selfsigned_not_before", now)?,
                moment(&self.selfsigned_not_after, "selfsigned_not_after", now)?,
            ),
            identifies: self.selfsigned_create_subject_key_identifier.clone(),
        })
    }

    fn ownca(&self, host: &Host, now: i64) -> Result<Wanted, Failure> {
        if self.ownca_path.is_none() && self.ownca_content.is_none() {
            return Err(
                "One of ownca_path and ownca_content must be specified for the ownca provider.".into()
            );
        }
        if self.ownca_privatekey_path.is_none() && self.ownca_privatekey_content.is_none() {
            return Err("One of ownca_privatekey_path and ownca_privatekey_content must be specified for the ownca provider.".into());
        }
        let request = self.request(host)?.ok_or("csr_path or csr_content is required for ownca provider")?;
        let bytes =
            content(host, self.ownca_path.as_deref(), self.ownca_content.as_deref(), "CA certificate file")?;
        let authority = signed::read_certificate(&bytes)?;
        let bytes = content(
            host,
            self.ownca_privatekey_path.as_deref(),
            self.ownca_privatekey_content.as_deref(),
            "CA private key file",
        )?;
        let key = private_key(&bytes, self.ownca_privatekey_passphrase.as_deref())?;
        let public = signed::public(&key)?;
        let inner = authority.tbs_certificate();
        if inner.subject_public_key_info() != &public {
            return Err("The CA private key does not belong to the CA certificate".into());
        }
        let identifier = if self.ownca_create_authority_key_identifier {
            let held: Option<SubjectKeyIdentifier> = inner.extensions().and_then(|all| find(all));
            let id = held.map_or_else(|| signed::identifier(&public), Ok)?;
            Some(AuthorityKeyIdentifier {
                key_identifier: Some(id.0),
                authority_cert_issuer: None,
                authority_cert_serial_number: None,
            })
        } else {
            None
        };
        Ok(Wanted {
            signer: Signer { key, name: inner.subject().clone(), public, identifier },
            key: request.info.public_key.clone(),
            subject: request.info.subject.clone(),
            extensions: signed::extensions_of(&request),
            request: Some(request),
            digest: self.ownca_digest.clone(),
            validity: (
                moment(&self.ownca_not_before, "ownca_not_before", now)?,
                moment(&self.ownca_not_after, "ownca_not_after", now)?,
            ),
            identifies: self.ownca_create_subject_key_identifier.clone(),
        })
    }
}

impl Wanted {
    /// The extensions of the certificate: those of the request, and what identifies the keys.
    fn all_extensions(&self) -> Result<Extensions, String> {
        let mut all: Extensions = self.extensions.clone();
        if self.identifies == "always_create" {
            all.retain(|e| e.extn_id != SubjectKeyIdentifier::OID);
        }
        if self.signer.identifier.is_some() {
            all.retain(|e| e.extn_id != AuthorityKeyIdentifier::OID);
        }
        if self.identifies != "never_create" && !all.iter().any(|e| e.extn_id == SubjectKeyIdentifier::OID) {
            all.push(extension(&signed::identifier(&self.key)?, false)?);
        }
        if let Some(identifier) = &self.signer.identifier {
            all.push(extension(identifier, false)?);
        }
        Ok(all)
    }

    /// Whether a certificate that is there is what is wanted (`needs_regeneration`).
    fn fits(&self, held: &Certificate, own_key: Option<&Key>, with_times: bool) -> Result<bool, Failure> {
        let inner = held.tbs_certificate();
        let public = inner.subject_public_key_info();
        if let Some(key) = own_key
            && &signed::public(key)? != public
        {
            return Ok(false);
        }
        // Who brings no request has one with nothing in it.
        if let Some(request) = &self.request
            && !signed::is_request_signed(request)
        {
            return Ok(false);
        }
        let sorted = |extensions: Option<&Extensions>| {
            let mut all = extensions.cloned().unwrap_or_default();
            all.sort_by_key(|e| e.extn_id.to_string());
            all
        };
        let from_to = (
            i64::try_from(inner.validity().not_before.to_unix_duration().as_secs()),
            i64::try_from(inner.validity().not_after.to_unix_duration().as_secs()),
        );
        Ok(&self.key == public
            && &self.subject == inner.subject()
            && &self.signer.name == inner.issuer()
            && sorted(inner.extensions()) == sorted(Some(&self.all_extensions()?))
            && (!with_times || from_to == (Ok(self.validity.0), Ok(self.validity.1)))
            && signed::is_certificate_signed(held, &self.signer.public))
    }
}

fn run(args: Args, host: &mut Host) -> Run {
    let told = |outcome: Outcome| {
        outcome.with("privatekey", args.privatekey_path.clone()).with("csr", args.csr_path.clone())
    };
    let mut file = Kept::new(host, &args.file);
    if args.file.state == "absent" {
        let changed = file.remove(host)?;
        let outcome = told(file.outcome(changed));
        return Ok(if args.file.return_content {
            outcome.with("certificate", bakery_lang::Value::None)
        } else {
            outcome
        });
    }
    file = file.in_folder()?;
    let now = jiff::Timestamp::now().as_second();
    let wanted = match args.provider.as_deref() {
        Some("selfsigned") => args.selfsigned(host, now)?,
        Some("ownca") => args.ownca(host, now)?,
        Some(other) => {
            return Err(Failure::new(format!(
                "the provider {other} is not known here; selfsigned and ownca are"
            )));
        }
        None => return Err("state is present but all of the following are missing: provider".into()),
    };
    let mut held = file.read(host)?;
    let mut certificate = held.as_deref().and_then(|held| signed::read_certificate(held).ok());
    let own_key = if args.provider.as_deref() == Some("ownca") { args.key(host)? } else { None };
    let fits = match &certificate {
        Some(held) if !args.file.force => wanted.fits(held, own_key.as_ref(), !args.ignore_timestamps)?,
        _ => false,
    };
    // 159 random bits: it never looks negative.
    let mut serial = [0_u8; 20];
    getrandom::fill(&mut serial).map_err(|e| e.to_string())?;
    serial[0] &= 0x7f;
    if !fits && !host.check {
        let made = Content {
            serial: serial.to_vec(),
            issuer: wanted.signer.name.clone(),
            subject: wanted.subject.clone(),
            validity: wanted.validity,
            key: wanted.key.clone(),
            extensions: wanted.all_extensions()?,
        };
        let text = signed::make_certificate(made, &wanted.signer.key, &wanted.digest)?.into_bytes();
        certificate = Some(signed::read_certificate(&text)?);
        file.write(host, &text)?;
        held = Some(text);
    }
    let changed = file.settled(host, !fits)?;
    let mut outcome = told(file.outcome(changed));
    if args.provider.as_deref() == Some("ownca") {
        outcome = outcome
            .with("ca_cert", args.ownca_path.clone())
            .with("ca_privatekey", args.ownca_privatekey_path.clone());
    }
    // In check mode what would be made is told of.
    let (from, until, number) = match &certificate {
        Some(certificate) if !host.check => {
            let inner = certificate.tbs_certificate();
            let seconds = |time: x509_cert::time::Time| {
                i64::try_from(time.to_unix_duration().as_secs()).unwrap_or_default()
            };
            let validity = inner.validity();
            (
                seconds(validity.not_before),
                seconds(validity.not_after),
                inner.serial_number().as_bytes().to_vec(),
            )
        }
        _ => (wanted.validity.0, wanted.validity.1, serial.to_vec()),
    };
    outcome = outcome
        .with("notBefore", shown(from))
        .with("notAfter", shown(until))
        .with("serial_number", whole::from_bytes(&number));
    if args.file.return_content {
        outcome = outcome.with("certificate", held.map(|held| String::from_utf8_lossy(&held).into_owned()));
    }
    Ok(outcome)
}

module!("x509_certificate", "community.crypto", Args, run);
