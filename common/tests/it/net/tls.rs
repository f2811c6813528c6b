//! Who can connect to whom. Clauses W-20 to W-24.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use quinn::rustls;
use remit_common::crypto::sign::SigningKey;
use remit_common::id::{EdgeId, MeshId, Region, VoterId};
use remit_common::identity::certificate::{Validity, issue_ca, issue_node};
use remit_common::identity::spiffe::{NodeKind, NodeRole, SpiffeId};
use remit_common::net::env::{Clock, Env};
use remit_common::net::framed::{FramedRecv, FramedSend};
use remit_common::net::quic::{Arriving, ConnectFailed, MeshConnection, MeshEndpoint, QuicConfig, QuicLimits};
use remit_common::net::real::real;
use remit_common::net::tls::{Alpn, Identity, Peers};
use remit_common::net::udp;
use remit_common::time::Now;
use remit_common::wire::message::{EdgeMessage, Fetch};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};

const MESH: MeshId = MeshId([1; 16]);
const OTHER_MESH: MeshId = MeshId([2; 16]);
/// No test measures time; this only ends one that hangs.
const WITHIN: Duration = Duration::from_secs(20);
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// An authority for one kind of node.
struct Authority {
    certificate: CertificateDer<'static>,
    key: SigningKey,
}

struct World {
    env: Env,
    voters: Authority,
    edges: Authority,
}

/// A certificate and what it was made of.
struct Node {
    chain: Vec<CertificateDer<'static>>,
    key: SigningKey,
}

impl World {
    fn new() -> Result<Self> {
        let env = real();
        let authority = |kind| -> Result<Authority> {
            let key = fresh(&env)?;
            let certificate = issue_ca(&key, &MESH, kind, 1, validity(&env))?;
            Ok(Authority { certificate, key })
        };
        let (voters, edges) = (authority(NodeKind::Voter)?, authority(NodeKind::Edge)?);
        Ok(Self { env, voters, edges })
    }

    fn issue(&self, authority: &Authority, id: &SpiffeId, validity: Validity) -> Result<Node> {
        let key = fresh(&self.env)?;
        let leaf = issue_node(&authority.certificate, &authority.key, id, key.public(), 7, validity)?;
        Ok(Node { chain: vec![leaf], key })
    }

    fn voter(&self, n: u64) -> Result<Node> {
        self.issue(&self.voters, &voter_id(MESH, n), validity(&self.env))
    }

    fn edge(&self) -> Result<Node> {
        self.issue(&self.edges, &edge_id(), validity(&self.env))
    }

    fn peers(&self, kind: NodeKind) -> Result<Peers> {
        let authority = match kind {
            NodeKind::Voter => &self.voters,
            NodeKind::Edge => &self.edges,
        };
        Ok(Peers::new(MESH, kind, vec![authority.certificate.clone()])?)
    }

    fn open(
        &self,
        node: &Node,
        alpn: Alpn,
        accepts: Option<NodeKind>,
        dials: Option<NodeKind>,
    ) -> Result<MeshEndpoint> {
        self.open_with(node, alpn, accepts, dials, QuicLimits::dist_voter())
    }

    fn open_with(
        &self,
        node: &Node,
        alpn: Alpn,
        accepts: Option<NodeKind>,
        dials: Option<NodeKind>,
        limits: QuicLimits,
    ) -> Result<MeshEndpoint> {
        let config = QuicConfig {
            identity: Identity::new(node.chain.clone(), &node.key),
            alpn,
            accepts: accepts.map(|kind| self.peers(kind)).transpose()?,
            dials: dials.map(|kind| self.peers(kind)).transpose()?,
            limits,
        };
        Ok(MeshEndpoint::open(&self.env, LOOPBACK, config)?)
    }

    /// A voter that accepts voters on the Raft endpoint.
    fn raft(&self) -> Result<MeshEndpoint> {
        self.open(&self.voter(1)?, Alpn::Raft, Some(NodeKind::Voter), None)
    }
}

fn fresh(env: &Env) -> Result<SigningKey> {
    Ok(SigningKey::from_seed(env.random().into())?)
}

