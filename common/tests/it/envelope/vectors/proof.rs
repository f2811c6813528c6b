//! Proofs of requests over an open channel. Clauses X-5 to X-7.

use remit_common::crypto::digest::Digest;
use remit_common::crypto::mac::MacKey;
use remit_common::id::{EdgeId, LinkId, MeshId};
use remit_common::proof::{Binding, ChannelId, Evidence, Exchange, Proof, Target};
use remit_common::text::{base64url, hex};
use remit_common::time::{BootTime, Timestamp};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::super::fixture::{MESH, STRANGER, V, key};
use super::channel::{
    ASKED_MS, BASE, CHANNEL, EDGE, LEAF, channel_key, holder, honest_body, lp, open, opening, refused,
};
use super::judge::{bytes, fixed, number, text};
use super::vector::{Meant, Vector};

const BODY: &[u8] =
    br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"crm.read","arguments":{"id":1}}}"#;
const SALT: [u8; 16] = [6; 16];

/// What a prover says, as clauses X-5 and X-6 have it, any of it changed by tests.
#[derive(Clone)]
struct Said {
    grade: u64,
    label: &'static [u8],
    mesh: [u8; 16],
    channel: [u8; 16],
    edge: &'static str,
    leaf: [u8; 32],
    counter: u64,
    time: u64,
    definition: Vec<u8>,
    protocol: &'static [u8],
    target: Vec<u8>,
    body: &'static [u8],
    idempotency: &'static [u8],
}

impl Said {
    fn honest() -> Self {
        Self {
            grade: 1,
            label: b"remit/pop/v1",
            mesh: MESH.0,
            channel: CHANNEL,
            edge: EDGE,
            leaf: LEAF,
            counter: BASE + 1,
            time: ASKED_MS + 2_000,
            definition: Vec::new(),
            protocol: b"mcp",
            target: lp(&[b"tools/call", b"crm.read", b""]),
            body: BODY,
            idempotency: b"",
        }
    }

    fn binding(&self) -> Vec<u8> {
        lp(&[
            self.label,
            &self.mesh,
            &self.channel,
            self.edge.as_bytes(),
            &self.leaf,
            &self.counter.to_be_bytes(),
            &self.time.to_be_bytes(),
            self.protocol,
            &self.target,
            &SALT,
            &Digest::of(&[&SALT, self.body]).0,
            self.idempotency,
        ])
    }

    fn header(&self, evidence: &[u8]) -> Vec<u8> {
        V::A(vec![
            V::U(1),
            V::U(self.grade),
            V::B(self.channel.to_vec()),
            V::U(self.counter),
            V::U(self.time),
            V::B(SALT.to_vec()),
            V::B(self.definition.clone()),
            V::B(evidence.to_vec()),
        ])
        .encode()
    }

    /// With the evidence of its grade.
    fn proven(&self, key: &[u8; 32]) -> Vec<u8> {
        let binding = self.binding();
        match self.grade {
            1 => self.header(&MacKey::from_random(&Zeroizing::new(*key)).tag(&binding)),
            _ => self.header(&holder().sign(&binding).0),
        }
    }
}

/// A name, what it is, and what it does to what is tagged.
type Change = (&'static str, &'static str, fn(&mut Said));

