//! The channels that agents have opened to this process, and nowhere else: they end with it.
//!
//! Bounded by envelope, root, source and tenant, and in all. A fifth channel of an envelope replaces its oldest, because
//! whoever asks has shown the envelope's key and may have lost the others; everybody else who has used up the room that
//! is theirs has to wait. Only what a holder has signed for takes room. Clauses X-10 and E-39.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use remit_common::bundle::CompiledBundle;
use remit_common::crypto::digest::Digest;
use remit_common::envelope::Effective;
use remit_common::id::{LinkId, RevocationEpoch, TenantId};
use remit_common::identity::{AgentSvid, NotThisAgent};
use remit_common::limits::PROOF_CLOCKS_APART_MAX;
use remit_common::net::source::Source;
use remit_common::proof::{Acceptor, ChannelId, Exchange, Full, Grade, Proof, ProofRefused};
use remit_common::time::{BootTime, Timestamp};

use crate::chains::Presented;
use crate::room::Room;

/// Channels of one envelope: a few processes may share it.
const LEAF_MAX: usize = 4;
/// Channels in all. Each holds a presentation: some kilobytes, 32 at most.
const CHANNELS_MAX: usize = 4_096;
/// Requests that are remembered, so that none opens a second channel.
const REQUESTS_MAX: usize = 16_384;
/// One source, a machine with many agents behind one address, may take a quarter of either; so may what is below one
/// root, a swarm of them.
const PART_OF_ONE: usize = 4;
/// A request is too old to be taken by then, whichever clock is ahead.
const REQUEST_KEPT: Duration = Duration::from_secs(2 * PROOF_CLOCKS_APART_MAX.as_secs() + 1);

/// On whose account a channel is, and the request for it.
#[derive(Debug)]
struct Opener {
    tenant: TenantId,
    root: LinkId,
    source: Source,
}

/// One open channel.
#[derive(Debug)]
pub(crate) struct Channel {
    id: ChannelId,
    leaf: LinkId,
    ends: BootTime,
    opener: Arc<Opener>,
    acceptor: Mutex<Acceptor>,
    /// What was shown when it was opened; stands behind the reference form.
    presented: Arc<Presented>,
    effective: Arc<Effective>,
    /// Who its holder has shown to be.
    identity: Option<Identity>,
    /// Whether a sweep has compared it with the revocations: it may have been opened under older ones.
    compared: AtomicBool,
}

impl Channel {
    pub(crate) fn new(
        acceptor: Acceptor,
        source: Source,
        presented: Arc<Presented>,
        effective: Arc<Effective>,
        svid: Option<AgentSvid>,
    ) -> Self {
        let (id, leaf, ends) = (acceptor.id(), acceptor.leaf(), acceptor.ends());
        // INVARIANT: a chain has a root.
        let root = effective.chain().first().map_or(leaf, |root| root.id);
        let opener = Arc::new(Opener { tenant: effective.tenant.clone(), root, source });
        Self {
            id,
            leaf,
            ends,
            opener,
            acceptor: Mutex::new(acceptor),
            presented,
            effective,
            identity: svid.map(Identity::new),
            compared: AtomicBool::new(false),
        }
    }

    /// The last link of its envelope.
    pub(crate) fn leaf(&self) -> LinkId {
        self.leaf
    }

    /// Its envelope, as this bundle lets its holder use it: acting as the agent that the last link names, if that agent
    /// has shown that it is the one.
    pub(crate) fn acting(&self, effective: Arc<Effective>, bundle: &CompiledBundle, now: Timestamp) -> Arc<Effective> {
        match &self.identity {
            Some(identity) => identity.acting(effective, bundle, now),
            None => effective,
        }
    }

    /// What was shown when it was opened.
    pub(crate) fn presented(&self) -> &Arc<Presented> {
        &self.presented
    }

    /// Its envelope, as it was verified then: says whose it is, and nothing of whether it still stands.
    pub(crate) fn effective(&self) -> &Arc<Effective> {
        &self.effective
    }

    /// Checks a proof of this request and takes its counter.
    ///
    /// # Errors
    /// [`ProofRefused`].
    pub(crate) fn accept(&self, proof: &Proof, exchange: &Exchange<'_>, now: BootTime) -> Result<Grade, ProofRefused> {
        // A panic while it was held has taken at most the counter with it.
        self.acceptor.lock().unwrap_or_else(PoisonError::into_inner).accept(proof, exchange, now)
    }
}

/// Who the holder of a channel has shown to be, and what the newest bundle made of it.
#[derive(Debug)]
struct Identity {
    svid: AgentSvid,
    judged: Mutex<Option<Judged>>,
}

