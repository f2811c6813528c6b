//! What the voters still have to get, and who has what.
//!
//! Each voter that is connected takes records at its own pace: the newest from memory, older ones from the spool. A
//! record leaves the disk when a majority of the voters has it on theirs, never before. Clauses N-11 and N-12.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use remit_common::id::{BootId, VoterId};
use remit_common::limits::CHUNK_BYTES_MAX;
use remit_common::net::env::Env;
use remit_common::planted::{Bug, planted};
use remit_common::record::RecordHead;
use tokio::sync::watch;

use super::spool::{self, Link, Segment};

/// Records kept in memory for voters that keep up: some seconds of a busy edge.
const RECENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of one batch before compression. In the worst case nothing is compressible, and a batch is one frame.
const BATCH_BYTES_MAX: usize = CHUNK_BYTES_MAX - 16 * 1024;
/// Records of one batch.
const BATCH_RECORDS_MAX: usize = 1_024;

/// How far the chain is on the disk.
#[derive(Debug, Clone, Default)]
pub(crate) struct Durable {
    /// The newest record that is on the disk.
    pub(crate) head: Option<RecordHead>,
    segments: Arc<Vec<Segment>>,
}

/// Consecutive records of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) boot: BootId,
    pub(crate) first_seq: u64,
    pub(crate) records: Vec<Arc<[u8]>>,
}

impl Batch {
    /// The last record in it.
    pub(crate) fn last(&self) -> Cursor {
        let count = u64::try_from(self.records.len()).unwrap_or(u64::MAX);
        Cursor { boot: self.boot, seq: self.first_seq.saturating_add(count).saturating_sub(1) }
    }
}

/// The last record that was sent to a voter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) boot: BootId,
    pub(crate) seq: u64,
}

#[derive(Debug, Default)]
struct Recent {
    links: VecDeque<(BootId, u64, Arc<[u8]>)>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Acked {
    /// Voters whose acks count.
    voters: BTreeSet<VoterId>,
    by_voter: BTreeMap<VoterId, BTreeMap<BootId, u64>>,
    /// Voters that say that this edge's chain has forked.
    forked: BTreeSet<VoterId>,
}

/// Shared by the writer, which fills it, and one task per voter, which empties it.
#[derive(Debug)]
pub(crate) struct Feed {
    folder: PathBuf,
    durable: watch::Sender<Durable>,
    acks: watch::Sender<u64>,
    recent: Mutex<Recent>,
    acked: Mutex<Acked>,
}

impl Feed {
    pub(super) fn new(folder: PathBuf, voters: BTreeSet<VoterId>) -> Self {
        Self {
            folder,
            durable: watch::Sender::default(),
            acks: watch::Sender::default(),
            recent: Mutex::default(),
            acked: Mutex::new(Acked { voters, ..Acked::default() }),
        }
    }

    /// Says when there is more on the disk.
    pub(crate) fn durable(&self) -> watch::Receiver<Durable> {
        self.durable.subscribe()
    }

    /// Says when a voter has more.
    pub(super) fn acks(&self) -> watch::Receiver<u64> {
        self.acks.subscribe()
    }

    /// These are the voters now. Acks of others stop counting.
    pub(crate) fn set_voters(&self, voters: BTreeSet<VoterId>) {
        lock(&self.acked).voters = voters;
    }

    /// Whether these are more than half of the voters.
    pub(crate) fn is_majority(&self, of: &BTreeSet<VoterId>) -> bool {
        let acked = lock(&self.acked);
        acked.voters.intersection(of).count() > acked.voters.len() / 2
    }

    /// The writer has put these on the disk.
    pub(super) fn committed(&self, boot: BootId, links: &[Link], mut segments: Vec<Segment>) {
        segments.retain(|segment| segment.boot == boot || !planted(Bug::EarlierRecordsNotSent));
        {
            let mut recent = lock(&self.recent);
            for link in links {
                recent.bytes += link.bytes.len();
                recent.links.push_back((boot, link.seq, Arc::clone(&link.bytes)));
            }
            while recent.bytes > RECENT_BYTES_MAX {
                let Some((_, _, record)) = recent.links.pop_front() else { break };
                recent.bytes -= record.len();
            }
        }
        let newest = links.last().map(|link| RecordHead { boot, seq: link.seq, hash: link.hash });
        self.durable.send_modify(|durable| {
            durable.head = newest.or(durable.head);
            durable.segments = Arc::new(segments);
        });
    }

