//! Whoever takes all the channels that can be had leaves the others theirs.

use std::net::Ipv4Addr;

use remit_common::crypto::sign::SigningKey;
use remit_common::envelope::{
    AgentIdentity, EvidenceKind, Issuer, Issuers, RawPresentation, RootPayload, RootRequest, RootStamp, assemble_root,
    sign_root_part,
};
use remit_common::id::MeshId;
use remit_common::lattice::{Audience, ClassSet, Demands, Effect, Effects, Grant, PurposePath};
use remit_common::proof::{Answering, EdgeKey, Opening, RawRequest};
use remit_common::time::Now;
use zeroize::Zeroizing;

use super::*;

const MESH: MeshId = MeshId([7; 16]);
const ISSUED: Timestamp = Timestamp::from_secs(1_800_000_000);
const HOLDER: u8 = 9;
const EDGE: u8 = 8;
/// Channels of these tests in all, and requests.
const OPEN: usize = 64;
const ASKED: usize = 128;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(Zeroizing::new([seed; 32])).unwrap()
}

fn bytes(number: usize) -> [u8; 16] {
    u128::try_from(number).unwrap().to_be_bytes()
}

fn source(number: u8) -> Source {
    Source::from(std::net::IpAddr::from(Ipv4Addr::new(192, 0, 2, number)))
}

/// An envelope of a root of this tenant.
fn envelope(tenant: &str, number: usize) -> (Arc<Presented>, Arc<Effective>) {
    let tenant: TenantId = tenant.parse().unwrap();
    let request = RootRequest {
        tenant: tenant.clone(),
        delegator: "maya".parse().unwrap(),
        session: "s1".parse().unwrap(),
        task: "t1".parse().unwrap(),
        agent: AgentIdentity { id: "agent:a".parse().unwrap(), class: "a".parse().unwrap(), attestation: None },
        purpose: PurposePath::new(&[1]).unwrap(),
        grants: vec![Grant {
            tools: ["crm.read".parse().unwrap()].into(),
            classes: Some(ClassSet::EMPTY),
            effects: Some(Effects::from(Effect::Read)),
            ..Grant::default()
        }],
        life: Duration::from_secs(3_600),
        delegation: None,
        audience: Audience::EVERYWHERE,
        demands: Demands::NONE,
        intent: None,
    };
    let stamp = RootStamp {
        issued: ISSUED,
        nonce: bytes(number),
        evidence_kind: EvidenceKind::Admin,
        evidence: Digest([1; 32]),
        catalogue_version: 1,
        taxonomy_version: 1,
        min_bundle_version: 1,
    };
    let payload = RootPayload::build(&request, key(HOLDER).public(), &stamp).unwrap();
    let made = assemble_root(&payload, vec![sign_root_part(&MESH, &payload, &key(1))]).unwrap();
    let raw = RawPresentation::parse(&made).unwrap();
    let issuer = *key(1).public();
    let (from, until) = (Timestamp::from_secs(0), Timestamp::MAX);
    let listed = Issuer { kid: issuer.id(), key: issuer, tenants: vec![tenant], from, until };
    let chain = raw.clone().verify(&MESH, &Issuers::new(vec![listed]).unwrap()).unwrap();
    (Arc::new(Presented::from(raw)), Arc::new(chain.effective()))
}

/// An edge of two tenants, and what comes to it.
struct Scene {
    channels: Channels,
    made: usize,
}

impl Scene {
    fn new() -> Self {
        Self { channels: Channels::with_room(OPEN, ASKED, 2), made: 0 }
    }

