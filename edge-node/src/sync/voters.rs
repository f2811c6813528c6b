//! Which voters this edge keeps a link to, as the mesh changes.
//!
//! Who is a voter is what the directory says, and nothing else; until there is one it is the configuration. Where a
//! voter is, is a hint: the configuration has one, and connected voters tell where those are that joined later. A
//! wrong hint costs attempts, because whoever answers there has to show that voter's certificate. What one voter tells
//! lies beside what another one tells and never in its place, and each has its turn: one that lies keeps this edge from
//! nobody. Clause N-14.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use remit_common::id::VoterId;
use remit_common::net::tasks::{Shutdown, TaskGroup};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::link::{Dialler, LinkTask};
use super::{LinkCell, Links};
use crate::active::ViewCell;

/// Between two looks at the directory.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Hints of one voter that are kept: as many as a directory lists voters, and those that are leaving.
pub(super) const HINTS_MAX: usize = 16;
/// Bytes of the file that keeps hints over a restart: of as many voters.
const FILE_BYTES_MAX: usize = 32 * 1024;
/// Between two writes of that file.
const STORE_EVERY: Duration = Duration::from_secs(5);
/// How long links may take to end.
const END_WITHIN: Duration = Duration::from_secs(3);

/// Keeps the links.
pub(crate) struct VoterLinks {
    pub(crate) dialler: Dialler,
    pub(crate) configured: BTreeMap<VoterId, SocketAddr>,
    /// Where the hints lie.
    pub(crate) file: PathBuf,
    pub(crate) views: ViewCell,
    /// What connected voters tell.
    pub(crate) told: watch::Receiver<Told>,
    pub(crate) table: watch::Sender<Links>,
}

/// What each voter last told about where voters are.
pub(crate) type Told = BTreeMap<VoterId, BTreeMap<VoterId, SocketAddr>>;

/// Where one voter may be, by who says so: the configuration, or a voter.
pub(super) type Places = BTreeMap<Option<VoterId>, SocketAddr>;

/// The file of hints, version 2.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hints {
    v: u8,
    /// By who told it.
    told: Told,
}

impl Default for Hints {
    fn default() -> Self {
        Self { v: HINTS_VERSION, told: Told::default() }
    }
}

const HINTS_VERSION: u8 = 2;

struct Open {
    cell: LinkCell,
    places: watch::Sender<Places>,
    stop: Shutdown,
}

impl VoterLinks {
    /// Runs until shutdown.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        let mut hints = self.load().await;
        let mut open: BTreeMap<VoterId, Open> = BTreeMap::new();
        let mut tasks = TaskGroup::new(&self.dialler.env);
        let (mut is_stored, mut stored_at) = (true, None);
        loop {
            self.adjust(&hints, &mut open, &mut tasks);
            let now = self.dialler.env.now().boot;
            if !is_stored && stored_at.is_none_or(|at| now.since(at) >= STORE_EVERY) {
                self.store(&hints).await;
                (is_stored, stored_at) = (true, Some(now));
            }
            tokio::select! {
                biased;
                () = shutdown.requested() => break,
                Some(_ended) = tasks.next_finished() => {}
                Ok(()) = self.told.changed() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let told = self.told.borrow_and_update().clone();
            if note(&mut hints, told, &self.voters()) {
                is_stored = false;
            }
        }
        if !is_stored {
            self.store(&hints).await;
        }
        self.table.send_replace(Arc::default());
        open.values().for_each(|open| open.stop.trigger());
        drop(tasks.join_all(END_WITHIN).await);
    }

    /// Who is a voter.
    fn voters(&self) -> BTreeSet<VoterId> {
        match &self.views.load().directory {
            Some(directory) => directory.voters().map(|voter| voter.id).collect(),
            None => self.configured.keys().copied().collect(),
        }
    }

    fn adjust(&self, hints: &Hints, open: &mut BTreeMap<VoterId, Open>, tasks: &mut TaskGroup) {
        let places = |id: VoterId| {
            let places = places(hints, self.configured.get(&id).copied(), id);
            (!places.is_empty()).then_some((id, places))
        };
        let wanted: BTreeMap<VoterId, Places> = self.voters().into_iter().filter_map(places).collect();
        let leaving: Vec<VoterId> = open.keys().filter(|id| !wanted.contains_key(id)).copied().collect();
        let ending: Vec<Open> = leaving.iter().filter_map(|id| open.remove(id)).collect();
        let mut changed = !ending.is_empty();
        for (id, places) in wanted {
            if let Some(open) = open.get(&id) {
                open.places.send_if_modified(|known| std::mem::replace(known, places.clone()) != places);
                continue;
            }
            let sender = watch::Sender::new(None);
            let (cell, stop) = (sender.subscribe(), Shutdown::new());
            let places = watch::Sender::new(places);
            let task = LinkTask { dialler: self.dialler.clone(), voter: id, places: places.subscribe(), cell: sender };
            tasks.spawn("link to a voter", task.run(stop.clone()));
            open.insert(id, Open { cell, places, stop });
            changed = true;
        }
        if changed {
            self.table.send_replace(Arc::new(open.values().map(|open| open.cell.clone()).collect()));
        }
        // After the table has let go of them.
        ending.iter().for_each(|open| open.stop.trigger());
    }

