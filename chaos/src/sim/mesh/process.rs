//! Processes of simulated hosts: they start, end by themselves, are asked to end, or are ended.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use remit_common::crypto::digest::Digest;
use remit_common::net::env::{Env, Spawn};
use remit_common::net::programs::NoPrograms;
use remit_common::net::tasks::Shutdown;

use super::{Process, RESTART_AFTER, Running, STOP_WITHIN, SimMesh, TOOL_PORT, loopback};
use crate::node::Node;
use crate::sim::disk::SimDisk;
use crate::sim::entropy::SimEntropy;
use crate::sim::spawn::Group;
use crate::workload::{ToolServer, serve_tools};

#[derive(Debug, Clone, Copy)]
pub(super) enum Death {
    Killed,
    PowerCut,
}

impl SimMesh {
    /// The environment of a new boot of a host.
    pub(super) fn boot(&self, node: &Node, group: &Group) -> Result<(u64, Env)> {
        let mut state = self.state();
        state.boots += 1;
        let boot = state.boots;
        let host = state.hosts.get(node).with_context(|| format!("there is no {node}"))?;
        let spawn = Arc::new(group.clone());
        let socket = self.0.net.process(host.id, spawn.clone());
        let env = Env {
            clock: host.clock.clone(),
            entropy: Arc::new(SimEntropy::new(self.0.seed, &format!("{node} boot {boot}"))),
            disk: host.disk.process(),
            spawn,
            socket,
            programs: Arc::new(NoPrograms),
        };
        Ok((boot, env))
    }

    /// Starts what belongs on a host.
    pub(super) fn start_node(&self, node: &Node) -> Result<()> {
        let process = {
            let state = self.state();
            let host = state.hosts.get(node).with_context(|| format!("there is no {node}"))?;
            if host.running.is_some() {
                bail!("{node} runs already");
            }
            host.process.clone()
        };
        let (group, shutdown) = (Group::new(self.0.disk_latency), Shutdown::new());
        let (boot, env) = self.boot(node, &group)?;
        let (mesh, name) = (self.clone(), node.clone());
        let ended = move |reason: Option<String>| mesh.ended(name, boot, reason);
        let (inside, stop) = (env.clone(), shutdown.clone());
        match process {
            Process::Voter(config) => drop(env.spawn_named("voter", async move {
                let end = remit_control_plane::run(*config, inside, stop).await;
                ended(end.err().map(|error| format!("{:#}", anyhow::Error::from(error))));
            })),
            Process::Edge(config) => {
                let tools = ToolServer { key_hash: Digest::of(&[&self.0.secret]) };
                let listener = env.socket.listen(loopback(TOOL_PORT)).context("the tools cannot listen")?;
                drop(env.spawn_named("tools", serve_tools(env.clone(), listener, tools, stop.clone())));
                drop(env.spawn_named("edge", async move {
                    let end = remit_edge_node::run(*config, inside, stop).await;
                    ended(end.err().map(|error| format!("{:#}", anyhow::Error::from(error))));
                }));
            }
            Process::Nothing => {}
        }
        if let Some(host) = self.state().hosts.get_mut(node) {
            host.running =
                Some(Running { boot, group, shutdown, is_stopping: false, has_ended: false, is_liar: false });
        }
        Ok(())
    }

    /// A process has ended by itself: it is started again, unless somebody wanted its end.
    pub(super) fn ended(&self, node: Node, boot: u64, reason: Option<String>) {
        let is_wanted = {
            let mut state = self.state();
            let running = state.hosts.get_mut(&node).and_then(|host| host.running.as_mut());
            let Some(running) = running.filter(|running| running.boot == boot) else { return };
            running.has_ended = true;
            running.is_stopping
        };
        if is_wanted {
            return;
        }
        let reason = reason.unwrap_or_else(|| "no reason".to_owned());
        self.note_fault("exit", std::slice::from_ref(&node), &reason, true);
        self.0.net.note(&format!("exit {node} {reason}"));
        tracing::info!(%node, reason, "a process has ended by itself");
        let mesh = self.clone();
        drop(Spawn::spawn(
            &self.0.world,
            "restart",
            Box::pin(async move {
                mesh.take_down(&node, Death::Killed).await;
                tokio::time::sleep(RESTART_AFTER).await;
                // Somebody may have started it meanwhile.
                if mesh.start_node(&node).is_ok() {
                    mesh.note_fault("exit", std::slice::from_ref(&node), "started again", false);
                }
            }),
        ));
    }

