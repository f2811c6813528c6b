//! Certificates of nodes: Ed25519, one URI SAN, one authority per kind of node.
//!
//! A certificate says "this key is that node" and nothing else. Each kind of node has an authority of its own, so
//! that the edges' authority cannot make a voter. There are no name constraints: they cannot restrict a SPIFFE
//! path. Serial and validity are handed in, and Ed25519 is deterministic, so the same inputs give the same
//! certificate. Clauses T-30 to T-33, docs/PROTOCOL.md.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm,
};
pub use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::OID_SIG_ED25519;

use super::spiffe::{NodeKind, SpiffeId};
use crate::crypto::digest::Digest;
use crate::crypto::sign::{PublicKey, SigningKey};
use crate::id::MeshId;
use crate::time::Timestamp;

/// From when until when, in whole seconds; milliseconds are cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// First second.
    pub not_before: Timestamp,
    /// Last second.
    pub not_after: Timestamp,
}

/// A certificate cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum CannotIssue {
    /// The encoder refuses.
    #[error("the certificate cannot be encoded")]
    Encoder(#[from] rcgen::Error),
    /// The authority's key and certificate do not belong together.
    #[error("the key is not the authority's")]
    NotItsKey,
    /// The times are beyond what a certificate can say.
    #[error("the validity ends before it begins, or after the year 2200")]
    Validity,
}

/// A certificate names no node of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificate {
    /// Not X.509, or bytes behind it.
    #[error("not an X.509 certificate")]
    Malformed,
    /// Not exactly one subject alternative name, or not a URI.
    #[error("a node's certificate has exactly one subject alternative name, a URI")]
    NotOneUri,
    /// The URI is no node's.
    #[error("the URI is not the SPIFFE id of a node")]
    NotANode,
    /// The key is not a usable Ed25519 key.
    #[error("the key is not a usable Ed25519 key")]
    Key,
    /// It says it is an authority.
    #[error("a node's certificate is not an authority's")]
    Authority,
    /// Another authority's, or nobody's.
    #[error("the authority has not signed this certificate")]
    NotIssued,
}

/// How long before it is made a certificate that voters issue begins, for clocks that differ.
pub const BACKDATED: std::time::Duration = std::time::Duration::from_secs(300);

/// How long after its certificate has ended an edge may still have another one by it (clause J-14).
pub const GRACE: std::time::Duration = std::time::Duration::from_secs(7 * 86_400);

/// Our key, as the certificate library wants to see a signer.
pub(super) struct Signer<'a>(pub(super) &'a SigningKey);

impl PublicKeyData for Signer<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.public().as_bytes()
    }
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

impl rcgen::SigningKey for Signer<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.0.sign(message).0.to_vec())
    }
}

/// A subject's public key; its private half stays with the node.
pub(super) struct Subject<'a>(pub(super) &'a PublicKey);

impl PublicKeyData for Subject<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ED25519
    }
}

/// Makes the self-signed authority for one kind of node.
///
/// # Errors
/// [`CannotIssue`].
pub fn issue_ca(
    key: &SigningKey,
    mesh: &MeshId,
    kind: NodeKind,
    serial: u64,
    validity: Validity,
) -> Result<CertificateDer<'static>, CannotIssue> {
    let mut params = params(serial, validity)?;
    params.distinguished_name.push(DnType::CommonName, format!("{kind} authority of mesh {mesh}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params.self_signed(&Signer(key))?.der().clone())
}

/// Issues a node's certificate: client and server use, exactly one URI SAN.
///
/// # Errors
/// [`CannotIssue`].
pub fn issue_node(
    ca: &CertificateDer<'_>,
    ca_key: &SigningKey,
    id: &SpiffeId,
    key: &PublicKey,
    serial: u64,
    validity: Validity,
) -> Result<CertificateDer<'static>, CannotIssue> {
    let (_, authority) = x509_parser::parse_x509_certificate(ca).map_err(|_| CannotIssue::NotItsKey)?;
    if authority.public_key().subject_public_key.data.as_ref() != ca_key.public().as_bytes() {
        return Err(CannotIssue::NotItsKey);
    }
    let issuer = Issuer::from_ca_cert_der(ca, Signer(ca_key))?;
    let mut params = params(serial, validity)?;
    params.distinguished_name.push(DnType::CommonName, id.to_string());
    params.subject_alt_names = vec![SanType::URI(id.to_string().try_into()?)];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    Ok(params.signed_by(&Subject(key), &issuer)?.der().clone())
}

