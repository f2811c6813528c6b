//! What a broken disk or configuration does to a voter.

use std::path::Path;
use std::sync::Arc;

use remit_common::id::VoterId;
use remit_common::net::env::{Env, deadline};
use remit_common::net::real::real;
use remit_control_plane::raft::{ProposeError, RaftNode, RaftRole, StartError};

use super::scene::{Applied, Echo, Journal, Mesh, PATIENCE, Version, leader, timings, write};
use crate::fault_disk::FaultDisk;

async fn stops_when(break_disk: impl FnOnce(&FaultDisk), expected: &str) {
    let mesh = Mesh::new(1, timings());
    let disk = FaultDisk::default();
    let env = Env { disk: Arc::new(disk.clone()), ..real() };
    let voter = mesh.try_start(VoterId(1), env).await.unwrap();
    let voters = [voter];
    let index = write(&voters, b"acknowledged").await;
    let [voter] = &voters;
    break_disk(&disk);
    let failed = voter.node.propose(vec![0; 300 * 1024], PATIENCE).await.unwrap_err();
    assert!(matches!(failed, ProposeError::OutcomeUnknown | ProposeError::Stopped), "{failed:?}");
    let reason = deadline(PATIENCE, voter.node.fatal()).await.expect("the voter stops");
    assert!(reason.contains("cannot be written") && reason.contains(expected), "{reason}");
    voter.until("stopped", |status| status.role == RaftRole::Stopped).await;
    let refused = voter.node.propose(b"more".to_vec(), PATIENCE).await.unwrap_err();
    assert_eq!(refused, ProposeError::Stopped);
    drop(voters);

    // Started again on what the disk really has.
    let env = Env { disk: Arc::new(disk.after_power_cut(0, 0)), ..real() };
    let mesh = Mesh { addrs: Mesh::new(1, timings()).addrs, ..mesh };
    let again = [mesh.try_start(VoterId(1), env).await.unwrap()];
    leader(&again).await;
    again[0].until_applied(index).await;
    assert_eq!(again[0].journal().first(), Some(&(index.0, b"acknowledged".to_vec())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_fsync_stops_the_voter_with_a_clear_message() {
    stops_when(FaultDisk::fail_syncs, "input/output error").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_the_voter_with_a_clear_message() {
    stops_when(|disk| disk.leave_room(64 * 1024), "no space left").await;
}

#[tokio::test]
async fn a_contradictory_configuration_is_refused_before_anything_is_opened() {
    let mesh = Mesh::new(1, timings());
    let start = |config| async {
        RaftNode::start(config, &real(), Box::new(Journal(Applied::default(), Version::This)), Arc::new(Echo)).await
    };
    let mut stranger = mesh.config(VoterId(1));
    stranger.id = VoterId(2);
    assert!(matches!(start(stranger).await, Err(StartError::Config(_))));
    let mut hasty = mesh.config(VoterId(1));
    hasty.timings.election_min = hasty.timings.heartbeat / 2;
    assert!(matches!(start(hasty).await, Err(StartError::Config(_))));
    assert!(!Path::new(&mesh.folder(VoterId(1))).exists());
}
