//! A liar in a voter's place, and its end.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};

use super::access::LiveAccess;
use super::backend::Running;
use super::faults;
use crate::drill::action::Lie;
use crate::drill::backend::Access as _;
use crate::launcher::Host as _;
use crate::liar::{Liar, Role, Truth, noted};
use crate::node::Node;

/// Kills a voter and has a liar with its keys answer edges at its address. The other voters hear nothing from it.
pub(super) async fn begin(running: &mut Running, access: &LiveAccess, node: &Node, lie: Lie) -> Result<()> {
    let Node::Voter(voter) = node else { bail!("`{node}` is no voter") };
    let (mesh, env) = (access.mesh(), running.ground.machine(node)?.env());
    let entry = mesh.voters.iter().find(|entry| entry.id == *voter);
    let dir = entry.map(|entry| entry.dir.clone()).with_context(|| format!("there is no voter {voter}"))?;
    let told = Truth::learn(access, *voter).await.context("the liar does not know what there is")?;
    let told = told.tell(lie, &env, &mesh)?;
    end(running, node).await;
    faults::kill(running, node).await?;
    let role = Role { voter: *voter, dir, dist: running.mesh.dist_of(*voter)? };
    let note = Arc::clone(&running.note);
    let ear = noted(*voter, move |what| note(what));
    let liar = Liar::start(&env, &mesh, &role, told, ear).context("nobody takes the voter's place")?;
    running.liars.insert(node.clone(), liar);
    running.mesh.refresh_file()
}

/// The liar is gone, if there is one.
pub(super) async fn end(running: &mut Running, node: &Node) {
    if let Some(liar) = running.liars.remove(node) {
        liar.stop().await;
    }
}
