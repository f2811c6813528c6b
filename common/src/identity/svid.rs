//! Identities of agents: X.509-SVIDs of SPIFFE trust domains that a bundle names.
//!
//! An SVID says "this key is that agent". It grants nothing and admits no connection; shown at the opening of a channel,
//! for the key that holds the envelope, it makes true what a hop only claimed of the agent it was handed to. Ed25519
//! throughout, and one authority directly above each agent: what else SPIFFE allows is refused by name. Clauses E-36 and
//! E-37.

use std::fmt;
use std::str::FromStr;

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyUsagePurpose, SanType};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::oid_registry::OID_SIG_ED25519;

use super::certificate::{CannotIssue, Signer, Subject, Validity, params};
use crate::crypto::sign::{PublicKey, Signature, SigningKey};
use crate::id::AgentId;
use crate::limits::CREDENTIAL_SHOWN_BYTES_MAX;
use crate::time::Timestamp;

const SCHEME: &str = "spiffe://";

/// The SPIFFE id of an agent: `spiffe://trust.domain/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentSpiffeId {
    text: AgentId,
    /// Where the path begins in the text.
    path_at: usize,
}

/// A text is not the SPIFFE id of an agent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a SPIFFE id with a path, of at most 128 bytes")]
pub struct InvalidAgentSpiffeId;

impl AgentSpiffeId {
    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> &str {
        self.text.as_str().get(SCHEME.len()..self.path_at).unwrap_or_default()
    }

    /// The path, which begins with `/`.
    #[must_use]
    pub fn path(&self) -> &str {
        self.text.as_str().get(self.path_at..).unwrap_or_default()
    }

    /// As a link names it.
    #[must_use]
    pub fn as_agent(&self) -> &AgentId {
        &self.text
    }
}

impl fmt::Display for AgentSpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text.as_str())
    }
}

/// Whether a text is the name of a trust domain.
#[must_use]
pub fn is_trust_domain(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(is_plain)
}

/// Whether a text is a path with segments in it, as SPIFFE wants them.
#[must_use]
pub fn is_path(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let is_segment =
        |segment: &str| !segment.is_empty() && segment != "." && segment != ".." && segment.bytes().all(is_plain);
    text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_segment))
}

impl FromStr for AgentSpiffeId {
    type Err = InvalidAgentSpiffeId;
    fn from_str(text: &str) -> Result<Self, InvalidAgentSpiffeId> {
        let rest = text.strip_prefix(SCHEME).ok_or(InvalidAgentSpiffeId)?;
        let slash = rest.find('/').ok_or(InvalidAgentSpiffeId)?;
        let (domain, path) = rest.split_at(slash);
        if !is_trust_domain(domain) || !is_path(path) {
            return Err(InvalidAgentSpiffeId);
        }
        let text: AgentId = text.parse().map_err(|_| InvalidAgentSpiffeId)?;
        Ok(Self { text, path_at: SCHEME.len().saturating_add(slash) })
    }
}

/// An X.509-SVID of an agent: its shape checked, its signature not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentSvid {
    id: AgentSpiffeId,
    key: PublicKey,
    validity: Validity,
    signed: Vec<u8>,
    signature: Signature,
}

/// Bytes are no X.509-SVID of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSvid {
    /// More than the bound.
    #[error("an SVID of more than {CREDENTIAL_SHOWN_BYTES_MAX} bytes")]
    TooLong,
    /// Not X.509, or bytes behind it.
    #[error("not an X.509 certificate")]
    Malformed,
    /// Not exactly one URI among its names, or not an agent's SPIFFE id.
    #[error("an SVID has exactly one name, the SPIFFE id of an agent")]
    Name,
    /// The key is not a usable Ed25519 key, or it is signed in another way.
    #[error("only Ed25519 is supported, for the key and for the signature")]
    Algorithm,
    /// It says it is an authority, or may not sign.
    #[error("an SVID is no authority, and its key may sign messages")]
    Usage,
    /// Something in it is critical, and not known here.
    #[error("an extension is critical and not known")]
    Critical,
}

