//! A voter that is gone for good, and the one that takes its place, as an administrator does it.

use anyhow::{Context as _, Result, bail};
use remit_common::id::VoterId;

use super::install::{copy, voter_entry};
use super::process::Death;
use super::{DIST_PORT, Group, HOME, Process, RAFT_PORT, SimMesh, voter_ip};
use crate::launcher::Folder;
use crate::node::{Member, Node};
use crate::workload::electorate;

impl SimMesh {
    /// The voter and its disk are lost; a new one with a new id and an empty disk is taken in, and the old one let go.
    pub(super) async fn replace_voter(&self, node: &Node) -> Result<()> {
        let Node::Voter(gone) = node else { bail!("`{node}` is no voter") };
        self.take_down(node, Death::PowerCut).await;
        let (id, directory) = self.write_newcomer(*gone)?;
        electorate::install(self, &directory).await.context("the directory with the new voter")?;
        self.start_node(&Node::Voter(id))?;
        let ip = voter_ip(id);
        electorate::add(self, id, (ip, RAFT_PORT).into(), (ip, DIST_PORT).into()).await?;
        // Nobody works at a voter before it is one.
        {
            let mut state = self.state();
            state.file.voters.push(voter_entry(id));
            state.roster.nodes.push(Member { node: Node::Voter(id), region: None });
        }
        electorate::remove(self, *gone).await?;
        let directory = self.directory_without(*gone)?;
        electorate::install(self, &directory).await.context("the directory without the old voter")?;
        let mut state = self.state();
        state.file.voters.retain(|voter| voter.id != *gone);
        state.roster.nodes.retain(|member| member.node != *node);
        // Its disk stays where it is, for whoever looks for secrets; nothing is started there any more.
        if let Some(host) = state.hosts.get_mut(node) {
            host.process = Process::Nothing;
        }
        Ok(())
    }

    /// As long as a directory lists a voter, edges wait until a majority with it has their records.
    fn directory_without(&self, gone: VoterId) -> Result<Vec<u8>> {
        let mut state = self.state();
        let material = state.material.as_mut().context("another voter is being replaced")?;
        material.drop_voter(gone);
        material.sign_directory()
    }

    /// Writes the new voter's files. Gives its id, and the directory that lists it.
    fn write_newcomer(&self, gone: VoterId) -> Result<(VoterId, Vec<u8>)> {
        let (mut material, file) = {
            let mut state = self.state();
            (state.material.take().context("another voter is being replaced")?, state.file.clone())
        };
        let written = (|| {
            let (_, env) = self.boot(&Node::Operator, &Group::new(std::time::Duration::ZERO))?;
            let voters = |node: &Node| if let Node::Voter(id) = node { Some(id.0) } else { None };
            let highest = self.state().hosts.keys().filter_map(voters).max().unwrap_or(0);
            let id = VoterId(highest + 1);
            let mut peers: Vec<VoterId> = file.voters.iter().map(|voter| voter.id).filter(|id| *id != gone).collect();
            peers.push(id);
            self.write_voter(&env, &mut material, id, &peers, file.mesh_id, true)?;
            let directory = material.sign_directory()?;
            Folder::create(&env, std::path::Path::new(HOME))?.write("directory.json", &directory)?;
            let state = self.state();
            let host = state.hosts.get(&Node::Voter(id)).context("the new voter has no host")?;
            copy(&env, &host.disk, &["root.json", "directory.json", "voters-ca.pem", "edges-ca.pem"])?;
            host.disk.forbid(&self.0.secret);
            Ok((id, directory))
        })();
        self.state().material = Some(material);
        written
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    use remit_common::id::{Region, VoterId};

    use crate::drill::action::Fault;
    use crate::drill::backend::{Access as _, Backend as _, Shape};
    use crate::history::History;
    use crate::invariant::{Context, Invariant, Status, check};
    use crate::node::Node;
    use crate::sim::mesh::SimMesh;
    use crate::sim::runtime::block_on;
    use crate::workload::{Pace, Workload};

    /// Voters are lost one after the other, until none of the first is left. What the first had on record the last
    /// have (K-18), a majority of them each.
    #[test]
    fn every_voter_can_be_replaced_and_no_record_is_lost() -> anyhow::Result<()> {
        block_on(7, async {
            let mut mesh = SimMesh::new(7)?;
            let history = History::default();
            let regions = BTreeMap::from([(Region::new("eu-west")?, 1)]);
            mesh.start(Shape { voters: 3, regions, agents: 1, bundles: true, rollouts: false }, history.clone())
                .await?;
            let pace = Pace { agents: 1, ..Pace::default() };
            let secret = mesh.secret().to_vec();
            let mut work = Workload::prepare(mesh.access(), history.clone(), pace, &secret).await?;
            work.start();
            tokio::time::sleep(Duration::from_secs(5)).await;
            // A process that starts lets go of what a majority has of the one before: only voters have that now.
            let edge: Vec<Node> = mesh.roster().edges().cloned().map(Node::Edge).collect();
            mesh.apply(Fault::Stop(edge.clone())).await?;
            mesh.apply(Fault::Start(edge)).await?;
            for lost in 1..=3 {
                tokio::time::sleep(Duration::from_secs(3)).await;
                mesh.apply(Fault::ReplaceVoter(Node::Voter(VoterId(lost)))).await?;
            }
            let voters: BTreeSet<VoterId> = mesh.roster().voters().collect();
            assert_eq!(voters, (4..=6).map(VoterId).collect());
            tokio::time::sleep(Duration::from_secs(3)).await;
            work.stop().await;
            work.gather().await;
            let judgement = check(&history.events(), &Context::new(work.bounds()?, mesh.roster()));
            let records = judgement.verdict(Invariant::Records);
            assert_eq!(records.map(|records| records.status), Some(Status::Held), "{records:#?}");
            mesh.stop().await
        })
    }
}
