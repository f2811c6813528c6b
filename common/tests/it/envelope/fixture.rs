//! Keys, issuers and links, written from the description of the format and without the code under test.

use std::collections::BTreeMap;

use remit_common::crypto::digest::Digest;
use remit_common::crypto::sign::SigningKey;
use remit_common::envelope::{
    AgentIdentity, Delegation, EvidenceKind, Issuer, Issuers, RawPresentation, Restriction, RootPayload, RootRequest,
    RootStamp, VerifiedChain, assemble_root, delegate, sign_root_part,
};
use remit_common::id::{DimensionName, MeshId, ResourceId, TenantId};
use remit_common::lattice::{
    Audience, ClassSet, Demands, Effect, Effects, Grant, IdSet, PurposePath, SortedMap, ToolPattern,
};
use remit_common::time::Timestamp;
use zeroize::Zeroizing;

pub(super) const MESH: MeshId = MeshId([0x4d; 16]);
/// 2026-11-21T00:00:00Z.
pub(super) const ISSUED: u64 = 1_795_219_200;
/// Seeds of the issuers' keys.
pub(super) const ISSUERS: [u8; 3] = [101, 102, 103];
/// A seed that the directory lists for another tenant only.
pub(super) const FOREIGN_ISSUER: u8 = 104;
/// A seed that the directory listed until a minute before [`ISSUED`].
pub(super) const EXPIRED_ISSUER: u8 = 105;
/// A seed that the directory does not list.
pub(super) const STRANGER: u8 = 106;
/// Seeds of the holders along a chain.
pub(super) const HOLDERS: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

pub(super) fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(Zeroizing::new([seed; 32])).expect("every seed is a key")
}

pub(super) fn issuers() -> Issuers {
    let (acme, globex) = (tenant("acme"), tenant("globex"));
    let issuer = |seed: u8, tenants: &[&TenantId], until| {
        let key = *key(seed).public();
        let tenants = tenants.iter().map(|tenant| (*tenant).clone()).collect();
        Issuer { kid: key.id(), key, tenants, from: Timestamp::from_secs(0), until: Timestamp::from_secs(until) }
    };
    let mut list: Vec<Issuer> = ISSUERS.iter().map(|seed| issuer(*seed, &[&acme], u64::MAX)).collect();
    list.push(issuer(FOREIGN_ISSUER, &[&globex], u64::MAX));
    list.push(issuer(EXPIRED_ISSUER, &[&acme], ISSUED - 60));
    Issuers::new(list).expect("the keys differ")
}

pub(super) fn tenant(name: &str) -> TenantId {
    TenantId::new(name).expect("a valid name")
}

pub(super) fn verify(bytes: &[u8]) -> anyhow::Result<VerifiedChain> {
    Ok(RawPresentation::parse(bytes)?.verify(&MESH, &issuers())?)
}

// --- through the public interface

pub(super) fn agent(name: &str) -> AgentIdentity {
    AgentIdentity {
        id: format!("spiffe://acme.example/agent/{name}").parse().expect("a valid id"),
        class: name.parse().expect("a valid class"),
        attestation: None,
    }
}

pub(super) fn dimension(name: &str) -> DimensionName {
    name.parse().expect("a valid name")
}

pub(super) fn these(ids: &[&str]) -> IdSet {
    IdSet::In(ids.iter().map(|id| ResourceId::new(id).expect("a valid id")).collect())
}

pub(super) fn patterns(texts: &[&str]) -> Vec<ToolPattern> {
    texts.iter().map(|text| text.parse().expect("a pattern")).collect()
}

