//! What an enforcement point is told: the decision about a call that somebody else makes, or about something that is no
//! call at all.
//!
//! Judged like a call and recorded as advice: no permit, no budget, no credential, nothing that goes out. The
//! enforcement point vouches for its callers as far as the configuration lets it. Clauses G-91 to G-93.

use std::sync::Arc;

use http::HeaderValue;
use remit_common::envelope::{Effective, RawPresentation};
use remit_common::id::TenantId;
use remit_common::lattice::Effects;
use remit_common::policy::advice::{Advised, Party, Question};
use remit_common::policy::call::{self, ToolCall};
use remit_common::policy::decision::{Denied, Permitted, Reason};
use remit_common::policy::json::{self, Json};
use remit_common::policy::stage::Stage;
use remit_common::record::{Detail, RecordKind, salted};

use super::{Gateway, Journey};
use crate::chains::Presented;
use crate::config::EnforcementPointEntry;
use crate::pdp::{self, Basis, Refusal};
use crate::report::{Draft, Weight};
use crate::telemetry::bounded;

/// What is asked.
#[derive(Debug)]
pub(crate) enum Asked {
    /// Whether this call of a tool would be permitted.
    Call {
        /// Under which envelope.
        envelope: RawPresentation,
        call: ToolCall,
        /// Who makes it, as the enforcement point has it; it must be whom the envelope is for.
        subject: Option<Party>,
        /// What it is about, as the enforcement point has it; it must be what the arguments say.
        resource: Option<Party>,
    },
    /// Whether policy lets a subject without an envelope do something.
    Plain(Question),
}

/// What the enforcement point is told.
#[derive(Debug)]
pub(crate) struct Advice {
    decision: String,
    basis: Basis,
    verdict: Result<Yes, Box<Refusal>>,
}

/// What stands behind a yes.
#[derive(Debug)]
enum Yes {
    Call(Box<Permitted>),
    Plain(Advised),
}

impl Advice {
    pub(crate) fn permits(&self) -> bool {
        self.verdict.is_ok()
    }

    pub(crate) fn decision_header(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.decision).ok()
    }

    /// Reasons, rules, and on what knowledge.
    pub(crate) fn context(&self) -> Json {
        let number = |number: u64| i64::try_from(number).map_or(Json::Null, Json::Int);
        let names = |names: &[_]| Json::Array(names.iter().map(ToString::to_string).map(Json::Text).collect());
        let mut members = vec![("decision_id".to_owned(), Json::text(self.decision.as_str()))];
        let mut add = |name: &str, value: Json| members.push((name.to_owned(), value));
        match &self.verdict {
            Ok(Yes::Call(permitted)) => {
                add("reason", Json::text(Reason::Permit.as_str()));
                add("policies", names(&permitted.policies));
                let max_records = permitted.obligations.max_records;
                let classes = permitted.obligations.classes.iter().map(|class| Json::Int(class.into())).collect();
                let max = max_records.map(|max| ("max_records".to_owned(), number(max)));
                let classes = ("classes".to_owned(), Json::Array(classes));
                add("obligations", Json::Array(vec![Json::Object(max.into_iter().chain([classes]).collect())]));
            }
            Ok(Yes::Plain(advised)) => {
                add("reason", Json::text(Reason::Permit.as_str()));
                add("policies", names(&advised.policies.first));
            }
            Err(refusal) => {
                let Denied { reason, dimension, hop, policies, detail, .. } = &refusal.denied;
                add("reason", Json::text(reason.as_str()));
                if let Some(dimension) = dimension {
                    add("dimension", Json::text(dimension.as_str()));
                }
                if let Some(hop) = hop {
                    add("hop", Json::Int((*hop).into()));
                }
                add("policies", names(policies));
                add("detail", Json::Text(bounded(detail.clone())));
            }
        }
        if let Some((_, version)) = self.basis.manifest {
            add("bundle_version", number(version.0));
        }
        add("revocation_epoch", number(self.basis.epoch.0));
        if let Some(age) = self.basis.age {
            add("staleness_ms", number(u64::try_from(age.as_millis()).unwrap_or(u64::MAX)));
        }
        Json::Object(members)
    }
}

impl Gateway {
    /// Judges what an enforcement point asks, about its own tenant; `Err` is a question that could not be read. Recorded.
    pub(crate) fn advise(
        &self,
        mut journey: Journey,
        point: &EnforcementPointEntry,
        asked: Result<Asked, &'static str>,
    ) -> Advice {
        let mut about = None;
        let verdict = match asked {
            Err(rule) => Err(Refusal::of_call(Denied::new(Reason::Malformed, rule))),
            Ok(Asked::Plain(question)) => {
                journey.tool = Some(question.action.clone());
                about = Some(format!("{}::{:?}", question.subject.kind, question.subject.id));
                self.advise_plainly(&journey, &point.tenant, &question).map(Yes::Plain)
            }
            Ok(Asked::Call { envelope, call, subject, resource }) => {
                journey.tool = Some(call.tool.clone());
                journey.arguments = Some(salted(&journey.salt, &json::encode(&call.arguments)));
                journey.presented = Some(Arc::new(Presented::from(envelope)));
                self.advise_about_call(&mut journey, point, call, (subject, resource)).map(|yes| Yes::Call(yes.into()))
            }
        };
        let basis = Basis::of(&journey.view, Some(&point.tenant), journey.arrived);
        self.record_advice(&journey, point, about, &verdict);
        Advice { decision: journey.decision.to_string(), basis, verdict }
    }

