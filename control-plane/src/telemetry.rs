//! What a voter says about itself: logs, metrics, and the operations listener.
//!
//! Metric names are `remit_control_<what>_<unit>[_total]`; labels come from fixed sets. Logs go to stderr, so that
//! stdout stays a document for whoever asked for one.

use std::io::IsTerminal as _;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged when nobody says otherwise. The Raft library reports every call to a voter that is down as an error,
/// ten times a second; what asks for a person this voter says itself.
const FILTER: &str = "info,openraft=off";

/// Starts logging to stderr. `filter` is in the syntax of `RUST_LOG`; an unreadable one counts as none.
/// A process logs to one place: a second call changes nothing.
pub fn start_logging(format: LogFormat, filter: Option<&str>) {
    let filter = filter.and_then(|text| EnvFilter::try_new(text).ok()).unwrap_or_else(|| EnvFilter::new(FILTER));
    let coloured = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(coloured).with_writer(std::io::stderr);
    // Somebody in this process has set up logging already: theirs stays.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}

/// A metric with one label out of a fixed set.
pub type Labelled<M> = Family<[(&'static str, &'static str); 1], M>;

/// Everything a voter counts. Cloning gives the same counters.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// From proposing a command to having applied it.
    pub commit_seconds: Histogram,
    /// Commands applied, by outcome.
    pub commands: Labelled<Counter>,
    /// The highest log index applied.
    pub applied_index: Gauge,
    /// 1 while this voter leads.
    pub leader: Gauge,
    /// The newest tick applied.
    pub tick_index: Gauge,
    /// The revocation epoch.
    pub revocation_epoch: Gauge,
    /// How far the registry's clock is ahead of this voter's.
    pub clock_ahead_seconds: Gauge,
    /// Edges by state: `connected`, `listed`.
    pub edges: Labelled<Gauge>,
    /// Records stored.
    pub records: Counter,
    /// Records that came again.
    pub records_repeated: Counter,
    /// Records refused, by why: `fork`, `chain`, `malformed`. A fork asks for a person.
    pub records_refused: Labelled<Counter>,
    /// 1 while this voter copies records that others have.
    pub records_lacking: Gauge,
    /// Damaged files of records that lie beside the one in use.
    pub record_files_set_aside: Gauge,
    /// Connections of edges refused, by why.
    pub edges_refused: Labelled<Counter>,
    /// Questions of edges that join or want another certificate, by outcome.
    pub enrolments: Labelled<Counter>,
    /// Nonces of edges that no tick answered in time.
    pub nonces_unanswered: Counter,
    /// Ticks that this voter has signed.
    pub ticks_signed: Counter,
    /// Ticks that it has not signed, by why: `not_listed`, `another_key`, `signed_before`, `disk`.
    pub ticks_unsigned: Labelled<Counter>,
    /// What the kernel gave the socket for edges, by `side`: `receive`, `send`.
    pub udp_buffer_bytes: Labelled<Gauge>,
    /// Datagrams at the edges' port that the kernel has thrown away, as it said last.
    pub udp_dropped_datagrams: Gauge,
}

/// The metrics, and the registry that prints them.
#[derive(Debug)]
pub struct Telemetry {
    /// The counters.
    pub metrics: Metrics,
    registry: Registry,
}

/// Milliseconds to half a minute: a commit is one flush and one round trip, a failover some seconds.
const COMMIT_BUCKETS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0];

impl Telemetry {
    /// A fresh set, all zero.
    #[must_use]
    pub fn new() -> Self {
        let metrics = Metrics {
            commit_seconds: Histogram::new(COMMIT_BUCKETS),
            commands: Family::default(),
            applied_index: Gauge::default(),
            leader: Gauge::default(),
            tick_index: Gauge::default(),
            revocation_epoch: Gauge::default(),
            clock_ahead_seconds: Gauge::default(),
            edges: Family::default(),
            records: Counter::default(),
            records_repeated: Counter::default(),
            records_refused: Family::default(),
            records_lacking: Gauge::default(),
            record_files_set_aside: Gauge::default(),
            edges_refused: Family::default(),
            enrolments: Family::default(),
            nonces_unanswered: Counter::default(),
            ticks_signed: Counter::default(),
            ticks_unsigned: Family::default(),
            udp_buffer_bytes: Family::default(),
            udp_dropped_datagrams: Gauge::default(),
        };
        let mut registry = Registry::with_prefix("remit_control");
        let Metrics {
            commit_seconds,
            commands,
            applied_index,
            leader,
            tick_index,
            revocation_epoch,
            clock_ahead_seconds,
            edges,
            records,
            records_repeated,
            records_refused,
            records_lacking,
            record_files_set_aside,
            edges_refused,
            enrolments,
            nonces_unanswered,
            ticks_signed,
            ticks_unsigned,
            udp_buffer_bytes,
            udp_dropped_datagrams,
        } = metrics.clone();
        registry.register_with_unit("commit", "From proposing to having applied", Unit::Seconds, commit_seconds);
        registry.register("commands", "Commands applied, by outcome", commands);
        registry.register("applied_index", "Highest log index applied", applied_index);
        registry.register("leader", "1 while this voter leads", leader);
        registry.register("tick_index", "Newest tick applied", tick_index);
        registry.register("revocation_epoch", "Revocation epoch", revocation_epoch);
        registry.register_with_unit(
            "clock_ahead",
            "How far the registry's clock is ahead of this voter's",
            Unit::Seconds,
            clock_ahead_seconds,
        );
        registry.register("edges", "Edges by state", edges);
        registry.register("records", "Decision records stored", records);
        registry.register("records_repeated", "Decision records that came again", records_repeated);
        registry.register("records_refused", "Decision records refused, by why", records_refused);
        registry.register("records_lacking", "1 while records of other voters are copied", records_lacking);
        registry.register("record_files_set_aside", "Damaged files of records", record_files_set_aside);
        registry.register("edges_refused", "Connections of edges refused, by why", edges_refused);
        registry.register("enrolments", "Questions of edges that join or renew, by outcome", enrolments);
        registry.register("nonces_unanswered", "Nonces that no tick answered in time", nonces_unanswered);
        registry.register("ticks_signed", "Ticks signed", ticks_signed);
        registry.register("ticks_unsigned", "Ticks not signed, by why", ticks_unsigned);
        let granted = "What the kernel gave the socket for edges, by side";
        registry.register_with_unit("udp_buffer", granted, Unit::Bytes, udp_buffer_bytes);
        let thrown_away = "Datagrams at the edges' port that the kernel has thrown away";
        registry.register("udp_dropped_datagrams", thrown_away, udp_dropped_datagrams);
        Self { metrics, registry }
    }

    /// The text of `/metrics`.
    #[must_use]
    pub fn render(&self) -> String {
        let mut out = String::new();
        match encode(&mut out, &self.registry) {
            Ok(()) => out,
            Err(std::fmt::Error) => String::new(), // INVARIANT: writing to a String does not fail
        }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_carry_the_names_that_dashboards_use() {
        let telemetry = Telemetry::new();
        telemetry.metrics.records.inc();
        telemetry.metrics.edges.get_or_create(&[("state", "connected")]).set(6);
        telemetry.metrics.commit_seconds.observe(0.003);
        let text = telemetry.render();
        for line in [
            "remit_control_records_total 1",
            "remit_control_edges{state=\"connected\"} 6",
            "remit_control_commit_seconds_count 1",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
