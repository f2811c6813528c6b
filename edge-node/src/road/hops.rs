//! Whether the hops of a chain count here: each registered, or made without registration within its limits; and none
//! against policy.
//!
//! Clauses E-32 and E-33.

use remit_common::envelope::{Effective, NotRegistered, Unauthenticated, VerifiedLink};
use remit_common::id::{LinkId, TenantId};
use remit_common::limits::OFFLINE_LIFE_MAX;
use remit_common::policy::CompiledPolicy;
use remit_common::policy::catalogue::Tool;
use remit_common::policy::decision::{Denied, Reason};
use remit_common::policy::delegating::{Handed, Handing};
use remit_common::revocation::Subject;
use remit_common::time::Timestamp;

use super::{Gateway, Journey, refuse_chain};
use crate::active::ActiveBundle;
use crate::chains::{Chain, Vetting};
use crate::hops::{Child, NoRoom};
use crate::pdp::{NEVER_OFFLINE, Refusal};

impl Gateway {
    /// Looks at every hop of a chain that stands; gives the last link's index when nobody has registered it.
    ///
    /// # Errors
    /// The first hop that does not count, and why.
    pub(super) fn check_hops(
        &self,
        journey: &Journey,
        chain: &Chain,
        active: &ActiveBundle,
    ) -> Result<Option<u8>, Box<Refusal>> {
        let effective = &chain.effective;
        let last = effective.chain_depth.saturating_sub(1);
        let unregistered = self.check_registrations(journey, chain, last)?;
        let all = (1u32 << u32::from(last).min(31)).wrapping_sub(1) << 1;
        let registered = unregistered.map_or(all, |hop| all & !(1 << u32::from(hop).min(31)));
        let by = Vetting { bundle: *active.bundle.digest(), registered };
        let policy = active.bundle.policy();
        let vetted = chain.vet(by, || {
            (1..=last).try_for_each(|hop| {
                let is_registered = unregistered != Some(hop);
                ask(policy, effective, hop, is_registered).map(|_| ())
            })
        });
        vetted.map_err(Refusal::of_call)?;
        (1..=last).try_for_each(|hop| self.count(effective, hop, journey.arrived.wall))?;
        Ok(unregistered)
    }

    /// Counts a hop, which has passed everything else.
    pub(super) fn count(&self, effective: &Effective, hop: u8, now: Timestamp) -> Result<(), Box<Refusal>> {
        let Some(child) = child(effective, hop) else { return Ok(()) };
        self.hops.count(&child, now).map_err(|full| refuse_full(full, hop))
    }

    /// Whether a hop below this chain would be counted, whoever has signed it.
    pub(super) fn check_room(&self, parent: &Effective, link: LinkId, now: Timestamp) -> Result<(), Box<Refusal>> {
        let hop = parent.chain_depth;
        if parent.depth_left == 0 {
            return Err(refuse_chain(&Unauthenticated::DepthExhausted { hop }));
        }
        let Some(child) = child_below(parent, link) else { return Ok(()) };
        self.hops.check(&child, now).map_err(|full| refuse_full(full, hop))
    }

    /// Whether the hops from the first to `last` are registered: every one but that one has to be.
    pub(super) fn check_registrations(
        &self,
        journey: &Journey,
        chain: &Chain,
        last: u8,
    ) -> Result<Option<u8>, Box<Refusal>> {
        let mut unregistered = None;
        for hop in 1..=last {
            let Some(link) = chain.effective.chain().get(usize::from(hop)) else { continue };
            let Err(why) = self.is_registered(journey, chain, &link.id, hop) else { continue };
            let offline = if hop == last { check_offline(chain.effective.chain(), hop) } else { Err(HAS_A_CHILD) };
            offline.map_err(|limit| {
                let detail = format!("link {hop}: {why}, and {limit}: register it at an edge, by `/v1/delegations`");
                Refusal::of_call(Denied { hop: Some(hop), ..Denied::new(Reason::Unregistered, detail) })
            })?;
            unregistered = Some(hop);
        }
        Ok(unregistered)
    }

