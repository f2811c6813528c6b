//! TLS for the mesh's own endpoints: TLS 1.3, both sides with certificates, one post-quantum key exchange.
//!
//! A connection proves who is at the other end and that nobody reads along, now or with a later quantum computer. It
//! authorizes nothing. A verifier trusts the CA of one role only and demands a certificate with exactly one name, a
//! SPIFFE ID of that role in our mesh, so that a stolen edge is never a voter. Nothing is resumed and no ticket is
//! sent: a connection is always a full handshake. Clauses W-20 to W-24, docs/PROTOCOL.md.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::{
    CertificateError, ClientConfig, DistinguishedName, OtherError, RootCertStore, ServerConfig, SignatureScheme,
};
use zeroize::Zeroizing;

use super::env::Env;
use crate::crypto::digest::Digest;
use crate::crypto::sign::{PublicKey, SigningKey};
use crate::id::MeshId;
use crate::identity::certificate::{identity_of, key_pin};
use crate::identity::spiffe::{NodeKind, SpiffeId};

/// What the two ends speak on top. A connection without agreement on it does not come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    /// Voters among themselves.
    Raft,
    /// Edges at a voter.
    Dist,
    /// Edges that join or want another certificate, at a voter.
    Enrol,
}

impl Alpn {
    /// As it travels in the handshake (W-22).
    #[must_use]
    pub fn as_bytes(self) -> &'static [u8] {
        match self {
            Self::Raft => b"remit-raft/1",
            Self::Dist => b"remit-dist/1",
            Self::Enrol => b"remit-enrol/1",
        }
    }
}

/// Our own certificate chain, leaf first, and its private key.
#[derive(Clone)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({} certificates)", self.chain.len())
    }
}

/// Whom we accept at the other end: nodes of one mesh in one role, vouched for by that role's CA.
#[derive(Clone)]
pub struct Peers {
    mesh: MeshId,
    role: NodeKind,
    anchors: Arc<RootCertStore>,
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Peers({} of {})", self.role, self.mesh)
    }
}

/// Keys or certificates of ours do not make a TLS configuration.
#[derive(Debug, thiserror::Error)]
pub enum TlsUnusable {
    /// An input is not PEM, or holds something else.
    #[error("the {what} is not readable PEM")]
    Pem {
        /// Which of the inputs.
        what: &'static str,
    },
    /// The library does not take them.
    #[error("keys and certificates do not fit together")]
    Refused(#[from] rustls::Error),
    /// A CA certificate is no trust anchor.
    #[error("the CA certificates are unusable")]
    Anchors(#[from] rustls::client::VerifierBuilderError),
    /// The build lacks a part that the mesh needs.
    #[error("the crypto library lacks {what}")]
    Lacking {
        /// The part.
        what: &'static str,
    },
}

impl Identity {
    /// Reads a chain, leaf first, and a PKCS#8 key from PEM.
    ///
    /// # Errors
    /// [`TlsUnusable::Pem`].
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsUnusable> {
        let chain = certificates(chain, "certificate chain")?;
        let key = PrivatePkcs8KeyDer::from_pem_slice(key).map_err(|_| TlsUnusable::Pem { what: "private key" })?;
        Ok(Self { chain, key: Zeroizing::new(key.secret_pkcs8_der().to_vec()) })
    }

    /// Reads a chain, leaf first, from PEM, and takes the key that the leaf names.
    ///
    /// # Errors
    /// [`TlsUnusable::Pem`].
    pub fn from_pem_chain(chain: &[u8], key: &SigningKey) -> Result<Self, TlsUnusable> {
        Ok(Self::new(certificates(chain, "certificate chain")?, key))
    }

    /// From a chain, leaf first, and the key that the leaf names.
    #[must_use]
    pub fn new(chain: Vec<CertificateDer<'static>>, key: &SigningKey) -> Self {
        Self { chain, key: key.expose_pkcs8() }
    }

    /// The same with its authority's certificates behind the chain, for who knows of the authority only its key's digest.
    ///
    /// # Errors
    /// [`TlsUnusable::Pem`].
    pub fn with_authority(mut self, authorities: &[u8]) -> Result<Self, TlsUnusable> {
        self.chain.extend(certificates(authorities, "CA certificate")?);
        Ok(self)
    }

    fn key(&self) -> PrivatePkcs8KeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.to_vec())
    }
}

impl Peers {
    /// Reads the CA certificates of a role from PEM.
    ///
    /// # Errors
    /// [`TlsUnusable`].
    pub fn from_pem(mesh: MeshId, role: NodeKind, anchors: &[u8]) -> Result<Self, TlsUnusable> {
        Self::new(mesh, role, certificates(anchors, "CA certificate")?)
    }

    /// From the CA certificates of a role.
    ///
    /// # Errors
    /// [`TlsUnusable`].
    pub fn new(mesh: MeshId, role: NodeKind, anchors: Vec<CertificateDer<'static>>) -> Result<Self, TlsUnusable> {
        let mut store = RootCertStore::empty();
        for anchor in anchors {
            store.add(anchor)?;
        }
        Ok(Self { mesh, role, anchors: Arc::new(store) })
    }

