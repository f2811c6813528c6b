//! Requests for channels, and what an edge answers. Clauses.

use std::time::Duration;

use remit_common::crypto::agreement::EphemeralKey;
use remit_common::crypto::digest::Digest;
use remit_common::crypto::sign::{PublicKey, SigningKey};
use remit_common::id::{EdgeId, LinkId, MeshId};
use remit_common::proof::{Acceptor, Answering, ChannelId, ProofRefused, RawRequest};
use remit_common::text::hex;
use remit_common::time::{BootTime, Now, Timestamp};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::super::fixture::{HOLDERS, ISSUED, MESH, STRANGER, V, key, t};
use super::judge::{bytes, fixed, in_words, number, text};
use super::vector::{Meant, Vector};

pub(super) const LEAF: [u8; 32] = [0x11; 32];
pub(super) const EDGE: &str = "eu-west-1";
pub(super) const EDGE_SEED: u8 = 31;
pub(super) const CHANNEL: [u8; 16] = [5; 16];
pub(super) const BASE: u64 = 70;
/// The holder's clock when it asks.
pub(super) const ASKED_MS: u64 = (ISSUED + 60) * 1_000;
const HOLDER_EPHEMERAL: [u8; 32] = [1; 32];

/// Each part behind its length (clause X-6).
pub(super) fn lp(parts: &[&[u8]]) -> Vec<u8> {
    let length = |part: &[u8]| u32::try_from(part.len()).expect("short").to_be_bytes();
    parts.iter().flat_map(|part| [&length(part)[..], part].concat()).collect()
}

pub(super) fn holder() -> SigningKey {
    key(HOLDERS[1])
}

/// What is asked, as clause X-2 says, any of it changed by tests.
#[derive(Clone)]
struct Asked {
    mesh: [u8; 16],
    leaf: [u8; 32],
    edge: &'static str,
    ephemeral: [u8; 32],
    time: V,
    nonce: [u8; 16],
    label: &'static [u8],
    signer: u8,
    version: u64,
    /// Kind and bytes of an identity (clause X-22).
    shown: Option<(u64, Vec<u8>)>,
}

impl Asked {
    fn honest() -> Self {
        let ephemeral = EphemeralKey::from_random(&Zeroizing::new(HOLDER_EPHEMERAL)).expect("a key").public();
        Self {
            mesh: MESH.0,
            leaf: LEAF,
            edge: EDGE,
            ephemeral,
            time: V::U(ASKED_MS),
            nonce: [2; 16],
            label: b"remit/channel-request/v1",
            signer: HOLDERS[1],
            version: 1,
            shown: None,
        }
    }

    fn request(&self) -> Vec<u8> {
        let mut fields = vec![
            V::U(self.version),
            V::B(self.mesh.to_vec()),
            V::B(self.leaf.to_vec()),
            t(self.edge),
            V::B(self.ephemeral.to_vec()),
            self.time.clone(),
            V::B(self.nonce.to_vec()),
        ];
        if let Some((kind, identity)) = &self.shown {
            fields.extend([V::U(*kind), V::B(identity.clone())]);
        }
        V::A(fields).encode()
    }

    fn body(&self) -> Vec<u8> {
        let request = self.request();
        let signature = key(self.signer).sign(&lp(&[self.label, &request])).0;
        signed_form(&request, &signature)
    }
}

fn signed_form(inner: &[u8], signature: &[u8; 64]) -> Vec<u8> {
    V::A(vec![V::U(1), V::B(inner.to_vec()), V::B(signature.to_vec())]).encode()
}

