//! Which voters this edge keeps a link to, as the mesh changes.
//!
//! Who is a voter is what the directory says, and nothing else; until there is one it is the configuration. Where a
//! voter is, is a hint: the configuration has one, and connected voters tell where those are that joined later. A
//! wrong hint costs attempts, because whoever answers there has to show that voter's certificate. Clause N-14.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use remit_common::id::VoterId;
use remit_common::net::tasks::{Shutdown, TaskGroup};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use super::link::{Dialler, LinkTask};
use super::{LinkCell, Links};
use crate::active::ViewCell;

/// Between two looks at the directory.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Hints that are kept: as many as a directory lists voters, and those that are leaving.
const HINTS_MAX: usize = 16;
/// Bytes of the file that keeps hints over a restart.
const FILE_BYTES_MAX: usize = 8 * 1024;
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
    pub(crate) told: mpsc::Receiver<Vec<(VoterId, SocketAddr)>>,
    pub(crate) table: watch::Sender<Links>,
}

/// The file of hints, version 1.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hints {
    v: u8,
    voters: BTreeMap<VoterId, SocketAddr>,
}

struct Open {
    cell: LinkCell,
    addrs: Vec<SocketAddr>,
    stop: Shutdown,
}

impl VoterLinks {
    /// Runs until shutdown.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        let mut hints = self.load().await;
        let mut open: BTreeMap<VoterId, Open> = BTreeMap::new();
        let mut tasks = TaskGroup::new(&self.dialler.env);
        loop {
            self.adjust(&hints, &mut open, &mut tasks);
            let told = tokio::select! {
                biased;
                () = shutdown.requested() => break,
                Some(_ended) = tasks.next_finished() => None,
                told = self.told.recv() => told,
                () = tokio::time::sleep(LOOK_EVERY) => None,
            };
            if let Some(told) = told
                && note(&mut hints, &told)
            {
                self.store(&hints).await;
            }
        }
        self.table.send_replace(Arc::default());
        open.values().for_each(|open| open.stop.trigger());
        drop(tasks.join_all(END_WITHIN).await);
    }

    /// Where each voter may be, the configured place first.
    fn wanted(&self, hints: &Hints) -> BTreeMap<VoterId, Vec<SocketAddr>> {
        let view = self.views.load();
        let ids: Vec<VoterId> = match &view.directory {
            Some(directory) => directory.voters().map(|voter| voter.id).collect(),
            None => self.configured.keys().copied().collect(),
        };
        let places = |id: VoterId| {
            let mut places: Vec<SocketAddr> = self.configured.get(&id).into_iter().copied().collect();
            places.extend(hints.voters.get(&id).filter(|hint| !places.contains(hint)).copied().as_slice());
            (!places.is_empty()).then_some((id, places))
        };
        ids.into_iter().filter_map(places).collect()
    }

    fn adjust(&self, hints: &Hints, open: &mut BTreeMap<VoterId, Open>, tasks: &mut TaskGroup) {
        let wanted = self.wanted(hints);
        let is_connected = |open: &Open| open.cell.borrow().is_some();
        // What is connected stays, whatever is said about its address.
        let stays = |id: &VoterId, open: &Open| {
            wanted.get(id).is_some_and(|places| *places == open.addrs || is_connected(open))
        };
        let leaving: Vec<VoterId> = open.iter().filter(|(id, open)| !stays(id, open)).map(|(id, _)| *id).collect();
        let ending: Vec<Open> = leaving.iter().filter_map(|id| open.remove(id)).collect();
        let mut changed = !ending.is_empty();
        for (id, addrs) in wanted {
            if open.contains_key(&id) {
                continue;
            }
            let sender = watch::Sender::new(None);
            let (cell, stop) = (sender.subscribe(), Shutdown::new());
            let task = LinkTask { dialler: self.dialler.clone(), voter: id, addrs: addrs.clone(), cell: sender };
            tasks.spawn("link to a voter", task.run(stop.clone()));
            open.insert(id, Open { cell, addrs, stop });
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
        if hints.v == 1 { hints } else { Hints { v: 1, ..Hints::default() } }
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

/// Takes in what a voter told; whether anything is new.
fn note(hints: &mut Hints, told: &[(VoterId, SocketAddr)]) -> bool {
    let mut is_new = false;
    for (id, addr) in told.iter().take(HINTS_MAX) {
        let has_room = hints.voters.len() < HINTS_MAX || hints.voters.contains_key(id);
        if has_room && hints.voters.insert(*id, *addr) != Some(*addr) {
            is_new = true;
        }
    }
    is_new
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(port: u16) -> SocketAddr {
        ([10, 0, 0, 1], port).into()
    }

    #[test]
    fn hints_are_bounded_and_the_newest_counts() {
        let mut hints = Hints { v: 1, ..Hints::default() };
        assert!(note(&mut hints, &[(VoterId(4), addr(1))]));
        assert!(!note(&mut hints, &[(VoterId(4), addr(1))]));
        assert!(note(&mut hints, &[(VoterId(4), addr(2))]));
        for id in 100..200 {
            note(&mut hints, &[(VoterId(id), addr(3))]);
        }
        assert_eq!(hints.voters.len(), HINTS_MAX);
        assert!(note(&mut hints, &[(VoterId(4), addr(5))]), "who is known can still move");
    }

    /// N-14: version 1 of the file.
    #[test]
    fn the_file_keeps_its_form() {
        let hints = Hints { v: 1, voters: BTreeMap::from([(VoterId(4), addr(7401))]) };
        let text = r#"{"v":1,"voters":{"4":"10.0.0.1:7401"}}"#;
        assert_eq!(serde_json::to_string(&hints).unwrap(), text);
        assert_eq!(serde_json::from_str::<Hints>(text).unwrap(), hints);
    }
}
