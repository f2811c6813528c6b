//! A voter that is gone for good, and the one that takes its place.

use anyhow::{Context as _, Result, bail};

use super::access::LiveAccess;
use super::backend::Running;
use super::faults;
use crate::node::Node;
use crate::workload::electorate;

/// Kills a voter, and has a new one, with a new id and an empty disk, take its place: as an administrator does it, by
/// the steps of the book.
pub(super) async fn replace(running: &mut Running, access: &LiveAccess, node: &Node) -> Result<()> {
    let Node::Voter(gone) = node else { bail!("`{node}` is no voter") };
    faults::kill(running, node).await?;
    let new = running.mesh.add_voter(*gone)?;
    electorate::install(access, &new.directory).await.context("the directory with the new voter")?;
    running.mesh.start_voter(new.id)?;
    electorate::add(access, new.id, new.raft, new.dist).await?;
    // Nobody works at a voter before it is one: edges do not know yet whose envelopes these would be.
    access.set(&running.ground, running.mesh.file());
    electorate::remove(access, *gone).await?;
    let directory = running.mesh.forget_voter(*gone)?;
    electorate::install(access, &directory).await.context("the directory without the old voter")?;
    running.ground.forget(node);
    access.set(&running.ground, running.mesh.file());
    Ok(())
}
