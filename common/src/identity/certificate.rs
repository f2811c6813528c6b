//! Certificates of nodes: Ed25519, one URI SAN, one authority per kind of node.

use rustls_pki_types::CertificateDer;

use super::spiffe::{NodeKind, SpiffeId};
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
#[error("cannot issue the certificate: {0}")]
pub struct CannotIssue(String);

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
}

/// Makes the self-signed authority for one kind of node.
///
/// # Errors
/// [`CannotIssue`] when the encoder refuses.
pub fn issue_ca(
    key: &SigningKey,
    mesh: &MeshId,
    kind: NodeKind,
    serial: u64,
    validity: Validity,
) -> Result<CertificateDer<'static>, CannotIssue> {
    todo!("{key:?} {mesh} {kind} {serial} {validity:?}")
}

/// Issues a node's certificate: client and server use, exactly one URI SAN.
///
/// # Errors
/// [`CannotIssue`] when `ca` cannot be read, `ca_key` is not its key, or the encoder refuses.
pub fn issue_node(
    ca: &CertificateDer<'_>,
    ca_key: &SigningKey,
    id: &SpiffeId,
    key: &PublicKey,
    serial: u64,
    validity: Validity,
) -> Result<CertificateDer<'static>, CannotIssue> {
    todo!("{ca:?} {ca_key:?} {id} {key:?} {serial} {validity:?}")
}

/// The node and the key that a certificate names. Checks no signature and no time: TLS has done that against the
/// anchor of the kind that was expected, and the caller compares the kind and asks the directory about the key.
///
/// # Errors
/// [`BadCertificate`].
pub fn identity_of(certificate: &CertificateDer<'_>) -> Result<(SpiffeId, PublicKey), BadCertificate> {
    todo!("{certificate:?}")
}
