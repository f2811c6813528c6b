//! A hop is registered: the parent's holder shows it, and this edge counts it, records it, and signs that it did.
//!
//! Clauses E-34 to E-35 and.

use std::sync::Arc;

use remit_common::envelope::{Countersignature, Effective, RawPresentation};
use remit_common::id::DecisionId;
use remit_common::lattice::{Beyond, Effect, Effects, beyond};
use remit_common::policy::decision::{Denied, Reason};
use remit_common::policy::delegating::Handed;
use remit_common::policy::stage::Stage;
use remit_common::proof::{Exchange, Grade, Proof, ProofRefused};
use remit_common::record::{Detail, RecordKind};
use remit_common::time::Timestamp;

use super::hops::{ask, refuse_full};
use super::{Gateway, Journey};
use crate::chains::Presented;
use crate::pdp::{self, Refusal};
use crate::telemetry::bounded;

/// A hop that this edge has registered.
#[derive(Debug)]
pub(crate) struct Registered {
    /// What it signed, and has signed before when the hop was registered before.
    pub(crate) countersignature: Arc<[u8]>,
    /// What that says.
    pub(crate) said: Countersignature,
    /// What was asked for and is not held.
    pub(crate) not_held: Vec<Beyond>,
}

impl Gateway {
    /// Registers the last link of `raw`, which the holder of the link above it has shown with this proof.
    ///
    /// What costs nothing is asked first, then whether the parent's holder asks, and whether there is room; then
    /// everything that is asked of an envelope, and of every hop above; then policy about this one, and room again.
    ///
    /// # Errors
    /// Why not; recorded.
    pub(crate) async fn register(
        &self,
        journey: &mut Journey,
        raw: RawPresentation,
        proof: Option<&Proof>,
        exchange: &Exchange<'_>,
    ) -> Result<Registered, Box<Refusal>> {
        let ids: Vec<_> = raw.link_ids(&self.mesh).collect();
        let parent = ids.len().checked_sub(2).and_then(|parent| ids.get(parent));
        let (Some(parent), Some(link)) = (parent, ids.last().copied()) else {
            let refusal = Refusal::of_call(Denied::new(Reason::Malformed, "a root is registered by being issued"));
            self.deny(journey, &refusal);
            return Err(refusal);
        };
        let proven = proof.ok_or(ProofRefused::Missing).and_then(|proof| {
            let channel = self.channels.get(&proof.channel, journey.arrived.boot);
            let channel = channel.ok_or(ProofRefused::UnknownChannel)?;
            if channel.leaf() != *parent {
                return Err(ProofRefused::OtherLeaf);
            }
            match channel.accept(proof, exchange, journey.arrived.boot)? {
                Grade::P2 => Ok(channel),
                proven => Err(ProofRefused::Grade { required: Grade::P2, proven }),
            }
        });
        let channel = proven.map_err(|refused| self.refuse_proof(journey, &refused))?;
        journey.proven.grade = Grade::P2;
        // Before the signature of the hop is looked at: its holder can sign as many as it likes.
        self.check_room(channel.effective(), link, journey.arrived.wall).inspect_err(|refusal| {
            journey.envelope = Some(Arc::clone(channel.effective()));
            self.deny(journey, refusal);
        })?;
        let presented = Arc::new(Presented::from(raw));
        journey.presented = Some(Arc::clone(&presented));
        match self.judge_hop(journey) {
            Ok((effective, handed)) => self.record_and_sign(journey, &effective, handed, presented.raw()).await,
            Err(refusal) => {
                self.deny(journey, &refusal);
                Err(refusal)
            }
        }
    }

    /// Everything that is asked before a hop is registered.
    fn judge_hop(&self, journey: &mut Journey) -> Result<(Arc<Effective>, Handed), Box<Refusal>> {
        let chain = self.authenticate(journey)?;
        let effective = Arc::clone(&chain.effective);
        journey.envelope = Some(Arc::clone(&effective));
        let now = journey.arrived;
        let active = pdp::standing_above(&journey.view, &effective, &self.place, now)?;
        let hop = effective.chain_depth.saturating_sub(1);
        let above = hop.saturating_sub(1);
        if let Some(parent) = self.check_registrations(journey, &chain, above)? {
            let detail = format!("link {parent} is not registered; register it first");
            return Err(Refusal::of_call(Denied { hop: Some(parent), ..Denied::new(Reason::Unregistered, detail) }));
        }
        let policy = active.bundle.policy();
        let mut handed = Handed::default();
        for hop in 1..=hop {
            handed = ask(policy, &effective, hop, true).map_err(Refusal::of_call)?;
        }
        let effects = Effects::from_iter([Effect::Delegate]);
        journey.view.check_fresh(&effective.tenant, effects, active.bundle.bounds(), now).map_err(Refusal::of_age)?;
        (1..=hop).try_for_each(|hop| self.count(&effective, hop, now.wall))?;
        Ok((effective, handed))
    }

