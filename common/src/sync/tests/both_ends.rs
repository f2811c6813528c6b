//! An honest voter and its edge.

use super::*;

#[test]
fn an_edge_with_nothing_gets_everything_once_and_whole() {
    let (state, bundle, files) = state();
    let mut link = Link::new(state, Have::default(), files);
    link.run().unwrap();
    let whole = |output: &Output| matches!(output, Output::Bundle { bundle: found, .. } if *found == bundle);
    assert_eq!(link.outputs.iter().filter(|output| whole(output)).count(), 1);
    let versions: Vec<_> = link
        .outputs
        .iter()
        .filter_map(|output| match output {
            Output::Root { version, bytes } => Some((*version, bytes.len())),
            Output::Directory { version, bytes } => Some((*version, bytes.len())),
            _ => None,
        })
        .collect();
    assert_eq!(versions, [(1, 6), (2, 6), (5, CHUNK_BYTES_MAX + 10)], "D-3: roots in order, then the directory");
    let shards: Vec<_> = link.outputs.iter().filter(|output| matches!(output, Output::Shard(_))).collect();
    assert!(matches!(shards.as_slice(), [Output::Shard(offer)] if offer.version == 3), "only its own: {shards:?}");
    assert!(link.outputs.iter().any(|output| matches!(output, Output::Revocations(update) if update.added.len() == 3)));
    assert!(link.reports.contains(&EdgeReport::Subscribed { boot: BOOT }));
    let received = |report: &EdgeReport| matches!(report, EdgeReport::Ack(ack) if ack.stage == Stage::Received);
    assert_eq!(link.reports.iter().filter(|report| received(report)).count(), 1);
}

#[test]
fn d_1_an_edge_that_has_everything_is_told_nothing() {
    let (state, _, files) = state();
    let have = have_all(state.revocations());
    let mut link = Link::new(state, have, files);
    link.run().unwrap();
    assert_eq!(link.outputs, [Output::Subscribed]);
    assert_eq!(link.to_edge, 1, "the greeting, and nothing else");
}

#[test]
fn d_1_an_edge_that_is_ahead_of_its_voter_is_told_nothing() {
    let (state, _, files) = state();
    let mut have = have_all(state.revocations());
    have.root = 9;
    have.directory = 9;
    have.activations[0].number = LogIndex(900);
    have.epoch = RevocationEpoch(900);
    have.shards[0].version = 9;
    let mut link = Link::new(state, have, files);
    link.run().unwrap();
    assert_eq!(link.to_edge, 1);
}

#[test]
fn d_4_only_what_an_edge_lacks_is_fetched() {
    let (state, bundle, files) = state();
    let set = state.revocations().clone();
    let mut have = have_all(&set);
    have.activations.clear();
    let mut link = Link::new(state, have, files.clone());
    let big = bundle.parts().1[0].clone();
    link.held = BTreeMap::from([(files[0].sha256, big)]);
    link.run().unwrap();
    assert_eq!(link.objects, 3, "the manifest, the empty file, and one for two equal files");
    assert!(
        link.outputs.iter().any(|output| matches!(output, Output::Bundle { bundle: found, .. } if *found == bundle))
    );
}

#[test]
fn a_bundle_that_is_there_or_was_refused_is_not_fetched_again() {
    let (state, bundle, files) = state();
    let mut link = Link::new(state.clone(), Have::default(), files.clone());
    link.subscriber = Subscriber::new(identity(), Have::default(), BTreeSet::from([bundle.digest()]), T0);
    link.run().unwrap();
    assert!(!link.outputs.iter().any(|output| matches!(output, Output::Manifest { .. } | Output::Bundle { .. })));
    assert!(link.outputs.iter().any(|output| matches!(output, Output::Activation(_))), "the fact counts all the same");

    let mut link = Link::new(state, Have::default(), files);
    while !link.outputs.iter().any(|output| matches!(output, Output::Manifest { .. })) {
        step_without_verifying(&mut link);
    }
    link.subscriber.refuse_bundle(bundle.digest(), "bad-signature", "one of two", T0);
    link.run().unwrap();
    assert!(link.reports.iter().any(|report| matches!(report, EdgeReport::Nack(nack) if nack.code == "bad-signature")));
    assert!(!link.outputs.iter().any(|output| matches!(output, Output::Bundle { .. })));
}