/// What an edge knows when it is asked, and the keys with which anybody can play both sides.
pub(super) fn opening(mut vector: Vector, body: &[u8]) -> Vector {
    let edge = key(EDGE_SEED);
    let fields = json!({
        "edge": EDGE,
        "edge_seed": hex(&[EDGE_SEED; 32]),
        "edge_key": hex(edge.public().as_bytes()),
        "leaf": hex(&LEAF),
        "holder": hex(holder().public().as_bytes()),
        "holder_ephemeral": hex(&HOLDER_EPHEMERAL),
        "edge_ephemeral": hex(&[3; 32]),
        "channel": hex(&CHANNEL),
        "answer_nonce": hex(&[4; 16]),
        "base": BASE,
        "life_ms": 600_000,
        "now_ms": ASKED_MS,
        "request": hex(body),
    });
    for (key, value) in fields.as_object().into_iter().flatten() {
        vector = vector.with(key, value.clone());
    }
    vector
}

pub(super) fn honest_body() -> Vec<u8> {
    Asked::honest().body()
}

/// The edge's side of an opening.
pub(super) fn open(vector: &Value) -> Result<(Acceptor, Vec<u8>), ProofRefused> {
    let edge = EdgeId::new(text(vector, "edge")).expect("an edge");
    let wall = Timestamp::from_millis(number(vector, "now_ms"));
    let raw = RawRequest::parse(&bytes(vector, "request"))?;
    raw.check_place_and_time(&MeshId(fixed(vector, "mesh")), &edge, wall)?;
    let holder = PublicKey::from_bytes(&bytes(vector, "holder")).expect("a key");
    let seed: [u8; 32] = fixed(vector, "edge_seed");
    let with = Answering {
        key: &SigningKey::from_seed(Zeroizing::new(seed)).expect("a key"),
        channel: ChannelId(fixed(vector, "channel")),
        ephemeral: &Zeroizing::new(fixed(vector, "edge_ephemeral")),
        nonce: fixed(vector, "answer_nonce"),
        base: number(vector, "base"),
        life: Duration::from_millis(number(vector, "life_ms")),
    };
    let now = Now { wall, boot: BootTime::from_millis(0) };
    raw.verify(&LinkId(Digest(fixed(vector, "leaf"))), &holder)?.answer(&with, now)
}

/// Clause X-4, from the edge's side and a second time.
pub(super) fn channel_key(vector: &Value, answered: &[u8]) -> [u8; 32] {
    let body = bytes(vector, "request");
    let raw = RawRequest::parse(&body).expect("a request");
    // `83 01 58 len answer 58 40 signature`.
    let answer = &answered[4..answered.len() - 66];
    let own = EphemeralKey::from_random(&Zeroizing::new(fixed(vector, "edge_ephemeral"))).expect("a key");
    let agreed = own.agree(&raw.request().ephemeral).expect("a good key");
    let salt = Digest::of(&[&lp(&[&body, answer])]);
    let edge = text(vector, "edge").as_bytes();
    let info = lp(&[b"remit/channel-key/v1", &bytes(vector, "mesh"), &bytes(vector, "leaf"), edge]);
    *agreed.derive(&salt, &info).expect("a key")
}

pub(super) fn refused(error: &ProofRefused) -> Value {
    json!({
        "verdict": "reject",
        "reason": error.reason_code(),
        "fault": error.fault().as_str(),
        "detail": in_words(error),
    })
}

pub(super) fn judge(vector: &Value) -> Value {
    match open(vector) {
        Ok((_, answered)) => {
            let mut told = Map::new();
            told.insert("verdict".into(), json!("accept"));
            told.insert("answer".into(), json!(hex(&answered)));
            told.insert("key".into(), json!(hex(&channel_key(vector, &answered))));
            Value::Object(told)
        }
        Err(error) => refused(&error),
    }
}

