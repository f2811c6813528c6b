//! What an edge says about itself: logs and metrics.
//!
//! Metric names are `remit_edge_<what>_<unit>[_total]`; labels come from fixed sets or from the configuration, never
//! from a request. Logs go to stderr, so that stdout stays a document for whoever asked for one. Neither ever carries
//! an argument, a result, a header or a credential.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use remit_common::id::TenantId;
use remit_common::net::udp::Buffers;
use remit_common::policy::decision::Reason;
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

/// Starts logging to stderr. `filter` is in the syntax of `RUST_LOG`; an unreadable one means `info`.
/// A process logs to one place: a second call changes nothing.
pub fn start_logging(format: LogFormat, filter: Option<&str>) {
    let filter = filter.and_then(|text| EnvFilter::try_new(text).ok()).unwrap_or_else(|| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // Somebody in this process has set up logging already: theirs stays.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
}

/// Returns when the process is asked to stop: SIGTERM, or Ctrl-C.
pub(crate) async fn asked_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        // Without a handler the signal ends the process by itself.
        return std::future::pending().await;
    };
    tokio::select! {
        biased;
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

/// An error and its causes, for logs and records, cut to what a record takes: it may quote what somebody else wrote.
pub(crate) fn chain_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    bounded(text)
}

/// The first bytes of a text.
pub(crate) fn bounded(mut text: String) -> String {
    const MAX: usize = 512;
    if text.len() > MAX {
        let end = (0..=MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
        text.truncate(end);
    }
    text
}

/// One label out of a fixed set.
pub(crate) type Label = [(&'static str, &'static str); 1];

/// Everything an edge counts. Cloning gives the same counters.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    /// Decisions by answer and reason.
    decisions: Family<[(&'static str, &'static str); 2], Counter>,
    advice: Family<[(&'static str, &'static str); 2], Counter>,
    /// From the last byte of a request to its decision.
    pub(crate) decision_seconds: Histogram,
    /// From the first byte to an upstream to the end of its answer.
    pub(crate) upstream_seconds: Histogram,
    /// Answers that were withheld because the credential was in them. Asks for a person.
    pub(crate) leaks: Counter,
    /// Permits that came to the upstream too late.
    pub(crate) late_permits: Counter,
    /// Age of what this edge decides by.
    pub(crate) staleness_seconds: Gauge<f64, AtomicU64>,
    /// Active bundle, by tenant.
    pub(crate) bundle_version: Family<[(&'static str, String); 1], Gauge>,
    /// Revocation epoch that is enforced.
    pub(crate) revocation_epoch: Gauge,
    /// 1 for the mode that holds.
    pub(crate) mode: Family<Label, Gauge>,
    /// Bundles refused, by why.
    pub(crate) bundles_refused: Family<Label, Counter>,
    /// Bundles turned away because the process died with them. Asks for a person.
    pub(crate) bundles_lost: Gauge,
    /// Voters' messages that were not believed, by kind. Asks for a person.
    pub(crate) not_believed: Family<Label, Counter>,
    /// Records that no majority has yet.
    pub(crate) spool_records: Gauge,
    /// Bytes of the spool.
    pub(crate) spool_bytes: Gauge,
    /// Records that were counted instead of kept.
    pub(crate) records_shed: Counter,
    /// Failed writes of the spool. Asks for a person.
    pub(crate) spool_failures: Counter,
    /// Voters that are connected.
    pub(crate) voters_connected: Gauge,
    /// What the kernel gave the socket towards voters, by `side`: `receive`, `send`.
    pub(crate) udp_buffer_bytes: Family<Label, Gauge>,
    /// Credentials that are open in memory.
    pub(crate) credentials_warm: Gauge,
    /// Verified chains that are kept.
    pub(crate) chains_cached: Gauge,
    /// Signatures of links and countersignatures that were verified: what strangers could cost.
    pub(crate) envelope_signatures: Counter,
    /// Hops that count towards their parents' fan-out.
    pub(crate) hops_counted: Gauge,
    /// Channels that holders have opened.
    pub(crate) channels_open: Gauge,
    /// Connections of agents that were closed at once, because there were too many.
    pub(crate) connections_shed: Gauge,
    /// The same, because there were too many of their source.
    pub(crate) connections_shed_by_source: Gauge,
    /// Connections of agents that were closed because they took nothing of their answer.
    pub(crate) connections_stalled: Gauge,
}

/// The metrics, and the registry that prints them.
#[derive(Debug)]
pub(crate) struct Telemetry {
    pub(crate) metrics: Metrics,
    registry: Registry,
}

/// Ten microseconds to a second: a warm decision is far below one millisecond, a commit to disk a few.
const DECISION_BUCKETS: [f64; 11] =
    [0.000_01, 0.000_02, 0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.005, 0.02, 0.1, 1.0];
/// A millisecond to half a minute: what tools take.
const UPSTREAM_BUCKETS: [f64; 10] = [0.001, 0.002, 0.005, 0.01, 0.05, 0.1, 0.5, 2.0, 10.0, 30.0];

impl Metrics {
    /// Shows what the kernel gave the socket towards voters, and says how to mend it when that is little (W-41).
    pub(crate) fn show_buffers(&self, buffers: Option<Buffers>) {
        let Some(buffers) = buffers else { return };
        for (side, bytes) in [("receive", buffers.receive), ("send", buffers.send)] {
            self.udp_buffer_bytes.get_or_create(&[("side", side)]).set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
        if let Err(small) = buffers.check() {
            tracing::warn!("the socket towards voters: {small}");
        }
    }

    /// Counts a decision.
    pub(crate) fn decided(&self, reason: Reason, took: Duration) {
        let answer = if reason == Reason::Permit { "permit" } else { "deny" };
        self.decisions.get_or_create(&[("decision", answer), ("reason", reason.as_str())]).inc();
        self.decision_seconds.observe(took.as_secs_f64());
    }

    /// Counts what an enforcement point was told.
    pub(crate) fn advised(&self, reason: Reason, took: Duration) {
        let answer = if reason == Reason::Permit { "permit" } else { "deny" };
        self.advice.get_or_create(&[("decision", answer), ("reason", reason.as_str())]).inc();
        self.decision_seconds.observe(took.as_secs_f64());
    }

    /// Decisions so far by reason; reasons that never occurred are left out.
    pub(crate) fn decisions(&self) -> Vec<(Reason, u64)> {
        Reason::all()
            .filter_map(|reason| {
                let answer = if reason == Reason::Permit { "permit" } else { "deny" };
                let count = self.decisions.get(&[("decision", answer), ("reason", reason.as_str())])?.get();
                Some((reason, count))
            })
            .collect()
    }

    pub(crate) fn set_bundle(&self, tenant: &TenantId, version: u64) {
        let version = i64::try_from(version).unwrap_or(i64::MAX);
        self.bundle_version.get_or_create(&[("tenant", tenant.to_string())]).set(version);
    }
}

impl Telemetry {
    /// A fresh set, all zero.
    pub(crate) fn new() -> Self {
        let metrics = Metrics {
            decisions: Family::default(),
            advice: Family::default(),
            decision_seconds: Histogram::new(DECISION_BUCKETS),
            upstream_seconds: Histogram::new(UPSTREAM_BUCKETS),
            leaks: Counter::default(),
            late_permits: Counter::default(),
            staleness_seconds: Gauge::default(),
            bundle_version: Family::default(),
            revocation_epoch: Gauge::default(),
            mode: Family::default(),
            bundles_refused: Family::default(),
            bundles_lost: Gauge::default(),
            not_believed: Family::default(),
            spool_records: Gauge::default(),
            spool_bytes: Gauge::default(),
            records_shed: Counter::default(),
            spool_failures: Counter::default(),
            voters_connected: Gauge::default(),
            udp_buffer_bytes: Family::default(),
            credentials_warm: Gauge::default(),
            chains_cached: Gauge::default(),
            envelope_signatures: Counter::default(),
            hops_counted: Gauge::default(),
            channels_open: Gauge::default(),
            connections_shed: Gauge::default(),
            connections_shed_by_source: Gauge::default(),
            connections_stalled: Gauge::default(),
        };
        let mut registry = Registry::with_prefix("remit_edge");
        let Metrics {
            decisions,
            advice,
            decision_seconds,
            upstream_seconds,
            leaks,
            late_permits,
            staleness_seconds,
            bundle_version,
            revocation_epoch,
            mode,
            bundles_refused,
            bundles_lost,
            not_believed,
            spool_records,
            spool_bytes,
            records_shed,
            spool_failures,
            voters_connected,
            udp_buffer_bytes,
            credentials_warm,
            chains_cached,
            envelope_signatures,
            hops_counted,
            channels_open,
            connections_shed,
            connections_shed_by_source,
            connections_stalled,
        } = metrics.clone();
        registry.register("decisions", "Decisions by answer and reason", decisions);
        registry.register("advice", "What enforcement points were told, by answer and reason", advice);
        registry.register_with_unit("decision", "From request to decision", Unit::Seconds, decision_seconds);
        registry.register_with_unit("upstream", "From request to a tool's answer", Unit::Seconds, upstream_seconds);
        registry.register("leaks", "Answers withheld because a credential was in them", leaks);
        registry.register("late_permits", "Permits that came to the upstream too late", late_permits);
        registry.register_with_unit("staleness", "Age of the view", Unit::Seconds, staleness_seconds);
        registry.register("bundle_version", "Active bundle by tenant", bundle_version);
        registry.register("revocation_epoch", "Revocation epoch that is enforced", revocation_epoch);
        registry.register("mode", "1 for the mode that holds", mode);
        registry.register("bundles_refused", "Bundles refused by why", bundles_refused);
        registry.register("bundles_lost", "Bundles turned away because the process died with them", bundles_lost);
        registry.register("not_believed", "Messages of voters that were not believed, by kind", not_believed);
        registry.register("spool_records", "Records that no majority of voters has yet", spool_records);
        registry.register_with_unit("spool", "Size of the spool", Unit::Bytes, spool_bytes);
        registry.register("records_shed", "Records counted instead of kept", records_shed);
        registry.register("spool_failures", "Failed writes of the spool", spool_failures);
        registry.register("voters_connected", "Voters that are connected", voters_connected);
        let granted = "What the kernel gave the socket towards voters, by side";
        registry.register_with_unit("udp_buffer", granted, Unit::Bytes, udp_buffer_bytes);
        registry.register("credentials_warm", "Credentials open in memory", credentials_warm);
        registry.register("chains_cached", "Verified chains that are kept", chains_cached);
        registry.register(
            "envelope_signatures",
            "Signatures of links and countersignatures that were verified",
            envelope_signatures,
        );
        registry.register("hops_counted", "Hops that count towards the fan-out of their parents", hops_counted);
        registry.register("channels_open", "Channels that holders of envelopes have opened", channels_open);
        registry.register("connections_shed", "Agents' connections closed at once", connections_shed);
        let help = "Agents' connections closed at once, because there were too many of their source";
        registry.register("connections_shed_by_source", help, connections_shed_by_source);
        let help = "Agents' connections closed because nothing of their answer was taken";
        registry.register("connections_stalled", help, connections_stalled);
        Self { metrics, registry }
    }

    /// The text of `/metrics`.
    pub(crate) fn render(&self) -> String {
        let mut out = String::new();
        match encode(&mut out, &self.registry) {
            Ok(()) => out,
            Err(std::fmt::Error) => String::new(), // INVARIANT: writing to a String does not fail
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_carry_the_names_that_dashboards_use() {
        let telemetry = Telemetry::new();
        let metrics = &telemetry.metrics;
        metrics.decided(Reason::Permit, Duration::from_micros(12));
        metrics.decided(Reason::Stale, Duration::from_micros(12));
        metrics.staleness_seconds.set(0.18);
        metrics.set_bundle(&TenantId::new("acme").unwrap(), 7);
        metrics.spool_records.set(3);
        let text = telemetry.render();
        for line in [
            "remit_edge_decisions_total{decision=\"permit\",reason=\"permit\"} 1",
            "remit_edge_decisions_total{decision=\"deny\",reason=\"stale\"} 1",
            "remit_edge_decision_seconds_count 2",
            "remit_edge_staleness_seconds 0.18",
            "remit_edge_bundle_version{tenant=\"acme\"} 7",
            "remit_edge_spool_records 3",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        assert_eq!(metrics.decisions(), [(Reason::Permit, 1), (Reason::Stale, 1)]);
    }
}