    /// The holder of this envelope opens a channel.
    fn open(
        &mut self,
        (raw, effective): &(Arc<Presented>, Arc<Effective>),
        source: Source,
        secs: u64,
    ) -> Result<(), ProofRefused> {
        self.made += 1;
        let now = Now { wall: ISSUED, boot: BootTime::from_millis(1_000 * secs) };
        let edge = EdgeKey { mesh: MESH, edge: "eu-west-1".parse().unwrap(), key: *key(EDGE).public() };
        let ephemeral = Zeroizing::new([3; 32]);
        let leaf = effective.leaf().unwrap();
        let asked = Opening::new(edge, leaf, &key(HOLDER), now, (&ephemeral, bytes(self.made))).unwrap();
        let request = RawRequest::parse(asked.body()).unwrap();
        self.channels.check(&bytes(self.made), source, now.boot)?;
        let request = request.verify(&leaf, effective.holder_key().unwrap()).unwrap();
        let with = Answering {
            key: &key(EDGE),
            channel: ChannelId(bytes(self.made)),
            ephemeral: &ephemeral,
            nonce: [2; 16],
            base: 0,
            life: Duration::from_secs(600),
        };
        let (acceptor, _) = request.answer(&with, now).unwrap();
        let channel = Channel::new(acceptor, source, Arc::clone(raw), Arc::clone(effective), None);
        self.channels.insert(channel, bytes(self.made), now.boot)
    }

    /// How many channels there is room for, one an envelope, and why there is none for the next.
    fn fill(&mut self, tenant: &str, sources: u8, secs: u64) -> (usize, ProofRefused) {
        for opened in 0.. {
            let number = self.made;
            let from = source(u8::try_from(opened % usize::from(sources)).unwrap());
            if let Err(why) = self.open(&envelope(tenant, number), from, secs) {
                return (opened, why);
            }
        }
        unreachable!()
    }
}

#[test]
fn a_tenant_that_takes_all_channels_leaves_the_others_theirs() {
    let mut scene = Scene::new();
    assert_eq!(scene.fill("acme", 200, 0), (OPEN / 4 * 3, Full::Tenant.into()));
    assert_eq!(scene.fill("globex", 200, 0), (OPEN / 4, Full::Edge.into()));
    assert_eq!(scene.channels.len(), OPEN);
    // What has ended gives its room back to whose it was.
    let later = BootTime::from_millis(700_000);
    scene.channels.sweep(later, RevocationEpoch(0), |_| false);
    assert_eq!(scene.channels.len(), 0);
    assert_eq!(scene.fill("globex", 200, 700).0, OPEN / 4 * 3);
}

#[test]
fn a_tenant_that_asks_for_channels_without_end_leaves_the_others_their_requests() {
    let mut scene = Scene::new();
    // Each leaf again and again: few channels are open, and every request is remembered.
    let roots: Vec<_> = (0..8).map(|number| envelope("acme", number)).collect();
    let mut taken = 0;
    let why = loop {
        let from = source(u8::try_from(taken % 200).unwrap());
        match scene.open(&roots[taken % roots.len()], from, 0) {
            Ok(()) => taken += 1,
            Err(why) => break why,
        }
    };
    assert_eq!((taken, why), (ASKED / 4 * 3, Full::Tenant.into()));
    assert!(scene.channels.len() <= LEAF_MAX * roots.len());
    let other = envelope("globex", 1_000);
    let taken = (0..200).take_while(|from| scene.open(&other, source(*from), 0).is_ok()).count();
    assert_eq!(taken, ASKED / 4);
    // After two minutes nothing of it is left.
    let taken = (0..200).take_while(|from| scene.open(&other, source(*from), 122).is_ok()).count();
    assert_eq!(taken, ASKED / 4, "as many as one root may ask for");
}

#[test]
fn one_source_and_one_root_take_a_quarter_and_no_more() {
    let mut scene = Scene::new();
    assert_eq!(scene.fill("acme", 1, 0), (OPEN / 4, Full::Source.into()));
    assert_eq!(scene.open(&envelope("acme", 1_000), source(1), 0), Ok(()), "another source has room");
    let mut scene = Scene::new();
    let root = envelope("acme", 0);
    let mut refused = None;
    let taken = (0..200).take_while(|from| {
        refused = scene.open(&root, source(*from), 0).err();
        refused.is_none()
    });
    assert_eq!(taken.count(), ASKED / 4);
    assert_eq!(refused, Some(Full::Root.into()));
    assert_eq!(scene.open(&envelope("acme", 1_000), source(1), 0), Ok(()), "another root has room");
}

#[test]
fn a_request_that_nobody_signed_takes_no_room() {
    let scene = Scene::new();
    for number in 0..2 * ASKED {
        assert_eq!(scene.channels.check(&bytes(number), source(1), BootTime::default()), Ok(()));
    }
}