/// Contracts with customer, contract and 25 records; tickets without.
pub(super) fn root_request() -> RootRequest {
    RootRequest {
        tenant: tenant("acme"),
        delegator: "maya@acme.example".parse().expect("valid"),
        session: "sess-4711".parse().expect("valid"),
        task: "renewal-risk-acme".parse().expect("valid"),
        agent: agent("renewal-assistant"),
        purpose: PurposePath::new(&[1, 4]).expect("short"),
        grants: vec![
            Grant {
                tools: patterns(&["crm.read", "contracts.read"]),
                ids: SortedMap::from([
                    (dimension("customer"), these(&["cust_acme_1042"])),
                    (dimension("contract"), these(&["contract_7781", "contract_7782"])),
                ]),
                maxima: SortedMap::from([(dimension("records"), 25)]),
                classes: Some(ClassSet::from_iter([1, 2, 5])),
                effects: Some(Effects::from(Effect::Read)),
                ..Grant::default()
            },
            Grant {
                tools: patterns(&["tickets.create"]),
                ids: SortedMap::from([(dimension("customer"), these(&["cust_acme_1042"]))]),
                classes: Some(ClassSet::EMPTY),
                effects: Some(Effects::from_iter([Effect::Write, Effect::Irreversible])),
                ..Grant::default()
            },
        ],
        life: std::time::Duration::from_secs(3_600),
        delegation: Some(Delegation { depth_left: 3, fanout_max: 8, offline: false }),
        audience: Audience::EVERYWHERE,
        demands: Demands::NONE,
        intent: Some("Is Acme about to leave?".to_owned()),
    }
}

pub(super) fn stamp() -> RootStamp {
    RootStamp {
        issued: Timestamp::from_secs(ISSUED),
        nonce: [0xaa; 16],
        evidence_kind: EvidenceKind::Admin,
        evidence: Digest([0xee; 32]),
        catalogue_version: 7,
        taxonomy_version: 3,
        min_bundle_version: 1,
    }
}

pub(super) fn root() -> Vec<u8> {
    let payload = RootPayload::build(&root_request(), key(HOLDERS[0]).public(), &stamp()).expect("a valid request");
    let parts = ISSUERS[..2].iter().map(|seed| sign_root_part(&MESH, &payload, &key(*seed))).collect();
    assemble_root(&payload, parts).expect("two signatures")
}

/// Only contract 7781, ten minutes.
pub(super) fn restriction() -> Restriction {
    Restriction {
        agent: agent("clause-classifier"),
        purpose: None,
        subtask: Some("classify the clauses".to_owned()),
        grants: vec![Grant {
            tools: patterns(&["contracts.*"]),
            ids: SortedMap::from([(dimension("contract"), these(&["contract_7781"]))]),
            ..Grant::default()
        }],
        life: std::time::Duration::from_secs(600),
        delegation: Some(Delegation { depth_left: 2, fanout_max: 1, offline: true }),
        audience: Audience::EVERYWHERE,
        demands: Demands::NONE,
        intent: None,
    }
}

/// A chain of so many links, the hops all alike.
pub(super) fn chain(links: usize) -> Vec<u8> {
    let mut bytes = root();
    for (hop, pair) in HOLDERS.windows(2).take(links - 1).enumerate() {
        let nonce = [u8::try_from(hop).unwrap_or(0) + 1; 16];
        let now = Timestamp::from_secs(ISSUED + 1);
        bytes = delegate(&bytes, &key(pair[0]), &MESH, &restriction(), key(pair[1]).public(), now, nonce)
            .expect("the holder may hand on");
    }
    bytes
}

// --- the format, a second time

/// A CBOR item, encoded as it stands: nothing is sorted, and [`V::Raw`] is whatever a test wants it to be.
#[derive(Clone, Debug)]
pub(super) enum V {
    U(u64),
    I(i64),
    B(Vec<u8>),
    T(String),
    A(Vec<V>),
    M(Vec<(V, V)>),
    Bool(bool),
    Raw(Vec<u8>),
}

pub(super) fn t(text: &str) -> V {
    V::T(text.to_owned())
}

/// A map with integer keys.
pub(super) fn m(entries: Vec<(u64, V)>) -> V {
    V::M(entries.into_iter().map(|(key, value)| (V::U(key), value)).collect())
}

