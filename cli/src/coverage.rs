//! Where a cut is in force: what voters and edges have signed about it, verified here.
//!
//! A voter's answer is taken for what it is: a hint where to look. The cut must be in a set of revocations whose every
//! entry verifies, enough voters must have signed that set or a later one (*sealed*), and each edge must have signed it
//! (*covered*), or must have stopped by itself. Clauses F-24 and K-7 to K-9.

use std::time::Duration;

use remit_common::id::{RevocationEpoch, VoterId};
use remit_common::revocation::{Cut, RevocationUpdate, Revocations};
use remit_common::time::Timestamp;
use remit_common::trust::directory::Directory;
use remit_common::wire::seal;
use remit_control_plane::admin::model::{Coverage, RevocationList};
use serde::Serialize;

use crate::admin::Admin;
use crate::context::Context;
use crate::failure::{Exit, Failure};

/// Between two questions while waiting.
const POLL: Duration = Duration::from_millis(100);
/// The longest wait for a commit, and then for the voters' seal.
const VOTERS_WITHIN: Duration = Duration::from_secs(30);

/// What is asked about.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// As the voters gave it.
    pub(crate) epoch: RevocationEpoch,
    /// What was cut, where that is known: then it has to be in the set.
    pub(crate) cut: Option<Cut>,
}

/// What is proven about an epoch.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Proven {
    /// As the voter says, with what is not proven taken out.
    #[serde(flatten)]
    pub(crate) coverage: Coverage,
    /// Absent in a mesh whose directory lists no beacon keys.
    pub(crate) seal: Option<Seal>,
}

/// Who has signed that they have applied it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Seal {
    /// Whether they are enough.
    pub(crate) sealed: bool,
    /// The voters.
    pub(crate) by: Vec<VoterId>,
    /// How many it takes.
    pub(crate) needed: usize,
    /// This machine's clock when that was seen first.
    pub(crate) seen: Option<Timestamp>,
}

impl Seal {
    /// For people.
    pub(crate) fn words(&self) -> String {
        let word = if self.sealed { "sealed" } else { "not sealed" };
        format!("{word} by {} of the {} voters that it takes", self.by.len(), self.needed)
    }
}

impl Proven {
    /// Whether nothing is permitted any more under what was cut, whatever one voter says.
    pub(crate) fn is_in_force(&self, now: Timestamp) -> bool {
        let sealed = self.seal.as_ref().is_none_or(|seal| seal.sealed);
        sealed && (self.coverage.covered || self.coverage.everywhere_by.is_some_and(|by| now >= by))
    }
}

/// What the voters say about an epoch, and what of it is proven.
pub(crate) async fn ask_coverage(
    context: &Context,
    admin: &Admin,
    directory: &Directory,
    asked: &Asked,
) -> Result<Proven, Failure> {
    let coverage: Coverage = admin.get(&format!("/v1/revocations/{}/coverage", asked.epoch)).await?;
    let set = match coverage.committed {
        true => verified_set(context, admin, directory).await?,
        false => Revocations::new(),
    };
    if let Some(cut) = asked.cut.as_ref().filter(|_| coverage.committed)
        && set.epoch() >= asked.epoch
        && !set.iter().any(|entry| entry.cut == *cut)
    {
        let message = format!("the voter says that epoch {} has the cut, but its revocations do not", asked.epoch);
        return Err(Failure::new(Exit::Failed, message)
            .reason("not_committed")
            .hint("ask another voter: this one lies"));
    }
    Ok(prove(coverage, asked.epoch, &set, directory, context.now()))
}

/// Every entry verified, and the digest of all.
async fn verified_set(context: &Context, admin: &Admin, directory: &Directory) -> Result<Revocations, Failure> {
    let list: RevocationList = admin.get("/v1/revocations").await?;
    if list.epoch == RevocationEpoch(0) {
        return Ok(Revocations::new());
    }
    let whole = RevocationUpdate {
        from: RevocationEpoch(0),
        to: list.epoch,
        digest: list.digest,
        added: list.revocations,
        removed: Vec::new(),
    };
    Revocations::new().updated(whole, &directory.authorities(), context.now()).map_err(|refused| {
        Failure::new(Exit::Failed, format!("the voter's revocations do not verify: {refused}"))
            .reason(refused.reason_code())
            .hint("the directory here may be older than the voter's: try again")
    })
}

