//! Runs of a minute whose seed decides what fails: every promise holds, and the same seed plays the same run.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use remit_chaos::invariant::{Judgement, Outcome};
use remit_chaos::sim::run::{Run, Setup, run};

use crate::processors::play_all;

const SEEDS: u64 = 40;
/// Later ones that once broke a promise.
const FOUND: [u64; 2] = [101, 204];
/// Of these, so many are played twice.
const TWICE: u64 = 10;
const LENGTH: Duration = Duration::from_secs(60);

/// What is wrong with a run, if anything.
fn fault(seed: u64, judgement: &Judgement) -> Option<String> {
    if judgement.outcome() == Outcome::Held {
        return None;
    }
    let breaches: Vec<String> = judgement
        .violated()
        .map(|verdict| format!("{}: {}", verdict.id, verdict.breaches.first().map_or("", |breach| &breach.sentence)))
        .collect();
    Some(format!("seed {seed}: {} {:?}", breaches.join("; "), judgement.vacuous))
}

#[test]
#[ignore = "fifty minutes of simulated time take some of real time: ask for it by name"]
fn every_promise_holds_under_any_seed_and_every_run_can_be_repeated() {
    let setup = Setup::usual(LENGTH).unwrap();
    let seeds: Vec<u64> = (1..=SEEDS).chain(FOUND).collect();
    let happened: Mutex<BTreeMap<&str, u32>> = Mutex::default();
    let faults = play_all(&seeds, |&seed| {
        let Run { digest, judgement, faults: planned, .. } = match run(seed, &setup) {
            Ok(run) => run,
            Err(error) => return vec![format!("seed {seed} cannot be played: {error:#}")],
        };
        for (name, count) in planned {
            *happened.lock().unwrap().entry(name).or_default() += count;
        }
        let mut found = Vec::from_iter(fault(seed, &judgement));
        if seed <= TWICE && run(seed, &setup).unwrap().digest != digest {
            found.push(format!("seed {seed} plays another run the second time"));
        }
        found
    });
    let happened = happened.into_inner().unwrap();
    println!("faults in {} runs: {happened:?}", seeds.len());
    for fault in ["kill", "power-cut", "pause", "partition", "link", "disk-full", "fsync-error", "clock-jump"] {
        assert!(happened.get(fault).is_some_and(|count| *count > 0), "no run had a `{fault}`");
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