/// Everything of the request, as the edge receives it.
fn exchange(
    vector: &Value,
    definition: Option<Digest>,
    body: &[u8],
    judge: impl FnOnce(&Exchange<'_>) -> Value,
) -> Value {
    let target = match text(vector, "protocol") {
        "mcp" => Target::Mcp { method: text(vector, "method"), name: text(vector, "target"), definition },
        _ => Target::Http {
            method: text(vector, "method"),
            path: text(vector, "path"),
            query: text(vector, "query"),
            content_type: text(vector, "content_type"),
        },
    };
    judge(&Exchange { target, body, idempotency_key: text(vector, "idempotency_key").as_bytes() })
}

pub(super) fn judge(vector: &Value) -> Value {
    let (mut acceptor, answered) = open(vector).expect("the channel of a proof opens");
    let key = MacKey::from_random(&Zeroizing::new(channel_key(vector, &answered)));
    let body = bytes(vector, "body");
    let at = BootTime::from_millis(number(vector, "after_ms"));
    // Counters that others have used, each by a good proof.
    for counter in vector["taken"].as_array().into_iter().flatten() {
        let counter = counter.as_u64().expect("a number");
        let time = Timestamp::from_millis(number(vector, "now_ms")).plus(at.since(BootTime::from_millis(0)));
        exchange(vector, None, &body, |exchange| {
            let binding = Binding {
                mesh: &MeshId(fixed(vector, "mesh")),
                channel: &ChannelId(fixed(vector, "channel")),
                edge: &EdgeId::new(text(vector, "edge")).expect("an edge"),
                leaf: &LinkId(Digest(fixed(vector, "leaf"))),
                counter,
                time,
                salt: &SALT,
                exchange: *exchange,
            };
            let evidence = Evidence::Tag(key.tag(&binding.to_bytes()));
            let channel = ChannelId(fixed(vector, "channel"));
            let proof = Proof { channel, counter, time, salt: SALT, definition: None, evidence };
            acceptor.accept(&proof, exchange, at).expect("it is taken");
            Value::Null
        });
    }
    let proof = match Proof::parse(text(vector, "header").as_bytes()) {
        Ok(proof) => proof,
        Err(error) => return refused(&error.into()),
    };
    exchange(vector, proof.definition, &body, |exchange| match acceptor.accept(&proof, exchange, at) {
        Ok(grade) => json!({"verdict": "accept", "grade": grade.as_str()}),
        Err(error) => refused(&error),
    })
}

fn vector(name: &str, clauses: &str, description: &str, fault: Option<&'static str>, header: &[u8]) -> Vector {
    let (prefix, meant) = match fault {
        None => ("accept", Meant::Accepted),
        Some(fault @ "replayed") => ("reject", Meant::Refused("replayed", json!(fault))),
        Some(fault) => ("reject", Meant::Refused("bad_proof", json!(fault))),
    };
    let vector = Vector::new("proof", &format!("proof-{prefix}-{name}"), clauses, description, meant);
    opening(vector, &honest_body())
        .with("after_ms", json!(2_000))
        .with("taken", json!([]))
        .with("protocol", json!("mcp"))
        .with("method", json!("tools/call"))
        .with("target", json!("crm.read"))
        .with("body", json!(hex(BODY)))
        .with("idempotency_key", json!(""))
        .with("header", json!(base64url(header)))
}

/// The key of the channel that all of these proofs are made for.
fn the_key() -> [u8; 32] {
    let template = json!({
        "name": "the channel of the proofs",
        "mesh": hex(&MESH.0),
        "leaf": hex(&LEAF),
        "edge": EDGE,
        "edge_ephemeral": hex(&[3; 32]),
        "edge_seed": hex(&[super::channel::EDGE_SEED; 32]),
        "holder": hex(holder().public().as_bytes()),
        "channel": hex(&CHANNEL),
        "answer_nonce": hex(&[4; 16]),
        "base": BASE,
        "life_ms": 600_000,
        "now_ms": ASKED_MS,
        "request": hex(&honest_body()),
    });
    let (_, answered) = open(&template).expect("it opens");
    channel_key(&template, &answered)
}

pub(super) fn vectors() -> Vec<Vector> {
    let mut all = accepted();
    all.extend(counters());
    all.extend(rejected());
    all.extend(shapes());
    all
}

fn accepted() -> Vec<Vector> {
    let channel_key = the_key();
    let honest = Said::honest();
    let good = |name: &str, description: &str, said: &Said| {
        vector(name, "X-5 X-6", description, None, &said.proven(&channel_key))
            .with("binding", json!(hex(&said.binding())))
    };
    let signed = Said { grade: 2, ..honest.clone() };
    let definition =
        Said { definition: vec![9; 32], target: lp(&[b"tools/call", b"crm.read", &[9; 32]]), ..honest.clone() };
    let http = Said {
        protocol: b"http",
        target: lp(&[b"POST", b"/t/acme/x", b"a=b", b"text/plain"]),
        body: b"",
        idempotency: b"key-1",
        ..honest.clone()
    };
    let at = |time: u64| Said { time, ..honest.clone() };
    vec![
        good("p1", "A tag with the channel's key.", &honest),
        good("p2", "A signature with the holder's key.", &signed),
        good("definition", "The caller pins the tool's definition.", &definition),
        good("http", "A request of plain HTTP, with an idempotency key.", &http)
            .with("protocol", json!("http"))
            .with("method", json!("POST"))
            .with("path", json!("/t/acme/x"))
            .with("query", json!("a=b"))
            .with("content_type", json!("text/plain"))
            .with("body", json!(""))
            .with("idempotency_key", json!("key-1")),
        good("30-s-old", "Made 30 s before it came.", &at(ASKED_MS + 2_000)).with("after_ms", json!(32_000)),
        good("30-s-ahead", "Made 30 s after it came, by clocks that differ.", &at(ASKED_MS + 32_000)),
        good("at-the-end", "A millisecond before the channel ends.", &at(ASKED_MS + 599_000))
            .with("after_ms", json!(599_999)),
    ]
}

fn counters() -> Vec<Vector> {
    let channel_key = the_key();
    let said = |counter: u64| Said { counter, ..Said::honest() }.proven(&channel_key);
    let taken = |name: &str, description: &str, counter: u64, fault, taken: &[u64]| {
        vector(name, "X-7", description, fault, &said(counter)).with("taken", json!(taken))
    };
    let replayed = Some("replayed");
    vec![
        taken("counter-skips", "Counters may be left out.", BASE + 5_000, None, &[BASE + 1]),
        taken("counter-overtaken", "A lower counter, not yet used.", BASE + 2, None, &[BASE + 1, BASE + 3]),
        taken("counter-oldest", "1 023 below the highest.", BASE + 1, None, &[BASE + 1_024]),
        taken("counter-greatest", "The greatest counter that can be shown.", u64::from(u32::MAX), None, &[]),
        taken("counter-used", "The same counter again.", BASE + 1, replayed, &[BASE + 1]),
        taken("counter-used-below", "A counter used before higher ones.", BASE + 2, replayed, &[BASE + 2, BASE + 900]),
        taken(
            "counter-too-old",
            "1 024 below the highest: nothing is known of it.",
            BASE + 1,
            replayed,
            &[BASE + 1_025],
        ),
        taken("counter-base", "The base itself is not above it.", BASE, replayed, &[]),
        taken("counter-below-base", "A counter below the base.", BASE - 1, replayed, &[]),
    ]
}

fn rejected() -> Vec<Vector> {
    let channel_key = the_key();
    let bad = |name: &str, description: &str, fault: &'static str, header: &[u8]| {
        vector(name, "X-6 X-9", description, Some(fault), header)
    };
    let evidence = "evidence";
    let mut all = Vec::new();
    // What is tagged is another request's, another place's or another kind's; the header is the honest one.
    let changes: [Change; 9] = [
        ("label", "Tagged under another label.", |said| said.label = b"remit/channel/v1"),
        ("mesh", "Tagged for another mesh.", |said| said.mesh = [0x4e; 16]),
        ("edge", "Tagged for another edge.", |said| said.edge = "eu-west-2"),
        ("leaf", "Tagged for another envelope.", |said| said.leaf = [0x12; 32]),
        ("counter", "Tagged with another counter.", |said| said.counter += 1),
        ("tool", "Tagged for another tool.", |said| said.target = lp(&[b"tools/call", b"crm.write", b""])),
        ("method", "Tagged for another method.", |said| said.target = lp(&[b"tools/list", b"crm.read", b""])),
        ("arguments", "Tagged over another body.", |said| said.body = b"{}"),
        ("idempotency-key", "Tagged with an idempotency key that is not sent.", |said| said.idempotency = b"key-1"),
    ];
    for grade in [1, 2] {
        for (name, description, change) in changes {
            let honest = Said { grade, ..Said::honest() };
            let mut other = honest.clone();
            change(&mut other);
            let binding = other.binding();
            let header = match grade {
                1 => honest.header(&MacKey::from_random(&Zeroizing::new(channel_key)).tag(&binding)),
                _ => honest.header(&holder().sign(&binding).0),
            };
            let description = if grade == 1 { description.to_owned() } else { description.replace("Tagged", "Signed") };
            all.push(bad(&format!("p{grade}-{name}"), &description, evidence, &header));
        }
    }
    let honest = Said::honest();
    let signed = Said { grade: 2, ..honest.clone() };
    let binding = signed.binding();
    let other_key = MacKey::from_random(&Zeroizing::new([0x55; 32])).tag(&honest.binding());
    let session = || lp(&[b"remit/channel-request/v1", &binding]);
    all.push(bad("p1-key", "A tag with another channel's key.", evidence, &honest.header(&other_key)));
    all.push(bad("p2-key", "A signature with another key.", evidence, &signed.header(&key(STRANGER).sign(&binding).0)));
    all.push(bad(
        "p2-as-request",
        "The binding signed as if it were a request for a channel.",
        evidence,
        &signed.header(&holder().sign(&session()).0),
    ));
    let at = |time: u64| Said { time, ..honest.clone() }.proven(&channel_key);
    all.push(
        bad("old", "Made 30.001 s before it came.", "time", &at(ASKED_MS + 1_999)).with("after_ms", json!(32_000)),
    );
    all.push(bad("ahead", "Made 30.001 s after it came.", "time", &at(ASKED_MS + 32_001)));
    let ended = "unknown_channel";
    all.push(bad("ended", "The channel has ended.", ended, &at(ASKED_MS + 599_000)).with("after_ms", json!(600_000)));
    let elsewhere = Said { channel: [8; 16], ..honest.clone() }.proven(&channel_key);
    all.push(bad("other-channel", "A channel that this edge does not have.", ended, &elsewhere));
    all.push(
        bad("body-changed", "A byte of the body is changed on the way.", evidence, &honest.proven(&channel_key))
            .with("body", json!(hex(&[BODY, b" "].concat()))),
    );
    all.push(
        bad("tool-changed", "Another tool is called with a good proof.", evidence, &honest.proven(&channel_key))
            .with("target", json!("crm.write")),
    );
    all
}

