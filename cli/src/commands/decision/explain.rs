//! `remit decision explain`: a record in words, with the rules that decided and what would have been needed.
//!
//! What the record says is not asked again; the rules come from the bundle that judged, as its administrators signed
//! it, verified here. A record holds no arguments, and what cannot be known from it is said.

use remit_common::bundle::{Manifest, SignedBundle};
use remit_common::crypto::digest::Digest;
use remit_common::id::DecisionId;
use remit_common::lattice::Effects;
use remit_common::policy::explain::{Cited, Nearest, State};
use remit_common::policy::recall::Recalled;
use remit_common::policy::{CompiledPolicy, Reason, Stage};
use remit_common::time::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::{fetch, text};
use crate::admin::Admin;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::trust;

/// What is told of one decision.
#[derive(Debug, Serialize)]
struct Told {
    decision: String,
    reason: Option<Reason>,
    stage: Option<Stage>,
    /// What happened, in words.
    meaning: String,
    /// What there is to say of this decision in particular.
    particulars: Vec<String>,
    /// Relations that did not hold: `object#relation@subject`.
    absent: Vec<String>,
    /// As of which revision of the relations.
    relations_revision: Option<u64>,
    rules: Vec<Cited>,
    rules_total: u64,
    nearest: Option<Nearest>,
    /// What would have been needed.
    needed: String,
    /// What this does not tell, and why.
    unknown: Vec<String>,
}

/// The bundle that judged.
struct Judge {
    manifest: Manifest,
    policy: CompiledPolicy,
}

pub(super) async fn run(context: &Context, id: DecisionId) -> Result<Exit, Failure> {
    let mesh = context.mesh()?;
    let admin = Admin::new(context, &mesh)?;
    let records = fetch(&admin, &mesh.tenant, &id.to_string()).await?;
    if let Some(advice) = records.iter().find(|record| text(record, "/remit/kind") == "advice") {
        let (by, tool) = (text(advice, "/remit/asked_by"), text(advice, "/input/tool"));
        let why = format!("{id} is advice: `{by}` asked about `{tool}`, and nothing was called");
        return Err(
            Failure::new(Exit::Failed, why).hint(format!("`remit decision show {id}` has the rules and reasons"))
        );
    }
    let Some(record) = records.iter().find(|record| text(record, "/remit/kind") == "decision") else {
        return Err(Failure::new(Exit::Failed, format!("no voter has the decision of {id}"))
            .hint("records arrive within a second while the control plane is up; later ones wait at their edge"));
    };
    let digest = text(record, "/remit/manifest");
    let (judge, missing) = if digest.is_empty() {
        (None, Some("the edge had no bundle of this tenant when it decided".to_owned()))
    } else {
        match judge(context, &admin, &mesh, &digest, when(record)).await {
            Ok(judge) => (Some(judge), None),
            Err(failure) => (None, Some(format!("the rules: bundle {digest} cannot be shown: {}", failure.message))),
        }
    };
    let mut told = tell(id, record, judge.as_ref());
    told.unknown.extend(missing);
    context.output.document(&json!({ "explanation": &told, "record": record }));
    show(context, &told);
    Ok(Exit::Done)
}

/// Fetches the bundle that judged, and verifies it as of when it did: it may have expired since.
async fn judge(
    context: &Context,
    admin: &Admin,
    mesh: &remit_chaos::launcher::MeshFile,
    digest: &str,
    at: Timestamp,
) -> Result<Judge, Failure> {
    let expected: Digest =
        digest.parse().map_err(|_| Failure::new(Exit::Failed, "the record's manifest is not a digest"))?;
    let bytes = admin.get_bytes(&format!("/v1/bundles/{expected}")).await?;
    let bundle = SignedBundle::parse(&bytes).map_err(|error| Failure::caused(Exit::Failed, &error))?;
    if bundle.digest() != expected {
        return Err(Failure::new(Exit::Failed, "the voter gave another bundle than the one that was asked for"));
    }
    let (root, _) = trust::directory(context, mesh).await?;
    let verified = bundle.verify(&root, &mesh.mesh_id, &mesh.tenant, at);
    let compiled = verified.and_then(remit_common::bundle::VerifiedBundle::compile);
    let compiled = compiled.map_err(|error| Failure::caused(Exit::Failed, &error))?;
    Ok(Judge { manifest: compiled.manifest().clone(), policy: compiled.policy().clone() })
}

fn when(record: &Value) -> Timestamp {
    let id = text(record, "/decision_id").parse::<DecisionId>();
    Timestamp::from_millis(id.map(|id| id.to_bytes()).map_or(0, |bytes| {
        // A decision's id begins with the milliseconds at which it was made.
        bytes.iter().take(6).fold(0u64, |millis, byte| millis << 8 | u64::from(*byte))
    }))
}

