//! Who may hand on to whom, as far as a bundle says anything about it.
//!
//! A bundle that declares the action `remit:delegate` is asked about every hop, and there has to be a permit. One that
//! does not declare it has no opinion: the root's issuers have said whether, how deep and to how many, a hop can only
//! narrow, and every call below it is judged by itself. Clauses P-34 and P-35.

use super::catalogue::Catalogue;
use super::compile::CompiledPolicy;
use super::decision::{Denied, Reason};
use super::engines::cedar::{Attribute, CedarEngine, CedarSchema, Context, Query, Shape, Subject};
use super::engines::combine::{Against, Combination, Hearing};
use super::engines::{Ask, Matched};
use super::model::{Kinds, PlanFault, long};
use crate::envelope::AgentIdentity;
use crate::id::{Delegator, PolicyId, SessionId, TaskId};
use crate::lattice::PurposePath;
use crate::time::Timestamp;

/// The action of handing on. No tool may have this name.
pub const DELEGATE_ACTION: &str = "remit:delegate";

/// One hop, as policy is asked about it.
#[derive(Debug, Clone, Copy)]
pub struct Handing<'a> {
    /// The agents above the hop, root first, as the links name them. Only the first is more than a claim.
    pub above: &'a [AgentIdentity],
    /// The agent that the hop names.
    pub child: &'a AgentIdentity,
    /// The human.
    pub delegator: &'a Delegator,
    /// The human's session.
    pub session: &'a SessionId,
    /// The task.
    pub task: &'a TaskId,
    /// What for, up to and with the hop.
    pub purpose: &'a PurposePath,
    /// When the hop has ended.
    pub expires: Timestamp,
    /// Whether it is being registered, or was.
    pub registered: bool,
}

/// A hop that policy has nothing against.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Handed {
    /// The policies that permit it; none where the bundle has no opinion.
    pub policies: Vec<PolicyId>,
    /// How many there are.
    pub policies_total: u32,
}

/// How the question is put; there is none where the schema does not declare the action.
#[derive(Debug, Clone)]
pub(crate) struct DelegationPlan {
    action: Subject,
    asks_user: bool,
    fields: Vec<Field>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Delegator,
    Session,
    Task,
    Purpose,
    ChainDepth,
    ExpiresAt,
    Registered,
}

impl Field {
    const ALL: [(Self, &'static str, Shape); 7] = [
        (Self::Delegator, "delegator", Shape::Text),
        (Self::Session, "session", Shape::Text),
        (Self::Task, "task", Shape::Text),
        (Self::Purpose, "purpose", Shape::Text),
        (Self::ChainDepth, "chain_depth", Shape::Long),
        (Self::ExpiresAt, "expires_at", Shape::Long),
        (Self::Registered, "registered", Shape::Bool),
    ];

    fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(field, ..)| *field == self).map_or("", |(_, name, _)| name)
    }
}

