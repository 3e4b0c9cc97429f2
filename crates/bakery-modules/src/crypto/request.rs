//! What a request for a certificate asks for, as `openssl_csr` and `openssl_csr_pipe` are told it (community.crypto
//! `_crypto/module_backends/csr.py`).

#![allow(dead_code, reason = "an argument that is accepted without effect")]

use bakery_lang::{Map, Value};
use bakery_macros::ModuleArgs;
use der::asn1::OctetString;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::crl::dp::{DistributionPoint, Reasons};
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, CrlDistributionPoints, SubjectAltName, SubjectKeyIdentifier,
};
use x509_cert::name::RelativeDistinguishedName;
use x509_cert::serial_number::SerialNumber;

use super::extensions::{self, extension};
use super::keys::Key;
use super::names::{attribute, attributes, distinguished, general, object};
use super::pem::unhex;
use super::{content, private_key, signed};
use crate::args::string_list;
use crate::{Failure, Host, Outcome};

/// The options that say what is asked for.
#[derive(ModuleArgs)]
#[args(
    exclusive = "privatekey_path,privatekey_content",
    exclusive = "subject,subject_ordered",
    together = "authority_cert_issuer,authority_cert_serial_number"
)]
pub(crate) struct Request {
    /// The digest that is signed: `sha256`, `sha384`, `sha512`, `sha1` or `md5`.
    #[arg(default = "sha256")]
    digest: String,
    /// The file with the private key.
    pub(crate) privatekey_path: Option<String>,
    /// The private key itself.
    #[arg(secret)]
    pub(crate) privatekey_content: Option<String>,
    /// The passphrase that the private key is sealed with.
    #[arg(secret)]
    privatekey_passphrase: Option<String>,
    /// The version of requests; there is one.
    #[arg(default = "1")]
    version: i64,
    /// Attributes of the subject's name, beside those that have options of their own.
    subject: Option<Map>,
    /// All attributes of the subject's name in order: mappings of one attribute.
    subject_ordered: Vec<Map>,
    /// The country, two letters.
    #[arg(alias = "C", alias = "countryName")]
    country_name: Option<String>,
    /// The state or province.
    #[arg(alias = "ST", alias = "stateOrProvinceName")]
    state_or_province_name: Option<String>,
    /// The place.
    #[arg(alias = "L", alias = "localityName")]
    locality_name: Option<String>,
    /// The organization.
    #[arg(alias = "O", alias = "organizationName")]
    organization_name: Option<String>,
    /// The part of the organization.
    #[arg(alias = "OU", alias = "organizationalUnitName")]
    organizational_unit_name: Option<String>,
    /// The name.
    #[arg(alias = "CN", alias = "commonName")]
    common_name: Option<String>,
    /// The address for mail.
    #[arg(alias = "E", alias = "emailAddress")]
    email_address: Option<String>,
    /// Other names: `DNS:example.org`, `IP:192.0.2.1`, `email:…`, `URI:…`, `RID:…`, `dirName:…`, `otherName:…`.
    #[arg(alias = "subjectAltName")]
    subject_alt_name: Option<Vec<String>>,
    /// Whether who does not understand other names must refuse the certificate.
    #[arg(alias = "subjectAltName_critical")]
    subject_alt_name_critical: bool,
    /// Whether the common name is the other name where there is none.
    #[arg(default = "true", alias = "useCommonNameForSAN")]
    use_common_name_for_san: bool,
    /// What the key may be used for, such as `digitalSignature`.
    #[arg(alias = "keyUsage")]
    key_usage: Option<Vec<String>>,
    /// Whether that is critical.
    #[arg(alias = "keyUsage_critical")]
    key_usage_critical: bool,
    /// Further uses, such as `serverAuth`, or their numbers.
    #[arg(alias = "extKeyUsage", alias = "extendedKeyUsage")]
    extended_key_usage: Option<Vec<String>>,
    /// Whether that is critical.
    #[arg(alias = "extKeyUsage_critical", alias = "extendedKeyUsage_critical")]
    extended_key_usage_critical: bool,
    /// Whether it is an authority's: `CA:TRUE`, `pathlen:0`.
    #[arg(alias = "basicConstraints")]
    basic_constraints: Option<Vec<String>>,
    /// Whether that is critical.
    #[arg(alias = "basicConstraints_critical")]
    basic_constraints_critical: bool,
    /// Whether servers must bring the answer of OCSP along.
    #[arg(alias = "ocspMustStaple")]
    ocsp_must_staple: bool,
    /// Whether that is critical.
    #[arg(alias = "ocspMustStaple_critical")]
    ocsp_must_staple_critical: bool,
    /// Names that the authority may vouch for.
    name_constraints_permitted: Vec<String>,
    /// Names that the authority may not vouch for.
    name_constraints_excluded: Vec<String>,
    /// Whether that is critical.
    name_constraints_critical: bool,
    /// Whether the key is identified by its digest.
    create_subject_key_identifier: bool,
    /// How the key is identified: bytes in hexadecimal with colons.
    subject_key_identifier: Option<String>,
    /// How the authority's key is identified: bytes in hexadecimal with colons.
    authority_key_identifier: Option<String>,
    /// The names of the authority.
    authority_cert_issuer: Option<Vec<String>>,
    /// The number of the authority's certificate.
    authority_cert_serial_number: Option<Value>,
    /// Where revoked certificates are listed: mappings of `full_name`, `relative_name`, `crl_issuer` and `reasons`.
    crl_distribution_points: Vec<Map>,
    /// Accepted without effect.
    #[arg(default = "auto", choices = "auto,cryptography")]
    select_crypto_backend: String,
}