#[derive(Debug)]
struct Judged {
    bundle: Digest,
    /// Of which chain; verified anew, it is another one.
    of: Arc<Effective>,
    /// That chain, acting as its last agent; `None` where the bundle does not take the identity.
    acting: Option<Arc<Effective>>,
}

impl Identity {
    fn new(svid: AgentSvid) -> Self {
        Self { svid, judged: Mutex::default() }
    }

    fn acting(&self, effective: Arc<Effective>, bundle: &CompiledBundle, now: Timestamp) -> Arc<Effective> {
        if self.svid.check_time(now).is_err() {
            return effective;
        }
        // A panic while it was held has judged in vain.
        let mut judged = self.judged.lock().unwrap_or_else(PoisonError::into_inner);
        let newest =
            judged.take().filter(|judged| judged.bundle == *bundle.digest() && Arc::ptr_eq(&judged.of, &effective));
        let newest = newest.unwrap_or_else(|| {
            let proven = check_identity(&self.svid, &effective, bundle);
            let acting = proven.is_ok().then(|| Arc::new(effective.acting_as_leaf()));
            Judged { bundle: *bundle.digest(), of: Arc::clone(&effective), acting }
        });
        let acting = newest.acting.clone();
        *judged = Some(newest);
        acting.unwrap_or(effective)
    }
}

/// Whether an identity makes true what the last link says of its holder, by this bundle.
///
/// # Errors
/// [`NotThisAgent`]; says nothing of time.
pub(crate) fn check_identity(
    svid: &AgentSvid,
    effective: &Effective,
    bundle: &CompiledBundle,
) -> Result<(), NotThisAgent> {
    let (Some(holder), Some(claimed)) = (effective.holder_key(), effective.chain_agents.last()) else {
        return Err(NotThisAgent::OtherAgent);
    };
    bundle.policy().trust_domains().check(svid, holder, claimed)
}

/// Every open channel.
#[derive(Debug)]
pub(crate) struct Channels(Mutex<Table>);

// INVARIANT: `leaves` and `open_room` count exactly what is in `open`, `nonces` and `requests_room` what is in
// `requests`.
#[derive(Debug)]
struct Table {
    open: BTreeMap<ChannelId, Arc<Channel>>,
    open_room: Accounts,
    /// Oldest first.
    leaves: BTreeMap<LinkId, VecDeque<ChannelId>>,
    /// Requests that were answered, oldest first.
    requests: VecDeque<Request>,
    requests_room: Accounts,
    nonces: BTreeSet<[u8; 16]>,
    /// The revocations that the open channels were last compared with.
    compared: RevocationEpoch,
}

#[derive(Debug)]
struct Request {
    came: BootTime,
    nonce: [u8; 16],
    opener: Arc<Opener>,
}

impl Channels {
    /// None yet, at an edge of so many tenants.
    pub(crate) fn new(tenants: usize) -> Self {
        Self::with_room(CHANNELS_MAX, REQUESTS_MAX, tenants)
    }

    fn with_room(open: usize, requests: usize, tenants: usize) -> Self {
        Self(Mutex::new(Table {
            open: BTreeMap::new(),
            open_room: Accounts::new(open, tenants),
            leaves: BTreeMap::new(),
            requests: VecDeque::new(),
            requests_room: Accounts::new(requests, tenants),
            nonces: BTreeSet::new(),
            compared: RevocationEpoch::default(),
        }))
    }

    /// Whether a request with this nonce may open a channel: asked before anything is spent on it.
    ///
    /// # Errors
    /// [`ProofRefused::Replayed`] or [`ProofRefused::Busy`].
    pub(crate) fn check(&self, nonce: &[u8; 16], source: Source, now: BootTime) -> Result<(), ProofRefused> {
        let mut table = self.lock();
        table.forget(now);
        table.check(nonce, source)
    }

    /// Keeps an open channel.
    ///
    /// # Errors
    /// As [`Self::check`]: others may have come first.
    pub(crate) fn insert(&self, channel: Channel, nonce: [u8; 16], now: BootTime) -> Result<(), ProofRefused> {
        let mut table = self.lock();
        table.forget(now);
        table.check(&nonce, channel.opener.source)?;
        table.requests_room.check(&channel.opener)?;
        let oldest = table.leaves.get(&channel.leaf).filter(|ids| ids.len() >= LEAF_MAX).and_then(VecDeque::front);
        match oldest.copied() {
            // Of the same root and tenant: it makes room for this one.
            Some(oldest) => table.remove(&oldest),
            None => table.open_room.check(&channel.opener)?,
        }
        table.open_room.take(&channel.opener);
        table.requests_room.take(&channel.opener);
        table.requests.push_back(Request { came: now, nonce, opener: Arc::clone(&channel.opener) });
        table.nonces.insert(nonce);
        table.leaves.entry(channel.leaf).or_default().push_back(channel.id);
        table.open.insert(channel.id, Arc::new(channel));
        Ok(())
    }

