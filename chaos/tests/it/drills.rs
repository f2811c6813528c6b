//! The drills that come with remit, played on the simulated mesh as `remit drill run` plays them: each passes.

use remit_chaos::drill::outcome::{ActivityStatus, Conclusion};
use remit_chaos::drill::shipped::DRILLS;
use remit_chaos::sim::rehearsal::rehearse_shipped;

use crate::processors::play_all;

/// One with which `disk-full-voter` once left a voter that never started again.
const SEED: u64 = 3;

/// What is wrong with a drill, if anything.
fn fault(name: &str, seed: u64) -> Option<String> {
    let outcome = rehearse_shipped(name, seed).unwrap();
    let steps = outcome.activities.iter().filter(|run| run.status != ActivityStatus::Succeeded);
    let steps: Vec<&str> = steps.map(|run| run.name.as_str()).collect();
    let passed = outcome.conclusion() == Conclusion::Passed && steps.is_empty();
    let (why, vacuous) = (outcome.why, outcome.judgement.and_then(|judgement| judgement.vacuous));
    (!passed).then(|| format!("{name}, seed {seed}: {why:?} {vacuous:?}, not done: {steps:?}"))
}

#[test]
fn the_loss_of_a_leader_passes() {
    assert_eq!(fault("leader-loss", SEED), None);
}

#[test]
fn a_lying_voter_passes() {
    assert_eq!(fault("lying-voter", SEED), None);
}

#[test]
fn a_voter_with_a_full_disk_passes() {
    assert_eq!(fault("disk-full-voter", SEED), None);
}

#[test]
fn a_cut_of_an_ancestor_while_hops_are_made_passes() {
    assert_eq!(fault("revoke-during-delegation", SEED), None);
}

#[test]
fn a_session_that_moves_passes() {
    assert_eq!(fault("session-moved", SEED), None);
}

#[test]
fn a_bundle_that_hurts_goes_back_by_itself() {
    assert_eq!(fault("rollout-taken-back", SEED), None);
}

#[test]
fn a_rollout_gets_to_its_end_through_faults() {
    assert_eq!(fault("rollout-under-faults", SEED), None);
}

/// Clauses B-31 to B-33.
#[test]
fn a_canary_whose_process_dies_goes_back_and_so_does_the_rollout() {
    assert_eq!(fault("crash-loop", SEED), None);
}

#[test]
#[ignore = "a few rollouts more, with other seeds: ask for it by name"]
fn both_drills_of_rollouts_pass_with_several_seeds() {
    let runs: Vec<(&str, u64)> = ["rollout-taken-back", "rollout-under-faults"]
        .into_iter()
        .flat_map(|name| (4..8).map(move |seed| (name, seed)))
        .collect();
    let faults = play_all(&runs, |(name, seed)| fault(name, *seed).into_iter().collect());
    assert!(faults.is_empty(), "{} of {} runs:\n{}", faults.len(), runs.len(), faults.join("\n"));
}

#[test]
#[ignore = "half an hour of simulated time takes some of real time: ask for it by name, with the seeds"]
fn every_shipped_drill_passes_with_the_seeds() {
    let faults = play_all(DRILLS, |(name, _)| fault(name, SEED).into_iter().collect());
    assert!(faults.is_empty(), "{} of {} drills:\n{}", faults.len(), DRILLS.len(), faults.join("\n"));
}