    /// This edge remembers what it registered; of what others did, the countersignature is the evidence, and verified
    /// only then.
    fn is_registered(&self, journey: &Journey, chain: &Chain, link: &LinkId, hop: u8) -> Result<(), NotRegistered> {
        if self.hops.countersignature(link).is_some() {
            return Ok(());
        }
        let Journey { view, arrived: now, presented, .. } = journey;
        let presented = presented.as_deref().ok_or(NotRegistered::Absent)?;
        // INVARIANT: the chain was authenticated under this directory.
        let directory = view.directory(now.wall).map_err(|_| NotRegistered::UnknownEdge)?;
        let said = self.chains.evidence((chain, presented), hop, &self.mesh, directory)?;
        if now.wall >= said.expires {
            return Err(NotRegistered::Expired);
        }
        let edge = || [Subject::Edge(&said.edge)];
        let tenant = &chain.effective.tenant;
        if view.revocations.check(tenant, edge()).is_err() || view.heard.check(tenant, edge()).is_err() {
            return Err(NotRegistered::EdgeCut);
        }
        Ok(())
    }
}

impl Journey {
    /// Whether a tool cannot be called because nobody has registered the last link.
    pub(crate) fn is_out_of_reach(&self, tool: &Tool) -> bool {
        self.proven.unregistered.is_some() && tool.effects.contains(NEVER_OFFLINE)
    }
}

const HAS_A_CHILD: &str = "it has been handed on";

/// The refusal of a hop for which there is no room.
pub(super) fn refuse_full(full: NoRoom, hop: u8) -> Box<Refusal> {
    let reason = match full {
        NoRoom::Fanout { .. } | NoRoom::Root => Reason::FanoutExhausted,
        NoRoom::Tenant { .. } | NoRoom::Attempts => Reason::BudgetExhausted,
    };
    Refusal::of_call(Denied { hop: Some(hop), ..Denied::new(reason, full.to_string()) })
}

/// What a hop is counted by.
fn child(effective: &Effective, hop: u8) -> Option<Child<'_>> {
    let chain = effective.chain();
    let (root, link) = (chain.first()?, chain.get(usize::from(hop))?);
    let parent = chain.get(usize::from(hop).checked_sub(1)?)?;
    Some(child_of(&effective.tenant, root, parent, (link.id, link.expires)))
}

/// What a hop below this chain would be counted by.
fn child_below(parent: &Effective, link: LinkId) -> Option<Child<'_>> {
    let (root, last) = (parent.chain().first()?, parent.chain().last()?);
    Some(child_of(&parent.tenant, root, last, (link, last.expires)))
}

fn child_of<'a>(
    tenant: &'a TenantId,
    root: &VerifiedLink,
    parent: &VerifiedLink,
    (link, ends): (LinkId, Timestamp),
) -> Child<'a> {
    Child {
        tenant,
        link,
        ends,
        parent: parent.id,
        fanout_max: parent.delegation.fanout_max,
        root: root.id,
        root_ends: root.expires,
    }
}

/// The limits of a hop that nobody registered; the error says which.
fn check_offline(chain: &[VerifiedLink], hop: u8) -> Result<(), &'static str> {
    let parent = usize::from(hop).checked_sub(1).and_then(|parent| chain.get(parent));
    let (Some(parent), Some(link)) = (parent, chain.get(usize::from(hop))) else {
        return Err("there is no such link");
    };
    if !parent.delegation.offline {
        return Err("not every link above says `offline`");
    }
    if link.life > OFFLINE_LIFE_MAX {
        return Err("it lives longer than five minutes");
    }
    Ok(())
}

/// What policy says about one hop.
pub(super) fn ask(policy: &CompiledPolicy, effective: &Effective, hop: u8, registered: bool) -> Result<Handed, Denied> {
    let at = usize::from(hop);
    let (above, below) = effective.chain_agents.split_at_checked(at).unwrap_or_default();
    let (Some(child), Some(link)) = (below.first(), effective.chain().get(at)) else { return Ok(Handed::default()) };
    let handing = Handing {
        above,
        child,
        delegator: &effective.delegator,
        session: &effective.session,
        task: &effective.task,
        purpose: &link.purpose,
        expires: link.expires,
        registered,
    };
    policy.may_delegate(&handing).map_err(|denied| Denied { hop: Some(hop), ..denied })
}
