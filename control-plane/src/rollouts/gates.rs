//! Whether a rollout goes on, waits, or goes back.

use std::time::Duration;

use remit_common::bundle::Gates;
use remit_common::id::{EdgeId, Region};
use remit_common::planted::{Bug, planted};
use remit_common::time::Timestamp;
use remit_common::wire::message::{RolloutExample, RolloutReport};

use crate::registry::{Rollout, RolloutStatus, RolloutStep};

/// Edges that are named in a reason.
const NAMED_MAX: usize = 5;

/// What is known of a rollout at one edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sight {
    pub(crate) edge: EdgeId,
    pub(crate) region: Region,
    pub(crate) is_connected: bool,
    /// Whether the rollout has come to it.
    pub(crate) is_meant: bool,
    /// Whether it has ever said anything of this tenant: others do not serve it.
    pub(crate) serves: bool,
    /// Whether it has attested that it runs the new bundle.
    pub(crate) runs: bool,
    /// Why it did not take it.
    pub(crate) refused: Option<String>,
    pub(crate) report: Option<RolloutReport>,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// Nothing, and why.
    Wait(String),
    /// This is to be proposed.
    Step(RolloutStep),
}

/// For an edge to say that it takes now what it refused before.
const SETTLED_AFTER: Duration = Duration::from_secs(5);
/// How long before the way back closes a rollout is taken back, whatever it waits for.
const MARGIN: Duration = Duration::from_secs(3_600);
/// Decisions of which a rate is one.
const SAMPLE_MIN: u64 = 20;

/// Looks at the gates first, then at the time, then at whether the wave has arrived. Clauses K-21 and K-22.
pub(crate) fn judge(rollout: &Rollout, sights: &[Sight], now: Timestamp) -> Judgement {
    let settled = rollout.events.first().is_none_or(|began| now.since(began.at) >= SETTLED_AFTER);
    let closes = now.plus(MARGIN) >= rollout.back_until;
    let closes = closes.then(|| format!("the way back is open until {} only", rollout.back_until));
    if let Some(reason) = closed(&rollout.plan.gates, sights, settled).or(closes) {
        return Judgement::Step(RolloutStep::TakeBack { reason });
    }
    if rollout.status == RolloutStatus::Paused {
        return Judgement::Wait("paused".to_owned());
    }
    let left = rollout.left(now);
    if !left.is_zero() {
        return Judgement::Wait(format!("bakes for {} s more", left.as_secs().max(1)));
    }
    let meant: Vec<&Sight> = sights.iter().filter(|sight| sight.is_meant && sight.serves).collect();
    // What may be refused, by the gate that is still open, is not waited for.
    let is_late = |sight: &&Sight| sight.is_connected && !sight.runs && sight.refused.is_none();
    let late: Vec<&Sight> = meant.iter().copied().filter(is_late).collect();
    if !late.is_empty() {
        return Judgement::Wait(format!("not run yet by {}", names(&late)));
    }
    let silent = |sight: &&Sight| sight.is_connected && sight.runs && sight.report.is_none();
    let silent: Vec<&Sight> = meant.iter().copied().filter(silent).collect();
    if !silent.is_empty() {
        return Judgement::Wait(format!("nothing is reported by {}", names(&silent)));
    }
    // A share of a small mesh may be nobody: then there is nothing to wait for.
    if !meant.is_empty() && !meant.iter().any(|sight| sight.is_connected && sight.runs) {
        return Judgement::Wait(format!("no edge of the wave is connected: {}", names(&meant)));
    }
    Judgement::Step(RolloutStep::Next)
}