impl DelegationPlan {
    /// Fits the action to the schema; `None` when the schema does not declare it.
    pub(super) fn new(
        kinds: &Kinds,
        schema: &CedarSchema,
        engine: &CedarEngine,
        catalogue: &Catalogue,
    ) -> Result<Option<Self>, Vec<PlanFault>> {
        let fault = |message: String, help: &str| PlanFault { message, help: Some(help.to_owned()) };
        if catalogue.tools.keys().any(|name| name.as_str() == DELEGATE_ACTION) {
            let message = format!("`{DELEGATE_ACTION}` is what handing on is called, and no tool");
            return Err(vec![fault(message, "call the tool something else")]);
        }
        if !schema.has_action(&kinds.action, DELEGATE_ACTION) {
            return Ok(None);
        }
        if !schema.applies(&kinds.action, DELEGATE_ACTION, &kinds.agent, &kinds.agent) {
            let message = format!("in the schema, `{DELEGATE_ACTION}` is nothing that an `Agent` does to an `Agent`");
            let help = "declare `action \"remit:delegate\" appliesTo { principal: [Agent], resource: [Agent], \
                        context: … };`";
            return Err(vec![fault(message, help)]);
        }
        let (mut fields, mut faults) = (Vec::new(), Vec::new());
        for (attribute, _, shape) in schema.context(&kinds.action, DELEGATE_ACTION) {
            match Field::ALL.into_iter().find(|(_, name, _)| *name == attribute) {
                Some((field, _, expected)) if shape.as_ref() == Some(&expected) => fields.push(field),
                Some((_, _, expected)) => {
                    let message =
                        format!("context attribute `{attribute}` of `{DELEGATE_ACTION}` is not {}", expected.name());
                    faults.push(fault(message, "hops supply it with this type, and no other"));
                }
                None => {
                    let message = format!("no hop supplies context attribute `{attribute}` of `{DELEGATE_ACTION}`");
                    let help = "delegator, session, task, purpose, chain_depth, expires_at, registered";
                    faults.push(fault(message, help));
                }
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let asks_user = schema.applies(&kinds.action, DELEGATE_ACTION, &kinds.user, &kinds.agent);
        Ok(Some(Self { action: engine.subject(&kinds.action, DELEGATE_ACTION), asks_user, fields }))
    }

    /// What is asked about.
    pub(super) fn action(&self) -> &Subject {
        &self.action
    }

    /// Whether forbids are asked for the human, too.
    pub(super) fn asks_user(&self) -> bool {
        self.asks_user
    }

    fn context(&self, handing: &Handing<'_>, purpose: &str) -> Context {
        let depth = i64::try_from(handing.above.len()).unwrap_or(i64::MAX).saturating_add(1);
        Context::new(self.fields.iter().map(|field| {
            let value = match field {
                Field::Delegator => Attribute::text(handing.delegator.as_str()),
                Field::Session => Attribute::text(handing.session.as_str()),
                Field::Task => Attribute::text(handing.task.as_str()),
                Field::Purpose => Attribute::text(purpose),
                Field::ChainDepth => Attribute::long(depth),
                Field::ExpiresAt => Attribute::long(long(handing.expires.as_secs())),
                Field::Registered => Attribute::bool(handing.registered),
            };
            (field.name(), value)
        }))
    }
}

impl CompiledPolicy {
    /// Whether policy lets this hop be made. Pure.
    ///
    /// The permit is asked for the root's agent: which agents stand between it and the hop is what those links claim,
    /// and a claim permits nothing. Forbids are asked for every agent above, and for the human.
    ///
    /// # Errors
    /// [`Denied`], without the hop's index, which the caller knows.
    pub fn may_delegate(&self, handing: &Handing<'_>) -> Result<Handed, Denied> {
        let Some(plan) = self.delegation() else { return Ok(Handed::default()) };
        let (engine, kinds) = (self.engine(), self.kinds());
        let Some((first, claimed)) = handing.above.split_first() else {
            return Err(Denied::new(Reason::NoMatchingPolicy, "a root is handed on by nobody"));
        };
        let purpose = self.taxonomy().purpose_name(handing.purpose);
        let purpose = purpose
            .ok_or_else(|| Denied::new(Reason::PurposeMismatch, "the bundle does not know the hop's purpose"))?;
        let context = plan.context(handing, purpose);
        let child = kinds.identity(engine, handing.child);
        let ask = |principal: &Subject, ask: Ask| {
            engine.answer(&Query { principal, action: &plan.action, resource: &child, context: &context }, ask)
        };
        let mut hearing = Hearing::default();
        hearing.take(ask(&kinds.identity(engine, first), Ask::Decision));
        for agent in claimed {
            hearing.take_forbids(ask(&kinds.identity(engine, agent), Ask::Forbids));
        }
        if plan.asks_user {
            hearing.take_forbids(ask(&kinds.user(engine, handing.delegator), Ask::Forbids));
        }
        let permits = hearing.verdict(Combination::AnyPermit).map_err(|against| {
            let (reason, detail, policies) = match against {
                Against::Forbidden(policies) => {
                    (Reason::Forbidden, format!("a policy forbids handing on to {}", child.name()), policies)
                }
                Against::Failed { policies, why } => {
                    let detail = format!("a policy that could forbid handing on failed: {why}");
                    (Reason::EvaluationFailed, detail, policies)
                }
                Against::Unpermitted { question: _, failed, why } => {
                    let why = why.map(|why| format!("; a permit failed: {why}")).unwrap_or_default();
                    let detail = format!("no policy permits `{}` to hand on to {}{why}", first.id, child.name());
                    (Reason::NoMatchingPolicy, detail, failed)
                }
            };
            let Matched { first: policies, total: policies_total } = policies;
            Denied { policies, policies_total, ..Denied::new(reason, detail) }
        })?;
        Ok(Handed { policies: permits.first, policies_total: permits.total })
    }
}
