//! What a chain leaves, and what a call is, as JSON.

use std::collections::{BTreeMap, BTreeSet};

use remit_common::crypto::digest::Digest;
use remit_common::envelope::Effective;
use remit_common::lattice::{
    ArgumentValue, CallFacts, Effect, Effects, Grant, IdSet, Pin, PurposePath, Scalar, SortedMap,
};
use remit_common::text::{from_hex, hex};
use serde_json::{Map, Value, json};

use super::judge::text;

/// In the order of clause E-4: by length, then by bytes.
fn in_order<'t>(texts: impl IntoIterator<Item = &'t str>) -> Value {
    let mut texts: Vec<&str> = texts.into_iter().collect();
    texts.sort_by_key(|text| (text.len(), *text));
    json!(texts)
}

fn by_name<'t>(entries: impl Iterator<Item = (&'t str, Value)>) -> Value {
    let mut entries: Vec<(&str, Value)> = entries.collect();
    entries.sort_by_key(|(name, _)| (name.len(), *name));
    Value::Object(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn purpose(path: &PurposePath) -> Value {
    json!(path.numbers())
}

pub(super) fn told(effective: &Effective) -> Value {
    let audience = &effective.audience;
    let agents: Value = effective
        .chain_agents
        .iter()
        .map(|agent| json!({"id": agent.id.as_str(), "class": agent.class.as_str()}))
        .collect();
    json!({
        "links": effective.links().iter().map(|id| hex(&id.0.0)).collect::<Vec<_>>(),
        "holders": effective.holders().iter().map(|id| hex(&id.0.0)).collect::<Vec<_>>(),
        "tenant": effective.tenant.as_str(),
        "delegator": effective.delegator.as_str(),
        "session": effective.session.as_str(),
        "task": effective.task.as_str(),
        "agent": effective.agent.as_str(),
        "class": effective.class.as_str(),
        "agents": agents,
        "purpose": purpose(&effective.purpose),
        "not_before_secs": effective.not_before.as_secs(),
        "expires_secs": effective.expires.as_secs(),
        "depth_left": effective.depth_left,
        "fanout_max": effective.fanout_max,
        "offline": effective.offline,
        "regions": audience.regions.as_ref().map(|names| in_order(names.iter().map(|name| name.as_str()))),
        "edges": audience.edges.as_ref().map(|names| in_order(names.iter().map(|name| name.as_str()))),
        "min_pop": effective.demands.min_pop.as_str(),
        "redact": effective.demands.redact.bits(),
        "log": effective.demands.log.number(),
        "catalogue_version": effective.catalogue_version,
        "taxonomy_version": effective.taxonomy_version,
        "min_bundle_version": effective.min_bundle_version.0,
        "grants": effective.scope.grants().map(|(_, left)| left.map_or(Value::Null, grant)).collect::<Value>(),
    })
}

fn grant(grant: &Grant) -> Value {
    let ids = grant.ids.iter().map(|(name, set)| {
        let (kind, ids) = match set {
            IdSet::In(ids) => ("in", ids),
            IdSet::NotIn(ids) => ("all_but", ids),
        };
        (name.as_str(), json!({kind: in_order(ids.iter().map(|id| id.as_str()))}))
    });
    let pins = grant.pins.iter().map(|(tool, pin)| {
        let pin = match pin {
            Pin::Is(digest) => json!(hex(&digest.0)),
            Pin::Never => Value::Null,
        };
        (tool.as_str(), pin)
    });
    let classes: Vec<u8> = grant.classes.iter().flat_map(|classes| classes.iter()).collect();
    let effects: Vec<&str> = grant.effects.iter().flat_map(|effects| effects.iter()).map(Effect::as_str).collect();
    json!({
        "of": grant.of,
        "tools": in_order(grant.tools.iter().map(|pattern| pattern.as_str())),
        "pins": by_name(pins),
        "ids": by_name(ids),
        // As text: many readers of JSON lose what is above 2^53.
        "maxima": by_name(grant.maxima.iter().map(|(name, max)| (name.as_str(), json!(max.to_string())))),
        "classes": classes,
        "effects": effects,
        "args": by_name(grant.args.iter().map(|(pointer, constraint)| (pointer.as_str(), arg(&constraint.parts())))),
        "future": grant.future,
    })
}

fn arg(parts: &remit_common::lattice::Parts<'_>) -> Value {
    let mut said = Map::new();
    if let Some(values) = parts.listed {
        let mut values: Vec<&Scalar> = values.iter().collect();
        values.sort_by(|a, b| a.encoded_order(b));
        let scalar = |value: &&Scalar| match value {
            Scalar::Int(number) => json!(number),
            Scalar::Text(text) => json!(text),
            Scalar::Bool(value) => json!(value),
        };
        said.insert("one_of".into(), values.iter().map(scalar).collect());
    }
    if let Some((low, high)) = parts.within {
        said.insert("within".into(), json!([low, high]));
    }
    if let Some(place) = parts.below {
        said.insert("below".into(), json!(place.as_str()));
    }
    if let Some(bytes) = parts.length_max {
        said.insert("length_max".into(), json!(bytes));
    }
    Value::Object(said)
}

fn members<'v>(value: &'v Value, at: &str) -> impl Iterator<Item = (&'v String, &'v Value)> {
    value[at].as_object().into_iter().flatten()
}

/// A call, as a tool's descriptor would make it of arguments.
pub(super) fn call(asked: &Value) -> CallFacts {
    let words = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().map(|word| word.as_str().expect("a text").to_owned()).collect()
    };
    let effect = |word: &String| Effect::ALL.into_iter().find(|effect| effect.as_str() == word).expect("an effect");
    let ids: BTreeMap<_, BTreeSet<_>> = members(asked, "ids")
        .map(|(name, ids)| (name.parse().unwrap(), words(ids).iter().map(|id| id.parse().unwrap()).collect()))
        .collect();
    let amounts = members(asked, "amounts")
        .map(|(name, amount)| (name.parse().unwrap(), amount.as_str().unwrap().parse().unwrap()))
        .collect();
    let values =
        |values: &Value| -> Vec<ArgumentValue> { values.as_array().expect("a list").iter().map(value).collect() };
    let mut arguments = SortedMap::new();
    for (pointer, found) in members(asked, "arguments") {
        arguments.insert(pointer.parse().expect("a pointer"), values(found));
    }
    CallFacts {
        ids,
        amounts,
        result_maxima: words(&asked["result_maxima"]).iter().map(|name| name.parse().unwrap()).collect(),
        is_newer: asked["is_newer"] == true,
        definition: asked["definition"]
            .as_str()
            .map(|digest| Digest(from_hex(digest).expect("hex").try_into().expect("32 bytes"))),
        arguments,
        ..CallFacts::of_tool(
            text(asked, "tool").parse().expect("a tool"),
            Effects::from_iter(words(&asked["effects"]).iter().map(effect)),
        )
    }
}

fn value(found: &Value) -> ArgumentValue {
    match found {
        Value::String(text) => ArgumentValue::Scalar(Scalar::from(text.as_str())),
        Value::Bool(value) => ArgumentValue::Scalar(Scalar::Bool(*value)),
        _ => found.as_i64().map_or(ArgumentValue::Other, |number| ArgumentValue::Scalar(Scalar::Int(number))),
    }
}