fn names(sights: &[&Sight]) -> String {
    let named: Vec<&str> = sights.iter().take(NAMED_MAX).map(|sight| sight.edge.as_str()).collect();
    let more = sights.len().saturating_sub(named.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    named.join(", ") + &more
}

/// The first gate that is closed, and by what.
fn closed(gates: &Gates, sights: &[Sight], settled: bool) -> Option<String> {
    let Gates { refused_per_mille, newly_denied_per_mille, newly_permitted, failed_per_mille, p99_ms } = gates;
    let refuses = |sight: &&Sight| settled && sight.is_connected && sight.refused.is_some();
    let refused: Vec<&Sight> = sights.iter().filter(refuses).collect();
    let edges = sights.iter().filter(|sight| sight.is_connected).count();
    if exceeds(count(refused.len()), count(edges), *refused_per_mille) {
        let why = refused.first().and_then(|sight| sight.refused.clone()).unwrap_or_default();
        return Some(format!("refused by {} of {edges} edges ({}): {why}", refused.len(), names(&refused)));
    }
    let reports = || sights.iter().filter_map(|sight| sight.report.as_ref());
    let sum = |of: fn(&RolloutReport) -> u64| reports().map(of).fold(0u64, u64::saturating_add);
    let (failed, compared) = (sum(|report| report.failed), sum(|report| report.compared));
    let single = |part: fn(&RolloutReport) -> u64, whole: fn(&RolloutReport) -> u64, rate| {
        reports().any(|report| is_too_many(part(report), whole(report), rate))
    };
    if is_too_many(failed, compared, *failed_per_mille)
        || single(|report| report.failed, |report| report.compared, *failed_per_mille)
    {
        return Some(format!("a rule failed in {failed} of {compared} decisions"));
    }
    let (denied, before) = (sum(|report| report.newly_denied), sum(|report| report.permitted_before));
    if is_too_many(denied, before, *newly_denied_per_mille)
        || single(|report| report.newly_denied, |report| report.permitted_before, *newly_denied_per_mille)
    {
        let example = example(reports(), |example| example.before == PERMIT);
        return Some(format!("{denied} of {before} decisions that were permitted are denied{example}"));
    }
    let permitted = sum(|report| report.newly_permitted);
    if newly_permitted.is_some_and(|most| permitted > most) && !planted(Bug::NewlyPermittedIgnored) {
        let example = example(reports(), |example| example.after == PERMIT);
        return Some(format!("{permitted} decisions that were denied are permitted{example}"));
    }
    let slowest = sights.iter().filter_map(|sight| Some((sight.report.as_ref()?.p99_ms, &sight.edge))).max();
    let (slow, at) = slowest?;
    (*p99_ms)
        .is_some_and(|most| slow > most)
        .then(|| format!("one of a hundred decisions takes longer than {slow} ms at {at}"))
}

const PERMIT: &str = "permit";

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Whether `part` is more than so many of a thousand of `whole`.
fn exceeds(part: u64, whole: u64, per_mille: u16) -> bool {
    u128::from(part) * 1_000 > u128::from(whole) * u128::from(per_mille)
}

/// The same of a sample that is worth a rate: one busy edge does not outvote another, nor does one call.
fn is_too_many(part: u64, whole: u64, per_mille: u16) -> bool {
    whole >= SAMPLE_MIN && exceeds(part, whole, per_mille)
}

fn example<'r>(
    mut reports: impl Iterator<Item = &'r RolloutReport>,
    is_wanted: impl Fn(&RolloutExample) -> bool,
) -> String {
    let found = reports.find_map(|report| report.examples.iter().find(|example| is_wanted(example)));
    found.map_or_else(String::new, |RolloutExample { action, class, before, after, rules }| {
        let by = if rules.is_empty() { String::new() } else { format!(", by {}", rules.join(", ")) };
        format!(": {action} for class `{class}`, {before} before, now {after}{by}")
    })
}

#[cfg(test)]
mod tests {
    use remit_common::bundle::{RolloutPlan, Wave};
    use remit_common::crypto::digest::Digest;
    use remit_common::id::{BundleVersion, KeyId, LogIndex};

    use super::*;

    const BAKE_MS: u64 = 60_000;

    fn rollout() -> Rollout {
        let wave = |per_mille| Wave { per_mille, bake_ms: BAKE_MS, ..Wave::default() };
        Rollout {
            id: LogIndex(9),
            tenant: "acme".parse().unwrap(),
            name: "acme".parse().unwrap(),
            version: BundleVersion(2),
            candidate: Digest([2; 32]),
            base_version: BundleVersion(1),
            base: Digest([1; 32]),
            by: KeyId(Digest([3; 32])),
            plan: RolloutPlan { waves: vec![wave(100), wave(1_000)], gates: Gates::default() },
            wave: 0,
            status: RolloutStatus::Baking,
            since: Timestamp::from_millis(0),
            baked_ms: 0,
            back_until: at(1_000 * BAKE_MS),
            events: Vec::new(),
        }
    }

    fn sight(edge: &str, is_meant: bool) -> Sight {
        Sight {
            edge: edge.parse().unwrap(),
            region: "eu-west".parse().unwrap(),
            is_connected: true,
            is_meant,
            serves: true,
            runs: is_meant,
            refused: None,
            report: None,
        }
    }

    fn report() -> RolloutReport {
        RolloutReport {
            tenant: "acme".parse().unwrap(),
            rollout: LogIndex(9),
            runs: true,
            compared: 1_000,
            dropped: 0,
            permitted_before: 500,
            newly_permitted: 0,
            newly_denied: 0,
            failed: 0,
            p99_ms: 0,
            examples: Vec::new(),
        }
    }

