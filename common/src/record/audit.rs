//! Whether a heap of records is whole: from any number of voters, in any order, with repeats.
//!
//! [`super::Chain`] follows one edge record by record. An auditor has a heap instead, and wants to know all that is
//! wrong with it and not the first thing: which numbers are missing, where two stories were told, which links do not
//! hold, which losses the edge has signed for and which nobody has. Clauses.
//!
//! What this cannot see: records missing at the end of an edge's last process, and an edge of which nothing is there.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use serde::Serialize;

use super::{GapCause, Record, RecordKind};
use crate::crypto::digest::Digest;
use crate::crypto::sign::PublicKey;
use crate::id::{BootId, EdgeId, MeshId};

/// Faults that are told of one edge; an edge with more is hopeless, and said to have more.
const FAULTS_MAX: usize = 1_000;

/// Something is wrong with the records of an edge.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "fault", rename_all = "kebab-case")]
pub enum AuditFault {
    /// The directory does not list the edge: nobody can say whose records these are.
    UnknownEdge,
    /// Numbers are missing inside a process, and no gap stands for them.
    Missing {
        /// The process.
        boot: BootId,
        /// The first that is missing.
        from: u64,
        /// The last that is missing.
        to: u64,
    },
    /// Two records have the same number.
    TwoStories {
        /// The process.
        boot: BootId,
        /// The number.
        seq: u64,
    },
    /// A record does not name the one before it.
    BrokenLink {
        /// The process.
        boot: BootId,
        /// The number.
        seq: u64,
    },
    /// The first record of a process continues something that is not there.
    MissingBefore {
        /// The process.
        boot: BootId,
        /// The hash of what is not there.
        prev: Digest,
    },
    /// Two processes continue the same record, or one continues a record that has a successor already.
    Branch {
        /// The process.
        boot: BootId,
        /// The hash of what is continued.
        prev: Digest,
    },
    /// A gap that the edge has not signed.
    UnsignedGap {
        /// The process.
        boot: BootId,
        /// The number.
        seq: u64,
    },
    /// There is more than is told here.
    More,
}

/// A loss that the edge has signed for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SignedGap {
    /// The process whose chain says so.
    pub boot: BootId,
    /// The number of the gap.
    pub seq: u64,
    /// Why.
    pub cause: &'static str,
    /// How many records; absent when nobody can tell.
    pub records: Option<u64>,
}

/// What an auditor finds about one edge.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EdgeAudit {
    /// Records, each counted once.
    pub records: u64,
    /// Records that came more than once.
    pub repeats: u64,
    /// Starts of its process.
    pub boots: u64,
    /// Records whose detail was shed.
    pub without_detail: u64,
    /// Losses that it has signed for.
    pub gaps: Vec<SignedGap>,
    /// What is wrong.
    pub faults: BTreeSet<AuditFault>,
}

/// The heap.
#[derive(Debug)]
pub struct Audit {
    mesh: MeshId,
    edges: BTreeMap<EdgeId, Heap>,
}

#[derive(Debug, Default)]
struct Heap {
    found: EdgeAudit,
    boots: BTreeMap<BootId, BTreeMap<u64, Place>>,
}

/// What is kept of a record: enough to follow the chain, and nothing that anybody decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    hash: Digest,
    prev: Digest,
}

impl Audit {
    /// Of the records of one mesh.
    #[must_use]
    pub fn new(mesh: MeshId) -> Self {
        Self { mesh, edges: BTreeMap::new() }
    }

    /// Takes a record onto the heap. `identity` is the edge's key, if the directory lists the edge.
    pub fn take(&mut self, record: &Record, identity: Option<&PublicKey>) {
        let public = record.public();
        let (boot, seq) = (public.boot, public.seq);
        let place = Place { hash: record.hash(&self.mesh), prev: public.prev };
        let heap = self.edges.entry(public.edge.clone()).or_default();
        match heap.boots.entry(boot).or_default().get(&seq) {
            Some(known) if *known == place => {
                heap.found.repeats += 1;
                return;
            }
            Some(_) => return heap.found.note(AuditFault::TwoStories { boot, seq }),
            None => drop(heap.boots.entry(boot).or_default().insert(seq, place)),
        }
        heap.found.records += 1;
        heap.found.without_detail += u64::from(record.detail().is_none());
        let Some(identity) = identity else { return heap.found.note(AuditFault::UnknownEdge) };
        if public.kind == RecordKind::Gap {
            match record.verify_gap(&self.mesh, identity) {
                Ok(()) => heap.found.gaps.push(SignedGap {
                    boot,
                    seq,
                    cause: public.gap.map_or(GapCause::SpoolLost, |gap| gap.cause).as_str(),
                    records: public.gap.and_then(|gap| gap.records),
                }),
                Err(_) => heap.found.note(AuditFault::UnsignedGap { boot, seq }),
            }
        }
    }

    /// What is to be said, by edge.
    #[must_use]
    pub fn finish(self) -> BTreeMap<EdgeId, EdgeAudit> {
        self.edges.into_iter().map(|(edge, heap)| (edge, heap.judge())).collect()
    }
}

impl EdgeAudit {
    fn note(&mut self, fault: AuditFault) {
        let fault = if self.faults.len() < FAULTS_MAX { fault } else { AuditFault::More };
        self.faults.insert(fault);
    }
}

impl Heap {
    fn judge(self) -> EdgeAudit {
        let Self { mut found, boots } = self;
        found.boots = u64::try_from(boots.len()).unwrap_or(u64::MAX);
        found.gaps.sort_by_key(|gap| (gap.boot, gap.seq));
        for (boot, places) in &boots {
            for missing in missing(places) {
                found.note(AuditFault::Missing { boot: *boot, from: *missing.start(), to: *missing.end() });
            }
            for ((before, earlier), (seq, place)) in places.iter().zip(places.iter().skip(1)) {
                if before.checked_add(1) == Some(*seq) && place.prev != earlier.hash {
                    found.note(AuditFault::BrokenLink { boot: *boot, seq: *seq });
                }
            }
        }
        // Every process continues the end of another one, but for the first of all.
        let ends: BTreeMap<Digest, bool> = boots
            .values()
            .flat_map(|places| {
                let last = places.keys().next_back().copied();
                places.iter().map(move |(seq, place)| (place.hash, Some(*seq) == last))
            })
            .collect();
        let mut continued = BTreeSet::new();
        for (boot, first) in boots.iter().filter_map(|(boot, places)| Some((boot, places.get(&1)?))) {
            let prev = first.prev;
            let is_first_of_all = prev == Digest([0; 32]);
            let is_end = is_first_of_all || ends.get(&prev).copied().unwrap_or(false);
            if !is_first_of_all && !ends.contains_key(&prev) {
                found.note(AuditFault::MissingBefore { boot: *boot, prev });
            } else if !is_end || !continued.insert(prev) {
                found.note(AuditFault::Branch { boot: *boot, prev });
            }
        }
        found
    }
}

/// The numbers that are not there, from 1 to the highest that is.
fn missing(places: &BTreeMap<u64, Place>) -> Vec<RangeInclusive<u64>> {
    let mut expected = 1;
    let mut missing = Vec::new();
    for seq in places.keys().copied() {
        if seq > expected {
            missing.push(expected..=seq - 1);
        }
        expected = seq.saturating_add(1);
    }
    missing
}
