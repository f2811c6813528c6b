//! What was measured, as a document and as a table with the budgets.

use std::fmt::Write as _;

use serde::Serialize;

use super::etcd::Watched;
use super::rounds::{Rounds, Spread};

/// A revocation, from the request to the signed word of all edges but one of a hundred.
const REVOKED_P99_MS: f64 = 150.0;
/// Resident memory of the voter for an edge that is connected and idle.
const RESIDENT_KIB: f64 = 45.0;
/// What crosses until an edge that lacks nothing is fresh again.
const RECONNECT_BYTES: u64 = 10_000;
/// Verifying one beacon.
const BEACON_US: f64 = 200.0;
/// How many edges the first budgets are for.
const EDGES: usize = 1_000;

/// Everything that one run has measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Edges.
    pub edges: usize,
    /// Seconds between two nonces of an edge, and so between two beacons.
    pub beacon_secs: u64,
    /// Bytes of the signed directory.
    pub directory_bytes: usize,
    /// Bytes of the frame with which a revocation comes.
    pub revocation_bytes: usize,
    /// All edges at once, at a voter that is idle.
    pub start: Storm,
    /// What an idle edge weighs at the voter.
    pub resident: Resident,
    /// Cuts.
    pub revocation: Rounds,
    /// Cuts while one edge reads nothing.
    pub with_slow_edge: Beside,
    /// Reconnects of edges that lack nothing.
    pub reconnect: Reconnects,
    /// All edges after the voter was killed.
    pub after_kill: Storm,
    /// Verifying a beacon with the signatures of two of three voters, in µs.
    pub beacon: Verified,
    /// Datagrams that the kernel threw away during the run because a buffer was full.
    pub dropped_datagrams: u64,
    /// The same with `etcd`, or why not.
    pub etcd: Etcd,
}

/// All edges coming at once.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Storm {
    /// Until all were fresh, in ms: from the start, or from when the voter was ready again.
    pub until_all_fresh_ms: f64,
    /// How long each took, by the same clock.
    pub each: Spread,
    /// Edges a second, all in all.
    pub edges_per_sec: f64,
    /// Seconds that the voter worked meanwhile.
    pub voter_worked_secs: f64,
    /// Of the time after a kill, how long the voter was away, in ms.
    pub away_ms: f64,
    /// Attempts that failed, and connections that ended.
    pub troubles: u64,
}

/// What idle edges weigh and cost at the voter.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Resident {
    /// KiB before an edge came.
    pub before_kib: u64,
    /// KiB with all of them, idle.
    pub after_kib: u64,
    /// KiB for each.
    pub per_edge_kib: f64,
    /// Percent of one core that the voter works for all of them, idle.
    pub idle_percent: f64,
}

/// Cuts with and without an edge that reads nothing, in one run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Beside {
    /// With it.
    pub with: Rounds,
    /// Without it, before and after.
    pub without: [Rounds; 2],
    /// The hundredth with it, by the mean of those without it.
    pub ratio_p99: f64,
    /// The same of the medians.
    pub ratio_p50: f64,
}

/// Reconnects.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Reconnects {
    /// How many.
    pub count: usize,
    /// Bytes of UDP payload, both ways: the median.
    pub bytes: u64,
    /// The most.
    pub bytes_max: u64,
    /// Of the median one, towards the voter.
    pub bytes_sent: u64,
    /// Of the median one, datagrams both ways.
    pub datagrams: u64,
}

/// One figure of the bench's usual form.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Verified {
    /// The quickest, in µs.
    pub minimum_us: f64,
    /// The median of the calmest stretch, in µs.
    pub median_us: f64,
}

/// See [`Report::etcd`].
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Etcd {
    /// It was measured.
    Watched(Watched),
    /// It was not.
    Skipped {
        /// Why not.
        skipped: String,
    },
}

/// One budget.
struct Budget {
    what: String,
    kept: bool,
}

impl Report {
    /// Whether every budget for so many edges was kept. Those that hang on the number of edges are for a thousand.
    #[must_use]
    pub fn kept(&self) -> bool {
        self.budgets().iter().all(|budget| budget.kept)
    }