/// Makes a certificate that says nothing but which key a connection is of: no name, signed by the key itself.
///
/// # Errors
/// [`CannotIssue`].
pub fn issue_for_key(key: &SigningKey, validity: Validity) -> Result<CertificateDer<'static>, CannotIssue> {
    let mut params = params(1, validity)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params.self_signed(&Signer(key))?.der().clone())
}

pub(super) fn params(serial: u64, validity: Validity) -> Result<CertificateParams, CannotIssue> {
    const YEAR_2200: Timestamp = Timestamp::from_secs(7_258_118_400);
    if validity.not_before > validity.not_after || validity.not_after >= YEAR_2200 {
        return Err(CannotIssue::Validity);
    }
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let at = |time: Timestamp| epoch + std::time::Duration::from_secs(time.as_secs());
    let mut params = CertificateParams::default();
    params.not_before = at(validity.not_before);
    params.not_after = at(validity.not_after);
    params.serial_number = Some(SerialNumber::from(serial));
    params.distinguished_name = DistinguishedName::new();
    Ok(params)
}

/// The certificate in PEM, as files and configurations carry it.
#[must_use]
pub fn to_pem(certificate: &CertificateDer<'_>) -> String {
    let body = crate::text::base64(certificate);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in body.as_bytes().chunks(64) {
        out.extend(line.iter().map(|byte| char::from(*byte)));
        out.push('\n');
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
}

/// The node and the key that a certificate names. Checks no signature and no time: TLS has done that against the
/// anchor of the kind that was expected, and the caller compares the kind and asks the directory about the key.
///
/// # Errors
/// [`BadCertificate`].
pub fn identity_of(certificate: &CertificateDer<'_>) -> Result<(SpiffeId, PublicKey), BadCertificate> {
    let (rest, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|_| BadCertificate::Malformed)?;
    if !rest.is_empty() {
        return Err(BadCertificate::Malformed);
    }
    if parsed.is_ca() {
        return Err(BadCertificate::Authority);
    }
    let mut names = parsed.extensions().iter().filter_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => Some(names.general_names.as_slice()),
        _ => None,
    });
    let (Some([GeneralName::URI(uri)]), None) = (names.next(), names.next()) else {
        return Err(BadCertificate::NotOneUri);
    };
    let id = uri.parse().map_err(|_| BadCertificate::NotANode)?;
    Ok((id, key_of(&parsed)?))
}

/// The key that a certificate is for, whatever else it says.
///
/// # Errors
/// [`BadCertificate::Malformed`] or [`BadCertificate::Key`].
pub fn ed25519_key_of(certificate: &CertificateDer<'_>) -> Result<PublicKey, BadCertificate> {
    match x509_parser::parse_x509_certificate(certificate) {
        Ok(([], parsed)) => key_of(&parsed),
        Ok(_) | Err(_) => Err(BadCertificate::Malformed),
    }
}

/// SHA-256 of a certificate's public key, as it stands there (`SubjectPublicKeyInfo`): what a join token pins.
///
/// # Errors
/// [`BadCertificate::Malformed`].
pub fn key_pin(certificate: &CertificateDer<'_>) -> Result<Digest, BadCertificate> {
    match x509_parser::parse_x509_certificate(certificate) {
        Ok(([], parsed)) => Ok(Digest::of(&[parsed.public_key().raw])),
        Ok(_) | Err(_) => Err(BadCertificate::Malformed),
    }
}

