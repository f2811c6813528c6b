//! One consistent picture of everything that a decision reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use remit_common::bundle::{CompiledBundle, VerifiedBundle};
use remit_common::crypto::digest::Digest;
use remit_common::id::{CredentialId, LogIndex, TenantId};
use remit_common::lattice::{Effect, Effects};
use remit_common::policy::Bounds;
use remit_common::policy::relations::Relations;
use remit_common::relation_log::Head;
use remit_common::revocation::Revocations;
use remit_common::shard::VerifiedShard;
use remit_common::time::{Now, Timestamp};
use remit_common::trust::directory::Directory;
use remit_common::trust::freshness::{Fresh, FreshnessView, Mode, Stale, age_of};
use remit_common::trust::offline::OfflineAuthorization;
use remit_common::trust::root::Root;
use tokio::sync::watch;

use super::state::Documents;

/// The newest view; readers take an `Arc` and keep it for one request.
pub(crate) type ViewCell = Arc<Views>;

/// Where the newest view is, and that there is a newer one.
#[derive(Debug)]
pub(crate) struct Views {
    newest: ArcSwap<View>,
    changed: watch::Sender<()>,
}

impl Views {
    pub(crate) fn new(view: View) -> Self {
        Self { newest: ArcSwap::from_pointee(view), changed: watch::Sender::new(()) }
    }

    /// The newest view, for a moment.
    pub(crate) fn load(&self) -> arc_swap::Guard<Arc<View>> {
        self.newest.load()
    }

    /// The newest view, to keep.
    pub(crate) fn load_full(&self) -> Arc<View> {
        self.newest.load_full()
    }

    /// Shows a newer view to everybody.
    pub(crate) fn store(&self, view: View) {
        self.newest.store(Arc::new(view));
        self.changed.send_replace(());
    }

    /// Wakes whoever waits on it after every newer view.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

/// What a tenant's edges run.
#[derive(Debug, Clone)]
pub(crate) struct ActiveBundle {
    /// The activation that named it.
    pub(crate) number: LogIndex,
    /// The policy, ready to decide.
    pub(crate) bundle: Arc<CompiledBundle>,
}

/// The other bundle while one is rolled out: what the deciding one is compared with, and never decides.
#[derive(Debug, Clone)]
pub(crate) struct Shadow {
    /// The rollout.
    pub(crate) rollout: LogIndex,
    /// Whether the bundle that is being rolled out is the one that decides here.
    pub(crate) runs: bool,
    /// The one that does not.
    pub(crate) bundle: Arc<CompiledBundle>,
}

/// A bundle that ended this process, and ended it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lost {
    /// The activation that named it.
    pub(crate) number: LogIndex,
    pub(crate) manifest: Digest,
}

/// What is known of a tenant's relations.
#[derive(Debug, Clone, Default)]
pub(crate) struct TenantRelations {
    /// The newest batch that is here.
    pub(crate) head: Head,
    /// The tuples, under the model of the active bundle.
    pub(crate) relations: Relations,
    /// When the newest nonce was sent that proves that nothing newer is missing.
    pub(crate) proven: Option<Now>,
}

/// What a tenant's administrators let go on without voters.
#[derive(Debug, Clone)]
pub(crate) struct Offline {
    pub(crate) authorization: OfflineAuthorization,
    /// When this edge took it: should the clocks drift apart afterwards, nobody knows how old it is.
    pub(crate) taken: Now,
    /// Whether the tenant's relations are those of the tick that its signers looked at, and none is known to be missing.
    pub(crate) has_relations: bool,
}

impl Offline {
    /// Whether a call with these effects may go on, and for how long.
    fn allows(&self, effects: Effects, now: Now) -> Option<Fresh> {
        age_of(self.taken, now)?;
        self.authorization.allows(effects, now.wall)
    }
}

/// A document that everything hangs on has passed its time, or never came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Untrusted {
    /// No directory has arrived yet.
    #[error("no directory has arrived yet")]
    NoDirectory,
    /// The root has expired.
    #[error("the root has expired")]
    RootExpired,
    /// The directory has expired.
    #[error("the directory has expired")]
    DirectoryExpired,
    /// No bundle of this tenant is active here.
    #[error("no bundle of this tenant is active here")]
    NoBundle,
    /// The tenant's bundle has expired.
    #[error("the active bundle has expired")]
    BundleExpired,
    /// What was active ended the process again and again, and there is nothing to go back to.
    #[error("the bundle of activation {0} ended this process twice, and nothing is here that it may be taken back to")]
    CrashLoop(LogIndex),
}

/// Everything that a decision reads. Immutable; cloning shares.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) root: Arc<Root>,
    pub(crate) directory: Option<Arc<Directory>>,
    pub(crate) bundles: Arc<BTreeMap<TenantId, ActiveBundle>>,
    pub(crate) shadows: Arc<BTreeMap<TenantId, Shadow>>,
    /// Bundles that were turned away because the process ended by them.
    pub(crate) lost: Arc<BTreeMap<TenantId, Vec<Lost>>>,
    /// The cuts that are on the disk, and hold after a restart, too.
    pub(crate) revocations: Arc<Revocations>,
    /// The newest cuts: for the moments, or while a disk fails, in which it does not have them yet.
    pub(crate) heard: Arc<Revocations>,
    /// Under the models of `bundles`, of those that have one.
    pub(crate) relations: Arc<BTreeMap<TenantId, TenantRelations>>,
    pub(crate) shards: Arc<BTreeMap<(TenantId, CredentialId), Arc<VerifiedShard>>>,
    pub(crate) freshness: FreshnessView,
    pub(crate) offline: Arc<BTreeMap<TenantId, Offline>>,
    pub(crate) documents: Arc<Documents>,
}