fn shapes() -> Vec<Vector> {
    let channel_key = the_key();
    let honest = Said::honest().proven(&channel_key);
    let bad =
        |name: &str, description: &str, header: &[u8]| vector(name, "X-5 X-9", description, Some("malformed"), header);
    let grade = |grade: u64| Said { grade, ..Said::honest() }.header(&[1; 32]);
    let definition = Said { definition: vec![9; 31], ..Said::honest() }.header(&[1; 32]);
    vec![
        bad("long-array", "The array's length in two bytes.", &[&[0x98, 8], &honest[1..]].concat()),
        bad("long-integer", "The version in two bytes.", &[&[0x88, 0x18, 1], &honest[2..]].concat()),
        bad("indefinite", "An array of indefinite length.", &[&[0x9f], &honest[1..], &[0xff]].concat()),
        bad("trailing", "A byte behind the proof.", &[&honest[..], &[0]].concat()),
        bad("version", "A proof of version 2.", &[&[0x88, 2], &honest[2..]].concat()),
        bad("grade-0", "Grade 0.", &grade(0)),
        bad("grade-3", "Grade 3.", &grade(3)),
        bad("grade-2-with-a-tag", "Grade 2 with 32 bytes of evidence.", &grade(2)),
        bad("short-definition", "A definition of 31 bytes.", &definition),
        bad("too-long", "More than 256 bytes.", &[0; 257]),
        bad("base64", "Base64 with padding.", &honest).with("header", json!("AAA=")),
        bad("no-header-bytes", "An empty header.", &[]),
    ]
}