fn validity(env: &Env) -> Validity {
    let now = env.now().wall;
    Validity { not_before: now.minus(Duration::from_secs(300)), not_after: now.plus(Duration::from_secs(3_600)) }
}

fn voter_id(mesh: MeshId, n: u64) -> SpiffeId {
    SpiffeId { mesh, role: NodeRole::Voter(VoterId(n)) }
}

#[expect(clippy::unwrap_used, reason = "both texts are names")]
fn edge_id() -> SpiffeId {
    let (region, edge) = (Region::new("eu-west").unwrap(), EdgeId::new("eu-west-1").unwrap());
    SpiffeId { mesh: MESH, role: NodeRole::Edge { region, edge } }
}

/// What became of an attempt at both ends. TLS 1.3 lets the dialling side finish first, so the attempt counts as
/// made only when the accepting side says so, too.
async fn attempt(
    server: &MeshEndpoint,
    dial: impl Future<Output = Result<MeshConnection, ConnectFailed>>,
) -> Result<(MeshConnection, MeshConnection), (Option<ConnectFailed>, Option<ConnectFailed>)> {
    let accept = async {
        match server.accept().await {
            Some(arriving) => arriving.establish(WITHIN).await,
            None => Err(ConnectFailed::Deadline),
        }
    };
    tokio::pin!(accept, dial);
    // A client that gives up before it sends anything never arrives.
    let (dialled, accepted) = tokio::select! {
        biased;
        accepted = &mut accept => (Some(dial.await), Some(accepted)),
        dialled = &mut dial => match dialled {
            Ok(connection) => (Some(Ok(connection)), Some(accept.await)),
            Err(failed) => (Some(Err(failed)), None),
        },
    };
    match (dialled, accepted) {
        (Some(Ok(dialled)), Some(Ok(accepted))) => Ok((dialled, accepted)),
        (dialled, accepted) => Err((dialled.and_then(Result::err), accepted.and_then(Result::err))),
    }
}

/// The attempt fails for this reason, as the side that refuses says it.
async fn refused(server: &MeshEndpoint, client: &MeshEndpoint, why: &str) -> Result<()> {
    let addr = server.local_addr()?;
    match attempt(server, client.connect(addr, &voter_id(MESH, 1), WITHIN)).await {
        Ok((_, accepted)) => bail!("`{}` got in", accepted.peer),
        Err(faults) => {
            let faults = format!("{faults:?}");
            ensure!(faults.contains(why), "not `{why}`: {faults}");
            Ok(())
        }
    }
}

#[tokio::test]
async fn voters_connect_and_know_each_other() -> Result<()> {
    let world = World::new()?;
    let (server, caller) = (world.raft()?, world.voter(2)?);
    let client = world.open(&caller, Alpn::Raft, None, Some(NodeKind::Voter))?;
    let addr = server.local_addr()?;
    let expected = voter_id(MESH, 1);
    let dial = client.connect(addr, &expected, WITHIN);
    let (dialled, accepted) = attempt(&server, dial).await.map_err(|faults| anyhow::anyhow!("{faults:?}"))?;
    assert_eq!((dialled.peer.clone(), accepted.peer.clone()), (voter_id(MESH, 1), voter_id(MESH, 2)));
    assert_eq!(accepted.key, *caller.key.public());

    let message = EdgeMessage::Fetch(Fetch { digests: Vec::new() });
    let (send, _keep) = dialled.quic.open_bi().await?;
    let mut send = FramedSend::new(send);
    send.send(&message, WITHIN).await?;
    let (_answer, recv) = accepted.quic.accept_bi().await?;
    let mut recv = FramedRecv::new(recv);
    assert_eq!(recv.recv::<EdgeMessage>(WITHIN).await?, Some(message));
    send.get_mut().finish()?;
    assert_eq!(recv.recv::<EdgeMessage>(WITHIN).await?, None);
    tokio::join!(client.close(WITHIN), server.close(WITHIN));
    Ok(())
}

