//! Decides, from one view of the world.
//!
//! Pure: the same view, envelope, call and time give the same answer on every edge, and again when somebody looks
//! into it later. First whether the envelope stands at all (it holds now and here, nothing it hangs on has been cut,
//! there is a bundle to judge by), then what policy says, then whether this edge knows enough of the present for what the call
//! does. Everything that is missing is a named reason to deny. Clauses G-10 to G-14.

use std::sync::Arc;
use std::time::Duration;

use remit_common::crypto::digest::Digest;
use remit_common::envelope::{Effective, EvidenceKind, TimeDenied};
use remit_common::id::{
    AgentId, BundleVersion, CredentialId, Delegator, EdgeId, LinkId, LogIndex, Region, RevocationEpoch, TenantId,
    ToolName,
};
use remit_common::lattice::{Effect, Effects, Grade};
use remit_common::planted::{Bug, planted};
use remit_common::policy::advice::{self, Advised, Question};
use remit_common::policy::call::ToolCall;
use remit_common::policy::catalogue::http::HttpParts;
use remit_common::policy::catalogue::{Catalogue, Tool, Upstream};
use remit_common::policy::decision::{Decision, Denied, Permitted, Reason};
use remit_common::policy::stage::Stage;
use remit_common::proof::{ProofFault, ProofRefused};
use remit_common::revocation::{Called, CutKind, Revoked, Subject};
use remit_common::time::{BootTime, Now};
use remit_common::trust::freshness::{PERMIT_LIFE_MAX, Stale};

use crate::active::{ActiveBundle, TenantRelations, View};
use crate::telemetry::chain_text;

/// What this edge knew when it decided. Stands in every record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Basis {
    /// The newest tick that counted.
    pub(crate) tick: LogIndex,
    /// The revocations that were enforced, and on the disk.
    pub(crate) epoch: RevocationEpoch,
    /// The bundle that judged; none when there was none, or the tenant is not known.
    pub(crate) manifest: Option<(Digest, BundleVersion)>,
    /// How old all of this was; `None` is unknown.
    pub(crate) age: Option<Duration>,
}

impl Basis {
    /// What `view` knows for `tenant`.
    pub(crate) fn of(view: &View, tenant: Option<&TenantId>, now: Now) -> Self {
        let active = tenant.and_then(|tenant| view.bundles.get(tenant));
        Self {
            tick: view.freshness.tick(),
            epoch: view.revocations.epoch(),
            manifest: active.map(|active| (*active.bundle.digest(), active.bundle.manifest().version)),
            age: view.age(tenant, now),
        }
    }
}

/// Where calls are decided: this edge.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) edge: EdgeId,
    pub(crate) region: Region,
}

/// Why a call does not go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) denied: Denied,
    /// The envelope itself does not stand: the caller needs another one, not another call.
    pub(crate) challenge: bool,
    /// What is wrong with the proof that came with it.
    pub(crate) proof: Option<ProofWanting>,
}

/// What a caller has to prove, or to do about its proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProofWanting {
    pub(crate) fault: ProofFault,
    /// The grade that would do.
    pub(crate) required: Option<Grade>,
}

/// What the caller of a request has proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Proven {
    pub(crate) grade: Grade,
    /// The digest of the tool's definition that it has seen, as part of what was proven.
    pub(crate) definition: Option<Digest>,
    /// The last link, when nobody has registered it.
    pub(crate) unregistered: Option<u8>,
}

/// What a chain cannot do whose last link nobody has registered (clause E-33).
pub(crate) const NEVER_OFFLINE: Effect = Effect::Irreversible;

/// The least proof that this edge asks for, whatever bundles say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProofFloor(pub(crate) Grade);

/// The grade that the links of a chain demand (clause E-29).
pub(crate) fn demanded_by(effective: &Effective) -> Grade {
    effective.demands.min_pop
}

impl ProofFloor {
    /// Whether `proven` is enough where `least` is asked for besides (clause X-11).
    ///
    /// # Errors
    /// [`ProofRefused::Missing`] or [`ProofRefused::Grade`].
    pub(crate) fn check(self, proven: Grade, least: Grade) -> Result<(), ProofRefused> {
        match self.0.max(least) {
            required if proven >= required => Ok(()),
            _ if proven == Grade::None => Err(ProofRefused::Missing),
            required => Err(ProofRefused::Grade { required, proven }),
        }
    }

