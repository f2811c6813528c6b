//! The road of one call, from envelope to answer.
//!
//! Every exit is a decision record. What an agent learns of a denial is the reason, the dimension, the link and an id;
//! which rule, which fact and what would have been needed stand in the record, for those who may read it. Clauses
//! G-8 to G-33, in the order of this file.

mod advising;
mod hops;
mod possession;
mod recorded;
mod registering;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use remit_common::crypto::digest::Digest;
use remit_common::crypto::sign::{PublicKey, SigningKey};
use remit_common::envelope::{Effective, Unauthenticated};
use remit_common::id::{CredentialId, DecisionId, MeshId, ToolName};
use remit_common::lattice::{Effect, Effects};
use remit_common::net::env::{Env, deadline};
use remit_common::net::progress::Progress;
use remit_common::policy::call::ToolCall;
use remit_common::policy::catalogue::Tool;
use remit_common::policy::decision::{Denied, Reason};
use remit_common::policy::json::{self, Json};
use remit_common::policy::response::{self, Filtered};
use remit_common::record::{Detail, RecordKind, salted};
use remit_common::time::Now;
use tokio::sync::{Semaphore, mpsc, oneshot};

pub(crate) use advising::{Advice, Asked, Held};
pub(crate) use registering::Registered;

use crate::active::{ActiveBundle, View, ViewCell};
use crate::chains::{Chain, Chains, Presented};
use crate::channels::{Channel, Channels};
use crate::drain::Drain;
use crate::egress::{CallFailed, CalledOff, Egress, Reached, Reply};
use crate::hops::Hops;
use crate::ingress::carrier;
use crate::ingress::mcp::headers::{HeaderFault, check_params};
use crate::pdp::{self, Cleared, Place, ProofFloor, Proven, Refusal};
use crate::pep::{self, Duties};
use crate::report::{Durability, NotOnDisk, Reporter, Weight};
use crate::shadow::Shadows;
use crate::telemetry::{Metrics, chain_text};
use crate::vault::{Credential, Vault};

/// How often one call is decided: a bundle that comes into force between decision and first byte has it decided again,
/// and the tool has not heard of it then.
const DECISIONS_MAX: u32 = 3;
/// Between two looks at what may stop a call that is under way, besides a newer view.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a call that a cut has broken off waits for the disk to have the cut, so that it can be called revoked.
const STORED_WITHIN: Duration = Duration::from_secs(2);

/// Everything that calls share.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) env: Env,
    pub(crate) mesh: MeshId,
    pub(crate) place: Place,
    pub(crate) views: ViewCell,
    pub(crate) chains: Chains,
    pub(crate) hops: Hops,
    pub(crate) channels: Arc<Channels>,
    pub(crate) floor: ProofFloor,
    /// The edge's identity: answers to requests for channels are signed with it.
    pub(crate) key: Arc<SigningKey>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) egress: Egress,
    pub(crate) reporter: Reporter,
    pub(crate) shadows: Shadows,
    pub(crate) metrics: Metrics,
    /// Calls under way at upstreams.
    pub(crate) calls: Arc<Semaphore>,
    /// How many there may be.
    pub(crate) calls_max: usize,
    /// Whether new work is turned away.
    pub(crate) drain: Arc<Drain>,
}

/// One request on its way: what it is called, when it came, and what it is judged by.
#[derive(Debug, Clone)]
pub(crate) struct Journey {
    pub(crate) decision: DecisionId,
    pub(crate) arrived: Now,
    pub(crate) view: Arc<View>,
    /// What the caller showed, once it has been looked at.
    presented: Option<Arc<Presented>>,
    envelope: Option<Arc<Effective>>,
    /// The key that the caller's connection is of, if it has shown one in its handshake with us.
    connection: Option<PublicKey>,
    /// That the caller has the envelope's key.
    proven: Proven,
    /// Over which it was proven, and who the caller has shown to be.
    channel: Option<Arc<Channel>>,
    tool: Option<ToolName>,
    salt: [u8; 16],
    arguments: Option<Digest>,
}