fn head(major: u8, argument: u64) -> Vec<u8> {
    let top = major << 5;
    let bytes = argument.to_be_bytes();
    match argument {
        0..24 => vec![top | bytes[7]],
        24..0x100 => vec![top | 24, bytes[7]],
        0x100..0x1_0000 => [&[top | 25], &bytes[6..]].concat(),
        0x1_0000..0x1_0000_0000 => [&[top | 26], &bytes[4..]].concat(),
        _ => [&[top | 27], &bytes[..]].concat(),
    }
}

impl V {
    pub(super) fn encode(&self) -> Vec<u8> {
        let length = |length: usize| u64::try_from(length).expect("short");
        match self {
            Self::U(value) => head(0, *value),
            Self::I(value) => match u64::try_from(*value) {
                Ok(value) => head(0, value),
                Err(_) => head(1, u64::try_from(-1 - *value).expect("not negative")),
            },
            Self::B(bytes) => [head(2, length(bytes.len())), bytes.clone()].concat(),
            Self::T(text) => [head(3, length(text.len())), text.clone().into_bytes()].concat(),
            Self::A(items) => [head(4, length(items.len())), items.iter().flat_map(Self::encode).collect()].concat(),
            Self::M(entries) => {
                let body: Vec<u8> = entries.iter().flat_map(|(k, v)| [k.encode(), v.encode()].concat()).collect();
                [head(5, length(entries.len())), body].concat()
            }
            Self::Bool(value) => vec![0xf4 | u8::from(*value)],
            Self::Raw(bytes) => bytes.clone(),
        }
    }
}

/// The fields of a payload, by key; tests change them before they sign.
pub(super) type Fields = BTreeMap<u64, V>;

fn holder_field(seed: u8) -> V {
    V::A(vec![V::I(-19), V::B(key(seed).public().as_bytes().to_vec())])
}

fn agent_field(name: &str) -> V {
    m(vec![(1, V::T(format!("spiffe://acme.example/agent/{name}"))), (2, t(name))])
}

/// What [`root_request`] becomes.
pub(super) fn root_fields() -> Fields {
    let grant = m(vec![
        (1, V::U(0)),
        (2, V::A(vec![t("crm.read"), t("contracts.read")])),
        (
            4,
            V::M(vec![
                (t("contract"), V::A(vec![V::U(0), V::A(vec![t("contract_7781"), t("contract_7782")])])),
                (t("customer"), V::A(vec![V::U(0), V::A(vec![t("cust_acme_1042")])])),
            ]),
        ),
        (5, V::M(vec![(t("records"), V::U(25))])),
        (6, V::B(vec![0b10_0110])),
        (7, V::U(0b1)),
    ]);
    let tickets = m(vec![
        (1, V::U(0)),
        (2, V::A(vec![t("tickets.create")])),
        (4, V::M(vec![(t("customer"), V::A(vec![V::U(0), V::A(vec![t("cust_acme_1042")])]))])),
        (6, V::B(Vec::new())),
        (7, V::U(0b110)),
    ]);
    BTreeMap::from([
        (1, V::U(0)),
        (2, V::B(vec![0; 32])),
        (3, holder_field(HOLDERS[0])),
        (4, agent_field("renewal-assistant")),
        (5, m(context_fields().into_iter().collect())),
        (6, V::A(vec![V::U(1), V::U(4)])),
        (8, V::A(vec![grant, tickets])),
        (9, V::U(ISSUED)),
        (10, V::U(ISSUED + 3_600)),
        (11, m(vec![(1, V::U(3)), (2, V::U(8)), (3, V::Bool(false)), (4, V::U(0))])),
        (15, V::B(vec![0xaa; 16])),
        (16, V::U(ISSUED)),
        (20, t("Is Acme about to leave?")),
    ])
}

pub(super) fn context_fields() -> Fields {
    BTreeMap::from([
        (1, t("acme")),
        (2, t("maya@acme.example")),
        (3, t("sess-4711")),
        (4, t("renewal-risk-acme")),
        (5, V::U(0)),
        (6, V::B(vec![0xee; 32])),
        (10, V::U(7)),
        (11, V::U(3)),
        (12, V::U(1)),
    ])
}

