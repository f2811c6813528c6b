//! What the engine does, whatever happens: above all, that it undoes it.

use std::time::Duration;

use remit_common::net::real::real;
use remit_common::net::tasks::Shutdown;
use remit_common::time::Timestamp;

use super::world::{Known, Pair, World};
use crate::drill::engine::{Nobody, Options, play};
use crate::drill::file::Drill;
use crate::drill::outcome::{ActivityStatus, Conclusion, DrillOutcome, RunStatus};
use crate::drill::shipped::shipped;
use crate::history::What;
use crate::sim::runtime::block_on;

/// Plays a drill in a world that was made so, stopped from outside after some time if that is wanted.
fn played(text: &str, make: impl FnOnce(&mut Known), stop_after: Option<u64>) -> (DrillOutcome, Vec<String>) {
    let drill = Drill::read("drill.yaml", text).unwrap_or_else(|wrong| panic!("{wrong}"));
    block_on(1, async move {
        let mut world = World::default();
        make(&mut world.0.lock().unwrap());
        let interrupt = Shutdown::new();
        if let Some(secs) = stop_after {
            let interrupt = interrupt.clone();
            real().spawn_named("signal", async move {
                tokio::time::sleep(Duration::from_secs(secs)).await;
                interrupt.trigger();
            });
        }
        let options =
            Options { seed: 1, wall: Timestamp::from_secs(1_800_000_000), reproduce: "again".to_owned(), interrupt };
        let mut crew = Pair::new(&world);
        let outcome = play(&drill, &mut world, &mut crew, &options, &Nobody).await;
        (outcome, world.done())
    })
}

/// `leader-loss` with one text replaced by another.
fn changed(from: &str, to: &str) -> String {
    let text = shipped("leader-loss").unwrap();
    assert!(text.contains(from), "`{from}` is not in the file");
    text.replacen(from, to, 1)
}

const UNDONE: [&str; 2] = ["undo", "mesh stops"];

#[test]
fn steps_are_played_in_their_order_at_their_time() {
    let (outcome, done) = played(shipped("leader-loss").unwrap(), |_| {}, None);
    assert_eq!(outcome.status, RunStatus::Completed, "{:?}", outcome.why);
    let expected = ["mesh starts", "kill voter/1", "revoke", "start voter/1", "undo", "gather", "mesh stops"];
    assert_eq!(done, expected);
    assert!(outcome.activities.iter().all(|run| run.status == ActivityStatus::Succeeded), "{:?}", outcome.activities);
    let start_ms: Vec<_> = outcome.activities.iter().map(|run| run.start_us.unwrap() / 1_000).collect();
    assert_eq!(start_ms, [10_000, 22_020, 22_020, 40_020, 50_040]);
    assert!(outcome.before.unwrap().iter().chain(&outcome.after.unwrap()).all(|reading| reading.within));
    let faults = outcome.events.iter().filter_map(|event| match &event.what {
        What::Fault { name, begins: true, .. } => Some(name.as_str()),
        _ => None,
    });
    assert_eq!(faults.collect::<Vec<_>>(), ["kill", "start"]);
    assert!(outcome.judgement.is_some());
}

#[test]
fn a_run_that_shows_nothing_of_what_it_is_about_does_not_pass() {
    let (outcome, _) = played(shipped("leader-loss").unwrap(), |_| {}, None);
    assert_ne!(outcome.conclusion(), Conclusion::Passed, "{:?}", outcome.why);
    assert!(outcome.limits.iter().any(|limit| limit.measured.is_none() && !limit.within));
}

#[test]
fn nothing_is_touched_when_the_steady_state_does_not_hold() {
    let (outcome, done) = played(shipped("leader-loss").unwrap(), |known| known.broken = true, None);
    assert_eq!(outcome.status, RunStatus::Failed);
    assert_eq!(done, ["mesh starts", "undo", "mesh stops"]);
    assert!(outcome.activities.iter().take(4).all(|run| run.status == ActivityStatus::NotReached));
}

