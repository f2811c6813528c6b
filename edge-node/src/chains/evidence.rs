//! What edges said about the hops of one chain.
//!
//! Verified when somebody asks, and remembered by the very countersignature: whoever has a copy of an envelope can put
//! others into it, and those are no evidence for anybody, nor do they take away what a good one is for its holder.
//! Clauses E-31 and G-9.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use remit_common::envelope::{Countersignature, NotRegistered, RawCountersignature};

/// Countersignatures of one hop that are remembered: a few edges may have registered it.
const HOP_MAX: usize = 4;

/// What was found out about the countersignatures of one chain, by the index of the hop; oldest first.
#[derive(Debug, Default)]
pub(super) struct Evidence(Mutex<BTreeMap<u8, Vec<Judged>>>);

#[derive(Debug)]
struct Judged {
    shown: RawCountersignature,
    answer: Result<(), NotRegistered>,
}

impl Evidence {
    /// What this countersignature says, if it is good; `verify` is asked once for each that is remembered.
    ///
    /// # Errors
    /// Why it is not good.
    pub(super) fn of(
        &self,
        hop: u8,
        shown: &RawCountersignature,
        verify: impl FnOnce() -> Result<(), NotRegistered>,
    ) -> Result<Countersignature, NotRegistered> {
        // A panic while it was held has judged in vain.
        let mut hops = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let judged = hops.entry(hop).or_default();
        let known = judged.iter().find(|known| known.shown == *shown).map(|known| known.answer.clone());
        let answer = known.unwrap_or_else(|| {
            let answer = verify();
            if judged.len() >= HOP_MAX {
                // What is good goes only for what is good.
                let bad = judged.iter().position(|known| known.answer.is_err());
                let goes = if answer.is_ok() { bad.or(Some(0)) } else { bad };
                goes.map(|at| judged.remove(at));
            }
            if judged.len() < HOP_MAX {
                judged.push(Judged { shown: shown.clone(), answer: answer.clone() });
            }
            answer
        });
        answer.map(|()| shown.said().clone())
    }
}
