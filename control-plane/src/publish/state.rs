//! The applied state in the form that publishers take: rebuilt when something in it changes that edges see.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use remit_common::bundle::SignedBundle;
use remit_common::crypto::digest::Digest;
use remit_common::net::tasks::Shutdown;
use remit_common::revocation::Revocations;
use remit_common::sync::published::{
    PublishedBundle, PublishedObject, PublishedRevocations, PublishedShard, PublishedState,
};
use remit_common::trust::activation::{RING_STAGED, Staged};
use tokio::sync::watch;

use crate::machine::Views;
use crate::registry::{State, Trust};

/// Sets of earlier epochs that are kept, so that an edge a little behind gets the difference.
const EARLIER_MAX: usize = 16;

/// What was built last, and what it was built from.
struct Builder {
    from: State,
    bundles: BTreeMap<Digest, Arc<PublishedBundle>>,
    trust: Option<(Arc<Trust>, Vec<PublishedObject>, PublishedObject)>,
    revocations: Arc<PublishedRevocations>,
    earlier: VecDeque<Arc<PublishedRevocations>>,
}

/// Keeps the published state up to date until shutdown. The receiver has the newest one from the start.
pub(crate) fn keep_published(
    mut views: Views,
    shutdown: Shutdown,
) -> (watch::Receiver<Arc<PublishedState>>, impl Future<Output = ()> + Send + 'static) {
    let mut builder = Builder::new(views.borrow_and_update().state.clone());
    let (sender, receiver) = watch::channel(Arc::new(builder.build()));
    let keep = async move {
        loop {
            tokio::select! {
                biased;
                () = shutdown.requested() => return,
                changed = views.changed() => if changed.is_err() { return },
            }
            let state = views.borrow_and_update().state.clone();
            if builder.take(state) {
                sender.send_replace(Arc::new(builder.build()));
            }
        }
    };
    (receiver, keep)
}

impl Builder {
    fn new(state: State) -> Self {
        let mut builder = Self {
            bundles: BTreeMap::new(),
            trust: None,
            revocations: PublishedRevocations::new(Revocations::clone(state.revocations())),
            earlier: VecDeque::new(),
            from: state,
        };
        builder.read_trust();
        builder.read_bundles();
        builder
    }

    /// Takes the next state, and says whether edges would see a difference.
    fn take(&mut self, state: State) -> bool {
        let before = std::mem::replace(&mut self.from, state);
        let same_trust = match (before.trust(), self.from.trust()) {
            (Ok(before), Ok(now)) => Arc::ptr_eq(&before, &now),
            (Err(_), Err(_)) => true,
            _ => false,
        };
        let same_activations = Arc::ptr_eq(before.activations(), self.from.activations());
        let same_relations = Arc::ptr_eq(before.relations(), self.from.relations());
        let same_credentials = Arc::ptr_eq(before.credentials(), self.from.credentials());
        let same_revocations = Arc::ptr_eq(before.revocations(), self.from.revocations());
        if !same_trust {
            self.read_trust();
        }
        if !same_activations {
            self.read_bundles();
        }
        if !same_revocations {
            self.read_revocations();
        }
        !(same_trust && same_activations && same_credentials && same_revocations && same_relations)
    }

    fn read_trust(&mut self) {
        self.trust = self.from.trust().ok().map(|trust| {
            let roots = trust.root_chain().map(PublishedObject::new).collect();
            let directory = PublishedObject::new(trust.signed_directory());
            (trust, roots, directory)
        });
    }

    fn read_bundles(&mut self) {
        let mut bundles = BTreeMap::new();
        for activation in self.from.activations().values() {
            let name = (activation.tenant.clone(), activation.manifest);
            let known = self.bundles.get(&activation.manifest).cloned();
            let bundle = known.or_else(|| {
                let stored = self.from.bundles().get(&name)?;
                // INVARIANT: it was taken apart when it was published, and nothing changes a stored container.
                SignedBundle::parse(&stored.container).ok().map(|signed| Arc::new(PublishedBundle::new(&signed)))
            });
            bundles.extend(bundle.map(|bundle| (activation.manifest, bundle)));
        }
        self.bundles = bundles;
    }

    fn read_revocations(&mut self) {
        let next = PublishedRevocations::new(Revocations::clone(self.from.revocations()));
        let last = std::mem::replace(&mut self.revocations, next);
        if self.revocations.set().epoch() > last.set().epoch() {
            self.earlier.push_front(last);
            self.earlier.truncate(EARLIER_MAX);
        } else {
            // A snapshot has replaced the state: what was before does not lead here.
            self.earlier.clear();
        }
    }

    fn build(&self) -> PublishedState {
        let mut published = PublishedState::new(self.revocations.clone(), self.earlier.iter().cloned().collect());
        if let Some((trust, roots, directory)) = &self.trust {
            for (version, root) in (1u64..).zip(roots) {
                published.add_root(version, root);
            }
            published.set_directory(trust.directory.version(), directory);
        }
        let scopes = self.from.scopes();
        for activation in self.from.activations().values() {
            let Some(bundle) = self.bundles.get(&activation.manifest) else { continue };
            match scopes.get(&activation.tenant) {
                Some(scope) if activation.ring == RING_STAGED => {
                    published.stage(Staged { activation: activation.clone(), scope: scope.clone() }, bundle);
                }
                _ => published.activate(activation.clone(), bundle),
            }
        }
        for log in self.from.relations().values() {
            published.set_relations(log);
        }
        for ((tenant, name), credential) in self.from.credentials().iter() {
            for (edge, shard) in &credential.shards {
                let shard = PublishedShard { version: credential.version, bytes: shard.clone() };
                published.set_shard(edge.clone(), tenant.clone(), name.clone(), shard);
            }
        }
        published
    }
}
