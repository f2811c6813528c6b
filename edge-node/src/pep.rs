//! Enforces: being permitted is a value, and only egress takes it.
//!
//! A [`Permit`] comes into being in one place, from a call that was judged and from the receipt that says it has been
//! recorded as durably as its effects demand. It cannot be cloned, kept beyond its deadline or used twice; so a call
//! that reaches a tool without a decision and its record does not compile. Clauses G-15 to G-17.

use std::sync::Arc;

use remit_common::id::{DecisionId, LinkId, TenantId};
use remit_common::lattice::{Effect, Effects, Log};
use remit_common::policy::catalogue::http::HttpParts;
use remit_common::policy::catalogue::{Tool, Upstream};
use remit_common::policy::decision::Obligations;
use remit_common::policy::json::Json;
use remit_common::time::BootTime;

use crate::pdp::{Cleared, ClearedParts};
use crate::report::{Durability, Receipt};

/// Proof that one call was permitted and recorded. Spent by [`crate::egress`], by move.
#[derive(Debug)]
#[must_use]
pub(crate) struct Permit {
    decision: DecisionId,
    tool: Arc<Tool>,
    upstream: Upstream,
    arguments: Json,
    request: Option<HttpParts>,
    leaf: Option<LinkId>,
    tenant: TenantId,
    deadline: BootTime,
}

/// What the answer of a permitted call has to satisfy before an agent sees any of it.
#[derive(Debug)]
pub(crate) struct Duties {
    pub(crate) tool: Arc<Tool>,
    pub(crate) obligations: Obligations,
}

/// The receipt is not for this call, or not durable enough for what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the decision has not been recorded as its effects demand")]
pub(crate) struct NotRecorded;

/// A permit came to the upstream after its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the permit has ended")]
pub(crate) struct TooLate;

/// How durable a decision about a call with these effects has to be before the call is made: one that only reads may
/// be flushed later, unless its envelope demands otherwise; anything beyond must be on the disk.
pub(crate) fn durability(effects: Effects, log: Log) -> Durability {
    match log {
        Log::Usual if effects.is_within(Effects::from_iter([Effect::Read])) => Durability::Soon,
        Log::Usual | Log::First => Durability::First,
    }
}

/// Makes the permit of a judged call.
///
/// # Errors
/// [`NotRecorded`].
pub(crate) fn permit(cleared: Cleared, receipt: &Receipt) -> Result<(Permit, Duties), NotRecorded> {
    let permitted = cleared.permitted();
    if receipt.durability() < durability(permitted.facts.effects, permitted.obligations.demands.log) {
        return Err(NotRecorded);
    }
    let ClearedParts { call, permitted, upstream, request, leaf, tenant, deadline } = cleared.into_parts();
    let permit = Permit {
        decision: receipt.decision(),
        tool: Arc::clone(&permitted.tool),
        upstream,
        arguments: call.arguments,
        request,
        leaf,
        tenant,
        deadline,
    };
    Ok((permit, Duties { tool: permitted.tool, obligations: permitted.obligations }))
}

impl Permit {
    pub(crate) fn decision(&self) -> DecisionId {
        self.decision
    }

    pub(crate) fn tool(&self) -> &Tool {
        &self.tool
    }

    pub(crate) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    pub(crate) fn arguments(&self) -> &Json {
        &self.arguments
    }

    /// What the call is as a request, of a tool that is plain HTTP.
    pub(crate) fn request(&self) -> Option<&HttpParts> {
        self.request.as_ref()
    }

    /// Whose call it is: the last link of the envelope.
    pub(crate) fn leaf(&self) -> Option<LinkId> {
        self.leaf
    }

    /// Whose tenant's.
    pub(crate) fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// Whether it still holds. Asked immediately before the first byte goes to the upstream.
    ///
    /// # Errors
    /// [`TooLate`].
    pub(crate) fn check_time(&self, now: BootTime) -> Result<(), TooLate> {
        if now < self.deadline { Ok(()) } else { Err(TooLate) }
    }
}
