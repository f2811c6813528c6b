//! What the real verifier says of a vector, from the vector alone.

use std::collections::BTreeMap;

use remit_common::crypto::sign::PublicKey;
use remit_common::envelope::{
    Effective, Issuer, Issuers, MalformedEnvelope, RawCountersignature, RawPresentation, Unauthenticated,
};
use remit_common::id::{EdgeId, LogIndex, MeshId, Region};
use remit_common::identity::{Administrator, Administrators, SignedRequest, Verb};
use remit_common::revocation::{Authorities, Cut, CutKind, REVOCATIONS_PATH, Revocation, Revocations, Subject};
use remit_common::text::from_hex;
use remit_common::time::Timestamp;
use serde_json::{Value, json};

use super::super::fixture::{STRANGER, key};
use super::tell::{call, told};
use super::{channel, proof};

pub(super) fn text<'v>(vector: &'v Value, at: &str) -> &'v str {
    vector[at].as_str().unwrap_or_else(|| panic!("`{at}` is a text in {}", vector["name"]))
}

pub(super) fn number(vector: &Value, at: &str) -> u64 {
    vector[at].as_u64().unwrap_or_else(|| panic!("`{at}` is a number in {}", vector["name"]))
}

pub(super) fn bytes(vector: &Value, at: &str) -> Vec<u8> {
    from_hex(text(vector, at)).unwrap_or_else(|| panic!("`{at}` is hex in {}", vector["name"]))
}

pub(super) fn fixed<const N: usize>(vector: &Value, at: &str) -> [u8; N] {
    bytes(vector, at).try_into().unwrap_or_else(|_| panic!("`{at}` has {N} bytes in {}", vector["name"]))
}

fn list<'v>(vector: &'v Value, at: &str) -> &'v [Value] {
    vector[at].as_array().unwrap_or_else(|| panic!("`{at}` is a list in {}", vector["name"]))
}

/// The whole cause of a refusal, in our words.
pub(super) fn in_words(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |all, cause| format!("{all}: {cause}"))
}

pub(super) fn judge(vector: &Value) -> Value {
    match text(vector, "kind") {
        "envelope" => envelope(vector),
        "channel" => channel::judge(vector),
        "proof" => proof::judge(vector),
        other => panic!("there are no vectors of kind {other}"),
    }
}

fn refused(reason: &str, hop: Option<u8>, error: &dyn std::error::Error) -> Value {
    json!({"verdict": "reject", "reason": reason, "hop": hop, "detail": in_words(error)})
}

/// Shape, structure, signatures, meaning; then time, place and cuts: as an edge asks.
fn envelope(vector: &Value) -> Value {
    let mesh = MeshId(fixed(vector, "mesh"));
    let raw = match RawPresentation::parse(&bytes(vector, "presentation")) {
        Ok(raw) => raw,
        Err(error) => {
            let hop = match error {
                MalformedEnvelope::Link { hop, .. } | MalformedEnvelope::Unenforceable { hop, .. } => Some(hop),
                _ => None,
            };
            return refused(error.reason_code(), hop, &error);
        }
    };
    let evidence = evidence(vector, &mesh, &raw);
    let effective = match raw.verify(&mesh, &issuers(vector)) {
        Ok(chain) => chain.effective(),
        Err(error) => return refused(error.reason_code(), Some(hop_of(&error)), &error),
    };
    if let Err(error) = effective.check_time(Timestamp::from_millis(number(vector, "now_ms"))) {
        use remit_common::envelope::TimeDenied::{Expired, NotYetValid};
        let (Expired { hop } | NotYetValid { hop }) = error;
        return refused(error.reason_code(), Some(hop), &error);
    }
    let region = text(vector, "region").parse().expect("a region");
    let edge = text(vector, "edge").parse().expect("an edge");
    if let Err(error) = effective.check_audience(&region, &edge) {
        return refused("wrong_audience", Some(error.hop), &error);
    }
    if let Err(error) = revocations(vector, &mesh).check(&effective.tenant, subjects(&effective)) {
        return refused("revoked", None, &error);
    }
    let calls: Value = list(vector, "calls")
        .iter()
        .map(|asked| effective.scope.admits_any(&call(asked)).map_or(Value::Null, |grant| json!(grant)))
        .collect();
    json!({"verdict": "accept", "effective": told(&effective), "registered": evidence, "admitted_by": calls})
}