#[test]
fn a_bundle_that_is_superseded_while_it_is_fetched_does_not_stop_the_next() {
    let (mut state, _, _) = state();
    let mut link = Link::new(state.clone(), Have::default(), Vec::new());
    while !link.outputs.iter().any(|output| matches!(output, Output::Manifest { .. })) {
        step_without_verifying(&mut link);
    }
    // The voter drops the old bundle's files before the edge asks for them.
    let (next, entries) = bundle(2, &[vec![9; 10]]);
    let fresh = revocations(3);
    state = PublishedState::new(fresh, Vec::new());
    state.activate(activation(80, "acme", &next), &PublishedBundle::new(&next));
    link.publisher.update(Arc::new(state));
    let gone = FileEntry { path: "x".to_owned(), len: 5, sha256: Digest::of(&[b"other"]) };
    link.subscriber.manifest_verified(&[gone], BTreeMap::new(), T0).unwrap();
    link.files = entries;
    link.run().unwrap();
    let bundles: Vec<_> = link.outputs.iter().filter(|output| matches!(output, Output::Bundle { .. })).collect();
    assert!(matches!(bundles.as_slice(), [Output::Bundle { bundle, .. }] if *bundle == next), "{bundles:?}");
}

#[test]
fn d_6_later_revocations_come_as_a_difference() {
    let (state, _, files) = state();
    let mut link = Link::new(state, have_all(&revocations(3)), files);
    link.run().unwrap();
    let mut next = PublishedState::new(revocations(5), Vec::new());
    link.publisher.update(Arc::new(next.clone()));
    link.run().unwrap();
    next = PublishedState::new(revocations(6), Vec::new());
    link.publisher.update(Arc::new(next));
    link.run().unwrap();
    let updates: Vec<_> = link
        .outputs
        .iter()
        .filter_map(|output| match output {
            Output::Revocations(update) => Some((update.from.0, update.to.0, update.added.len())),
            _ => None,
        })
        .collect();
    // Nobody remembers what the edge came with, so that the first is the whole; then the voter knows what it said.
    assert_eq!(updates, [(0, 5, 5), (5, 6, 1)]);
}

#[test]
fn d_6_an_edge_a_little_behind_gets_a_difference_too() {
    let (_, _, files) = state();
    let state = PublishedState::new(revocations(5), vec![revocations(4), revocations(3)]);
    let mut link = Link::new(state, have_all(&revocations(3)), files);
    link.run().unwrap();
    let found = |output: &Output| matches!(output, Output::Revocations(update) if update.from.0 == 3 && update.added.len() == 2);
    assert!(link.outputs.iter().any(found));
}

#[test]
fn d_6_a_difference_is_made_once_for_all_edges() {
    let (current, before) = (revocations(40), revocations(39));
    let first = current.since(&before);
    assert_eq!(first.iter().map(|part| part.added.len()).sum::<usize>(), 1);
    // An equal set that is another in memory: what an edge says it has, not what this voter told it.
    assert!(Arc::ptr_eq(&first, &current.since(&revocations(39))));
    assert!(Arc::ptr_eq(&first, &current.since(&before)));
    // Beyond those that are kept every difference is still right.
    let missing = |count: u64| current.since(&revocations(count)).iter().map(|part| part.added.len()).sum::<usize>();
    assert_eq!((0..39).map(missing).collect::<Vec<_>>(), (2..=40).rev().collect::<Vec<_>>());
    assert!(Arc::ptr_eq(&first, &current.since(&before)), "and the first ones stay");
}

#[test]
fn d_6_a_set_larger_than_a_frame_comes_in_parts_and_is_one_update() {
    let count = 4_000;
    let mut link = Link::new(PublishedState::new(revocations(count), Vec::new()), Have::default(), Vec::new());
    link.run().unwrap();
    assert!(link.to_edge > 3, "{} messages", link.to_edge);
    let updates: Vec<_> = link.outputs.iter().filter(|output| matches!(output, Output::Revocations(_))).collect();
    assert!(matches!(updates.as_slice(), [Output::Revocations(update)] if update.added.len() == 4_000));
}

#[test]
fn revocations_do_not_wait_for_objects() {
    let (state, _, files) = state();
    let mut link = Link::new(state, Have::default(), files);
    for _ in 0..6 {
        step_without_verifying(&mut link);
    }
    let mut next = state_with_revocations(9);
    next.set_directory(6, &PublishedObject::new(vec![b'd'; 4 * CHUNK_BYTES_MAX]));
    link.publisher.update(Arc::new(next));
    assert!(link.publisher.has_output(Lane::Revocations), "whatever the other lanes have to do");
    assert!(Lane::Revocations.priority() > Lane::Control.priority());
    assert!(Lane::Control.priority() > Lane::Objects.priority() && Lane::Objects.priority() > Lane::Records.priority());
}