/// From when until when a certificate counts.
///
/// # Errors
/// [`BadCertificate::Malformed`].
pub fn validity_of(certificate: &CertificateDer<'_>) -> Result<Validity, BadCertificate> {
    let ([], parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|_| BadCertificate::Malformed)? else {
        return Err(BadCertificate::Malformed);
    };
    let at = |time: x509_parser::time::ASN1Time| {
        u64::try_from(time.timestamp()).map(Timestamp::from_secs).map_err(|_| BadCertificate::Malformed)
    };
    Ok(Validity { not_before: at(parsed.validity().not_before)?, not_after: at(parsed.validity().not_after)? })
}

/// The node and the key of a certificate that this authority signed, whenever it counts.
///
/// # Errors
/// [`BadCertificate`].
pub fn issued_by(
    certificate: &CertificateDer<'_>,
    authority: &CertificateDer<'_>,
) -> Result<(SpiffeId, PublicKey), BadCertificate> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|_| BadCertificate::Malformed)?;
    let (_, authority) = x509_parser::parse_x509_certificate(authority).map_err(|_| BadCertificate::Malformed)?;
    parsed.verify_signature(Some(authority.public_key())).map_err(|_| BadCertificate::NotIssued)?;
    identity_of(certificate)
}

fn key_of(parsed: &X509Certificate<'_>) -> Result<PublicKey, BadCertificate> {
    let spki = parsed.public_key();
    if spki.algorithm.algorithm != OID_SIG_ED25519 || spki.subject_public_key.unused_bits != 0 {
        return Err(BadCertificate::Key);
    }
    PublicKey::from_bytes(&spki.subject_public_key.data).map_err(|_| BadCertificate::Key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zeroize::Zeroizing;

    use super::super::spiffe::NodeRole;
    use super::*;
    use crate::id::VoterId;

    const MESH: MeshId = MeshId([7; 16]);

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(Zeroizing::new([seed; 32])).unwrap()
    }

    fn validity() -> Validity {
        Validity { not_before: Timestamp::from_secs(1_700_000_000), not_after: Timestamp::from_secs(1_702_592_000) }
    }

    fn voter() -> SpiffeId {
        SpiffeId { mesh: MESH, role: NodeRole::Voter(VoterId(2)) }
    }

    fn edge() -> SpiffeId {
        let role = NodeRole::Edge { region: "eu-west".parse().unwrap(), edge: "eu-west-1".parse().unwrap() };
        SpiffeId { mesh: MESH, role }
    }

    fn authority(seed: u8) -> CertificateDer<'static> {
        issue_ca(&key(seed), &MESH, NodeKind::Voter, 1, validity()).unwrap()
    }

    #[test]
    fn a_certificate_names_its_node_and_its_key_and_comes_out_the_same_twice() {
        // Clause T-31.
        let ca = authority(1);
        for id in [voter(), edge()] {
            let issue = || issue_node(&ca, &key(1), &id, key(2).public(), 9, validity()).unwrap();
            assert_eq!(issue(), issue());
            assert_eq!(identity_of(&issue()), Ok((id.clone(), *key(2).public())));
        }
        assert_eq!(identity_of(&ca), Err(BadCertificate::Authority));
    }

    #[test]
    fn the_authority_signed_it_and_nobody_else_did() {
        // Clause T-33.
        let (one, other) = (authority(1), authority(2));
        let certificate = issue_node(&one, &key(1), &voter(), key(3).public(), 9, validity()).unwrap();
        let (_, certificate) = x509_parser::parse_x509_certificate(&certificate).unwrap();
        for (ca, expected) in [(&one, true), (&other, false)] {
            let (_, ca) = x509_parser::parse_x509_certificate(ca).unwrap();
            assert_eq!(certificate.verify_signature(Some(ca.public_key())).is_ok(), expected);
        }
        let certificate = issue_node(&one, &key(1), &voter(), key(3).public(), 9, validity()).unwrap();
        assert_eq!(issued_by(&certificate, &one), Ok((voter(), *key(3).public())));
        assert_eq!(issued_by(&certificate, &other), Err(BadCertificate::NotIssued));
        assert_eq!(validity_of(&certificate), Ok(validity()));
        let wrong = issue_node(&one, &key(2), &voter(), key(3).public(), 9, validity());
        assert!(matches!(wrong, Err(CannotIssue::NotItsKey)));
    }

    #[test]
    fn two_names_a_dns_name_or_none_is_no_node() {
        // Clause T-32.
        let ca_key = key(1);
        let ca = authority(1);
        let issuer = Issuer::from_ca_cert_der(&ca, Signer(&ca_key)).unwrap();
        let make = |names: Vec<SanType>| {
            let mut params = params(3, validity()).unwrap();
            params.subject_alt_names = names;
            params.signed_by(&Subject(key(3).public()), &issuer).unwrap().der().clone()
        };
        let uri = |id: &str| SanType::URI(id.try_into().unwrap());
        let voter = voter().to_string();
        let check = |names, expected| assert_eq!(identity_of(&make(names)), Err(expected));
        check(vec![], BadCertificate::NotOneUri);
        check(vec![uri(&voter), uri(&edge().to_string())], BadCertificate::NotOneUri);
        check(vec![uri(&voter), SanType::DnsName("localhost".try_into().unwrap())], BadCertificate::NotOneUri);
        check(vec![SanType::DnsName("localhost".try_into().unwrap())], BadCertificate::NotOneUri);
        check(vec![uri("spiffe://example.org/voter/1")], BadCertificate::NotANode);
    }

    /// J-2: another certificate of the same key keeps the pin; another key does not.
    #[test]
    fn a_pin_is_the_keys() {
        let later = Validity { not_before: Timestamp::from_secs(1_710_000_000), ..validity() };
        let later = Validity { not_after: Timestamp::from_secs(1_800_000_000), ..later };
        let again = issue_ca(&key(1), &MESH, NodeKind::Voter, 2, later).unwrap();
        assert_ne!(again, authority(1));
        assert_eq!(key_pin(&again), key_pin(&authority(1)));
        assert_ne!(key_pin(&authority(2)), key_pin(&authority(1)));
        // RFC 8410: the algorithm and the 32 bytes of the key.
        let spki = [crate::text::from_hex("302a300506032b6570032100").unwrap(), key(1).public().as_bytes().to_vec()];
        assert_eq!(key_pin(&authority(1)), Ok(Digest::of(&[&spki.concat()])));
        assert_eq!(key_pin(&CertificateDer::from(vec![1, 2])), Err(BadCertificate::Malformed));
    }

    #[test]
    fn a_validity_that_no_certificate_can_say_is_refused() {
        let refused = |not_before, not_after| {
            let validity = Validity { not_before, not_after };
            let refused = issue_ca(&key(1), &MESH, NodeKind::Edge, 1, validity);
            assert!(matches!(refused, Err(CannotIssue::Validity)));
        };
        refused(Timestamp::from_secs(2), Timestamp::from_secs(1));
        refused(Timestamp::from_secs(2), Timestamp::MAX);
    }

    proptest! {
        #[test]
        fn arbitrary_and_mutated_bytes_never_panic(
            noise in proptest::collection::vec(any::<u8>(), 0..200), at in 0usize..400, byte: u8,
        ) {
            let noise = CertificateDer::from(noise);
            prop_assert!(identity_of(&noise).is_err() && key_pin(&noise).is_err() && validity_of(&noise).is_err());
            let certificate = issue_node(&authority(1), &key(1), &voter(), key(2).public(), 9, validity()).unwrap();
            let mut bytes = certificate.to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            let changed = CertificateDer::from(bytes);
            let _ = (identity_of(&changed), key_pin(&changed), validity_of(&changed), issued_by(&changed, &authority(1)));
        }
    }

    #[test]
    fn pem_has_lines_of_64_characters() {
        let text = to_pem(&CertificateDer::from([0; 60].as_slice()));
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[1].len(), 64);
        assert_eq!(lines[2].len(), 16);
    }
}
