//! Drills on real processes. They need root and minutes, so they are asked for by name:
//! `cargo test --workspace --test it -- --ignored --nocapture real_processes`.

use std::io::{BufRead as _, BufReader};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Signal, geteuid, kill_process};

use crate::process::{Running, listed, read, remit, stdout_of};

/// Where network namespaces have their names, and how ours begin.
const NAMESPACES: (&str, &str) = ("/run/netns", "remit-");

/// One drill at a time: what a machine has of namespaces is looked at before and after.
fn stage() -> Option<MutexGuard<'static, ()>> {
    static ONE: Mutex<()> = Mutex::new(());
    if !geteuid().is_root() {
        eprintln!("skipped: network namespaces need root");
        return None;
    }
    Some(ONE.lock().unwrap_or_else(PoisonError::into_inner))
}

fn namespaces() -> Vec<String> {
    listed(NAMESPACES.0.as_ref()).into_iter().filter(|name| name.starts_with(NAMESPACES.1)).collect()
}

#[test]
#[ignore = "needs root and two minutes"]
fn a_leader_is_lost_among_real_processes() {
    let Some(_stage) = stage() else { return };
    let (folder, before) = (tempfile::tempdir().unwrap(), namespaces());
    let drill = ["drill", "run", "leader-loss", "--backend", "netns", "--seed", "7", "--report", "out"];
    let told = stdout_of(&remit(folder.path(), &drill), 0);
    if told.contains("Not played") {
        return eprintln!("{told}");
    }
    assert!(told.contains("Passed"), "{told}");
    for file in ["journal.json", "junit.xml", "history.jsonl", "report.html"] {
        assert!(!read(&folder.path().join("out").join(file)).is_empty(), "{file}");
    }
    assert_eq!(namespaces(), before);
}

#[test]
#[ignore = "needs root and a minute"]
fn a_drill_among_real_processes_that_is_interrupted_leaves_nothing_behind() {
    let Some(_stage) = stage() else { return };
    let (folder, before) = (tempfile::tempdir().unwrap(), namespaces());
    let drill = ["drill", "run", "leader-isolated", "--backend", "netns", "--seed", "7", "--report", "out"];
    let mut running = Running::telling(folder.path(), &drill);
    let mut told = BufReader::new(running.stdout()).lines().map_while(Result::ok);
    let cut =
        told.find(|line| line.contains("Not played") || line.contains("done") && line.contains("cut the leader off"));
    let cut = cut.expect("the drill is skipped, or its fault begins");
    if cut.contains("Not played") {
        return eprintln!("{cut}");
    }
    assert_ne!(namespaces(), before, "the fault stands, so the namespaces do");
    kill_process(running.pid(), Signal::INT).unwrap();
    let rest: Vec<String> = told.collect();
    assert_eq!(running.exit_code(), Some(5), "{rest:?}");
    assert_eq!(namespaces(), before);
    let undone = stdout_of(&remit(folder.path(), &["drill", "undo", "--all"]), 0);
    assert!(undone.contains("nothing to undo"), "{undone}");
}
