//! Who is let in: edges, other meshes, voters without their disk.

use std::time::Duration;

use remit_common::id::{EdgeId, Region, VoterId};
use remit_common::identity::spiffe::{NodeKind, NodeRole, SpiffeId};
use remit_common::net::env::deadline;
use remit_common::net::quic::{MeshConnection, MeshEndpoint, QuicConfig, QuicLimits};
use remit_common::net::real::real;
use remit_common::net::tls::{Alpn, Identity};
use remit_control_plane::raft::{CallError, RaftRole, StartError};

use super::scene::{Authority, Mesh, PATIENCE, timings, write};

async fn dial(mesh: &Mesh, identity: Identity, to: VoterId) -> Option<MeshConnection> {
    let config = QuicConfig {
        identity,
        alpn: Alpn::Raft,
        accepts: None,
        dials: Some(mesh.voters.peers(mesh.id, NodeKind::Voter)),
        limits: QuicLimits::raft(),
    };
    let endpoint = MeshEndpoint::open(&real(), "127.0.0.1:0".parse().unwrap(), config).unwrap();
    let expected = SpiffeId { mesh: mesh.id, role: NodeRole::Voter(to) };
    endpoint.connect(mesh.addrs[&to], &expected, PATIENCE).await.ok()
}

/// Waits until the voter closes the connection; a voter that does not is too friendly.
async fn is_turned_away(connection: Option<MeshConnection>) -> String {
    match connection {
        None => "by the handshake".to_owned(),
        Some(connection) => {
            // Whoever is to be turned away may have been believed so far; the first stream shows it.
            if let Ok((mut send, _recv)) = connection.quic.open_bi().await {
                let _ = send.write_all(b"not a greeting of ours, but longer than any header").await;
            }
            deadline(PATIENCE, connection.quic.closed()).await.expect("the voter turns it away").to_string()
        }
    }
}

/// An edge's certificate is none for the voters' endpoint, even in the same mesh.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_cannot_pose_as_a_voter() {
    let mesh = Mesh::new(1, timings());
    let voters = mesh.start_all().await;
    let edges = Authority::new(mesh.id, NodeKind::Edge, 201);
    let role = NodeRole::Edge { region: Region::new("eu").unwrap(), edge: EdgeId::new("e1").unwrap() };
    is_turned_away(dial(&mesh, edges.issue(mesh.id, role.clone(), 50), VoterId(1)).await).await;
    // Nor is one that the voters' authority has issued to an edge by mistake.
    is_turned_away(dial(&mesh, mesh.voters.issue(mesh.id, role, 51), VoterId(1)).await).await;
    // A voter's name from the edges' authority.
    is_turned_away(dial(&mesh, edges.issue(mesh.id, NodeRole::Voter(VoterId(2)), 52), VoterId(1)).await).await;
    write(&voters, b"still here").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_that_is_no_member_is_turned_away() {
    let mesh = Mesh::new(1, timings());
    let _voters = mesh.start_all().await;
    let stranger = mesh.voters.issue(mesh.id, NodeRole::Voter(VoterId(9)), 53);
    let reason = is_turned_away(dial(&mesh, stranger, VoterId(1)).await).await;
    assert!(reason.contains("not a member"), "{reason}");
    // Its own certificate in somebody else's hands.
    let twin = mesh.voters.issue(mesh.id, NodeRole::Voter(VoterId(1)), 54);
    let reason = is_turned_away(dial(&mesh, twin, VoterId(1)).await).await;
    assert!(reason.contains("not a member"), "{reason}");
}

/// A voter that lost its disk is no longer that voter (C-5).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_voter_is_not_let_back_in() {
    let mesh = Mesh::new(3, timings());
    let mut voters = mesh.start_all().await;
    let index = write(&voters, b"acknowledged").await;
    for voter in &voters {
        voter.until_applied(index).await;
        // Everybody has met everybody: a first meeting would be taken at its word.
        for peer in &voters {
            if peer.id != voter.id {
                voter.node.call_peer(peer.id, Vec::new(), PATIENCE).await.unwrap();
            }
        }
    }
    let position = voters.iter().position(|voter| voter.node.status().role != RaftRole::Leader).unwrap();
    let wiped = voters.remove(position);
    let id = wiped.id;
    wiped.node.shutdown().await;
    drop(wiped);
    std::fs::remove_dir_all(mesh.folder(id)).unwrap();
    let wiped = mesh.restart(id).await;
    for voter in &voters {
        let unreachable = wiped.node.call_peer(voter.id, Vec::new(), Duration::from_secs(2)).await.unwrap_err();
        assert_eq!(unreachable, CallError::Unreachable(voter.id));
        let unreachable = voter.node.call_peer(id, Vec::new(), Duration::from_secs(2)).await.unwrap_err();
        assert_eq!(unreachable, CallError::Unreachable(id));
    }
    let index = write(&voters, b"without it").await;
    assert!(wiped.node.status().applied < index && wiped.journal().is_empty());
}

#[expect(clippy::disallowed_methods, reason = "somebody mixes up disks, which is not done through Env")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_of_another_voter_is_refused() {
    let mesh = Mesh::new(3, timings());
    let one = mesh.start(1).await;
    one.node.shutdown().await;
    drop(one);
    std::fs::rename(mesh.folder(VoterId(1)), mesh.folder(VoterId(2))).unwrap();
    let refused = mesh.try_start(VoterId(2), real()).await.err().unwrap();
    assert!(matches!(&refused, StartError::ForeignDisk(why) if why.contains("voter 1")), "{refused}");
    // A snapshot without its log: what was voted and acknowledged is forgotten.
    std::fs::create_dir_all(mesh.folder(VoterId(3))).unwrap();
    std::fs::write(mesh.folder(VoterId(3)).join("snapshot.bin"), b"left over").unwrap();
    let refused = mesh.try_start(VoterId(3), real()).await.err().unwrap();
    assert!(matches!(refused, StartError::ForeignDisk(_)), "{refused}");
}
