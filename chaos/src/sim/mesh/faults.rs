//! How each fault comes about, and how all of them are undone.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use remit_common::net::env::{Entropy, Spawn};
use remit_common::net::tasks::Shutdown;

use super::process::Death;
use super::{DIST_PORT, HOME, Running, SimMesh, voter_ip};
use crate::drill::action::{Fault, Lie, STORM};
use crate::drill::backend::{Access as _, Backend as _};
use crate::history::Kind;
use crate::liar::{Liar, Role, Truth, noted};
use crate::node::Node;
use crate::sim::entropy::SimEntropy;
use crate::sim::net::HostId;
use crate::sim::spawn::Group;

impl SimMesh {
    /// Brings a fault about without waiting until it is complete: a node that is asked to stop takes its time.
    pub fn begin(&self, fault: Fault) {
        self.0.net.note(&format!("{fault:?}"));
        let mesh = self.clone();
        let task = async move {
            if let Err(error) = mesh.bring_about(&fault).await {
                mesh.note_fault("failed", &fault.nodes(), &format!("{error:#}"), false);
            }
        };
        drop(Spawn::spawn(&self.0.world, "fault", Box::pin(task)));
    }

    pub(super) async fn bring_about(&self, fault: &Fault) -> Result<()> {
        let net = &self.0.net;
        match fault {
            Fault::Kill(nodes) => {
                for node in nodes {
                    self.take_down(node, Death::Killed).await;
                }
            }
            Fault::PowerCut(nodes) => {
                for node in nodes {
                    self.cut_power(node).await;
                }
            }
            Fault::Stop(nodes) => {
                for node in nodes {
                    self.stop_node(node).await;
                }
            }
            Fault::Start(nodes) => {
                for node in nodes {
                    while self.is_stopping(node) {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                    self.end_lie(node).await;
                    if !self.is_running(node) {
                        self.each_host(std::slice::from_ref(node), |host| host.disk.repair());
                        self.start_node(node)?;
                    }
                }
            }
            Fault::Pause(nodes) => {
                nodes.iter().for_each(|node| self.with_running(node, |running| running.group.freeze()));
            }
            Fault::Resume(nodes) => {
                nodes.iter().for_each(|node| self.with_running(node, |running| running.group.thaw()));
            }
            Fault::Partition { from, to, one_way } => self.each_pair(from, to, |from, to| {
                net.cut(from, to);
                if !one_way {
                    net.cut(to, from);
                }
            }),
            Fault::Link { from, to, quality } => self.each_pair(from, to, |from, to| {
                net.set_quality(from, to, *quality);
                net.set_quality(to, from, *quality);
            }),
            Fault::HealNetwork => net.heal(),
            Fault::DiskFull(nodes) => self.each_host(nodes, |host| host.disk.set_full(true)),
            Fault::DiskFree(nodes) => self.each_host(nodes, |host| host.disk.set_full(false)),
            Fault::FsyncError(nodes) => self.each_host(nodes, |host| host.disk.fail_next_sync()),
            Fault::ClockJump { nodes, by_ms } => self.each_host(nodes, |host| host.clock.jump(*by_ms)),
            Fault::ReconnectStorm(nodes) => {
                let voters: Vec<Node> = self.roster().voters().map(Node::Voter).collect();
                self.each_pair(nodes, &voters, |edge, voter| {
                    net.cut(edge, voter);
                    net.cut(voter, edge);
                });
                tokio::time::sleep(STORM).await;
                self.each_pair(nodes, &voters, |edge, voter| {
                    net.mend(edge, voter);
                    net.mend(voter, edge);
                });
                self.note_fault(fault.name(), nodes, &fault.detail(), false);
            }
            Fault::Lie { node, lie } => self.begin_lie(node, *lie).await?,
            Fault::ReplaceVoter(node) => Box::pin(self.replace_voter(node)).await?,
            Fault::CpuLimit { .. } => {
                bail!("{}", self.unable(fault).unwrap_or_default());
            }
        }
        Ok(())
    }

    /// Kills a voter and has a liar with its keys answer edges at its address.
    pub(super) async fn begin_lie(&self, node: &Node, lie: Lie) -> Result<()> {
        let Node::Voter(voter) = node else { bail!("{node} is no voter") };
        let (file, operator) = (self.mesh(), self.env_at(&Node::Operator));
        let told = Truth::learn(self, *voter).await?.tell(lie, &operator, &file)?;
        self.take_down(node, Death::Killed).await;
        let (group, shutdown) = (Group::new(self.0.disk_latency), Shutdown::new());
        let (boot, env) = self.boot(node, &group)?;
        let role = Role { voter: *voter, dir: PathBuf::from(HOME), dist: (voter_ip(*voter), DIST_PORT).into() };
        let (history, time) = (self.state().history.clone(), self.0.time);
        let ear = noted(*voter, move |what| {
            history.note(time.elapsed(), "world", Kind::Info, what);
        });
        let (liar, stop) = (Liar::start(&env, &file, &role, told, ear)?, shutdown.clone());
        drop(env.spawn_named("liar", async move {
            stop.requested().await;
            liar.stop().await;
        }));
        if let Some(host) = self.state().hosts.get_mut(node) {
            host.running = Some(Running { boot, group, shutdown, is_stopping: false, has_ended: false, is_liar: true });
        }
        Ok(())
    }

    /// The liar is gone, if there is one.
    pub(super) async fn end_lie(&self, node: &Node) {
        let lies = self.state().hosts.get(node).and_then(|host| host.running.as_ref()).is_some_and(|r| r.is_liar);
        if lies {
            self.take_down(node, Death::Killed).await;
        }
    }

    /// The power goes.
    pub(super) async fn cut_power(&self, node: &Node) {
        let Some(disk) = self.expect_end(node) else { return };
        let mut draw = [0];
        Entropy::fill(&SimEntropy::new(self.0.seed, &format!("{node} {:?}", self.0.time.elapsed())), &mut draw);
        // Half of them in the middle of a write, if one comes: work on a disk is done in one piece otherwise.
        let drawn = u64::from(u8::from_be_bytes(draw));
        if drawn.is_multiple_of(2) {
            disk.crash_after_ops(drawn % 40);
            for _ in 0..250 {
                if disk.is_off() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        // The moment counts: what was answered until now is lost with what was not synced.
        self.note_fault("power-cut", std::slice::from_ref(node), "the power is gone", true);
        self.take_down(node, Death::PowerCut).await;
    }

    /// Every pair of two different hosts.
    pub(super) fn each_pair(&self, from: &[Node], to: &[Node], use_it: impl Fn(HostId, HostId)) {
        let state = self.state();
        let ids = |nodes: &[Node]| nodes.iter().filter_map(|node| Some(state.hosts.get(node)?.id)).collect::<Vec<_>>();
        let to = ids(to);
        for one in ids(from) {
            to.iter().filter(|other| **other != one).for_each(|other| use_it(one, *other));
        }
    }

    pub(super) async fn undo(&self) -> Result<()> {
        self.0.net.heal();
        let nodes: Vec<Node> = self.state().hosts.keys().cloned().collect();
        self.each_host(&nodes, |host| {
            host.disk.repair();
            host.clock.correct();
        });
        for node in nodes {
            self.with_running(&node, |running| running.group.thaw());
            self.end_lie(&node).await;
            if node != Node::Operator && !self.is_running(&node) {
                self.start_node(&node)?;
            }
        }
        Ok(())
    }
}