    /// The record is on the disk before the signature is given away. What was signed before is given away again, without
    /// a second record that has to be there first (clause E-40).
    async fn record_and_sign(
        &self,
        journey: &Journey,
        effective: &Effective,
        handed: Handed,
        raw: &RawPresentation,
    ) -> Result<Registered, Box<Refusal>> {
        let bundle = journey.view.bundles.get(&effective.tenant).map(|active| *active.bundle.digest());
        let (Some(link), Some(agent), Some(bundle)) = (effective.leaf(), effective.chain_agents.last(), bundle) else {
            // INVARIANT: judged above.
            let refusal = Refusal::of_call(Denied::new(Reason::Stale, "no bundle of this tenant is active here"));
            self.deny(journey, &refusal);
            return Err(refusal);
        };
        let not_held = not_held(raw, effective);
        let known = self.hops.countersignature(&link);
        let wider = if not_held.is_empty() { "" } else { "; it asks for more than is held" };
        let again = if known.is_some() { "registered before: " } else { "registered: " };
        let note =
            format!("{again}hop {} to {} ({}){wider}", effective.chain_depth.saturating_sub(1), agent.id, agent.class);
        let Handed { policies, policies_total } = handed;
        let (note, stage) = (Some(bounded(note)), Some(Stage::Verdict));
        let detail = Detail { policies, policies_total, note, stage, ..journey.detail() };
        let effects = Effects::from_iter([Effect::Delegate]);
        let draft = self.draft(journey, RecordKind::Decision, effects, Reason::Permit.as_str(), detail);
        if known.is_some() {
            // It is on the disk already; again and again, it would fill it.
            self.reporter.repeated(draft);
        } else {
            self.hops.attempt(&link).map_err(|full| {
                let refusal = refuse_full(full, effective.chain_depth.saturating_sub(1));
                self.deny(journey, &refusal);
                refusal
            })?;
            if let Err(not_on_disk) = self.reporter.first(draft).await {
                self.hops.attempt_failed(&link);
                let detail = format!("not registered, because it could not be recorded first: {not_on_disk}");
                let refusal = Refusal::of_call(Denied::new(Reason::ObligationUnmet, detail));
                self.deny(journey, &refusal);
                return Err(refusal);
            }
        }
        self.metrics.decided(Reason::Permit, self.took(journey));
        let said = Countersignature {
            link,
            edge: self.place.edge.clone(),
            region: self.place.region.clone(),
            time: whole_secs(journey.arrived.wall),
            expires: effective.expires,
            bundle,
            decision: journey.decision,
        };
        let countersignature = match known {
            Some(known) => known,
            None => self.hops.sign(&link, said.sign(&self.mesh, &self.key)),
        };
        let said = said_by(&countersignature).unwrap_or(said);
        Ok(Registered { countersignature, said, not_held })
    }
}

impl Registered {
    /// The decision that registered it.
    pub(crate) fn decision(&self) -> DecisionId {
        self.said.decision
    }
}

/// Two that register the same hop at once get what one of them was signed.
fn said_by(countersignature: &[u8]) -> Option<Countersignature> {
    remit_common::envelope::RawCountersignature::parse(countersignature).ok().map(|raw| raw.said().clone())
}

fn whole_secs(at: Timestamp) -> Timestamp {
    Timestamp::from_secs(at.as_secs())
}

/// What the last link asks for and the chain above it does not hold. For people; it decides nothing.
fn not_held(raw: &RawPresentation, effective: &Effective) -> Vec<Beyond> {
    let (Some(asked), Some(above)) = (raw.links().last(), effective.scope.parent()) else { return Vec::new() };
    let mut found = beyond(above, &asked.grants);
    let chain = effective.chain();
    let parent = chain.len().checked_sub(2).and_then(|parent| chain.get(parent));
    if let (Some(wanted), Some(parent)) = (asked.delegation, parent) {
        let held = parent.delegation;
        let mut add = |dimension: &str, asked: String, held: String| {
            found.push(Beyond { grant: 0, dimension: format!("delegation.{dimension}"), asked, held });
        };
        let depth = held.depth_left.saturating_sub(1);
        if wanted.depth_left > depth {
            add("depth", wanted.depth_left.to_string(), depth.to_string());
        }
        if wanted.fanout_max > held.fanout_max && wanted.depth_left > 0 {
            add("fanout", wanted.fanout_max.to_string(), held.fanout_max.to_string());
        }
        if wanted.offline && !held.offline {
            add("offline", "true".to_owned(), "false".to_owned());
        }
    }
    found
}
