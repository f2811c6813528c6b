//! QUIC endpoints of the mesh: named peers only, bounded per connection, and seeded from Env.
//!
//! quinn's own defaults leave the receive window open and draw keys, connection ids and tokens from a generator of
//! their own; here every bound is stated, and every random byte comes from [`Env`], so that a simulated network
//! plays back the same packets. There is no 0-RTT, and no address-validation token outlives a handshake: what we send
//! first must not be replayed. Clauses W-22 to W-25, docs/PROTOCOL.md.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quinn::{ConnectionId, ConnectionIdGenerator, NoneTokenLog, NoneTokenStore, TransportConfig, VarInt};
use zeroize::Zeroizing;

use super::env::{Entropy, Env, deadline};
use super::tls::{self, Alpn, Identity, Peers, TlsUnusable};
use super::udp::{self, Buffers, UdpSocket};
use crate::crypto::aead::AeadKey;
use crate::crypto::mac::{MacKey, TAG_BYTES};
use crate::crypto::sign::PublicKey;
use crate::identity::spiffe::SpiffeId;

/// Closing a connection without a fault.
pub const CLOSE_DONE: u32 = 0;
/// Closing a connection because the peer broke the protocol.
pub const CLOSE_MISBEHAVED: u32 = 1;
/// Closing a connection because the peer is not who was expected, or the directory does not list its key.
pub const CLOSE_NOT_WELCOME: u32 = 2;
/// Closing a connection because the peer does not keep up.
pub const CLOSE_TOO_SLOW: u32 = 3;

/// Bytes of a connection id: enough that no two connections of an endpoint ever share one, and fewer than the eight
/// that the first packet of a client needs (RFC 9000, 7.2). So an Initial packet for a connection that this endpoint
/// has forgotten is refused for the length of its id, before anything is decrypted with keys that cannot be right.
const CONNECTION_ID_BYTES: usize = 7;
/// Bytes of the connection id that a client makes up for its first packet; the most QUIC version 1 allows.
const FIRST_ID_BYTES: usize = 20;

/// What an endpoint is for.
#[derive(Debug)]
pub struct QuicConfig {
    /// Our own certificate and key.
    pub identity: Identity,
    /// What is spoken.
    pub alpn: Alpn,
    /// Whose connections are accepted; `None` accepts nobody.
    pub accepts: Option<Peers>,
    /// To whom connections are made; `None` makes none.
    pub dials: Option<Peers>,
    /// Bounds and timings.
    pub limits: QuicLimits,
}

/// Bounds and timings of an endpoint's connections.
#[derive(Debug, Clone)]
pub struct QuicLimits {
    /// A connection without a packet for this long is dead.
    pub idle: Duration,
    /// The side that dials sends something at least this often.
    pub keep_alive: Duration,
    /// Whether a client may change its address, as one behind NAT does.
    pub migration: bool,
    /// Connections open at the same time, those we dialled included.
    pub connections_max: usize,
    /// Bytes that a peer may have under way to us on all streams of a connection.
    pub connection_window: u32,
    /// Bytes that a peer may have under way to us on one stream.
    pub stream_window: u32,
    /// Bytes that we hold for a peer until it acknowledges them.
    pub send_window: u32,
    /// Whether longer packets than every path takes are tried out. That costs eight packets of padding at the start of
    /// each connection, and less than a hundredth of the bytes of what is long afterwards is all that it saves.
    pub tries_longer_packets: bool,
    /// Packets that are handed to the kernel in one call. A connection that has ever had two ready keeps a buffer for
    /// as many, of 1 200 bytes each and one more, for as long as it lives.
    pub batch_packets_max: usize,
    /// Streams in both directions that a peer may have open.
    pub bidi_streams_max: u32,
    /// Streams towards us that a peer may have open.
    pub uni_streams_max: u32,
}

