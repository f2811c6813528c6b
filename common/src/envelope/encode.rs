//! The payload of a link, encoded: the one encoding that the decoder accepts.

use super::cbor::{Writer, in_order};
use super::decode::ALG_ED25519;
use super::link::{AgentIdentity, EvidenceKind, Link, RootContext};
use super::terms;
use crate::lattice::{Audience, Constraint, Demands, Grant, IdSet, Pin, Said, Scalar};

/// Bytes of a link with a few grants; the buffer grows where they are not enough.
const TYPICAL_BYTES: usize = 1_024;

/// Encodes a whole payload. Sets and maps are put in order; a [`Grant`] whose tools are not is put in order, too.
pub(super) fn payload(link: &Link) -> Vec<u8> {
    let Link {
        parent,
        holder,
        agent,
        context,
        purpose,
        subtask,
        grants,
        not_before_secs,
        expires_secs,
        delegation,
        audience,
        demands,
        nonce,
        issued_secs,
        intent,
        extensions,
    } = link;
    let optional = [
        context.is_some(),
        purpose.is_some(),
        subtask.is_some(),
        delegation.is_some(),
        *audience != Audience::EVERYWHERE,
        *demands != Demands::NONE,
        intent.is_some(),
        !extensions.is_empty(),
    ];
    let mut out = Writer::sized(TYPICAL_BYTES);
    out.map(9 + optional.iter().filter(|present| **present).count());
    out.uint(1).uint(u64::from(context.is_none()));
    out.uint(2).bytes(&parent.0.0);
    out.uint(3).array(2).int(ALG_ED25519).bytes(holder.as_bytes());
    out.uint(4);
    write_agent(&mut out, agent);
    if let Some(context) = context {
        out.uint(5);
        write_context(&mut out, context);
    }
    if let Some(purpose) = purpose {
        out.uint(6).array(purpose.numbers().len());
        for number in purpose.numbers() {
            out.uint(u64::from(*number));
        }
    }
    if let Some(subtask) = subtask {
        out.uint(7).text(subtask);
    }
    out.uint(8).array(grants.len());
    for grant in grants {
        write_grant(&mut out, grant);
    }
    out.uint(9).uint(*not_before_secs);
    out.uint(10).uint(*expires_secs);
    if let Some(delegation) = delegation {
        out.uint(11);
        terms::write_delegation(&mut out, delegation);
    }
    if *audience != Audience::EVERYWHERE {
        out.uint(12);
        terms::write_audience(&mut out, audience);
    }
    if *demands != Demands::NONE {
        out.uint(13);
        terms::write_obligations(&mut out, demands);
    }
    out.uint(15).bytes(nonce);
    out.uint(16).uint(*issued_secs);
    if let Some(intent) = intent {
        out.uint(20).text(intent);
    }
    if !extensions.is_empty() {
        out.uint(63).map(extensions.len());
        for (name, value) in in_order(extensions, |(name, _)| name) {
            out.text(name).bytes(value);
        }
    }
    out.finish()
}

fn write_agent(out: &mut Writer, agent: &AgentIdentity) {
    let AgentIdentity { id, class, attestation } = agent;
    out.map(2 + usize::from(attestation.is_some()));
    out.uint(1).text(id.as_str());
    out.uint(2).text(class.as_str());
    if let Some(attestation) = attestation {
        out.uint(3).bytes(&attestation.0);
    }
}

fn write_context(out: &mut Writer, context: &RootContext) {
    let RootContext {
        tenant,
        delegator,
        session,
        task,
        evidence_kind,
        evidence,
        idp,
        auth_time_secs,
        acr,
        catalogue_version,
        taxonomy_version,
        min_bundle_version,
    } = context;
    let optional = [idp.is_some(), auth_time_secs.is_some(), acr.is_some()];
    out.map(9 + optional.iter().filter(|present| **present).count());
    out.uint(1).text(tenant.as_str());
    out.uint(2).text(delegator.as_str());
    out.uint(3).text(session.as_str());
    out.uint(4).text(task.as_str());
    out.uint(5).uint(match evidence_kind {
        EvidenceKind::Admin => 0,
        EvidenceKind::IdToken => 1,
        EvidenceKind::Jag => 2,
        EvidenceKind::Mandate => 3,
    });
    out.uint(6).bytes(&evidence.0);
    if let Some(idp) = idp {
        out.uint(7).text(idp);
    }
    if let Some(auth_time) = auth_time_secs {
        out.uint(8).uint(*auth_time);
    }
    if let Some(acr) = acr {
        out.uint(9).text(acr);
    }
    out.uint(10).uint(*catalogue_version);
    out.uint(11).uint(*taxonomy_version);
    out.uint(12).uint(*min_bundle_version);
}

