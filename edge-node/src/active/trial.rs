//! Bundles on trial: which of them ended this process, and must not again.
//!
//! A bundle that compiles and passes its self-test can still end the process that decides by it, and a process that is
//! started again decides by it again. So a bundle is on trial from its activation on, and while it arrives, until the
//! process has lived a minute with it. What ends twice on trial is turned away: the edge goes back to what the highest
//! manifest names, or refuses. A death is counted when the next process starts, on the disk and before anything of a
//! bundle is read, for whatever comes after may be what ends the process. Pure; [`super::store`] keeps it. Clauses B-31
//! to B-33 and N-26, docs/PROTOCOL.md.

use std::collections::BTreeMap;
use std::time::Duration;

use remit_common::crypto::digest::Digest;
use remit_common::id::{LogIndex, TenantId};
use remit_common::time::{BootTime, Now};
use serde::{Deserialize, Serialize};

use super::store::StoredActivation;

/// How long a process lives with a bundle before its end is no longer held against it.
pub(crate) const TRIAL: Duration = Duration::from_secs(60);
/// Deaths that turn a bundle away.
pub(crate) const DEATHS_MAX: u32 = 2;
/// Trials of one tenant that are remembered: few, for a newer activation ends those before it.
const PER_TENANT_MAX: usize = 16;
/// Until a trial that the disk did not let end is looked at again.
const AGAIN: Duration = Duration::from_secs(2);

/// One bundle under one activation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Trial {
    pub(crate) tenant: TenantId,
    /// The activation that brought it here.
    pub(crate) number: LogIndex,
    pub(crate) manifest: Digest,
    /// The container, so that it can be passed over without being opened.
    pub(crate) content: Digest,
    pub(crate) deaths: u32,
    /// It is being compiled for the first time.
    pub(crate) arriving: bool,
}

impl Trial {
    fn is_lost(&self) -> bool {
        self.deaths >= DEATHS_MAX
    }

    fn is(&self, tenant: &TenantId, number: LogIndex, manifest: &Digest) -> bool {
        self.tenant == *tenant && self.number == number && self.manifest == *manifest
    }
}

/// What a bundle is put on trial as.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tried<'a> {
    pub(super) tenant: &'a TenantId,
    pub(super) number: LogIndex,
    pub(super) manifest: Digest,
    pub(super) content: Digest,
}

/// Every trial, and when those of what decides end.
#[derive(Debug, Clone, Default)]
pub(super) struct Trials {
    list: Vec<Trial>,
    ends: BTreeMap<TenantId, BootTime>,
}

impl Trials {
    /// A process starts. `was_open`: the one before it did not say goodbye, so what was in its hands then may have been
    /// what ended it.
    pub(super) fn resume(
        list: Vec<Trial>,
        was_open: bool,
        active: impl Fn(&TenantId) -> Option<StoredActivation>,
        now: Now,
    ) -> Self {
        let mut trials = Self { list, ends: BTreeMap::new() };
        for trial in &mut trials.list {
            let decides =
                active(&trial.tenant).is_some_and(|active| trial.is(&trial.tenant, active.number, &active.manifest));
            if was_open && !trial.is_lost() && (decides || trial.arriving) {
                trial.deaths += 1;
            }
            trial.arriving = false;
            if decides && !trial.is_lost() {
                trials.ends.insert(trial.tenant.clone(), now.boot.plus(TRIAL));
            }
        }
        let matters = |trial: &Trial| {
            let active = active(&trial.tenant);
            // Activations that never took effect here, and those that newer ones have replaced.
            let decides = active.is_some_and(|active| trial.is(&trial.tenant, active.number, &active.manifest));
            decides || (trial.deaths > 0 && active.is_none_or(|active| trial.number >= active.number))
        };
        trials.list.retain(matters);
        trials
    }

    /// What is to be kept.
    pub(super) fn list(&self) -> &[Trial] {
        &self.list
    }

    /// The bundles of a tenant that were turned away.
    pub(super) fn lost(&self, tenant: &TenantId) -> impl Iterator<Item = &Trial> {
        self.list.iter().filter(move |trial| trial.tenant == *tenant && trial.is_lost())
    }

    /// Whether this activation of this bundle is one that ended the process twice, or one before it.
    pub(super) fn is_lost(&self, tenant: &TenantId, number: LogIndex, manifest: &Digest) -> bool {
        self.lost(tenant).any(|trial| trial.manifest == *manifest && trial.number >= number)
    }

    /// Whether a container is not to be opened.
    pub(super) fn passes_over(&self, tenant: &TenantId, content: &Digest) -> bool {
        self.lost(tenant).any(|trial| trial.content == *content)
    }

