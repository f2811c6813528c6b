//! `remit bundle diff --prove`: that one bundle's Cedar policies permit no more than another's, for every request.
//!
//! Cedar's own symbolic compiler turns "permitted now, and not before" into a formula, and a solver says that nothing
//! satisfies it, or what does. Policies that stand in both bundles are left out where that is sound. What is proven and
//! what is not: clauses B-45 and B-46, docs/PROTOCOL.md.

mod claims;
mod solver;

use std::collections::BTreeMap;
use std::time::Duration;

use cedar_policy::{
    Authorizer, Decision, Effect, Entities, EntityUid, Policy, PolicyId, PolicySet, Request, Response, Schema,
    SchemaFragment,
};
use remit_common::policy::compile::{ENTITIES_FILE, POLICIES_FOLDER, SCHEMA_FILE};
use serde::Serialize;
use serde_json::Value;

use super::diff::Side;
use crate::context::Context;
use crate::output::Output;
use claims::{Claim, claims};
use solver::{Solver, Unsolved};

const NO_SOLVER: &str = "there is no solver: install cvc5 1.3 or later (https://github.com/cvc5/cvc5/releases), and \
                         put it on the PATH or name it with --solver or $REMIT_CVC5";
const FAILS: &str = "looks at attributes of entities, and fails where `entities.json` does not know one: an edge denies \
                     then, and what denies now is not proven";
const LATE: &str = "the solver took too long; --budget SECONDS gives it more";

/// Of whom policies are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Who {
    /// The agent that calls: it needs a permit, and no forbid.
    Caller,
    /// An agent above it in the chain: only the forbids are asked.
    AgentAbove,
    /// The human: only the forbids are asked.
    Human,
}

/// What became of one claim.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub(super) enum Verdict {
    /// The later bundle permits no more.
    Proven {
        /// Whether the solver was asked; otherwise the policies are the same, as far as they matter.
        solver: bool,
    },
    /// It permits this, and the earlier one does not.
    Wider {
        /// The request.
        request: Box<Example>,
    },
    /// Nobody knows.
    Unknown {
        /// Why.
        why: String,
    },
}

/// A request that shows the difference, decided under the policies of both.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Example {
    principal: String,
    /// What the principal is in.
    principal_in: Vec<String>,
    action: String,
    resource: String,
    context: Value,
    entities: Value,
    /// The policies that decide in the earlier bundle; none where nothing permits.
    old: Vec<String>,
    /// The policies that decide in the later one.
    new: Vec<String>,
}

/// One claim, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Finding {
    action: String,
    resource: String,
    who: Who,
    #[serde(flatten)]
    verdict: Verdict,
}

/// What was proven.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Proof {
    findings: Vec<Finding>,
}

impl Proof {
    /// Whether every claim was proven.
    pub(crate) fn holds(&self) -> bool {
        self.findings.iter().all(|finding| matches!(finding.verdict, Verdict::Proven { .. }))
    }

    /// How many claims were not.
    pub(crate) fn unproven(&self) -> u64 {
        let unproven = self.findings.iter().filter(|finding| !matches!(finding.verdict, Verdict::Proven { .. }));
        u64::try_from(unproven.count()).unwrap_or(u64::MAX)
    }

    fn unknown(why: String) -> Self {
        let verdict = Verdict::Unknown { why };
        let finding = Finding { action: "*".to_owned(), resource: "*".to_owned(), who: Who::Caller, verdict };
        Self { findings: vec![finding] }
    }
}

/// A policy, and what it says without its name, place and texts.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) policy: Policy,
    pub(super) says: String,
}

impl Rule {
    pub(super) fn permits(&self) -> bool {
        self.policy.effect() == Effect::Permit
    }
}

/// Whether there is a solver at `program`.
pub(crate) fn has_solver(program: &str) -> bool {
    Solver::new(program).is_there()
}

/// Tries to prove that `new` permits nothing that `old` does not, with the solver at `program`, within a time for all.
pub(super) async fn prove(old: &Side, new: &Side, program: &str, budget: Duration, context: &Context) -> Proof {
    let started = context.env.now().boot;
    let left = || budget.saturating_sub(context.env.now().boot.since(started));
    match read(old, new) {
        Ok((schema, old, new)) => all(&schema, &old, &new, &mut Solver::new(program), left).await,
        Err(why) => Proof::unknown(why),
    }
}

