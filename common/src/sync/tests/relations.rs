//! Relations: offered to whoever follows them, in order, and named before every tick answer. Clauses D-9 to D-12.

use super::*;
use crate::relation_log::{BatchContent, Head, RelationLog, Writers};
use crate::trust::fixture::key;
use crate::trust::merkle::InclusionPath;
use crate::trust::tick::{Nonce, TickAnswer, TickPath};

fn log(batches: u64) -> RelationLog {
    let writers = Writers::new(&[*key(20).public()]).unwrap();
    let mut log = RelationLog::new(MESH, tenant("acme"));
    for n in 1..=batches {
        let next = (n, log.head().digest);
        let add = vec![format!("contract:{n}#account_owner@user:maya").parse().unwrap()];
        let content = BatchContent::change(MESH, tenant("acme"), next, add, Vec::new());
        log.append(content.sign(&key(20)).unwrap().verify(&MESH, &tenant("acme"), &writers).unwrap()).unwrap();
    }
    log
}

fn state_with(log: &RelationLog) -> PublishedState {
    let mut state = state_with_revocations(0);
    state.set_relations(&Arc::new(log.clone()));
    state
}

fn head_of(log: &RelationLog) -> RelationsHead {
    let Head { revision, digest } = log.head();
    RelationsHead { tenant: tenant("acme"), revision, digest }
}

fn nothing() -> RelationsHead {
    RelationsHead { tenant: tenant("acme"), revision: 0, digest: Digest::default() }
}

fn arrived(link: &mut Link) -> Vec<(u64, Vec<Vec<u8>>)> {
    link.run().unwrap();
    let taken = std::mem::take(&mut link.outputs);
    let relations = taken.into_iter().filter_map(|output| match output {
        Output::Relations { first, batches, .. } => Some((first, batches)),
        _ => None,
    });
    relations.collect()
}

fn bytes_of(log: &RelationLog) -> Vec<Vec<u8>> {
    log.kept().iter().map(|kept| kept.bytes.to_vec()).collect()
}

fn answer(n: u64) -> TickAnswer {
    let path = || InclusionPath { index: 0, size: 1, siblings: Vec::new() };
    TickAnswer {
        n: LogIndex(n),
        nonce: Nonce([0; 32]),
        nonce_root: Digest::default(),
        path: TickPath { nonce: path(), voter: path() },
        epoch: RevocationEpoch(0),
        revocations: Digest::default(),
        activations: Digest::default(),
        directory: 1,
        root: 1,
    }
}

/// The edge has taken everything up to this revision, and says so.
fn taken(link: &mut Link, log: &RelationLog, revision: u64) {
    let digest = *log.digest_at(revision).unwrap();
    link.subscriber.acknowledge_relations(vec![RelationsHead { tenant: tenant("acme"), revision, digest }]);
}

fn compacted(log: &RelationLog) -> RelationLog {
    let mut log = log.clone();
    let next = (log.head().revision + 1, log.head().digest);
    let statement = BatchContent::statement(MESH, tenant("acme"), next, Vec::new());
    let writers = Writers::new(&[*key(20).public()]).unwrap();
    log.append(statement.sign(&key(20)).unwrap().verify(&MESH, &tenant("acme"), &writers).unwrap()).unwrap();
    log
}

/// Clauses D-9 and D-13.
#[test]
fn an_edge_that_follows_gets_every_batch_in_order_one_offer_at_a_time_and_then_what_is_new() {
    let (before, after) = (log(300), log(303));
    let mut link = Link::new(state_with(&before), Have::default(), Vec::new());
    link.run().unwrap();
    assert_eq!(link.to_edge, 1, "an edge of an earlier version follows nothing, and hears nothing of it");
    link.subscriber.follow_relations(vec![nothing()]);
    let all = bytes_of(&after);
    assert_eq!(arrived(&mut link), [(1, all[..256].to_vec())]);
    assert_eq!(arrived(&mut link), [], "the edge has not said what became of the first");
    taken(&mut link, &after, 256);
    assert_eq!(arrived(&mut link), [(257, all[256..300].to_vec())]);
    link.publisher.update(Arc::new(state_with(&after)));
    assert_eq!(arrived(&mut link), []);
    // It has taken a part of the offer only: what follows on that is offered.
    taken(&mut link, &after, 300);
    assert_eq!(arrived(&mut link), [(301, all[300..].to_vec())]);
    // A statement lets go of what was before it, and waits for nothing.
    let statement = compacted(&after);
    link.publisher.update(Arc::new(state_with(&statement)));
    assert_eq!(arrived(&mut link), [(304, bytes_of(&statement))]);
}

/// Clause D-10.
#[test]
fn a_bundle_is_fetched_before_relations_however_many_there_are() {
    let (before, after) = (log(300), log(700));
    let mut link = Link::new(state_with(&before), Have::default(), Vec::new());
    link.run().unwrap();
    link.subscriber.follow_relations(vec![nothing()]);
    assert_eq!(arrived(&mut link).len(), 1);
    let files = vec![vec![1; 10]];
    let (bundle, entries) = bundle(1, &files);
    let mut state = state_with(&after);
    state.activate(activation(70, "acme", &bundle), &PublishedBundle::new(&bundle));
    link.publisher.update(Arc::new(state));
    link.files = entries;
    taken(&mut link, &after, 256);
    link.run().unwrap();
    let kinds = link.outputs.iter().filter_map(|output| match output {
        Output::Bundle { .. } => Some("bundle"),
        Output::Relations { .. } => Some("relations"),
        _ => None,
    });
    assert_eq!(kinds.collect::<Vec<_>>(), ["bundle", "relations"]);
}

