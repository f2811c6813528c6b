//! The mesh's own endpoints on this network.

use std::sync::Arc;

use remit_common::crypto::sign::SigningKey;
use remit_common::id::{MeshId, VoterId};
use remit_common::identity::certificate::{Validity, issue_ca, issue_node};
use remit_common::identity::spiffe::{NodeKind, NodeRole, SpiffeId};
use remit_common::net::env::{Env, Socket};
use remit_common::net::programs::NoPrograms;
use remit_common::net::quic::{CLOSE_DONE, MeshEndpoint, QuicConfig, QuicLimits};
use remit_common::net::real::real;
use remit_common::net::tls::{Alpn, Identity, Peers};

use super::*;
use crate::sim::clock::SimClock;
use crate::sim::entropy::SimEntropy;

const MESH: MeshId = MeshId([1; 16]);
const WITHIN: Duration = Duration::from_secs(20);

fn env(seed: u64, name: &str, socket: Arc<dyn Socket>, group: &Group) -> Env {
    Env {
        clock: Arc::new(SimClock::new(TrueTime::begin(), 0)),
        entropy: Arc::new(SimEntropy::new(seed, name)),
        disk: real().disk,
        spawn: Arc::new(group.clone()),
        socket,
        programs: Arc::new(NoPrograms),
    }
}

fn voter(n: u64) -> SpiffeId {
    SpiffeId { mesh: MESH, role: NodeRole::Voter(VoterId(n)) }
}

/// A voter's endpoint.
fn endpoint(env: &Env, n: u64) -> MeshEndpoint {
    let now = env.now().wall;
    let validity =
        Validity { not_before: now.minus(Duration::from_secs(300)), not_after: now.plus(Duration::from_secs(3_600)) };
    let authority = SigningKey::from_seed([9; 32].into()).unwrap();
    let certificate = issue_ca(&authority, &MESH, NodeKind::Voter, 1, validity).unwrap();
    let key = SigningKey::from_seed(env.random().into()).unwrap();
    let leaf = issue_node(&certificate, &authority, &voter(n), key.public(), 7, validity).unwrap();
    let peers = || Peers::new(MESH, NodeKind::Voter, vec![certificate.clone()]).unwrap();
    let config = QuicConfig {
        identity: Identity::new(vec![leaf], &key),
        alpn: Alpn::Raft,
        accepts: Some(peers()),
        dials: Some(peers()),
        limits: QuicLimits::raft(),
    };
    MeshEndpoint::open(env, SocketAddr::new(ANY.ip(), PORT), config).unwrap()
}

/// Sends 200 kB there and back, through a cut of two seconds in the middle.
async fn exchange(pair: &Pair, seed: u64) -> usize {
    let groups = [Group::default(), Group::default()];
    let net = &pair.net;
    let env_a = env(seed, "a", net.process(pair.a, Arc::new(groups[0].clone())), &groups[0]);
    let env_b = env(seed, "b", net.process(pair.b, Arc::new(groups[1].clone())), &groups[1]);
    let (client, server) = (endpoint(&env_a, 1), endpoint(&env_b, 2));
    let echo = env_b.spawn_named("echo", async move {
        let connection = server.accept().await.unwrap().establish(WITHIN).await.unwrap();
        while let Ok((mut send, mut recv)) = connection.quic.accept_bi().await {
            let bytes = recv.read_to_end(1_000_000).await.unwrap();
            send.write_all(&bytes).await.unwrap();
            send.finish().unwrap();
        }
    });
    let connection = client.connect(addr(2), &voter(2), WITHIN).await.unwrap();
    let mut echoed = 0;
    for round in 0..4 {
        let (mut send, mut recv) = connection.quic.open_bi().await.unwrap();
        send.write_all(&[7; 50_000]).await.unwrap();
        send.finish().unwrap();
        if round == 2 {
            net.cut(pair.b, pair.a);
            wait(2_000).await;
            net.mend(pair.b, pair.a);
        }
        echoed += recv.read_to_end(1_000_000).await.unwrap().len();
    }
    connection.close(CLOSE_DONE, "done");
    echo.join().await.unwrap();
    client.close(WITHIN).await;
    echoed
}

#[test]
fn the_meshs_endpoints_work_here_and_a_seed_decides_every_packet() {
    let run = |seed| {
        runtime::block_on(seed, async move {
            let bad = LinkQuality { loss: 0.03, reorder: 0.03, duplicate: 0.03, corrupt: 0.01, ..LinkQuality::GOOD };
            let pair = Pair::new(seed, bad);
            assert_eq!(exchange(&pair, seed).await, 200_000);
            let counters = pair.net.counters();
            assert!(counters.lost > 5 && counters.corrupted > 0 && counters.cut > 0, "{counters:?}");
            pair.net.digest()
        })
    };
    for seed in 0..3 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
    assert_ne!(run(1), run(2));
}