/// An agent is not proven to be who a hop says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotThisAgent {
    /// It names another agent.
    #[error("the identity is another agent's than the envelope names")]
    OtherAgent,
    /// It is about another key.
    #[error("the identity is about another key than the one that holds the envelope")]
    OtherKey,
    /// The bundle knows no such trust domain.
    #[error("the bundle does not name the identity's trust domain")]
    UnknownDomain,
    /// No authority of the trust domain signed it.
    #[error("the identity is not signed by its trust domain")]
    Signature,
    /// It has ended, or has not begun.
    #[error("the identity does not count at this time")]
    Time,
    /// The bundle lists the path under no such class.
    #[error("the bundle does not say that this agent is of the class that the envelope names")]
    Class,
}

impl AgentSvid {
    /// Reads a certificate (DER).
    ///
    /// # Errors
    /// [`BadSvid`].
    pub fn parse(der: &[u8]) -> Result<Self, BadSvid> {
        if der.len() > CREDENTIAL_SHOWN_BYTES_MAX {
            return Err(BadSvid::TooLong);
        }
        let (rest, parsed) = x509_parser::parse_x509_certificate(der).map_err(|_| BadSvid::Malformed)?;
        if !rest.is_empty() {
            return Err(BadSvid::Malformed);
        }
        let ed25519 = |oid: &x509_parser::der_parser::Oid<'_>| *oid == OID_SIG_ED25519;
        let spki = parsed.public_key();
        if !ed25519(&parsed.signature_algorithm.algorithm)
            || !ed25519(&parsed.tbs_certificate.signature.algorithm)
            || !ed25519(&spki.algorithm.algorithm)
            || spki.subject_public_key.unused_bits != 0
            || parsed.signature_value.unused_bits != 0
        {
            return Err(BadSvid::Algorithm);
        }
        if !is_plainly_wrapped(der, parsed.tbs_certificate.as_ref(), &parsed.signature_value.data) {
            return Err(BadSvid::Malformed);
        }
        let key = PublicKey::from_bytes(&spki.subject_public_key.data).map_err(|_| BadSvid::Algorithm)?;
        let signature: [u8; 64] = parsed.signature_value.data.as_ref().try_into().map_err(|_| BadSvid::Algorithm)?;
        let (mut names, mut signs) = (None, false);
        for extension in parsed.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(found) if names.is_none() => {
                    names = Some(found.general_names.as_slice());
                }
                ParsedExtension::SubjectAlternativeName(_) => return Err(BadSvid::Name),
                ParsedExtension::KeyUsage(usage) => {
                    if usage.key_cert_sign() || usage.crl_sign() {
                        return Err(BadSvid::Usage);
                    }
                    signs = usage.digital_signature();
                }
                ParsedExtension::BasicConstraints(constraints) if constraints.ca => return Err(BadSvid::Usage),
                ParsedExtension::BasicConstraints(_) | ParsedExtension::ExtendedKeyUsage(_) => {}
                _ if extension.critical => return Err(BadSvid::Critical),
                _ => {}
            }
        }
        if !signs {
            return Err(BadSvid::Usage);
        }
        let Some([GeneralName::URI(uri)]) = names else { return Err(BadSvid::Name) };
        let secs = |at: i64| Timestamp::from_secs(u64::try_from(at).unwrap_or(0));
        let validity = Validity {
            not_before: secs(parsed.validity().not_before.timestamp()),
            not_after: secs(parsed.validity().not_after.timestamp()),
        };
        Ok(Self {
            id: uri.parse().map_err(|_| BadSvid::Name)?,
            key,
            validity,
            signed: parsed.tbs_certificate.as_ref().to_vec(),
            signature: Signature(signature),
        })
    }

    /// Whom it names.
    #[must_use]
    pub fn id(&self) -> &AgentSpiffeId {
        &self.id
    }

    /// The key it is about.
    #[must_use]
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// When it counts.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Whether it counts at this moment: from its first second to its last, without grace.
    ///
    /// # Errors
    /// [`NotThisAgent::Time`].
    pub fn check_time(&self, now: Timestamp) -> Result<(), NotThisAgent> {
        let Validity { not_before, not_after } = self.validity;
        let counts = (not_before.as_secs()..=not_after.as_secs()).contains(&now.as_secs());
        if counts { Ok(()) } else { Err(NotThisAgent::Time) }
    }

    /// Whether one of these authorities signed it.
    #[must_use]
    pub fn is_signed_by(&self, authorities: &[PublicKey]) -> bool {
        authorities.iter().any(|authority| authority.verify(&self.signed, &self.signature).is_ok())
    }
}