fn tell(id: DecisionId, record: &Value, judge: Option<&Judge>) -> Told {
    let reason: Option<Reason> = text(record, "/remit/reason").parse().ok();
    let stage = Stage::named(&text(record, "/remit/stage"));
    let names = list(record, "/remit/policies");
    let rules = judge.map(|judge| judge.policy.cite(names.iter().map(String::as_str))).unwrap_or_default();
    let mut unknown = vec!["the arguments: records hold none, only a salted digest".to_owned()];
    if record.pointer("/remit/has_detail") != Some(&Value::Bool(true)) {
        unknown.push("who, what and by which rules: this record's detail was shed".to_owned());
    } else if stage.is_none() {
        unknown.push("the stage: this record was written before stages were".to_owned());
    }
    let recalled = recall(record).filter(|_| reason == Some(Reason::NoMatchingPolicy));
    let nearest = judge.zip(recalled).and_then(|(judge, recalled)| judge.policy.nearest_recalled(&recalled));
    Told {
        decision: id.to_string(),
        reason,
        stage,
        meaning: reason.map_or("a word that this version does not know", Reason::meaning).to_owned(),
        particulars: particulars(record, reason, judge),
        absent: list(record, "/remit/absent"),
        relations_revision: record.pointer("/remit/relations_revision").and_then(Value::as_u64),
        rules,
        rules_total: record.pointer("/remit/policies_total").and_then(Value::as_u64).unwrap_or_default(),
        nearest,
        needed: reason.map_or("a newer `remit`", Reason::next_step).to_owned(),
        unknown,
    }
}

/// What the record says besides the reason: the link and the dimension, the bound, the note.
fn particulars(record: &Value, reason: Option<Reason>, judge: Option<&Judge>) -> Vec<String> {
    let mut said = Vec::new();
    let agents = list(record, "/input/agents");
    if let Some(hop) = record.pointer("/remit/hop").and_then(Value::as_u64) {
        let named = |list: &[String]| usize::try_from(hop).ok().and_then(|hop| list.get(hop)).cloned();
        let link = named(&list(record, "/input/links")).map(|link| format!(" ({link})")).unwrap_or_default();
        let holder = named(&agents).map(|agent| format!(", given to {agent}")).unwrap_or_default();
        let what = if hop == 0 { "the root of the chain".to_owned() } else { format!("link {hop} of the chain") };
        let does = if reason == Some(Reason::OutOfScope) { "does not reach this call" } else { "is where it failed" };
        said.push(format!("{what}{link}{holder} {does}"));
    }
    let dimension = text(record, "/remit/dimension");
    if !dimension.is_empty() {
        said.push(format!("on the dimension `{dimension}`: the call names something that is not granted there"));
    }
    if reason == Some(Reason::Stale) {
        let age = record.pointer("/remit/age_millis").and_then(Value::as_u64);
        let age = age.map_or("unknown".to_owned(), |millis| format!("{}.{:03} s", millis / 1_000, millis % 1_000));
        let effects: Vec<String> = list(record, "/remit/effects");
        let bound = judge.and_then(|judge| {
            let effects: Option<Effects> = effects.iter().map(|effect| effect.parse().ok()).collect::<Option<_>>();
            effects.map(|effects| judge.manifest.bounds.bound_for(effects).as_secs())
        });
        let bound = bound.map_or_else(|| "not known here".to_owned(), |secs| format!("{secs} s"));
        said.push(format!("the edge's knowledge was {age} old; the bound for {} is {bound}", effects.join(", ")));
    }
    // Relations are told apart from the note.
    let note = text(record, "/remit/note");
    let note = note.split("; these relations do not hold").next().unwrap_or_default();
    if !note.is_empty() {
        said.push(format!("the edge noted: {note}"));
    }
    said
}

fn recall(record: &Value) -> Option<Recalled> {
    let some = |path: &str| Some(text(record, path)).filter(|found| !found.is_empty());
    let agents = list(record, "/input/agents");
    Some(Recalled {
        tool: some("/input/tool")?.parse().ok()?,
        agent: agents.last()?.clone(),
        class: some("/input/class"),
        delegator: some("/input/delegator"),
        session: some("/input/session"),
        task: some("/input/task"),
        purpose: some("/input/purpose"),
        chain_depth: u8::try_from(agents.len()).ok(),
        resources: list(record, "/input/resources"),
        now: when(record),
        // Records that name the class name these, too.
        absent: some("/input/class").map(|_| list(record, "/remit/absent")),
    })
}

fn list(record: &Value, path: &str) -> Vec<String> {
    let items = record.pointer(path).and_then(Value::as_array);
    items.map(|items| items.iter().filter_map(Value::as_str).map(str::to_owned).collect()).unwrap_or_default()
}