    /// A bundle is about to be compiled.
    pub(super) fn arrive(&mut self, tried: Tried<'_>) {
        self.put(tried, true);
    }

    /// It has been.
    pub(super) fn arrived(&mut self, tried: Tried<'_>) {
        for trial in self.list.iter_mut().filter(|trial| trial.is(tried.tenant, tried.number, &tried.manifest)) {
            trial.arriving = false;
        }
        self.list.retain(|trial| trial.deaths > 0 || !trial.is(tried.tenant, tried.number, &tried.manifest));
    }

    /// A bundle is about to decide. What it replaces stays until [`Self::activated`], because until then it decides.
    pub(super) fn activate(&mut self, tried: Tried<'_>) {
        self.put(tried, false);
    }

    /// It decides.
    pub(super) fn activated(&mut self, tried: Tried<'_>, now: Now) {
        let Tried { tenant, number, manifest, content: _ } = tried;
        self.list.retain(|trial| {
            trial.tenant != *tenant
                || trial.is(tenant, number, &manifest)
                || (trial.number >= number && trial.deaths > 0)
        });
        self.ends.insert(tenant.clone(), now.boot.plus(TRIAL));
    }

    fn put(&mut self, tried: Tried<'_>, arriving: bool) {
        let Tried { tenant, number, manifest, content } = tried;
        match self.list.iter_mut().find(|trial| trial.is(tenant, number, &manifest)) {
            Some(known) => (known.content, known.arriving) = (content, arriving),
            None => {
                let tenant = tenant.clone();
                self.list.push(Trial { tenant, number, manifest, content, deaths: 0, arriving });
            }
        }
        while self.list.iter().filter(|trial| trial.tenant == *tenant).count() > PER_TENANT_MAX {
            let of = self.list.iter().enumerate().filter(|(_, trial)| trial.tenant == *tenant);
            let Some((oldest, _)) = of.min_by_key(|(_, trial)| trial.number) else { return };
            self.list.remove(oldest);
        }
    }

    /// When the next trial is over.
    pub(super) fn next_end(&self) -> Option<BootTime> {
        self.ends.values().min().copied()
    }

    /// Ends what the process has lived long enough with. Says whether anything was.
    pub(super) fn end(&mut self, now: Now, active: impl Fn(&TenantId) -> Option<StoredActivation>) -> bool {
        let over: Vec<TenantId> =
            self.ends.iter().filter(|(_, end)| now.boot >= **end).map(|(tenant, _)| tenant.clone()).collect();
        for tenant in &over {
            self.ends.remove(tenant);
            if let Some(active) = active(tenant) {
                self.list.retain(|trial| !trial.is(tenant, active.number, &active.manifest) || trial.is_lost());
            }
        }
        !over.is_empty()
    }

    /// The disk did not take the end of a trial: it is tried again.
    pub(super) fn put_off(&mut self, now: Now) {
        for end in self.ends.values_mut().filter(|end| now.boot >= **end) {
            *end = now.boot.plus(AGAIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use remit_common::time::Timestamp;

    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name).unwrap()
    }

    fn digest(byte: u8) -> Digest {
        Digest([byte; 32])
    }

    fn now(secs: u64) -> Now {
        Now { wall: Timestamp::from_millis(secs * 1_000), boot: BootTime::from_millis(secs * 1_000) }
    }

    fn tried(tenant: &TenantId, number: u64, manifest: u8) -> Tried<'_> {
        Tried { tenant, number: LogIndex(number), manifest: digest(manifest), content: digest(manifest + 100) }
    }

    /// What decides, by tenant.
    type Active = BTreeMap<TenantId, StoredActivation>;

    /// An edge of which only the trials and the active bundles are real.
    #[derive(Default)]
    struct Edge {
        trials: Trials,
        active: Active,
        open: bool,
        secs: u64,
    }

    impl Edge {
        fn activate(&mut self, of: &str, number: u64, manifest: u8) {
            let of = tenant(of);
            self.trials.activate(tried(&of, number, manifest));
            let active = StoredActivation { number: LogIndex(number), manifest: digest(manifest) };
            self.active.insert(of.clone(), active);
            self.trials.activated(tried(&of, number, manifest), now(self.secs));
            self.open = true;
        }

        /// The process ends, and another one starts.
        fn restart(&mut self, is_clean: bool) {
            let list = self.trials.list().to_vec();
            self.open &= !is_clean;
            let active = self.active.clone();
            self.trials = Trials::resume(list, self.open, |of| active.get(of).copied(), now(self.secs));
            self.open = true;
        }

        fn lives(&mut self, secs: u64) {
            self.secs += secs;
            let active = self.active.clone();
            self.trials.end(now(self.secs), |of| active.get(of).copied());
        }

