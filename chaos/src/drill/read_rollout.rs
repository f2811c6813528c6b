//! Reading what a step of a drill file rolls out: harm, waves, how long each bakes, gates.

use std::time::Duration;

use remit_common::bundle::plan::WAVES_MAX;
use remit_common::bundle::{Gates, RolloutPlan, Wave};
use remit_common::trust::scope::PER_MILLE_ALL;

use super::complaint::Book;
use super::fields::{self, Fields};
use super::file::word;
use super::select::Selector;
use super::yaml::Tree;
use crate::node::Roster;
use crate::workload::{Harm, RollOut};

const HARMS: [(&str, Harm); 2] = [("denies", Harm::Denies), ("permits", Harm::Permits)];
/// How long a wave bakes if the file does not say.
const BAKE: Duration = Duration::from_secs(10);
/// How to write waves, for whoever did not.
const HOW: &str = "write `waves: [\"edge=eu-west-1\", \"region=eu-west\"]`; after the last it is everybody's";

/// The members of a step that rolls out.
pub(super) fn roll_out(map: &mut Fields<'_>, roster: &Roster, book: &mut Book<'_>) -> Option<RollOut> {
    let harm = map.take("harm").map(|tree| word(tree, book, "harm", &HARMS));
    let bake = map.take("bake").map(|tree| fields::duration(tree, book, "bake"));
    let waves = map.require("waves", book, HOW)?;
    let gates = map.take("gates").map_or_else(|| Some(Gates::default()), |tree| self::gates(tree, book));
    let bake_ms = u64::try_from(bake.unwrap_or(Some(BAKE))?.as_millis()).unwrap_or(u64::MAX);
    let listed = fields::list(waves, book, "waves", WAVES_MAX)?;
    let mut read: Vec<Wave> =
        listed.iter().map(|tree| wave(tree, bake_ms, roster, book)).collect::<Option<Vec<_>>>()?;
    if read.last().is_none_or(|last| last.per_mille < PER_MILLE_ALL) {
        read.push(Wave { per_mille: PER_MILLE_ALL, bake_ms, ..Wave::default() });
    }
    let plan = RolloutPlan { waves: read, gates: gates? };
    if let Err(fault) = plan.check() {
        book.wrong_help(waves.referenced, fault.to_string(), HOW);
        return None;
    }
    Some(RollOut { harm: harm.map_or(Some(None), |harm| harm.map(Some))?, plan })
}

/// One target, or a list of them.
fn wave(tree: &Tree, bake_ms: u64, roster: &Roster, book: &mut Book<'_>) -> Option<Wave> {
    let mut wave = Wave { bake_ms, ..Wave::default() };
    for (at, text) in fields::texts(tree, book, "waves", 64) {
        match Selector::read(text, at, roster, book)? {
            Selector::Edge(edge) => drop(wave.edges.insert(edge)),
            Selector::Region(region) => drop(wave.regions.insert(region)),
            Selector::Edges => wave.per_mille = PER_MILLE_ALL,
            other => {
                book.wrong_help(at, format!("`{other}` is no wave"), "a wave is edges, regions, or `role=edge`");
                return None;
            }
        }
    }
    Some(wave)
}

/// What is not said is as usual.
fn gates(tree: &Tree, book: &mut Book<'_>) -> Option<Gates> {
    let mut map = Fields::of(tree, book, "`gates`")?;
    let mut gates = Gates::default();
    for (key, slot) in [
        ("refused-per-mille", &mut gates.refused_per_mille),
        ("newly-denied-per-mille", &mut gates.newly_denied_per_mille),
        ("failed-per-mille", &mut gates.failed_per_mille),
    ] {
        if let Some(tree) = map.take(key) {
            let rate = fields::count(tree, book, key, 0, u32::from(PER_MILLE_ALL))?;
            *slot = u16::try_from(rate).unwrap_or(PER_MILLE_ALL);
        }
    }
    for (key, slot) in [("newly-permitted", &mut gates.newly_permitted), ("p99-ms", &mut gates.p99_ms)] {
        if let Some(tree) = map.take(key) {
            *slot = Some(u64::from(fields::count(tree, book, key, 0, u32::MAX)?));
        }
    }
    map.end(book);
    Some(gates)
}
