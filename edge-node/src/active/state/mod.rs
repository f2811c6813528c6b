//! The owner of what is true here: verifies, stores, then shows.

mod bootstrap;
mod bundles;
mod crashes;
mod documents;
mod freshness;
mod refused;
mod relations;
mod revocations;
mod shards;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use remit_common::bundle::HighWater;
use remit_common::crypto::digest::Digest;
use remit_common::id::{CredentialId, EdgeId, MeshId, TenantId};
use remit_common::net::env::Disk;
use remit_common::planted::{Bug, planted};
use remit_common::revocation::{RevocationRefused, Revocations};
use remit_common::shard::VerifiedShard;
use remit_common::time::{Now, Timestamp};
use remit_common::trust::activation::Activation;
use remit_common::trust::directory::{Directory, SignedDirectory};
use remit_common::trust::freshness::{Enforced, Freshness};
use remit_common::trust::root::{Root, SignedRoot};
use remit_common::wire::message::{BeaconOffer, TickRelations};

use super::store::{Index, Store, StoreFailed};
use super::trial::Trials;
use super::view::{ActiveBundle, Ready, View, ViewCell, Views};
use bootstrap::HeldOffline;
pub(crate) use bootstrap::NotBootstrapped;
use bundles::Told;
pub(crate) use documents::Documents;
pub(crate) use refused::{CRASH_LOOP, Refused};
pub(crate) use relations::TakenRelations;

/// Who this edge is and what it was installed with.
#[derive(Debug, Clone)]
pub(crate) struct StateConfig {
    pub(crate) mesh: MeshId,
    pub(crate) edge: EdgeId,
    pub(crate) tenants: BTreeSet<TenantId>,
    /// The first root document, as it was installed.
    pub(crate) root: Vec<u8>,
    pub(crate) data_dir: PathBuf,
}

/// What an accepted thing changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// It was known already.
    Nothing,
    /// It holds from now on.
    Changed,
    /// These activations took effect.
    Activated(Vec<Activation>),
    /// The voter has proven that it is fresh, and unless the disk failed the age was renewed; activations may have
    /// taken effect with it.
    Younger(Vec<Activation>),
    /// The voter is ahead: these epochs have to be fetched first.
    Behind,
}

/// One tenant's moving parts.
#[derive(Debug, Default)]
struct Tenant {
    active: Option<ActiveBundle>,
    ready: BTreeMap<Digest, Ready>,
}

/// Everything, with one owner.
#[derive(Debug)]
pub(crate) struct State {
    config: StateConfig,
    store: Store,
    index: Index,
    trials: Trials,
    root: Arc<Root>,
    directory: Option<Arc<Directory>>,
    tenants: BTreeMap<TenantId, Tenant>,
    /// On the disk.
    revocations: Arc<Revocations>,
    /// The newest that were verified.
    heard: Arc<Revocations>,
    /// Whether what is held without the log is not on the disk yet.
    holds_unstored: bool,
    shards: BTreeMap<(TenantId, CredentialId), Arc<VerifiedShard>>,
    freshness: Freshness,
    told: Told,
    relations: BTreeMap<TenantId, relations::Held>,
    /// What a voter said about the tick whose answer follows.
    told_relations: Option<TickRelations>,
    told_beacon: Option<BeaconOffer>,
    /// What may go on without voters; kept in memory only, a start reads it again.
    offline: BTreeMap<TenantId, HeldOffline>,
    documents: Arc<Documents>,
    store_failure: Option<StoreFailed>,
    cell: ViewCell,
}