/// What [`restriction`] becomes as the hop after `parent`, at this place of the chain.
pub(super) fn hop_fields(parent: &RawLink, hop: usize) -> Fields {
    let grant = m(vec![
        (1, V::U(0)),
        (2, V::A(vec![t("contracts.*")])),
        (4, V::M(vec![(t("contract"), V::A(vec![V::U(0), V::A(vec![t("contract_7781")])]))])),
    ]);
    BTreeMap::from([
        (1, V::U(1)),
        (2, V::B(parent.id().0.to_vec())),
        (3, holder_field(HOLDERS[hop])),
        (4, agent_field("clause-classifier")),
        (7, t("classify the clauses")),
        (8, V::A(vec![grant])),
        (9, V::U(ISSUED + 1)),
        (10, V::U(ISSUED + 601)),
        (11, m(vec![(1, V::U(2)), (2, V::U(1)), (3, V::Bool(true)), (4, V::U(0))])),
        (15, V::B(vec![u8::try_from(hop).expect("short"); 16])),
        (16, V::U(ISSUED + 1)),
    ])
}

pub(super) fn payload(fields: &Fields) -> Vec<u8> {
    m(fields.clone().into_iter().collect()).encode()
}

/// A link as bytes with a meaning: what stands in the four places of a COSE_Sign1.
#[derive(Clone, Debug)]
pub(super) struct RawLink {
    pub(super) protected: Vec<u8>,
    pub(super) unprotected: V,
    pub(super) payload: Vec<u8>,
    pub(super) signature: Vec<u8>,
}

impl RawLink {
    pub(super) fn id(&self) -> Digest {
        let length = u32::try_from(self.protected.len()).expect("short").to_be_bytes();
        Digest::of(&[b"remit/linkid/v1\0", &MESH.0, &length, &self.protected, &self.payload])
    }

    pub(super) fn value(&self) -> V {
        V::A(vec![
            V::B(self.protected.clone()),
            self.unprotected.clone(),
            V::B(self.payload.clone()),
            V::B(self.signature.clone()),
        ])
    }
}

pub(super) fn signed(mesh: &MeshId, protected: &[u8], payload: &[u8]) -> Vec<u8> {
    let aad = [b"remit/link/v1".as_slice(), &mesh.0].concat();
    V::A(vec![t("Signature1"), V::B(protected.to_vec()), V::B(aad), V::B(payload.to_vec())]).encode()
}

pub(super) fn kid(seed: u8) -> Vec<u8> {
    Digest::of(&[key(seed).public().as_bytes()]).0[..8].to_vec()
}

pub(super) fn root_header() -> Vec<u8> {
    m(vec![(1, V::I(-70_010)), (16, t("remit-link+cbor"))]).encode()
}

pub(super) fn hop_header(alg: i64, kid: Vec<u8>) -> Vec<u8> {
    m(vec![(1, V::I(alg)), (4, V::B(kid)), (16, t("remit-link+cbor"))]).encode()
}

/// A root over this payload by these issuers, on any mesh.
pub(super) fn sign_root_on(mesh: &MeshId, payload: Vec<u8>, seeds: &[u8]) -> RawLink {
    let protected = root_header();
    let message = signed(mesh, &protected, &payload);
    let mut parts: Vec<(Vec<u8>, Vec<u8>)> =
        seeds.iter().map(|seed| (kid(*seed), key(*seed).sign(&message).0.to_vec())).collect();
    parts.sort();
    let signature = V::A(parts.into_iter().map(|(kid, sig)| V::A(vec![V::B(kid), V::B(sig)])).collect()).encode();
    RawLink { protected, unprotected: V::M(Vec::new()), payload, signature }
}

pub(super) fn sign_root(payload: Vec<u8>, seeds: &[u8]) -> RawLink {
    sign_root_on(&MESH, payload, seeds)
}

