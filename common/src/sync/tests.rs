//! Both ends against each other, and the edge's end against a voter that lies.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use proptest::prelude::*;

use super::Lane;
use super::published::{PublishedBundle, PublishedObject, PublishedRevocations, PublishedShard, PublishedState};
use super::publisher::{EdgeReport, FETCH_MAX, Publisher};
use super::subscriber::{Output, Subscriber, SubscriberIdentity};
use crate::bundle::container::SignedBundle;
use crate::bundle::manifest::FileEntry;
use crate::crypto::digest::Digest;
use crate::crypto::sign::Signature;
use crate::id::{BootId, CredentialId, EdgeId, KeyId, LogIndex, MeshId, RevocationEpoch, TenantId, VoterId};
use crate::identity::signed_request::SignedRequest;
use crate::limits::{BUNDLE_BYTES_MAX, CHUNK_BYTES_MAX, DOCUMENT_BYTES_MAX, SHARD_BYTES_MAX};
use crate::revocation::{Cut, CutKind, Revocation, Revocations};
use crate::time::{BootTime, Timestamp};
use crate::trust::activation::Activation;
use crate::trust::dsse::Envelope;
use crate::wire::frame::{Decoded, PeerMisbehaved, decode};
use crate::wire::message::*;

const MESH: MeshId = MeshId([0x11; 16]);
const BOOT: BootId = BootId([0x22; 16]);
const VOTER: VoterId = VoterId(2);
const T0: BootTime = BootTime::from_millis(1_000);