#[tokio::test]
async fn edges_connect_to_the_distribution_endpoint() -> Result<()> {
    let world = World::new()?;
    let server = world.open(&world.voter(1)?, Alpn::Dist, Some(NodeKind::Edge), None)?;
    let client = world.open(&world.edge()?, Alpn::Dist, None, Some(NodeKind::Voter))?;
    let addr = server.local_addr()?;
    let expected = voter_id(MESH, 1);
    let dial = client.connect(addr, &expected, WITHIN);
    let (_, accepted) = attempt(&server, dial).await.map_err(|faults| anyhow::anyhow!("{faults:?}"))?;
    assert_eq!(accepted.peer, edge_id());
    Ok(())
}

#[tokio::test]
async fn w_41_an_endpoint_knows_what_the_kernel_gave_its_socket() -> Result<()> {
    let world = World::new()?;
    let server = world.open(&world.voter(1)?, Alpn::Dist, Some(NodeKind::Edge), None)?;
    let granted = server.buffers().context("this machine has a kernel")?;
    assert!(granted.receive > 0 && granted.send > 0, "{granted:?}");
    let short = granted.receive.min(granted.send) < udp::BUFFER_BYTES;
    assert_eq!(granted.check().is_err(), short, "{granted:?}");
    let addr = server.local_addr()?;
    assert_eq!(udp::dropped(&world.env, addr), Some(0), "it is in the kernel's table, and nobody has sent it anything");
    Ok(())
}

#[tokio::test]
async fn k_34_a_newcomer_proves_its_address_or_comes_back_later() -> Result<()> {
    let world = World::new()?;
    let server = world.open(&world.voter(1)?, Alpn::Dist, Some(NodeKind::Edge), None)?;
    let client = world.open(&world.edge()?, Alpn::Dist, None, Some(NodeKind::Voter))?;
    let (addr, expected) = (server.local_addr()?, voter_id(MESH, 1));
    let answer = async {
        let first = server.accept().await.context("an endpoint that is open")?;
        assert!(!first.has_proof());
        first.ask_for_proof();
        let second = server.accept().await.context("an endpoint that is open")?;
        assert!(second.has_proof(), "it has come back with what it was sent");
        Ok::<_, anyhow::Error>(second.establish(WITHIN).await?)
    };
    let (dialled, accepted) = tokio::join!(client.connect(addr, &expected, WITHIN), answer);
    assert_eq!((dialled?.peer, accepted?.peer), (expected.clone(), edge_id()));
    let refuse = async { server.accept().await.map(Arriving::refuse) };
    let (dialled, _) = tokio::join!(client.connect(addr, &expected, WITHIN), refuse);
    let error = format!("{:#}", anyhow::Error::from(dialled.expect_err("it was refused")));
    assert!(error.contains("refused"), "at once, and not by silence: {error}");
    Ok(())
}

#[tokio::test]
async fn w_21_a_stolen_edge_is_never_a_voter() -> Result<()> {
    let world = World::new()?;
    let server = world.raft()?;
    // With its own certificate: another authority.
    let client = world.open(&world.edge()?, Alpn::Raft, None, Some(NodeKind::Voter))?;
    refused(&server, &client, "UnknownIssuer").await?;
    // With an edge's name under the voters' authority, should one ever be issued by mistake.
    let mislabelled = world.issue(&world.voters, &edge_id(), validity(&world.env))?;
    let client = world.open(&mislabelled, Alpn::Raft, None, Some(NodeKind::Voter))?;
    refused(&server, &client, "OtherRole").await
}

#[tokio::test]
async fn w_21_a_voter_of_another_mesh_or_authority_is_refused() -> Result<()> {
    let world = World::new()?;
    let server = world.raft()?;
    let other_mesh = world.issue(&world.voters, &voter_id(OTHER_MESH, 2), validity(&world.env))?;
    let stranger = World::new()?.voter(2)?;
    let long_ago = world.env.now().wall.minus(Duration::from_secs(7_200));
    let expired = Validity { not_before: long_ago, not_after: long_ago.plus(Duration::from_secs(60)) };
    let expired = world.issue(&world.voters, &voter_id(MESH, 2), expired)?;
    for (node, why) in [(other_mesh, "OtherMesh"), (stranger, "BadSignature"), (expired, "certificate expired")] {
        let client = world.open(&node, Alpn::Raft, None, Some(NodeKind::Voter))?;
        refused(&server, &client, why).await?;
    }
    Ok(())
}

