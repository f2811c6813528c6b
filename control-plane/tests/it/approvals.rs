//! What permits more than the active bundle is approved by somebody, and the control plane knows by whom. Clauses B-42
//! to B-44 and C-90 to C-94.

use remit_common::bundle::diff::{Budget, compare};
use remit_common::bundle::{Approval, CompiledBundle, SignedBundle};
use remit_common::crypto::digest::Digest;
use remit_common::limits::APPROVAL_REASON_BYTES_MAX;
use remit_common::time::Timestamp;
use remit_control_plane::registry::{
    Applied, Command, Refusal, RefusalKind, State, StoredBundle, to_command, uncompared,
};

use crate::mesh::Mesh;
use crate::world::{CUTTER, NOW, OPS, Replica, at, bundle, bundle_for_records, genesis, key, reason, request, tenant};

const REASON: &str = "the auditors read 120 at a time";

fn compiled(container: &[u8]) -> CompiledBundle {
    SignedBundle::parse(container).unwrap().dangerous_unverified_compile().unwrap()
}

fn digest(container: &[u8]) -> Digest {
    SignedBundle::parse(container).unwrap().digest()
}

/// What an administrator approves who has compared these two.
fn approval(old: &[u8], new: &[u8], now: Timestamp) -> Approval {
    Approval::of(&compare(&compiled(old), &compiled(new), &[], now, Budget::VOTER), REASON).unwrap()
}

fn publish(replica: &mut Replica, body: Vec<u8>, nonce: u64) -> Applied {
    replica.admin(request(OPS, "/v1/bundles", body, NOW, nonce), NOW)
}

/// What the voter that is to propose it says.
fn admitted(replica: &Replica, who: u8, body: Vec<u8>) -> Result<bool, Refusal> {
    match uncompared(&replica.state, &request(who, "/v1/bundles", body, NOW, 99), NOW)? {
        Some(bundle) => bundle.check().map(|compared| compared.is_some()),
        None => Ok(false),
    }
}

fn stored(state: &State, container: &[u8]) -> StoredBundle {
    state.bundles().get(&(tenant("acme"), digest(container))).unwrap().as_ref().clone()
}

#[test]
fn what_is_wider_is_not_proposed_without_an_approval() {
    let mut replica = Replica::new();
    let (first, wider, narrower) =
        (bundle("acme", 1, &[6, 7], NOW), bundle_for_records(2, 120, NOW), bundle_for_records(2, 90, NOW));
    assert_eq!(admitted(&replica, OPS, first.clone()), Ok(false), "a tenant's first bundle replaces nothing");
    assert_eq!(reason(&publish(&mut replica, first.clone(), 1)), "bundle");

    let refused = admitted(&replica, OPS, wider.clone()).unwrap_err();
    assert_eq!((refused.kind, refused.reason.as_str()), (RefusalKind::Conflict, "widening_not_approved"));
    for told in ["version 2", "newly permitted: `contracts.read`", "For example `", "--approve-widening"] {
        assert!(refused.detail.contains(told), "{told}: {}", refused.detail);
    }
    assert_eq!(admitted(&replica, OPS, narrower.clone()), Ok(true), "compared, and not wider");
    assert_eq!(admitted(&replica, OPS, approval(&first, &wider, NOW).with(&wider)), Ok(true));
    // Nothing is compared that runs already, or that the log refuses with a reason of its own.
    assert_eq!(admitted(&replica, OPS, first.clone()), Ok(false));
    assert_eq!(admitted(&replica, CUTTER, wider.clone()), Ok(false));
    assert_eq!(admitted(&replica, OPS, bundle("acme", 2, &[6], NOW)), Ok(false));
    assert_eq!(admitted(&replica, OPS, b"REMITAPR".to_vec()), Ok(false));
    // Applying asks nobody: voters of any version take what is in the log.
    assert_eq!(reason(&publish(&mut replica, wider, 2)), "bundle");
}

#[test]
fn going_back_to_what_is_wider_needs_an_approval_like_any_other_change() {
    let mut replica = Replica::new();
    let (first, narrower, back) =
        (bundle("acme", 1, &[6, 7], NOW), bundle_for_records(2, 90, NOW), bundle("acme", 3, &[6, 7], NOW));
    for (nonce, container) in [(1, &first), (2, &narrower)] {
        assert_eq!(reason(&publish(&mut replica, container.clone(), nonce)), "bundle");
    }
    assert_eq!(admitted(&replica, OPS, back).unwrap_err().reason, "widening_not_approved");
}

