//! The payload of a link (clauses E-3 and E-5), decoded strictly: every key of the format, in order, within its
//! limits.
//!
//! Keys that restrict something this version cannot enforce are decoded like all others and then refused by name
//! (clause E-9): ignoring a restriction would widen.

use std::collections::BTreeMap;

use super::cbor::{Keys, Reader, Texts};
use super::error::ShapeFault;
use super::link::{AgentIdentity, EvidenceKind, Link, RootContext};
use super::{decode_grant, later, terms};
use crate::crypto::digest::Digest;
use crate::crypto::sign::PublicKey;
use crate::id::LinkId;
use crate::lattice::{Audience, Delegation, Demands, Grant, PURPOSE_DEPTH_MAX, PurposePath, ToolPattern};
use crate::limits::{HOP_LIFE_MAX, LINK_EXT_BYTES_MAX, LINK_TEXT_BYTES_MAX, ROOT_LIFE_MAX};

/// COSE's number of pure Ed25519 (RFC 9864).
pub(super) const ALG_ED25519: i64 = -19;
/// COSE's number of ECDSA with P-256 and SHA-256 (RFC 9864).
const ALG_ESP256: i64 = -9;
/// COSE's number of ML-DSA-44 (draft-ietf-cose-dilithium).
const ALG_ML_DSA_44: i64 = -48;
/// The longest holder field: an uncompressed P-256 point. Larger keys stand in by their hash.
const HOLDER_BYTES_MAX: usize = 65;

/// A payload of the right shape, and the first thing in it that could not be enforced.
#[derive(Debug)]
pub(super) struct Payload {
    pub(super) link: Link,
    pub(super) unenforceable: Option<&'static str>,
}

/// The fields as they are met; which of them a link must have depends on its kind.
#[derive(Default)]
struct Fields {
    kind: Option<u64>,
    parent: Option<[u8; 32]>,
    holder: Option<PublicKey>,
    agent: Option<AgentIdentity>,
    context: Option<RootContext>,
    purpose: Option<PurposePath>,
    subtask: Option<String>,
    grants: Option<Vec<Grant>>,
    not_before: Option<u64>,
    expires: Option<u64>,
    delegation: Option<Delegation>,
    audience: Audience,
    demands: Demands,
    nonce: Option<[u8; 16]>,
    issued: Option<u64>,
    intent: Option<String>,
    extensions: BTreeMap<String, Vec<u8>>,
    unenforceable: Option<&'static str>,
}

impl Fields {
    /// Remembers the first restriction that cannot be enforced; decoding goes on, so that a shape fault wins.
    fn refuse(&mut self, key: &'static str) {
        self.unenforceable.get_or_insert(key);
    }
}

/// Decodes a whole payload.
pub(super) fn payload(bytes: &[u8]) -> Result<Payload, ShapeFault> {
    let mut reader = Reader::new(bytes);
    let entries = reader.map("payload", 1, 20)?;
    let mut keys = Keys::of("payload");
    let mut fields = Fields::default();
    for _ in 0..entries {
        let key = keys.next(&mut reader)?;
        field(&mut fields, key, &mut reader)?;
    }
    reader.end("payload")?;
    finish(fields)
}

fn field(fields: &mut Fields, key: u64, reader: &mut Reader<'_>) -> Result<(), ShapeFault> {
    match key {
        1 => fields.kind = Some(reader.uint("kind")?),
        2 => fields.parent = Some(reader.exactly("parent")?),
        3 => fields.holder = Some(holder(reader)?),
        4 => fields.agent = Some(agent(reader)?),
        5 => {
            let context = context(reader)?;
            if context.evidence_kind != EvidenceKind::Admin {
                fields.refuse("evidence_kind");
            }
            fields.context = Some(context);
        }
        6 => fields.purpose = Some(purpose(reader)?),
        7 => fields.subtask = Some(reader.text("subtask")?.to_owned()),
        8 => {
            let (grants, unenforceable) = decode_grant::grants(reader)?;
            unenforceable.into_iter().for_each(|key| fields.refuse(key));
            fields.grants = Some(grants);
        }
        9 => fields.not_before = Some(reader.uint("nbf")?),
        10 => fields.expires = Some(reader.uint("exp")?),
        11 => {
            let (delegation, unenforceable) = terms::delegation(reader)?;
            unenforceable.into_iter().for_each(|key| fields.refuse(key));
            fields.delegation = Some(delegation);
        }
        12 => fields.audience = terms::audience(reader)?,
        13 => {
            let (demands, unenforceable) = terms::obligations(reader)?;
            unenforceable.into_iter().for_each(|key| fields.refuse(key));
            fields.demands = demands;
        }
        14 => {
            later::budgets(reader)?;
            fields.refuse("budgets");
        }
        15 => fields.nonce = Some(reader.exactly("nonce")?),
        16 => fields.issued = Some(reader.uint("iat")?),
        20 => fields.intent = Some(reader.text("intent")?.to_owned()),
        63 => fields.extensions = extensions(reader)?,
        _ => return Err(ShapeFault::UnknownKey { at: "payload" }),
    }
    Ok(())
}

