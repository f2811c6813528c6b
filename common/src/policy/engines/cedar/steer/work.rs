//! How much is done to make requests up, counted in steps and never in time, so that every voter finds the same.

use std::cell::Cell;

/// Steps that are left, and how much was left out for want of them or of room. Clause B-49.
#[derive(Debug)]
pub(crate) struct Work {
    left: Cell<u64>,
    left_out: Cell<u64>,
}

impl Work {
    pub(crate) fn new(steps: u64) -> Self {
        Self { left: Cell::new(steps), left_out: Cell::new(0) }
    }

    /// Takes steps; `false` if there are not enough, and from then on there are none.
    pub(crate) fn spend(&self, steps: usize) -> bool {
        match self.left.get().checked_sub(u64::try_from(steps).unwrap_or(u64::MAX)) {
            Some(left) => self.left.set(left),
            None => {
                self.left.set(0);
                self.leave(1);
                return false;
            }
        }
        true
    }

    /// Notes that something was left out.
    pub(crate) fn leave(&self, count: usize) {
        self.left_out.set(self.left_out.get().saturating_add(u64::try_from(count).unwrap_or(u64::MAX)));
    }

    /// Whether there are no steps left.
    pub(crate) fn is_spent(&self) -> bool {
        self.left.get() == 0
    }

    /// Cuts a list to its first elements; whether nothing was lost.
    pub(crate) fn keep<T>(&self, items: &mut Vec<T>, max: usize) -> bool {
        let more = items.len().saturating_sub(max);
        items.truncate(max);
        self.leave(more);
        more == 0
    }

    /// Ways, values, entities and requests that were left out.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out.get()
    }
}
