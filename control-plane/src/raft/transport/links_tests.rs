//! What another voter's answer to a probe does, and what it does not do: it may be a lie.

use openraft::CommittedLeaderId;

use super::*;
use crate::raft::types::{Addresses, LogId, Membership};

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

/// Members of one set, at these ports if any, as of an entry.
fn membership(term: u64, index: u64, members: &[(u64, Option<u16>)]) -> StoredMembership {
    let nodes: BTreeMap<u64, Addresses> =
        members.iter().map(|(id, port)| (*id, Addresses { raft: port.map(at), dist: None })).collect();
    let voters = members.iter().map(|(id, _)| *id).collect();
    StoredMembership::new(
        Some(LogId::new(CommittedLeaderId::new(term, 1), index)),
        Membership::new(vec![voters], nodes),
    )
}

/// Voters 1 to 3 of the configuration, and 4, which came later.
fn four() -> Known {
    Known {
        configured: (1..=3u16).map(|id| (u64::from(id), at(id))).collect(),
        membership: membership(1, 9, &[(1, None), (2, None), (3, None), (4, Some(4))]),
        ..Known::default()
    }
}

fn wanted(known: &Known) -> Vec<(u64, Option<SocketAddr>)> {
    known.wanted(false).into_iter().collect()
}

#[test]
fn a_lying_answer_to_a_probe_leads_nobody_away_from_who_is_known() {
    let mut known = four();
    let before = wanted(&known);
    let elsewhere = |id| (id, Some(66));
    known.told.insert(3, membership(u64::MAX, u64::MAX, &[elsewhere(1), elsewhere(2), elsewhere(3), elsewhere(4)]));
    assert_eq!(wanted(&known), before);
    // Nor does it close the door on anybody.
    known.told.insert(3, membership(u64::MAX, u64::MAX, &[elsewhere(3)]));
    assert_eq!(wanted(&known), before);
    assert!((1..=4).all(|id| known.is_welcome(id)));
    // Before there is a membership the configuration holds.
    let fresh = Known { membership: StoredMembership::default(), ..four() };
    let lied_to = Known { told: known.told, membership: StoredMembership::default(), ..four() };
    assert_eq!(wanted(&lied_to), wanted(&fresh));
}

#[test]
fn a_removed_voter_that_named_itself_in_an_answer_is_not_welcome() {
    let mut known = four();
    let itself = membership(u64::MAX, u64::MAX, &[(1, None), (2, None), (3, None), (4, Some(4))]);
    known.told.insert(4, itself);
    known.membership = membership(1, 20, &[(1, None), (2, None), (3, None)]);
    assert!(!known.is_welcome(4));
    assert!(!known.wanted(false).contains_key(&4));
}

#[test]
fn who_missed_a_change_lets_in_those_that_came() {
    let mut known = four();
    known.told.insert(2, membership(3, 30, &[(2, None), (4, Some(4)), (5, Some(5))]));
    assert!(known.is_welcome(5));
    assert_eq!(known.wanted(false).get(&5), Some(&Some(at(5))));
    // And those who came after them, by the word of these.
    known.told.insert(5, membership(4, 40, &[(4, Some(4)), (5, Some(5)), (6, Some(6))]));
    assert!(known.is_welcome(6));
    // What is older than one's own log says nothing.
    known.told.insert(2, membership(1, 8, &[(6, Some(6))]));
    assert!(!known.is_welcome(5) && !known.is_welcome(6));
}