        fn is_lost(&self, of: &str, number: u64, manifest: u8) -> bool {
            self.trials.is_lost(&tenant(of), LogIndex(number), &digest(manifest))
        }
    }

    /// Clause B-31.
    #[test]
    fn two_deaths_within_a_minute_of_life_and_no_clean_end_count() {
        let mut edge = Edge::default();
        edge.activate("acme", 7, 1);
        for _ in 0..3 {
            edge.restart(true);
        }
        edge.restart(false);
        assert!(!edge.is_lost("acme", 7, 1));
        // The minute begins anew with each process, or one that dies every forty seconds would never be found.
        edge.lives(59);
        edge.restart(false);
        assert!(edge.is_lost("acme", 7, 1));
        assert!(edge.trials.passes_over(&tenant("acme"), &digest(101)));

        let mut edge = Edge::default();
        edge.activate("acme", 7, 1);
        edge.restart(false);
        edge.lives(60);
        assert_eq!(edge.trials.list(), []);
        for _ in 0..3 {
            edge.restart(false);
        }
        assert!(!edge.is_lost("acme", 7, 1), "a bundle that has proven itself is not turned away later");
    }

    /// Clause B-33.
    #[test]
    fn what_is_turned_away_stays_so_until_a_newer_activation() {
        let mut edge = Edge::default();
        edge.activate("acme", 7, 1);
        edge.restart(false);
        edge.restart(false);
        for _ in 0..3 {
            edge.restart(true);
            edge.lives(600);
        }
        for number in [6, 7] {
            assert!(edge.is_lost("acme", number, 1), "{number}");
        }
        assert!(!edge.is_lost("acme", 8, 1), "a newer one is another trial");
        assert!(!edge.is_lost("acme", 7, 2), "another bundle is another matter");
        // What takes its place is on trial, too.
        edge.activate("acme", 7, 2);
        edge.restart(false);
        assert!(!edge.is_lost("acme", 7, 2));
        edge.restart(false);
        assert!(edge.is_lost("acme", 7, 2) && edge.is_lost("acme", 7, 1));
        edge.activate("acme", 8, 1);
        assert_eq!(edge.trials.list().len(), 1, "a newer activation ends what was before it");
        assert!(!edge.is_lost("acme", 8, 1) && !edge.is_lost("acme", 7, 1));
    }

    #[test]
    fn each_tenant_has_its_own_trial() {
        let mut edge = Edge::default();
        edge.activate("acme", 7, 1);
        edge.lives(61);
        edge.activate("initech", 9, 2);
        edge.restart(false);
        edge.restart(false);
        assert!(edge.is_lost("initech", 9, 2));
        assert!(!edge.is_lost("acme", 7, 1), "it had lived long enough with that one");
        edge.activate("initech", 12, 3);
        assert!(!edge.is_lost("initech", 12, 3) && edge.trials.lost(&tenant("initech")).next().is_none());
    }

    /// Clause B-31: compiling may be what ends the process.
    #[test]
    fn a_death_while_a_bundle_arrives_counts() {
        let acme = tenant("acme");
        let mut edge = Edge::default();
        edge.activate("acme", 7, 1);
        edge.lives(60);
        for deaths in 1..=2 {
            edge.trials.arrive(tried(&acme, 9, 2));
            edge.restart(false);
            assert_eq!(edge.trials.list().iter().map(|trial| trial.deaths).collect::<Vec<_>>(), [deaths]);
        }
        assert!(edge.is_lost("acme", 9, 2));
        assert!(!edge.is_lost("acme", 7, 1), "what decides had nothing to do with it");
        // One that compiles leaves nothing behind.
        edge.trials.arrive(tried(&acme, 10, 3));
        edge.trials.arrived(tried(&acme, 10, 3));
        assert_eq!(edge.trials.list().len(), 1);
    }

    /// An activation whose trial reached the disk and whose index did not never took effect.
    #[test]
    fn what_never_decided_is_not_held_against_anything() {
        let acme = tenant("acme");
        let mut edge = Edge::default();
        edge.activate("acme", 7, 1);
        edge.trials.activate(tried(&acme, 9, 2));
        edge.restart(false);
        assert_eq!(edge.trials.list().len(), 1);
        assert_eq!((edge.trials.list()[0].number, edge.trials.list()[0].deaths), (LogIndex(7), 1));
    }

    #[test]
    fn trials_of_a_tenant_are_bounded() {
        let acme = tenant("acme");
        let mut trials = Trials::default();
        for number in 0..1_000 {
            trials.arrive(tried(&acme, number, 1));
        }
        assert_eq!(trials.list().len(), PER_TENANT_MAX);
        assert_eq!(trials.list().iter().map(|trial| trial.number.0).min(), Some(1_000 - 16));
    }
}