fn vector(name: &str, clauses: &str, description: &str, meant: Option<(&'static str, &str)>, body: &[u8]) -> Vector {
    let (prefix, meant) = match meant {
        None => ("accept", Meant::Accepted),
        Some((reason, fault)) => ("reject", Meant::Refused(reason, json!(fault))),
    };
    opening(Vector::new("channel", &format!("channel-{prefix}-{name}"), clauses, description, meant), body)
}

pub(super) fn vectors() -> Vec<Vector> {
    let honest = Asked::honest();
    let body = honest.body();
    let good = |name: &str, description: &str| vector(name, "X-2 X-3 X-4", description, None, &body);
    let bad = |name: &str, description: &str, fault: &str, body: &[u8]| {
        vector(name, "X-2 X-9", description, Some(("bad_proof", fault)), body)
    };
    let with = |change: fn(&mut Asked)| {
        let mut asked = Asked::honest();
        change(&mut asked);
        asked.body()
    };
    let showing = |version: u64, kind: u64, bytes: usize| {
        Asked { version, shown: Some((kind, vec![0x30; bytes])), ..Asked::honest() }.body()
    };
    let shown = |name: &str, description: &str, body: &[u8]| {
        let meant = name.starts_with("no-").then_some(("bad_proof", "malformed"));
        vector(name, "X-2 X-22", description, meant, body)
    };
    let signature = [7; 64];
    let mut all = vec![
        shown("shows-identity", "An identity comes along; what is in it is not read here.", &showing(2, 1, 700)),
        shown("shows-longest", "An identity of 2 048 bytes.", &showing(2, 1, 2_048)),
        shown("no-identity-longer", "An identity of 2 049 bytes.", &showing(2, 1, 2_049)),
        shown("no-identity-kind-2", "An identity of a kind that is not taken.", &showing(2, 2, 700)),
        shown("no-identity-version-1", "An identity in a request of version 1.", &showing(1, 1, 300)),
        shown("no-identity-version-2", "A request of version 2 without an identity.", &with(|asked| asked.version = 2)),
        good("opened", "A channel is opened: answer and key."),
        good("clock-behind", "The holder's clock is 30 s behind.").with("now_ms", json!(ASKED_MS + 30_000)),
        good("clock-ahead", "The holder's clock is 30 s ahead.").with("now_ms", json!(ASKED_MS - 30_000)),
        bad("late", "The request is 30.001 s old.", "time", &body).with("now_ms", json!(ASKED_MS + 30_001)),
        bad("early", "The request is from 30.001 s ahead.", "time", &body).with("now_ms", json!(ASKED_MS - 30_001)),
        bad("other-edge", "Another edge is asked.", "other_edge", &with(|asked| asked.edge = "eu-west-2")),
        bad("other-mesh", "Another mesh is named.", "other_edge", &with(|asked| asked.mesh = [0x4e; 16])),
        bad("other-leaf", "Another envelope is named.", "other_leaf", &with(|asked| asked.leaf = [0x12; 32])),
        bad("wrong-key", "Another key than the holder's signed.", "evidence", &with(|asked| asked.signer = STRANGER)),
        bad("wrong-label", "Signed under a proof's label.", "evidence", &with(|asked| asked.label = b"remit/pop/v1")),
        bad("no-label", "Signed without the label's value.", "evidence", &with(|asked| asked.label = b"")),
        bad(
            "small-order",
            "An ephemeral key of order 1.",
            "malformed",
            &with(|asked| {
                asked.ephemeral = [0; 32];
                asked.ephemeral[0] = 1;
            }),
        ),
        bad("zero-ephemeral", "An ephemeral key of zeros.", "malformed", &with(|asked| asked.ephemeral = [0; 32])),
        bad(
            "long-integer",
            "The time in nine bytes with a tag before it.",
            "malformed",
            &with(|asked| asked.time = V::Raw([&[0xc1, 0x1b], &ASKED_MS.to_be_bytes()[..]].concat())),
        ),
        bad("trailing", "A byte behind the request.", "malformed", &[&body[..], &[0]].concat()),
        bad("version", "A signed form of version 9.", "malformed", &[&[body[0], 9], &body[2..]].concat()),
        bad("empty", "No bytes.", "malformed", &[]),
        bad("too-long", "More than 512 bytes.", "malformed", &signed_form(&[0; 512], &signature)),
    ];
    let forged = signed_form(&honest.request(), &signature);
    all.push(bad("forged", "A signature that is none.", "evidence", &forged));
    all
}