#[test]
fn who_approved_what_stays_with_the_bundle() {
    let mut replica = Replica::new();
    let (first, wider) = (bundle("acme", 1, &[6, 7], NOW), bundle_for_records(2, 120, NOW));
    publish(&mut replica, first.clone(), 1);
    let given = approval(&first, &wider, NOW);
    assert!(given.requests > 0 && given.actions.keys().any(|action| action.as_str() == "contracts.read"), "{given:?}");
    let Applied::Bundle { number, .. } = publish(&mut replica, given.with(&wider), 2) else { panic!("not published") };
    let kept = stored(&replica.state, &wider);
    let approved = kept.approved.clone().expect("an approval");
    assert_eq!((approved.by, approved.name.as_str()), (key(OPS).public().id(), "ops"));
    assert_eq!((approved.index, approved.at, &approved.approval), (number, NOW, &given));
    assert_eq!(kept.container.as_ref(), wider, "edges get the container alone");
    assert_eq!(stored(&replica.state, &first).approved, None);

    let snapshot = replica.state.to_snapshot();
    let restored = State::from_snapshot(&genesis(true, NOW), &snapshot).unwrap();
    assert_eq!(stored(&restored, &wider), kept);
    assert_eq!(restored.to_snapshot(), snapshot);
    assert_eq!(restored.active(&tenant("acme")).unwrap().digest(), &digest(&wider));

    // Pushed again, it is what was approved then.
    assert_eq!(reason(&publish(&mut replica, wider.clone(), 3)), "bundle");
    assert_eq!(stored(&replica.state, &wider).approved, Some(approved));
}

/// Clause C-93: an approval is of what is found, not of whatever may come.
#[test]
fn an_approval_of_other_findings_or_of_nothing_is_not_proposed() {
    let mut replica = Replica::new();
    let (first, wider, narrower) =
        (bundle("acme", 1, &[6, 7], NOW), bundle_for_records(2, 120, NOW), bundle_for_records(2, 90, NOW));
    publish(&mut replica, first.clone(), 1);
    let given = approval(&first, &wider, NOW);
    let refused =
        |approval: Approval, container: &[u8]| admitted(&replica, OPS, approval.with(container)).unwrap_err().reason;
    let none = Approval { requests: 0, actions: [].into(), loosened: 0, ..given.clone() };
    assert_eq!(refused(none.clone(), &wider), "approval_of_other_findings");
    let fewer = given.actions.iter().map(|(action, count)| (action.clone(), count - 1)).collect();
    assert_eq!(refused(Approval { actions: fewer, ..given.clone() }, &wider), "approval_of_other_findings");
    let others = [("crm.other".parse().unwrap(), u64::MAX)].into();
    assert_eq!(refused(Approval { actions: others, ..given.clone() }, &wider), "approval_of_other_findings");
    assert_eq!(refused(none, &narrower), "nothing_to_approve");
    // A desk asks more than a voter: more may be approved than is found here.
    let more = given.actions.iter().map(|(action, count)| (action.clone(), count + 1)).collect();
    assert_eq!(admitted(&replica, OPS, Approval { actions: more, ..given }.with(&wider)), Ok(true));
}

/// Clause C-95: what was compared with one bundle does not replace another, however late its entry comes.
#[test]
fn a_bundle_that_was_compared_with_another_than_the_active_one_is_refused() {
    let mut replica = Replica::new();
    let (first, second, third) =
        (bundle("acme", 1, &[6, 7], NOW), bundle_for_records(2, 90, NOW), bundle_for_records(3, 95, NOW));
    let command = |replica: &Replica, container: &[u8], nonce| {
        let request = request(OPS, "/v1/bundles", container.to_vec(), NOW, nonce);
        let compared = uncompared(&replica.state, &request, NOW).unwrap().map(|bundle| bundle.check().unwrap());
        to_command(&replica.state, request, NOW, compared.flatten())
    };
    let early = command(&replica, &first, 1);
    assert!(matches!(early, Command::Publish { base: None, .. }));
    assert_eq!(reason(&replica.apply(early)), "bundle");
    // 95 is no more than 100, and more than the 90 that become active first.
    let (late, between) = (command(&replica, &third, 2), command(&replica, &second, 3));
    assert!(matches!(&late, Command::Publish { base: Some(base), .. } if *base == digest(&first)));
    assert_eq!(reason(&replica.apply(between)), "bundle");
    assert_eq!(reason(&replica.apply(late)), "compared_with_another_base");
    assert_eq!(replica.state.active(&tenant("acme")).unwrap().digest(), &digest(&second));
    assert_eq!(admitted(&replica, OPS, third.clone()).unwrap_err().reason, "widening_not_approved");
    // An approval says itself what it is of.
    let approved = approval(&second, &third, NOW).with(&third);
    assert!(matches!(command(&replica, &approved, 4), Command::Admin { .. }));
    assert_eq!(reason(&publish(&mut replica, approved, 4)), "bundle");
}

/// Clause C-95: a bundle that is not valid yet is not compared, and must not become active when it is.
#[test]
fn a_wider_bundle_that_becomes_valid_between_proposal_and_entry_is_refused() {
    let mut replica = Replica::new();
    let first = bundle("acme", 1, &[6, 7], NOW);
    publish(&mut replica, first.clone(), 1);
    // Bundles are taken five minutes before they are made.
    let early = bundle_for_records(2, 120, at(301));
    let proposed = request(OPS, "/v1/bundles", early.clone(), NOW, 2);
    assert!(uncompared(&replica.state, &proposed, NOW).unwrap().is_none());
    let entry = to_command(&replica.state, proposed, at(2), None);
    assert!(matches!(entry, Command::Publish { base: None, .. }));
    assert_eq!(reason(&replica.apply(entry)), "compared_with_another_base");
    assert_eq!(replica.state.active(&tenant("acme")).unwrap().digest(), &digest(&first));
    // Nor is one that somebody approved for less than it is.
    let little = approval(&first, &bundle_for_records(2, 101, NOW), NOW);
    assert_eq!(admitted(&replica, OPS, little.with(&early)).unwrap_err().reason, "from_the_future");
}