fn read(old: &Side, new: &Side) -> Result<(Schema, Vec<Rule>, Vec<Rule>), String> {
    // With the arguments of tools, which come from the catalogue (P-51).
    let in_force = |side: &Side| side.compiled.policy().schema_text().to_owned();
    let schema = in_force(new);
    let meaning = |text: &str| -> Result<Value, String> {
        let (fragment, _) = SchemaFragment::from_cedarschema_str(text).map_err(|error| error.to_string())?;
        fragment.to_json_value().map_err(|error| error.to_string())
    };
    if meaning(&in_force(old))? != meaning(&schema)? {
        return Err(format!(
            "`{SCHEMA_FILE}` differs, or the arguments of a tool do, and a proof needs one schema for both"
        ));
    }
    let entities = |side| match text(side, ENTITIES_FILE) {
        none if none.is_empty() => Value::Array(Vec::new()),
        some => serde_json::from_str(&some).unwrap_or_default(),
    };
    if entities(old) != entities(new) {
        return Err(format!("`{ENTITIES_FILE}` differs, and a proof needs the same entities for both"));
    }
    let relations = |side: &Side| -> BTreeMap<String, Vec<u8>> {
        let files = side.files.iter().filter(|(path, _)| path.starts_with("relations") || path.ends_with(".fga"));
        files.map(|(path, bytes)| (path.clone(), bytes.clone())).collect()
    };
    if relations(old) != relations(new) {
        return Err("relations differ, and a proof needs the same facts for both".to_owned());
    }
    let (schema, _) = Schema::from_cedarschema_str(&schema).map_err(|error| error.to_string())?;
    Ok((schema, rules(old)?, rules(new)?))
}

fn text(side: &Side, path: &str) -> String {
    side.files.get(path).map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
}

fn rules(side: &Side) -> Result<Vec<Rule>, String> {
    let mut rules = BTreeMap::new();
    for path in side.files.keys().filter(|path| path.starts_with(POLICIES_FOLDER)) {
        let set: PolicySet = text(side, path).parse().map_err(|error| format!("`{path}`: {error}"))?;
        for policy in set.policies() {
            let name = policy.annotation("id").unwrap_or_default().to_owned();
            let mut says = policy.to_json().map_err(|error| format!("`{name}`: {error}"))?;
            if let Value::Object(fields) = &mut says {
                fields.remove("annotations");
            }
            let rule = Rule { policy: policy.new_id(PolicyId::new(&name)), says: says.to_string() };
            rules.insert(name, rule);
        }
    }
    Ok(rules.into_values().collect())
}

async fn all(schema: &Schema, old: &[Rule], new: &[Rule], solver: &mut Solver, left: impl Fn() -> Duration) -> Proof {
    let mut findings = Vec::new();
    let claims = match claims(schema, old, new) {
        Ok(claims) => claims,
        Err(why) => return Proof::unknown(why),
    };
    for claim in claims {
        let left = left();
        let verdict = match &claim.query {
            None => Verdict::Proven { solver: false },
            Some(_) if claim.unclear.is_some() => {
                let name = claim.unclear.as_deref().unwrap_or_default();
                Verdict::Unknown { why: format!("`{name}` {FAILS}") }
            }
            Some(_) if left.is_zero() => Verdict::Unknown { why: LATE.to_owned() },
            Some(query) => match Box::pin(solver.refute(schema, &claim.about, query, left)).await {
                Ok(None) => Verdict::Proven { solver: true },
                Ok(Some(found)) => confirmed(&claim, old, new, &found.request, &found.entities),
                Err(Unsolved::NoSolver) => Verdict::Unknown { why: NO_SOLVER.to_owned() },
                Err(Unsolved::Late) => Verdict::Unknown { why: LATE.to_owned() },
                Err(Unsolved::Failed(why)) => Verdict::Unknown { why },
            },
        };
        let (action, resource) = (name_of(claim.about.action()), claim.about.resource().to_string());
        findings.push(Finding { action, resource, who: claim.who, verdict });
    }
    Proof { findings }
}

fn name_of(uid: &EntityUid) -> String {
    uid.id().unescaped().to_owned()
}