impl View {
    /// The directory, if it and the root are in their time.
    ///
    /// # Errors
    /// [`Untrusted`] says what is missing.
    pub(crate) fn directory(&self, now: Timestamp) -> Result<&Arc<Directory>, Untrusted> {
        self.root.check_time(now).map_err(|_| Untrusted::RootExpired)?;
        let directory = self.directory.as_ref().ok_or(Untrusted::NoDirectory)?;
        directory.check_time(now).map_err(|_| Untrusted::DirectoryExpired)?;
        Ok(directory)
    }

    /// Whether a call of this tenant with these effects is within its bound, by what voters have proven, or by what the
    /// tenant's administrators allow without them (clause F-27).
    ///
    /// # Errors
    /// [`Stale`].
    pub(crate) fn check_fresh(
        &self,
        tenant: &TenantId,
        effects: Effects,
        bounds: &Bounds,
        now: Now,
    ) -> Result<Fresh, Stale> {
        let offline = || self.offline.get(tenant).and_then(|offline| offline.allows(effects, now));
        self.freshness.check(effects, bounds, now).or_else(|stale| match stale {
            Stale::Bound { .. } => offline().ok_or(stale),
            Stale::Quarantined(_) => Err(stale),
        })
    }

    /// How long relations count for a call with these effects; `None` when they do not.
    pub(crate) fn relations_left(
        &self,
        tenant: &TenantId,
        effects: Effects,
        bounds: &Bounds,
        now: Now,
    ) -> Option<Duration> {
        let bound = bounds.bound_for(effects);
        let proven = self.relations.get(tenant).and_then(|known| known.proven);
        let left = proven.and_then(|proven| age_of(proven, now)).and_then(|age| bound.checked_sub(age));
        left.filter(|left| !left.is_zero()).or_else(|| {
            let offline = self.offline.get(tenant).filter(|offline| offline.has_relations)?;
            offline.allows(effects, now).map(|fresh| fresh.left)
        })
    }

    /// The offline authorization that is in use for a tenant: where voters have proven nothing.
    pub(crate) fn offline_in_use(&self, tenant: &TenantId, now: Now) -> Option<&OfflineAuthorization> {
        let offline = self.offline.get(tenant).filter(|_| self.freshness.age(now).is_none())?;
        age_of(offline.taken, now)?;
        offline.authorization.age(now.wall).map(|_| &offline.authorization)
    }

    /// How old what this edge knows of a tenant is; `None` is infinite.
    pub(crate) fn age(&self, tenant: Option<&TenantId>, now: Now) -> Option<Duration> {
        self.freshness.age(now).or_else(|| self.offline_in_use(tenant?, now)?.age(now.wall))
    }

    /// How a tenant's edge stands, for people. Without voters it is never fresh, whatever it may go on with.
    pub(crate) fn mode(&self, tenant: &TenantId, now: Now) -> Mode {
        let Some(active) = self.bundles.get(tenant) else {
            return if self.freshness.quarantined(now).is_some() { Mode::Quarantined } else { Mode::Isolated };
        };
        let bounds = active.bundle.bounds();
        let goes_on = |effect: Effect| self.check_fresh(tenant, effect.into(), bounds, now).is_ok();
        match self.freshness.mode(bounds, now) {
            Mode::Isolated if Effect::ALL.into_iter().any(goes_on) => Mode::Degraded,
            proven => proven,
        }
    }

    /// The brakes that do not hold in the tenant, because its administrators say so in the bundle that is in force here.
    pub(crate) fn lifted(&self, tenant: &TenantId) -> &BTreeSet<Digest> {
        static NONE: BTreeSet<Digest> = BTreeSet::new();
        self.bundles.get(tenant).map_or(&NONE, |active| &active.bundle.manifest().lifts)
    }

    /// The tenant's active bundle, if it is in its time.
    ///
    /// # Errors
    /// [`Untrusted`] says what is missing.
    pub(crate) fn bundle(&self, tenant: &TenantId, now: Timestamp) -> Result<&ActiveBundle, Untrusted> {
        let lost = || self.lost.get(tenant).and_then(|lost| lost.last());
        let none = || lost().map_or(Untrusted::NoBundle, |lost| Untrusted::CrashLoop(lost.number));
        let active = self.bundles.get(tenant).ok_or_else(none)?;
        if now >= active.bundle.manifest().expires {
            return Err(Untrusted::BundleExpired);
        }
        Ok(active)
    }
}

/// A bundle that was verified and compiled, waiting for a tick that names it.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) verified: VerifiedBundle,
    /// Under which its container lies on the disk.
    pub(super) content: Digest,
    pub(super) compiled: Arc<CompiledBundle>,
}