fn show(context: &Context, told: &Told) {
    let output = &context.output;
    let word = told.reason.map_or("unknown", Reason::as_str);
    let word = if told.reason == Some(Reason::Permit) { output.good(word) } else { output.bad(word) };
    output.line(format!("{word}: {}", told.meaning));
    if let Some(stage) = told.stage {
        output.line(format!("  stage       {stage}"));
    }
    for particular in &told.particulars {
        output.line(format!("  {particular}"));
    }
    for relation in &told.absent {
        output.line(format!("  {}", relation_in_words(relation)));
    }
    if let Some(revision) = told.relations_revision.filter(|_| !told.absent.is_empty()) {
        output
            .line(format!("  as of revision {revision} of the relations; `remit relation check` says what holds now"));
    }
    if !told.rules.is_empty() {
        output.line(format!("  rules       {} of {}", told.rules.len(), told.rules_total.max(1)));
    }
    for rule in &told.rules {
        cite(context, rule);
    }
    if let Some(nearest) = &told.nearest {
        let of = if nearest.total == 1 {
            "the one permit".to_owned()
        } else {
            format!("the nearest of {} permits", nearest.total)
        };
        output.line(format!("{of} for this tool, and what it asks for:"));
        for near in &nearest.rules {
            cite(context, &near.rule);
            for fact in &near.facts {
                let state = match &fact.state {
                    State::Holds => "holds".to_owned(),
                    State::Fails => "FAILS".to_owned(),
                    State::Absent { what } => format!("ABSENT ({})", what.join(", ")),
                    State::Failed { why } => format!("ERROR ({why})"),
                    State::Unknown { of } => format!("cannot be known from the record ({})", of.join(", ")),
                };
                output.line(format!("      {:<9} {}: {state}", fact.part, fact.text));
                for (name, value) in &fact.found {
                    output.line(format!("                {name} was {value}"));
                }
            }
        }
    }
    let heading =
        if told.reason == Some(Reason::Permit) { "nothing more was needed:" } else { "what would have been needed:" };
    output.line(format!("{} {}", output.strong(heading), told.needed));
    for unknown in &told.unknown {
        output.line(format!("not told: {unknown}"));
    }
}

/// `contract:7781#account_owner@user:maya`: user:maya is not account_owner of contract:7781.
fn relation_in_words(relation: &str) -> String {
    let parts = relation.split_once('#').and_then(|(object, rest)| Some((object, rest.split_once('@')?)));
    match parts {
        Some((object, (name, subject))) => format!("{subject} is not {name} of {object}"),
        None => format!("this does not hold: {relation}"),
    }
}

fn cite(context: &Context, rule: &Cited) {
    let effect = if rule.forbids { "forbids" } else { "permits" };
    context.output.line(format!(
        "    {} {effect}, {}:{}",
        context.output.strong(rule.id.as_str()),
        rule.file,
        rule.line
    ));
    for line in rule.text.lines() {
        context.output.line(format!("      {line}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(reason: Reason) -> Value {
        json!({
            "decision_id": "01K8Z3V7M5J0Q4R9T2W6X8Y1AB",
            "input": {
                "agents": ["spiffe://a/agent/one", "spiffe://a/agent/two"], "tool": "contracts.read",
                "links": ["aa", "bb"],
            },
            "remit": {
                "kind": "decision", "reason": reason.as_str(), "has_detail": true, "stage": Stage::of(reason).as_str(),
                "hop": 1, "dimension": "customer", "age_millis": 61_250, "effects": ["write"], "note": "a note",
            },
        })
    }

    fn told(record: &Value) -> Told {
        tell("01K8Z3V7M5J0Q4R9T2W6X8Y1AB".parse().unwrap(), record, None)
    }

    #[test]
    fn every_reason_is_told_with_a_next_step() {
        let mut reasons = 0;
        for reason in Reason::all() {
            let told = told(&record(reason));
            assert_eq!((told.reason, told.stage), (Some(reason), Some(Stage::of(reason))));
            assert_eq!((told.meaning.as_str(), told.needed.as_str()), (reason.meaning(), reason.next_step()));
            assert!(told.particulars.contains(&"the edge noted: a note".to_owned()), "{told:?}");
            assert!(told.unknown.iter().any(|line| line.starts_with("the arguments")), "{told:?}");
            reasons += 1;
        }
        assert!(reasons >= 29);
    }

    #[test]
    fn out_of_scope_names_the_link_and_the_dimension() {
        let said = told(&record(Reason::OutOfScope)).particulars.join("\n");
        assert!(said.contains("link 1 of the chain (bb), given to spiffe://a/agent/two does not reach"), "{said}");
        assert!(said.contains("on the dimension `customer`"), "{said}");
    }

    #[test]
    fn stale_names_the_age_and_says_that_the_bound_is_not_known_without_the_bundle() {
        let said = told(&record(Reason::Stale)).particulars.join("\n");
        assert!(said.contains("61.250 s old; the bound for write is not known here"), "{said}");
    }

    #[test]
    fn what_an_older_or_a_shed_record_does_not_tell_is_said() {
        let mut old = record(Reason::Forbidden);
        old["remit"].as_object_mut().unwrap().remove("stage");
        assert!(told(&old).unknown.iter().any(|line| line.starts_with("the stage")));
        let shed = json!({ "remit": { "kind": "decision", "reason": "forbidden", "has_detail": false } });
        let told = told(&shed);
        assert!(told.unknown.iter().any(|line| line.contains("was shed")), "{told:?}");
        assert_eq!(told.reason, Some(Reason::Forbidden));
    }
}