    /// From the one certificate among these whose key has this digest.
    fn pinned(mesh: MeshId, role: NodeKind, pin: &Digest, chain: &[CertificateDer<'_>]) -> Option<Self> {
        let authority = chain.iter().find(|certificate| key_pin(certificate).as_ref() == Ok(pin))?;
        Self::new(mesh, role, vec![authority.clone().into_owned()]).ok()
    }

    /// Whether this is one of them: exactly one name, of our mesh and the role (W-21). The chain is checked elsewhere.
    fn check_name(&self, certificate: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        let refuse =
            |why: NameRefused| rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))));
        let (id, _) = identity_of(certificate).map_err(|_| refuse(NameRefused::Unreadable))?;
        if id.mesh != self.mesh {
            return Err(refuse(NameRefused::OtherMesh));
        }
        if id.role.kind() == self.role { Ok(()) } else { Err(refuse(NameRefused::OtherRole)) }
    }
}

/// Why a certificate with a good chain is refused all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum NameRefused {
    #[error("the certificate does not carry exactly one SPIFFE ID and an Ed25519 key")]
    Unreadable,
    #[error("the certificate names another mesh")]
    OtherMesh,
    #[error("the certificate names another role")]
    OtherRole,
    #[error("the peer shows no authority whose key is the one that was named")]
    OtherAuthority,
}

/// For the side that accepts.
///
/// # Errors
/// [`TlsUnusable`].
pub fn server(
    env: &Env,
    identity: &Identity,
    peers: &Peers,
    alpn: Alpn,
) -> Result<Arc<dyn quinn::crypto::ServerConfig>, TlsUnusable> {
    let provider = provider()?;
    let verifier = Verifier::new(&provider, peers)?;
    let config = ServerConfig::builder_with_details(provider, Arc::new(EnvTime(env.clone())))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(identity.chain.clone(), identity.key().into())?;
    finish_server(config, alpn)
}

/// For the side that accepts whoever comes: edges that join have no certificate yet (J-3).
///
/// # Errors
/// [`TlsUnusable`].
pub fn server_for_anybody(
    env: &Env,
    identity: &Identity,
    alpn: Alpn,
) -> Result<Arc<dyn quinn::crypto::ServerConfig>, TlsUnusable> {
    let config = ServerConfig::builder_with_details(provider()?, Arc::new(EnvTime(env.clone())))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(identity.chain.clone(), identity.key().into())?;
    finish_server(config, alpn)
}

fn finish_server(mut config: ServerConfig, alpn: Alpn) -> Result<Arc<dyn quinn::crypto::ServerConfig>, TlsUnusable> {
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    let config = quinn::crypto::rustls::QuicServerConfig::try_from(config)
        .map_err(|_| TlsUnusable::Lacking { what: "QUIC's initial cipher suite" })?;
    Ok(Arc::new(config))
}

/// For the side that dials.
///
/// # Errors
/// [`TlsUnusable`].
pub fn client(
    env: &Env,
    identity: &Identity,
    peers: &Peers,
    alpn: Alpn,
) -> Result<Arc<dyn quinn::crypto::ClientConfig>, TlsUnusable> {
    let provider = provider()?;
    let verifier = Verifier::new(&provider, peers)?;
    let config = ClientConfig::builder_with_details(provider, Arc::new(EnvTime(env.clone())))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(identity.chain.clone(), identity.key().into())?;
    finish_client(config, alpn)
}

/// By what a voter is known to who shows no certificate.
#[derive(Debug, Clone)]
pub enum Anchor {
    /// Its authority's certificates.
    Authority(Peers),
    /// The digest of its authority's key, and the mesh (J-2).
    Pinned {
        /// The mesh.
        mesh: MeshId,
        /// SHA-256 of the key.
        key: Digest,
    },
}

/// For the side that dials a voter and shows no certificate.
///
/// # Errors
/// [`TlsUnusable`].
pub fn client_without_certificate(
    env: &Env,
    anchor: &Anchor,
    alpn: Alpn,
) -> Result<Arc<dyn quinn::crypto::ClientConfig>, TlsUnusable> {
    let provider = provider()?;
    let verifier: Arc<dyn ServerCertVerifier> = match anchor {
        Anchor::Authority(peers) => Arc::new(Verifier::new(&provider, peers)?),
        Anchor::Pinned { mesh, key } => {
            Arc::new(PinVerifier { mesh: *mesh, pin: *key, provider: Arc::clone(&provider) })
        }
    };
    let config = ClientConfig::builder_with_details(provider, Arc::new(EnvTime(env.clone())))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    finish_client(config, alpn)
}

