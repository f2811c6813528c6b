//! All edges of a mesh, running, and what is known of each.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use remit_common::crypto::digest::Digest;
use remit_common::id::{LogIndex, RevocationEpoch};
use remit_common::net::env::{Env, deadline};
use remit_common::net::tasks::TaskGroup;
use tokio::sync::mpsc;

use super::edge::{Crossed, Edge, Told, What, World};
use super::mesh::Mesh;
use crate::measure::now;

/// Words of edges that wait to be heard: a few of each edge.
const TOLD_MAX: usize = 1 << 16;

/// See the module.
pub struct Crowd {
    /// What the edges share.
    pub world: Arc<World>,
    known: Vec<Known>,
    again: Vec<mpsc::Sender<()>>,
    told: mpsc::Receiver<Told>,
    tasks: TaskGroup,
    /// Attempts that failed and connections that ended, by why.
    pub troubles: BTreeMap<String, u64>,
}

/// What one edge has said last.
#[derive(Debug, Clone, Default)]
struct Known {
    is_subscribed: bool,
    fresh: Option<(Instant, Crossed)>,
    covered: Option<(Instant, RevocationEpoch, Digest)>,
}

impl Crowd {
    /// Opens the socket of every edge that the mesh has a seat for but the last `spare`, and starts none.
    ///
    /// # Errors
    /// When a socket does not open.
    pub fn gather(
        env: &Env,
        mesh: &mut Mesh,
        spare: usize,
        number: LogIndex,
        nonce_every: Duration,
    ) -> Result<Gathered> {
        let (tell, told) = mpsc::channel(TOLD_MAX);
        let world = Arc::new(World {
            env: env.clone(),
            mesh: mesh.id,
            tenant: mesh.tenant.clone(),
            voters: mesh.voters.clone(),
            addr: mesh.listen.dist,
            directory: Arc::clone(&mesh.directory),
            runs: (mesh.bundle.1, number),
            nonce_every,
            frame_bytes: OnceLock::new(),
            told: tell,
        });
        let count = mesh.seats.len().checked_sub(spare).context("too few seats")?;
        let (mut edges, mut again) = (Vec::new(), Vec::new());
        for (who, seat) in mesh.seats.drain(..count).enumerate() {
            let (order, ordered) = mpsc::channel(1);
            again.push(order);
            edges.push(Edge::new(who, &world, seat, ordered)?);
        }
        let known = vec![Known::default(); edges.len()];
        let tasks = TaskGroup::new(env);
        let crowd = Self { world, known, again, told, tasks, troubles: BTreeMap::new() };
        Ok(Gathered { crowd, edges })
    }

    /// How many edges there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    fn hear(&mut self, Told { who, at, what }: Told) {
        let Some(known) = self.known.get_mut(who) else { return };
        match what {
            What::Subscribed => known.is_subscribed = true,
            What::Fresh(crossed) => known.fresh = Some((at, crossed)),
            What::Covered(epoch, digest) => known.covered = Some((at, epoch, digest)),
            What::Refused(why) => *self.troubles.entry(format!("no connection: {why}")).or_default() += 1,
            What::Lost(why) => {
                (known.is_subscribed, known.fresh) = (false, None);
                *self.troubles.entry(format!("connection ended: {why}")).or_default() += 1;
            }
        }
    }

    /// Waits until so many edges are as they should be.
    async fn until(&mut self, within: Duration, what: &str, is_so: impl Fn(&Known) -> bool) -> Result<()> {
        let deadline_at = now() + within;
        let mut left: Vec<usize> = (0..self.known.len()).collect();
        loop {
            left.retain(|who| !self.known.get(*who).is_some_and(&is_so));
            if left.is_empty() {
                return Ok(());
            }
            // So many more words at least must come before this can change.
            for _ in 0..left.len() {
                let wait = deadline_at.saturating_duration_since(now());
                match deadline(wait, self.told.recv()).await {
                    Ok(Some(told)) => self.hear(told),
                    Ok(None) => bail!("every edge has ended"),
                    Err(_) => bail!(
                        "{} of {} edges are not {what} after {within:?}; troubles: {:?}",
                        left.len(),
                        self.known.len(),
                        self.troubles
                    ),
                }
            }
        }
    }

    /// Waits until every edge is fresh, and gives the moment at which each became so.
    ///
    /// # Errors
    /// When it takes too long.
    pub async fn fresh(&mut self, within: Duration) -> Result<Vec<Instant>> {
        self.until(within, "fresh", |known| known.fresh.is_some()).await?;
        Ok(self.known.iter().filter_map(|known| known.fresh.map(|(at, _)| at)).collect())
    }

    /// Waits until every edge has signed this epoch, compares what they signed, and gives when each did.
    ///
    /// # Errors
    /// When it takes too long, or two edges enforce different sets.
    pub async fn covered(&mut self, epoch: RevocationEpoch, within: Duration) -> Result<(Vec<Instant>, Digest)> {
        let has = |known: &Known| known.covered.is_some_and(|(_, signed, _)| signed >= epoch);
        self.until(within, "covered", has).await?;
        let signed: Vec<_> = self.known.iter().filter_map(|known| known.covered).collect();
        let digest = signed.first().context("there is no edge")?.2;
        let same = signed.iter().all(|(_, of, theirs)| (*of, *theirs) == (epoch, digest));
        ensure!(same, "not every edge enforces the same set at epoch {epoch}");
        Ok((signed.into_iter().map(|(at, ..)| at).collect(), digest))
    }

    /// Forgets that edges are fresh: they are about to be cut off.
    pub fn forget(&mut self) {
        while let Ok(told) = self.told.try_recv() {
            self.hear(told);
        }
        self.known.iter_mut().for_each(|known| known.fresh = None);
    }

    /// Has one edge connect anew, and gives what crossed until it was fresh again.
    ///
    /// # Errors
    /// When it takes too long.
    pub async fn reconnect(&mut self, who: usize, within: Duration) -> Result<Crossed> {
        while let Ok(told) = self.told.try_recv() {
            self.hear(told);
        }
        let known = self.known.get_mut(who).context("no such edge")?;
        known.fresh = None;
        self.again.get(who).context("no such edge")?.send(()).await.context("the edge has ended")?;
        self.until(within, "fresh", |known| known.fresh.is_some()).await?;
        let fresh = self.known.get(who).and_then(|known| known.fresh);
        Ok(fresh.context("it is not fresh")?.1)
    }

    /// Hears what edges say for so long, so that nobody waits to be heard.
    pub async fn rest(&mut self, time: Duration) {
        let until = now() + time;
        while let Ok(Some(told)) = deadline(until.saturating_duration_since(now()), self.told.recv()).await {
            self.hear(told);
        }
    }

    /// Whether every edge has a conversation.
    #[must_use]
    pub fn all_subscribed(&self) -> bool {
        self.known.iter().all(|known| known.is_subscribed)
    }
}

/// A crowd before the start.
pub struct Gathered {
    crowd: Crowd,
    edges: Vec<Edge>,
}

impl Gathered {
    /// Starts every edge, all at once.
    #[must_use]
    pub fn start(self) -> (Crowd, Instant) {
        let Self { mut crowd, edges } = self;
        let started = now();
        for edge in edges {
            crowd.tasks.spawn("edge", edge.run());
        }
        (crowd, started)
    }
}