impl QuicLimits {
    /// Between voters: few peers, large entries, fixed addresses.
    #[must_use]
    pub fn raft() -> Self {
        Self {
            idle: Duration::from_secs(30),
            keep_alive: Duration::from_secs(5),
            migration: false,
            connections_max: 64,
            connection_window: 16 * 1024 * 1024,
            stream_window: 8 * 1024 * 1024,
            send_window: 16 * 1024 * 1024,
            tries_longer_packets: true,
            batch_packets_max: 10,
            bidi_streams_max: 64,
            uni_streams_max: 0,
        }
    }

    /// A voter towards its edges: thousands of peers that send little, so a small window for each.
    #[must_use]
    pub fn dist_voter() -> Self {
        Self {
            idle: Duration::from_secs(30),
            keep_alive: Duration::from_secs(5),
            migration: true,
            connections_max: 16 * 1024,
            connection_window: 1024 * 1024,
            stream_window: 512 * 1024,
            send_window: 2 * 1024 * 1024,
            // Edges come back by the thousand, and what they are told is short.
            tries_longer_packets: false,
            // Half of what more would save, for a quarter of the memory.
            batch_packets_max: 2,
            // Control, records, and holders' requests, each on a stream of its own.
            bidi_streams_max: 8,
            uni_streams_max: 2,
        }
    }

    /// Enrolment, both ways: whoever comes asks one thing and goes.
    #[must_use]
    pub fn enrol() -> Self {
        Self {
            idle: Duration::from_secs(10),
            keep_alive: Duration::from_secs(3),
            connections_max: 256,
            connection_window: 32 * 1024,
            stream_window: 16 * 1024,
            send_window: 512 * 1024,
            bidi_streams_max: 1,
            uni_streams_max: 0,
            ..Self::dist_voter()
        }
    }

    /// An edge towards its voters: few peers, whole bundles. A voter that died does not hang up: the edge notices by
    /// its silence, on every connection, before what cannot be taken back is stale after ten seconds.
    #[must_use]
    pub fn dist_edge() -> Self {
        Self {
            idle: Duration::from_secs(8),
            keep_alive: Duration::from_secs(2),
            connections_max: 64,
            connection_window: 4 * 1024 * 1024,
            stream_window: 1024 * 1024,
            bidi_streams_max: 2,
            uni_streams_max: 64,
            ..Self::dist_voter()
        }
    }
}

