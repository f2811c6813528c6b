//! The edge's end against a voter that lies, named after the attacks.

use super::*;

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
    too_long(VoterMessage::Directory(Published { version: 6, object: huge(DIRECTORY_BYTES_MAX + 1) }));
    let fits = Published { version: 6, object: huge(DIRECTORY_BYTES_MAX) };
    assert!(told(vec![VoterMessage::Directory(fits)]).is_ok(), "clause T-26");
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
