//! What this voter signs about each tick, and what the others have signed. Clauses K-30 to K-33.
//!
//! When a tick is applied, this voter signs what it has applied with it, once, and sends the signature to every other
//! voter. Answers to edges' nonces go out as soon as a majority has signed the same. A mesh whose directory lists no
//! beacon keys answers at once, with nobody's signature.

mod gathered;
mod signer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use remit_common::crypto::digest::Digest;
use remit_common::crypto::sign::{Signature, SigningKey};
use remit_common::id::{LogIndex, TenantId, VoterId};
use remit_common::net::env::deadline;
use remit_common::net::tasks::{Shutdown, TaskGroup};
use remit_common::planted::{Bug, planted};
use remit_common::relation_log::{Head, RelationHeads};
use remit_common::revocation::Revocations;
use remit_common::sync::published::PublishedBeacon;
use remit_common::trust::beacon::{SignedStatement, Statement, majority_of};

use self::gathered::Gathered;
use self::signer::Signer;
use crate::cluster::{Cluster, PeerReply, PeerRequest};
use crate::nonces::NonceDesk;
use crate::registry::{State, TickFact, Trust};

/// How long a voter that starts asks what it has signed, and how soon again.
const ASK_WITHIN: Duration = Duration::from_secs(3);
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// How long questions under way have to end at shutdown.
const END_WITHIN: Duration = Duration::from_secs(1);

/// Signs ticks, and gathers what others sign.
pub(crate) struct Beacons {
    cluster: Cluster,
    nonces: Arc<NonceDesk>,
    signer: tokio::sync::Mutex<Signer>,
    gathered: Mutex<Gathered>,
}

