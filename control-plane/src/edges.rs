//! What edges last said about themselves.
//!
//! Soft state of the voter that they are connected to; they say it again when they connect elsewhere. What decides
//! something for others, that an edge enforces a revocation or runs a bundle, is kept with the edge's signature, so that
//! whoever asks can check it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use remit_common::id::{BootId, EdgeId, LogIndex, RevocationEpoch, TenantId};
use remit_common::record::RecordHead;
use remit_common::time::Timestamp;
use remit_common::wire::message::{Ack, Nack};
use remit_common::wire::proof::{Attestation, Covered};
use serde::{Deserialize, Serialize};

use crate::telemetry::Metrics;

/// Tenants of which one edge reports; the directory's edges serve few.
const TENANTS_MAX: usize = 1_024;

/// What one edge last said to one voter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EdgeReport {
    /// Which edge.
    pub(crate) edge: EdgeId,
    /// Its process.
    pub(crate) boot: Option<BootId>,
    /// Connections to this voter.
    pub(crate) connections: u32,
    /// Whether this voter publishes to it.
    pub(crate) subscribed: bool,
    /// This voter's clock when it last said anything.
    pub(crate) heard: Timestamp,
    /// The epoch that it says it enforces, not signed.
    pub(crate) epoch: RevocationEpoch,
    /// The end of its chain of records.
    pub(crate) head: Option<RecordHead>,
    /// What it enforces, signed.
    pub(crate) covered: Option<Covered>,
    /// What it runs, signed, by tenant. Boxed: the first entry of a map makes room for eleven.
    pub(crate) attestations: BTreeMap<TenantId, Box<Attestation>>,
    /// How far the newest bundle has come, by tenant.
    pub(crate) acks: BTreeMap<TenantId, Ack>,
    /// The last document that it did not take.
    pub(crate) nack: Option<Nack>,
}

impl EdgeReport {
    fn new(edge: EdgeId) -> Self {
        Self {
            edge,
            boot: None,
            connections: 0,
            subscribed: false,
            heard: Timestamp::default(),
            epoch: RevocationEpoch::default(),
            head: None,
            covered: None,
            attestations: BTreeMap::new(),
            acks: BTreeMap::new(),
            nack: None,
        }
    }

    /// Both reports of one edge, as two voters have them, in one: of each fact the newer.
    pub(crate) fn merge(&mut self, other: Self) {
        let Self { edge: _, boot, connections, subscribed, heard, epoch, head, covered, attestations, acks, nack } =
            other;
        let newer = heard > self.heard;
        self.connections = self.connections.saturating_add(connections);
        self.subscribed |= subscribed;
        self.epoch = self.epoch.max(epoch);
        if newer {
            self.heard = heard;
            self.boot = boot.or(self.boot);
            self.head = head.or(self.head);
            self.nack = nack.or_else(|| self.nack.take());
        }
        if covered.as_ref().map(|ack| ack.epoch) > self.covered.as_ref().map(|ack| ack.epoch) {
            self.covered = covered;
        }
        for (tenant, theirs) in attestations {
            let ours = self.attestations.get(&tenant).map(|ours| ours.number);
            // Of one activation an edge may say first that it runs its bundle, and then that it has gone back (B-33).
            if ours.is_none_or(|ours| theirs.number > ours || (theirs.number == ours && newer)) {
                self.attestations.insert(tenant, theirs);
            }
        }
        for (tenant, theirs) in acks {
            if newer || !self.acks.contains_key(&tenant) {
                self.acks.insert(tenant, theirs);
            }
        }
    }
}

/// When an edge first attested a bundle, by the clock of the voter that it told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AttestedSince {
    /// Which edge.
    pub(crate) edge: EdgeId,
    /// Whose bundle.
    pub(crate) tenant: TenantId,
    /// Under which activation.
    pub(crate) number: LogIndex,
    /// When this voter heard it first.
    pub(crate) at: Timestamp,
}

/// What the edges of this voter last said.
#[derive(Debug)]
pub(crate) struct EdgeTable {
    reports: Mutex<BTreeMap<EdgeId, EdgeReport>>,
    /// As many as there are attestations in the reports.
    since: Mutex<BTreeMap<(EdgeId, TenantId), (LogIndex, Timestamp)>>,
    metrics: Metrics,
}