    fn advise_plainly(
        &self,
        journey: &Journey,
        tenant: &TenantId,
        question: &Question,
    ) -> Result<Advised, Box<Refusal>> {
        pdp::advise(&journey.view, tenant, &self.place, question, journey.arrived)
    }

    fn advise_about_call(
        &self,
        journey: &mut Journey,
        point: &EnforcementPointEntry,
        call: ToolCall,
        (subject, resource): (Option<Party>, Option<Party>),
    ) -> Result<Permitted, Box<Refusal>> {
        let chain = self.authenticate(journey)?;
        if chain.effective.tenant != point.tenant {
            let detail = "an enforcement point asks about envelopes of its own tenant";
            return Err(Refusal::of_call(Denied::new(Reason::WrongAudience, detail)));
        }
        let effective = self.stand(journey, &chain)?;
        if subject.is_some_and(|subject| !is_for(&effective, &subject)) {
            return Err(Refusal::of_call(Denied::new(
                Reason::Malformed,
                "the subject is not whom the envelope is for",
            )));
        }
        journey.proven.grade = point.vouches;
        let proof = (self.floor, journey.proven);
        let (view, now) = (&journey.view, journey.arrived);
        let cleared = pdp::judge(view, &effective, &self.place, call, proof, None, now)?;
        let permitted = cleared.permitted();
        if let Some(resource) = resource {
            let resources = call::facts(&permitted.tool, cleared.call()).map(|(_, resources)| resources);
            let is_it = resources.is_ok_and(|of| {
                of.kind == resource.kind && of.ids.len() == 1 && of.ids.iter().all(|id| id.as_str() == resource.id)
            });
            if !is_it {
                return Err(Refusal::of_call(Denied::new(
                    Reason::Malformed,
                    "the resource is not what the arguments say",
                )));
            }
        }
        Ok(permitted.clone())
    }

    fn record_advice(
        &self,
        journey: &Journey,
        point: &EnforcementPointEntry,
        about: Option<String>,
        verdict: &Result<Yes, Box<Refusal>>,
    ) {
        let known = Detail {
            tool: journey.tool.clone(),
            asked_by: Some(point.name.clone()),
            subject: about.map(bounded),
            ..journey.detail()
        };
        let (reason, effects, weight, detail) = match verdict {
            Ok(Yes::Call(permitted)) => {
                let detail = Detail {
                    resources: permitted.resources.clone(),
                    grant: Some(permitted.grant),
                    policies: permitted.policies.clone(),
                    policies_total: permitted.policies_total,
                    stage: Some(Stage::Verdict),
                    ..known
                };
                (Reason::Permit, permitted.facts.effects, Weight::Read, detail)
            }
            Ok(Yes::Plain(advised)) => {
                let (policies, policies_total) = (advised.policies.first.clone(), advised.policies.total);
                let detail = Detail { policies, policies_total, stage: Some(Stage::Verdict), ..known };
                (Reason::Permit, Effects::default(), Weight::Read, detail)
            }
            Err(refusal) => {
                let Denied { reason, stage, dimension, hop, policies, policies_total, resources, detail, absent } =
                    refusal.denied.clone();
                let note = Some(bounded(detail)).filter(|note| !note.is_empty());
                let stage = Some(stage);
                let detail =
                    Detail { dimension, hop, policies, policies_total, resources, stage, absent, note, ..known };
                (reason, Effects::default(), Weight::Refusal, detail)
            }
        };
        let draft = self.draft(journey, RecordKind::Advice, effects, reason.as_str(), detail);
        // About whom it asks is for the enforcement point to say; whose question it is, is not.
        let tenant = Some(&point.tenant);
        let basis = Basis::of(&journey.view, tenant, journey.arrived);
        self.reporter.soon(Draft { tenant: tenant.cloned(), basis, ..draft }, weight);
        self.metrics.advised(reason, self.took(journey));
    }
}

/// Whether an enforcement point means the agent that acts, or the human on whose behalf it does.
fn is_for(effective: &Effective, subject: &Party) -> bool {
    let agent = effective.chain_agents.last().map(|agent| agent.id.as_str());
    match subject.kind.to_ascii_lowercase().as_str() {
        "agent" => agent == Some(subject.id.as_str()),
        "user" => effective.delegator.as_str() == subject.id,
        _ => false,
    }
}