    /// Whether what was proven is enough for this tool, and about this tool.
    fn check_tool(self, proven: Proven, effective: &Effective, tool: &Tool) -> Result<(), Box<Refusal>> {
        let least = demanded_by(effective).max(tool.min_pop);
        self.check(proven.grade, least).map_err(|refused| Refusal::of_proof(&refused))?;
        match proven.definition {
            Some(seen) if tool.definition != Some(seen) => {
                let detail = "the caller has seen another definition of the tool than the bundle pins";
                Err(Refusal::of_call(Denied::new(Reason::ToolQuarantined, detail)))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Refusal {
    /// The envelope stands, the call does not.
    pub(crate) fn of_call(denied: Denied) -> Box<Self> {
        Box::new(Self { denied, challenge: false, proof: None })
    }

    /// The envelope does not stand.
    pub(crate) fn of_envelope(denied: Denied) -> Box<Self> {
        Box::new(Self { denied, challenge: true, proof: None })
    }

    /// The edge knows too little of the present.
    pub(crate) fn of_age(stale: Stale) -> Box<Self> {
        let reason = match stale {
            Stale::Bound { .. } => Reason::Stale,
            Stale::Quarantined(_) => Reason::Quarantined,
        };
        Self::of_call(Denied::new(reason, stale.to_string()))
    }

    /// The same, found out after policy had permitted the call.
    fn after_policy(mut self: Box<Self>) -> Box<Self> {
        self.denied.stage = Stage::Verdict;
        self
    }

    /// The proof does not do.
    pub(crate) fn of_proof(refused: &ProofRefused) -> Box<Self> {
        let reason = refused.reason_code().parse().unwrap_or(Reason::BadProof);
        let required = match refused {
            ProofRefused::Grade { required, .. } => Some(*required),
            _ => None,
        };
        let proof = Some(ProofWanting { fault: refused.fault(), required });
        Box::new(Self { denied: Denied::new(reason, chain_text(refused)), challenge: true, proof })
    }
}

/// A call that this edge may make, and until when. Only [`judge`] makes one.
#[derive(Debug)]
#[must_use]
pub(crate) struct Cleared {
    call: ToolCall,
    permitted: Permitted,
    upstream: Upstream,
    request: Option<HttpParts>,
    leaf: Option<LinkId>,
    tenant: TenantId,
    deadline: BootTime,
}

/// The same, taken apart.
pub(crate) struct ClearedParts {
    pub(crate) call: ToolCall,
    pub(crate) permitted: Permitted,
    pub(crate) upstream: Upstream,
    /// What the call is as a request, of a tool that is plain HTTP.
    pub(crate) request: Option<HttpParts>,
    /// The last link of the envelope.
    pub(crate) leaf: Option<LinkId>,
    pub(crate) tenant: TenantId,
    pub(crate) deadline: BootTime,
}

impl Cleared {
    pub(crate) fn permitted(&self) -> &Permitted {
        &self.permitted
    }

    pub(crate) fn call(&self) -> &ToolCall {
        &self.call
    }

    pub(crate) fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// What the call is as a request, of a tool that is plain HTTP.
    pub(crate) fn request(&self) -> Option<&HttpParts> {
        self.request.as_ref()
    }

    /// Takes it apart, for [`crate::pep`] alone.
    pub(crate) fn into_parts(self) -> ClearedParts {
        let Self { call, permitted, upstream, request, leaf, tenant, deadline } = self;
        ClearedParts { call, permitted, upstream, request, leaf, tenant, deadline }
    }
}

/// Whether an envelope stands here and now, and the bundle to judge by.
///
/// # Errors
/// The first reason against it.
pub(crate) fn standing<'v>(
    view: &'v View,
    effective: &Effective,
    place: &Place,
    now: Now,
) -> Result<&'v ActiveBundle, Box<Refusal>> {
    stands(view, effective, place, now, |_| false)
}

/// The same for an envelope whose last link may be for other places: to be registered, it need not hold here.
///
/// # Errors
/// The first reason against it.
pub(crate) fn standing_above<'v>(
    view: &'v View,
    effective: &Effective,
    place: &Place,
    now: Now,
) -> Result<&'v ActiveBundle, Box<Refusal>> {
    let last = effective.chain_depth.saturating_sub(1);
    stands(view, effective, place, now, |hop| hop == last)
}