/// A call that came back.
#[derive(Debug)]
pub(crate) struct Released {
    /// The `CallToolResult`.
    pub(crate) result: Json,
    pub(crate) used: Used,
}

/// What an answer hangs on besides its envelope.
#[derive(Debug)]
pub(crate) struct Used {
    tool: Arc<Tool>,
    credential: Option<(CredentialId, u64)>,
}

/// A request that got no result, recorded already.
#[derive(Debug)]
pub(crate) enum NoResult {
    /// Denied.
    Refused(Box<Refusal>),
    /// A header says something else than the arguments.
    Headers(HeaderFault),
}

/// One decision brought no result.
#[derive(Debug)]
enum Undone {
    NoResult(NoResult),
    /// Called off before the first byte, because another policy is in force now.
    Overtaken(Box<Refusal>),
}

impl From<NoResult> for Undone {
    fn from(none: NoResult) -> Self {
        Self::NoResult(none)
    }
}

impl From<Box<Refusal>> for NoResult {
    fn from(refusal: Box<Refusal>) -> Self {
        Self::Refused(refusal)
    }
}

impl Journey {
    /// From here on it is about a call of this tool.
    pub(crate) fn names(&mut self, tool: &Tool) {
        self.tool = Some(tool.name.clone());
    }

    /// From here on it is about this call.
    pub(crate) fn carries(&mut self, call: &ToolCall) {
        self.tool = Some(call.tool.clone());
        self.arguments = Some(salted(&self.salt, &json::encode(&call.arguments)));
    }

    /// The envelope as the caller may use it: as the agent that it has shown to be.
    fn acting(&self, effective: Arc<Effective>) -> Arc<Effective> {
        let active = self.view.bundles.get(&effective.tenant);
        match self.channel.as_ref().zip(active) {
            Some((channel, active)) => channel.acting(effective, &active.bundle, self.arrived.wall),
            None => effective,
        }
    }
}

impl Gateway {
    /// Calls that are under way.
    pub(crate) fn running(&self) -> usize {
        self.calls_max.saturating_sub(self.calls.available_permits())
    }

    /// Begins: one clock reading, one view, one id.
    pub(crate) fn arrive(&self, connection: Option<PublicKey>) -> Journey {
        let arrived = self.env.now();
        Journey {
            decision: DecisionId::new(arrived.wall, self.env.random()),
            arrived,
            view: self.views.load_full(),
            presented: None,
            envelope: None,
            connection,
            proven: Proven::default(),
            channel: None,
            tool: None,
            salt: self.env.random(),
            arguments: None,
        }
    }

    /// Takes the time and the view anew, once the whole request is there: what happened while it was on its way
    /// counts.
    pub(crate) fn arrived(&self, journey: &mut Journey) {
        journey.arrived = self.env.now();
        journey.view = self.views.load_full();
    }

    /// Authenticates the envelope again under the view that the journey has now, and looks whether it stands: who may issue
    /// envelopes can have changed with it.
    fn admit_again(&self, journey: &mut Journey) -> Result<Arc<Effective>, Box<Refusal>> {
        let admitted = self.authenticate(journey).and_then(|chain| self.stand(journey, &chain));
        admitted.inspect_err(|refusal| self.deny(journey, refusal))
    }

    /// Looks whether an authentic chain stands here and now, and its hops count.
    fn stand(&self, journey: &mut Journey, chain: &Chain) -> Result<Arc<Effective>, Box<Refusal>> {
        let effective = Arc::clone(&chain.effective);
        journey.envelope = Some(Arc::clone(&effective));
        let active = pdp::standing(&journey.view, &effective, &self.place, journey.arrived)?;
        journey.proven.unregistered = self.check_hops(journey, chain, active)?;
        Ok(effective)
    }

