//! A shipped drill, played on the simulated mesh as `remit drill run NAME --backend sim` plays it.

use anyhow::{Context as _, Result};
use remit_common::net::tasks::Shutdown;
use remit_common::time::Timestamp;

use super::mesh::SimMesh;
use super::runtime;
use crate::drill::crew::Workers;
use crate::drill::engine::{Nobody, Options, play};
use crate::drill::file::Drill;
use crate::drill::outcome::DrillOutcome;
use crate::drill::shipped::shipped;

/// When it begins, by the wall clock: a fixed moment, so that equal seeds give equal runs.
const WALL: Timestamp = Timestamp::from_secs(1_800_000_000);

/// Plays the drill of this name with a seed, on a runtime of its own.
///
/// # Errors
/// When no such drill is shipped, or its file does not hold; what goes wrong in the drill is in its outcome.
pub fn rehearse(name: &str, seed: u64) -> Result<DrillOutcome> {
    let text = shipped(name).with_context(|| format!("no drill `{name}` is shipped"))?;
    let drill = Drill::read(&format!("{name}.yaml"), text).map_err(|complaints| anyhow::anyhow!("{complaints:?}"))?;
    let options = Options {
        seed,
        wall: WALL,
        reproduce: format!("remit drill run {name} --seed {seed}"),
        interrupt: Shutdown::new(),
    };
    runtime::block_on(seed, async {
        let mut sim = SimMesh::new(seed)?;
        let mut crew = Workers::new(sim.secret().to_vec());
        Ok(Box::pin(play(&drill, &mut sim, &mut crew, &options, &Nobody)).await)
    })
}
