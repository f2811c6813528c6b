//! The bytes of log entries, answers and snapshots, held in place. A line here changes only together with a version in
//! the header. Clauses C-50, C-51, C-70.

use remit_common::crypto::digest::Digest;
use remit_common::id::{LogIndex, VoterId};
use remit_common::text;
use remit_common::time::Timestamp;
use remit_common::trust::tick::TickRoots;
use remit_control_plane::registry::{Command, Genesis, RolloutStep, State, TrustDocuments};

use crate::world::{MESH, NOW, OPS, Replica, at, reason, revoke, tenant};

#[track_caller]
fn check(command: &Command, expected: &str) {
    assert_eq!(text::hex(&command.to_entry()), expected);
    assert_eq!(Command::from_entry(&text::from_hex(expected).unwrap()).as_ref(), Ok(command));
}

#[test]
fn admin_version_1() {
    check(
        &Command::Admin { request: revoke(OPS, "acme", "s", NOW, 1), received_at: at(1) },
        "524d5443000100010004504f53540f2f76312f7265766f636174696f6e732b7b2274656e616e74223a2261636d65222c226b\
         696e64223a2273657373696f6e222c226964223a2273227dfc0081e66afc3c81e66a20303030303030303030303030303030\
         3030303030303030303030303030303031f31f5d967197f8859f3fb184cee0857fd4c36bf520b4389b1cbc6b4e1b14ab0440\
         5af188d6bd1ae235e166c8ca47c2cef87bd2c32680feee5e40252bf1b89228b1de8229120d35206c3e3e5f8134dee97a7a1c\
         9dc77feac47e9b3ec64bc8dadf05fde8eb6794a1010000",
    );
}

/// Clause C-95: the entry of a request, with the digest of what was compared behind it.
#[test]
fn publish_version_1() {
    let (request, received_at) = (revoke(OPS, "acme", "s", NOW, 1), at(1));
    let admin = text::hex(&Command::Admin { request: request.clone(), received_at }.to_entry());
    let rest = admin.strip_prefix("524d54430001000100").unwrap();
    let publish = |base| Command::Publish { request: request.clone(), received_at, base };
    check(&publish(None), &format!("524d54430001000104{rest}00"));
    check(&publish(Some(Digest([0x22; 32]))), &format!("524d54430001000104{rest}01{}", "22".repeat(32)));
}

#[test]
fn install_trust_version_1() {
    let documents = TrustDocuments { roots: vec![vec![0xaa, 0xbb]], directory: Some(vec![0xcc]) };
    check(
        &Command::InstallTrust { documents, at: Timestamp::from_millis(0x0102) },
        "524d544300010001010102aabb0101ccfb0201",
    );
    let documents = TrustDocuments { roots: Vec::new(), directory: None };
    check(&Command::InstallTrust { documents, at: Timestamp::from_millis(1) }, "524d54430001000101000001");
}

#[test]
fn tick_version_1() {
    let roots = TickRoots { roots: vec![(VoterId(1), Digest([0x11; 32])), (VoterId(300), Digest([0x22; 32]))] };
    check(
        &Command::Tick { roots, at: NOW },
        "524d5443000100010202011111111111111111111111111111111111111111111111111111111111111111fb2c0122222222\
         22222222222222222222222222222222222222222222222222222222fd00e86794a1010000",
    );
}

/// Clauses O-8 and O-9.
#[test]
fn step_rollout_version_1() {
    let step = |step| Command::StepRollout { tenant: tenant("acme"), rollout: LogIndex(9), wave: 1, step, at: NOW };
    check(&step(RolloutStep::Next), "524d544300010001050461636d65090100fd00e86794a1010000");
    let back = RolloutStep::TakeBack { reason: "a gate".to_owned() };
    check(&step(back), "524d544300010001050461636d6509010106612067617465fd00e86794a1010000");
}

#[test]
fn expire_revocations_version_1() {
    check(&Command::ExpireRevocations { at: NOW }, "524d54430001000103fd00e86794a1010000");
}

#[test]
fn empty_snapshot_version_5() {
    let genesis = Genesis { mesh: MESH, root: Digest([0x33; 32]) };
    assert_eq!(
        text::hex(&State::new(genesis).to_snapshot()),
        "524d544300030005203131313131313131313131313131313131313131313131313131313131313131333333333333333333\
         333333333333333333333333333333333333333333333300000000000000000000000000000000000000"
    );
}

/// What the versions before wrote is still read.
#[test]
fn empty_snapshot_version_4() {
    let genesis = Genesis { mesh: MESH, root: Digest([0x33; 32]) };
    let read = State::from_snapshot(
        &genesis,
        &text::from_hex(
            "524d544300030004203131313131313131313131313131313131313131313131313131313131313131333333333333333333\
             3333333333333333333333333333333333333333333333000000000000000000000000000000000000",
        )
        .unwrap(),
    );
    assert_eq!(read.unwrap().to_snapshot(), State::new(genesis).to_snapshot());
}

#[test]
fn empty_snapshot_version_3() {
    let genesis = Genesis { mesh: MESH, root: Digest([0x33; 32]) };
    let read = State::from_snapshot(
        &genesis,
        &text::from_hex(
            "524d544300030003203131313131313131313131313131313131313131313131313131313131313131333333333333333333\
             33333333333333333333333333333333333333333333330000000000000000000000000000000000",
        )
        .unwrap(),
    );
    assert_eq!(read.unwrap().to_snapshot(), State::new(genesis).to_snapshot());
}

#[test]
fn empty_snapshot_version_2() {
    let genesis = Genesis { mesh: MESH, root: Digest([0x33; 32]) };
    let read = State::from_snapshot(
        &genesis,
        &text::from_hex(
            "524d544300030002203131313131313131313131313131313131313131313131313131313131313131333333333333333333\
         3333333333333333333333333333333333333333333333000000000000000000000000000000",
        )
        .unwrap(),
    );
    assert_eq!(read.unwrap().to_snapshot(), State::new(genesis).to_snapshot());
}

#[test]
fn empty_snapshot_version_1() {
    let genesis = Genesis { mesh: MESH, root: Digest([0x33; 32]) };
    let read = State::from_snapshot(
        &genesis,
        &text::from_hex(
            "524d544300030001203131313131313131313131313131313131313131313131313131313131313131333333333333333333\
             33333333333333333333333333333333333333333333330000000000000000000000000000",
        )
        .unwrap(),
    );
    assert_eq!(read.unwrap().to_snapshot(), State::new(genesis).to_snapshot());
}

#[test]
fn snapshot_version_5() {
    let mut replica = Replica::new();
    assert_eq!(reason(&replica.admin(revoke(OPS, "acme", "s", NOW, 1), NOW)), "revoked");
    let roots = TickRoots { roots: vec![(VoterId(2), Digest([0x22; 32]))] };
    assert_eq!(reason(&replica.apply(Command::Tick { roots, at: at(1) })), "tick");
    let snapshot = replica.state.to_snapshot();
    // Mostly documents, which have golden bytes of their own; so the whole is held by its digest.
    assert_eq!(
        Digest::of(&[&snapshot]).to_string(),
        "e3f41d06882650292db202fbc1868465261fb122e1405f92484e2a958d82786d"
    );
}

#[test]
fn a_later_version_is_not_taken_for_this_one() {
    let mut entry = Command::ExpireRevocations { at: NOW }.to_entry();
    entry[7] = 2;
    let refused = Command::from_entry(&entry).unwrap_err();
    assert_eq!(refused, remit_control_plane::Malformed::Version { found: 2 });
}
