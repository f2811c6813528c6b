//! Each fault, done to real processes.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use remit_common::net::env::deadline;

use super::access::LiveAccess;
use super::backend::Running;
use super::machine::Machine;
use super::{lie, replace};
use crate::drill::action::{Fault, LinkQuality, STORM};
use crate::node::Node;

/// For a process whose disk is gone to notice and end by itself.
const NOTICE_WITHIN: Duration = Duration::from_secs(3);
/// Between two looks whether it has.
const LOOK: Duration = Duration::from_millis(50);

/// Brings a fault about, or ends one.
pub(super) async fn apply(running: &mut Running, access: &LiveAccess, fault: Fault) -> Result<()> {
    let ttl = running.ttl;
    match fault {
        Fault::Kill(nodes) => {
            for node in nodes {
                kill(running, &node).await?;
            }
            running.mesh.refresh_file()
        }
        Fault::PowerCut(nodes) => {
            for node in nodes {
                // First the disk: what the process still writes in its last moment must not reach it.
                machine(running, &node)?.cut_power()?;
                kill(running, &node).await?;
            }
            running.mesh.refresh_file()
        }
        Fault::Stop(nodes) => {
            for node in &nodes {
                running.mesh.process_of(node)?.ask_to_stop();
            }
            for node in &nodes {
                running.mesh.process_of(node)?.wait_stopped().await;
            }
            running.mesh.refresh_file()
        }
        Fault::Start(nodes) => {
            for node in nodes {
                start(running, &node).await?;
            }
            running.mesh.refresh_file()
        }
        Fault::Pause(nodes) => each(running, &nodes, |machine| machine.pause(ttl)),
        Fault::Resume(nodes) => each(running, &nodes, Machine::resume),
        Fault::Partition { from, to, one_way } => partition(running, &from, &to, one_way),
        Fault::Link { from, to, quality } => set_quality(running, &from, &to, quality),
        Fault::HealNetwork => heal_network(running),
        Fault::DiskFull(nodes) => each(running, &nodes, |machine| machine.fill(ttl)),
        Fault::DiskFree(nodes) => each(running, &nodes, Machine::free),
        Fault::FsyncError(nodes) => each(running, &nodes, Machine::cut_power),
        Fault::ClockJump { nodes, by_ms } => each(running, &nodes, |machine| machine.jump(by_ms, ttl)),
        Fault::CpuLimit { nodes, percent } => {
            let cgroups = running.probe.cgroups.clone().map_err(anyhow::Error::msg)?;
            each(running, &nodes, |machine| machine.limit_cpu(&cgroups, percent, ttl))
        }
        Fault::ReconnectStorm(edges) => {
            storm(running, &edges)?;
            // It is over when this returns, here as in the simulation.
            tokio::time::sleep(STORM).await;
            (running.note)(Fault::ReconnectStorm(edges).told(false));
            Ok(())
        }
        Fault::ReplaceVoter(node) => replace::replace(running, access, &node).await,
        Fault::Lie { node, lie } => lie::begin(running, access, &node, lie).await,
    }
}

/// Ends every fault but leaves alone what is down.
pub(super) fn end_all(running: &mut Running) -> Result<()> {
    heal_network(running)?;
    for (node, machine) in running.ground.machines() {
        let ended = [machine.resume(), machine.free(), machine.lift_cpu(), machine.set_clock_right()];
        ended.into_iter().collect::<Result<()>>().with_context(|| format!("not every fault of `{node}` is ended"))?;
    }
    Ok(())
}

/// Starts every node that is down.
pub(super) async fn start_all(running: &mut Running) -> Result<()> {
    for (node, _) in running.ground.machines() {
        start(running, &node).await?;
    }
    running.mesh.refresh_file()
}

/// Kills a process, if it has not ended by itself: whose disk is full or broken, stops.
pub(super) async fn kill(running: &mut Running, node: &Node) -> Result<()> {
    let process = running.mesh.process_of(node)?;
    if process.has_ended()? { Ok(()) } else { process.kill().await }
}