#[test]
fn an_abort_condition_ends_the_method_and_everything_is_undone() {
    let text =
        changed("{ probe: permit-share, below: 0.5, for: 20s }", "{ probe: voters-with-leader, below: 3, for: 3s }");
    let (outcome, done) = played(&text, |_| {}, None);
    assert_eq!(outcome.status, RunStatus::Aborted);
    let fired = outcome.abort.unwrap();
    assert_eq!((fired.probe.as_str(), fired.condition.as_str()), ("voters-with-leader", "below 3 for 3s"));
    assert_eq!(done, ["mesh starts", "kill voter/1", "start voter/1", "undo", "gather", "mesh stops"]);
    let status: Vec<_> = outcome.activities.iter().map(|run| run.status).collect();
    assert_eq!(status[1..4], [ActivityStatus::NotReached; 3]);
    assert_eq!(status[4], ActivityStatus::Succeeded, "rollbacks are played");
}

#[test]
fn a_step_that_cannot_be_carried_out_ends_the_drill_and_everything_is_undone() {
    let (outcome, done) = played(shipped("leader-loss").unwrap(), |known| known.fails = Some("kill"), None);
    assert_eq!(outcome.status, RunStatus::Aborted);
    assert!(outcome.why.unwrap().contains("`kill the leader` could not be carried out: the tool has failed"));
    assert!(done.ends_with(&["undo", "gather", "mesh stops"].map(str::to_owned)), "{done:?}");
    let kills = outcome.events.iter().filter(|event| matches!(&event.what, What::Fault { name, .. } if name == "kill"));
    assert_eq!(kills.count(), 2, "what was not brought about has ended");
}

#[test]
fn a_failed_rollback_leaves_nothing_behind() {
    let (outcome, done) = played(shipped("leader-loss").unwrap(), |known| known.fails = Some("start"), None);
    assert_eq!(outcome.status, RunStatus::Aborted);
    assert!(done.contains(&"undo".to_owned()));
}

#[test]
fn a_signal_ends_the_drill_at_once_and_everything_is_undone() {
    for (secs, faults) in [(5, 0), (12, 2), (45, 3)] {
        let (outcome, done) = played(shipped("leader-loss").unwrap(), |_| {}, Some(secs));
        assert_eq!(outcome.status, RunStatus::Interrupted, "after {secs} s");
        assert_eq!(outcome.conclusion(), Conclusion::Aborted);
        assert!(done.ends_with(&UNDONE.map(str::to_owned)), "{done:?}");
        assert_eq!(done.len(), 3 + faults, "{done:?}");
        assert!(outcome.duration <= Duration::from_secs(secs + 1));
        assert!(outcome.judgement.is_none());
    }
}

#[test]
fn what_a_world_cannot_do_is_said_before_it_starts() {
    let (outcome, done) = played(shipped("leader-loss").unwrap(), |known| known.unable = Some("start"), None);
    assert_eq!(outcome.conclusion(), Conclusion::Skipped);
    assert!(done.is_empty(), "{done:?}");
    assert_eq!(outcome.unable[0].step, "start it again");
    assert_eq!(outcome.unable[0].reason, "there is no such tool here");
}

#[test]
fn each_clock_is_set_right_by_the_jump_that_is_the_opposite_of_its_own() {
    let (outcome, done) = played(shipped("clock-jump").unwrap(), |_| {}, None);
    assert_eq!(outcome.status, RunStatus::Completed, "{:?}", outcome.why);
    let jumps: Vec<&str> = done.iter().filter_map(|what| what.strip_prefix("clock-jump the clock of ")).collect();
    let expected = [
        "voter/1 jumps by 600000 ms",
        "edge/us-east-1 jumps by -20000 ms",
        "voter/1 jumps by -600000 ms",
        "edge/us-east-1 jumps by 20000 ms",
    ];
    assert_eq!(jumps, expected);
}