impl Beacons {
    /// `keys` are those that the directory may list for this voter: the one that counts now, and the one that is to
    /// follow it. What was signed last is read from `folder`.
    ///
    /// # Errors
    /// What the disk says, or that the file is damaged.
    pub(crate) fn open(
        cluster: Cluster,
        nonces: Arc<NonceDesk>,
        keys: Vec<SigningKey>,
        folder: &std::path::Path,
    ) -> std::io::Result<Arc<Self>> {
        let signer = Signer::open(keys, cluster.env.disk.clone(), folder)?;
        let signer = tokio::sync::Mutex::new(signer);
        Ok(Arc::new(Self { cluster, nonces, signer, gathered: Mutex::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, Gathered> {
        // A panic in between loses signatures of a tick at worst; the next tick brings new ones.
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Signs and answers every applied tick, in their order; runs until shutdown.
    pub(crate) async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let mut views = self.cluster.views();
        let mut sending = TaskGroup::new(&self.cluster.env);
        let mut seen = LogIndex(0);
        tokio::select! {
            biased;
            () = shutdown.requested() => return,
            () = self.ask_first() => {}
        }
        loop {
            tokio::select! {
                biased;
                () = shutdown.requested() => break,
                Some(_) = sending.next_finished(), if !sending.is_empty() => continue,
                changed = views.changed() => if changed.is_err() { break },
            }
            let view = views.borrow_and_update().clone();
            let is_due = |fact: &&TickFact| fact.n > seen || planted(Bug::TwoAnswersForOneTick);
            if let Some(fact) = view.state.tick().filter(is_due) {
                seen = fact.n;
                self.on_tick(&view.state, fact, &mut sending).await;
            }
        }
        sending.join_all(END_WITHIN).await;
    }

    async fn on_tick(self: &Arc<Self>, state: &State, fact: &TickFact, sending: &mut TaskGroup) {
        let Ok(trust) = state.trust() else { return };
        let relations = state.tick_relations();
        self.nonces.applied(fact, relations);
        if !trust.directory.has_beacon_keys() {
            self.nonces.release(fact.n, None);
            return;
        }
        // The documents have changed since the tick: the next one is signed.
        if (trust.root.version(), trust.directory.version()) != (fact.root, fact.directory) {
            return;
        }
        let (mut statement, heads) = state_of(fact, &trust, relations);
        if planted(Bug::TwoAnswersForOneTick) {
            let newest = state.revocations();
            (statement.epoch, statement.revocations) = (newest.epoch(), newest.digest());
        }
        self.lock().begin(statement.clone(), heads, &trust, state.revocations());
        self.release();
        let Some(signature) = self.sign(&statement, &trust).await else { return };
        self.lock().add(&trust, self.cluster.id, statement.n, signature);
        self.release();
        for to in self.cluster.others() {
            let (beacons, n) = (Arc::clone(self), statement.n);
            sending.spawn("co-signature", async move { beacons.send(to, n, signature).await });
        }
    }

    async fn sign(&self, statement: &Statement, trust: &Trust) -> Option<Signature> {
        let mut signer = self.signer.lock().await;
        let listed = trust.directory.voter(self.cluster.id).and_then(|voter| voter.beacon);
        let signed = signer.sign(&self.cluster.env, &trust.root.content().mesh_id, statement, listed.as_ref()).await;
        match signed {
            Ok(signature) => {
                self.cluster.metrics.ticks_signed.inc();
                Some(signature)
            }
            Err(unsigned) => {
                let reason = unsigned.reason();
                self.cluster.metrics.ticks_unsigned.get_or_create(&[("reason", reason)]).inc();
                tracing::debug!(tick = %statement.n, reason, error = %unsigned, "a tick is not signed");
                None
            }
        }
    }

    async fn send(&self, to: VoterId, n: LogIndex, signature: Signature) {
        match self.cluster.ask(to, &PeerRequest::CoSign { n, signature }).await {
            Ok(PeerReply::CoSigned { newest: Some((statement, theirs)) }) if statement.n > n => {
                // Nobody else could have signed it: this log is older than what this voter once said of it (K-32).
                self.remember(to, &statement, &theirs).await;
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%to, %error, "a signature under a tick does not arrive"),
        }
    }

    /// Before it signs anything, a voter that starts hears what the others have under its signature: its disk may be a copy
    /// of long ago. With enough of them one was in whatever majority saw its last word. Those that do not answer are not
    /// waited for: what they know comes with the answer to the first signature.
    async fn ask_first(&self) {
        let voters = self.cluster.voters().len();
        let enough = voters.saturating_sub(majority_of(voters)).saturating_add(1);
        let asking = async {
            let mut heard = BTreeSet::new();
            while heard.len() < enough.min(voters.saturating_sub(1)) {
                let mut answers = self.cluster.ask_each(&PeerRequest::Signed);
                while let Some((from, answer)) = answers.next().await {
                    if let Ok(PeerReply::CoSigned { newest }) = answer {
                        heard.insert(from);
                        if let Some((statement, theirs)) = newest {
                            self.remember(from, &statement, &theirs).await;
                        }
                    }
                }
                tokio::time::sleep(ASK_AGAIN).await;
            }
        };
        // Nobody there is nobody to contradict, yet.
        let _ = deadline(ASK_WITHIN, asking).await;
    }

    async fn remember(&self, from: VoterId, statement: &Statement, signature: &Signature) {
        let view = self.cluster.view();
        let (env, mesh) = (&self.cluster.env, view.state.genesis().mesh);
        if self.signer.lock().await.remember(env, &mesh, statement, signature).await {
            tracing::error!(
                %from, signed = %statement.n, applied = %view.state.applied(),
                "this voter has signed a later tick than its disk says: its data was restored from an older copy; it signs \
                 nothing until its log is past that",
            );
        }
    }

    /// What is kept under a voter's signature.
    pub(crate) fn newest_of(&self, voter: VoterId) -> PeerReply {
        PeerReply::CoSigned { newest: self.lock().newest_of(voter) }
    }

    /// Another voter has signed a tick. The answer is the newest statement that is kept under *its* signature.
    pub(crate) fn receive(&self, from: VoterId, n: LogIndex, signature: Signature) -> PeerReply {
        let trust = self.cluster.view().state.trust().ok();
        let newest = {
            let mut gathered = self.lock();
            let newest = gathered.newest_of(from);
            if let Some(trust) = trust {
                gathered.add(&trust, from, n, signature);
            }
            newest
        };
        self.release();
        PeerReply::CoSigned { newest }
    }

    /// The newest tick that this voter has signed, and the digest of what it has said of it.
    pub(crate) fn own(&self) -> Option<(LogIndex, Digest)> {
        let (statement, _) = self.lock().newest_of(self.cluster.id)?;
        Some((statement.n, statement.digest(&self.cluster.view().state.genesis().mesh)))
    }

    /// The newest ticks and who has signed them, oldest first.
    pub(crate) fn signed(&self) -> Vec<SignedStatement> {
        self.lock().signed()
    }

    /// The newest tick that a majority has signed, and what it names, if that is still here.
    pub(crate) fn newest_signed(&self) -> Option<NewestSigned> {
        self.lock().newest_signed()
    }

    /// The revocations of the newest tick that a majority has signed.
    pub(crate) fn signed_set(&self) -> Option<Arc<Revocations>> {
        self.lock().signed_set()
    }

    /// Hands out what a majority has signed.
    fn release(&self) {
        let complete = self.lock().take_complete();
        if let Some((n, beacon)) = complete {
            self.nonces.release(n, Some(beacon));
        }
    }
}

/// What is to be signed about a tick; the documents are those that it names.
fn state_of(fact: &TickFact, trust: &Trust, relations: &BTreeMap<TenantId, Head>) -> (Statement, RelationHeads) {
    let heads = RelationHeads::new(&trust.root, relations);
    let statement = Statement {
        n: fact.n,
        nonce_root: fact.roots.nonce_root(),
        epoch: fact.epoch,
        revocations: fact.revocations,
        activations: fact.activations,
        relations: heads.root(),
        directory: fact.directory,
        root: fact.root,
    };
    (statement, heads)
}

/// A tick that a majority has signed, with what it names by digest.
pub(crate) struct NewestSigned {
    pub(crate) signed: SignedStatement,
    pub(crate) relations: RelationHeads,
    pub(crate) revocations: Arc<Revocations>,
}

/// A tick that a majority has signed.
type Complete = (LogIndex, PublishedBeacon);