    fn seen(change: impl FnOnce(&mut RolloutReport)) -> Vec<Sight> {
        let mut report = report();
        change(&mut report);
        vec![Sight { report: Some(report), ..sight("e1", true) }, sight("e2", false)]
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn next() -> Judgement {
        Judgement::Step(RolloutStep::Next)
    }

    fn reason(judgement: Judgement) -> String {
        match judgement {
            Judgement::Step(RolloutStep::TakeBack { reason }) => reason,
            other => panic!("not taken back: {other:?}"),
        }
    }

    /// Clause K-21: each gate by itself, at its limit and above it.
    #[test]
    fn a_gate_closes_above_its_limit_and_says_by_what() {
        let judged = |sights: Vec<Sight>| judge(&rollout(), &sights, at(BAKE_MS));
        assert_eq!(judged(seen(|_| ())), next());
        assert_eq!(judged(seen(|report| report.newly_denied = 5)), next(), "ten of a thousand that were permitted");
        assert!(reason(judged(seen(|report| report.newly_denied = 6))).starts_with("6 of 500 decisions"));
        assert_eq!(judged(seen(|report| report.failed = 1)), next());
        assert!(reason(judged(seen(|report| report.failed = 2))).contains("failed in 2 of 1000"));
        assert!(reason(judged(seen(|report| report.newly_permitted = 1))).contains("are permitted"));
        assert_eq!(judged(seen(|report| report.p99_ms = 50)), next());
        assert!(reason(judged(seen(|report| report.p99_ms = 51))).contains("51 ms at e1"));
        let mut refused = seen(|_| ());
        refused[1].refused = Some("canary_failed: one".to_owned());
        assert_eq!(reason(judged(refused)), "refused by 1 of 2 edges (e2): canary_failed: one");
    }

    /// A flood of calls that neither bundle permits hides nothing: the rate is of what was permitted.
    #[test]
    fn refused_calls_do_not_dilute_the_rate_of_what_is_newly_denied() {
        let flooded = seen(|report| {
            report.compared = 1_000_000;
            report.permitted_before = 20;
            report.newly_denied = 10;
        });
        assert!(reason(judge(&rollout(), &flooded, at(0))).starts_with("10 of 20"));
    }

    /// One call is no rate, and an edge that nobody calls at is not outvoted by one that is busy.
    #[test]
    fn a_rate_is_of_a_sample_and_of_each_edge() {
        let few = |report: &mut RolloutReport| (report.permitted_before, report.newly_denied) = (19, 19);
        assert_eq!(judge(&rollout(), &seen(few), at(BAKE_MS)), next());
        let mut busy = seen(|report| report.permitted_before = u64::MAX / 2);
        let hurt = RolloutReport { permitted_before: 20, newly_denied: 20, ..report() };
        busy[1].report = Some(hurt);
        assert!(!reason(judge(&rollout(), &busy, at(0))).is_empty());
    }

    /// Clause O-6: it never waits until nothing can be gone back to.
    #[test]
    fn a_rollout_goes_back_before_its_way_back_closes() {
        let paused = Rollout { status: RolloutStatus::Paused, ..rollout() };
        let late = at(1_000 * BAKE_MS - 3_600_000);
        assert!(reason(judge(&paused, &seen(|_| ()), late)).contains("way back"));
    }

    #[test]
    fn a_gate_closes_before_the_time_is_over_and_while_somebody_holds_the_rollout() {
        let paused = Rollout { status: RolloutStatus::Paused, ..rollout() };
        for rollout in [rollout(), paused.clone()] {
            assert!(!reason(judge(&rollout, &seen(|report| report.failed = 1_000), at(1))).is_empty());
        }
        assert_eq!(judge(&paused, &seen(|_| ()), at(BAKE_MS)), Judgement::Wait("paused".to_owned()));
    }

    /// Clause K-22.
    #[test]
    fn a_wave_waits_for_its_time_and_for_its_edges() {
        let waits = |sights: Vec<Sight>, millis, why: &str| {
            let judged = judge(&rollout(), &sights, at(millis));
            assert!(matches!(&judged, Judgement::Wait(reason) if reason.contains(why)), "{judged:?}");
        };
        waits(seen(|_| ()), BAKE_MS - 1_000, "bakes for 1 s more");
        let mut late = seen(|_| ());
        late[0].runs = false;
        waits(late.clone(), BAKE_MS, "not run yet by e1");
        late[0].is_connected = false;
        waits(late, BAKE_MS, "no edge of the wave is connected: e1");
        let mut crashed = seen(|_| ());
        crashed[0].is_connected = false;
        waits(crashed, BAKE_MS, "no edge of the wave is connected: e1");
        let mut silent = seen(|_| ());
        silent[0].report = None;
        waits(silent, BAKE_MS, "nothing is reported by e1");
        // Who is away does not keep the others, and a wave of nobody is over when its time is.
        let mut away = seen(|_| ());
        away.push(Sight { is_connected: false, runs: false, ..sight("e3", true) });
        assert_eq!(judge(&rollout(), &away, at(BAKE_MS)), next());
        assert_eq!(judge(&rollout(), &[sight("e2", false)], at(BAKE_MS)), next());
        let mut others = seen(|_| ());
        others.push(Sight { serves: false, runs: false, ..sight("e9", true) });
        assert_eq!(judge(&rollout(), &others, at(BAKE_MS)), next(), "an edge of other tenants");
        assert_eq!(rollout().left(at(BAKE_MS)), Duration::ZERO);
    }
}
