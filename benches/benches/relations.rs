//! What one check costs over a million tuples, and what they weigh. Answers are compared first.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, ensure};
use remit_benches::measure::{exit, measure, measure_once};
use remit_benches::relations::{MILLION, NOW, questions, relations};

/// As in the programs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CHECK_MEDIAN_MAX: Duration = Duration::from_micros(2);

fn main() -> ExitCode {
    exit(run())
}

fn run() -> Result<bool> {
    let held = relations(MILLION)?;
    let built = measure_once(&[()], |()| held.compacted()).minimum;
    let asked = questions(MILLION, 10_000)?;
    let mut found: HashMap<bool, usize> = HashMap::new();
    for question in &asked {
        let walked = held.check_by_walking(&question.object, &question.relation, &question.subject, NOW)?;
        let answer = held.check(&question.object, &question.relation, &question.subject, NOW)?;
        ensure!(answer == walked, "`{question}`: {answer}, and {walked} by walking");
        *found.entry(answer).or_default() += 1;
    }
    ensure!(found.values().all(|count| *count > 100) && found.len() == 2, "lopsided questions: {found:?}");
    let (table, closure) = held.bytes();
    println!("{} tuples; table {table} B, closure {closure} B; built anew in {} ms", held.len(), built.as_millis());
    println!("10 000 questions answered as by walking: {found:?}");
    let quick = measure(&asked, 20, |key| held.check(&key.object, &key.relation, &key.subject, NOW));
    let walk = measure(&asked, 2, |key| held.check_by_walking(&key.object, &key.relation, &key.subject, NOW));
    for (what, figures) in [("check", quick), ("check by walking", walk)] {
        let micros = |duration: Duration| duration.as_secs_f64() * 1e6;
        println!(
            "{what:<20} min {:.3} µs, median {:.3} µs, {} runs",
            micros(figures.minimum),
            micros(figures.median),
            figures.runs
        );
    }
    let is_kept = quick.median <= CHECK_MEDIAN_MAX;
    println!(
        "  {} relation check over a million tuples: median at most 2 µs",
        if is_kept { "kept  " } else { "BROKEN" }
    );
    Ok(is_kept)
}
