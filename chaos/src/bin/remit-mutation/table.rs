//! What a hunt comes down to, for people and for programs.

use remit_common::planted::Bug;
use serde_json::{Value, json};

use crate::hunt::{Hunt, evidence, ids};
use crate::scene::{Scene, drill_for};

/// Every bug, a line each.
pub(crate) fn catalogue() -> String {
    Bug::ALL.map(Bug::as_str).join("\n")
}

fn score(hunts: &[Hunt]) -> (usize, Option<f64>) {
    let seeds: Vec<u64> = hunts.iter().filter(|hunt| hunt.found.is_some()).map(|hunt| hunt.seeds).collect();
    let count = u32::try_from(seeds.len()).unwrap_or(u32::MAX);
    let sum = u32::try_from(seeds.iter().sum::<u64>()).unwrap_or(u32::MAX);
    (seeds.len(), (count > 0).then(|| f64::from(sum) / f64::from(count)))
}

/// A table and the score under it. `clean`: seeds that were played without a bug, and those that broke something.
pub(crate) fn text(hunts: &[Hunt], scene: Scene, clean: (usize, usize)) -> String {
    let mut lines = vec![row("BUG", "FOUND BY", "SEEDS", "FIRST SEED")];
    for Hunt { bug, seeds, found } in hunts {
        let bug = bug.as_str();
        lines.push(match found {
            Some(found) => row(bug, &ids(&found.broken), &seeds.to_string(), &found.seed.to_string()),
            None => row(bug, "NOT FOUND", &format!("> {seeds}"), ""),
        });
    }
    let (found, mean) = score(hunts);
    let mean = mean.map_or(String::new(), |mean| format!(", after {mean:.1} seeds on average"));
    lines.push(String::new());
    lines.push(format!("Mutation score: {found} of {} planted bugs found{mean}.", hunts.len()));
    let nevertheless = match clean.1 {
        0 => "nothing found".to_owned(),
        count => format!("something found in {count}; that did not count"),
    };
    let drills: Vec<String> = hunts
        .iter()
        .filter_map(|hunt| {
            Some(format!(", but for those of {}: the drill `{}`", hunt.bug.as_str(), drill_for(hunt.bug)?))
        })
        .collect();
    let drills = drills.concat();
    lines.push(format!("{} runs without a bug: {nevertheless}. All runs are of the kind `{scene}`{drills}.", clean.0));
    lines.join("\n")
}

fn row(bug: &str, by: &str, seeds: &str, first: &str) -> String {
    format!("{bug:<36} {by:<12} {seeds:>7} {first:>11}").trim_end().to_owned()
}

/// One document.
pub(crate) fn json(hunts: &[Hunt], scene: Scene, clean: (usize, usize)) -> String {
    let (found, mean) = score(hunts);
    let bugs: Vec<Value> = hunts
        .iter()
        .map(|Hunt { bug, seeds, found }| {
            json!({
                "bug": bug.as_str(),
                "drill": drill_for(*bug),
                "found_by": found.as_ref().map(|found| ids(&found.broken)),
                "seeds": seeds,
                "seed": found.as_ref().map(|found| found.seed),
                "evidence": found.as_ref().map(|found| evidence(&found.broken)),
            })
        })
        .collect();
    let score = json!({"found": found, "of": hunts.len(), "mean_seeds": mean});
    json!({"v": 1, "scene": scene.to_string(), "bugs": bugs, "score": score, "clean_runs": clean.0, "broken_clean_runs": clean.1}).to_string()
}
