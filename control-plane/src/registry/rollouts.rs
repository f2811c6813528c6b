//! Rollouts: a bundle comes to the edges in waves, and is taken back by itself when a gate closes.
//!
//! While one is under way the tenant has two activations: the one of the whole mesh, which names the bundle from before,
//! and a staged one, which names the new bundle and says which edges it has come to. The leader looks at what edges
//! report and proposes the next step; every voter checks that the step may be taken now. Going back needs no signature at
//! night, because a rollout only begins when the new manifest names the old one as its fallback. Clauses O-5 to O-12.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use remit_common::bundle::{Manifest, RolloutPlan, SignedBundle};
use remit_common::crypto::digest::Digest;
use remit_common::id::{BundleName, BundleVersion, KeyId, LogIndex, TenantId};
use remit_common::identity::{Administrator, SignedRequest, Verb};
use remit_common::time::Timestamp;
use remit_common::trust::activation::{Activation, RING_ALL, RING_STAGED};
use remit_common::trust::scope::Scope;
use serde::{Deserialize, Serialize};

use super::apply::Applied;
use super::authenticate::not_permitted;
use super::bundles::{self, ActiveBundle};
use super::refusal::{Refusal, RefusalKind};
use super::relations;
use super::state::State;

/// Rollouts that are remembered of a tenant, the one under way included.
const ROLLOUTS_KEPT_MAX: usize = 16;
/// What happened in one rollout, the newest.
const EVENTS_MAX: usize = 64;
/// Bytes of the reasons that people and gates give.
const REASON_BYTES_MAX: usize = 512;
/// Bytes of a request that changes a rollout.
const REQUEST_BYTES_MAX: usize = 4_096;
/// How much longer than the plan the way back has to stay open: people look at what happened, pause, and resume.
const WAY_BACK: Duration = Duration::from_secs(24 * 3_600);

/// Where a rollout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutStatus {
    /// The wave has to hold for a while.
    Baking,
    /// Somebody holds it where it is.
    Paused,
    /// The bundle is the whole mesh's.
    Completed,
    /// A gate closed, and the bundle from before is the whole mesh's again.
    TakenBack,
    /// Somebody had it taken back.
    Aborted,
}

impl RolloutStatus {
    /// Whether anything is still to come.
    #[must_use]
    pub fn is_under_way(self) -> bool {
        matches!(self, Self::Baking | Self::Paused)
    }

    /// The word for people, answers and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Baking => "baking",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::TakenBack => "taken-back",
            Self::Aborted => "aborted",
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutEvent {
    /// The registry's clock then.
    pub at: Timestamp,
    /// The entry.
    pub index: LogIndex,
    /// The wave, from 0.
    pub wave: u32,
    /// What it was afterwards.
    pub status: RolloutStatus,
    /// The administrator who asked for it; nobody where it went by itself.
    pub by: Option<String>,
    /// Why, or the gate that closed and by what.
    pub reason: String,
}

/// One bundle on its way to the edges, or at the end of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// The entry that began it.
    pub id: LogIndex,
    /// Whose.
    pub tenant: TenantId,
    /// The bundle's name.
    pub name: BundleName,
    /// Its version.
    pub version: BundleVersion,
    /// Its manifest.
    pub candidate: Digest,
    /// The version from before.
    pub base_version: BundleVersion,
    /// The manifest from before.
    pub base: Digest,
    /// Who began it.
    pub by: KeyId,
    /// Waves and gates.
    pub plan: RolloutPlan,
    /// Which wave it has come to, from 0.
    pub wave: u32,
    /// Where it stands.
    pub status: RolloutStatus,
    /// Since when.
    pub since: Timestamp,
    /// How long the wave had baked before it was paused last.
    pub baked_ms: u64,
    /// Until when the bundle from before can be gone back to.
    pub back_until: Timestamp,
    /// What happened, oldest first.
    pub events: Vec<RolloutEvent>,
}