/// Attributes of a mapping, whose values are texts or lists of texts.
fn pairs(map: &Map, what: &str) -> Result<Vec<(String, String)>, Failure> {
    let mut out = Vec::new();
    for (name, value) in map.pairs() {
        let values = match &value {
            Value::List(_) => string_list(&value)?,
            other => vec![other.to_string()],
        };
        for value in values {
            if value.is_empty() {
                return Err(Failure::new(format!("Value for {name} in {what} must not be an empty string")));
            }
            out.push((name.to_string(), value));
        }
    }
    Ok(out)
}

fn bytes(text: &str, what: &str) -> Result<OctetString, Failure> {
    let bytes = unhex(&text.replace(':', "")).ok_or_else(|| format!("Cannot parse {what}: {text}"))?;
    OctetString::new(bytes).map_err(|e| Failure::new(e.to_string()))
}

fn generals(names: &[String], what: &str) -> Result<Vec<GeneralName>, String> {
    names.iter().map(|name| general(name, what)).collect()
}

/// A place where revoked certificates are listed.
fn distribution_point(given: &Map) -> Result<DistributionPoint, String> {
    let list = |key: &str| -> Result<Option<Vec<String>>, String> {
        let given = given.get(key).filter(|value| !value.is_none());
        let names = given.map(|value| string_list(&value)).transpose()?;
        match &names {
            Some(names) if names.is_empty() && key != "reasons" => Err(format!("{key} must not be empty")),
            _ => Ok(names),
        }
    };
    let name = match (list("full_name")?, list("relative_name")?) {
        (Some(_), Some(_)) => return Err("full_name and relative_name are mutually exclusive".into()),
        (Some(names), None) => Some(DistributionPointName::FullName(generals(&names, "full name")?)),
        (None, Some(parts)) => {
            let parts = parts.iter().map(|part| {
                let (name, value) = part
                    .split_once('=')
                    .ok_or_else(|| format!("Error while parsing relative distinguished name '{part}'"))?;
                attribute(name.trim(), value.trim_start())
            });
            let level = RelativeDistinguishedName::try_from(parts.collect::<Result<Vec<_>, _>>()?);
            Some(DistributionPointName::NameRelativeToCRLIssuer(level.map_err(|e| e.to_string())?))
        }
        (None, None) => None,
    };
    let crl_issuer = list("crl_issuer")?.map(|names| generals(&names, "CRL issuer")).transpose()?;
    if name.is_none() && crl_issuer.is_none() {
        return Err("one of the following is required: full_name, relative_name, crl_issuer".into());
    }
    let mut flags = None;
    for reason in list("reasons")?.into_iter().flatten() {
        *flags.get_or_insert_with(der::flagset::FlagSet::default) |= match reason.as_str() {
            "key_compromise" => Reasons::KeyCompromise,
            "ca_compromise" => Reasons::CaCompromise,
            "affiliation_changed" => Reasons::AffiliationChanged,
            "superseded" => Reasons::Superseded,
            "cessation_of_operation" => Reasons::CessationOfOperation,
            "certificate_hold" => Reasons::CertificateHold,
            "privilege_withdrawn" => Reasons::PrivilegeWithdrawn,
            "aa_compromise" => Reasons::AaCompromise,
            other => return Err(format!("{other} is no reason")),
        };
    }
    Ok(DistributionPoint { distribution_point: name, reasons: flags, crl_issuer })
}

