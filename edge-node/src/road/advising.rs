//! What an enforcement point is told: the decision about a call that somebody else makes, or about something that is no
//! call at all.
//!
//! Judged like a call and recorded as advice: no permit, no budget, no credential, nothing that goes out. The
//! enforcement point vouches for its callers as far as the configuration lets it. Clauses G-91 to G-93.

use std::collections::BTreeSet;
use std::sync::Arc;

use http::HeaderValue;
use remit_common::envelope::{Effective, RawPresentation};
use remit_common::id::{DecisionId, TenantId, ToolName};
use remit_common::lattice::{Effects, Log};
use remit_common::policy::advice::{Advised, Party, Question};
use remit_common::policy::call::{self, ToolCall};
use remit_common::policy::catalogue::http::HttpParts;
use remit_common::policy::decision::{Denied, Permitted, Reason};
use remit_common::policy::json::{self, Json};
use remit_common::policy::response::releases_everything;
use remit_common::policy::stage::Stage;
use remit_common::proof::{Exchange, Proof, Target};
use remit_common::record::{Detail, RecordKind, salted};

use super::{Gateway, Journey, recorded};
use crate::chains::Presented;
use crate::config::EnforcementPointEntry;
use crate::ingress::CalledTool;
use crate::ingress::carrier::Carried;
use crate::pdp::{self, Basis, Refusal};
use crate::pep;
use crate::report::{Draft, Durability, NotOnDisk, Weight};
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
        subject: Party,
        /// What it is about, as the enforcement point has it; it must be what the arguments say.
        resource: Party,
    },
    /// Whether a request may pass that a proxy holds back.
    Held(Box<Held>),
    /// Whether policy lets a subject without an envelope do something.
    Plain(Question),
}

/// A request that a proxy holds back, and what it has shown so far.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) carried: Carried,
    /// Over the request that is held back, without a body.
    pub(crate) proof: Option<Proof>,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) content_type: String,
    pub(crate) idempotency_key: Vec<u8>,
    /// Which tool it calls, or why none.
    pub(crate) called: Result<CalledTool, Denied>,
}