/// What a leader proposes after a look at the edges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RolloutStep {
    /// The wave has held: the next one, or the end.
    Next,
    /// A gate has closed.
    TakeBack {
        /// Which, and by what.
        reason: String,
    },
}

/// What an administrator can ask of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RolloutChange {
    /// No further wave for now. Gates stay closed or open as they are.
    Pause,
    /// Go on where it was.
    Resume,
    /// Take it back.
    Abort,
}

/// The body of `POST /v1/rollouts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutRequest {
    /// Whose.
    pub tenant: TenantId,
    /// The rollout that is meant; one that has ended since is not changed.
    pub rollout: LogIndex,
    /// What to do.
    pub change: RolloutChange,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// The body of `POST /v1/rollbacks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RollbackRequest {
    /// Whose.
    pub tenant: TenantId,
    /// The bundle to go back to, by its manifest; the newest fallback that is open if nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Digest>,
    /// The bundle that is to be left: one that somebody activated meanwhile is not.
    pub from: Digest,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

impl Rollout {
    /// How long the present wave has held.
    #[must_use]
    pub fn baked(&self, now: Timestamp) -> Duration {
        let before = Duration::from_millis(self.baked_ms);
        match self.status {
            RolloutStatus::Baking => before.saturating_add(now.since(self.since)),
            _ => before,
        }
    }

    /// How long it has to hold yet.
    #[must_use]
    pub fn left(&self, now: Timestamp) -> Duration {
        self.bake().saturating_sub(self.baked(now))
    }

    /// Whom it has come to.
    #[must_use]
    pub fn scope(&self) -> Scope {
        self.plan.scope(self.at(), self.id.0)
    }

    fn at(&self) -> usize {
        usize::try_from(self.wave).unwrap_or(usize::MAX)
    }

    fn bake(&self) -> Duration {
        self.plan.waves.get(self.at()).map_or(Duration::ZERO, remit_common::bundle::Wave::bake)
    }

    fn is_last(&self) -> bool {
        self.at().saturating_add(1) >= self.plan.waves.len()
    }

    fn note(&mut self, at: Timestamp, index: LogIndex, status: RolloutStatus, by: Option<String>, reason: &str) {
        self.status = status;
        self.since = at;
        let reason = cut(reason);
        self.events.push(RolloutEvent { at, index, wave: self.wave, status, by, reason });
        if self.events.len() > EVENTS_MAX {
            // How it began stays.
            self.events.remove(1);
        }
    }
}

fn cut(reason: &str) -> String {
    let end = (0..=REASON_BYTES_MAX.min(reason.len())).rev().find(|end| reason.is_char_boundary(*end));
    reason.get(..end.unwrap_or_default()).unwrap_or_default().to_owned()
}

/// A bundle that may begin its way: everything that a bundle is asked at once has been asked.
pub(super) struct Candidate {
    pub(super) manifest: Manifest,
    pub(super) digest: Digest,
    pub(super) compiled: ActiveBundle,
    pub(super) plan: RolloutPlan,
    /// Until when the active bundle can be gone back to.
    pub(super) back_until: Timestamp,
}

impl State {
    /// The tenant's rollout that is under way.
    #[must_use]
    pub fn rollout(&self, tenant: &TenantId) -> Option<&Arc<Rollout>> {
        let of_tenant = self.rollouts.range((tenant.clone(), LogIndex(0))..=(tenant.clone(), LogIndex(u64::MAX)));
        of_tenant.map(|(_, rollout)| rollout).next_back().filter(|rollout| rollout.status.is_under_way())
    }

    /// Every rollout that is remembered, by tenant and age.
    #[must_use]
    pub fn rollouts(&self) -> &Arc<BTreeMap<(TenantId, LogIndex), Arc<Rollout>>> {
        &self.rollouts
    }

    /// Whom staged activations are for.
    #[must_use]
    pub fn scopes(&self) -> BTreeMap<TenantId, Scope> {
        let under_way = self.rollouts.values().filter(|rollout| rollout.status.is_under_way());
        under_way.map(|rollout| (rollout.tenant.clone(), rollout.scope())).collect()
    }

