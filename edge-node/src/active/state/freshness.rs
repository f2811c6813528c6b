//! Nonces and their answers: how old everything here is.

use remit_common::id::VoterId;
use remit_common::time::Now;
use remit_common::trust::freshness::{Learned, QuarantineCause};
use remit_common::trust::tick::{Nonce, TickAnswer};

use super::{Accepted, Refused, State};
use crate::active::store::StoreFailed;

impl State {
    /// A nonce goes out.
    pub(crate) fn on_nonce_sent(&mut self, nonce: Nonce, now: Now) {
        self.freshness.on_nonce_sent(nonce, now);
        self.show();
    }

    /// A voter answered a nonce.
    ///
    /// # Errors
    /// [`Refused`]; the age is what it was.
    pub(crate) fn on_answer(&mut self, answer: &TickAnswer, voter: VoterId, now: Now) -> Result<Accepted, Refused> {
        let sent = self.freshness.sent_at(&answer.nonce);
        let learned = self.freshness.on_answer(answer, &self.config.edge, voter, now)?;
        if learned == Learned::Nothing {
            return Ok(Accepted::Nothing);
        }
        self.prove(&learned);
        if let Some(sent) = sent {
            self.prove_relations(answer.n, sent);
        }
        self.told.name(answer.n, answer.activations);
        self.show();
        let activated = self.activate(now)?.unwrap_or_default();
        Ok(match learned {
            Learned::Behind { .. } if activated.is_empty() => Accepted::Behind,
            Learned::Behind { .. } => Accepted::Activated(activated),
            _ => Accepted::Younger(activated),
        })
    }

    /// A proof counts once it is on the disk: otherwise this edge would show a tick that a restart takes back. Until
    /// the disk takes one, the age goes on growing.
    pub(super) fn prove(&mut self, learned: &Learned) {
        let Learned::Younger(proof) = learned else { return };
        match self.store.put_proof(*proof) {
            Ok(()) => self.freshness.on_stored(proof),
            Err(failure) => self.store_failure = Some(failure),
        }
    }

    /// The last failure to store a proof, once, for the log.
    pub(crate) fn take_store_failure(&mut self) -> Option<StoreFailed> {
        self.store_failure.take()
    }

    /// Refuse everything from now on.
    pub(crate) fn quarantine(&mut self, cause: QuarantineCause) {
        self.freshness.quarantine(cause);
        self.show();
    }
}
