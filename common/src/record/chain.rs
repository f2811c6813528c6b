//! Whether records of an edge are a chain: in order, unbroken, nothing missing and nothing twice.

use std::collections::VecDeque;

use super::{Record, RecordHead, RecordKind};
use crate::crypto::digest::Digest;
use crate::crypto::sign::PublicKey;
use crate::id::{BootId, EdgeId, MeshId};

/// How records fail to be a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainFault {
    /// A record of somebody else.
    #[error("a record of edge `{found}`")]
    OtherEdge {
        /// Whose it is.
        found: EdgeId,
    },
    /// Numbers are missing in between, and no gap says so.
    #[error("of boot {boot}, record {found} follows on {after}")]
    Missing {
        /// The process.
        boot: BootId,
        /// The last number that is there.
        after: u64,
        /// The next that is there.
        found: u64,
    },
    /// Two records have the same place, or two processes continue the same record.
    #[error("record {seq} of boot {boot} contradicts another")]
    Fork {
        /// The process.
        boot: BootId,
        /// The number.
        seq: u64,
        /// The hash that is there, or the head that is continued twice.
        stored: Digest,
    },
    /// A record names another one before it than the one that is there.
    #[error("record {seq} of boot {boot} does not name the one before it")]
    BrokenLink {
        /// The process.
        boot: BootId,
        /// The number.
        seq: u64,
    },
    /// A gap that the edge did not sign.
    #[error("the gap at record {seq} of boot {boot} is not signed by the edge")]
    UnsignedGap {
        /// The process.
        boot: BootId,
        /// The number.
        seq: u64,
    },
}

/// What a record is to a chain that it does not contradict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Linked {
    /// The next one.
    Next,
    /// The newest one once more; nothing changed.
    Repeat,
}

/// Processes whose beginnings a chain remembers, to call a second continuation of the same head a fork. One that is
/// older is a broken link, and refused as well.
const BEGINNINGS_MAX: usize = 1_024;

/// The chain of one edge, record by record. Holds the head and a few hashes, no records.
#[derive(Debug, Clone)]
pub struct Chain {
    mesh: MeshId,
    edge: EdgeId,
    key: PublicKey,
    head: Option<RecordHead>,
    /// The heads that the newest processes continued.
    continued: VecDeque<Digest>,
}

impl Chain {
    /// A chain that ends at `head`; with none, it begins with whatever comes first, which must say that nothing was
    /// before it. `key` is the edge's identity key, from the directory.
    #[must_use]
    pub fn new(mesh: MeshId, edge: EdgeId, key: PublicKey, head: Option<RecordHead>) -> Self {
        Self { mesh, edge, key, head, continued: VecDeque::new() }
    }

    /// Where it ends.
    #[must_use]
    pub fn head(&self) -> Option<&RecordHead> {
        self.head.as_ref()
    }

    /// Takes the next record.
    ///
    /// # Errors
    /// [`ChainFault`]; the chain stays as it was.
    pub fn push(&mut self, record: &Record) -> Result<Linked, ChainFault> {
        let public = record.public();
        let (boot, seq) = (public.boot, public.seq);
        if public.edge != self.edge {
            return Err(ChainFault::OtherEdge { found: public.edge.clone() });
        }
        let hash = record.hash(&self.mesh);
        let expected = match self.head {
            Some(head) if head.boot == boot => {
                if seq == head.seq && hash == head.hash {
                    return Ok(Linked::Repeat);
                }
                if seq <= head.seq {
                    return Err(ChainFault::Fork { boot, seq, stored: head.hash });
                }
                if seq != head.seq.saturating_add(1) {
                    return Err(ChainFault::Missing { boot, after: head.seq, found: seq });
                }
                head.hash
            }
            before => {
                if seq != 1 {
                    return Err(ChainFault::Missing { boot, after: 0, found: seq });
                }
                if self.continued.contains(&public.prev) {
                    return Err(ChainFault::Fork { boot, seq, stored: public.prev });
                }
                before.map_or(Digest::default(), |head| head.hash)
            }
        };
        if public.prev != expected {
            return Err(ChainFault::BrokenLink { boot, seq });
        }
        if public.kind == RecordKind::Gap && record.verify_gap(&self.mesh, &self.key).is_err() {
            return Err(ChainFault::UnsignedGap { boot, seq });
        }
        if seq == 1 {
            if self.continued.len() >= BEGINNINGS_MAX {
                self.continued.pop_front();
            }
            self.continued.push_back(public.prev);
        }
        self.head = Some(RecordHead { boot, seq, hash });
        Ok(Linked::Next)
    }
}

/// Checks records of one edge in their order, from the record after `head` on, or from the edge's first.
///
/// # Errors
/// The first [`ChainFault`].
pub fn verify_chain<'a>(
    mesh: &MeshId,
    edge: &EdgeId,
    key: &PublicKey,
    head: Option<RecordHead>,
    records: impl IntoIterator<Item = &'a Record>,
) -> Result<Option<RecordHead>, ChainFault> {
    let mut chain = Chain::new(*mesh, edge.clone(), *key, head);
    for record in records {
        chain.push(record)?;
    }
    Ok(chain.head)
}