    /// A voter has every record of `boot` up to `seq` on its disk.
    pub(crate) fn acked(&self, voter: VoterId, boot: BootId, seq: u64) {
        let mut acked = lock(&self.acked);
        // A voter cannot have what was never on this disk: such an ack is a lie, and would cost records.
        let durable = self.durable.borrow();
        let exists = durable.segments.iter().any(|segment| segment.boot == boot && segment.last_seq() >= seq);
        drop(durable);
        if !exists {
            return;
        }
        let newest = acked.by_voter.entry(voter).or_default().entry(boot).or_default();
        if *newest < seq {
            *newest = seq;
            drop(acked);
            self.acks.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// A voter says that this edge's chain has forked. Whether a majority says so by now.
    pub(crate) fn forked(&self, voter: VoterId) -> Majority {
        let mut acked = lock(&self.acked);
        acked.forked.insert(voter);
        let forked = acked.forked.intersection(&acked.voters).count();
        if forked > acked.voters.len() / 2 { Majority::Reached } else { Majority::Missing }
    }

    /// What a majority has: per process, the last number. Forgets processes of which nothing is on the disk.
    pub(super) fn majority(&self) -> BTreeMap<BootId, u64> {
        let segments = Arc::clone(&self.durable.borrow().segments);
        let boots: BTreeSet<BootId> = segments.iter().map(|segment| segment.boot).collect();
        let mut acked = lock(&self.acked);
        let Acked { voters, by_voter, .. } = &mut *acked;
        for of_voter in by_voter.values_mut() {
            of_voter.retain(|boot, _| boots.contains(boot));
        }
        let needed = voters.len() / 2;
        let mut majority = BTreeMap::new();
        for boot in boots {
            let mut numbers: Vec<u64> = voters
                .iter()
                .map(|voter| by_voter.get(voter).and_then(|of_voter| of_voter.get(&boot)).copied().unwrap_or_default())
                .collect();
            numbers.sort_unstable_by(|a, b| b.cmp(a));
            if let Some(number) = numbers.get(needed).copied().filter(|number| *number > 0) {
                majority.insert(boot, number);
            }
        }
        majority
    }

    /// Records on the disk that no majority has.
    pub(super) fn waiting(&self) -> u64 {
        let majority = self.majority();
        let segments = Arc::clone(&self.durable.borrow().segments);
        segments
            .iter()
            .map(|segment| {
                let acked = majority.get(&segment.boot).copied().unwrap_or_default();
                segment.last_seq().saturating_sub(acked.max(segment.first_seq.saturating_sub(1)))
            })
            .sum()
    }

    /// What `voter` should get after `cursor`; `None` when it has been sent everything that is on the disk.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) async fn batch(&self, env: &Env, voter: VoterId, cursor: Option<Cursor>) -> io::Result<Option<Batch>> {
        let segments = Arc::clone(&self.durable.borrow().segments);
        let acked = lock(&self.acked).by_voter.get(&voter).cloned().unwrap_or_default();
        let Some((segment, from_seq)) = next(&segments, cursor, &acked) else { return Ok(None) };
        let recent = self.recent(segment.boot, from_seq, segment.last_seq());
        let records = if recent.is_empty() {
            let (disk, folder) = (Arc::clone(&env.disk), self.folder.clone());
            let read = move || spool::read_from(&*disk, &folder, &segment, from_seq, BATCH_BYTES_MAX);
            env.run_blocking(read).await.map_err(io::Error::other)??
        } else {
            recent
        };
        let mut bytes = 0;
        let fits = |record: &Arc<[u8]>| {
            bytes += record.len() + 4;
            bytes <= BATCH_BYTES_MAX
        };
        let records = records.into_iter().take(BATCH_RECORDS_MAX).take_while(fits).collect();
        Ok(Some(Batch { boot: segment.boot, first_seq: from_seq, records }))
    }

    /// Records in memory from `from_seq` on, if that very one is there.
    fn recent(&self, boot: BootId, from_seq: u64, last_seq: u64) -> Vec<Arc<[u8]>> {
        let recent = lock(&self.recent);
        let here = recent.links.iter().skip_while(|(of, seq, _)| *of != boot || *seq != from_seq);
        here.take_while(|(of, seq, _)| *of == boot && *seq <= last_seq)
            .take(BATCH_RECORDS_MAX)
            .map(|(_, _, record)| Arc::clone(record))
            .collect()
    }
}

/// Whether more than half of the voters agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Majority {
    Reached,
    Missing,
}

/// The first record after `cursor` that the voter has not acknowledged, and the segment it stands in.
fn next(segments: &[Segment], cursor: Option<Cursor>, acked: &BTreeMap<BootId, u64>) -> Option<(Segment, u64)> {
    let known = cursor.filter(|cursor| segments.iter().any(|segment| segment.boot == cursor.boot));
    let mut reached = known.is_none();
    for segment in segments {
        let mut after = acked.get(&segment.boot).copied().unwrap_or_default();
        if let Some(cursor) = known.filter(|cursor| cursor.boot == segment.boot) {
            reached = true;
            after = after.max(cursor.seq);
        }
        let from_seq = segment.first_seq.max(after.saturating_add(1));
        if reached && segment.count > 0 && from_seq <= segment.last_seq() {
            return Some((*segment, from_seq));
        }
    }
    None
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while it was held cannot have left it between two states that matter: acks only rise, and what is not
    // in memory is read from the disk.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: BootId = BootId([0xaa; 16]);
    const B: BootId = BootId([0xbb; 16]);

    fn segment(number: u64, boot: BootId, first_seq: u64, count: u64) -> Segment {
        Segment { number, boot, first_seq, count, bytes: 100 }
    }

    fn feed(segments: Vec<Segment>) -> Feed {
        let feed = Feed::new(PathBuf::new(), [1, 2, 3].map(VoterId).into());
        feed.committed(A, &[], segments);
        feed
    }

    #[test]
    fn a_record_is_done_with_when_a_majority_has_it() {
        let feed = feed(vec![segment(0, A, 1, 10), segment(1, B, 1, 5)]);
        assert_eq!(feed.waiting(), 15);
        feed.acked(VoterId(1), A, 10);
        assert_eq!((feed.majority(), feed.waiting()), (BTreeMap::new(), 15));
        feed.acked(VoterId(3), A, 7);
        assert_eq!((feed.majority(), feed.waiting()), (BTreeMap::from([(A, 7)]), 8));
        feed.acked(VoterId(2), A, 10);
        feed.acked(VoterId(2), B, 5);
        feed.acked(VoterId(1), B, 5);
        assert_eq!((feed.majority(), feed.waiting()), (BTreeMap::from([(A, 10), (B, 5)]), 0));
    }

    #[test]
    fn acks_that_cannot_be_true_do_not_count() {
        let feed = feed(vec![segment(0, A, 1, 10)]);
        for voter in [1, 2, 3].map(VoterId) {
            feed.acked(voter, A, 11);
            feed.acked(voter, B, 1);
        }
        assert_eq!(feed.majority(), BTreeMap::new());
        for stranger in [4, 5, 6].map(VoterId) {
            feed.acked(stranger, A, 10);
        }
        assert_eq!(feed.majority(), BTreeMap::new(), "who is no voter has no say");
    }

    #[test]
    fn one_voter_alone_cannot_have_an_edge_quarantined() {
        let feed = feed(vec![]);
        assert_eq!(feed.forked(VoterId(1)), Majority::Missing);
        assert_eq!(feed.forked(VoterId(1)), Majority::Missing);
        assert_eq!(feed.forked(VoterId(9)), Majority::Missing);
        assert_eq!(feed.forked(VoterId(2)), Majority::Reached);
    }

    #[test]
    fn each_voter_gets_every_record_in_order() {
        let segments = [segment(0, A, 1, 10), segment(1, A, 11, 5), segment(2, B, 1, 3), segment(3, B, 4, 0)];
        let check = |cursor: Option<(BootId, u64)>, acked: &[(BootId, u64)], expected: Option<(u64, u64)>| {
            let cursor = cursor.map(|(boot, seq)| Cursor { boot, seq });
            let found = next(&segments, cursor, &acked.iter().copied().collect());
            assert_eq!(found.map(|(segment, seq)| (segment.number, seq)), expected, "{cursor:?} {acked:?}");
        };
        check(None, &[], Some((0, 1)));
        check(None, &[(A, 4)], Some((0, 5)));
        check(None, &[(A, 10)], Some((1, 11)));
        check(None, &[(A, 15), (B, 3)], None);
        check(Some((A, 6)), &[(A, 4)], Some((0, 7)));
        check(Some((A, 10)), &[], Some((1, 11)));
        check(Some((A, 15)), &[], Some((2, 1)));
        check(Some((B, 2)), &[], Some((2, 3)));
        check(Some((B, 3)), &[], None);
        check(Some((BootId([0; 16]), 9)), &[], Some((0, 1)));
    }
}
