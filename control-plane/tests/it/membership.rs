//! Who votes changes while the mesh serves: newcomers, leavers, leaders that hand over or die half way. Clauses C-67 to
//! C-69, C-26 to C-28, A-15, K-16.

use remit_common::net::real::real;
use remit_common::revocation::CutKind;
use serde_json::{Value, json};

use crate::mesh::{Mesh, Running};
use crate::world::{CUTTER, OPS, cut};

async fn change(mesh: &Mesh, at: &Running, body: Value) -> (u16, Value) {
    mesh.post(at, OPS, "/v1/voters", body.to_string().into_bytes()).await
}

/// Ids of those who vote, once nothing is under way any more, by the word of one voter.
async fn settled(mesh: &Mesh, at: &Running, expected: &[u64]) {
    mesh.until(&format!("voters {expected:?}"), async || {
        let (_, seats) = mesh.get(at, "/v1/voters").await;
        let votes = |seat: &&Value| seat["seat"] == "voter";
        let ids = seats["voters"].as_array().into_iter().flatten().filter(votes).filter_map(|seat| seat["id"].as_u64());
        seats["change"].is_null() && ids.collect::<Vec<_>>() == expected
    })
    .await;
}

async fn revoke(mesh: &Mesh, at: &Running, session: &str) {
    let body = cut("acme", CutKind::Session, session);
    let request = mesh.sign(OPS, "/v1/revocations", body);
    let (status, revoked) = mesh.send(at, &request).await;
    assert_eq!(status, 200, "{revoked}");
}

async fn epoch(mesh: &Mesh, at: &Running) -> Value {
    mesh.get(at, "/v1/revocations").await.1["epoch"].clone()
}

/// A mesh of three whose directory lists a fourth, which waits to be taken in.
async fn with_a_newcomer(mesh: &Mesh) -> Vec<Running> {
    let mut voters = mesh.start_all().await;
    mesh.install_voters(&voters[0], 2, &[1, 2, 3, 4]).await;
    voters.push(mesh.start_with(mesh.joining(), real()).await.unwrap());
    voters
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_is_replaced_while_the_mesh_serves() {
    let mesh = Mesh::new();
    let mut voters = mesh.start_all().await;
    let add = json!({ "change": "add", "id": 4, "raft": "127.0.0.1:1", "dist": "127.0.0.1:2" });
    let (status, refused) = change(&mesh, &voters[0], add.clone()).await;
    assert_eq!((status, &refused["reason"]), (422, &"voter_not_listed".into()), "{refused}");
    let (status, refused) = mesh.post(&voters[0], CUTTER, "/v1/voters", add.to_string().into_bytes()).await;
    assert_eq!((status, &refused["reason"]), (403, &"verb_not_permitted".into()), "{refused}");
    let (status, refused) = change(&mesh, &voters[0], json!({ "change": "remove", "id": 9 })).await;
    assert_eq!((status, &refused["reason"]), (409, &"no_such_voter".into()), "{refused}");
    revoke(&mesh, &voters[0], "before").await;

    mesh.install_voters(&voters[0], 2, &[1, 2, 3, 4]).await;
    // Nobody is at that address yet: the change is written down, and stays under way.
    let joining = mesh.start_with(mesh.joining(), real()).await.unwrap();
    let (status, added) = mesh.post(&voters[1], OPS, "/v1/voters", mesh.add_joiner(joining.dist)).await;
    assert_eq!((status, &added["votes"]), (200, &true.into()), "{added}");
    let (status, refused) = change(&mesh, &voters[0], json!({ "change": "remove", "id": 1 })).await;
    if status != 200 {
        assert_eq!((status, &refused["reason"]), (409, &"change_under_way".into()), "{refused}");
    }
    settled(&mesh, &voters[1], if status == 200 { &[2, 3, 4] } else { &[1, 2, 3, 4] }).await;
    if status != 200 {
        let (status, removed) = change(&mesh, &voters[1], json!({ "change": "remove", "id": 1 })).await;
        assert_eq!(status, 200, "{removed}");
    }
    settled(&mesh, &voters[1], &[2, 3, 4]).await;
    // The one that has left is alone; the newcomer has everything that was there, and what comes.
    voters.remove(0).kill();
    mesh.ready(&joining).await;
    voters.push(joining);
    assert_eq!(epoch(&mesh, &voters[2]).await, 1);
    revoke(&mesh, &voters[2], "after").await;
    for voter in &voters {
        assert_eq!(epoch(&mesh, voter).await, 2);
    }
    let (_, status) = mesh.get(&voters[0], "/v1/status").await;
    assert_eq!(status["voters"].as_array().map(Vec::len), Some(3), "{status}");
    assert!(status.get("diverged").is_none(), "{status}");
    // With one of the two old ones gone the newcomer is needed for a majority, after a restart as well.
    voters.remove(0).kill();
    revoke(&mesh, &voters[1], "with-newcomer").await;
    let newcomer = voters.pop().unwrap();
    newcomer.stop().await.unwrap();
    let newcomer = mesh.restart_with(mesh.joining()).await;
    revoke(&mesh, &newcomer, "again").await;
    assert_eq!(epoch(&mesh, &newcomer).await, 4);
}

/// Whenever the leader dies, whoever leads next finishes what it had begun.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_finished_although_the_leader_dies() {
    let mesh = Mesh::new();
    let mut voters = with_a_newcomer(&mesh).await;
    let leader = mesh.leader(&voters[..3]).await.id;
    let other = voters.iter().position(|voter| voter.id != leader).unwrap();
    let (status, added) = mesh.post(&voters[other], OPS, "/v1/voters", mesh.add_joiner(voters[3].dist)).await;
    assert_eq!(status, 200, "{added}");
    let position = voters.iter().position(|voter| voter.id == leader).unwrap();
    voters.remove(position).kill();
    settled(&mesh, &voters[0], &[1, 2, 3, 4]).await;
    settled(&mesh, &voters[2], &[1, 2, 3, 4]).await;
    // And the dead one can be let go.
    let (status, removed) = change(&mesh, &voters[0], json!({ "change": "remove", "id": leader.0 })).await;
    assert_eq!(status, 200, "{removed}");
    let left: Vec<u64> = voters.iter().map(|voter| voter.id.0).collect();
    settled(&mesh, &voters[0], &left).await;
    revoke(&mesh, &voters[2], "after").await;
}

