//! A record for people and log pipelines: JSON in the field names of OPA's decision logs, where they mean the same.

use serde_json::{Map, Value, json};

use super::{Detail, Public, Record, RecordKind};
use crate::id::MeshId;

impl Record {
    /// `decision_id`, `timestamp`, `labels`, `input` and `result` as OPA has them; what OPA has no word for stands under
    /// `remit`. Fields of a detail that was shed are absent.
    #[must_use]
    pub fn to_json(&self, mesh: &MeshId) -> Value {
        let Public {
            edge,
            boot,
            seq,
            prev,
            wall,
            mono,
            kind,
            decision,
            tenant,
            effects,
            reason,
            tick,
            epoch,
            manifest,
            age_millis,
            gap,
        } = self.public();
        let effects: Vec<_> = effects.iter().map(|effect| effect.as_str()).collect();
        let mut remit = json!({
            "kind": kind.as_str(),
            "boot": boot,
            "seq": seq,
            "hash": self.hash(mesh),
            "prev": prev,
            "boot_millis": mono.as_millis(),
            "effects": effects,
            "reason": reason,
            "tick": tick,
            "epoch": epoch,
            "manifest": manifest,
            "age_millis": age_millis,
            "has_detail": self.detail().is_some(),
        });
        if let (Some(gap), Some(remit)) = (gap, remit.as_object_mut()) {
            let (cause, boot) = (gap.cause.as_str(), gap.boot);
            remit.insert(
                "gap".to_owned(),
                json!({ "cause": cause, "boot": boot, "after": gap.after, "records": gap.records }),
            );
        }
        let mut view = json!({
            "decision_id": decision,
            "timestamp": wall.to_string(),
            "labels": { "mesh": mesh, "edge": edge, "tenant": tenant },
            "remit": remit,
        });
        let Some(members) = view.as_object_mut() else { return view };
        if matches!(kind, RecordKind::Decision | RecordKind::Advice) {
            members.insert("result".to_owned(), json!({ "allow": reason == "permit", "reason": reason }));
        }
        if let Some(detail) = self.detail() {
            let (input, rest) = detail.to_json();
            members.insert("input".to_owned(), Value::Object(input));
            if let Some(remit) = members.get_mut("remit").and_then(Value::as_object_mut) {
                remit.extend(rest);
            }
        }
        view
    }
}

impl Detail {
    /// What went into the decision, and what came of it. Absent and empty members are left out.
    fn to_json(&self) -> (Map<String, Value>, Map<String, Value>) {
        let Self {
            salt,
            delegator,
            session,
            task,
            purpose,
            links,
            agents,
            tool,
            resources,
            ids,
            amounts,
            arguments,
            grant,
            policies,
            policies_total,
            dimension,
            hop,
            max_records,
            classes,
            result,
            credential,
            credential_version,
            note,
            stage,
            class,
            relations,
            absent,
            offline,
            asked_by,
            subject,
        } = self;
        let ids: Map<_, _> = ids.iter().map(|(dimension, ids)| (dimension.to_string(), json!(ids))).collect();
        let amounts: Map<_, _> = amounts.iter().map(|(dimension, n)| (dimension.to_string(), json!(n))).collect();
        let input = present([
            ("delegator", json!(delegator)),
            ("session", json!(session)),
            ("task", json!(task)),
            ("purpose", json!(purpose)),
            ("subject", json!(subject)),
            ("agents", json!(agents)),
            ("class", json!(class)),
            ("links", json!(links)),
            ("tool", json!(tool)),
            ("resources", json!(resources)),
            ("ids", Value::Object(ids)),
            ("amounts", Value::Object(amounts)),
            ("arguments_digest", json!(arguments)),
        ]);
        let figures = result.as_ref().map(|figures| {
            json!({
                "records_before": figures.records_before,
                "records_released": figures.records_released,
                "fields_dropped": figures.fields_dropped,
                "bytes": figures.bytes,
            })
        });
        let rest = present([
            ("salt", json!(crate::text::hex(salt))),
            ("grant", json!(grant)),
            ("policies", json!(policies)),
            ("policies_total", json!((*policies_total > 0).then_some(policies_total))),
            ("dimension", json!(dimension)),
            ("hop", json!(hop)),
            ("max_records", json!(max_records)),
            ("classes", json!(classes.as_ref().map(|classes| classes.iter().collect::<Vec<_>>()))),
            ("released", json!(figures)),
            ("credential", json!(credential)),
            ("credential_version", json!(credential_version)),
            ("note", json!(note)),
            ("stage", json!(stage)),
            ("relations_revision", json!(relations)),
            ("absent", json!(absent)),
            ("offline_authorization", json!(offline)),
            ("asked_by", json!(asked_by)),
        ]);
        (input, rest)
    }
}

fn present<const N: usize>(members: [(&str, Value); N]) -> Map<String, Value> {
    let is_present = |value: &Value| match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    };
    members.into_iter().filter(|(_, value)| is_present(value)).map(|(name, value)| (name.to_owned(), value)).collect()
}