fn edge() -> EdgeId {
    EdgeId::new("eu-1").unwrap()
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

fn api() -> CredentialId {
    CredentialId::new("api").unwrap()
}

/// A bundle whose manifest is nothing but bytes: what is in it does not concern this layer.
fn bundle(version: u8, files: &[Vec<u8>]) -> (SignedBundle, Vec<FileEntry>) {
    let entry = |(n, file): (usize, &Vec<u8>)| FileEntry {
        path: format!("file-{n}"),
        len: u64::try_from(file.len()).unwrap(),
        sha256: Digest::of(&[file]),
    };
    let envelope = Envelope::new("application/test", vec![version; 40]);
    (SignedBundle::from_parts(envelope, files.to_vec()), files.iter().enumerate().map(entry).collect())
}

fn revocation(n: u64) -> Revocation {
    let request = SignedRequest {
        method: "POST".to_owned(),
        path: "/v1/revocations".to_owned(),
        body: vec![b'x'; 200],
        created: 1,
        expires: 2,
        nonce: "00".repeat(16),
        key: KeyId(Digest([9; 32])),
        signature: Signature([7; 64]),
    };
    let cut = Cut { tenant: tenant("acme"), kind: CutKind::Session, id: format!("s-{n}") };
    Revocation { cut, until: Timestamp::from_secs(5_000 + n), index: LogIndex(n), request }
}

fn revocations(count: u64) -> Arc<PublishedRevocations> {
    let mut set = Revocations::new();
    for n in 1..=count {
        set.cut(revocation(n)).unwrap();
    }
    PublishedRevocations::new(set)
}

fn activation(number: u64, name: &str, bundle: &SignedBundle) -> Activation {
    Activation { number: LogIndex(number), tenant: tenant(name), ring: 0, manifest: bundle.digest() }
}

/// A state with something of everything, and the bundle that is active in it.
fn state() -> (PublishedState, SignedBundle, Vec<FileEntry>) {
    let mut state = PublishedState::new(revocations(3), Vec::new());
    state.add_root(1, &PublishedObject::new(b"root 1".as_slice()));
    state.add_root(2, &PublishedObject::new(b"root 2".as_slice()));
    state.set_directory(5, &PublishedObject::new(vec![b'd'; CHUNK_BYTES_MAX + 10]));
    let files = vec![vec![1; 2 * CHUNK_BYTES_MAX + 1], Vec::new(), vec![2; 100], vec![2; 100]];
    let (bundle, entries) = bundle(1, &files);
    state.activate(activation(70, "acme", &bundle), &PublishedBundle::new(&bundle));
    state.set_shard(edge(), tenant("acme"), api(), shard(3));
    state.set_shard(EdgeId::new("eu-2").unwrap(), tenant("acme"), api(), shard(9));
    (state, bundle, entries)
}

fn shard(version: u64) -> PublishedShard {
    PublishedShard { version, bytes: vec![7; 50].into() }
}

fn identity() -> SubscriberIdentity {
    let tenants = BTreeSet::from([tenant("acme")]);
    SubscriberIdentity { mesh: MESH, edge: edge(), boot: BOOT, voter: VOTER, tenants }
}

/// The two ends and everything that came out of them.
struct Link {
    publisher: Publisher,
    subscriber: Subscriber,
    files: Vec<FileEntry>,
    held: BTreeMap<Digest, Vec<u8>>,
    outputs: Vec<Output>,
    reports: Vec<EdgeReport>,
    objects: usize,
    to_edge: usize,
}

impl Link {
    fn new(state: PublishedState, have: Have, files: Vec<FileEntry>) -> Self {
        Self {
            publisher: Publisher::new(MESH, edge(), VOTER, Arc::new(state), T0),
            subscriber: Subscriber::new(identity(), have, BTreeSet::new(), T0),
            files,
            held: BTreeMap::new(),
            outputs: Vec::new(),
            reports: Vec::new(),
            objects: 0,
            to_edge: 0,
        }
    }

    /// Moves messages, over frames as a stream would, until neither side has anything to say.
    fn run(&mut self) -> Result<(), PeerMisbehaved> {
        loop {
            let mut quiet = true;
            while let Some(output) = self.subscriber.poll_output() {
                quiet = false;
                match output {
                    Output::Send(message) => self.reports.extend(self.publisher.handle_message(through(&message))?),
                    Output::Manifest { activation, envelope } => {
                        assert_eq!(Digest::of(&[&envelope.payload]), activation.manifest);
                        self.subscriber.manifest_verified(&self.files, self.held.clone(), T0)?;
                        self.outputs.push(Output::Manifest { activation, envelope });
                    }
                    other => self.outputs.push(other),
                }
            }
            for lane in Lane::OF_VOTER {
                assert_eq!(self.publisher.has_output(lane), self.publisher.has_output(lane));
                let expected = self.publisher.has_output(lane);
                let message = self.publisher.poll(lane);
                assert_eq!(message.is_some(), expected, "{lane:?} says what it has");
                if let Some(message) = message {
                    quiet = false;
                    self.to_edge += 1;
                    self.objects += usize::from(matches!(message, VoterMessage::Object(_)));
                    self.subscriber.handle_message(through(&message), T0)?;
                }
            }
            if quiet {
                return Ok(());
            }
        }
    }
}

fn through<M: WireMessage>(message: &M) -> M {
    let bytes = message.to_frame().unwrap();
    match decode(&bytes) {
        Ok(Decoded::Frame(frame, taken)) if taken == bytes.len() => M::from_frame(frame).unwrap(),
        other => panic!("{other:?}"),
    }
}

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

fn have_all(set: &PublishedRevocations) -> Have {
    Have {
        root: 2,
        directory: 5,
        activations: vec![HaveActivation { tenant: tenant("acme"), ring: 0, number: LogIndex(70) }],
        epoch: set.set().epoch(),
        revocations: set.set().digest(),
        shards: vec![HaveShard { tenant: tenant("acme"), credential: api(), version: 3 }],
    }
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

fn step_without_verifying(link: &mut Link) {
    while let Some(output) = link.subscriber.poll_output() {
        match output {
            Output::Send(message) => link.reports.extend(link.publisher.handle_message(message).unwrap()),
            other => link.outputs.push(other),
        }
    }
    for lane in Lane::OF_VOTER {
        if let Some(message) = link.publisher.poll(lane) {
            link.subscriber.handle_message(message, T0).unwrap();
        }
    }
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

fn state_with_revocations(count: u64) -> PublishedState {
    PublishedState::new(revocations(count), Vec::new())
}

// --- a voter that lies -----------------------------------------------------------------------------------------------

/// A subscriber that has greeted.
fn subscribed(have: Have) -> Subscriber {
    let mut subscriber = Subscriber::new(identity(), have, BTreeSet::new(), T0);
    subscriber.handle_message(VoterMessage::HelloAck(HelloAck { version: 1, voter: VOTER }), T0).unwrap();
    while subscriber.poll_output().is_some() {}
    subscriber
}

fn told(messages: Vec<VoterMessage>) -> Result<Vec<Output>, PeerMisbehaved> {
    let (state, _, _) = state();
    let mut subscriber = subscribed(have_all(state.revocations()));
    let mut outputs = Vec::new();
    for message in messages {
        subscriber.handle_message(message, T0)?;
        outputs.extend(std::iter::from_fn(|| subscriber.poll_output()));
    }
    Ok(outputs)
}

fn object(bytes: &[u8]) -> ObjectRef {
    PublishedObject::new(bytes).object
}

fn chunk(bytes: &[u8], offset: u64, total: u64) -> VoterMessage {
    VoterMessage::Object(Chunk { digest: Digest::of(&[b"directory"]), offset, total, bytes: bytes.to_vec() })
}

fn directory(version: u64) -> VoterMessage {
    VoterMessage::Directory(Published { version, object: object(b"directory") })
}

#[test]
fn rollback_attack_numbers_that_go_back_are_refused() {
    let went_back = |message: VoterMessage, what: &str| match told(vec![message]) {
        Err(PeerMisbehaved::WentBack { what: found, .. }) => assert_eq!(found, what),
        other => panic!("{what}: {other:?}"),
    };
    went_back(VoterMessage::Root(Published { version: 1, object: object(b"r") }), "root version");
    went_back(directory(4), "directory version");
    let (old, _) = bundle(1, &[]);
    let activated = |number| {
        VoterMessage::Activation(Activated { activation: activation(number, "acme", &old), envelope: object(b"e") })
    };
    went_back(activated(69), "activation number");
    let offer = |version| ShardOffer { tenant: tenant("acme"), credential: api(), version, bytes: vec![1] };
    went_back(VoterMessage::Shard(offer(2)), "shard version");
    let empty = RevocationsPart {
        from: RevocationEpoch(0),
        to: RevocationEpoch(1),
        digest: Digest::default(),
        entries: 0,
        part: 0,
        added: Vec::new(),
        removed: Vec::new(),
    };
    went_back(VoterMessage::Revocations(empty), "revocation epoch");
    // What is told once more, changes nothing.
    assert_eq!(told(vec![directory(5), activated(70), VoterMessage::Shard(offer(3))]), Ok(Vec::new()));
}

#[test]
fn endless_data_attack_more_than_was_stated_is_refused() {
    let out_of_place = |messages: Vec<VoterMessage>, why: &str| match told(messages) {
        Err(PeerMisbehaved::OutOfPlace { kind: "Object", why: found }) => assert_eq!(found, why),
        other => panic!("{why}: {other:?}"),
    };
    out_of_place(vec![chunk(b"directory", 0, 9)], "the object was not asked for");
    out_of_place(vec![directory(6), chunk(b"directory", 0, 10)], "the object has another size than was stated");
    out_of_place(vec![directory(6), chunk(b"directory!", 0, 9)], "the piece goes beyond the object");
    out_of_place(
        vec![directory(6), chunk(b"direc", 0, 9), chunk(b"ctory", 4, 9)],
        "the piece does not follow on the last",
    );
    out_of_place(
        vec![directory(6), chunk(b"direc", 0, 9), chunk(b"direc", 0, 9)],
        "the piece does not follow on the last",
    );
    out_of_place(vec![directory(6), chunk(b"", 0, 9)], "the piece is empty");
    out_of_place(vec![directory(6), chunk(b"directorz", 0, 9)], "the object has another digest than it was asked by");
    out_of_place(
        vec![directory(6), chunk(b"directory", 0, 9), chunk(b"directory", 0, 9)],
        "the object was not asked for",
    );
    let outputs = told(vec![directory(6), chunk(b"direc", 0, 9), chunk(b"tory", 5, 9)]).unwrap();
    assert!(outputs.contains(&Output::Directory { version: 6, bytes: b"directory".to_vec() }));
}

#[test]
fn endless_data_attack_sizes_beyond_every_bound_are_refused_before_anything_is_fetched() {
    let huge = |len: usize| ObjectRef { digest: Digest([1; 32]), len: u64::try_from(len).unwrap() };
    let too_long = |message: VoterMessage| {
        let outputs = told(vec![message]);
        assert!(matches!(outputs, Err(PeerMisbehaved::TooLong { .. } | PeerMisbehaved::TooMany { .. })), "{outputs:?}");
    };
    too_long(VoterMessage::Root(Published { version: 3, object: huge(DOCUMENT_BYTES_MAX + 1) }));
    too_long(VoterMessage::Directory(Published { version: 6, object: huge(usize::MAX) }));
    let (next, _) = bundle(2, &[]);
    let envelope = huge(DOCUMENT_BYTES_MAX + 1);
    too_long(VoterMessage::Activation(Activated { activation: activation(71, "acme", &next), envelope }));
    let bytes = vec![0; SHARD_BYTES_MAX + 1];
    too_long(VoterMessage::Shard(ShardOffer { tenant: tenant("acme"), credential: api(), version: 4, bytes }));
    let part = RevocationsPart {
        from: RevocationEpoch(0),
        to: RevocationEpoch(99),
        digest: Digest::default(),
        entries: u32::MAX,
        part: 0,
        added: Vec::new(),
        removed: Vec::new(),
    };
    too_long(VoterMessage::Revocations(part));
}

#[test]
fn endless_data_attack_a_manifest_larger_than_a_bundle_may_be_is_not_fetched() {
    let (state, _, _) = state();
    let mut link = Link::new(state, Have::default(), Vec::new());
    while !link.outputs.iter().any(|output| matches!(output, Output::Manifest { .. })) {
        step_without_verifying(&mut link);
    }
    let file = |n: u8| FileEntry {
        path: format!("{n}"),
        len: u64::try_from(BUNDLE_BYTES_MAX / 4).unwrap(),
        sha256: Digest([n; 32]),
    };
    let files: Vec<_> = (0..5).map(file).collect();
    let refused = link.subscriber.manifest_verified(&files, BTreeMap::new(), T0);
    assert!(matches!(refused, Err(PeerMisbehaved::TooLong { .. })));
}

#[test]
fn slow_retrieval_attack_a_publisher_that_dribbles_is_too_slow() {
    let mut subscriber = subscribed(Have { root: 2, directory: 5, ..Have::default() });
    assert_eq!(subscriber.poll_timeout(), None);
    subscriber.handle_message(directory(6), T0).unwrap();
    let until = subscriber.poll_timeout().unwrap();
    subscriber.handle_message(chunk(b"d", 0, 9), T0).unwrap();
    assert_eq!(subscriber.poll_timeout(), Some(until), "a byte now and then buys no time");
    assert_eq!(subscriber.handle_timeout(T0), Ok(()));
    assert!(matches!(subscriber.handle_timeout(until), Err(PeerMisbehaved::TooSlow { .. })));
    // A greeting that never comes.
    let mut silent = Subscriber::new(identity(), Have::default(), BTreeSet::new(), T0);
    let until = silent.poll_timeout().unwrap();
    assert!(matches!(silent.handle_timeout(until), Err(PeerMisbehaved::TooSlow { .. })));
    let mut publisher = Publisher::new(MESH, edge(), VOTER, Arc::new(state().0), T0);
    let until = publisher.poll_timeout().unwrap();
    assert!(matches!(publisher.handle_timeout(until), Err(PeerMisbehaved::TooSlow { .. })));
}

#[test]
fn mix_and_match_attack_another_document_in_place_of_the_manifest_is_nacked() {
    let (next, _) = bundle(2, &[]);
    let other = Envelope::new("application/test", b"something else".to_vec()).to_bytes();
    let named = object(&other);
    let activated = Activated { activation: activation(71, "acme", &next), envelope: named };
    let total = named.len;
    let piece = Chunk { digest: named.digest, offset: 0, total, bytes: other };
    let outputs = told(vec![VoterMessage::Activation(activated), VoterMessage::Object(piece)]).unwrap();
    let nacked = |output: &Output| matches!(output, Output::Send(EdgeMessage::Nack(nack)) if nack.code == "wrong-manifest" && nack.digest == next.digest());
    assert!(outputs.iter().any(nacked), "{outputs:?}");
    assert!(!outputs.iter().any(|output| matches!(output, Output::Manifest { .. })));
}

#[test]
fn a_bundle_of_a_tenant_that_is_not_served_here_is_not_fetched() {
    let (theirs, _) = bundle(2, &[]);
    let activated = Activated { activation: activation(71, "globex", &theirs), envelope: object(b"e") };
    let outputs = told(vec![VoterMessage::Activation(activated.clone())]).unwrap();
    assert_eq!(outputs, [Output::Activation(activated.activation)]);
}

#[test]
fn parts_of_an_update_that_do_not_fit_together_are_refused() {
    let part = |part, added: u64| RevocationsPart {
        from: RevocationEpoch(3),
        to: RevocationEpoch(7),
        digest: Digest([4; 32]),
        entries: 3,
        part,
        added: (0..added).map(revocation).collect(),
        removed: Vec::new(),
    };
    let check = |parts: Vec<RevocationsPart>| told(parts.into_iter().map(VoterMessage::Revocations).collect());
    assert!(check(vec![part(0, 2), part(1, 1)]).is_ok_and(|outputs| outputs.len() == 1));
    for wrong in [
        vec![part(1, 1)],
        vec![part(0, 2), part(2, 1)],
        vec![part(0, 2), part(0, 2)],
        vec![part(0, 2), part(1, 2)],
        vec![part(0, 2), RevocationsPart { to: RevocationEpoch(8), ..part(1, 1) }],
        vec![part(0, 2), RevocationsPart { digest: Digest([5; 32]), ..part(1, 1) }],
        vec![RevocationsPart { from: RevocationEpoch(5), ..part(0, 3) }],
        vec![part(0, 0)],
    ] {
        assert!(check(wrong.clone()).is_err(), "{wrong:?}");
    }
}

#[test]
fn somebody_else_at_the_other_end_is_noticed() {
    let mut subscriber = Subscriber::new(identity(), Have::default(), BTreeSet::new(), T0);
    let ack = VoterMessage::HelloAck(HelloAck { version: 1, voter: VoterId(3) });
    assert_eq!(subscriber.handle_message(ack, T0), Err(PeerMisbehaved::WrongPeer));
    let mut subscriber = Subscriber::new(identity(), Have::default(), BTreeSet::new(), T0);
    let ack = VoterMessage::HelloAck(HelloAck { version: 9, voter: VOTER });
    assert!(subscriber.handle_message(ack, T0).is_err());

    let hello = Hello { versions: vec![1], mesh: MESH, edge: edge(), boot: BOOT };
    let greet = |hello| {
        let mut publisher = Publisher::new(MESH, edge(), VOTER, Arc::new(state().0), T0);
        publisher.handle_message(EdgeMessage::Hello(hello)).map(|_| publisher)
    };
    assert!(matches!(greet(Hello { mesh: MeshId([9; 16]), ..hello.clone() }), Err(PeerMisbehaved::WrongPeer)));
    let other = EdgeId::new("eu-2").unwrap();
    assert!(matches!(greet(Hello { edge: other, ..hello.clone() }), Err(PeerMisbehaved::WrongPeer)));
    assert!(greet(Hello { versions: vec![1; 1_000], ..hello.clone() }).is_err());
    // No version in common is no misbehaviour, and the edge hears why.
    let mut publisher = greet(Hello { versions: vec![7], ..hello }).unwrap();
    assert!(publisher.is_over());
    assert!(matches!(publisher.poll(Lane::Control), Some(VoterMessage::Refused(refused)) if refused.code == "version"));
}

#[test]
fn an_edge_that_asks_for_more_than_a_bundle_is_refused() {
    let (state, _, _) = state();
    let mut link = Link::new(state, Have::default(), Vec::new());
    step_without_verifying(&mut link);
    step_without_verifying(&mut link);
    let digests = vec![Digest([1; 32]); FETCH_MAX + 1];
    let refused = link.publisher.handle_message(EdgeMessage::Fetch(Fetch { digests }));
    assert!(matches!(refused, Err(PeerMisbehaved::TooMany { .. })));
}

#[test]
fn w_6_messages_from_the_future_are_counted_and_stepped_over() {
    let mut subscriber = subscribed(Have::default());
    subscriber.handle_message(VoterMessage::Unknown { kind: 400 }, T0).unwrap();
    assert_eq!((subscriber.unknown_messages(), subscriber.poll_output()), (1, None));
}

// --- any order, any repetition ---------------------------------------------------------------------------------------

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Numbers {
    root: u64,
    directory: u64,
    activation: u64,
    epoch: u64,
    tick: u64,
    shard: u64,
}

impl Numbers {
    fn see(&mut self, output: &Output) {
        let rise = |old: &mut u64, new: u64| {
            assert!(new > *old, "{output:?} after {old}");
            *old = new;
        };
        match output {
            Output::Root { version, .. } => rise(&mut self.root, *version),
            Output::Directory { version, .. } => rise(&mut self.directory, *version),
            Output::Activation(activation) => rise(&mut self.activation, activation.number.0),
            Output::Revocations(update) => rise(&mut self.epoch, update.to.0),
            Output::TickAnswer(answer) => rise(&mut self.tick, answer.n.0),
            Output::Shard(offer) => rise(&mut self.shard, offer.version),
            _ => {}
        }
    }
}

/// Every message that an honest voter sends over three states, in order.
fn conversation() -> Vec<VoterMessage> {
    let (first, _, files) = state();
    let mut link = Link::new(first, Have::default(), files);
    let mut messages = Vec::new();
    for round in 0..3u64 {
        loop {
            let before = messages.len();
            while let Some(output) = link.subscriber.poll_output() {
                match output {
                    Output::Send(message) => drop(link.publisher.handle_message(message).unwrap()),
                    Output::Manifest { .. } => {
                        link.subscriber.manifest_verified(&link.files, BTreeMap::new(), T0).unwrap();
                    }
                    _ => {}
                }
            }
            for lane in Lane::OF_VOTER {
                if let Some(message) = link.publisher.poll(lane) {
                    link.subscriber.handle_message(message.clone(), T0).unwrap();
                    messages.push(message);
                }
            }
            if messages.len() == before {
                break;
            }
        }
        let (next, entries) = bundle(10 + u8::try_from(round).unwrap(), &[vec![5; 300]]);
        let mut state = state_with_revocations(4 + round);
        state.set_directory(6 + round, &PublishedObject::new(vec![b'd'; 10 + usize::try_from(round).unwrap()]));
        state.activate(activation(80 + round, "acme", &next), &PublishedBundle::new(&next));
        state.set_shard(edge(), tenant("acme"), api(), shard(4 + round));
        link.files = entries;
        link.publisher.update(Arc::new(state));
    }
    messages
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn d_5_no_order_and_no_repetition_makes_a_number_go_back(
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
    ) {
        let messages = conversation();
        let mut subscriber = Subscriber::new(identity(), Have::default(), BTreeSet::new(), T0);
        let mut seen = Numbers::default();
        let mut queue: VecDeque<_> = order.into_iter().map(|at| at.get(&messages).clone()).collect();
        queue.push_front(messages[0].clone());
        for message in queue {
            let outcome = subscriber.handle_message(message, T0);
            while let Some(output) = subscriber.poll_output() {
                seen.see(&output);
                if let Output::Manifest { .. } = output {
                    let (_, files) = bundle(10, &[vec![5; 300]]);
                    subscriber.manifest_verified(&files, BTreeMap::new(), T0).unwrap();
                }
            }
            if outcome.is_err() {
                break;
            }
        }
    }
}