/// What of the answer stands.
fn prove(
    mut coverage: Coverage,
    epoch: RevocationEpoch,
    set: &Revocations,
    directory: &Directory,
    now: Timestamp,
) -> Proven {
    let signs = directory.has_beacon_keys();
    let shown = set.epoch() >= epoch;
    let digest = set.digest();
    for edge in &mut coverage.edges {
        let own = edge.ack.as_ref().filter(|ack| ack.edge == edge.edge && ack.epoch >= epoch);
        let proven = own.is_some_and(|ack| {
            if signs {
                shown && seal::is_covered(ack, epoch, (set.epoch(), &digest), &coverage.ticks, directory)
            } else {
                let listed = directory.edge(&edge.edge);
                listed.is_some_and(|listed| ack.verify(&directory.content().mesh_id, &listed.identity).is_ok())
            }
        });
        edge.covered = edge.covered && proven;
    }
    coverage.covered = coverage.committed && coverage.edges.iter().all(|edge| edge.covered);
    let seal = signs.then(|| {
        let seal = match shown {
            true => seal::seal_of(set.epoch(), &digest, &coverage.ticks, directory),
            false => seal::seal_of(epoch, &digest, &[], directory),
        };
        let sealed = seal.is_closed();
        Seal { sealed, by: seal.by.into_iter().collect(), needed: seal.needed, seen: sealed.then_some(now) }
    });
    Proven { coverage, seal }
}

/// Waits until the epoch is committed and sealed, and every edge is covered or has stopped by itself. Calls `tell` with
/// each answer.
pub(crate) async fn wait_coverage(
    context: &Context,
    admin: &Admin,
    directory: &Directory,
    asked: &Asked,
    mut tell: impl FnMut(&Proven),
) -> Result<Proven, Failure> {
    let started = context.now();
    let mut sealed_at = None;
    loop {
        let mut proven = ask_coverage(context, admin, directory, asked).await?;
        if let Some(seal) = proven.seal.as_mut().filter(|seal| seal.sealed) {
            let at = *sealed_at.get_or_insert(context.now());
            seal.seen = Some(at);
            count_from(&mut proven.coverage, at);
        }
        tell(&proven);
        let now = context.now();
        if proven.is_in_force(now) {
            return Ok(proven);
        }
        let is_missing = !proven.coverage.committed || proven.seal.as_ref().is_some_and(|seal| !seal.sealed);
        if is_missing && now.since(started) > VOTERS_WITHIN {
            return Err(missing(&proven, asked.epoch));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Edges that nobody hears stop by their bounds, counted from when this machine saw the seal: until then a liar could have
/// kept them fresh.
fn count_from(coverage: &mut Coverage, sealed: Timestamp) {
    let Some(committed) = coverage.committed_by else { return };
    for stop in coverage.edges.iter_mut().flat_map(|edge| edge.stops.values_mut()) {
        *stop = sealed.max(committed).plus(stop.since(committed));
    }
    let last = coverage.edges.iter().flat_map(|edge| edge.stops.values().copied()).max();
    coverage.everywhere_by = Some(last.unwrap_or(sealed).max(sealed));
}

fn missing(proven: &Proven, epoch: RevocationEpoch) -> Failure {
    let within = VOTERS_WITHIN.as_secs();
    let hint = "`remit status` shows whether the voters run";
    match &proven.seal {
        Some(seal) if proven.coverage.committed => {
            let message = format!("epoch {epoch} is committed, and after {within} s {}", seal.words());
            Failure::new(Exit::Failed, message).reason("not_sealed").hint(hint)
        }
        _ => Failure::new(Exit::Failed, format!("epoch {epoch} is not committed after {within} s"))
            .reason("not_committed")
            .hint(hint),
    }
}
