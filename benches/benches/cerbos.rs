//! Our engine beside Cerbos on the decision oracle, each in the way its users ask it: in the process here, over HTTP
//! there. Answers are compared first. Without a `cerbos` program there is nothing to compare, and it says so.

use std::cell::RefCell;
use std::process::ExitCode;

use anyhow::{Result, ensure};
use remit_benches::cerbos::{Cerbos, program};
use remit_benches::generated;
use remit_benches::measure::{exit, measure};
use remit_benches::oracle::{Ours, SETS};
use remit_common::policy::engines::cedar::Ask;

fn main() -> ExitCode {
    exit(run())
}

fn run() -> Result<bool> {
    let Some(program) = program() else {
        println!("skipped: no `cerbos` on PATH and none named by REMIT_CERBOS (npm's `cerbos` brings one)");
        return Ok(true);
    };
    println!("{:>9} {:>16} {:>16} {:>16} {:>16}", "policies", "ours, min µs", "ours, median", "cerbos, min", "median");
    for set in SETS.iter().chain([&generated::set(10_000)]) {
        let (cases, ours) = (set.cases()?, Ours::new(set)?);
        let cerbos = RefCell::new(Cerbos::start(&program, u64::try_from(set.permits)?)?);
        for (number, case) in cases.iter().enumerate() {
            let found = cerbos.borrow_mut().permits(&case.request)?;
            ensure!(found == case.expect.permit, "case {number} of {} permits: cerbos says {found}", set.permits);
        }
        let theirs = measure(&cases, 3, |case| cerbos.borrow_mut().permits(&case.request));
        let ours = measure(&cases, 20, |case| ours.answer(&case.request, Ask::Decision));
        let micros = [ours.minimum, ours.median, theirs.minimum, theirs.median].map(|time| time.as_secs_f64() * 1e6);
        let [ours_min, ours_median, minimum, median] = micros;
        println!("{:>9} {ours_min:>16.1} {ours_median:>16.1} {minimum:>16.1} {median:>16.1}", set.permits + 3);
    }
    Ok(true)
}