    /// An open channel.
    pub(crate) fn get(&self, id: &ChannelId, now: BootTime) -> Option<Arc<Channel>> {
        self.lock().open.get(id).filter(|channel| now < channel.ends).cloned()
    }

    /// Lets go what has ended and, when there are other revocations than last time, whatever they cut.
    pub(crate) fn sweep(&self, now: BootTime, epoch: RevocationEpoch, is_cut: impl Fn(&Effective) -> bool) {
        let (open, compare) = {
            let mut table = self.lock();
            table.forget(now);
            let compare = table.compared != epoch;
            table.compared = epoch;
            (table.open.values().cloned().collect::<Vec<_>>(), compare)
        };
        // Looked through without the lock: calls need it meanwhile, and ask for cuts by themselves.
        let is_gone = |channel: &Channel| {
            let compared = channel.compared.swap(true, Ordering::Relaxed);
            now >= channel.ends || (compare || !compared) && is_cut(&channel.effective)
        };
        let gone: Vec<ChannelId> = open.iter().filter(|channel| is_gone(channel)).map(|channel| channel.id).collect();
        let mut table = self.lock();
        for id in gone {
            table.remove(&id);
        }
    }

    /// Channels that are open.
    pub(crate) fn len(&self) -> usize {
        self.lock().open.len()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // A panic while it was held loses at most a channel, and its holder opens another.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn check(&self, nonce: &[u8; 16], source: Source) -> Result<(), ProofRefused> {
        if self.nonces.contains(nonce) {
            return Err(ProofRefused::Replayed);
        }
        self.open_room.check_source(source).and_then(|()| self.requests_room.check_source(source))?;
        Ok(())
    }

    /// Requests that are too old to come again need not be remembered.
    fn forget(&mut self, now: BootTime) {
        while let Some(request) = self.requests.pop_front_if(|request| now.since(request.came) > REQUEST_KEPT) {
            self.nonces.remove(&request.nonce);
            self.requests_room.give_back(&request.opener);
        }
    }

    fn remove(&mut self, id: &ChannelId) {
        let Some(channel) = self.open.remove(id) else { return };
        if let Some(ids) = self.leaves.get_mut(&channel.leaf) {
            ids.retain(|other| other != id);
            if ids.is_empty() {
                self.leaves.remove(&channel.leaf);
            }
        }
        self.open_room.give_back(&channel.opener);
    }
}

/// Who has how much of one thing that there is so much of.
#[derive(Debug)]
struct Accounts {
    /// As much as one source, or one root, may have.
    one_max: usize,
    tenants: Room,
    sources: BTreeMap<Source, usize>,
    roots: BTreeMap<LinkId, usize>,
}

impl Accounts {
    fn new(all: usize, tenants: usize) -> Self {
        let one_max = all / PART_OF_ONE;
        Self { one_max, tenants: Room::new(all, tenants), sources: BTreeMap::new(), roots: BTreeMap::new() }
    }

    /// What can be known before the envelope stands.
    fn check_source(&self, source: Source) -> Result<(), Full> {
        if self.sources.get(&source).is_some_and(|taken| *taken >= self.one_max) {
            return Err(Full::Source);
        }
        if self.tenants.is_full() { Err(Full::Edge) } else { Ok(()) }
    }

    fn check(&self, opener: &Opener) -> Result<(), Full> {
        self.check_source(opener.source)?;
        if self.roots.get(&opener.root).is_some_and(|taken| *taken >= self.one_max) {
            return Err(Full::Root);
        }
        self.tenants.check(&opener.tenant).map_err(|_| Full::Tenant)
    }

    /// After [`Self::check`].
    fn take(&mut self, opener: &Opener) {
        // INVARIANT: asked before, under the same lock.
        let _ = self.tenants.take(&opener.tenant);
        *self.sources.entry(opener.source).or_default() += 1;
        *self.roots.entry(opener.root).or_default() += 1;
    }

    fn give_back(&mut self, opener: &Opener) {
        self.tenants.give_back(&opener.tenant);
        one_less(&mut self.sources, &opener.source);
        one_less(&mut self.roots, &opener.root);
    }
}

/// Counts one less, and forgets what is none.
fn one_less<K: Ord>(counts: &mut BTreeMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests;