impl State {
    /// Reads the last good state, verifies all of it again, and shows it.
    ///
    /// # Errors
    /// [`Refused`] when the configured root or the disk's content is not usable.
    pub(crate) fn load(config: StateConfig, disk: Arc<dyn Disk>, now: Now) -> Result<Self, Refused> {
        let store = Store::open(disk, &config.data_dir)?;
        let mut index = store.index()?;
        // Before anything else is read: whatever is read next may be what ends the process.
        let trials = crashes::count(&store, &index, &config.tenants, now)?;
        store.make_durable(&index)?;
        let first = SignedRoot::parse(&config.root)?;
        let pin = first.digest();
        let mut root = first.verify_pinned(&pin, &config.mesh)?;
        let rooted = index.roots.last().map_or(Timestamp::default(), |stored| stored.accepted);
        for stored in &index.roots {
            root = SignedRoot::parse(&store.content(stored)?)?.verify_next(&root)?;
        }
        let directory = match &index.directory {
            Some(stored) => {
                let as_of = stored.accepted.max(rooted);
                Some(Arc::new(SignedDirectory::parse(&store.content(stored)?)?.verify(&root, as_of)?))
            }
            None => None,
        };
        // Every entry was verified when it came, under the administrators of that day; its content is still what its
        // name says. A cut is not lost because the one who asked for it has left.
        let revocations = match &index.revocations {
            _ if planted(Bug::RevocationsForgottenAtRestart) => Revocations::new(),
            Some(stored) => serde_json::from_slice(&store.content(stored)?)
                .map_err(|_| RevocationRefused::Malformed { rule: "the stored set does not parse" })?,
            None => Revocations::new(),
        };
        for tenant in &config.tenants {
            let entry = index.tenants.entry(tenant.clone()).or_default();
            if planted(Bug::ActivationUncheckedAfterRestart) {
                entry.water = HighWater::default();
            }
        }
        let enforced = Enforced { epoch: revocations.epoch(), digest: revocations.digest() };
        let freshness = Freshness::start(store.proof()?, enforced, now);
        let (root, revocations) = (Arc::new(root), Arc::new(revocations));
        let cell = Arc::new(Views::new(View {
            root: Arc::clone(&root),
            directory: directory.clone(),
            bundles: Arc::default(),
            shadows: Arc::default(),
            lost: Arc::default(),
            revocations: Arc::default(),
            heard: Arc::default(),
            relations: Arc::default(),
            shards: Arc::default(),
            freshness: freshness.view(),
            offline: Arc::default(),
            documents: Arc::default(),
        }));
        let documents = Documents {
            roots: std::iter::once(Ok(config.root.clone()))
                .chain(index.roots.iter().map(|stored| store.content(stored)))
                .collect::<Result<_, _>>()?,
            directory: index.directory.as_ref().map(|stored| store.content(stored)).transpose()?,
        };
        let mut state = Self {
            config,
            store,
            index,
            trials,
            root,
            directory,
            tenants: BTreeMap::new(),
            heard: Arc::clone(&revocations),
            holds_unstored: false,
            revocations,
            shards: BTreeMap::new(),
            freshness,
            told: Told::default(),
            relations: BTreeMap::new(),
            told_relations: None,
            told_beacon: None,
            offline: BTreeMap::new(),
            documents: Arc::new(documents),
            store_failure: None,
            cell,
        };
        state.load_tenants()?;
        let _instead = state.retreat(now);
        state.show();
        Ok(state)
    }

    /// Where readers find the newest view.
    pub(crate) fn cell(&self) -> ViewCell {
        Arc::clone(&self.cell)
    }

    /// The verified root.
    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    /// The verified directory.
    pub(crate) fn directory(&self) -> Option<&Directory> {
        self.directory.as_deref()
    }

    /// Every bundle that need not be sent again, by manifest digest: verified, or on the disk and turned away.
    pub(crate) fn bundles(&self) -> impl Iterator<Item = &Digest> {
        self.tenants.values().flat_map(|tenant| tenant.ready.keys()).chain(self.lost_and_kept())
    }

    /// The version of each shard that is here.
    pub(crate) fn shards(&self) -> impl Iterator<Item = (&TenantId, &CredentialId, u64)> {
        self.shards.iter().map(|((tenant, credential), shard)| (tenant, credential, shard.version()))
    }

    fn commit(&mut self, index: Index) -> Result<(), StoreFailed> {
        self.store.commit(&index)?;
        self.index = index;
        Ok(())
    }

    fn show(&self) {
        let bundles = self
            .tenants
            .iter()
            .filter_map(|(name, tenant)| Some((name.clone(), tenant.active.clone()?)))
            .collect::<BTreeMap<_, _>>();
        self.cell.store(View {
            root: Arc::clone(&self.root),
            directory: self.directory.clone(),
            bundles: Arc::new(bundles),
            shadows: Arc::new(self.shadows()),
            lost: Arc::new(self.lost()),
            revocations: Arc::clone(&self.revocations),
            heard: Arc::clone(&self.heard),
            relations: Arc::new(self.relations.iter().map(|(name, held)| (name.clone(), held.shown())).collect()),
            shards: Arc::new(self.shards.clone()),
            freshness: self.freshness.view(),
            offline: Arc::new(self.shown_offline()),
            documents: Arc::clone(&self.documents),
        });
    }
}