    /// The bundle that is being rolled out.
    #[must_use]
    pub fn candidate(&self, tenant: &TenantId) -> Option<&Arc<ActiveBundle>> {
        self.candidates.get(tenant)
    }

    /// Every tenant's.
    pub fn candidates(&self) -> impl Iterator<Item = &Arc<ActiveBundle>> {
        self.candidates.values()
    }

    fn set_rollout(&mut self, rollout: Rollout) {
        let rollouts = Arc::make_mut(&mut self.rollouts);
        let tenant = rollout.tenant.clone();
        rollouts.insert((tenant.clone(), rollout.id), Arc::new(rollout));
        let of_tenant = |(owner, _): &&(TenantId, LogIndex)| *owner == tenant;
        while rollouts.keys().filter(of_tenant).count() > ROLLOUTS_KEPT_MAX {
            let Some(oldest) = rollouts.keys().find(of_tenant).cloned() else { break };
            rollouts.remove(&oldest);
        }
    }

    fn set_activation(&mut self, number: LogIndex, tenant: &TenantId, ring: u32, manifest: Digest) {
        let activation = Activation { number, tenant: tenant.clone(), ring, manifest };
        Arc::make_mut(&mut self.activations).insert((tenant.clone(), ring), activation);
    }

    /// The bundle of the whole mesh is this from now on, and nothing is staged.
    fn settle(&mut self, number: LogIndex, tenant: &TenantId, manifest: Digest) {
        self.set_activation(number, tenant, RING_ALL, manifest);
        Arc::make_mut(&mut self.activations).remove(&(tenant.clone(), RING_STAGED));
        let candidate = Arc::make_mut(&mut self.candidates).remove(tenant);
        if let Some(candidate) = candidate.filter(|candidate| *candidate.digest() == manifest) {
            Arc::make_mut(&mut self.active).insert(tenant.clone(), candidate);
        }
        bundles::prune(self, tenant);
    }
}

/// Clause O-6: there is a way back. Gives until when.
pub(super) fn check_begin(
    state: &State,
    tenant: &TenantId,
    manifest: &Manifest,
    digest: &Digest,
    plan: &RolloutPlan,
) -> Result<Timestamp, Refusal> {
    let conflict = |reason, detail: String| Err(Refusal::new(RefusalKind::Conflict, reason, detail));
    let Some(active) = state.active.get(tenant) else {
        return conflict(
            "no_way_back",
            "there is no active bundle to go back to: push the first one at once".to_owned(),
        );
    };
    if active.digest() == digest {
        return conflict("already_active", format!("version {} is active already", manifest.version));
    }
    let directory = &state.trust()?.directory;
    for wave in &plan.waves {
        let edge = wave.edges.iter().find(|id| directory.edge(id).is_none()).map(ToString::to_string);
        let region = wave.regions.iter().find(|name| !directory.edges().any(|edge| edge.region == **name));
        if let Some(name) = edge.or_else(|| region.map(ToString::to_string)) {
            let detail = format_args!("the directory has no edge or region `{name}`");
            return Err(Refusal::new(RefusalKind::Unacceptable, "unknown_edge", detail));
        }
    }
    let until = state.clock.plus(plan.length()).plus(WAY_BACK);
    let no_way_back = |why: &str| {
        let (base, version) = (active.digest(), active.version());
        let detail = format!(
            "the active version {version} could not be gone back to: {why}; its manifest is {base}, and the way back has \
             to stay open for the length of the rollout and a day (`remit bundle build --fallback`)"
        );
        conflict("no_way_back", detail)
    };
    let seen = state.high_water.get(tenant).map(|water| water.floor).unwrap_or_default();
    if manifest.floor.max(seen) > active.version() {
        return no_way_back("the new bundle's floor is above it");
    }
    if active.compiled().manifest().expires <= until {
        return no_way_back("it expires before that");
    }
    match manifest.fallback.iter().find(|named| named.digest == *active.digest()) {
        None => no_way_back("the new bundle does not name it as a fallback"),
        Some(named) if named.until <= until => {
            no_way_back("the new bundle names it as a fallback for too short a time")
        }
        Some(named) => Ok(named.until.min(active.compiled().manifest().expires)),
    }
}