/// A connection of an edge. Dropping it ends the connection in the table.
#[derive(Debug)]
pub(crate) struct Presence<'a> {
    table: &'a EdgeTable,
    edge: EdgeId,
    subscribed: bool,
}

impl EdgeTable {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self { reports: Mutex::default(), since: Mutex::default(), metrics: metrics.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<EdgeId, EdgeReport>> {
        // Each update is one assignment or insertion, so a panic in between leaves the table usable.
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every report.
    pub(crate) fn reports(&self) -> Vec<EdgeReport> {
        self.lock().values().cloned().collect()
    }

    /// Since when edges have attested what they run.
    pub(crate) fn attested_since(&self) -> Vec<AttestedSince> {
        let since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let row = |((edge, tenant), (number, at)): (&(EdgeId, TenantId), &(LogIndex, Timestamp))| AttestedSince {
            edge: edge.clone(),
            tenant: tenant.clone(),
            number: *number,
            at: *at,
        };
        since.iter().map(row).collect()
    }

    fn note_attested(&self, attestation: &Attestation, now: Timestamp) {
        let key = (attestation.edge.clone(), attestation.tenant.clone());
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        if since.get(&key).is_none_or(|(number, _)| *number < attestation.number) {
            since.insert(key, (attestation.number, now));
        }
    }

    /// Connections that an edge has to this voter.
    pub(crate) fn connections_of(&self, edge: &EdgeId) -> u32 {
        self.lock().get(edge).map_or(0, |report| report.connections)
    }

    /// An edge has connected. The caller has compared it with the directory: only listed edges get a place here.
    pub(crate) fn enter(&self, edge: &EdgeId, boot: BootId, now: Timestamp) -> Presence<'_> {
        let mut reports = self.lock();
        let report = reports.entry(edge.clone()).or_insert_with(|| EdgeReport::new(edge.clone()));
        if report.boot.is_some_and(|before| before != boot) {
            // What the process before it ran, this one may have turned away (B-33). It says so itself.
            report.attestations.clear();
        }
        report.boot = Some(boot);
        report.heard = now;
        report.connections = report.connections.saturating_add(1);
        self.count(&reports);
        Presence { table: self, edge: edge.clone(), subscribed: false }
    }

    fn count(&self, reports: &BTreeMap<EdgeId, EdgeReport>) {
        let connected = reports.values().filter(|report| report.connections > 0).count();
        let gauge = self.metrics.edges.get_or_create(&[("state", "connected")]);
        gauge.set(i64::try_from(connected).unwrap_or(i64::MAX));
    }
}

impl Presence<'_> {
    fn update(&self, now: Timestamp, change: impl FnOnce(&mut EdgeReport)) {
        if let Some(report) = self.table.lock().get_mut(&self.edge) {
            report.heard = report.heard.max(now);
            change(report);
        }
    }

    /// This voter publishes to it.
    pub(crate) fn subscribed(&mut self, now: Timestamp) {
        self.subscribed = true;
        self.update(now, |report| report.subscribed = true);
    }

    /// It has sent a nonce.
    pub(crate) fn heard(&self, now: Timestamp, epoch: RevocationEpoch, head: Option<RecordHead>) {
        self.update(now, |report| {
            report.epoch = epoch;
            report.head = head.or(report.head);
        });
    }

    /// It enforces this; the signature is verified.
    pub(crate) fn covered(&self, now: Timestamp, ack: Covered) {
        self.update(now, |report| {
            if report.covered.as_ref().is_none_or(|known| ack.epoch >= known.epoch) {
                report.covered = Some(ack);
            }
        });
    }

    /// It runs this; the signature is verified.
    pub(crate) fn attested(&self, now: Timestamp, attestation: Attestation) {
        self.update(now, |report| {
            let known = report.attestations.get(&attestation.tenant).map(|known| known.number);
            let room = known.is_some() || report.attestations.len() < TENANTS_MAX;
            if room && known.is_none_or(|known| attestation.number >= known) {
                self.table.note_attested(&attestation, now);
                report.attestations.insert(attestation.tenant.clone(), Box::new(attestation));
            }
        });
    }