/// Whether a certificate is what was signed, Ed25519 without parameters (RFC 8410) and the signature, in the one form that
/// DER gives them (X.690, 10.1): what is around the signed part is signed by nobody.
fn is_plainly_wrapped(der: &[u8], signed: &[u8], signature: &[u8]) -> bool {
    /// The algorithm, and the head of a bit string of 64 whole bytes.
    const BETWEEN: [u8; 10] = [0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 65, 0];
    let Some(inner) = der.strip_suffix(signature).and_then(|rest| rest.strip_suffix(&BETWEEN)) else { return false };
    let Some(head) = inner.strip_suffix(signed) else { return false };
    let len = der.len().saturating_sub(head.len()).to_be_bytes();
    let len = len.iter().position(|byte| *byte != 0).and_then(|first| len.get(first..)).unwrap_or_default();
    match len {
        [one] if *one < 128 => head == [0x30, *one],
        [one] => head == [0x30, 0x81, *one],
        [high, low] => head == [0x30, 0x82, *high, *low],
        // An SVID is shorter.
        _ => false,
    }
}

/// The DER of an SVID in PEM, as files carry it; `None` when there is none.
#[must_use]
pub fn svid_from_pem(pem: &[u8]) -> Option<Vec<u8>> {
    CertificateDer::from_pem_slice(pem).ok().map(|der| der.as_ref().to_vec())
}