    fn budgets(&self) -> Vec<Budget> {
        let mut budgets = Vec::new();
        let mut hold = |what: String, kept| budgets.push(Budget { what, kept });
        if self.edges <= EDGES {
            let p99 = self.revocation.all.p99_ms;
            hold(
                format!("a revocation acknowledged by {} edges: p99 at most {REVOKED_P99_MS} ms", self.edges),
                p99 <= REVOKED_P99_MS,
            );
        }
        hold(
            format!("an idle edge at the voter: at most {RESIDENT_KIB} KiB resident"),
            self.resident.per_edge_kib <= RESIDENT_KIB,
        );
        hold(
            format!("a reconnect that changes nothing: under {RECONNECT_BYTES} B"),
            self.reconnect.bytes_max < RECONNECT_BYTES,
        );
        hold(format!("a beacon: verified in at most {BEACON_US} µs, median"), self.beacon.median_us <= BEACON_US);
        budgets
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> String {
        let mut out = String::new();
        let line = |out: &mut String, what: &str, text: String| _ = writeln!(out, "{what:<52} {text}");
        let spread = |of: &Spread| format!("p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms", of.p50_ms, of.p99_ms, of.max_ms);
        let head = format!(
            "a beacon every {} s; directory {} B, revocation {} B",
            self.beacon_secs, self.directory_bytes, self.revocation_bytes
        );
        line(&mut out, &format!("{} edges at one voter", self.edges), head);
        for (what, storm) in
            [("all at once", &self.start), ("all after the voter's kill, from its being back", &self.after_kill)]
        {
            line(
                &mut out,
                what,
                format!(
                    "all fresh after {:.0} ms, {:.0} edges/s, {:.2} s of the voter's work, {} failed attempts",
                    storm.until_all_fresh_ms, storm.edges_per_sec, storm.voter_worked_secs, storm.troubles
                ),
            );
        }
        let Resident { before_kib, after_kib, per_edge_kib, idle_percent } = &self.resident;
        line(
            &mut out,
            "resident at the voter",
            format!(
                "{before_kib} KiB without edges, {after_kib} with: {per_edge_kib:.1} KiB an edge; idle {idle_percent:.1} % of a core"
            ),
        );
        line(
            &mut out,
            "revocation, request to signed word sent",
            format!("{}; {} rounds", spread(&self.revocation.all), self.revocation.rounds),
        );
        line(&mut out, "  calmest round", spread(&self.revocation.calmest));
        line(&mut out, "  committed", spread(&self.revocation.committed));
        line(&mut out, "  and the voter has named all as covered", spread(&self.revocation.known_to_voter));
        let Beside { with, without, ratio_p99, ratio_p50 } = &self.with_slow_edge;
        line(
            &mut out,
            "  one edge reads nothing",
            format!("{}: p99 {ratio_p99:.2} times, p50 {ratio_p50:.2} times that without", spread(&with.all)),
        );
        for without in without {
            line(&mut out, "  without it, before and after", spread(&without.all));
        }
        let Reconnects { count, bytes, bytes_max, bytes_sent, datagrams } = &self.reconnect;
        line(
            &mut out,
            "reconnect, nothing has changed",
            format!(
                "{bytes} B in {datagrams} datagrams, {bytes_sent} B of it to the voter; at most {bytes_max} B of {count}"
            ),
        );
        let Verified { minimum_us, median_us } = &self.beacon;
        line(
            &mut out,
            "a beacon, two signatures of three voters",
            format!("min {minimum_us:.1} µs, median {median_us:.1} µs"),
        );
        line(&mut out, "datagrams that the kernel threw away", self.dropped_datagrams.to_string());
        match &self.etcd {
            Etcd::Watched(etcd) => {
                line(
                    &mut out,
                    &format!("etcd, {} watchers, {} B, put to arrival", etcd.watchers, etcd.payload_bytes),
                    format!("{}; {:.1} KiB a watcher", spread(&etcd.all), etcd.resident_kib_per_watcher),
                );
                line(&mut out, "  calmest round", spread(&etcd.calmest));
            }
            Etcd::Skipped { skipped } => line(&mut out, "etcd", format!("skipped: {skipped}")),
        }
        for Budget { what, kept } in self.budgets() {
            _ = writeln!(out, "  {} {what}", if kept { "kept  " } else { "MISSED" });
        }
        out
    }
}
