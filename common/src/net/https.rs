//! TLS for whoever is no node of the mesh: the agents' listener and those who call it.
//!
//! The serving end shows a certificate of whatever authority its callers trust, and takes another one while it runs. A
//! caller may show a certificate of its own, of which one thing counts: that the connection is that key's (grade P0,
//! clause X-13). No name in it, no issuer and no date means anything here; what the key may do stands in the envelope.
//! TLS 1.3 (RFC 8446) only, X25519MLKEM768 preferred; nothing is resumed, so that each connection proves its key
//! anew. Clauses G-50 to G-53, docs/PROTOCOL.md.

use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, ClientConfig, DistinguishedName, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::env::{BoxStream, Env, deadline};
use super::tls::{EnvTime, TlsUnusable, certificates, ed25519_only, only_tls13_signatures};
use crate::crypto::sign::{PublicKey, SigningKey};
use crate::identity::certificate::{Validity, ed25519_key_of, issue_for_key};

/// From the first byte of a connection to the end of its handshake.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// A caller's certificate says nothing with its dates; it is made anew for every process.
const OWN_CERTIFICATE_LIFE: Duration = Duration::from_secs(30 * 86_400);

/// A certificate chain and its key, as a listener shows them: of any authority and algorithm that callers know.
// INVARIANT: the key is the one that the first certificate names.
pub struct ServerCertificate(CertifiedKey);

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerCertificate({} certificates)", self.0.cert.len())
    }
}

impl ServerCertificate {
    /// Reads a chain, leaf first, and its private key (PKCS#8, SEC1 or PKCS#1) from PEM.
    ///
    /// # Errors
    /// [`TlsUnusable`]: not PEM, a key that is not the certificate's, or of an algorithm that TLS does not have.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsUnusable> {
        let chain = certificates(chain, "certificate chain")?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsUnusable::Pem { what: "private key" })?;
        Ok(Self(CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())?))
    }
}

/// The serving end of a listener. Cloning gives the same listener's.
#[derive(Clone)]
pub struct ServerTls {
    acceptor: TlsAcceptor,
    shown: Arc<Shown>,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

/// What is shown to the next caller.
#[derive(Debug)]
struct Shown(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Replaced as a whole: a panic elsewhere leaves the old or the new.
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl ServerTls {
    /// For a listener that shows `certificate`.
    ///
    /// # Errors
    /// [`TlsUnusable`].
    pub fn new(env: &Env, certificate: ServerCertificate) -> Result<Self, TlsUnusable> {
        let provider = provider();
        let algorithms = ed25519_only(provider.signature_verification_algorithms)?;
        let shown = Arc::new(Shown(RwLock::new(Arc::new(certificate.0))));
        let mut config = ServerConfig::builder_with_details(provider, Arc::new(EnvTime(env.clone())))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_client_cert_verifier(Arc::new(AnyKey { algorithms }))
            .with_cert_resolver(Arc::<Shown>::clone(&shown));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.max_early_data_size = 0;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), shown })
    }

    /// Shows another certificate from the next connection on; those that are open go on.
    pub fn replace(&self, certificate: ServerCertificate) {
        *self.shown.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certificate.0);
    }

    /// The handshake, and the key that the caller has shown to be its own, if it has shown one.
    ///
    /// # Errors
    /// The caller speaks no TLS 1.3, went away, took too long, or has a certificate without an Ed25519 key.
    pub(super) async fn accept(&self, stream: BoxStream) -> io::Result<(BoxStream, Option<PublicKey>)> {
        let late = |passed| io::Error::new(io::ErrorKind::TimedOut, passed);
        let stream = deadline(HANDSHAKE_WITHIN, self.acceptor.accept(stream)).await.map_err(late)??;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let key = shown.and_then(|certificate| ed25519_key_of(certificate).ok());
        Ok((Box::new(stream), key))
    }
}

/// Whom a caller believes, and as whom it calls.
#[derive(Clone)]
pub struct ClientTls {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientTls({:?})", self.name)
    }
}

