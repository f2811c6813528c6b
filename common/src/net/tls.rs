//! TLS for the mesh's own endpoints: TLS 1.3, both sides with certificates, and one post-quantum key exchange.
//!
//! A connection proves who is at the other end and that nobody reads along, now or with a later quantum computer. It
//! authorizes nothing. Clauses W-20 to W-25, docs/PROTOCOL.md.

use std::sync::Arc;

use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::env::Env;
use crate::id::MeshId;

/// What the two ends speak on top. A connection without agreement on it does not come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    /// Voters among themselves.
    Raft,
    /// Edges at a voter.
    Dist,
}

impl Alpn {
    /// As it travels in the handshake.
    #[must_use]
    pub fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::Raft => b"remit-raft/1",
            Self::Dist => b"remit-dist/1",
        }
    }
}

/// The kind of node that a certificate must name. Each role has a CA of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A member of the control plane.
    Voter,
    /// A node that decides.
    Edge,
}

/// Our own certificate chain, leaf first, and its private key.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivatePkcs8KeyDer<'static>,
}

/// Whom we accept at the other end: nodes of one mesh in one role, vouched for by that role's CA.
#[derive(Debug, Clone)]
pub struct Peers {
    /// The mesh that the peer's name must say.
    pub mesh: MeshId,
    /// The role that the peer's name must say.
    pub role: Role,
    /// The CA certificates of that role.
    pub anchors: Vec<CertificateDer<'static>>,
}

/// Keys or certificates of ours do not make a TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsUnusable {
    /// A file is not PEM, or holds something else.
    #[error("`{what}` is not readable PEM")]
    Pem {
        /// Which of the inputs.
        what: &'static str,
    },
}

impl Identity {
    /// Reads a chain and a PKCS#8 key from PEM.
    ///
    /// # Errors
    /// [`TlsUnusable::Pem`].
    pub fn from_pem(_chain: &[u8], _key: &[u8]) -> Result<Self, TlsUnusable> {
        todo!()
    }
}

impl Peers {
    /// Reads the CA certificates of a role from PEM.
    ///
    /// # Errors
    /// [`TlsUnusable::Pem`].
    pub fn from_pem(_mesh: MeshId, _role: Role, _anchors: &[u8]) -> Result<Self, TlsUnusable> {
        todo!()
    }
}

/// For the side that accepts.
///
/// # Errors
/// [`TlsUnusable`].
pub fn server(
    _env: &Env,
    _identity: &Identity,
    _peers: &Peers,
    _alpn: Alpn,
) -> Result<Arc<dyn quinn::crypto::ServerConfig>, TlsUnusable> {
    todo!()
}

/// For the side that dials.
///
/// # Errors
/// [`TlsUnusable`].
pub fn client(
    _env: &Env,
    _identity: &Identity,
    _peers: &Peers,
    _alpn: Alpn,
) -> Result<Arc<dyn quinn::crypto::ClientConfig>, TlsUnusable> {
    todo!()
}
