//! A runner that is killed in the middle, and what is left of its run afterwards: nothing.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use remit_common::net::real::real;
use tokio::process::Command;

use super::*;
use crate::launcher::Site as _;
use crate::live::fixture::{Skipped, need, turn};
use crate::live::ground::Ground;
use crate::live::namespace::{FOLDER, PREFIX};
use crate::live::probe::Probe;
use crate::live::process_id::ProcessId;
use crate::live::tool;
use crate::live::undo::Undo;
use crate::live::wire::Wire;
use crate::node::Node;

/// Tells the test that plays the runner where to write its journal. Without it, that test does nothing.
const RUNTIME: &str = "REMIT_TEST_RUNTIME";
const RUNNER: &str = "live::guard::tests::a_runner_that_never_ends_by_itself";

fn why_not(probe: &Probe) -> Option<String> {
    let all = [probe.nft.as_ref().err(), probe.ext4.as_ref().err(), probe.cgroups.as_ref().err()];
    probe.missing_mesh().or_else(|| all.into_iter().flatten().next().cloned())
}

fn run_of(runner: u32) -> String {
    format!("{PREFIX}crash-{runner}")
}

/// Everything of one run that is on this machine: namespaces, mounts, loop devices, control groups, folders.
fn things_of(run: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let cgroups = Probe::of_this_machine().cgroups.unwrap().folders("");
    let folders = [PathBuf::from(FOLDER), std::env::temp_dir()].into_iter().chain(cgroups);
    for folder in folders {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_string_lossy().starts_with(run) {
                found.insert(path.display().to_string());
            }
        }
    }
    let lines = [tool::read(Path::new("/proc/self/mounts")).unwrap(), tool::run("losetup", ["-a"]).unwrap()];
    found.extend(lines.iter().flat_map(|text| text.lines()).filter(|line| line.contains(run)).map(str::to_owned));
    found
}

/// Not a test: the runner, in a process of its own.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a process that can be killed, and that has to be told where it is")]
async fn a_runner_that_never_ends_by_itself() {
    let Some(runtime) = std::env::var_os(RUNTIME) else { return };
    let run = run_of(std::process::id());
    let journal = Arc::new(Journal::create(&undo::root(Some(Path::new(&runtime))), &run).unwrap());
    let folder = std::env::temp_dir().join(&run);
    journal.note(Undo::Folder { path: folder.clone() }, None).unwrap();
    std::fs::create_dir(&folder).unwrap();
    let wire = Wire::new(1, None).unwrap();
    let mut ground = Ground::new(run, folder.clone(), Arc::clone(&journal), wire, None, true);
    let node = "voter/1".parse::<Node>().unwrap();
    let host = ground.host(&node, &folder).unwrap();
    // It does not look at its standard input, as our daemons do: it would live on for ever.
    let mut command = Command::new("sleep");
    command.arg("1000");
    let child = host.spawn(command).unwrap();
    let machine = ground.machine(&node).unwrap();
    let ttl = Duration::from_secs(600);
    machine.limit_cpu(&Probe::of_this_machine().cgroups.unwrap(), 20, ttl).unwrap();
    machine.drop_from(&BTreeSet::from([Ipv4Addr::new(10, 77, 1, 2)]), "remit_1", ttl).unwrap();
    machine.fill(ttl).unwrap();
    machine.pause(ttl).unwrap();
    println!("ready {}", child.id().unwrap());
    std::future::pending().await
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a process that can be killed")]
fn nothing_is_left_of_a_run_whose_runner_was_killed() {
    let _turn = turn();
    if let Err(skipped) = need(why_not) {
        return Skipped::print(skipped);
    }
    let runtime = tempfile::Builder::new().prefix("drills-").tempdir().unwrap();
    let mut runner = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", RUNNER, "--nocapture"])
        .env(RUNTIME, runtime.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let run = run_of(runner.id());
    let output = BufReader::new(runner.stdout.take().unwrap());
    let ready = output.lines().map(Result::unwrap).find_map(|line| {
        let (_, pid) = line.split_once("ready ")?;
        Some(pid.trim().parse::<u32>().unwrap())
    });
    let node = ProcessId::of(ready.expect("the runner ended before it was ready")).unwrap();

    let busy = undo_all_runs(Some(runtime.path())).unwrap();
    assert!(busy[0].left[0].contains("still running"), "{busy:?}");
    assert!(node.runs(), "a run that goes on was touched");

    runner.kill().unwrap();
    runner.wait().unwrap();
    assert!(node.runs(), "nothing would be left to undo");
    // A namespace and its mount, a disk and its mount, a loop device, control groups, a folder.
    assert!(things_of(&run).len() >= 6, "{:?}", things_of(&run));
    let undone = undo_all_runs(Some(runtime.path())).unwrap();
    assert!(undone.len() == 1 && undone[0].left.is_empty(), "{undone:?}");
    assert!(!node.runs());
    assert_eq!(things_of(&run), BTreeSet::new());
    assert_eq!(undo_all_runs(Some(runtime.path())).unwrap(), [], "the journal is left");
}

#[test]
fn where_no_drill_was_run_there_is_nothing_to_undo() {
    let runtime = tempfile::tempdir().unwrap();
    assert_eq!(undo_all_runs(Some(runtime.path())).unwrap(), []);
    assert!(guard(&runtime.path().join("remit-none")).is_err());
    assert!(real().disk.list(runtime.path()).unwrap().is_empty());
}
