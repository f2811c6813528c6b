//! Records of what was decided: on the disk before what must be, at the voters after that.
//!
//! Two classes of durability, by what a call does (decided by [`crate::pep::durability`]): a record of a read follows
//! within 50 ms, a record of anything beyond is on the disk before the upstream hears of the call. [`Receipt`] is the
//! proof, and the enforcement point asks for it. Nothing here ever makes a decision wait for a voter.

mod chain;
mod feed;
mod segment;
mod spool;
mod writer;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use remit_common::id::{DecisionId, VoterId};
use remit_common::net::env::Env;
use remit_common::net::tasks::{Shutdown, TaskGroup};
use remit_common::time::BootTime;
use tokio::sync::{mpsc, oneshot, watch};

pub(crate) use chain::{Author, Draft};
pub(crate) use feed::{Batch, Cursor, Feed, Majority};
pub use spool::SpoolUnusable;
pub(crate) use writer::{DiskHealth, NotOnDisk, SpoolStatus};

use crate::active::ViewCell;
use crate::telemetry::Metrics;
use chain::Chain;
use spool::Spool;
use writer::{Order, Writer};

/// Records on their way to the writer. A commit takes 256 of them and some milliseconds: this is a burst of a second.
const ORDERS_MAX: usize = 4_096;
/// Refusals of callers without a valid envelope that are recorded one by one, per second; those beyond are counted.
/// Anybody who reaches the listener can cause them, and must not fill the disk.
const REFUSALS_PER_SEC: u64 = 50;
/// Such refusals that may come at once.
const REFUSALS_BURST: u64 = 200;
/// Registrations of hops that are registered already, which are recorded one by one, per second; those beyond are
/// counted. Whoever registered a hop can ask for its answer as often as it likes.
const REPEATS_PER_SEC: u64 = 10;
/// Such registrations that may come at once.
const REPEATS_BURST: u64 = 50;

/// How durable a record is to be before anything else happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Durability {
    /// Within 50 ms.
    Soon,
    /// First.
    First,
}

/// What may be shed, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// Records of permitted reads, and of what was registered before: counted instead of kept when the spool fills up.
    Read,
    /// Denials: counted when it is full.
    Refusal,
    /// What belongs to calls beyond read.
    Beyond,
}

/// Proof that a decision has been recorded. Only [`Reporter`] makes one.
#[derive(Debug)]
pub(crate) struct Receipt {
    decision: DecisionId,
    durability: Durability,
}

impl Receipt {
    pub(crate) fn decision(&self) -> DecisionId {
        self.decision
    }

    pub(crate) fn durability(&self) -> Durability {
        self.durability
    }
}

/// What was counted instead of recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Shed {
    reads: u64,
    refusals: u64,
    others: u64,
}

#[derive(Debug, Default)]
struct ShedCounters {
    reads: AtomicU64,
    refusals: AtomicU64,
    others: AtomicU64,
}

impl ShedCounters {
    fn count(&self, weight: Weight) {
        match weight {
            Weight::Read => &self.reads,
            Weight::Refusal => &self.refusals,
            Weight::Beyond => &self.others,
        }
        .fetch_add(1, Ordering::Relaxed);
    }

    /// Whether something has been counted that does not stand in the chain yet.
    fn any(&self) -> bool {
        [&self.reads, &self.refusals, &self.others].into_iter().any(|count| count.load(Ordering::Relaxed) > 0)
    }

    fn take(&self) -> Shed {
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        Shed { reads: take(&self.reads), refusals: take(&self.refusals), others: take(&self.others) }
    }
}

/// Where records are kept, whose they are, and who is to have them.
#[derive(Debug)]
pub(crate) struct SpoolConfig {
    pub(crate) folder: PathBuf,
    pub(crate) quota: u64,
    pub(crate) author: Author,
    /// The voters of the mesh, as far as they are known.
    pub(crate) voters: BTreeSet<VoterId>,
}

/// How many records of a kind may still be made one by one: a bucket that fills with time.
#[derive(Debug)]
struct Allowance {
    per_sec: u64,
    burst: u64,
    /// What is left, and since when it fills.
    state: Mutex<(u64, BootTime)>,
}

impl Allowance {
    fn new(per_sec: u64, burst: u64, now: BootTime) -> Self {
        Self { per_sec, burst, state: Mutex::new((burst, now)) }
    }

    /// Whether one more may be made now.
    fn take(&self, now: BootTime) -> bool {
        // A panic while it was held has lost one at most.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (left, at) = &mut *state;
        let passed = u64::try_from(now.since(*at).as_millis()).unwrap_or(u64::MAX);
        let gained = passed.saturating_mul(self.per_sec) / 1_000;
        if gained > 0 {
            *left = left.saturating_add(gained).min(self.burst);
            *at = now;
        }
        let rest = left.checked_sub(1);
        *left = rest.unwrap_or_default();
        rest.is_some()
    }
}