/// Starts a node if it is down. One whose disk has failed is given a moment to notice, and is killed if it does not.
async fn start(running: &mut Running, node: &Node) -> Result<()> {
    lie::end(running, node).await;
    let machine = machine(running, node)?;
    let process = running.mesh.process_of(node)?;
    if machine.is_broken() && !process.has_ended()? {
        let noticed = deadline(NOTICE_WITHIN, async {
            while !process.has_ended()? {
                tokio::time::sleep(LOOK).await;
            }
            anyhow::Ok(())
        });
        if let Ok(looked) = noticed.await {
            looked?;
        } else {
            tracing::warn!(%node, "goes on although its disk has failed, and is killed");
            process.kill().await?;
        }
    }
    if process.has_ended()? {
        machine.boot()?;
        process.start()?;
    }
    Ok(())
}

fn machine(running: &Running, node: &Node) -> Result<Arc<Machine>> {
    running.ground.machine(node)
}

fn each(running: &Running, nodes: &[Node], work: impl Fn(&Machine) -> Result<()>) -> Result<()> {
    nodes.iter().try_for_each(|node| work(machine(running, node)?.as_ref()).with_context(|| format!("at `{node}`")))
}

fn addresses(running: &Running, nodes: &[Node]) -> Result<BTreeSet<Ipv4Addr>> {
    nodes.iter().map(|node| Ok(machine(running, node)?.addr)).collect()
}

/// By each receiver's packet filter where there is one, otherwise by the wire.
fn partition(running: &mut Running, from: &[Node], to: &[Node], one_way: bool) -> Result<()> {
    let (senders, receivers) = (addresses(running, from)?, addresses(running, to)?);
    let mut cuts: Vec<(&Node, &BTreeSet<Ipv4Addr>)> = to.iter().map(|node| (node, &senders)).collect();
    if !one_way {
        cuts.extend(from.iter().map(|node| (node, &receivers)));
    }
    let filters = running.probe.nft.is_ok();
    tracing::info!(by = if filters { "packet filters" } else { "the wire" }, ?from, ?to, one_way, "partition");
    for (node, senders) in cuts {
        let receiver = machine(running, node)?;
        // A node hears itself, whichever side of a partition it is on.
        let senders: BTreeSet<_> = senders.iter().copied().filter(|sender| *sender != receiver.addr).collect();
        if senders.is_empty() {
            continue;
        }
        if filters {
            running.tables_made += 1;
            let table = format!("remit_{}", running.tables_made);
            match receiver.drop_from(&senders, &table, running.ttl) {
                Ok(id) => running.tables.push(id),
                Err(error) => {
                    // Half a partition would be another fault than the one that was asked for.
                    heal_network(running)?;
                    return Err(error);
                }
            }
        } else {
            let wire = running.ground.wire();
            senders.iter().for_each(|sender| wire.cut(*sender, receiver.addr, running.ttl));
        }
    }
    Ok(())
}

fn set_quality(running: &Running, from: &[Node], to: &[Node], quality: LinkQuality) -> Result<()> {
    let (ones, others) = (addresses(running, from)?, addresses(running, to)?);
    let wire = running.ground.wire();
    for one in &ones {
        for other in others.iter().filter(|other| *other != one) {
            wire.set_quality(*one, *other, quality, running.ttl);
            wire.set_quality(*other, *one, quality, running.ttl);
        }
    }
    Ok(())
}

fn heal_network(running: &mut Running) -> Result<()> {
    running.ground.wire().heal();
    while let Some(id) = running.tables.pop() {
        running.ground.journal().undo(id)?;
    }
    Ok(())
}

/// Silence for a little longer than a connection lives without a packet: every connection dies, and when the silence
/// is over, everybody comes back at once.
fn storm(running: &Running, edges: &[Node]) -> Result<()> {
    let edges = addresses(running, edges)?;
    let wire = running.ground.wire();
    for (node, machine) in running.ground.machines() {
        if let Node::Voter(_) = node {
            for edge in &edges {
                wire.cut(*edge, machine.addr, STORM);
                wire.cut(machine.addr, *edge, STORM);
            }
        }
    }
    Ok(())
}