    /// Ends what runs on a host, if anything does.
    pub(super) async fn take_down(&self, node: &Node, death: Death) -> bool {
        let running = self.state().hosts.get_mut(node).and_then(|host| host.running.take());
        let Some(Running { group, .. }) = running else { return false };
        self.each_host(std::slice::from_ref(node), |host| match death {
            Death::Killed => {
                self.0.net.kill(host.id);
                host.disk.kill();
            }
            Death::PowerCut => {
                self.0.net.power_off(host.id);
                host.disk.crash();
                host.clock.reboot();
            }
        });
        group.kill().await;
        true
    }

    /// Asks for an orderly end, and waits for it.
    pub(super) async fn stop_node(&self, node: &Node) -> bool {
        let (shutdown, boot) = {
            let mut state = self.state();
            let Some(running) = state.hosts.get_mut(node).and_then(|host| host.running.as_mut()) else { return false };
            running.is_stopping = true;
            (running.shutdown.clone(), running.boot)
        };
        shutdown.trigger();
        let until = self.0.time.elapsed() + STOP_WITHIN;
        while self.0.time.elapsed() < until && !self.has_drained(node, boot) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Whoever asked first may have taken it down, and the next process may run already: nobody asked that to stop.
        self.is_boot(node, boot) && self.take_down(node, Death::Killed).await
    }

    fn is_boot(&self, node: &Node, boot: u64) -> bool {
        let state = self.state();
        let running = state.hosts.get(node).and_then(|host| host.running.as_ref());
        running.is_some_and(|running| running.boot == boot)
    }

    pub(super) fn has_drained(&self, node: &Node, boot: u64) -> bool {
        let state = self.state();
        let running = state.hosts.get(node).and_then(|host| host.running.as_ref());
        running.is_none_or(|running| running.boot != boot || running.has_ended || running.group.is_idle())
    }

    /// From now on nobody starts the node again when it ends. Gives its disk if it runs.
    pub(super) fn expect_end(&self, node: &Node) -> Option<SimDisk> {
        let mut state = self.state();
        let host = state.hosts.get_mut(node)?;
        host.running.as_mut()?.is_stopping = true;
        Some(host.disk.clone())
    }

    pub(super) fn is_stopping(&self, node: &Node) -> bool {
        let state = self.state();
        state.hosts.get(node).and_then(|host| host.running.as_ref()).is_some_and(|running| running.is_stopping)
    }

    pub(super) fn is_running(&self, node: &Node) -> bool {
        self.state().hosts.get(node).is_some_and(|host| host.running.is_some())
    }

    pub(super) fn with_running(&self, node: &Node, use_it: impl FnOnce(&Running)) {
        if let Some(running) = self.state().hosts.get(node).and_then(|host| host.running.as_ref()) {
            use_it(running);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use remit_common::id::{Region, VoterId};

    use crate::drill::action::Fault;
    use crate::drill::backend::{Backend as _, Shape};
    use crate::history::History;
    use crate::node::Node;
    use crate::sim::mesh::SimMesh;
    use crate::sim::runtime::block_on;

    /// Two operators stop a voter, a third one starts it: the second order is for the process that is stopping, not for
    /// the one that comes after it.
    #[test]
    fn a_second_stop_leaves_the_next_process_alone() -> anyhow::Result<()> {
        block_on(83, async {
            let mut mesh = SimMesh::new(83)?;
            let regions = BTreeMap::from([(Region::new("eu-west")?, 1)]);
            mesh.start(Shape { voters: 3, regions, agents: 1, bundles: true, rollouts: false }, History::default())
                .await?;
            let voter = Node::Voter(VoterId(3));
            for fault in [Fault::Stop, Fault::Start, Fault::Stop] {
                mesh.begin(fault(vec![voter.clone()]));
            }
            tokio::time::sleep(Duration::from_secs(30)).await;
            assert!(mesh.is_running(&voter));
            mesh.stop().await
        })
    }
}