/// The hops of which an edge has said that they were registered, as far as the presentation shows it.
fn evidence(vector: &Value, mesh: &MeshId, raw: &RawPresentation) -> Vec<u8> {
    let now = Timestamp::from_millis(number(vector, "now_ms"));
    let edges: BTreeMap<EdgeId, (Region, PublicKey)> = list(vector, "edges")
        .iter()
        .map(|edge| {
            let key = PublicKey::from_bytes(&bytes(edge, "key")).expect("a key");
            (text(edge, "id").parse().unwrap(), (text(edge, "region").parse().unwrap(), key))
        })
        .collect();
    let links: Vec<_> = raw.link_ids(mesh).collect();
    let counts = |(hop, said): &(u8, &RawCountersignature)| {
        let listed = |id: &EdgeId| edges.get(id).map(|(region, key)| (region, key));
        said.verify(mesh, &links[usize::from(*hop)], listed).is_ok_and(|said| now < said.expires)
    };
    raw.countersignatures().filter(counts).map(|(hop, _)| hop).collect()
}

fn hop_of(error: &Unauthenticated) -> u8 {
    match error {
        Unauthenticated::NoIssuers { .. }
        | Unauthenticated::Minority { .. }
        | Unauthenticated::RootSignature { .. } => 0,
        Unauthenticated::WrongParent { hop }
        | Unauthenticated::WrongAlgorithm { hop }
        | Unauthenticated::WrongSigner { hop }
        | Unauthenticated::Signature { hop, .. }
        | Unauthenticated::DepthExhausted { hop }
        | Unauthenticated::PurposeMismatch { hop }
        | Unauthenticated::NeverValid { hop }
        | Unauthenticated::Grants { hop, .. } => *hop,
    }
}

fn issuers(vector: &Value) -> Issuers {
    let listed = list(vector, "issuers").iter().map(|issuer| {
        let key = PublicKey::from_bytes(&bytes(issuer, "key")).expect("a key");
        Issuer {
            kid: key.id(),
            key,
            tenants: list(issuer, "tenants").iter().map(|name| name.as_str().unwrap().parse().unwrap()).collect(),
            from: Timestamp::from_secs(number(issuer, "from_secs")),
            until: issuer["until_secs"].as_u64().map_or(Timestamp::MAX, Timestamp::from_secs),
        }
    });
    Issuers::new(listed.collect()).expect("the keys differ")
}

fn subjects(effective: &Effective) -> impl Iterator<Item = Subject<'_>> {
    let links = effective.links().iter().map(Subject::Link);
    let holders = effective.holders().iter().map(Subject::Holder);
    let agents =
        effective.chain_agents.iter().flat_map(|agent| [Subject::Agent(&agent.id), Subject::Class(&agent.class)]);
    links.chain(holders).chain(agents).chain([
        Subject::Issuers(effective.signers()),
        Subject::Delegator(&effective.delegator),
        Subject::Session(&effective.session),
        Subject::Task(&effective.task),
    ])
}

/// A set in which this is cut, each by an administrator's request as the log would take it.
fn revocations(vector: &Value, mesh: &MeshId) -> Revocations {
    const CREATED: u64 = 1_795_219_200;
    let ops = key(STRANGER);
    let mut set = Revocations::new();
    for entry in list(vector, "revoked") {
        let kind = CutKind::ALL.into_iter().find(|kind| kind.as_str() == text(entry, "kind")).expect("a kind");
        let cut = Cut { tenant: text(entry, "tenant").parse().unwrap(), kind, id: text(entry, "id").to_owned() };
        let administrator = Administrator {
            name: "ops".to_owned(),
            key: *ops.public(),
            tenants: cut.tenant.tenant().cloned().into_iter().collect(),
            verbs: [Verb::Revoke].into_iter().collect(),
            expires: Timestamp::MAX,
        };
        let administrators: Administrators = [(administrator.key.id(), administrator)].into_iter().collect();
        let body = cut.to_body();
        let request = SignedRequest::sign(mesh, &ops, "POST", REVOCATIONS_PATH, body, CREATED, CREATED + 60, [1; 16]);
        let issuers = Issuers::default();
        let authorities = Authorities { mesh, administrators: &administrators, issuers: &issuers };
        let entry = Revocation::from_request(LogIndex(7), request, &authorities).expect("a cut");
        set.cut(entry).expect("there is room");
    }
    set
}