fn finish(fields: Fields) -> Result<Payload, ShapeFault> {
    let missing = |at| ShapeFault::Missing { at };
    let Fields { kind, parent, holder, agent, context, purpose, subtask, grants, .. } = fields;
    let link = Link {
        parent: LinkId(Digest(parent.ok_or(missing("parent"))?)),
        holder: holder.ok_or(missing("holder"))?,
        agent: agent.ok_or(missing("agent"))?,
        context,
        purpose,
        subtask,
        grants: grants.ok_or(missing("grants"))?,
        not_before_secs: fields.not_before.ok_or(missing("nbf"))?,
        expires_secs: fields.expires.ok_or(missing("exp"))?,
        delegation: fields.delegation,
        audience: fields.audience,
        demands: fields.demands,
        nonce: fields.nonce.ok_or(missing("nonce"))?,
        issued_secs: fields.issued.ok_or(missing("iat"))?,
        intent: fields.intent,
        extensions: fields.extensions,
    };
    let unenforceable = fields.unenforceable;
    let life_max = match kind.ok_or(missing("kind"))? {
        0 => {
            check_root(&link)?;
            ROOT_LIFE_MAX
        }
        1 => {
            check_hop(&link)?;
            HOP_LIFE_MAX
        }
        _ => return Err(ShapeFault::Value { at: "kind" }),
    };
    // Clause E-17. An issue time after the first valid moment could hide a life longer than the limit.
    if link.issued_secs > link.not_before_secs || link.not_before_secs >= link.expires_secs {
        return Err(ShapeFault::Value { at: "iat, nbf, exp" });
    }
    let (found_secs, max_secs) = (link.expires_secs.saturating_sub(link.issued_secs), life_max.as_secs());
    if found_secs > max_secs {
        return Err(ShapeFault::LivesTooLong { found_secs, max_secs });
    }
    Ok(Payload { link, unenforceable })
}

fn check_root(link: &Link) -> Result<(), ShapeFault> {
    if link.parent != LinkId(Digest([0; 32])) {
        return Err(ShapeFault::Value { at: "parent" });
    }
    if link.context.is_none() {
        return Err(ShapeFault::Missing { at: "ctx" });
    }
    if link.purpose.is_none() {
        return Err(ShapeFault::Missing { at: "purpose" });
    }
    if link.subtask.is_some() {
        return Err(ShapeFault::Misplaced { at: "subtask" });
    }
    for grant in &link.grants {
        match grant {
            Grant { of: 1.., .. } => return Err(ShapeFault::Value { at: "grant.of" }),
            Grant { classes: None, .. } => return Err(ShapeFault::Missing { at: "grant.classes" }),
            Grant { effects: None, .. } => return Err(ShapeFault::Missing { at: "grant.effects" }),
            // A wildcard would cover a tool that the catalogue gains tomorrow; only `future` says that it may.
            Grant { future: false, tools, .. } if !tools.iter().all(ToolPattern::is_exact) => {
                return Err(ShapeFault::Misplaced { at: "grant.tools" });
            }
            Grant { .. } => {}
        }
    }
    Ok(())
}

fn check_hop(link: &Link) -> Result<(), ShapeFault> {
    if link.context.is_some() {
        return Err(ShapeFault::Misplaced { at: "ctx" });
    }
    Ok(())
}

fn holder(reader: &mut Reader<'_>) -> Result<PublicKey, ShapeFault> {
    reader.array("holder", 2, 2)?;
    let alg = reader.int("holder.alg")?;
    let key = reader.bytes("holder.key", HOLDER_BYTES_MAX)?;
    match alg {
        ALG_ED25519 => PublicKey::from_bytes(key).map_err(ShapeFault::Holder),
        ALG_ESP256 if !(33..=HOLDER_BYTES_MAX).contains(&key.len()) => Err(ShapeFault::Value { at: "holder.key" }),
        ALG_ML_DSA_44 if key.len() != 32 => Err(ShapeFault::Value { at: "holder.key" }),
        _ => Err(ShapeFault::Algorithm { alg }),
    }
}

fn agent(reader: &mut Reader<'_>) -> Result<AgentIdentity, ShapeFault> {
    let entries = reader.map("agent", 2, 3)?;
    let mut keys = Keys::of("agent");
    let (mut id, mut class, mut attestation) = (None, None, None);
    for _ in 0..entries {
        match keys.next(reader)? {
            1 => id = Some(reader.parsed("agent.id")?),
            2 => class = Some(reader.parsed("agent.class")?),
            3 => attestation = Some(Digest(reader.exactly("agent.attestation")?)),
            _ => return Err(ShapeFault::UnknownKey { at: "agent" }),
        }
    }
    Ok(AgentIdentity {
        id: id.ok_or(ShapeFault::Missing { at: "agent.id" })?,
        class: class.ok_or(ShapeFault::Missing { at: "agent.class" })?,
        attestation,
    })
}

