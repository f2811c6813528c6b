//! One simulated run: a mesh, people at work, faults drawn from a seed, healing, and the judgement.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use remit_common::crypto::digest::Digest;
use remit_common::id::Region;

use super::mesh::{DISK_LATENCY, SimMesh};
use super::nemesis::{self, Limits, Step};
use super::net::Counters;
use super::runtime;
use crate::drill::backend::{Access as _, Backend as _, Shape};
use crate::history::{History, Kind, What};
use crate::invariant::{self, Context, Judgement};
use crate::workload::{Pace, Workload};

/// After everything was healed, within this time all must be well again.
const HEALED_WITHIN: Duration = Duration::from_secs(20);

/// What to run.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The mesh.
    pub shape: Shape,
    /// How hard everybody works.
    pub pace: Pace,
    /// How long everybody works, from the first permit at every edge to the end.
    pub length: Duration,
    /// What may fail.
    pub limits: Limits,
    /// How long work on a disk takes.
    pub disk_latency: Duration,
}

impl Setup {
    /// Three voters, four edges in two regions and four agents, for this long.
    ///
    /// # Errors
    /// Never in practice: the names in it are fixed.
    pub fn usual(length: Duration) -> Result<Self> {
        let regions = BTreeMap::from([(Region::new("eu-west")?, 2), (Region::new("us-east")?, 2)]);
        let shape = Shape { voters: 3, regions, agents: 4, bundles: true, rollouts: true };
        Ok(Self { shape, pace: Pace::default(), length, limits: Limits::default(), disk_latency: DISK_LATENCY })
    }

    /// The same mesh, with more of what bugs hide in: everybody is in a hurry, disks are slow, more is poisoned, and
    /// accidents meet. There is less time to heal, so this says less of how the mesh recovers.
    ///
    /// # Errors
    /// Never in practice: the names in it are fixed.
    pub fn hard(length: Duration) -> Result<Self> {
        let pace = Pace {
            call_every: Duration::from_millis(200),
            revoke_every: Duration::from_millis(1_500),
            publish_every: Some(Duration::from_secs(3)),
            poisoned_one_in: 2,
            roll_out_every: Some(Duration::from_secs(6)),
            read_every: Duration::from_millis(500),
            observe_every: Duration::from_millis(400),
            cut_sessions: 3,
            ..Pace::default()
        };
        let limits = Limits {
            recovery: Duration::from_secs(12),
            episode_every: Duration::from_secs(1),
            compounds: 8,
            ..Limits::default()
        };
        Ok(Self { pace, limits, disk_latency: Duration::from_millis(15), ..Self::usual(length)? })
    }
}

/// What a run was.
#[derive(Debug)]
pub struct Run {
    /// What decided it.
    pub seed: u64,
    /// Over every packet, every change of a disk and everything noted: equal for equal seeds.
    pub digest: Digest,
    /// What was done and seen.
    pub history: History,
    /// By what it is judged.
    pub context: Context,
    /// Whether every promise was kept.
    pub judgement: Judgement,
    /// How often each fault happened.
    pub faults: BTreeMap<&'static str, u32>,
    /// What the network did.
    pub network: Counters,
    /// Simulated time from the beginning to the end.
    pub took: Duration,
}

/// Plays the run that a seed decides, on a runtime of its own.
///
/// # Errors
/// When the mesh does not come up, or the simulation itself fails.
pub fn run(seed: u64, setup: &Setup) -> Result<Run> {
    runtime::block_on(seed, async {
        let history = History::default();
        let mut mesh = SimMesh::with_disks(seed, setup.disk_latency)?;
        let played = play(&mut mesh, setup, &history).await;
        let (took, digest, network) = (mesh.now(), mesh.net().digest(), mesh.net().counters());
        mesh.stop().await?;
        let (context, faults) = played?;
        let judgement = invariant::check(&history.events(), &context);
        Ok(Run { seed, digest, history, context, judgement, faults, network, took })
    })
}

async fn play(mesh: &mut SimMesh, setup: &Setup, history: &History) -> Result<(Context, BTreeMap<&'static str, u32>)> {
    mesh.start(setup.shape.clone(), history.clone()).await?;
    let access = mesh.access();
    let secret = mesh.secret().to_vec();
    let pace = Pace { agents: setup.shape.agents, ..setup.pace.clone() };
    let mut workload = Workload::prepare(access.clone(), history.clone(), pace, &secret).await?;
    workload.phase("steady");
    workload.start();
    let began = access.now();
    let plan = nemesis::plan(mesh.seed(), &access.roster(), setup.length, &setup.limits);
    let faults = plan.faults();

    workload.phase("faults");
    for Step { at, fault } in plan.steps {
        tokio::time::sleep((began + at).saturating_sub(access.now())).await;
        if mesh.unable(&fault).is_none() {
            history.note(access.now(), "drill", Kind::Info, fault.told(fault.begins()));
            mesh.begin(fault);
        }
    }
    tokio::time::sleep((began + plan.healed_at).saturating_sub(access.now())).await;
    workload.phase("heal");
    mesh.undo_all().await?;
    tokio::time::sleep((began + setup.length).saturating_sub(access.now())).await;

    workload.phase("check");
    workload.stop().await;
    workload.gather().await;
    let places = mesh.find_secret(&secret).await?;
    let found = u64::try_from(places.len()).unwrap_or(u64::MAX);
    for place in places {
        history.note(access.now(), "world", Kind::Info, What::Canary { place });
    }
    history.note(access.now(), "world", Kind::Info, What::Searched { found });
    let mut context = Context::new(workload.bounds()?, access.roster());
    context.heal_within = HEALED_WITHIN;
    Ok((context, faults))
}