/// A caller cannot speak TLS with what it was given.
#[derive(Debug, thiserror::Error)]
pub enum CannotCall {
    /// Not a host name and not an address.
    #[error("`{0}` is no host name and no address")]
    Name(String),
    /// Authorities or keys.
    #[error("authorities or keys are not usable")]
    Tls(#[from] TlsUnusable),
    /// The certificate of our own key.
    #[error("the key makes no certificate")]
    Own(#[from] crate::identity::certificate::CannotIssue),
}

impl ClientTls {
    /// For calls to `name`, a host name or an address, whose certificate leads to one of `authorities`. With a `key`, the
    /// connection shows that it is this key's.
    ///
    /// # Errors
    /// [`CannotCall`].
    pub fn new(
        env: &Env,
        authorities: Vec<CertificateDer<'static>>,
        name: &str,
        key: Option<&SigningKey>,
    ) -> Result<Self, CannotCall> {
        let server = ServerName::try_from(name.to_owned()).map_err(|_| CannotCall::Name(name.to_owned()))?;
        let mut anchors = RootCertStore::empty();
        for authority in authorities {
            anchors.add(authority).map_err(TlsUnusable::from)?;
        }
        let builder = ClientConfig::builder_with_details(provider(), Arc::new(EnvTime(env.clone())))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(TlsUnusable::from)?
            .with_root_certificates(anchors);
        let mut config = match key {
            None => builder.with_no_client_auth(),
            Some(key) => {
                let now = env.now().wall;
                let validity = Validity { not_before: now, not_after: now.plus(OWN_CERTIFICATE_LIFE) };
                let certificate = issue_for_key(key, validity)?;
                let key = PrivatePkcs8KeyDer::from(key.expose_pkcs8().to_vec());
                builder.with_client_auth_cert(vec![certificate], key.into()).map_err(TlsUnusable::from)?
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::disabled();
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), name: server })
    }

    /// As [`Self::new`], with the authorities in PEM.
    ///
    /// # Errors
    /// [`CannotCall`].
    pub fn from_pem(env: &Env, authorities: &[u8], name: &str, key: Option<&SigningKey>) -> Result<Self, CannotCall> {
        Self::new(env, certificates(authorities, "authorities' certificates")?, name, key)
    }

    pub(super) async fn connect(&self, stream: BoxStream) -> io::Result<BoxStream> {
        Ok(Box::new(self.connector.connect(self.name.clone(), stream).await?))
    }
}

/// Why there is no TLS connection to a server, where whoever calls can do something about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFault {
    /// The server's certificate leads to none of the authorities.
    Authority,
    /// It is for another name.
    Name,
    /// It has ended, or not begun.
    Time,
    /// What the server says is no TLS.
    NoTls,
}

impl TlsFault {
    /// What a failed connection says of it.
    pub(super) fn of(error: &io::Error) -> Option<Self> {
        use CertificateError as Bad;
        match error.get_ref()?.downcast_ref::<rustls::Error>()? {
            rustls::Error::InvalidCertificate(bad) => match bad {
                Bad::NotValidForName | Bad::NotValidForNameContext { .. } => Some(Self::Name),
                Bad::Expired | Bad::ExpiredContext { .. } | Bad::NotValidYet | Bad::NotValidYetContext { .. } => {
                    Some(Self::Time)
                }
                // A server's own certificate, named as an authority, is none either.
                _ => Some(Self::Authority),
            },
            rustls::Error::InvalidMessage(_) => Some(Self::NoTls),
            _ => None,
        }
    }
}

/// TLS 1.3's suites and every usual group, the post-quantum one first.
fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| suite.tls13().is_some());
    Arc::new(provider)
}

/// Takes whoever proves to have the Ed25519 key of the certificate that it shows, and whoever shows none.
#[derive(Debug)]
struct AnyKey {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AnyKey {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        ed25519_key_of(end_entity)
            .map(|_| ClientCertVerified::assertion())
            .map_err(|_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding))
    }

    only_tls13_signatures!(|it| &it.algorithms);
}