#[test]
fn whoever_says_that_everything_was_undone_has_looked() {
    for secs in [12, 45, 85] {
        let stopped = |wrong: &'static str| {
            let (outcome, _) = played(shipped("leader-loss").unwrap(), |known| known.stays = Some(wrong), Some(secs));
            assert_eq!(outcome.status, RunStatus::Interrupted, "{wrong} after {secs} s");
            assert!(outcome.deviated);
            outcome.why.unwrap()
        };
        let undo = stopped("undo");
        assert!(undo.contains("stopped by a signal; not everything could be undone: it is stuck"), "{undo}");
        let stop = stopped("mesh stops");
        assert!(stop.contains("stopped by a signal; not everything could be put away: it is stuck"), "{stop}");
        assert!(!undo.contains("everything was undone") && !stop.contains("everything was undone"));
    }
    let (outcome, _) = played(shipped("leader-loss").unwrap(), |known| known.stays = Some("mesh stops"), None);
    assert_eq!(outcome.conclusion(), Conclusion::Deviated);
    assert!(outcome.why.unwrap().contains("not everything could be put away: it is stuck"));
}

#[test]
fn a_signal_while_everybody_waits_for_the_verdict_is_heard() {
    let (judged, _) = played(shipped("leader-loss").unwrap(), |_| {}, None);
    let end = judged.duration.as_secs();
    let (outcome, done) = played(shipped("leader-loss").unwrap(), |_| {}, Some(end - 2));
    assert_eq!(outcome.status, RunStatus::Interrupted);
    assert!(outcome.judgement.is_none() && done.ends_with(&UNDONE.map(str::to_owned)), "{done:?}");
    assert!(outcome.why.unwrap().ends_with("stopped by a signal; everything was undone"));
}

#[test]
fn a_search_for_the_secret_that_fails_is_no_pass() {
    let (outcome, _) = played(shipped("leader-loss").unwrap(), |known| known.stays = Some("search"), None);
    assert_eq!(outcome.conclusion(), Conclusion::Deviated);
    let why = outcome.why.unwrap();
    assert!(why.contains("nobody could search for the secret: it is stuck"), "{why}");
    assert!(why.contains("C1 is what the drill is about"), "{why}");
}

#[test]
fn no_fault_has_to_end_before_its_drill_does() {
    let lasts = |text: &str| {
        let drill = Drill::read("drill.yaml", text).unwrap();
        assert!(drill.lasts_at_most() > drill.lasts());
        drill.lasts_at_most()
    };
    let long = changed("pauses: { after: 12s }", "pauses: { after: 1h }");
    let (outcome, done) = played(&long, |_| {}, None);
    assert_eq!(outcome.status, RunStatus::Completed, "{:?}", outcome.why);
    assert!(outcome.duration < lasts(&long));
    assert!(!done.is_empty() && lasts(&long) > Duration::from_secs(3_600));
}

#[test]
fn a_continuous_steady_state_that_is_lost_deviates() {
    let text = changed("method:", "runtime: { hypothesis: { strategy: continuously } }\nmethod:");
    let (outcome, _) = played(&text, |_| {}, None);
    assert!(outcome.deviated);
    assert!(outcome.why.unwrap().contains("the steady state was lost: every voter knows the leader"));
}

#[test]
fn steps_in_the_background_do_not_hold_up_others() {
    let text = changed(
        "fault: kill, target: leader }, pauses: { after: 12s }",
        "fault: kill, target: leader }, background: true, pauses: { before: 4s }",
    );
    let (outcome, done) = played(&text, |_| {}, None);
    let start_ms: Vec<_> = outcome.activities.iter().map(|run| run.start_us.unwrap() / 1_000).collect();
    assert_eq!(start_ms[..3], [14_000, 10_000, 10_000]);
    assert_eq!(done[1..3], ["revoke".to_owned(), "kill voter/1".to_owned()]);
    assert!(outcome.activities[0].background);
}

#[test]
fn equal_runs_write_equal_histories() {
    let histories = [0, 1].map(|_| played(shipped("leader-loss").unwrap(), |_| {}, None).0.events);
    assert_eq!(histories[0], histories[1]);
}