/// An endpoint does not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenFailed {
    /// The socket does not.
    #[error("cannot open the socket `{addr}`")]
    Socket {
        /// Where it should have been.
        addr: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Keys or certificates are unusable.
    #[error(transparent)]
    Tls(#[from] TlsUnusable),
    /// A bound is out of QUIC's range.
    #[error("the idle time is longer than quic can say")]
    Limits,
}

/// A connection did not come about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectFailed {
    /// It took too long.
    #[error("no connection in time")]
    Deadline,
    /// The transport says why.
    #[error("the connection failed")]
    Transport(#[from] quinn::ConnectionError),
    /// It could not even be tried.
    #[error("cannot dial")]
    Dial(#[from] quinn::ConnectError),
    /// Somebody else answers there.
    #[error("`{found}` answers in place of `{expected}`")]
    WrongPeer {
        /// Who was dialled.
        expected: SpiffeId,
        /// Who answered.
        found: SpiffeId,
    },
    /// The certificate says no name; TLS refuses such before.
    #[error("the peer has no name")]
    Nameless,
}

/// An open endpoint. Cloning gives the same endpoint.
#[derive(Debug, Clone)]
pub struct MeshEndpoint {
    quic: quinn::Endpoint,
    dials: Arc<RwLock<Option<quinn::ClientConfig>>>,
    limits: QuicLimits,
    connections_max: usize,
    refused: Arc<AtomicU64>,
    buffers: Option<Buffers>,
}

/// A connection whose other end has a name.
#[derive(Debug, Clone)]
pub struct MeshConnection {
    /// The connection.
    pub quic: quinn::Connection,
    /// Who is there, from the certificate.
    pub peer: SpiffeId,
    /// The identity key of the certificate; callers compare it with the directory.
    pub key: PublicKey,
}

/// A connection that somebody is opening to us.
#[derive(Debug)]
pub struct Arriving(quinn::Incoming);

impl MeshEndpoint {
    /// Opens the socket and the endpoint. Port 0 takes a free one.
    ///
    /// # Errors
    /// [`OpenFailed`].
    pub fn open(env: &Env, addr: SocketAddr, config: QuicConfig) -> Result<Self, OpenFailed> {
        let QuicConfig { identity, alpn, accepts, dials, limits } = config;
        let accepts = accepts.map(|peers| tls::server(env, &identity, &peers, alpn)).transpose()?;
        let dials = dials.map(|peers| tls::client(env, &identity, &peers, alpn)).transpose()?;
        Self::open_as(env, addr, accepts, dials, limits)
    }

    /// The same for sides that are known otherwise.
    pub(super) fn open_as(
        env: &Env,
        addr: SocketAddr,
        accepts: Option<Arc<dyn quinn::crypto::ServerConfig>>,
        dials: Option<Arc<dyn quinn::crypto::ClientConfig>>,
        limits: QuicLimits,
    ) -> Result<Self, OpenFailed> {
        let accepts = accepts.map(|tls| server_config(env, &limits, tls)).transpose()?;
        let dials = dials.map(|tls| client_config(env, &limits, tls)).transpose()?;
        let failed = |source| OpenFailed::Socket { addr, source };
        let UdpSocket { quic: socket, buffers } = env.socket.udp(addr).map_err(failed)?;
        let socket = udp::in_batches(socket, limits.batch_packets_max);
        let runtime = env.socket.quic_runtime();
        let quic = quinn::Endpoint::new_with_abstract_socket(endpoint_config(env), accepts, socket, runtime)
            .map_err(failed)?;
        let connections_max = limits.connections_max;
        Ok(Self {
            quic,
            dials: Arc::new(RwLock::new(dials)),
            limits,
            connections_max,
            refused: Arc::default(),
            buffers,
        })
    }

    /// Shows another certificate from the next connection on. Those that stand keep theirs.
    ///
    /// # Errors
    /// [`OpenFailed`]; then everything is as before.
    pub fn show(&self, env: &Env, identity: &Identity, peers: &Peers, alpn: Alpn) -> Result<(), OpenFailed> {
        let config = client_config(env, &self.limits, tls::client(env, identity, peers, alpn)?)?;
        // One assignment: a panic elsewhere leaves it whole.
        *self.dials.write().unwrap_or_else(PoisonError::into_inner) = Some(config);
        Ok(())
    }

    /// Where it listens, the port resolved.
    ///
    /// # Errors
    /// What the socket says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.quic.local_addr()
    }

    /// What the kernel gave its socket; `None` in worlds without one.
    #[must_use]
    pub fn buffers(&self) -> Option<Buffers> {
        self.buffers
    }

    /// How many connections were refused because there were too many.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// The next connection that somebody opens; `None` after [`Self::close`]. Those above the bound are refused here
    /// and never seen; past half of it, a peer must first show that it receives at the address it claims. Cancelling
    /// loses nothing.
    pub async fn accept(&self) -> Option<Arriving> {
        loop {
            let incoming = self.quic.accept().await?;
            let open = self.quic.open_connections();
            if open >= self.connections_max {
                self.refused.fetch_add(1, Ordering::Relaxed);
                incoming.refuse();
            } else if open >= self.connections_max / 2 && incoming.may_retry() && !incoming.remote_address_validated() {
                // It comes back with proof, or not at all; failing to say so leaves it to try again.
                let _ = incoming.retry();
            } else {
                return Some(Arriving(incoming));
            }
        }
    }

    /// Dials, and makes sure that the one who answers is `expected`. A peer that refuses *us* may say so only when
    /// the first stream is opened: TLS 1.3 lets the dialling side finish first.
    ///
    /// # Errors
    /// [`ConnectFailed`].
    pub async fn connect(
        &self,
        addr: SocketAddr,
        expected: &SpiffeId,
        within: Duration,
    ) -> Result<MeshConnection, ConnectFailed> {
        let config = self.dials.read().unwrap_or_else(PoisonError::into_inner).clone();
        let config = config.ok_or(quinn::ConnectError::NoDefaultClientConfig)?;
        // Certificates name SPIFFE IDs, and no host name travels; the library wants one all the same.
        let connecting = self.quic.connect_with(config, addr, "remit.invalid")?;
        let quic = deadline(within, connecting).await.map_err(|_| ConnectFailed::Deadline)??;
        let connection = MeshConnection::named(quic)?;
        if connection.peer != *expected {
            connection.close(CLOSE_NOT_WELCOME, "not who was dialled");
            return Err(ConnectFailed::WrongPeer { expected: expected.clone(), found: connection.peer });
        }
        Ok(connection)
    }

    /// Closes every connection and waits until the peers know, no longer than `within`.
    pub async fn close(&self, within: Duration) {
        self.quic.close(CLOSE_DONE.into(), b"shutting down");
        // Peers that do not hear it find out by their idle time.
        let _ = deadline(within, self.quic.wait_idle()).await;
    }
}

impl Arriving {
    /// Where it comes from.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        self.0.remote_address()
    }

    /// Whether it has shown that it receives there.
    #[must_use]
    pub fn has_proof(&self) -> bool {
        self.0.remote_address_validated()
    }

    /// Asks it to come back with proof of its address. One that has been asked already is refused.
    pub fn ask_for_proof(self) {
        if let Err(asked) = self.0.retry() {
            asked.into_incoming().refuse();
        }
    }

    /// Tells it to come back later.
    pub fn refuse(self) {
        self.0.refuse();
    }

    /// Finishes the handshake. Do it in a task of its own: the peer sets the pace.
    ///
    /// # Errors
    /// [`ConnectFailed`].
    pub async fn establish(self, within: Duration) -> Result<MeshConnection, ConnectFailed> {
        MeshConnection::named(self.establish_nameless(within).await?)
    }

    /// The same where nobody is asked for a certificate.
    ///
    /// # Errors
    /// [`ConnectFailed`].
    pub async fn establish_nameless(self, within: Duration) -> Result<quinn::Connection, ConnectFailed> {
        let connecting = self.0.accept()?;
        Ok(deadline(within, connecting).await.map_err(|_| ConnectFailed::Deadline)??)
    }
}