fn stands<'v>(
    view: &'v View,
    effective: &Effective,
    place: &Place,
    now: Now,
    elsewhere: impl Fn(u8) -> bool,
) -> Result<&'v ActiveBundle, Box<Refusal>> {
    if let Some(cause) = view.freshness.quarantined(now) {
        return Err(Refusal::of_call(Denied::new(Reason::Quarantined, format!("quarantined: {cause:?}"))));
    }
    effective.check_time(now.wall).map_err(|denied| {
        let (reason, hop) = match denied {
            TimeDenied::Expired { hop } => (Reason::Expired, hop),
            TimeDenied::NotYetValid { hop } => (Reason::NotYetValid, hop),
        };
        Refusal::of_envelope(Denied { hop: Some(hop), ..Denied::new(reason, denied.to_string()) })
    })?;
    let here = effective.check_audience(&place.region, &place.edge);
    if let Err(wrong) = here.or_else(|wrong| if elsewhere(wrong.hop) { Ok(()) } else { Err(wrong) }) {
        let denied = Denied::new(Reason::WrongAudience, wrong.to_string());
        return Err(Refusal::of_call(Denied { hop: Some(wrong.hop), ..denied }));
    }
    check_cuts(view, effective, &place.edge)?;
    let active = view
        .bundle(&effective.tenant, now.wall)
        .map_err(|untrusted| Refusal::of_call(Denied::new(Reason::Stale, untrusted.to_string())))?;
    active.bundle.check_limits(effective.authority()).map_err(Refusal::of_call)?;
    Ok(active)
}

/// Whether nothing that the envelope hangs on has been cut.
///
/// # Errors
/// The cut.
pub(crate) fn check_cuts(view: &View, effective: &Effective, edge: &EdgeId) -> Result<(), Box<Refusal>> {
    let missed = if planted(Bug::AncestorCutMissed) { effective.links().len().saturating_sub(1) } else { 0 };
    let subjects = || {
        let (links, holders) = (effective.links().iter(), effective.holders().iter());
        links
            .map(Subject::Link)
            .skip(missed)
            .chain(holders.map(Subject::Holder).skip(missed))
            .chain(
                effective
                    .chain_agents
                    .iter()
                    .flat_map(|agent| [Subject::Agent(&agent.id), Subject::Class(&agent.class)]),
            )
            .chain([
                Subject::Issuers(effective.signers()),
                Subject::Delegator(&effective.delegator),
                Subject::Session(&effective.session),
                Subject::Task(&effective.task),
                Subject::Edge(edge),
            ])
    };
    view.revocations.check_unless_lifted(&effective.tenant, view.lifted(&effective.tenant), subjects()).map_err(
        |revoked| match revoked.cut.kind {
            CutKind::Edge => Refusal::of_call(Denied::new(Reason::Quarantined, revoked.to_string())),
            _ => Refusal::of_envelope(Denied::new(Reason::Revoked, revoked.to_string())),
        },
    )?;
    check_heard(view, &effective.tenant, subjects)
}

/// Whether neither the tool, nor its definition, nor the credential that it takes has been cut, and no rule that
/// administrators on call have brought forbids the call.
///
/// # Errors
/// The cut.
pub(crate) fn check_tool_cuts(
    view: &View,
    effective: &Effective,
    tool: &Tool,
    credential: Option<(&CredentialId, u64)>,
) -> Result<(), Box<Refusal>> {
    let tenant = &effective.tenant;
    let agents = &effective.chain_agents;
    let called = Called { agents, effects: tool.effects, tool: &tool.name, upstream: Some(&tool.upstream) };
    let subjects = || {
        let credential = credential.map(|(name, version)| Subject::Credential(name, version));
        let definition = tool.definition.as_ref().map(Subject::Definition);
        credential.into_iter().chain(definition).chain([Subject::Tool(&tool.name), Subject::Call(called)])
    };
    view.revocations.check_unless_lifted(tenant, view.lifted(tenant), subjects()).map_err(|revoked: Revoked| {
        let reason = if revoked.cut.kind == CutKind::Forbid { Reason::Forbidden } else { Reason::Revoked };
        Refusal::of_call(Denied::new(reason, revoked.to_string()))
    })?;
    check_heard(view, tenant, subjects)
}