/// Clause C-92, on every voter alike.
#[test]
fn an_approval_of_another_change_is_refused() {
    let mut replica = Replica::new();
    let (first, second, wider) =
        (bundle("acme", 1, &[6, 7], NOW), bundle("acme", 2, &[6, 7], at(-60)), bundle_for_records(3, 120, NOW));
    let given = approval(&first, &wider, NOW);
    let refused = |replica: &mut Replica, body: Vec<u8>, nonce| {
        let Applied::Refused(refused) = publish(replica, body, nonce) else { panic!("taken") };
        assert_eq!((refused.kind, refused.reason.as_str()), (RefusalKind::Conflict, "approval_of_another_base"));
    };
    refused(&mut replica, given.with(&wider), 1);
    publish(&mut replica, first.clone(), 2);
    publish(&mut replica, second.clone(), 3);
    refused(&mut replica, given.with(&wider), 4);
    refused(&mut replica, Approval { base: None, ..given }.with(&wider), 5);
    assert_eq!(replica.state.active(&tenant("acme")).unwrap().digest(), &digest(&second));
    assert_eq!(reason(&publish(&mut replica, approval(&second, &wider, NOW).with(&wider), 6)), "bundle");
}

#[test]
fn an_approval_that_is_too_long_or_none_is_refused() {
    let mut replica = Replica::new();
    let (first, wider) = (bundle("acme", 1, &[6, 7], NOW), bundle_for_records(2, 120, NOW));
    publish(&mut replica, first.clone(), 1);
    let given = approval(&first, &wider, NOW);
    let long = Approval { reason: "x".repeat(APPROVAL_REASON_BYTES_MAX + 1), ..given.clone() };
    let lines = Approval { reason: "two\nlines".to_owned(), ..given.clone() };
    let mut later = given.with(&wider);
    later[9] = 2;
    let mut cut = given.with(&wider);
    cut.truncate(100);
    // An approval of an approval is none of a container.
    let twice = given.with(&given.with(&wider));
    for (nonce, body) in (10..).zip([long.with(&wider), lines.with(&wider), later, cut, twice]) {
        assert_eq!(reason(&publish(&mut replica, body, nonce)), "malformed");
    }
    assert_eq!(reason(&publish(&mut replica, given.with(&wider), 20)), "bundle");
}

/// Clause A-19: whole voters, and a client that compares nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_control_plane_demands_an_approval_and_lists_it_after_a_restart() {
    let mesh = Mesh::new();
    let mut voters = mesh.start_all().await;
    let (first, wider) = (bundle("acme", 1, &[6, 7], mesh.now), bundle_for_records(2, 120, mesh.now));
    let leader = mesh.leader(&voters).await.id;
    let place = voters.iter().position(|voter| voter.id == leader).unwrap();
    let (status, published) = mesh.post(&voters[place], OPS, "/v1/bundles", first.clone()).await;
    assert_eq!(status, 200, "{published}");

    let (status, problem) = mesh.post(&voters[place], OPS, "/v1/bundles", wider.clone()).await;
    assert_eq!((status, &problem["reason"]), (409, &"widening_not_approved".into()), "{problem}");
    assert_eq!(problem["index"], serde_json::Value::Null, "it did not get into the log");
    let (_, listed) = mesh.get(&voters[place], "/v1/bundles?tenant=acme").await;
    assert_eq!(listed["bundles"].as_array().map(Vec::len), Some(1), "{listed}");

    let given = approval(&first, &wider, mesh.now);
    let there = (place + 1) % voters.len();
    let (status, published) = mesh.post(&voters[there], OPS, "/v1/bundles", given.with(&wider)).await;
    assert_eq!(status, 200, "{published}");
    let expected = |listed: &serde_json::Value| {
        let approved = &listed["bundles"][0]["approved"];
        assert_eq!((&approved["name"], &approved["index"]), (&"ops".into(), &published["index"]), "{listed}");
        assert_eq!(approved["by"], key(OPS).public().id().to_string());
        assert_eq!(approved["approval"], serde_json::to_value(&given).unwrap());
        assert_eq!(listed["bundles"][1]["approved"], serde_json::Value::Null, "{listed}");
    };
    expected(&mesh.get(&voters[place], "/v1/bundles?tenant=acme").await.1);
    let stopped = voters.remove(there);
    let number = u8::try_from(stopped.id.0).unwrap();
    stopped.stop().await.unwrap();
    voters.push(mesh.restart(number).await);
    expected(&mesh.get(voters.last().unwrap(), "/v1/bundles?tenant=acme").await.1);
}