/// Clause O-6: a credential is sealed for one way in which an upstream takes it; canaries of a bundle that changes it would
/// have none, and no gate would see it.
pub(super) fn check_profiles(state: &State, tenant: &TenantId, next: &ActiveBundle) -> Result<(), Refusal> {
    let Some(active) = state.active.get(tenant) else { return Ok(()) };
    for ((owner, name), credential) in state.credentials.iter() {
        let takes = |bundle: &ActiveBundle| bundle.profiles_of(name).contains(&credential.profile);
        if owner == tenant && takes(active) && !takes(next) {
            let detail = format_args!(
                "the bundle changes how an upstream takes `{name}`, which is sealed for the present way: push it at once, or \
                 give the credential another name"
            );
            return Err(Refusal::new(RefusalKind::Conflict, "profile_changes", detail));
        }
    }
    Ok(())
}

/// Clause O-5: a tenant has one rollout at a time, and no other bundle comes while it is under way.
pub(super) fn check_idle(state: &State, tenant: &TenantId) -> Result<(), Refusal> {
    let Some(rollout) = state.rollout(tenant) else { return Ok(()) };
    let (version, id, status) = (rollout.version, rollout.id, rollout.status.as_str());
    let detail = format_args!(
        "version {version} is being rolled out (rollout {id}, {status}): wait for it, or `remit rollout abort`"
    );
    Err(Refusal::new(RefusalKind::Conflict, "rollout_under_way", detail))
}

/// The first wave begins. The caller has stored the bundle.
pub(super) fn begin(
    state: &mut State,
    index: LogIndex,
    (administrator, request): (&Administrator, &SignedRequest),
    candidate: Candidate,
) -> Result<Applied, Refusal> {
    let Candidate { manifest, digest, compiled, plan, back_until } = candidate;
    let tenant = manifest.tenant.clone();
    let active = state.active.get(&tenant).ok_or_else(|| Refusal::malformed("there is no active bundle"))?;
    let mut rollout = Rollout {
        id: index,
        tenant: tenant.clone(),
        name: manifest.name,
        version: manifest.version,
        candidate: digest,
        base_version: active.version(),
        base: *active.digest(),
        by: request.key,
        plan,
        wave: 0,
        status: RolloutStatus::Baking,
        since: state.clock,
        baked_ms: 0,
        back_until,
        events: Vec::new(),
    };
    rollout.note(state.clock, index, RolloutStatus::Baking, Some(administrator.name.clone()), "");
    state.set_activation(index, &tenant, RING_STAGED, digest);
    Arc::make_mut(&mut state.candidates).insert(tenant, Arc::new(compiled));
    let applied = applied(&rollout);
    state.set_rollout(rollout);
    Ok(applied)
}

fn applied(rollout: &Rollout) -> Applied {
    let Rollout { id, tenant, version, candidate, wave, status, .. } = rollout;
    Applied::Rollout {
        tenant: tenant.clone(),
        rollout: *id,
        version: *version,
        digest: *candidate,
        wave: *wave,
        status: *status,
    }
}

/// Clauses O-8 and O-9: a step counts for the wave that the leader looked at, and no wave ends before its time, whatever a
/// leader says.
pub(super) fn step(
    state: &mut State,
    index: LogIndex,
    tenant: &TenantId,
    (id, wave): (LogIndex, u32),
    step: RolloutStep,
) -> Result<Applied, Refusal> {
    let late =
        || Refusal::new(RefusalKind::Conflict, "rollout_has_moved", "the rollout is not where the leader saw it");
    let mut rollout =
        state.rollout(tenant).filter(|one| one.id == id && one.wave == wave).ok_or_else(late)?.as_ref().clone();
    let now = state.clock;
    match step {
        RolloutStep::TakeBack { reason } => {
            take_back(state, index, &mut rollout, RolloutStatus::TakenBack, None, &reason)
        }
        RolloutStep::Next if rollout.status != RolloutStatus::Baking || !rollout.left(now).is_zero() => {
            return Err(late());
        }
        RolloutStep::Next if rollout.is_last() => complete(state, index, &mut rollout),
        RolloutStep::Next => {
            rollout.wave = rollout.wave.saturating_add(1);
            rollout.baked_ms = 0;
            rollout.note(now, index, RolloutStatus::Baking, None, "");
            state.set_activation(index, tenant, RING_STAGED, rollout.candidate);
        }
    }
    let applied = applied(&rollout);
    state.set_rollout(rollout);
    Ok(applied)
}