#[tokio::test]
async fn w_21_a_dialler_refuses_the_same_certificates() -> Result<()> {
    let world = World::new()?;
    let client = world.open(&world.voter(2)?, Alpn::Raft, None, Some(NodeKind::Voter))?;
    let other_mesh = world.issue(&world.voters, &voter_id(OTHER_MESH, 1), validity(&world.env))?;
    let mislabelled = world.issue(&world.voters, &edge_id(), validity(&world.env))?;
    let (stranger, edge) = (World::new()?.voter(1)?, world.edge()?);
    for (node, why) in
        [(other_mesh, "OtherMesh"), (mislabelled, "OtherRole"), (stranger, "BadSignature"), (edge, "UnknownIssuer")]
    {
        let server = world.open(&node, Alpn::Raft, Some(NodeKind::Voter), None)?;
        refused(&server, &client, why).await?;
    }
    Ok(())
}

/// The real world two hours from now.
struct Later(Env);

impl Clock for Later {
    fn now(&self) -> Now {
        let Now { wall, boot } = self.0.now();
        Now { wall: wall.plus(Duration::from_secs(7_200)), boot }
    }
}

#[tokio::test]
async fn w_21_certificates_expire_by_the_clock_that_was_handed_in() -> Result<()> {
    let mut world = World::new()?;
    let (node, caller) = (world.voter(1)?, world.voter(2)?);
    let client = world.open(&caller, Alpn::Raft, None, Some(NodeKind::Voter))?;
    world.env = Env { clock: Arc::new(Later(world.env.clone())), ..world.env.clone() };
    let server = world.open(&node, Alpn::Raft, Some(NodeKind::Voter), None)?;
    refused(&server, &client, "certificate expired").await
}

#[tokio::test]
async fn another_voter_in_place_of_the_one_that_was_dialled_is_refused() -> Result<()> {
    let world = World::new()?;
    let server = world.raft()?;
    let client = world.open(&world.voter(2)?, Alpn::Raft, None, Some(NodeKind::Voter))?;
    let addr = server.local_addr()?;
    let expected = voter_id(MESH, 3);
    let accept = async { server.accept().await.context("closed")?.establish(WITHIN).await.context("accepting") };
    let (accepted, dialled) = tokio::join!(accept, client.connect(addr, &expected, WITHIN));
    // The accepting side learns of it when the dialler hangs up.
    ensure!(matches!(dialled, Err(ConnectFailed::WrongPeer { .. })), "{dialled:?}");
    if let Ok(accepted) = accepted {
        accepted.quic.closed().await;
    }
    Ok(())
}

#[tokio::test]
async fn w_22_two_protocols_do_not_meet() -> Result<()> {
    let world = World::new()?;
    let server = world.raft()?;
    let client = world.open(&world.voter(2)?, Alpn::Dist, None, Some(NodeKind::Voter))?;
    refused(&server, &client, "any known protocol").await
}

#[tokio::test]
async fn connections_above_the_bound_are_refused_and_counted() -> Result<()> {
    let world = World::new()?;
    let limits = QuicLimits { connections_max: 1, ..QuicLimits::dist_voter() };
    let server = world.open_with(&world.voter(1)?, Alpn::Raft, Some(NodeKind::Voter), None, limits)?;
    let client = world.open(&world.voter(2)?, Alpn::Raft, None, Some(NodeKind::Voter))?;
    let addr = server.local_addr()?;
    let expected = voter_id(MESH, 1);
    let dial = client.connect(addr, &expected, WITHIN);
    let _first = attempt(&server, dial).await.map_err(|faults| anyhow::anyhow!("{faults:?}"))?;
    let second = tokio::select! {
        biased;
        second = client.connect(addr, &expected, WITHIN) => second,
        _ = server.accept() => bail!("the second was let through"),
    };
    ensure!(second.is_err());
    assert_eq!(server.refused(), 1);
    Ok(())
}

// --- a peer that is not ours -----------------------------------------------------------------------------------------

/// Accepts whatever certificate there is: the peer under test is the one that has to refuse.
#[derive(Debug)]
struct AnyCertificate;

impl rustls::client::danger::ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("tls 1.2".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        vec![rustls::SignatureScheme::ED25519]
    }
}