    fn authenticate(&self, journey: &Journey) -> Result<Arc<Chain>, Box<Refusal>> {
        let presented = journey
            .presented
            .as_deref()
            .ok_or_else(|| Refusal::of_envelope(Denied::new(Reason::NoEnvelope, "no envelope was shown")))?;
        let directory = journey
            .view
            .directory(journey.arrived.wall)
            .map_err(|untrusted| Refusal::of_call(Denied::new(Reason::Stale, untrusted.to_string())))?;
        self.chains
            .authenticate(presented, &self.mesh, directory)
            .map_err(|unauthenticated| refuse_chain(&unauthenticated))
    }

    /// The bundle by which an admitted caller may list tools: listing is a read. That it was shown is recorded by
    /// [`Self::shown`].
    ///
    /// # Errors
    /// Why not; recorded.
    pub(crate) fn open_list<'j>(
        &self,
        journey: &'j Journey,
        effective: &Effective,
    ) -> Result<&'j ActiveBundle, Box<Refusal>> {
        let read = Effects::from_iter([Effect::Read]);
        let opened = pdp::standing(&journey.view, effective, &self.place, journey.arrived).and_then(|active| {
            let bounds = active.bundle.bounds();
            journey.view.check_fresh(&effective.tenant, read, bounds, journey.arrived).map_err(Refusal::of_age)?;
            Ok(active)
        });
        opened.inspect_err(|refusal| self.deny(journey, refusal))
    }

    /// Records that a list, or what is served, was shown.
    pub(crate) fn shown(&self, journey: &Journey) {
        let read = Effects::from_iter([Effect::Read]);
        let draft = self.draft(journey, RecordKind::Decision, read, Reason::Permit.as_str(), journey.detail());
        self.reporter.soon(draft, Weight::Read);
        self.metrics.decided(Reason::Permit, self.took(journey));
    }

    /// Judges a call, makes it, and filters what comes back. When another policy comes into force before the first byte
    /// goes out, it is a new decision, with an id of its own, under that policy and that directory.
    ///
    /// # Errors
    /// Why there is no result; recorded.
    pub(crate) async fn call(
        self: &Arc<Self>,
        journey: &mut Journey,
        effective: &Arc<Effective>,
        call: ToolCall,
        headers: &HeaderMap,
        progress: Option<&mpsc::Sender<Progress>>,
    ) -> Result<Released, NoResult> {
        journey.carries(&call);
        let mut effective = Arc::clone(effective);
        let mut decisions = 1;
        loop {
            match self.decide(journey, &effective, call.clone(), headers, progress.cloned()).await {
                Err(Undone::Overtaken(_)) if decisions < DECISIONS_MAX => {
                    decisions += 1;
                    self.arrived(journey);
                    journey.decision = DecisionId::new(journey.arrived.wall, self.env.random());
                    effective = self.admit_again(journey)?;
                    effective = journey.acting(effective);
                }
                Err(Undone::Overtaken(refusal)) => return Err(NoResult::Refused(refusal)),
                Err(Undone::NoResult(none)) => return Err(none),
                Ok(released) => return Ok(released),
            }
        }
    }

    /// The same for a call that was read from a request by the policy that judges it: under another one it may be none,
    /// so that there is no second decision about it.
    ///
    /// # Errors
    /// Why there is no result; recorded.
    pub(crate) async fn call_once(
        self: &Arc<Self>,
        journey: &mut Journey,
        effective: &Arc<Effective>,
        call: ToolCall,
        headers: &HeaderMap,
    ) -> Result<Released, NoResult> {
        journey.carries(&call);
        self.decide(journey, effective, call, headers, None).await.map_err(|undone| match undone {
            Undone::Overtaken(refusal) => NoResult::Refused(refusal),
            Undone::NoResult(none) => none,
        })
    }

    /// One decision about a call, and what came of it.
    ///
    /// From the permit on it runs by itself: an agent that hangs up ends its waiting, not the call and its record.
    async fn decide(
        self: &Arc<Self>,
        journey: &Journey,
        effective: &Arc<Effective>,
        call: ToolCall,
        headers: &HeaderMap,
        progress: Option<mpsc::Sender<Progress>>,
    ) -> Result<Released, Undone> {
        let proof = (self.floor, journey.proven);
        self.shadows.decided(&journey.view, effective, &call, journey.arrived);
        let judged = carrier::relations_at_least(headers).map_err(Refusal::of_call).and_then(|demanded| {
            pdp::judge(&journey.view, effective, &self.place, call, proof, demanded, journey.arrived)
        });
        let cleared = match judged {
            Ok(cleared) => cleared,
            Err(refusal) => return Err(self.denied(journey, refusal).into()),
        };
        if let Err(fault) = check_params(headers, &cleared.permitted().tool.input_schema, &cleared.call().arguments) {
            let denied = Denied::new(Reason::Malformed, fault.to_string());
            self.deny(journey, &Refusal::of_call(denied));
            return Err(NoResult::Headers(fault).into());
        }
        let Ok(slot) = Arc::clone(&self.calls).try_acquire_owned() else {
            let denied = Denied::new(Reason::UpstreamUnreachable, "too many calls are under way at this edge");
            return Err(self.denied(journey, Refusal::of_call(denied)).into());
        };
        let credential = match self.credential(journey, effective, &cleared) {
            Ok(credential) => credential,
            Err(refusal) => return Err(self.denied(journey, refusal).into()),
        };
        let (answer, answered) = oneshot::channel();
        let (gateway, journey, effective) = (Arc::clone(self), journey.clone(), Arc::clone(effective));
        self.env.spawn_named("call", async move {
            let made = gateway.make(&journey, &effective, cleared, credential, progress).await;
            drop(slot);
            // The agent may have gone; the call is recorded all the same.
            let _ = answer.send(made);
        });
        let lost = || {
            let denied = Denied::new(Reason::ObligationUnmet, "the call's task ended by itself");
            NoResult::Refused(Refusal::of_call(denied))
        };
        answered.await.unwrap_or_else(|_| Err(lost().into()))
    }

    /// Records the permit, spends it, and records what came of it.
    async fn make(
        &self,
        journey: &Journey,
        effective: &Effective,
        cleared: Cleared,
        credential: Option<Arc<Credential>>,
        progress: Option<mpsc::Sender<Progress>>,
    ) -> Result<Released, Undone> {
        let effects = cleared.permitted().facts.effects;
        let (permit, duties) = match self.record_permit(journey, cleared, credential.as_deref()).await {
            Ok(permitted) => permitted,
            Err(refusal) => return Err(self.denied(journey, refusal).into()),
        };
        let started = self.env.now();
        let spent = credential.as_ref().map(|credential| (credential.id().clone(), credential.version()));
        let still = || {
            self.check_policy(journey, effective)?;
            self.check_meanwhile(effective, &duties.tool, spent.as_ref())
        };
        let cut = self.cut_meanwhile(effective, &duties.tool, spent.as_ref());
        let reply = match self.egress.forward(permit, credential, still, cut, progress.as_ref()).await {
            Err(CallFailed::BrokenOff(CalledOff::CutHeard)) => {
                let why = self.cut_stored(effective, &duties.tool, spent.as_ref()).await;
                Err(CallFailed::BrokenOff(why))
            }
            reply => reply,
        };
        self.metrics.upstream_seconds.observe(self.env.now().boot.since(started.boot).as_secs_f64());
        let overtaken = matches!(reply, Err(CallFailed::CalledOff(CalledOff::PolicyChanged)));
        let meanwhile = self.check_meanwhile(effective, &duties.tool, spent.as_ref());
        let released = self.release(journey, reply, meanwhile, &duties);
        self.record_outcome(journey, effects, duties.obligations.demands.log, &released);
        match released {
            Ok((filtered, _)) => {
                Ok(Released { result: filtered.json, used: Used { tool: duties.tool, credential: spent } })
            }
            Err((_, refusal)) if overtaken => Err(Undone::Overtaken(refusal)),
            Err((_, refusal)) => Err(NoResult::Refused(refusal).into()),
        }
    }

    /// The credential that the tool's descriptor names, open.
    fn credential(
        &self,
        journey: &Journey,
        effective: &Effective,
        cleared: &Cleared,
    ) -> Result<Option<Arc<Credential>>, Box<Refusal>> {
        let Some(name) = &cleared.permitted().tool.credential else { return Ok(None) };
        let refuse = |detail: String| Refusal::of_call(Denied::new(Reason::VaultQuorumLost, detail));
        let shard = journey
            .view
            .shards
            .get(&(effective.tenant.clone(), name.clone()))
            .ok_or_else(|| refuse(format!("no shard of credential `{name}` is here")))?;
        let profile = cleared.upstream().profile_digest();
        let opened = self.vault.obtain(&effective.tenant, shard, &profile);
        opened.map(Some).map_err(|missing| refuse(chain_text(&missing)))
    }

    /// Records the permit as durably as its effects demand, and makes it a value.
    async fn record_permit(
        &self,
        journey: &Journey,
        cleared: Cleared,
        credential: Option<&Credential>,
    ) -> Result<(pep::Permit, Duties), Box<Refusal>> {
        let permitted = cleared.permitted();
        let effects = permitted.facts.effects;
        let detail = Detail {
            credential: credential.map(|credential| credential.id().clone()),
            credential_version: credential.map(Credential::version),
            ..recorded::permitted(permitted, journey.detail())
        };
        let draft = self.draft(journey, RecordKind::Decision, effects, Reason::Permit.as_str(), detail);
        let receipt = match pep::durability(effects, permitted.obligations.demands.log) {
            Durability::Soon => self.reporter.soon(draft, Weight::Read),
            Durability::First => self.reporter.first(draft).await.map_err(|not_on_disk: NotOnDisk| {
                let detail = format!("the call was not made, because it could not be recorded first: {not_on_disk}");
                Refusal::of_call(Denied::new(Reason::ObligationUnmet, detail))
            })?,
        };
        self.metrics.decided(Reason::Permit, self.took(journey));
        pep::permit(cleared, &receipt)
            .map_err(|not_recorded| Refusal::of_call(Denied::new(Reason::ObligationUnmet, not_recorded.to_string())))
    }

    /// Whether nothing that the call hangs on has been cut since the decision: asked before the first byte goes out,
    /// and again before the answer is released.
    fn check_meanwhile(
        &self,
        effective: &Effective,
        tool: &Tool,
        credential: Option<&(CredentialId, u64)>,
    ) -> Result<(), CalledOff> {
        let newest = self.views.load();
        if newest.freshness.quarantined(self.env.now()).is_some() {
            return Err(CalledOff::Quarantined);
        }
        let credential = credential.map(|(name, version)| (name, *version));
        pdp::check_cuts(&newest, effective, &self.place.edge)
            .and_then(|()| pdp::check_tool_cuts(&newest, effective, tool, credential))
            .map_err(|refusal| match refusal.denied.reason {
                Reason::Stale => CalledOff::CutHeard,
                Reason::Quarantined => CalledOff::Quarantined,
                _ => CalledOff::Cut,
            })
    }

    /// Ends as soon as something that the call hangs on has been cut, or the edge is quarantined (clause G-43).
    async fn cut_meanwhile(
        &self,
        effective: &Effective,
        tool: &Tool,
        credential: Option<&(CredentialId, u64)>,
    ) -> CalledOff {
        let mut changes = self.views.changes();
        loop {
            if let Err(why) = self.check_meanwhile(effective, tool, credential) {
                return why;
            }
            tokio::select! {
                biased;
                Ok(()) = changes.changed() => {}
                // Clocks that jump change no view.
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Why a call was broken off by a cut that had just arrived. The call is over at once; only its name waits, for a
    /// moment, until the disk has the cut (clause N-16).
    async fn cut_stored(
        &self,
        effective: &Effective,
        tool: &Tool,
        credential: Option<&(CredentialId, u64)>,
    ) -> CalledOff {
        let mut changes = self.views.changes();
        let stored = async {
            loop {
                match self.check_meanwhile(effective, tool, credential) {
                    Err(CalledOff::CutHeard) => {}
                    Err(why) => return why,
                    Ok(()) => return CalledOff::CutHeard,
                }
                if changes.changed().await.is_err() {
                    return CalledOff::CutHeard;
                }
            }
        };
        deadline(STORED_WITHIN, stored).await.unwrap_or(CalledOff::CutHeard)
    }

    /// Whether what a call hung on still stands, for an answer that is on its way to the agent.
    pub(crate) fn still_stands(&self, effective: &Effective, Used { tool, credential }: &Used) -> bool {
        self.check_meanwhile(effective, tool, credential.as_ref()).is_ok()
    }

    /// Whether the policy that judged is still the one in force: asked before the first byte goes out.
    fn check_policy(&self, journey: &Journey, effective: &Effective) -> Result<(), CalledOff> {
        let digest = |view: &View| view.bundles.get(&effective.tenant).map(|active| *active.bundle.digest());
        let newest = self.views.load();
        if digest(&newest) == digest(&journey.view) { Ok(()) } else { Err(CalledOff::PolicyChanged) }
    }

    /// What of an answer the agent gets.
    fn release(
        &self,
        journey: &Journey,
        reply: Result<Reply, CallFailed>,
        meanwhile: Result<(), CalledOff>,
        duties: &Duties,
    ) -> Result<(Filtered, &'static str), (&'static str, Box<Refusal>)> {
        let refuse = |word, reason, detail: String| Err((word, Refusal::of_call(Denied::new(reason, detail))));
        let (result, word) = match reply {
            Ok(Reply::Result(result)) => (result, "released"),
            // The agent learns that the tool failed, in our words.
            Ok(Reply::Error { .. }) => {
                (Json::object([("content", Json::Array(Vec::new())), ("isError", Json::Bool(true))]), "tool-error")
            }
            Err(failed) => {
                let reason = match &failed {
                    CallFailed::CalledOff(why) | CallFailed::BrokenOff(why) => why.reason(),
                    CallFailed::CarriesCredential | CallFailed::NotBuilt(_) => Reason::ObligationUnmet,
                    _ => Reason::UpstreamUnreachable,
                };
                self.note_failure(journey, &failed);
                let acted = match failed.reached() {
                    Reached::No => "the tool knows nothing of it",
                    Reached::Perhaps => "the tool may have acted",
                };
                return refuse(failed.word(), reason, format!("{}; {acted}", chain_text(&failed)));
            }
        };
        if let Err(why) = meanwhile {
            return refuse("cut-meanwhile", why.reason(), why.to_string());
        }
        match response::filter(&duties.tool, &result, &duties.obligations) {
            Ok(filtered) => Ok((filtered, word)),
            Err(unusable) => refuse("unusable-answer", Reason::UpstreamUnreachable, chain_text(&unusable)),
        }
    }

    fn note_failure(&self, journey: &Journey, failed: &CallFailed) {
        let decision = journey.decision;
        match failed {
            CallFailed::CarriesCredential => {
                self.metrics.leaks.inc();
                tracing::error!(%decision, "a tool gave its credential back: the answer is withheld, rotate it");
            }
            CallFailed::CalledOff(why) => {
                self.metrics.late_permits.inc();
                tracing::warn!(%decision, %why, "a call was called off");
            }
            CallFailed::BrokenOff(why) => tracing::warn!(%decision, %why, "a call was broken off"),
            other => tracing::warn!(%decision, error = chain_text(other), "a permitted call failed"),
        }
    }
}

fn refuse_chain(unauthenticated: &Unauthenticated) -> Box<Refusal> {
    let reason = unauthenticated.reason_code().parse().unwrap_or(Reason::BadSignature);
    Refusal::of_envelope(Denied::new(reason, chain_text(unauthenticated)))
}
