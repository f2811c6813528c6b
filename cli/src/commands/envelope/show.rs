//! What links and grants say, for people and as JSON.

use remit_common::envelope::{EvidenceKind, Link};
use remit_common::lattice::{
    Audience, Constraint, Demands, Grade, Grant, IdSet, Log, Pin, PurposePath, Said, Scalar, SortedSet,
};
use remit_common::time::Timestamp;
use serde_json::json;

use crate::context::Context;

pub(super) fn print_link(context: &Context, hop: usize, link: &Link) {
    let output = &context.output;
    let title = if hop == 0 { "root".to_owned() } else { format!("hop {hop}") };
    output.line(output.strong(&title));
    output.line(format!("  agent       {} ({})", link.agent.id, link.agent.class));
    if let Some(root) = &link.context {
        output.line(format!("  on behalf   {} in tenant {}", root.delegator, root.tenant));
        output.line(format!("  session     {}, task {}", root.session, root.task));
    }
    if let Some(purpose) = &link.purpose {
        output.line(format!("  purpose     {}", purpose_text(purpose)));
    }
    if let Some(words) = link.intent.as_ref().or(link.subtask.as_ref()) {
        output.line(format!("  in words    {words}"));
    }
    let window = (Timestamp::from_secs(link.not_before_secs), Timestamp::from_secs(link.expires_secs));
    output.line(format!("  holds       {} to {}", window.0, window.1));
    print_terms(context, &link.audience, link.demands);
    for grant in &link.grants {
        output.line(format!("  grant       {}", grant_text(grant)));
    }
}

/// Where it holds and what it demands, as far as anything is said.
pub(super) fn print_terms(context: &Context, audience: &Audience, demands: Demands) {
    let Audience { regions, edges } = audience;
    if let Some(regions) = regions {
        context.output.line(format!("  in regions  {}", words(regions)));
    }
    if let Some(edges) = edges {
        context.output.line(format!("  at edges    {}", words(edges)));
    }
    let Demands { min_pop, redact, log } = demands;
    let mut parts = Vec::new();
    if min_pop > Grade::None {
        parts.push(format!("proof of possession {min_pop}"));
    }
    if redact.unclassified {
        parts.push("only results with a class".to_owned());
    }
    if log == Log::First {
        parts.push("recorded before the call".to_owned());
    }
    if !parts.is_empty() {
        context.output.line(format!("  demands     {}", parts.join("; ")));
    }
}

fn words<T: std::fmt::Display + Ord>(names: &SortedSet<T>) -> String {
    match names.iter().map(ToString::to_string).collect::<Vec<_>>() {
        none if none.is_empty() => "(none)".to_owned(),
        names => names.join(" "),
    }
}

fn constraint_text(constraint: &Constraint) -> String {
    match constraint.said() {
        Said::Is(value) => format!("is {}", scalar_text(value)),
        Said::OneOf(values) => {
            format!("is one of {}", values.iter().map(scalar_text).collect::<Vec<_>>().join(", "))
        }
        Said::Within(low, high) => format!("is within {low} to {high}"),
        Said::Below(prefix) => format!("lies below {}", prefix.as_str()),
        Said::LengthMax(bytes) => format!("has at most {bytes} bytes"),
        Said::Met => "is what every link allows".to_owned(),
    }
}

fn scalar_text(value: &Scalar) -> String {
    match value {
        Scalar::Int(number) => number.to_string(),
        Scalar::Text(text) => format!("`{text}`"),
        Scalar::Bool(value) => value.to_string(),
    }
}

fn constraint_to_json(constraint: &Constraint) -> serde_json::Value {
    let scalar = |value: &Scalar| match value {
        Scalar::Int(number) => json!(number),
        Scalar::Text(text) => json!(text),
        Scalar::Bool(value) => json!(value),
    };
    match constraint.said() {
        Said::Is(value) => json!({ "is": scalar(value) }),
        Said::OneOf(values) => json!({ "one_of": values.iter().map(scalar).collect::<Vec<_>>() }),
        Said::Within(low, high) => json!({ "within": [low, high] }),
        Said::Below(prefix) => json!({ "below": prefix.as_str() }),
        Said::LengthMax(bytes) => json!({ "length_max": bytes }),
        Said::Met => json!("met"),
    }
}

pub(super) fn audience_to_json(audience: &Audience) -> serde_json::Value {
    let Audience { regions, edges } = audience;
    json!({ "regions": regions, "edges": edges })
}

