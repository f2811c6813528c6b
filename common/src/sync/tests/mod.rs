//! Both ends against each other, and the edge's end against a voter that lies.

mod any_order;
mod both_ends;
mod lying_voter;
mod relations;

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
use crate::limits::{BUNDLE_BYTES_MAX, CHUNK_BYTES_MAX, DIRECTORY_BYTES_MAX, DOCUMENT_BYTES_MAX, SHARD_BYTES_MAX};
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
    let cut = Cut { tenant: tenant("acme").into(), kind: CutKind::Session, id: format!("s-{n}") };
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

fn state_with_revocations(count: u64) -> PublishedState {
    PublishedState::new(revocations(count), Vec::new())
}