/// Where the road hands in its records. Cloning gives the same one.
#[derive(Debug, Clone)]
pub(crate) struct Reporter {
    env: Env,
    orders: mpsc::Sender<Order>,
    shed: Arc<ShedCounters>,
    refusals: Arc<Allowance>,
    repeats: Arc<Allowance>,
    feed: Arc<Feed>,
    status: watch::Receiver<SpoolStatus>,
    /// Handed in and not on the disk yet.
    unwritten: Arc<AtomicU64>,
}

impl Reporter {
    /// Opens the spool and starts the writer.
    ///
    /// # Errors
    /// [`SpoolUnusable`].
    pub(crate) fn start(
        env: &Env,
        spool: SpoolConfig,
        views: ViewCell,
        metrics: &Metrics,
        tasks: &mut TaskGroup,
        shutdown: &Shutdown,
    ) -> Result<Self, SpoolUnusable> {
        let SpoolConfig { folder, quota, author, voters } = spool;
        let (spool, tail) = Spool::open(Arc::clone(&env.disk), &folder, author.boot)?;
        let head = match &tail.last {
            None => tail.head_before,
            Some(record) => Chain::hash_of(&author, record).ok_or_else(|| SpoolUnusable::Foreign {
                file: "the newest segment".to_owned(),
                why: "its last entry is no record".to_owned(),
            })?,
        };
        let feed = Arc::new(Feed::new(folder, voters));
        feed.committed(author.boot, &[], spool.segments());
        let (orders, inbox) = mpsc::channel(ORDERS_MAX);
        let shed = Arc::new(ShedCounters::default());
        let unwritten = Arc::new(AtomicU64::new(0));
        let status = watch::Sender::new(SpoolStatus { bytes: spool.bytes(), ..SpoolStatus::default() });
        let mut writer = Writer {
            env: env.clone(),
            spool: Some(spool),
            chain: Chain::new(author, head),
            feed: Arc::clone(&feed),
            orders: inbox,
            shed: Arc::clone(&shed),
            unwritten: Arc::clone(&unwritten),
            status: status.clone(),
            metrics: metrics.clone(),
            views,
            quota,
            pending: Vec::new(),
            pending_orders: 0,
            waiting: Vec::new(),
            flush_at: None,
            last_gap: BootTime::default(),
        };
        writer.begin(&tail.holes);
        tasks.spawn("spool writer", writer.run(shutdown.clone()));
        let now = env.now().boot;
        let refusals = Arc::new(Allowance::new(REFUSALS_PER_SEC, REFUSALS_BURST, now));
        let repeats = Arc::new(Allowance::new(REPEATS_PER_SEC, REPEATS_BURST, now));
        Ok(Self { env: env.clone(), orders, shed, refusals, repeats, feed, status: status.subscribe(), unwritten })
    }

    /// Records a decision, and returns when the disk has it.
    ///
    /// # Errors
    /// [`NotOnDisk`]: the call must not be made.
    pub(crate) async fn first(&self, draft: Draft) -> Result<Receipt, NotOnDisk> {
        let decision = draft.decision;
        let (waits, written) = oneshot::channel();
        let order = Order { draft: Box::new(draft), weight: Weight::Beyond, waits: Some(waits) };
        let room = self.orders.reserve().await.map_err(|_| NotOnDisk::Stopping)?;
        self.unwritten.fetch_add(1, Ordering::SeqCst);
        room.send(order);
        written.await.map_err(|_| NotOnDisk::Stopping)??;
        Ok(Receipt { decision, durability: Durability::First })
    }

    /// Records something that may be flushed later. Waits for nothing; when the writer is too far behind it is counted.
    pub(crate) fn soon(&self, draft: Draft, weight: Weight) -> Receipt {
        let decision = draft.decision;
        match self.orders.try_reserve() {
            Ok(room) => {
                self.unwritten.fetch_add(1, Ordering::SeqCst);
                room.send(Order { draft: Box::new(draft), weight, waits: None });
            }
            Err(_) => self.shed.count(weight),
        }
        Receipt { decision, durability: Durability::Soon }
    }

    /// Records the refusal of a caller without a valid envelope, or counts it when there are too many.
    pub(crate) fn refused_caller(&self, draft: Draft) {
        self.capped(&self.refusals, draft, Weight::Refusal);
    }

    /// Records that what was registered before was asked for again, or counts it when there is too much of that.
    pub(crate) fn repeated(&self, draft: Draft) {
        self.capped(&self.repeats, draft, Weight::Read);
    }

    fn capped(&self, allowance: &Allowance, draft: Draft, weight: Weight) {
        if allowance.take(self.env.now().boot) {
            self.soon(draft, weight);
        } else {
            self.shed.count(weight);
        }
    }

    /// What the voters still have to get.
    pub(crate) fn feed(&self) -> &Arc<Feed> {
        &self.feed
    }

    /// How the spool is.
    pub(crate) fn status(&self) -> SpoolStatus {
        *self.status.borrow()
    }

    /// Records that no majority of the voters has, those that are not on the disk yet included.
    pub(crate) fn waiting(&self) -> u64 {
        // In this order: what moves from the one to the other in between is counted twice, never not at all.
        let unwritten = self.unwritten.load(Ordering::SeqCst) + u64::from(self.shed.any());
        unwritten.saturating_add(self.feed.waiting())
    }
}