type Groups = Vec<&'static dyn rustls::crypto::SupportedKxGroup>;

fn provider(groups: Groups) -> Arc<rustls::crypto::CryptoProvider> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    Arc::new(rustls::crypto::CryptoProvider { kx_groups: groups, ..provider })
}

fn pkcs8(node: &Node) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(node.key.expose_pkcs8().to_vec()).into()
}

/// A client with a good certificate of its own, and key exchanges of the test's choice.
async fn dial_with(groups: Groups, certificate: Option<&Node>, server: &MeshEndpoint) -> Result<()> {
    let builder = rustls::ClientConfig::builder_with_provider(provider(groups))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate));
    let mut tls = match certificate {
        Some(node) => builder.with_client_auth_cert(node.chain.clone(), pkcs8(node))?,
        None => builder.with_no_client_auth(),
    };
    tls.alpn_protocols = vec![b"remit-raft/1".to_vec()];
    let config = quinn::ClientConfig::new(Arc::new(quinn::crypto::rustls::QuicClientConfig::try_from(tls)?));
    let endpoint = quinn::Endpoint::client(LOOPBACK)?;
    let connecting = endpoint.connect_with(config, server.local_addr()?, "remit.invalid")?;
    let accept = async { server.accept().await.context("closed")?.establish(WITHIN).await.context("accepting") };
    let (dialled, accepted) = tokio::join!(connecting, accept);
    accepted?;
    dialled?;
    Ok(())
}

#[tokio::test]
async fn w_20_a_peer_without_the_post_quantum_exchange_cannot_connect() -> Result<()> {
    use rustls::crypto::aws_lc_rs::kx_group;
    let world = World::new()?;
    let (server, good) = (world.raft()?, world.voter(2)?);
    dial_with(vec![kx_group::X25519MLKEM768], Some(&good), &server).await.context("the hybrid alone")?;
    // A classical group in front does no harm: the server asks again for the one it has.
    dial_with(vec![kx_group::X25519, kx_group::X25519MLKEM768], Some(&good), &server).await.context("both")?;
    for classical in [kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1] {
        let refused = dial_with(vec![classical], Some(&good), &server).await;
        let why = format!("{:?}", refused.err().with_context(|| format!("{classical:?} connected"))?);
        ensure!(why.contains("NoKxGroupsInCommon"), "{why}");
    }
    Ok(())
}

#[tokio::test]
async fn w_20_a_dialler_does_not_fall_back_to_a_classical_exchange() -> Result<()> {
    use rustls::crypto::aws_lc_rs::kx_group;
    let world = World::new()?;
    let node = world.voter(1)?;
    for (groups, connects) in [(vec![kx_group::X25519MLKEM768], true), (vec![kx_group::X25519], false)] {
        let mut tls = rustls::ServerConfig::builder_with_provider(provider(groups))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_single_cert(node.chain.clone(), pkcs8(&node))?;
        tls.alpn_protocols = vec![b"remit-raft/1".to_vec()];
        let tls = Arc::new(quinn::crypto::rustls::QuicServerConfig::try_from(tls)?);
        let server = quinn::Endpoint::server(quinn::ServerConfig::with_crypto(tls), LOOPBACK)?;
        let client = world.open(&world.voter(2)?, Alpn::Raft, None, Some(NodeKind::Voter))?;
        let accept = async {
            match server.accept().await {
                Some(incoming) => incoming.await.is_ok(),
                None => false,
            }
        };
        let (addr, expected) = (server.local_addr()?, voter_id(MESH, 1));
        let (dialled, _) = tokio::join!(client.connect(addr, &expected, WITHIN), accept);
        assert_eq!(dialled.is_ok(), connects, "{dialled:?}");
    }
    Ok(())
}

#[tokio::test]
async fn w_21_a_peer_without_a_certificate_cannot_connect() -> Result<()> {
    let world = World::new()?;
    let server = world.raft()?;
    let refused = dial_with(vec![rustls::crypto::aws_lc_rs::kx_group::X25519MLKEM768], None, &server).await;
    let why = format!("{:?}", refused.err().context("connected")?);
    ensure!(why.contains("peer sent no certificates"), "{why}");
    Ok(())
}