fn complete(state: &mut State, index: LogIndex, rollout: &mut Rollout) {
    let fits = state.candidates.get(&rollout.tenant).cloned();
    let fits = fits.map(|candidate| relations::check_model(state, &rollout.tenant, &candidate));
    // Tuples are written while it is under way, by the model of the bundle from before.
    if let Some(Err(refusal)) = fits {
        return take_back(state, index, rollout, RolloutStatus::TakenBack, None, &refusal.detail);
    }
    rollout.note(state.clock, index, RolloutStatus::Completed, None, "");
    state.settle(index, &rollout.tenant, rollout.candidate);
}

/// Clause O-14: a bundle that the newest root does not vouch for is taken to no further edge.
pub(super) fn take_back_unvouched(state: &mut State, index: LogIndex) {
    let under_way: Vec<Rollout> =
        state.rollouts.values().filter(|one| one.status.is_under_way()).map(|one| one.as_ref().clone()).collect();
    for mut rollout in under_way {
        if let Err(why) = check_vouched(state, &rollout) {
            let reason = format!("it does not verify under the mesh's newest root: {why}");
            take_back(state, index, &mut rollout, RolloutStatus::TakenBack, None, &reason);
            state.set_rollout(rollout);
        }
    }
}

fn check_vouched(state: &State, rollout: &Rollout) -> Result<(), String> {
    let trust = state.trust().map_err(|refusal| refusal.detail)?;
    let stored = state.bundles.get(&(rollout.tenant.clone(), rollout.candidate)).ok_or("it is not kept any more")?;
    let signed = SignedBundle::parse(&stored.container).map_err(|malformed| malformed.to_string())?;
    let verified = signed.verify(&trust.root, &state.genesis.mesh, &rollout.tenant, state.clock);
    verified.map(|_| ()).map_err(|rejected| rejected.to_string())
}

fn take_back(
    state: &mut State,
    index: LogIndex,
    rollout: &mut Rollout,
    status: RolloutStatus,
    by: Option<String>,
    reason: &str,
) {
    rollout.note(state.clock, index, status, by, reason);
    state.settle(index, &rollout.tenant, rollout.base);
}

fn read<'b, T: Deserialize<'b>>(request: &'b SignedRequest) -> Result<T, Refusal> {
    if request.body.len() > REQUEST_BYTES_MAX {
        return Err(Refusal::malformed(format_args!("the body has at most {REQUEST_BYTES_MAX} bytes")));
    }
    serde_json::from_slice(&request.body).map_err(Refusal::malformed)
}