/// What the enforcement point is told.
#[derive(Debug)]
pub(crate) struct Advice {
    decision: DecisionId,
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
        HeaderValue::from_str(&self.decision.to_string()).ok()
    }

    pub(crate) fn decision(&self) -> &DecisionId {
        &self.decision
    }

    /// Why it is a no.
    pub(crate) fn refusal(&self) -> Option<&Refusal> {
        self.verdict.as_ref().err().map(Box::as_ref)
    }

    /// Reasons, rules, and on what knowledge.
    pub(crate) fn context(&self) -> Json {
        let number = |number: u64| i64::try_from(number).map_or(Json::Null, Json::Int);
        let names = |names: &[_]| Json::Array(names.iter().map(ToString::to_string).map(Json::Text).collect());
        let mut members = vec![("decision_id".to_owned(), Json::Text(self.decision.to_string()))];
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
    /// Judges what an enforcement point asks, about its own tenant; `Err` is a question that could not be read. The number
    /// is the least revision of relations that it wants to be told by. A yes is on record first, as the call would be.
    pub(crate) async fn advise(
        &self,
        mut journey: Journey,
        point: &EnforcementPointEntry,
        asked: Result<(Asked, Option<u64>), Box<Refusal>>,
    ) -> Advice {
        let mut about = None;
        let is_unread = asked.is_err();
        let judged = match asked {
            Err(refusal) => Err(refusal),
            Ok((Asked::Plain(question), _)) => {
                about = Some(format!("{}::{:?}", question.subject.kind.escape_debug(), question.subject.id));
                self.advise_plainly(&mut journey, &point.tenant, &question).map(Yes::Plain)
            }
            Ok((Asked::Call { envelope, call, subject, resource }, demanded)) => {
                journey.carries(&call);
                journey.presented = Some(Arc::new(Presented::from(envelope)));
                let judged = self.advise_about_call(&mut journey, point, call, (&subject, &resource), demanded);
                judged.map(|yes| Yes::Call(yes.into()))
            }
            Ok((Asked::Held(held), demanded)) => {
                self.advise_about_held_request(&mut journey, point, *held, demanded).map(|yes| Yes::Call(yes.into()))
            }
        };
        let known = Detail { asked_by: Some(point.name.clone()), subject: about.map(bounded), ..journey.detail() };
        let basis = Basis::of(&journey.view, Some(&point.tenant), journey.arrived);
        let draft = |reason: Reason, effects, detail| Draft {
            // About whom it asks is for the enforcement point to say; whose question it is, is not.
            tenant: Some(point.tenant.clone()),
            basis,
            ..self.draft(&journey, RecordKind::Advice, effects, reason.as_str(), detail)
        };
        let verdict = match judged {
            Ok(yes) => {
                let (effects, log, detail) = yes.on_record(known.clone());
                let draft = draft(Reason::Permit, effects, detail);
                self.record_first(draft, pep::durability(effects, log)).await.map(|()| yes)
            }
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = &verdict {
            let draft = draft(refusal.denied.reason, self.effects_of(&journey), recorded::denied(refusal, known));
            // Whatever an enforcement point passes on of strangers fills no disk.
            let is_strangers = is_unread || refusal.challenge || refusal.denied.reason == Reason::Malformed;
            if is_strangers {
                self.reporter.refused_caller(draft);
            } else {
                self.reporter.soon(draft, Weight::Refusal);
            }
        }
        let reason = verdict.as_ref().map_or_else(|refusal| refusal.denied.reason, |_| Reason::Permit);
        self.metrics.advised(reason, self.took(&journey));
        Advice { decision: journey.decision, basis, verdict }
    }

    async fn record_first(&self, draft: Draft, durability: Durability) -> Result<(), Box<Refusal>> {
        match durability {
            Durability::Soon => {
                self.reporter.soon(draft, Weight::Read);
            }
            Durability::First => {
                self.reporter.first(draft).await.map_err(|not_on_disk: NotOnDisk| {
                    let detail = format!("no yes is given that could not be recorded first: {not_on_disk}");
                    Refusal::of_call(Denied::new(Reason::ObligationUnmet, detail))
                })?;
            }
        }
        Ok(())
    }

    fn advise_plainly(
        &self,
        journey: &mut Journey,
        tenant: &TenantId,
        question: &Question,
    ) -> Result<Advised, Box<Refusal>> {
        let Question { subject, action, properties, resource, context } = question;
        // Records know what was done as a tool, whatever it is.
        journey.tool = ToolName::new(action.as_str()).ok();
        let said = [&subject.properties, properties, &resource.properties, context].map(json::encode).concat();
        journey.arguments = Some(salted(&journey.salt, &said));
        pdp::advise(&journey.view, tenant, &self.place, question, journey.arrived)
    }

    fn advise_about_call(
        &self,
        journey: &mut Journey,
        point: &EnforcementPointEntry,
        call: ToolCall,
        (subject, resource): (&Party, &Party),
        demanded: Option<u64>,
    ) -> Result<Permitted, Box<Refusal>> {
        let chain = self.authenticate(journey)?;
        if chain.effective.tenant != point.tenant {
            let detail = "an enforcement point asks about envelopes of its own tenant";
            return Err(Refusal::of_call(Denied::new(Reason::WrongAudience, detail)));
        }
        let effective = self.stand(journey, &chain)?;
        // Before anything is said of what the envelope would be good for.
        let enough = self.floor.check(point.vouches, pdp::demanded_by(&effective));
        enough.map_err(|refused| Refusal::of_proof(&refused))?;
        journey.proven.grade = point.vouches;
        if !is_for(&effective, subject) {
            return Err(Refusal::of_call(Denied::new(
                Reason::Malformed,
                "the subject is not whom the envelope is for",
            )));
        }
        let proof = (self.floor, journey.proven);
        let (view, now) = (&journey.view, journey.arrived);
        let cleared = pdp::judge(view, &effective, &self.place, call, proof, demanded, now)?;
        let permitted = cleared.permitted();
        let resources = call::facts(&permitted.tool, cleared.call()).map(|(_, resources)| resources);
        let is_it = resources.is_ok_and(|of| {
            of.kind == resource.kind && of.ids.len() == 1 && of.ids.iter().all(|id| id.as_str() == resource.id)
        });
        if !is_it {
            let detail = "the resource is not what the arguments say";
            return Err(Refusal::of_call(Denied::new(Reason::Malformed, detail)));
        }
        Ok(permitted.clone())
    }
}

impl Gateway {
    fn advise_about_held_request(
        &self,
        journey: &mut Journey,
        point: &EnforcementPointEntry,
        held: Held,
        demanded: Option<u64>,
    ) -> Result<Permitted, Box<Refusal>> {
        let Held { carried, proof, method, path, query, content_type, idempotency_key, called } = held;
        let target = Target::Http { method: &method, path: &path, query: &query, content_type: &content_type };
        let exchange = Exchange { target, body: b"", idempotency_key: &idempotency_key };
        let effective = self.prove(journey, carried, proof.as_ref(), &exchange, Some(point))?;
        if let Ok(called) = &called {
            journey.names(&called.tool);
        }
        let called = called.and_then(|called| called.for_caller(&effective)).map_err(Refusal::of_call)?;
        if called.takes_body() {
            let detail = "the tool takes a body, which is not seen here: call it by this edge";
            return Err(Refusal::of_call(Denied::new(Reason::UnmappedDimension, detail)));
        }
        let call = called.read(Some(&query), b"").map_err(Refusal::of_call)?;
        journey.carries(&call);
        let proof = (self.floor, journey.proven);
        let cleared = pdp::judge(&journey.view, &effective, &self.place, call, proof, demanded, journey.arrived)?;
        let base = cleared.upstream().path().trim_end_matches('/');
        let below = path.strip_prefix(base).unwrap_or_default();
        if !cleared.request().is_some_and(|judged| is_spelled_as(below, &query, judged)) {
            let detail = "the request is spelled in another way than this edge would spell it";
            return Err(Refusal::of_call(Denied::new(Reason::Malformed, detail)));
        }
        let permitted = cleared.permitted();
        if !releases_everything(&permitted.tool, &permitted.obligations) {
            let detail = "its answer has to be filtered, and comes from somebody else: call it by this edge";
            return Err(Refusal::of_call(Denied::new(Reason::ObligationUnmet, detail)));
        }
        Ok(permitted.clone())
    }
}

/// Whether the request that goes on is, to the letter, the one that this edge would send: another spelling of it could be
/// another request for whoever reads it next. Members of a query may stand in another order.
fn is_spelled_as(held: &str, query: &str, judged: &HttpParts) -> bool {
    let members = |query: &str| -> BTreeSet<String> { query.split('&').map(str::to_owned).collect() };
    held == judged.path && members(query) == members(judged.query.as_deref().unwrap_or_default())
}

impl Yes {
    /// What it could do, how its envelope wants it recorded, and what the record has of it.
    fn on_record(&self, known: Detail) -> (Effects, Log, Detail) {
        match self {
            Self::Call(permitted) => {
                let log = permitted.obligations.demands.log;
                (permitted.facts.effects, log, recorded::permitted(permitted, known))
            }
            Self::Plain(Advised { policies, resource }) => {
                let (policies, policies_total) = (policies.first.clone(), policies.total);
                let (resources, stage) = (vec![resource.clone()], Some(Stage::Verdict));
                (pdp::anything(), Log::Usual, Detail { resources, policies, policies_total, stage, ..known })
            }
        }
    }
}

/// Whether an enforcement point means the agent that acts, or the human on whose behalf it does.
fn is_for(effective: &Effective, subject: &Party) -> bool {
    let agent = effective.chain_agents.last().map(|agent| agent.id.as_str());
    match subject.kind.as_str() {
        "agent" | "Agent" => agent == Some(subject.id.as_str()),
        "user" | "User" => effective.delegator.as_str() == subject.id,
        _ => false,
    }
}