    /// A file that cannot be read is forgotten: it holds hints.
    async fn load(&self) -> Hints {
        let (disk, file) = (Arc::clone(&self.dialler.env.disk), self.file.clone());
        let read = self.dialler.env.run_blocking(move || disk.read(&file, FILE_BYTES_MAX)).await;
        let hints = match read {
            Ok(Ok(Some(bytes))) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Ok(Ok(None) | Err(_)) | Err(_) => Hints::default(),
        };
        if hints.v == HINTS_VERSION { hints } else { Hints::default() }
    }

    async fn store(&self, hints: &Hints) {
        let (disk, file) = (Arc::clone(&self.dialler.env.disk), self.file.clone());
        let Ok(bytes) = serde_json::to_vec(hints) else { return };
        let stored = self.dialler.env.run_blocking(move || disk.replace(&file, &bytes)).await;
        if !matches!(stored, Ok(Ok(()))) {
            tracing::warn!("where voters are could not be written down; after a restart it has to be heard again");
        }
    }
}

/// Takes in what voters told; whether anything is new. Whoever is no voter any more tells nothing.
fn note(hints: &mut Hints, told: Told, voters: &BTreeSet<VoterId>) -> bool {
    let mut next = hints.told.clone();
    next.extend(told);
    next.retain(|teller, _| voters.contains(teller));
    let is_new = next != hints.told;
    hints.told = next;
    is_new
}

/// Where a voter may be.
fn places(hints: &Hints, configured: Option<SocketAddr>, id: VoterId) -> Places {
    let told = hints.told.iter().filter_map(|(teller, told)| told.get(&id).map(|addr| (Some(*teller), *addr)));
    configured.map(|addr| (None, addr)).into_iter().chain(told).collect()
}

/// The place to try after this one: each source has its turn, however often another one changes its mind.
pub(super) fn next_place(places: &Places, last: Option<Option<VoterId>>) -> Option<(Option<VoterId>, SocketAddr)> {
    let behind = last.and_then(|last| places.range((Bound::Excluded(last), Bound::Unbounded)).next());
    behind.or_else(|| places.first_key_value()).map(|(source, addr)| (*source, *addr))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(port: u16) -> SocketAddr {
        ([10, 0, 0, 1], port).into()
    }

    fn voters(ids: std::ops::RangeInclusive<u64>) -> BTreeSet<VoterId> {
        ids.map(VoterId).collect()
    }

    fn tells(teller: u64, of: &[(u64, u16)]) -> Told {
        BTreeMap::from([(VoterId(teller), of.iter().map(|(id, port)| (VoterId(*id), addr(*port))).collect())])
    }

    #[test]
    fn a_voter_that_lies_about_where_another_one_is_takes_no_true_hint_away() {
        let mut hints = Hints::default();
        assert!(note(&mut hints, tells(2, &[(4, 1)]), &voters(1..=4)));
        assert!(!note(&mut hints, tells(2, &[(4, 1)]), &voters(1..=4)));
        let invented: Vec<(u64, u16)> = (100..116).map(|id| (id, 3)).collect();
        note(&mut hints, tells(3, &invented), &voters(1..=4));
        assert_eq!(places(&hints, None, VoterId(4)), BTreeMap::from([(Some(VoterId(2)), addr(1))]));
        // And repeats another place, ever again another one: it has every second turn at most.
        let (mut last, mut tried) = (None, Vec::new());
        for port in 1_000..1_010 {
            note(&mut hints, tells(3, &[(4, port)]), &voters(1..=4));
            let (source, place) = next_place(&places(&hints, None, VoterId(4)), last).unwrap();
            last = Some(source);
            tried.push(place);
        }
        assert_eq!(tried.iter().filter(|place| **place == addr(1)).count(), 5, "{tried:?}");
        // Who moves says so itself, and the others say so.
        assert!(note(&mut hints, tells(2, &[(4, 5)]), &voters(1..=4)));
        assert_eq!(places(&hints, Some(addr(9)), VoterId(4))[&Some(VoterId(2))], addr(5));
        assert_eq!(places(&hints, Some(addr(9)), VoterId(4))[&None], addr(9));
    }

    #[test]
    fn who_is_no_voter_tells_nothing() {
        let mut hints = Hints::default();
        for teller in 1..200 {
            note(&mut hints, tells(teller, &[(4, 1)]), &voters(1..=4));
        }
        assert_eq!(hints.told.len(), 4);
        assert!(note(&mut hints, Told::new(), &voters(2..=4)), "one has left");
        assert_eq!(hints.told.len(), 3);
    }

    /// N-14: version 2 of the file, and the most that it may hold.
    #[test]
    fn the_file_keeps_its_form() {
        let hints = Hints { told: tells(2, &[(4, 7401)]), ..Hints::default() };
        let text = r#"{"v":2,"told":{"2":{"4":"10.0.0.1:7401"}}}"#;
        assert_eq!(serde_json::to_string(&hints).unwrap(), text);
        assert_eq!(serde_json::from_str::<Hints>(text).unwrap(), hints);
        let long: SocketAddr = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535".parse().unwrap();
        let of: BTreeMap<VoterId, SocketAddr> = (0u64..16).map(|id| (VoterId(u64::MAX - id), long)).collect();
        let told = (0u64..16).map(|teller| (VoterId(u64::MAX - teller), of.clone())).collect();
        let bytes = serde_json::to_vec(&Hints { told, ..Hints::default() }).unwrap();
        assert!(bytes.len() <= FILE_BYTES_MAX, "{}", bytes.len());
    }
}