impl MeshConnection {
    fn named(quic: quinn::Connection) -> Result<Self, ConnectFailed> {
        let (peer, key) = tls::peer_of(&quic).ok_or(ConnectFailed::Nameless)?;
        Ok(Self { quic, peer, key })
    }

    /// Closes the connection, with one of the codes above and a reason for people.
    pub fn close(&self, code: u32, why: &str) {
        self.quic.close(code.into(), why.as_bytes());
    }
}

fn endpoint_config(env: &Env) -> quinn::EndpointConfig {
    let mut config = quinn::EndpointConfig::new(Arc::new(ResetKey(mac_key(env))));
    config.rng_seed(Some(env.random()));
    let entropy = env.entropy.clone();
    config.cid_generator(move || Box::new(Ids(entropy.clone())));
    config
}

fn server_config(
    env: &Env,
    limits: &QuicLimits,
    tls: Arc<dyn quinn::crypto::ServerConfig>,
) -> Result<quinn::ServerConfig, OpenFailed> {
    let mut config = quinn::ServerConfig::new(tls, Arc::new(TokenKey(mac_key(env))));
    config.transport_config(Arc::new(transport(limits)?));
    config.migration(limits.migration);
    config.max_incoming(limits.connections_max);
    config.time_source(Arc::new(WallClock(env.clone())));
    let mut tokens = quinn::ValidationTokenConfig::default();
    tokens.sent(0).log(Arc::new(NoneTokenLog));
    config.validation_token_config(tokens);
    Ok(config)
}