/// Clause D-14: another bundle, or a disk that did not take something, in the middle of an offer.
#[test]
fn an_edge_that_says_again_what_it_has_gets_everything_after_it_once() {
    let whole = log(600);
    let mut link = Link::new(state_with(&whole), Have::default(), Vec::new());
    link.run().unwrap();
    link.subscriber.follow_relations(vec![nothing()]);
    // The offer is on its way, or half fetched, when the edge starts over.
    for steps in 1..6 {
        step_without_verifying(&mut link);
        link.subscriber.follow_relations(vec![nothing()]);
        for _ in 0..steps {
            step_without_verifying(&mut link);
        }
    }
    let offers = arrived(&mut link);
    assert_eq!(offers, [(1, bytes_of(&whole)[..256].to_vec())]);
    taken(&mut link, &whole, 256);
    assert_eq!(arrived(&mut link), [(257, bytes_of(&whole)[256..512].to_vec())]);
    taken(&mut link, &whole, 512);
    assert_eq!(arrived(&mut link), [(513, bytes_of(&whole)[512..].to_vec())]);
}

#[test]
fn an_edge_that_has_some_gets_the_rest_and_one_with_another_past_gets_all() {
    let whole = log(5);
    let mut link = Link::new(state_with(&whole), Have::default(), Vec::new());
    link.run().unwrap();
    link.subscriber.follow_relations(vec![head_of(&log(3))]);
    assert_eq!(arrived(&mut link), [(4, bytes_of(&whole)[3..].to_vec())]);
    link.subscriber.follow_relations(vec![head_of(&whole)]);
    assert_eq!(arrived(&mut link), []);
    let other = RelationsHead { digest: Digest([7; 32]), ..head_of(&log(3)) };
    // An honest edge refuses what comes then, and goes stale; it does not forget by itself.
    link.subscriber.follow_relations(vec![RelationsHead { revision: 0, ..other }]);
    assert_eq!(arrived(&mut link), [(1, bytes_of(&whole))]);
}

#[test]
fn the_relations_of_a_tick_come_before_its_answer_and_only_to_whoever_follows() {
    let whole = log(2);
    let heads = BTreeMap::from([(tenant("acme"), whole.head()), (tenant("other"), whole.head())]);
    let mut link = Link::new(state_with(&whole), Have::default(), Vec::new());
    link.run().unwrap();
    link.publisher.answer_tick(answer(7), &heads, None);
    link.run().unwrap();
    assert_eq!(link.outputs, [Output::Subscribed, Output::TickAnswer(answer(7))]);
    link.subscriber.follow_relations(vec![head_of(&whole), RelationsHead { tenant: tenant("new"), ..nothing() }]);
    link.run().unwrap();
    link.outputs.clear();
    link.publisher.answer_tick(answer(8), &heads, None);
    // One that was not sent is replaced, together with what belongs to it.
    link.publisher.answer_tick(answer(9), &heads, None);
    link.run().unwrap();
    // Also of whom there is nothing yet: what is not named proves nothing.
    let new = RelationsHead { tenant: tenant("new"), ..nothing() };
    let named = TickRelations { n: LogIndex(9), heads: vec![head_of(&whole), new] };
    assert_eq!(link.outputs, [Output::TickRelations(named), Output::TickAnswer(answer(9))]);
}

#[test]
fn a_voter_that_lies_about_relations_is_left() {
    let object = ObjectRef { digest: Digest([1; 32]), len: 10 };
    let offer = |first, batches| RelationsOffer { tenant: tenant("acme"), first, batches };
    let hear = |message: RelationsOffer, follow: bool| {
        let mut link = Link::new(state_with_revocations(0), Have::default(), Vec::new());
        link.run().unwrap();
        if follow {
            link.subscriber.follow_relations(vec![nothing()]);
        }
        link.subscriber.handle_message(VoterMessage::Relations(message), T0)
    };
    assert_eq!(hear(offer(1, vec![object]), true), Ok(()));
    let long = ObjectRef { len: 9 * 1024 * 1024, ..object };
    for (what, message, follow) in [
        ("of a tenant that nobody asked for", offer(1, vec![object]), false),
        ("without batches", offer(1, Vec::new()), true),
        ("too many", offer(1, vec![object; 257]), true),
        ("a batch that is too long", offer(1, vec![long]), true),
        ("more than may be fetched together", offer(1, vec![ObjectRef { len: 3 << 20, ..object }; 2]), true),
        ("beyond all numbers", offer(u64::MAX, vec![object; 3]), true),
    ] {
        assert!(hear(message, follow).is_err(), "{what}");
    }
}

#[test]
fn a_batch_that_is_gone_is_asked_for_again() {
    let whole = log(3);
    let mut link = Link::new(state_with(&whole), Have::default(), Vec::new());
    link.run().unwrap();
    link.subscriber.follow_relations(vec![nothing()]);
    while let Some(output) = link.subscriber.poll_output() {
        if let Output::Send(message) = output {
            link.publisher.handle_message(message).unwrap();
        }
    }
    let offer = link.publisher.poll(Lane::Control).unwrap();
    // Between the offer and the question the log was compacted.
    link.publisher.update(Arc::new(state_with_revocations(0)));
    link.subscriber.handle_message(offer, T0).unwrap();
    link.run().unwrap();
    assert!(link.outputs.contains(&Output::RelationsGone(tenant("acme"))));
}