pub(super) fn demands_to_json(demands: Demands) -> serde_json::Value {
    let Demands { min_pop, redact, log } = demands;
    json!({ "min_pop": min_pop, "redact_unclassified": redact.unclassified, "record_first": log == Log::First })
}

pub(super) fn grant_text(grant: &Grant) -> String {
    let mut parts = vec![grant.tools.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")];
    for (name, ids) in &grant.ids {
        let (word, ids) = match ids {
            IdSet::In(ids) => ("", ids),
            IdSet::NotIn(ids) => ("not ", ids),
        };
        let ids = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        parts.push(format!("{name} {word}{ids}"));
    }
    parts.extend(grant.maxima.iter().map(|(name, most)| format!("{name} ≤ {most}")));
    if let Some(classes) = grant.classes {
        parts.push(format!("classes {}", numbers(classes.iter().map(u64::from))));
    }
    if let Some(effects) = grant.effects {
        parts.push(effects.iter().map(|effect| effect.to_string()).collect::<Vec<_>>().join(" "));
    }
    parts.extend(grant.args.iter().map(|(pointer, constraint)| format!("{pointer} {}", constraint_text(constraint))));
    parts.extend(grant.pins.iter().map(|(tool, pin)| match pin {
        Pin::Is(digest) => format!("{tool} is {digest}"),
        Pin::Never => format!("{tool} is pinned twice, differently"),
    }));
    if grant.future {
        parts.push("and tools to come".to_owned());
    }
    parts.join("; ")
}

fn numbers(numbers: impl Iterator<Item = u64>) -> String {
    numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(",")
}

pub(super) fn purpose_text(purpose: &PurposePath) -> String {
    purpose.numbers().iter().map(ToString::to_string).collect::<Vec<_>>().join(".")
}

pub(super) fn grant_to_json(grant: &Grant) -> serde_json::Value {
    let ids = |ids: &IdSet| match ids {
        IdSet::In(ids) => json!({ "in": ids }),
        IdSet::NotIn(ids) => json!({ "not_in": ids }),
    };
    json!({
        "of": grant.of,
        "tools": grant.tools.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "ids": grant.ids.iter().map(|(name, set)| (name.to_string(), ids(set))).collect::<serde_json::Map<_, _>>(),
        "maxima": grant.maxima.iter().map(|(name, most)| (name.to_string(), json!(most))).collect::<serde_json::Map<_, _>>(),
        "pins": grant.pins.iter().map(|(tool, pin)| (tool.to_string(), match pin {
            Pin::Is(digest) => json!(digest),
            Pin::Never => json!(null),
        })).collect::<serde_json::Map<_, _>>(),
        "args": grant.args.iter().map(|(pointer, said)| (pointer.to_string(), constraint_to_json(said))).collect::<serde_json::Map<_, _>>(),
        "future": grant.future,
        "classes": grant.classes.map(|classes| classes.iter().collect::<Vec<_>>()),
        "effects": grant.effects.map(|effects| effects.iter().map(|effect| effect.to_string()).collect::<Vec<_>>()),
    })
}

pub(super) fn link_to_json(link: &Link) -> serde_json::Value {
    let context = link.context.as_ref().map(|root| {
        let evidence = match root.evidence_kind {
            EvidenceKind::Admin => "admin",
            EvidenceKind::IdToken => "id_token",
            EvidenceKind::Jag => "jag",
            EvidenceKind::Mandate => "mandate",
        };
        json!({ "tenant": root.tenant, "delegator": root.delegator, "session": root.session, "task": root.task,
                "evidence": evidence })
    });
    json!({
        "agent": { "id": link.agent.id, "class": link.agent.class },
        "holder": link.holder,
        "context": context,
        "purpose": link.purpose.as_ref().map(purpose_text),
        "not_before": Timestamp::from_secs(link.not_before_secs).to_string(),
        "expires": Timestamp::from_secs(link.expires_secs).to_string(),
        "grants": link.grants.iter().map(grant_to_json).collect::<Vec<_>>(),
        "depth_left": link.delegation.map_or(0, |delegation| delegation.depth_left),
        "fanout": link.delegation.map_or(0, |delegation| delegation.fanout_max),
        "offline": link.delegation.is_some_and(|delegation| delegation.offline),
        "audience": audience_to_json(&link.audience),
        "obligations": demands_to_json(link.demands),
    })
}
