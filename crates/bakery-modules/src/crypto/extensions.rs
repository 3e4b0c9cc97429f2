//! What a request asks for beside a name and a key: uses, other names, constraints (RFC 5280, 4.2).

use const_oid::AssociatedOid;
use der::asn1::OctetString;
use der::{Decode, Encode};
use x509_cert::ext::pkix::constraints::name::GeneralSubtree;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, CrlDistributionPoints, ExtendedKeyUsage, KeyUsage, KeyUsages,
    NameConstraints, SubjectAltName, SubjectKeyIdentifier,
};
use x509_cert::ext::{Extension, Extensions};

use super::names::{general, object};

/// Status requests (OCSP must staple) as their extension has them: a list with the number 5 (RFC 7633).
pub(crate) const MUST_STAPLE: (const_oid::ObjectIdentifier, [u8; 5]) =
    (const_oid::ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.24"), [0x30, 0x03, 0x02, 0x01, 0x05]);

/// Every extension that requests made here can have.
const KNOWN: [const_oid::ObjectIdentifier; 9] = [
    SubjectAltName::OID,
    KeyUsage::OID,
    ExtendedKeyUsage::OID,
    BasicConstraints::OID,
    MUST_STAPLE.0,
    NameConstraints::OID,
    SubjectKeyIdentifier::OID,
    AuthorityKeyIdentifier::OID,
    CrlDistributionPoints::OID,
];

/// An extension with its value.
///
/// # Errors
/// When it cannot be encoded.
pub(crate) fn extension<T: AssociatedOid + Encode>(value: &T, critical: bool) -> Result<Extension, String> {
    let extn_value = value.to_der().and_then(OctetString::new).map_err(|e| e.to_string())?;
    Ok(Extension { extn_id: T::OID, critical, extn_value })
}

/// The value of an extension, if it is among these.
pub(crate) fn find<'a, T: AssociatedOid + Decode<'a>>(extensions: &'a [Extension]) -> Option<T> {
    let found = extensions.iter().find(|extension| extension.extn_id == T::OID)?;
    T::from_der(found.extn_value.as_bytes()).ok()
}

/// What a key may be used for, by the names that OpenSSL has for it.
///
/// # Errors
/// Names a use that is not known.
pub(crate) fn key_usage(uses: &[String]) -> Result<KeyUsage, String> {
    let mut flags = der::flagset::FlagSet::default();
    for name in uses {
        flags |= match name.as_str() {
            "Digital Signature" | "digitalSignature" => KeyUsages::DigitalSignature,
            "Non Repudiation" | "nonRepudiation" => KeyUsages::NonRepudiation,
            "Key Encipherment" | "keyEncipherment" => KeyUsages::KeyEncipherment,
            "Data Encipherment" | "dataEncipherment" => KeyUsages::DataEncipherment,
            "Key Agreement" | "keyAgreement" => KeyUsages::KeyAgreement,
            "Certificate Sign" | "keyCertSign" => KeyUsages::KeyCertSign,
            "CRL Sign" | "cRLSign" => KeyUsages::CRLSign,
            "Encipher Only" | "encipherOnly" => KeyUsages::EncipherOnly,
            "Decipher Only" | "decipherOnly" => KeyUsages::DecipherOnly,
            other => return Err(format!("Unknown key usage \"{other}\"")),
        };
    }
    let is_agreement = flags.contains(KeyUsages::KeyAgreement);
    if !is_agreement && !flags.is_disjoint(KeyUsages::EncipherOnly | KeyUsages::DecipherOnly) {
        return Err("encipher_only and decipher_only can only be true when key_agreement is true".into());
    }
    Ok(KeyUsage(flags))
}

/// Further uses, by name or number.
///
/// # Errors
/// Names a use that is not known.
pub(crate) fn extended_key_usage(uses: &[String]) -> Result<ExtendedKeyUsage, String> {
    uses.iter().map(|name| object(name)).collect::<Result<_, _>>().map(ExtendedKeyUsage)
}

/// Whether a certificate is an authority's, and how many may stand below it: `CA:TRUE`, `pathlen:0`.
///
/// # Errors
/// Names a constraint that is not known.
pub(crate) fn basic_constraints(constraints: &[String]) -> Result<BasicConstraints, String> {
    let mut made = BasicConstraints { ca: false, path_len_constraint: None };
    for constraint in constraints {
        match constraint.split_once(':') {
            Some(("CA", "TRUE")) => made.ca = true,
            Some(("CA", "FALSE")) => made.ca = false,
            Some(("CA", other)) => return Err(format!("Unknown basic constraint value \"{other}\" for CA")),
            Some(("pathlen", length)) => {
                let number = length.trim().parse();
                made.path_len_constraint = Some(
                    number.map_err(|e| format!("Cannot parse path length constraint \"{length}\" ({e})"))?,
                );
            }
            _ => return Err(format!("Unknown basic constraint \"{constraint}\"")),
        }
    }
    Ok(made)
}

/// The names that an authority may and may not vouch for.
///
/// # Errors
/// Names one that cannot be read.
pub(crate) fn name_constraints(permitted: &[String], excluded: &[String]) -> Result<NameConstraints, String> {
    let trees = |names: &[String], what: &str| -> Result<_, String> {
        let tree = |name: &String| {
            let base =
                general(name, what).map_err(|e| format!("Error while parsing name constraint: {e}"))?;
            Ok(GeneralSubtree { base, minimum: 0, maximum: None })
        };
        let trees = names.iter().map(tree).collect::<Result<Vec<_>, String>>()?;
        Ok((!trees.is_empty()).then_some(trees))
    };
    Ok(NameConstraints {
        permitted_subtrees: trees(permitted, "name constraints permitted")?,
        excluded_subtrees: trees(excluded, "name constraints excluded")?,
    })
}

/// Whether two lists of extensions say the same; the order of names and uses does not matter, and extensions that
/// requests made here never have are not looked at (`_check_extensions` in `module_backends/csr.py`).
pub(crate) fn are_equal(one: &Extensions, other: &Extensions) -> bool {
    let of = |extensions: &Extensions, oid| {
        extensions.iter().find(|e| e.extn_id == oid).map(|e| (e.critical, sorted(e)))
    };
    KNOWN.iter().all(|oid| of(one, *oid) == of(other, *oid))
}

/// The value of an extension with what has no order sorted.
fn sorted(extension: &Extension) -> Vec<u8> {
    let raw = extension.extn_value.as_bytes();
    let of = |values: Vec<Vec<u8>>| {
        let mut values = values;
        values.sort();
        values.dedup();
        values.concat()
    };
    let encoded = |value: &dyn Fn() -> der::Result<Vec<u8>>| value().unwrap_or_default();
    match extension.extn_id {
        id if id == SubjectAltName::OID => match SubjectAltName::from_der(raw) {
            Ok(names) => of(names.0.iter().map(|name| encoded(&|| name.to_der())).collect()),
            Err(_) => raw.to_vec(),
        },
        id if id == ExtendedKeyUsage::OID => match ExtendedKeyUsage::from_der(raw) {
            Ok(uses) => of(uses.0.iter().map(|oid| oid.as_bytes().to_vec()).collect()),
            Err(_) => raw.to_vec(),
        },
        id if id == NameConstraints::OID => match NameConstraints::from_der(raw) {
            Ok(names) => [names.permitted_subtrees, names.excluded_subtrees]
                .into_iter()
                .flat_map(|trees| {
                    let trees = trees.unwrap_or_default();
                    [of(trees.iter().map(|tree| encoded(&|| tree.to_der())).collect()), vec![0]].concat()
                })
                .collect(),
            Err(_) => raw.to_vec(),
        },
        _ => raw.to_vec(),
    }
}
