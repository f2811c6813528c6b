//! Drills on the simulated mesh.

use anyhow::{Context as _, Result};
use remit_common::net::tasks::Shutdown;
use remit_common::time::Timestamp;

use super::mesh::SimMesh;
use super::runtime;
use crate::drill::crew::Workers;
use crate::drill::engine::{Nobody, Options, Watcher, play};
use crate::drill::file::Drill;
use crate::drill::outcome::DrillOutcome;
use crate::drill::shipped::shipped;

/// When a shipped drill begins, by the wall clock: a fixed moment, so that equal seeds give equal runs.
const WALL: Timestamp = Timestamp::from_secs(1_800_000_000);

/// Plays a drill, on a runtime of its own; blocks until it is over.
///
/// # Errors
/// When the simulation itself fails; what goes wrong in the drill is in its outcome.
pub fn rehearse(drill: &Drill, options: &Options, watcher: &dyn Watcher) -> Result<DrillOutcome> {
    runtime::block_on(options.seed, async {
        let mut sim = SimMesh::new(options.seed)?;
        let mut crew = Workers::new(sim.secret().to_vec());
        let mut outcome = Box::pin(play(drill, &mut sim, &mut crew, options, watcher)).await;
        outcome.trace = Some(sim.net().digest().to_string());
        Ok(outcome)
    })
}

/// Plays the shipped drill of this name with a seed.
///
/// # Errors
/// As [`rehearse`]; and when no such drill is shipped, or its file does not hold.
pub fn rehearse_shipped(name: &str, seed: u64) -> Result<DrillOutcome> {
    let text = shipped(name).with_context(|| format!("no drill `{name}` is shipped"))?;
    let drill = Drill::read(&format!("{name}.yaml"), text)?;
    let options = Options {
        seed,
        wall: WALL,
        reproduce: format!("remit drill run {name} --seed {seed}"),
        interrupt: Shutdown::new(),
    };
    rehearse(&drill, &options, &Nobody)
}
