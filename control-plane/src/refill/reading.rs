//! One voter's records, page by page, as far as one round goes.
//!
//! The other voter may be anything: where it ends is what it said first, every page brings as many records as it
//! counts, and a round with it costs so many bytes and so much time at most (Clause K-18).

use std::time::Duration;

use remit_common::time::BootTime;

use crate::collect::{Copies, StoreId, StoredRecord};

/// Bytes of one voter's records in one round: the next one goes on from there.
const BYTES_MAX: usize = 16 * 1024 * 1024;
/// Time for one voter in one round.
const WITHIN: Duration = Duration::from_secs(10);

/// How far one voter has been read.
#[derive(Debug)]
pub(super) struct Reading {
    /// Its store, and the last arrival that is here.
    known: Option<(StoreId, u64)>,
    began: BootTime,
    /// Its end, and whether it is whole, as it first said.
    first: Option<(u64, bool)>,
    bytes: usize,
}

/// What to do with an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Its store is another one: ask from the beginning.
    Again,
    /// Put these on the disk.
    Store {
        /// Up to which arrival in which store.
        upto: (StoreId, u64),
        /// The records.
        records: Vec<StoredRecord>,
    },
    /// There is nothing more.
    End {
        /// It has everything itself.
        whole: bool,
    },
}

impl Reading {
    pub(super) fn new(known: Option<(StoreId, u64)>, began: BootTime) -> Self {
        Self { known, began, first: None, bytes: 0 }
    }

    /// The arrival after which to ask.
    pub(super) fn after(&self) -> u64 {
        self.known.map_or(0, |(_, at)| at)
    }

    /// Looks at an answer.
    pub(super) fn take(&mut self, copies: Copies) -> Result<Step, &'static str> {
        let Copies { store, whole, end, arrivals } = copies;
        let at = self.after();
        let goes_on = self.known.is_none_or(|(known, _)| known == store) && at <= end;
        if !goes_on && self.first.is_some() {
            return Err("its store was replaced meanwhile");
        }
        if !goes_on && at > 0 {
            self.known = Some((store, 0));
            return Ok(Step::Again);
        }
        let (end, whole) = *self.first.get_or_insert((end, whole));
        if at >= end {
            return Ok(Step::End { whole });
        }
        let brought = u64::try_from(arrivals.records.len()).unwrap_or(u64::MAX);
        if brought == 0 || at.checked_add(brought) != Some(arrivals.last) {
            return Err("a page has not as many records as it counts");
        }
        self.bytes = arrivals.records.iter().fold(self.bytes, |sum, record| sum.saturating_add(record.bytes.len()));
        let upto = (store, arrivals.last);
        self.known = Some(upto);
        Ok(Step::Store { upto, records: arrivals.records })
    }

    /// Whether this round with it is over, and then whether it was read to the end and is whole.
    pub(super) fn is_over(&self, now: BootTime) -> Option<bool> {
        let (end, whole) = self.first?;
        if self.after() >= end {
            return Some(whole);
        }
        let spent = self.bytes >= BYTES_MAX || now.since(self.began) >= WITHIN;
        spent.then_some(false)
    }
}

#[cfg(test)]
mod tests {
    use remit_common::crypto::digest::Digest;

    use super::*;
    use crate::collect::Arrivals;

    const STORE: StoreId = StoreId([1; 16]);
    const START: BootTime = BootTime::from_millis(1_000);

    fn copies(store: StoreId, end: u64, last: u64, records: usize) -> Copies {
        let record = StoredRecord { hash: Digest::default(), tenant: None, decision: None, bytes: vec![0; 16 * 1024] };
        Copies { store, whole: true, end, arrivals: Arrivals { last, records: vec![record; records] } }
    }

    #[test]
    fn a_voter_is_read_to_the_end_that_it_first_named() {
        let mut reading = Reading::new(None, START);
        for (end, last) in [(150, 100), (u64::MAX, 200)] {
            assert_eq!(reading.is_over(START), None);
            assert!(
                matches!(reading.take(copies(STORE, end, last, 100)), Ok(Step::Store { upto, .. }) if upto.1 == last)
            );
        }
        assert_eq!(reading.is_over(START), Some(true));
        let mut later = Reading::new(Some((STORE, 200)), START);
        assert_eq!(later.take(copies(STORE, 200, 200, 0)), Ok(Step::End { whole: true }));
    }

    #[test]
    fn a_voter_that_counts_without_records_is_left() {
        for (last, records) in [(1, 0), (0, 0), (2, 1), (u64::MAX, 1), (1, 2)] {
            let mut reading = Reading::new(None, START);
            assert!(reading.take(copies(STORE, u64::MAX, last, records)).is_err(), "{last} {records}");
        }
        let mut at_the_end_of_numbers = Reading::new(Some((STORE, u64::MAX - 1)), START);
        assert!(at_the_end_of_numbers.take(copies(STORE, u64::MAX, u64::MAX, 2)).is_err());
    }

    #[test]
    fn a_voter_without_end_costs_a_round_so_much_and_no_more() {
        let mut reading = Reading::new(None, START);
        let mut pages = 0;
        while reading.is_over(START).is_none() {
            pages += 1;
            assert!(reading.take(copies(STORE, u64::MAX, pages * 100, 100)).is_ok());
        }
        assert!((10..=20).contains(&pages), "{pages}");
        assert_eq!(reading.is_over(START), Some(false));
        let mut slow = Reading::new(None, START);
        assert!(slow.take(copies(STORE, u64::MAX, 1, 1)).is_ok());
        assert_eq!(slow.is_over(BootTime::from_millis(12_000)), Some(false));
    }

    #[test]
    fn a_voter_that_began_anew_is_read_anew_also_when_it_has_overtaken_what_was_read() {
        let other = StoreId([2; 16]);
        for end in [50, 500] {
            let mut reading = Reading::new(Some((STORE, 100)), START);
            assert_eq!(reading.take(copies(other, end, 200, 100)), Ok(Step::Again));
            assert_eq!((reading.after(), reading.is_over(START)), (0, None));
            assert!(matches!(reading.take(copies(other, end, 50, 50)), Ok(Step::Store { .. })));
            assert!(reading.take(copies(STORE, end, 150, 100)).is_err(), "once more in the same round");
        }
    }
}