/// A cut that is not on the disk yet stops a call all the same. But it is not called revoked: who is told that may
/// rely on it, and until the disk has the cut a restart would take it back.
fn check_heard<'s, S: Iterator<Item = Subject<'s>>>(
    view: &View,
    tenant: &TenantId,
    subjects: impl FnOnce() -> S,
) -> Result<(), Box<Refusal>> {
    if Arc::ptr_eq(&view.heard, &view.revocations) {
        return Ok(());
    }
    view.heard.check_unless_lifted(tenant, view.lifted(tenant), subjects()).map_err(|revoked| {
        let detail = format!("{revoked}; the cut has arrived and is not on this edge's disk yet");
        Refusal::of_call(Denied::new(Reason::Stale, detail))
    })
}

/// An administrator's word for a human is enough for what can be undone, and in meshes for trying things out; anything
/// else needs the human's own commitment, which no issuer of this version brings.
fn check_evidence(view: &View, effective: &Effective, effects: Effects) -> Result<(), Box<Refusal>> {
    let undoable = effects.is_within(Effects::from_iter([Effect::Read, Effect::Write]));
    if view.root.content().dev || undoable || effective.context().evidence_kind != EvidenceKind::Admin {
        return Ok(());
    }
    let detail = "an administrator asked for the envelope, and the call cannot be undone";
    Err(Refusal::of_call(Denied::new(Reason::ApprovalRequired, detail)))
}

/// What cannot be undone is not done under a hop that nobody registered: the chain is met with "not irreversible".
fn check_registered(proven: Proven, effects: Effects) -> Result<(), Box<Refusal>> {
    match proven.unregistered {
        Some(hop) if effects.contains(NEVER_OFFLINE) => {
            let detail = format!("link {hop} is not registered, and the call cannot be undone; register the link");
            Err(Refusal::of_call(Denied { hop: Some(hop), ..Denied::new(Reason::Unregistered, detail) }))
        }
        Some(_) | None => Ok(()),
    }
}

/// A caller that has written, or knows of, a revision asks for no older one (clause G-82).
fn check_demanded(known: Option<&TenantRelations>, demanded: Option<u64>) -> Result<(), Box<Refusal>> {
    let here = known.map_or(0, |known| known.head.revision);
    match demanded {
        Some(least) if here < least => {
            let detail = format!("the caller asks for relations of revision {least}, here is {here}");
            Err(Refusal::of_call(Denied::new(Reason::Stale, detail)))
        }
        Some(_) | None => Ok(()),
    }
}

/// How long the relations are still fresh enough for a call of this tool with these effects, if policies about it ask for
/// any (clause G-83).
fn check_relations(
    view: &View,
    active: &ActiveBundle,
    tenant: &TenantId,
    (tool, effects): (&ToolName, Effects),
    now: Now,
) -> Result<Duration, Box<Refusal>> {
    if !active.bundle.policy().needs_relations(tool) {
        return Ok(Duration::MAX);
    }
    view.relations_left(tenant, effects, active.bundle.bounds(), now).ok_or_else(|| {
        let detail = "nothing proves that no newer relations are missing here";
        Refusal::of_call(Denied::new(Reason::Stale, detail))
    })
}

/// Judges one call of somebody who has proven this much.
///
/// # Errors
/// Why it does not go on.
pub(crate) fn judge(
    view: &View,
    effective: &Effective,
    place: &Place,
    call: ToolCall,
    (floor, proven): (ProofFloor, Proven),
    demanded: Option<u64>,
    now: Now,
) -> Result<Cleared, Box<Refusal>> {
    let active = standing(view, effective, place, now)?;
    let known = view.relations.get(&effective.tenant);
    check_demanded(known, demanded)?;
    let relations = known.map(|known| known.relations.clone()).unwrap_or_default();
    let permitted = match active.bundle.decide(effective.authority(), &call, &relations, now.wall) {
        Decision::Permit(permitted) => permitted,
        Decision::Deny(denied) => return Err(Refusal::of_call(denied)),
    };
    clear(view, active, effective, call, permitted, (floor, proven), now).map_err(Refusal::after_policy)
}