fn write_grant(out: &mut Writer, grant: &Grant) {
    let Grant { of, tools, pins, ids, maxima, classes, effects, args, future } = grant;
    let lists = [!pins.is_empty(), !ids.is_empty(), !maxima.is_empty(), !args.is_empty()];
    let optional = lists.into_iter().chain([classes.is_some(), effects.is_some(), *future]);
    out.map(2 + optional.filter(|present| *present).count());
    out.uint(1).uint(u64::from(*of));
    let mut tools = in_order(tools, |pattern| pattern.as_str());
    tools.dedup();
    out.uint(2).array(tools.len());
    for pattern in tools {
        out.text(pattern.as_str());
    }
    if !pins.is_empty() {
        out.uint(3).map(pins.len());
        for (tool, pin) in in_order(pins, |(tool, _)| tool.as_str()) {
            out.text(tool.as_str()).bytes(match pin {
                Pin::Is(digest) => digest.0.as_slice(),
                // Not a digest: the decoder refuses it, for no link can say this.
                Pin::Never => &[],
            });
        }
    }
    if !ids.is_empty() {
        out.uint(4).map(ids.len());
        for (name, set) in in_order(ids, |(name, _)| name.as_str()) {
            let (kind, members) = match set {
                IdSet::In(members) => (0, members),
                IdSet::NotIn(members) => (1, members),
            };
            out.text(name.as_str()).array(2).uint(kind).array(members.len());
            for id in in_order(members, |id| id.as_str()) {
                out.text(id.as_str());
            }
        }
    }
    if !maxima.is_empty() {
        out.uint(5).map(maxima.len());
        for (name, max) in in_order(maxima, |(name, _)| name.as_str()) {
            out.text(name.as_str()).uint(*max);
        }
    }
    if let Some(classes) = classes {
        out.uint(6).bytes(&classes.to_bytes());
    }
    if let Some(effects) = effects {
        out.uint(7).uint(u64::from(effects.bits()));
    }
    if !args.is_empty() {
        out.uint(8).map(args.len());
        for (pointer, constraint) in in_order(args, |(pointer, _)| pointer.as_str()) {
            out.text(pointer.as_str());
            write_constraint(out, constraint);
        }
    }
    if *future {
        out.uint(9).bool(true);
    }
}

fn write_constraint(out: &mut Writer, constraint: &Constraint) {
    match constraint.said() {
        Said::Is(value) => {
            out.array(2).uint(0);
            write_scalar(out, value);
        }
        Said::OneOf(values) => {
            out.array(2).uint(1).array(values.len());
            let mut values: Vec<&Scalar> = values.iter().collect();
            values.sort_by(|a, b| a.encoded_order(b));
            values.into_iter().for_each(|value| write_scalar(out, value));
        }
        Said::Within(low, high) => drop(out.array(3).uint(2).int(low).int(high)),
        Said::Below(prefix) => drop(out.array(2).uint(3).text(prefix.as_str())),
        Said::LengthMax(bytes) => drop(out.array(2).uint(4).uint(u64::from(bytes))),
        // Not a constraint: the decoder refuses it, for no link can say this.
        Said::Met => drop(out.array(0)),
    }
}

fn write_scalar(out: &mut Writer, value: &Scalar) {
    match value {
        Scalar::Int(number) => drop(out.int(*number)),
        Scalar::Text(text) => drop(out.text(text)),
        Scalar::Bool(value) => drop(out.bool(*value)),
    }
}