fn context(reader: &mut Reader<'_>) -> Result<RootContext, ShapeFault> {
    let entries = reader.map("ctx", 9, 12)?;
    let mut keys = Keys::of("ctx");
    let (mut tenant, mut delegator, mut session, mut task) = (None, None, None, None);
    let (mut evidence_kind, mut evidence) = (None, None);
    let (mut idp, mut auth_time_secs, mut acr) = (None, None, None);
    let (mut catalogue, mut taxonomy, mut min_bundle) = (None, None, None);
    for _ in 0..entries {
        match keys.next(reader)? {
            1 => tenant = Some(reader.parsed("ctx.tenant")?),
            2 => delegator = Some(reader.parsed("ctx.delegator")?),
            3 => session = Some(reader.parsed("ctx.session")?),
            4 => task = Some(reader.parsed("ctx.task")?),
            5 => evidence_kind = Some(evidence_kind_of(reader.uint("ctx.evidence_kind")?)?),
            6 => evidence = Some(Digest(reader.exactly("ctx.evidence")?)),
            7 => idp = Some(reader.text("ctx.idp")?.to_owned()),
            8 => auth_time_secs = Some(reader.uint("ctx.auth_time")?),
            9 => acr = Some(reader.text("ctx.acr")?.to_owned()),
            10 => catalogue = Some(reader.uint("ctx.catalogue_ver")?),
            11 => taxonomy = Some(reader.uint("ctx.taxonomy_ver")?),
            12 => min_bundle = Some(reader.uint("ctx.min_bundle_version")?),
            _ => return Err(ShapeFault::UnknownKey { at: "ctx" }),
        }
    }
    Ok(RootContext {
        tenant: tenant.ok_or(ShapeFault::Missing { at: "ctx.tenant" })?,
        delegator: delegator.ok_or(ShapeFault::Missing { at: "ctx.delegator" })?,
        session: session.ok_or(ShapeFault::Missing { at: "ctx.session" })?,
        task: task.ok_or(ShapeFault::Missing { at: "ctx.task" })?,
        evidence_kind: evidence_kind.ok_or(ShapeFault::Missing { at: "ctx.evidence_kind" })?,
        evidence: evidence.ok_or(ShapeFault::Missing { at: "ctx.evidence" })?,
        idp,
        auth_time_secs,
        acr,
        catalogue_version: catalogue.ok_or(ShapeFault::Missing { at: "ctx.catalogue_ver" })?,
        taxonomy_version: taxonomy.ok_or(ShapeFault::Missing { at: "ctx.taxonomy_ver" })?,
        min_bundle_version: min_bundle.ok_or(ShapeFault::Missing { at: "ctx.min_bundle_version" })?,
    })
}

fn evidence_kind_of(number: u64) -> Result<EvidenceKind, ShapeFault> {
    match number {
        0 => Ok(EvidenceKind::Admin),
        1 => Ok(EvidenceKind::IdToken),
        2 => Ok(EvidenceKind::Jag),
        3 => Ok(EvidenceKind::Mandate),
        _ => Err(ShapeFault::Value { at: "ctx.evidence_kind" }),
    }
}

fn purpose(reader: &mut Reader<'_>) -> Result<PurposePath, ShapeFault> {
    let levels = reader.array("purpose", 0, PURPOSE_DEPTH_MAX)?;
    let numbers = (0..levels).map(|_| reader.small("purpose")).collect::<Result<Vec<u32>, _>>()?;
    PurposePath::new(&numbers).map_err(|_| ShapeFault::Count { at: "purpose" })
}

fn extensions(reader: &mut Reader<'_>) -> Result<BTreeMap<String, Vec<u8>>, ShapeFault> {
    let count = reader.map("ext", 1, LINK_EXT_BYTES_MAX)?;
    let mut order = Texts::new();
    let mut map = BTreeMap::new();
    let mut total = 0usize;
    for _ in 0..count {
        let name = reader.text("ext")?;
        order.check(name, ShapeFault::KeyOrder { at: "ext" })?;
        let value = reader.bytes("ext", LINK_EXT_BYTES_MAX)?;
        total = total.saturating_add(name.len()).saturating_add(value.len());
        if total > LINK_EXT_BYTES_MAX {
            return Err(ShapeFault::TooLong { found: total, max: LINK_EXT_BYTES_MAX });
        }
        map.insert(name.to_owned(), value.to_vec());
    }
    Ok(map)
}

const _: () = assert!(LINK_TEXT_BYTES_MAX >= 128, "ids of up to 128 bytes stand in links");