    /// A bundle has come this far.
    pub(crate) fn acked(&self, now: Timestamp, ack: Ack) {
        self.update(now, |report| {
            if report.acks.contains_key(&ack.tenant) || report.acks.len() < TENANTS_MAX {
                report.acks.insert(ack.tenant.clone(), ack);
            }
            report.nack = None;
        });
    }

    /// It did not take a document.
    pub(crate) fn nacked(&self, now: Timestamp, nack: Nack) {
        self.update(now, |report| report.nack = Some(nack));
    }
}

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        let mut reports = self.table.lock();
        if let Some(report) = reports.get_mut(&self.edge) {
            report.connections = report.connections.saturating_sub(1);
            report.subscribed &= !self.subscribed;
        }
        self.table.count(&reports);
    }
}

#[cfg(test)]
impl EdgeReport {
    /// A report in which everything is said.
    pub(crate) fn example(heard: Timestamp) -> Self {
        use remit_common::crypto::digest::Digest;
        use remit_common::crypto::sign::Signature;
        use remit_common::wire::message::Stage;

        let (edge, tenant) = (EdgeId::new("e1").unwrap(), TenantId::new("acme").unwrap());
        let (digest, signature) = (Digest([0x11; 32]), Signature([0x22; 64]));
        let attestation = Attestation {
            edge: edge.clone(),
            tenant: tenant.clone(),
            number: LogIndex(3),
            manifest: digest,
            signature,
        };
        Self {
            edge: edge.clone(),
            boot: Some(BootId([1; 16])),
            connections: 1,
            subscribed: true,
            heard,
            epoch: RevocationEpoch(4),
            head: Some(RecordHead { boot: BootId([1; 16]), seq: 5, hash: digest }),
            covered: Some(Covered { edge, epoch: RevocationEpoch(4), digest, signature }),
            attestations: BTreeMap::from([(tenant.clone(), Box::new(attestation))]),
            acks: BTreeMap::from([(tenant.clone(), Ack { tenant, manifest: digest, stage: Stage::Active })]),
            nack: Some(Nack { digest, code: "c".to_owned(), detail: "d".to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Telemetry;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn of_two_voters_words_the_newer_counts() {
        let old = EdgeReport::example(at(1));
        let mut new = EdgeReport::example(at(2));
        new.epoch = RevocationEpoch(9);
        if let Some(covered) = &mut new.covered {
            covered.epoch = RevocationEpoch(3);
        }
        for attestation in new.attestations.values_mut() {
            attestation.number = LogIndex(8);
        }
        new.nack = None;
        let merged = |mut one: EdgeReport, two: EdgeReport| {
            one.merge(two);
            one
        };
        for merged in [merged(old.clone(), new.clone()), merged(new, old)] {
            assert_eq!((merged.heard, merged.epoch, merged.connections), (at(2), RevocationEpoch(9), 2));
            // What is signed counts by what it says, whenever it was heard.
            assert_eq!(merged.covered.map(|ack| ack.epoch), Some(RevocationEpoch(4)));
            assert!(merged.attestations.values().all(|attestation| attestation.number == LogIndex(8)));
        }
    }

    #[test]
    fn an_edge_that_is_gone_is_still_known() {
        let telemetry = Telemetry::new();
        let table = EdgeTable::new(&telemetry.metrics);
        let edge = EdgeId::new("e1").unwrap();
        let mut here = table.enter(&edge, BootId([1; 16]), at(1));
        let again = table.enter(&edge, BootId([2; 16]), at(2));
        here.subscribed(at(3));
        let example = EdgeReport::example(at(3));
        here.covered(at(3), example.covered.clone().unwrap());
        let mut older = example.covered.unwrap();
        older.epoch = RevocationEpoch(1);
        again.covered(at(4), older);
        assert_eq!(table.connections_of(&edge), 2);
        assert_eq!(telemetry.metrics.edges.get_or_create(&[("state", "connected")]).get(), 1);
        drop((here, again));
        let report = table.reports().pop().unwrap();
        assert_eq!((report.connections, report.subscribed, report.heard), (0, false, at(4)));
        assert_eq!(report.covered.map(|ack| ack.epoch), Some(RevocationEpoch(4)), "acks never go back");
        assert_eq!(telemetry.metrics.edges.get_or_create(&[("state", "connected")]).get(), 0);
    }
}