/// What is asked for, worked out.
pub(crate) struct Wanted {
    pub(crate) key: Key,
    pub(crate) subject: Vec<(String, String)>,
    is_ordered: bool,
    other_names: Option<Vec<String>>,
    extensions: Vec<Extension>,
}

impl Request {
    fn subject(&self) -> Result<(Vec<(String, String)>, bool), Failure> {
        let single = [
            ("C", &self.country_name),
            ("ST", &self.state_or_province_name),
            ("L", &self.locality_name),
            ("O", &self.organization_name),
            ("OU", &self.organizational_unit_name),
            ("CN", &self.common_name),
            ("emailAddress", &self.email_address),
        ];
        let filled = single.iter().filter_map(|(name, value)| {
            let value = value.as_ref().filter(|value| !value.is_empty())?;
            Some(((*name).to_owned(), value.clone()))
        });
        let mut subject: Vec<_> = filled.collect();
        if let Some(map) = &self.subject {
            subject.extend(pairs(map, "subject")?);
        }
        if self.subject_ordered.is_empty() {
            return Ok((subject, false));
        }
        if !subject.is_empty() {
            return Err("subject_ordered cannot be combined with any other subject field".into());
        }
        for (at, map) in self.subject_ordered.iter().enumerate() {
            if map.len() != 1 {
                let why = format!(
                    "Entry #{at} in subject_ordered must be a dictionary with exactly one key-value pair"
                );
                return Err(Failure::new(why));
            }
            subject.extend(pairs(map, "subject_ordered")?);
        }
        Ok((subject, true))
    }

    fn extensions(&self, key: &Key, other_names: Option<&[String]>) -> Result<Vec<Extension>, Failure> {
        let mut all = Vec::new();
        if let Some(names) = other_names.filter(|names| !names.is_empty()) {
            let names = SubjectAltName(generals(names, "Subject Alternative Name")?);
            all.push(extension(&names, self.subject_alt_name_critical)?);
        }
        if let Some(uses) = self.key_usage.as_ref().filter(|uses| !uses.is_empty()) {
            all.push(extension(&extensions::key_usage(uses)?, self.key_usage_critical)?);
        }
        if let Some(uses) = self.extended_key_usage.as_ref().filter(|uses| !uses.is_empty()) {
            all.push(extension(&extensions::extended_key_usage(uses)?, self.extended_key_usage_critical)?);
        }
        if let Some(constraints) = self.basic_constraints.as_ref().filter(|c| !c.is_empty()) {
            all.push(extension(
                &extensions::basic_constraints(constraints)?,
                self.basic_constraints_critical,
            )?);
        }
        if self.ocsp_must_staple {
            let (extn_id, value) = extensions::MUST_STAPLE;
            let extn_value = OctetString::new(value).map_err(|e| e.to_string())?;
            all.push(Extension { extn_id, critical: self.ocsp_must_staple_critical, extn_value });
        }
        let (permitted, excluded) = (&self.name_constraints_permitted, &self.name_constraints_excluded);
        if !permitted.is_empty() || !excluded.is_empty() {
            let constraints = extensions::name_constraints(permitted, excluded)?;
            all.push(extension(&constraints, self.name_constraints_critical)?);
        }
        if self.create_subject_key_identifier {
            if self.subject_key_identifier.is_some() {
                return Err(
                    "subject_key_identifier cannot be specified if create_subject_key_identifier is true"
                        .into(),
                );
            }
            all.push(extension(&signed::identifier(&signed::public(key)?)?, false)?);
        } else if let Some(text) = &self.subject_key_identifier {
            all.push(extension(&SubjectKeyIdentifier(bytes(text, "subject_key_identifier")?), false)?);
        }
        let (id, issuer, serial) =
            (&self.authority_key_identifier, &self.authority_cert_issuer, &self.authority_cert_serial_number);
        if id.is_some() || issuer.is_some() || serial.is_some() {
            let number = |serial: &Value| {
                let number = serial.as_int().or_else(|| serial.to_string().trim().parse().ok());
                let bytes =
                    number.ok_or_else(|| format!("authority_cert_serial_number: {serial} is no number"))?;
                SerialNumber::new(&bytes.to_be_bytes()).map_err(|e| e.to_string())
            };
            let identifier = AuthorityKeyIdentifier {
                key_identifier: id.as_ref().map(|id| bytes(id, "authority_key_identifier")).transpose()?,
                authority_cert_issuer: issuer
                    .as_ref()
                    .map(|names| generals(names, "authority cert issuer"))
                    .transpose()?,
                authority_cert_serial_number: serial.as_ref().map(number).transpose()?,
            };
            all.push(extension(&identifier, false)?);
        }
        if !self.crl_distribution_points.is_empty() {
            let points = self.crl_distribution_points.iter().enumerate().map(|(at, point)| {
                distribution_point(point)
                    .map_err(|e| format!("Error while parsing CRL distribution point #{at}: {e}"))
            });
            all.push(extension(&CrlDistributionPoints(points.collect::<Result<_, _>>()?), false)?);
        }
        Ok(all)
    }

