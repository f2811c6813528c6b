//! The channels that agents have opened to this process, and nowhere else: they end with it.
//!
//! Bounded three ways: channels of one envelope, of one source, and in all. A fifth channel of an envelope replaces its
//! oldest, because whoever asks has shown the envelope's key and may have lost the others; a source, or an edge, that
//! is full has to wait. Clause X-10.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use remit_common::bundle::CompiledBundle;
use remit_common::crypto::digest::Digest;
use remit_common::envelope::Effective;
use remit_common::id::{LinkId, RevocationEpoch};
use remit_common::identity::{AgentSvid, NotThisAgent};
use remit_common::limits::PROOF_CLOCKS_APART_MAX;
use remit_common::proof::{Acceptor, ChannelId, Exchange, Grade, Proof, ProofRefused};
use remit_common::time::{BootTime, Timestamp};

use crate::chains::Presented;

/// Channels of one envelope: a few processes may share it.
const LEAF_MAX: usize = 4;
/// Channels of one source: a machine with many agents behind one address.
const SOURCE_MAX: usize = 1_024;
/// Channels in all. Each holds a presentation: some kilobytes, 32 at most.
const CHANNELS_MAX: usize = 4_096;
/// Requests that are remembered, so that none opens a second channel.
const REQUESTS_MAX: usize = 16_384;
/// A request is too old to be taken by then, whichever clock is ahead.
const REQUEST_KEPT: Duration = Duration::from_secs(2 * PROOF_CLOCKS_APART_MAX.as_secs() + 1);

/// Where a request comes from, as far as quotas go: an IPv4 address, or the /64 that an IPv6 site is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Source(u64);

impl From<IpAddr> for Source {
    fn from(addr: IpAddr) -> Self {
        match addr.to_canonical() {
            IpAddr::V4(addr) => Self(u64::from(addr.to_bits())),
            // Never an IPv4 address as a number: those are below 2^32, and ::/32 is reserved.
            IpAddr::V6(addr) => Self(u64::try_from(addr.to_bits() >> 64).unwrap_or(u64::MAX)),
        }
    }
}

/// One open channel.
#[derive(Debug)]
pub(crate) struct Channel {
    id: ChannelId,
    leaf: LinkId,
    ends: BootTime,
    source: Source,
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
        Self {
            id,
            leaf,
            ends,
            source,
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
#[derive(Debug, Default)]
pub(crate) struct Channels(Mutex<Table>);

// INVARIANT: `leaves` and `sources` count exactly what is in `open`, `nonces` is what is in `requests`.
#[derive(Debug, Default)]
struct Table {
    open: BTreeMap<ChannelId, Arc<Channel>>,
    /// Oldest first.
    leaves: BTreeMap<LinkId, VecDeque<ChannelId>>,
    sources: BTreeMap<Source, usize>,
    /// Nonces of requests that were answered, oldest first.
    requests: VecDeque<(BootTime, [u8; 16])>,
    nonces: BTreeSet<[u8; 16]>,
    /// The revocations that the open channels were last compared with.
    compared: RevocationEpoch,
}

impl Channels {
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
        table.check(&nonce, channel.source)?;
        let oldest = table.leaves.get(&channel.leaf).filter(|ids| ids.len() >= LEAF_MAX).and_then(VecDeque::front);
        if let Some(oldest) = oldest.copied() {
            table.remove(&oldest);
        }
        table.requests.push_back((now, nonce));
        table.nonces.insert(nonce);
        *table.sources.entry(channel.source).or_default() += 1;
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
        let of_source = self.sources.get(&source).copied().unwrap_or_default();
        if self.open.len() >= CHANNELS_MAX || of_source >= SOURCE_MAX || self.requests.len() >= REQUESTS_MAX {
            return Err(ProofRefused::Busy);
        }
        Ok(())
    }

    /// Requests that are too old to come again need not be remembered.
    fn forget(&mut self, now: BootTime) {
        while let Some((_, nonce)) = self.requests.pop_front_if(|(came, _)| now.since(*came) > REQUEST_KEPT) {
            self.nonces.remove(&nonce);
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
        if let Some(count) = self.sources.get_mut(&channel.source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.sources.remove(&channel.source);
            }
        }
    }
}