fn client_config(
    env: &Env,
    limits: &QuicLimits,
    tls: Arc<dyn quinn::crypto::ClientConfig>,
) -> Result<quinn::ClientConfig, OpenFailed> {
    let mut config = quinn::ClientConfig::new(tls);
    let mut transport = transport(limits)?;
    transport.keep_alive_interval(Some(limits.keep_alive));
    config.transport_config(Arc::new(transport));
    config.token_store(Arc::new(NoneTokenStore));
    let entropy = env.entropy.clone();
    config.initial_dst_cid_provider(Arc::new(move || connection_id::<FIRST_ID_BYTES>(entropy.as_ref())));
    Ok(config)
}

fn transport(limits: &QuicLimits) -> Result<TransportConfig, OpenFailed> {
    let mut config = TransportConfig::default();
    config.max_idle_timeout(Some(limits.idle.try_into().map_err(|_| OpenFailed::Limits)?));
    config.receive_window(VarInt::from_u32(limits.connection_window));
    config.stream_receive_window(VarInt::from_u32(limits.stream_window));
    config.send_window(limits.send_window.into());
    config.max_concurrent_bidi_streams(VarInt::from_u32(limits.bidi_streams_max));
    config.max_concurrent_uni_streams(VarInt::from_u32(limits.uni_streams_max));
    if !limits.tries_longer_packets {
        config.mtu_discovery_config(None);
    }
    // Nothing travels in datagrams yet, so nobody may fill a buffer with them.
    config.datagram_receive_buffer_size(None);
    Ok(config)
}

fn mac_key(env: &Env) -> MacKey {
    MacKey::from_random(&Zeroizing::new(env.random()))
}

fn connection_id<const N: usize>(entropy: &dyn Entropy) -> ConnectionId {
    let mut bytes = [0; N];
    entropy.fill(&mut bytes);
    ConnectionId::new(&bytes)
}

/// Connection ids without a pattern, so that nobody on the path can tell which connections belong together.
struct Ids(Arc<dyn Entropy>);

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        connection_id::<CONNECTION_ID_BYTES>(self.0.as_ref())
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Tags stateless resets (RFC 9000 section 10.3).
struct ResetKey(MacKey);

impl quinn::crypto::HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        for (to, from) in signature_out.iter_mut().zip(self.0.tag(data)) {
            *to = from;
        }
    }

    fn signature_len(&self) -> usize {
        TAG_BYTES
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), quinn::crypto::CryptoError> {
        self.0.check(data, signature).map_err(|_| quinn::crypto::CryptoError)
    }
}

/// Seals the tokens with which a client shows that it receives at its address (RFC 9000 section 8.1). Each token has
/// a key of its own, derived from the random bytes it begins with.
struct TokenKey(MacKey);

impl quinn::crypto::HandshakeTokenKey for TokenKey {
    fn aead_from_hkdf(&self, random_bytes: &[u8]) -> Box<dyn quinn::crypto::AeadKey> {
        Box::new(OneToken(AeadKey::from_random(Zeroizing::new(self.0.tag(random_bytes)))))
    }
}

struct OneToken(Option<AeadKey>);

impl quinn::crypto::AeadKey for OneToken {
    fn seal(&self, data: &mut Vec<u8>, additional_data: &[u8]) -> Result<(), quinn::crypto::CryptoError> {
        // The key is used for one token, so that the nonce may be fixed.
        let sealed = self.0.as_ref().and_then(|key| key.seal([0; 12], additional_data, data).ok());
        *data = sealed.ok_or(quinn::crypto::CryptoError)?;
        Ok(())
    }

    fn open<'a>(&self, data: &'a mut [u8], additional_data: &[u8]) -> Result<&'a mut [u8], quinn::crypto::CryptoError> {
        let opened = self.0.as_ref().and_then(|key| key.open(additional_data, data).ok());
        let opened = opened.ok_or(quinn::crypto::CryptoError)?;
        let out = data.get_mut(..opened.len()).ok_or(quinn::crypto::CryptoError)?;
        out.copy_from_slice(&opened);
        Ok(out)
    }
}

/// The wall clock of this world, by which tokens expire.
struct WallClock(Env);

impl quinn::TimeSource for WallClock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.0.now().wall.as_millis())
    }
}