/// The request that a call of a plain HTTP tool is; none for one that speaks MCP.
fn request_of(catalogue: &Catalogue, tool: &Tool, call: &ToolCall) -> Result<Option<HttpParts>, Box<Refusal>> {
    let Some(http) = &tool.http else { return Ok(None) };
    http.request(tool, catalogue, &call.arguments)
        .map(Some)
        .map_err(|none| Refusal::of_call(Denied::new(Reason::Malformed, none.to_string())))
}

/// What nobody has described could do anything.
pub(crate) fn anything() -> Effects {
    Effects::from_iter(Effect::ALL)
}

/// Judges what somebody without an envelope would do, by policy alone (clause P-57). It has no descriptor, so it could be
/// anything, and this edge has to know as much of the present as for the most dangerous call.
///
/// # Errors
/// Why not.
pub(crate) fn advise(
    view: &View,
    tenant: &TenantId,
    place: &Place,
    question: &Question,
    now: Now,
) -> Result<Advised, Box<Refusal>> {
    if let Some(cause) = view.freshness.quarantined(now) {
        return Err(Refusal::of_call(Denied::new(Reason::Quarantined, format!("quarantined: {cause:?}"))));
    }
    // By whatever it is cut: the action under the name of a tool, the subject as an agent or as a human.
    let id = question.subject.id.as_str();
    let (tool, agent, human) = (ToolName::new(question.action.as_str()), AgentId::new(id), Delegator::new(id));
    let subjects = || {
        let tool = tool.as_ref().ok();
        let called = tool.map(|tool| Subject::Call(Called { agents: &[], effects: anything(), tool, upstream: None }));
        let who =
            agent.as_ref().ok().map(Subject::Agent).into_iter().chain(human.as_ref().ok().map(Subject::Delegator));
        [Subject::Edge(&place.edge)].into_iter().chain(tool.map(Subject::Tool)).chain(called).chain(who)
    };
    view.revocations.check_unless_lifted(tenant, view.lifted(tenant), subjects()).map_err(|revoked| {
        let reason = match revoked.cut.kind {
            CutKind::Edge => Reason::Quarantined,
            CutKind::Forbid => Reason::Forbidden,
            _ => Reason::Revoked,
        };
        Refusal::of_call(Denied::new(reason, revoked.to_string()))
    })?;
    check_heard(view, tenant, subjects)?;
    let active = view
        .bundle(tenant, now.wall)
        .map_err(|untrusted| Refusal::of_call(Denied::new(Reason::Stale, untrusted.to_string())))?;
    let advised = advice::advise(active.bundle.policy(), question, now.wall).map_err(Refusal::of_call)?;
    view.check_fresh(tenant, anything(), active.bundle.bounds(), now)
        .map_err(|stale| Refusal::of_age(stale).after_policy())?;
    Ok(advised)
}

/// What a call that policy permits needs besides.
fn clear(
    view: &View,
    active: &ActiveBundle,
    effective: &Effective,
    call: ToolCall,
    permitted: Permitted,
    (floor, proven): (ProofFloor, Proven),
    now: Now,
) -> Result<Cleared, Box<Refusal>> {
    floor.check_tool(proven, effective, &permitted.tool)?;
    check_registered(proven, permitted.facts.effects)?;
    check_evidence(view, effective, permitted.facts.effects)?;
    let tool = &permitted.tool;
    let credential = tool.credential.as_ref().map(|name| {
        let held = view.shards.get(&(effective.tenant.clone(), name.clone()));
        (name, held.map_or(0, |shard| shard.version()))
    });
    check_tool_cuts(view, effective, tool, credential)?;
    let (tenant, effects) = (&effective.tenant, permitted.facts.effects);
    let fresh = view.check_fresh(tenant, effects, active.bundle.bounds(), now).map_err(Refusal::of_age)?;
    let left = check_relations(view, active, tenant, (&call.tool, effects), now)?;
    let upstream =
        active.bundle.policy().catalogue().upstreams.get(&tool.upstream).cloned().ok_or_else(|| {
            Refusal::of_call(Denied::new(Reason::UpstreamUnreachable, "no such upstream in the bundle"))
        })?;
    let request = request_of(active.bundle.policy().catalogue(), tool, &call)?;
    let life = PERMIT_LIFE_MAX.min(fresh.left).min(left).min(effective.expires.since(now.wall));
    let (leaf, tenant) = (effective.leaf(), effective.tenant.clone());
    Ok(Cleared { call, permitted, upstream, request, leaf, tenant, deadline: now.boot.plus(life) })
}