/// Clause O-10.
pub(super) fn change(
    state: &mut State,
    index: LogIndex,
    administrator: &Administrator,
    request: &SignedRequest,
) -> Result<Applied, Refusal> {
    let RolloutRequest { tenant, rollout: id, change, reason } = read(request)?;
    administrator.check(Verb::PublishBundle, &tenant, state.clock).map_err(|error| not_permitted(&error))?;
    let conflict = |reason, detail: String| Refusal::new(RefusalKind::Conflict, reason, detail);
    let known = state.rollouts.get(&(tenant.clone(), id));
    let mut rollout = match known {
        Some(rollout) if rollout.status.is_under_way() => rollout.as_ref().clone(),
        Some(rollout) => {
            let detail = format!("rollout {id} is over: {}", rollout.status.as_str());
            return Err(conflict("rollout_over", detail));
        }
        None => {
            let detail = format!("tenant `{tenant}` has no rollout {id}");
            return Err(Refusal::new(RefusalKind::Unacceptable, "unknown_rollout", detail));
        }
    };
    let (now, by) = (state.clock, Some(administrator.name.clone()));
    match (change, rollout.status) {
        (RolloutChange::Pause, RolloutStatus::Baking) => {
            rollout.baked_ms = u64::try_from(rollout.baked(now).as_millis()).unwrap_or(u64::MAX);
            rollout.note(now, index, RolloutStatus::Paused, by, &reason);
        }
        (RolloutChange::Resume, RolloutStatus::Paused) => rollout.note(now, index, RolloutStatus::Baking, by, &reason),
        (RolloutChange::Abort, _) => take_back(state, index, &mut rollout, RolloutStatus::Aborted, by, &reason),
        (RolloutChange::Pause | RolloutChange::Resume, status) => {
            let detail = format!("rollout {id} is {} already", status.as_str());
            return Err(conflict("nothing_to_change", detail));
        }
    }
    let applied = applied(&rollout);
    state.set_rollout(rollout);
    Ok(applied)
}

/// Clause O-11: back to a bundle that the highest one names, signed and compiled once more.
pub(super) fn roll_back(
    state: &mut State,
    index: LogIndex,
    administrator: &Administrator,
    request: &SignedRequest,
) -> Result<Applied, Refusal> {
    let RollbackRequest { tenant, to, from, reason: _ } = read(request)?;
    administrator.check(Verb::PublishBundle, &tenant, state.clock).map_err(|error| not_permitted(&error))?;
    check_idle(state, &tenant)?;
    let conflict = |reason, detail: String| Refusal::new(RefusalKind::Conflict, reason, detail);
    let nothing = || conflict("no_way_back", "no bundle is active".to_owned());
    let active = state.active.get(&tenant).ok_or_else(nothing)?;
    if *active.digest() != from {
        let detail = format!("{} is active, not {from}: look again", active.digest());
        return Err(conflict("another_is_active", detail));
    }
    let (now, seen) = (state.clock, state.high_water.get(&tenant).cloned().unwrap_or_default());
    let fallbacks = seen.high.iter().flat_map(|high| &high.fallback);
    let is_open = |digest: &&Digest| **digest != from && state.bundles.contains_key(&(tenant.clone(), **digest));
    let named = fallbacks.filter(|named| now < named.until).map(|named| &named.digest);
    let newest = named
        .filter(is_open)
        .max_by_key(|digest| state.bundles.get(&(tenant.clone(), **digest)).map(|stored| stored.version));
    let Some(to) = to.or(newest.copied()) else {
        let detail = "the highest bundle names no fallback that is open and still here; push a new version instead";
        return Err(conflict("no_way_back", detail.to_owned()));
    };
    let stored = state.bundles.get(&(tenant.clone(), to)).cloned().ok_or_else(|| {
        Refusal::new(RefusalKind::Unacceptable, "unknown_bundle", format_args!("no bundle {to} is kept of `{tenant}`"))
    })?;
    let trust = state.trust()?;
    let signed = SignedBundle::parse(&stored.container).map_err(|error| bundles::rejected(&error.into()))?;
    let verified = signed.verify(&trust.root, &state.genesis.mesh, &tenant, now);
    let verified = verified.map_err(|error| bundles::rejected(&error))?;
    verified.check_succeeds(&seen, now).map_err(|error| bundles::rejected(&error))?;
    let next = ActiveBundle::new(verified.compile().map_err(|error| bundles::rejected(&error))?);
    relations::check_model(state, &tenant, &next)?;
    state.settle(index, &tenant, to);
    Arc::make_mut(&mut state.active).insert(tenant.clone(), Arc::new(next));
    let (name, version) = (stored.name.clone(), stored.version);
    Ok(Applied::Bundle { tenant, name, version, digest: to, number: index })
}