/// A hop over this payload, with a header that names the signer.
pub(super) fn sign_hop(payload: Vec<u8>, seed: u8) -> RawLink {
    sign_hop_as(hop_header(-19, kid(seed)), payload, seed)
}

pub(super) fn sign_hop_as(protected: Vec<u8>, payload: Vec<u8>, seed: u8) -> RawLink {
    let signature = key(seed).sign(&signed(&MESH, &protected, &payload)).0.to_vec();
    RawLink { protected, unprotected: V::M(Vec::new()), payload, signature }
}

pub(super) fn presentation(links: &[RawLink]) -> Vec<u8> {
    V::A(vec![V::U(1), V::A(links.iter().map(RawLink::value).collect())]).encode()
}

/// The links of [`chain`], written the second way.
pub(super) fn raw_chain(links: usize) -> Vec<RawLink> {
    let mut all = vec![sign_root(payload(&root_fields()), &ISSUERS[..2])];
    for hop in 1..links {
        let fields = hop_fields(&all[hop - 1], hop);
        all.push(sign_hop(payload(&fields), HOLDERS[hop - 1]));
    }
    all
}

/// A two-link presentation whose hop was changed before it was signed.
pub(super) fn with_hop(change: impl FnOnce(&mut Fields)) -> Vec<u8> {
    let mut links = raw_chain(1);
    let mut fields = hop_fields(&links[0], 1);
    change(&mut fields);
    links.push(sign_hop(payload(&fields), HOLDERS[0]));
    presentation(&links)
}

/// What a link can say beside names, times and the grants of [`root_fields`], all of it, put into a payload.
pub(super) fn say_everything(fields: &mut Fields) {
    let arguments = V::M(vec![
        (t("/is"), V::A(vec![V::U(0), t("low")])),
        (t("/one"), V::A(vec![V::U(1), V::A(vec![V::U(3), V::I(-1), t("low"), t("normal"), V::Bool(true)])])),
        (t("/below"), V::A(vec![V::U(3), t("/srv/reports/")])),
        (t("/title"), V::A(vec![V::U(4), V::U(80)])),
        (t("/within"), V::A(vec![V::U(2), V::I(-5), V::U(300)])),
    ]);
    let pins = V::M(vec![(t("crm.read"), V::B(vec![1; 32])), (t("contracts.read"), V::B(vec![2; 32]))]);
    let any = V::M(vec![(t("customer"), V::A(vec![V::U(1), V::A(Vec::new())]))]);
    let grant = m(vec![
        (1, V::U(0)),
        (2, V::A(vec![t("crm.*"), t("contracts.**")])),
        (3, pins),
        (4, any),
        (5, V::M(vec![(t("records"), V::U(25)), (t("amount"), V::U(500))].into_iter().rev().collect())),
        (6, V::B(vec![0b10_0110])),
        (7, V::U(0b11)),
        (8, arguments),
        (9, V::Bool(true)),
    ]);
    fields.insert(8, V::A(vec![grant]));
    fields.insert(11, m(vec![(1, V::U(3)), (2, V::U(300)), (3, V::Bool(true)), (4, V::U(0))]));
    fields.insert(12, m(vec![(1, V::A(vec![t("us-east"), t("eu-central")])), (2, V::A(vec![t("us-east-1")]))]));
    fields.insert(13, m(vec![(1, V::U(2)), (3, V::U(1)), (4, V::U(1))]));
}

/// A root and a hop that say everything there is to say.
pub(super) fn full_chain() -> Vec<RawLink> {
    let mut root = root_fields();
    say_everything(&mut root);
    let root = sign_root(payload(&root), &ISSUERS[..2]);
    let mut hop = hop_fields(&root, 1);
    say_everything(&mut hop);
    let hop = sign_hop(payload(&hop), HOLDERS[0]);
    vec![root, hop]
}

/// A root that was changed before it was signed.
pub(super) fn with_root(change: impl FnOnce(&mut Fields)) -> Vec<u8> {
    let mut fields = root_fields();
    change(&mut fields);
    presentation(&[sign_root(payload(&fields), &ISSUERS[..2])])
}