/// A newcomer that never comes blocks nothing for good: the wish is taken back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_that_never_comes_is_taken_back() {
    let mesh = Mesh::new();
    let voters = mesh.start_all().await;
    mesh.install_voters(&voters[0], 2, &[1, 2, 3, 4]).await;
    let nowhere = "127.0.0.1:9".parse().unwrap();
    assert_eq!(mesh.post(&voters[0], OPS, "/v1/voters", mesh.add_joiner(nowhere)).await.0, 200);
    mesh.until("a learner", async || {
        let (_, seats) = mesh.get(&voters[0], "/v1/voters").await;
        seats["voters"][3]["seat"] == "learner" && seats["change"]["step"] == "catching-up"
    })
    .await;
    let (status, refused) = change(&mesh, &voters[0], json!({ "change": "remove", "id": 2 })).await;
    assert_eq!((status, &refused["reason"]), (409, &"change_under_way".into()), "{refused}");
    assert_eq!(change(&mesh, &voters[0], json!({ "change": "remove", "id": 4 })).await.0, 200);
    settled(&mesh, &voters[0], &[1, 2, 3]).await;
    revoke(&mesh, &voters[0], "all-is-well").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_goes_where_it_is_asked_to_and_away_from_who_stops() {
    let mesh = Mesh::new();
    let mut voters = mesh.start_all().await;
    let leader = mesh.leader(&voters).await.id;
    let to = voters.iter().find(|voter| voter.id != leader).unwrap().id;
    let (status, asked) = change(&mesh, &voters[0], json!({ "change": "transfer", "to": to.0 })).await;
    assert_eq!(status, 200, "{asked}");
    mesh.until("handed over", async || {
        mesh.get(&voters[0], "/v1/status").await.1["leader"] == to.0
            && mesh.get(&voters[2], "/v1/status").await.1["leader"] == to.0
    })
    .await;
    revoke(&mesh, &voters[0], "s").await;
    let (status, refused) = change(&mesh, &voters[0], json!({ "change": "transfer", "to": 9 })).await;
    assert_eq!((status, &refused["reason"]), (409, &"no_such_voter".into()), "{refused}");

    // A leader that is asked to stop is not missed: by the time it has stopped another one leads.
    let position = voters.iter().position(|voter| voter.id == to).unwrap();
    let stopping = voters.remove(position);
    stopping.stop().await.unwrap();
    let (_, status) = mesh.get(&voters[0], "/v1/status").await;
    assert!(status["leader"] != to.0 && status["leader"].is_u64(), "{status}");
}