/// Issues an agent's SVID, for a trust domain whose authority has this key. Serial and validity are inputs; the same
/// inputs give the same certificate.
///
/// # Errors
/// [`CannotIssue`].
pub fn issue_agent_svid(
    authority: &SigningKey,
    id: &AgentSpiffeId,
    key: &PublicKey,
    serial: u64,
    validity: Validity,
) -> Result<CertificateDer<'static>, CannotIssue> {
    let mut above = CertificateParams::default();
    above.distinguished_name = DistinguishedName::new();
    above.distinguished_name.push(DnType::CommonName, format!("trust domain {}", id.trust_domain()));
    above.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let issuer = Issuer::new(above, Signer(authority));
    let mut svid = params(serial, validity)?;
    svid.subject_alt_names = vec![SanType::URI(id.to_string().try_into()?)];
    svid.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    svid.is_ca = IsCa::ExplicitNoCa;
    Ok(svid.signed_by(&Subject(key), &issuer)?.der().clone())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zeroize::Zeroizing;

    use super::super::certificate::issue_ca;
    use super::super::spiffe::NodeKind;
    use super::*;
    use crate::id::MeshId;

    const ID: &str = "spiffe://acme.example/agent/helper";

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(Zeroizing::new([seed; 32])).unwrap()
    }

    fn validity() -> Validity {
        Validity { not_before: Timestamp::from_secs(1_700_000_000), not_after: Timestamp::from_secs(1_700_003_600) }
    }

    fn svid() -> Vec<u8> {
        issue_agent_svid(&key(1), &ID.parse().unwrap(), key(2).public(), 9, validity()).unwrap().as_ref().to_vec()
    }

    #[test]
    fn an_svid_names_its_agent_and_its_key_and_comes_out_the_same_twice() {
        assert_eq!(svid(), svid());
        let read = AgentSvid::parse(&svid()).unwrap();
        assert_eq!((read.id().trust_domain(), read.id().path()), ("acme.example", "/agent/helper"));
        assert_eq!((read.key(), read.validity()), (key(2).public(), validity()));
        assert!(read.is_signed_by(&[*key(3).public(), *key(1).public()]));
        assert!(!read.is_signed_by(&[*key(3).public(), *key(2).public()]) && !read.is_signed_by(&[]));
        for (secs, counts) in [(-1, false), (0, true), (3_600, true), (3_601, false)] {
            let at = Timestamp::from_secs(1_700_000_000u64.checked_add_signed(secs).unwrap());
            assert_eq!(read.check_time(at).is_ok(), counts, "{secs}");
        }
    }

    #[test]
    fn what_is_no_svid_of_an_agent_is_refused_by_name() {
        let ca = issue_ca(&key(1), &MeshId([1; 16]), NodeKind::Edge, 1, validity()).unwrap();
        assert_eq!(AgentSvid::parse(&ca), Err(BadSvid::Usage));
        let mut long = svid();
        long.push(0);
        assert_eq!(AgentSvid::parse(&long), Err(BadSvid::Malformed));
        assert_eq!(AgentSvid::parse(&vec![0; CREDENTIAL_SHOWN_BYTES_MAX + 1]), Err(BadSvid::TooLong));
        let authority = key(1);
        let make = |bend: &dyn Fn(&mut CertificateParams)| {
            let mut certificate = params(3, validity()).unwrap();
            certificate.subject_alt_names = vec![SanType::URI(ID.try_into().unwrap())];
            certificate.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            bend(&mut certificate);
            let issuer = Issuer::new(CertificateParams::default(), Signer(&authority));
            let made = certificate.signed_by(&Subject(key(2).public()), &issuer).unwrap();
            AgentSvid::parse(made.der()).map(|_| ())
        };
        assert_eq!(make(&|_| ()), Ok(()));
        assert_eq!(make(&|bent| bent.subject_alt_names.clear()), Err(BadSvid::Name));
        let uri = |id: &str| SanType::URI(id.try_into().unwrap());
        assert_eq!(make(&|bent| bent.subject_alt_names.push(uri("spiffe://a/b"))), Err(BadSvid::Name));
        assert_eq!(make(&|bent| bent.subject_alt_names = vec![uri("https://a/b")]), Err(BadSvid::Name));
        assert_eq!(make(&|bent| bent.key_usages.clear()), Err(BadSvid::Usage));
        assert_eq!(make(&|bent| bent.key_usages.push(KeyUsagePurpose::KeyCertSign)), Err(BadSvid::Usage));
        let critical = |bent: &mut CertificateParams| {
            let mut unknown = rcgen::CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![5, 0]);
            unknown.set_criticality(true);
            bent.custom_extensions.push(unknown);
        };
        assert_eq!(make(&critical), Err(BadSvid::Critical));
    }

    #[test]
    fn only_an_id_with_a_trust_domain_and_a_path_is_an_agents() {
        for bad in [
            "spiffe://acme.example",
            "spiffe://acme.example/",
            "spiffe:///agent",
            "spiffe://ACME.example/agent",
            "spiffe://acme.example/agent/../x",
            "spiffe://acme.example//x",
            "spiffe://acme.example/a b",
            "spiffe://acme.example/a?b",
            "https://acme.example/a",
            "acme.example/a",
        ] {
            assert_eq!(bad.parse::<AgentSpiffeId>(), Err(InvalidAgentSpiffeId), "{bad}");
        }
        assert!(format!("spiffe://acme.example/{}", "x".repeat(120)).parse::<AgentSpiffeId>().is_err());
    }

    /// The signed part, and what is around it.
    #[test]
    fn changed_bytes_never_count() {
        let svid = svid();
        let signs = |bytes: &[u8]| AgentSvid::parse(bytes).is_ok_and(|read| read.is_signed_by(&[*key(1).public()]));
        assert!(signs(&svid));
        let wrapped = svid.len() - 64 - 16..svid.len() - 64;
        for at in 0..svid.len() {
            // Around it every byte, or a signature would be a second one for the same.
            let others = if at < 4 || wrapped.contains(&at) { 1..=255 } else { 1..=1 };
            for flip in others {
                let mut bent = svid.clone();
                bent[at] ^= flip;
                assert!(!signs(&bent), "byte {at}: {:#04x}", bent[at]);
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_changes_never_panic(changes in proptest::collection::vec((0usize..400, any::<u8>()), 1..8)) {
            let mut bytes = svid();
            for (at, byte) in changes {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            let _ = AgentSvid::parse(&bytes);
        }
    }
}
