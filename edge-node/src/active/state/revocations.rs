//! Cuts: effective at once, in force once the disk has them.
//!
//! What has been verified is refused from that moment on, whether the disk takes it or not. But only what is on the
//! disk is called revoked, acknowledged and shown as this edge's epoch, because only that still holds after a restart:
//! an edge must not say of a cut that it is enforced, lose power, and permit under it again (Clause N-16).

use std::sync::Arc;

use remit_common::id::RevocationEpoch;
use remit_common::planted::{Bug, planted};
use remit_common::revocation::{Revocation, RevocationRefused, RevocationUpdate, Revocations};
use remit_common::time::Now;
use remit_common::trust::freshness::Enforced;

use super::{Accepted, Refused, State};

/// Entries that an edge holds without having them from the log, those included that the log has let go early.
const HELD_MAX: usize = 10_000;

impl State {
    /// The newest revocations that were verified, whether the disk has them or not.
    pub(crate) fn heard_revocations(&self) -> &Revocations {
        &self.heard
    }

    /// The revocations that are on the disk: what may be acknowledged.
    pub(crate) fn stored_revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// The epoch that is on the disk.
    pub(crate) fn stored_epoch(&self) -> RevocationEpoch {
        self.revocations.epoch()
    }

    /// Whether the disk lacks what has been verified.
    pub(crate) fn owes_revocations(&self) -> bool {
        self.holds_unstored || self.stored_epoch() < self.heard.epoch()
    }

    /// An administrator or an issuer has brought a cut here itself, verified: it is in force at once, whatever the log
    /// says, and on the disk when this returns without an error (clause G-90).
    ///
    /// # Errors
    /// [`Refused::Revocation`] when there is no room, [`Refused::Store`] when it is in force and not on the disk.
    pub(crate) fn hold_revocation(&mut self, entry: Revocation, now: Now) -> Result<Accepted, Refused> {
        let directory = self.directory.as_ref().ok_or(Refused::NoDirectory)?;
        // Issuers' keys are online at the voters: one that is stolen leaves administrators their half.
        let is_administrators = directory.administrator(&entry.request.key).is_some();
        let most = if is_administrators { HELD_MAX } else { HELD_MAX / 2 };
        let mut next = Revocations::clone(&self.heard);
        next.end_held(now.wall);
        if !next.hold(entry, most)? {
            return self.store_revocations(now);
        }
        self.heard = Arc::new(next);
        self.holds_unstored = true;
        self.show();
        self.store_revocations(now)
    }

    /// Revocations arrived. Every new request sees them before the disk is asked; when this returns without an error
    /// they are on it.
    ///
    /// # Errors
    /// [`Refused`]; but for [`Refused::Store`] nothing has changed.
    pub(crate) fn accept_revocations(&mut self, update: RevocationUpdate, now: Now) -> Result<Accepted, Refused> {
        let directory = self.directory.as_ref().ok_or(Refused::NoDirectory)?;
        if update.to == self.heard.epoch() && update.digest == self.heard.digest() {
            return self.store_revocations(now);
        }
        let next = self.heard.updated(update, &directory.authorities(), now.wall)?;
        self.heard = Arc::new(next);
        if !planted(Bug::CoveredBeforeEnforced) {
            self.show();
        }
        self.store_revocations(now)
    }

    /// What is held without the log ends by the clock here.
    pub(super) fn end_held(&mut self, now: Now) {
        if self.heard.has_ended(now.wall) {
            let mut next = Revocations::clone(&self.heard);
            next.end_held(now.wall);
            self.heard = Arc::new(next);
            // Until the disk has it, a restart brings back what has ended: that denies, and ends again.
            self.holds_unstored = true;
        }
    }

    /// Puts on the disk what is effective already. After a disk that failed it is tried again every two seconds.
    ///
    /// # Errors
    /// [`Refused::Store`]; what is effective stays so, and is not acknowledged.
    pub(crate) fn store_revocations(&mut self, now: Now) -> Result<Accepted, Refused> {
        if !self.owes_revocations() {
            return Ok(Accepted::Nothing);
        }
        let bytes = serde_json::to_vec(&*self.heard)
            .map_err(|_| RevocationRefused::Malformed { rule: "the set does not encode" })?;
        let mut index = self.index.clone();
        index.revocations = Some(self.store.put_content(&bytes, now.wall)?);
        self.commit(index)?;
        self.revocations = Arc::clone(&self.heard);
        self.holds_unstored = false;
        let enforced = Enforced { epoch: self.revocations.epoch(), digest: self.revocations.digest() };
        let learned = self.freshness.on_enforced(enforced, now);
        self.prove(&learned);
        if !planted(Bug::CoveredBeforeEnforced) {
            self.show();
        }
        Ok(Accepted::Changed)
    }
}