/// Decides what the solver found under the policies of both bundles, whole.
fn confirmed(claim: &Claim, old: &[Rule], new: &[Rule], request: &Request, entities: &Entities) -> Verdict {
    let decide = |rules: &[Rule]| -> Result<(bool, Vec<String>), String> {
        let set = claims::whole(rules, claim.who)?;
        let response = Authorizer::new().is_authorized(request, &set, entities);
        let names = response.diagnostics().reason().map(ToString::to_string).filter(|name| name != claims::ANYTHING);
        let names = names.collect();
        Ok((permits(&set, &response), names))
    };
    let (before, after) = match (decide(old), decide(new)) {
        (Ok(before), Ok(after)) => (before, after),
        (Err(why), _) | (_, Err(why)) => return Verdict::Unknown { why },
    };
    if before.0 || !after.0 {
        let why = "the solver named a request that does not show a difference when it is decided".to_owned();
        return Verdict::Unknown { why };
    }
    let shown = |uid: Option<&EntityUid>| uid.map(ToString::to_string).unwrap_or_default();
    let above = request.principal().and_then(|principal| entities.ancestors(principal));
    let request = Box::new(Example {
        principal: shown(request.principal()),
        principal_in: above.into_iter().flatten().map(ToString::to_string).collect(),
        action: shown(request.action()),
        resource: shown(request.resource()),
        context: request.context().and_then(|context| context.to_json_value().ok()).unwrap_or_default(),
        entities: entities.to_json_value().unwrap_or_default(),
        old: before.1,
        new: after.1,
    });
    Verdict::Wider { request }
}

/// As an edge reads Cedar's answer: a forbid that cannot be evaluated denies (clause P-28).
fn permits(set: &PolicySet, response: &Response) -> bool {
    let is_forbid = |id: &PolicyId| set.policy(id).is_none_or(|policy| policy.effect() == Effect::Forbid);
    let mut failed = response.diagnostics().errors().map(|error| match error {
        cedar_policy::AuthorizationError::PolicyEvaluationError(error) => is_forbid(error.policy_id()),
    });
    response.decision() == Decision::Allow && !failed.any(|forbid| forbid)
}

/// What was proven, then what was not, with the request that shows it.
pub(super) fn show(proof: &Proof, output: &Output) {
    output.line("");
    let proven = proof.findings.iter().filter(|finding| matches!(finding.verdict, Verdict::Proven { .. })).count();
    let asked = |finding: &&Finding| finding.verdict == (Verdict::Proven { solver: true });
    let by_solver = proof.findings.iter().filter(asked).count();
    let (total, mark) = (proof.findings.len(), if proof.holds() { output.good("ok") } else { output.bad("proof") });
    output.line(format!("{mark} {proven} of {total} claims are proven, {by_solver} of them by a solver"));
    let mut unknown: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for finding in &proof.findings {
        let Finding { action, resource, who, verdict } = finding;
        let whom = match who {
            Who::Caller => "the agent that calls",
            Who::AgentAbove => "an agent above it in the chain (only forbids)",
            Who::Human => "the human (only forbids)",
        };
        match verdict {
            Verdict::Proven { .. } => {}
            Verdict::Unknown { why } => unknown.entry(why).or_default().push(format!("`{action}`")),
            Verdict::Wider { request } => {
                let wider = if *who == Who::Caller { "newly permitted" } else { "no longer forbidden" };
                let wider = output.bad(wider);
                output.line(format!("{wider}: `{action}` on {resource}, for {whom}; decided under both bundles:"));
                let Example { principal, principal_in, resource, context, old, new, .. } = request.as_ref();
                output.line(format!("  {principal} in [{}] on {resource}", principal_in.join(", ")));
                output.line(format!("  context {context}"));
                let by = |names: &[String], none: &str| match names {
                    [] => none.to_owned(),
                    names => format!("`{}`", names.join("`, `")),
                };
                output.line(format!("  before: denied, {}", by(old, "nothing permits it")));
                output.line(format!("  now:    not denied, {}", by(new, "nothing forbids it")));
            }
        }
    }
    for (why, mut actions) in unknown {
        actions.dedup();
        let many = if actions.len() > 8 { format!("{} actions", actions.len()) } else { actions.join(", ") };
        output.line(format!("{}: needs an approval: {many}: {why}", output.bad("unknown")));
    }
    output.line(output.faint(
        "Proven is: under this schema, and for the same request and entities, the later Cedar policies permit no more. \
         The catalogue, purposes, classes and envelopes, from which requests are made, are not part of it.",
    ));
}
