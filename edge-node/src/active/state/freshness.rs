//! Nonces and their answers: how old everything here is.

use remit_common::id::VoterId;
use remit_common::relation_log::{Head, names_head};
use remit_common::time::Now;
use remit_common::trust::beacon::{BeaconRefused, SignedStatement, Statement};
use remit_common::trust::directory::Directory;
use remit_common::trust::freshness::{Learned, QuarantineCause};
use remit_common::trust::tick::{Nonce, TickAnswer};
use remit_common::wire::message::{BeaconOffer, RelationsHead};

use super::{Accepted, Refused, State};
use crate::active::store::StoreFailed;

impl State {
    /// A nonce goes out.
    pub(crate) fn on_nonce_sent(&mut self, nonce: Nonce, now: Now) {
        self.freshness.on_nonce_sent(nonce, now);
        self.end_held(now);
        self.show();
    }

    /// The voter shows what others have signed about a tick whose answer follows.
    pub(crate) fn name_beacon(&mut self, beacon: BeaconOffer) {
        self.told_beacon = Some(beacon);
    }

    /// A voter answered a nonce.
    ///
    /// # Errors
    /// [`Refused`]; the age is what it was.
    pub(crate) fn on_answer(&mut self, answer: &TickAnswer, voter: VoterId, now: Now) -> Result<Accepted, Refused> {
        let relations = self.named_relations(answer.n);
        let beacon = self.told_beacon.take_if(|beacon| beacon.n == answer.n);
        let sent = self.freshness.sent_at(&answer.nonce);
        // What changes nothing is not worth the verifying of signatures.
        if sent.is_some() && answer.n > self.freshness.view().tick() {
            match self.hold_against_directory(answer, beacon, &relations)? {
                Held::Signed => {}
                Held::Ahead => return Ok(Accepted::Behind),
                Held::Outdated => return Ok(Accepted::Nothing),
            }
        }
        let learned = self.freshness.on_answer(answer, &self.config.edge, voter, now)?;
        if learned == Learned::Nothing {
            return Ok(Accepted::Nothing);
        }
        self.prove(&learned);
        if let Some(sent) = sent {
            self.prove_relations(relations, sent);
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

    /// Clauses F-21 to F-23: the root and the directory that the answer names are here, and a majority of the directory's
    /// voters has signed it, unless the directory lists no key for that.
    fn hold_against_directory(
        &self,
        answer: &TickAnswer,
        beacon: Option<BeaconOffer>,
        relations: &[RelationsHead],
    ) -> Result<Held, BeaconRefused> {
        let Some(directory) = self.directory.as_deref() else { return Ok(Held::Ahead) };
        if answer.root > self.root.version() || answer.directory > directory.version() {
            return Ok(Held::Ahead);
        }
        match check_signed(directory, answer, beacon, relations) {
            Ok(()) => Ok(Held::Signed),
            // Other keys, or none, may have stood in the directory as of which it was signed, and other tenants in the root.
            Err(_) if answer.directory < directory.version() || answer.root < self.root.version() => Ok(Held::Outdated),
            Err(refused) => Err(refused),
        }
    }

    /// A proof counts once it is on the disk: otherwise this edge would show a tick that a restart takes back. Until
    /// the disk takes one, the age goes on growing.
    pub(super) fn prove(&mut self, learned: &Learned) {
        let Learned::Younger(proof) = learned else { return };
        match self.store.put_proof(*proof) {
            Ok(()) => {
                self.freshness.on_stored(proof);
                // Voters can be heard again: what was allowed without them ends, and only a start allows it again (N-29).
                self.offline.clear();
            }
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

/// How an answer stands to the root and the directory that are here.
enum Held {
    /// As it has to.
    Signed,
    /// It knows newer ones: they are on their way.
    Ahead,
    /// It is as of an older directory or root, and signed as that one asks.
    Outdated,
}

fn check_signed(
    directory: &Directory,
    answer: &TickAnswer,
    beacon: Option<BeaconOffer>,
    named: &[RelationsHead],
) -> Result<(), BeaconRefused> {
    if !directory.has_beacon_keys() {
        return Ok(());
    }
    let BeaconOffer { n: _, relations, paths, signatures } = beacon.ok_or(BeaconRefused::Missing)?;
    SignedStatement { statement: Statement::of_answer(answer, relations), signatures }.verify(directory)?;
    let mut paths = paths.iter();
    let mut is_signed = |RelationsHead { tenant, revision, digest }: &RelationsHead| {
        let head = Head { revision: *revision, digest: *digest };
        paths.next().is_some_and(|path| names_head(&relations, tenant, &head, path))
    };
    if named.iter().all(&mut is_signed) { Ok(()) } else { Err(BeaconRefused::Relations) }
}