    /// Works out what is asked for, with the key.
    ///
    /// # Errors
    /// Says what cannot be read.
    pub(crate) fn wanted(&self, host: &Host) -> Result<Wanted, Failure> {
        if self.version != 1 {
            return Err(Failure::new(format!("value of version must be one of: 1, got: {}", self.version)));
        }
        let (subject, is_ordered) = self.subject()?;
        let name = subject.iter().find(|(name, _)| matches!(name.as_str(), "CN" | "commonName"));
        let given = self.subject_alt_name.clone();
        let other_names = match name {
            Some((_, name)) if self.use_common_name_for_san && given.as_ref().is_none_or(Vec::is_empty) => {
                Some(vec![format!("DNS:{name}")])
            }
            _ => given,
        };
        let (path, given) = (self.privatekey_path.as_deref(), self.privatekey_content.as_deref());
        let key =
            private_key(&content(host, path, given, "private key")?, self.privatekey_passphrase.as_deref())?;
        let extensions = self.extensions(&key, other_names.as_deref())?;
        Ok(Wanted { key, subject, is_ordered, other_names, extensions })
    }

    /// Whether what a request holds is what is wanted (`_check_csr`).
    pub(crate) fn fits(&self, wanted: &Wanted, held: &[u8]) -> Result<bool, Failure> {
        let Ok(request) = signed::read_request(held) else { return Ok(false) };
        let mut subject = Vec::new();
        for (name, value) in &wanted.subject {
            subject.push((object(name)?.to_string(), value.clone()));
        }
        let mut held = attributes(&request.info.subject);
        if !wanted.is_ordered {
            for list in [&mut subject, &mut held] {
                list.sort();
                list.dedup();
            }
        }
        Ok(subject == held
            && extensions::are_equal(&signed::extensions_of(&request), &wanted.extensions)
            && signed::is_request_signed(&request)
            && request.info.public_key == signed::public(&wanted.key)?)
    }

    /// The request itself, as text.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn make(&self, wanted: &Wanted) -> Result<String, Failure> {
        let subject = distinguished(&wanted.subject)?;
        Ok(signed::make_request(subject, wanted.extensions.clone(), &wanted.key, &self.digest)?)
    }

    /// What the result says of what was asked.
    pub(crate) fn told(&self, outcome: Outcome, wanted: Option<&Wanted>) -> Outcome {
        let subject = wanted.map(|wanted| &wanted.subject).into_iter().flatten();
        let subject: Vec<Value> =
            subject.map(|(n, v)| Value::list(vec![n.as_str().into(), v.as_str().into()])).collect();
        let list = |names: Option<&Vec<String>>| {
            names.map(|names| names.iter().map(Value::from).collect::<Vec<_>>())
        };
        outcome
            .with("privatekey", self.privatekey_path.clone())
            .with("subject", subject)
            .with("subjectAltName", list(wanted.and_then(|wanted| wanted.other_names.as_ref())))
            .with("keyUsage", list(self.key_usage.as_ref()))
            .with("extendedKeyUsage", list(self.extended_key_usage.as_ref()))
            .with("basicConstraints", list(self.basic_constraints.as_ref()))
            .with("ocspMustStaple", self.ocsp_must_staple)
            .with("name_constraints_permitted", list(Some(&self.name_constraints_permitted)))
            .with("name_constraints_excluded", list(Some(&self.name_constraints_excluded)))
    }
}