fn finish_client(mut config: ClientConfig, alpn: Alpn) -> Result<Arc<dyn quinn::crypto::ClientConfig>, TlsUnusable> {
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    // Nodes have SPIFFE IDs and no host names; a name in the clear would only tell an onlooker who is dialled.
    config.enable_sni = false;
    let config = quinn::crypto::rustls::QuicClientConfig::try_from(config)
        .map_err(|_| TlsUnusable::Lacking { what: "QUIC's initial cipher suite" })?;
    Ok(Arc::new(config))
}

/// Who is at the other end of an established connection, and the identity key of the certificate.
#[must_use]
pub fn peer_of(connection: &quinn::Connection) -> Option<(SpiffeId, PublicKey)> {
    identity_of(chain_of(connection)?.first()?).ok()
}

/// The certificates that the other end has shown, leaf first.
pub(super) fn chain_of(connection: &quinn::Connection) -> Option<Vec<CertificateDer<'static>>> {
    connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok().map(|chain| *chain)
}

/// TLS 1.3's suites, X25519MLKEM768 alone for the key exchange, Ed25519 alone for signatures (W-20). A peer that
/// offers only classical groups finds nothing in common with us.
fn provider() -> Result<Arc<CryptoProvider>, TlsUnusable> {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups = vec![aws_lc_rs::kx_group::X25519MLKEM768];
    provider.cipher_suites.retain(|suite| suite.tls13().is_some());
    provider.signature_verification_algorithms = ed25519_only(provider.signature_verification_algorithms)?;
    Ok(Arc::new(provider))
}

/// Certificates of the mesh are Ed25519: its signatures have one length, so that a handshake's packets have one size.
pub(super) fn ed25519_only(all: WebPkiSupportedAlgorithms) -> Result<WebPkiSupportedAlgorithms, TlsUnusable> {
    all.mapping
        .iter()
        .position(|(scheme, _)| *scheme == SignatureScheme::ED25519)
        .and_then(|at| all.mapping.get(at..=at))
        .and_then(|mapping| Some(WebPkiSupportedAlgorithms { all: mapping.first()?.1, mapping }))
        .ok_or(TlsUnusable::Lacking { what: "Ed25519" })
}

/// The certificates of a PEM file, at least one; `what` says in the error what they were to be.
///
/// # Errors
/// [`TlsUnusable::Pem`].
pub fn certificates(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsUnusable> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    found.ok().filter(|found| !found.is_empty()).ok_or(TlsUnusable::Pem { what })
}

/// The wall clock of this world, against which certificates expire.
#[derive(Debug)]
pub(super) struct EnvTime(pub(super) Env);

impl TimeProvider for EnvTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_millis(self.0.now().wall.as_millis())))
    }
}

/// What every verifier of ours says of signatures, in either direction: TLS 1.2 is not spoken, and of TLS 1.3 the library
/// checks them by these algorithms.
macro_rules! only_tls13_signatures {
    (|$it:ident| $algorithms:expr) => {
        fn verify_tls12_signature(
            &self,
            _message: &[u8],
            _certificate: &rustls::pki_types::CertificateDer<'_>,
            _signature: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            Err(rustls::Error::General("tls 1.2 is not spoken here".to_owned()))
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &rustls::pki_types::CertificateDer<'_>,
            signature: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
            let $it = self;
            rustls::crypto::verify_tls13_signature(message, certificate, signature, $algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            let $it = self;
            ($algorithms).supported_schemes()
        }
    };
}
pub(super) use only_tls13_signatures;

/// Both directions' check: the chain up to the role's CA by the library, then the name by us.
#[derive(Debug)]
struct Verifier {
    peers: Peers,
    algorithms: WebPkiSupportedAlgorithms,
    clients: Arc<dyn ClientCertVerifier>,
}

impl Verifier {
    fn new(provider: &Arc<CryptoProvider>, peers: &Peers) -> Result<Self, TlsUnusable> {
        let clients = WebPkiClientVerifier::builder_with_provider(peers.anchors.clone(), provider.clone()).build()?;
        Ok(Self { peers: peers.clone(), algorithms: provider.signature_verification_algorithms, clients })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.peers.anchors,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        self.peers.check_name(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    only_tls13_signatures!(|it| &it.algorithms);
}

/// Knows of the voters' authority its key's digest only: the authority's certificate has to come with the chain. From
/// there on it is as with any other.
#[derive(Debug)]
struct PinVerifier {
    mesh: MeshId,
    pin: Digest,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let refuse =
            |why: NameRefused| rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(why))));
        let peers = Peers::pinned(self.mesh, NodeKind::Voter, &self.pin, intermediates)
            .ok_or_else(|| refuse(NameRefused::OtherAuthority))?;
        let verifier = Verifier::new(&self.provider, &peers).map_err(|_| refuse(NameRefused::OtherAuthority))?;
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    only_tls13_signatures!(|it| &it.provider.signature_verification_algorithms);
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.clients.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.clients.verify_client_cert(end_entity, intermediates, now)?;
        self.peers.check_name(end_entity)?;
        Ok(verified)
    }

    only_tls13_signatures!(|it| &it.algorithms);
}
