//! How a bundle is to reach the edges: in waves, each of which has to hold before the next one begins.
//!
//! ```text
//! "REMITROL" | format u16 | len u32 | JSON | approval? | container
//! ```
//!
//! A plan stands before what is posted without one, so that one administrator signs bundle and plan together. The JSON
//! is read in one spelling only. Clauses O-3 to O-5, docs/PROTOCOL.md.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::approval::{Approval, framed, unframed};
use super::container::MalformedBundle;
use crate::id::{EdgeId, Region};
use crate::trust::scope::{PER_MILLE_ALL, SCOPE_NAMES_MAX, Scope};

const MAGIC: &[u8; 8] = b"REMITROL";
/// Waves of a plan.
pub const WAVES_MAX: usize = 16;
/// Milliseconds from which on decisions are not told apart.
pub const P99_MS_END: u64 = 255;
/// The longest that one wave may bake.
pub const BAKE_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);

/// Edges to come to, besides those of the waves before, and how long they have to hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wave {
    /// These edges.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub edges: BTreeSet<EdgeId>,
    /// Everything in these regions.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub regions: BTreeSet<Region>,
    /// So many of a thousand of all edges.
    #[serde(default, skip_serializing_if = "is_none_of_all")]
    pub per_mille: u16,
    /// Milliseconds from the wave's beginning until the next may begin.
    pub bake_ms: u64,
}

/// What takes a rollout back by itself. Rates are of a thousand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gates {
    /// Edges of all that are connected which may refuse the bundle.
    pub refused_per_mille: u16,
    /// Of the decisions that the bundle from before permits, those that it denies.
    pub newly_denied_per_mille: u16,
    /// Decisions that it permits and the bundle before it denies; `None`: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newly_permitted: Option<u64>,
    /// Decisions in which one of its rules failed.
    pub failed_per_mille: u16,
    /// Milliseconds that one of a hundred of its decisions may exceed; `None`: any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_ms: Option<u64>,
}

impl Default for Gates {
    /// No edge refuses it, one of a hundred decisions is newly denied at most, none newly permitted, one of a thousand
    /// fails at most, and a decision takes no longer than a tool would notice.
    fn default() -> Self {
        Self {
            refused_per_mille: 0,
            newly_denied_per_mille: 10,
            newly_permitted: Some(0),
            failed_per_mille: 1,
            p99_ms: Some(50),
        }
    }
}

/// How a bundle is to reach the edges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RolloutPlan {
    /// One after the other; the last is the whole mesh.
    pub waves: Vec<Wave>,
    /// What ends it early.
    pub gates: Gates,
}

/// What `POST /v1/bundles` brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted<'b> {
    /// In waves, or at once.
    pub plan: Option<RolloutPlan>,
    /// Of what it permits anew.
    pub approval: Option<Approval>,
    /// The bundle.
    pub container: &'b [u8],
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_none_of_all(per_mille: &u16) -> bool {
    *per_mille == 0
}

impl Wave {
    /// How long it has to hold.
    #[must_use]
    pub fn bake(&self) -> Duration {
        Duration::from_millis(self.bake_ms)
    }
}

impl RolloutPlan {
    /// Whom the rollout has come to with this wave: those of all waves up to it.
    #[must_use]
    pub fn scope(&self, wave: usize, salt: u64) -> Scope {
        let until = self.waves.iter().take(wave.saturating_add(1));
        until.fold(Scope { salt, ..Scope::default() }, |scope, Wave { edges, regions, per_mille, bake_ms: _ }| {
            scope.and(&Scope { salt, edges: edges.clone(), regions: regions.clone(), per_mille: *per_mille })
        })
    }

    /// How long it takes at least, from beginning to end.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.waves.iter().fold(Duration::ZERO, |sum, wave| sum.saturating_add(wave.bake()))
    }

    /// Clause O-4.
    ///
    /// # Errors
    /// [`MalformedBundle`] names the rule that it breaks.
    pub fn check(&self) -> Result<(), MalformedBundle> {
        let rule = |holds: bool, rule| if holds { Ok(()) } else { Err(MalformedBundle { rule }) };
        let Self { waves, gates } = self;
        rule((1..=WAVES_MAX).contains(&waves.len()), "a rollout has 1 to 16 waves")?;
        let names = |wave: &Wave| wave.edges.len().saturating_add(wave.regions.len());
        for wave in waves {
            rule(wave.per_mille <= PER_MILLE_ALL, "a wave has at most all edges")?;
            rule(names(wave) > 0 || wave.per_mille > 0, "a wave is for some edge")?;
        }
        let all = waves.iter().map(names).fold(0usize, usize::saturating_add);
        rule(all <= SCOPE_NAMES_MAX, "the waves name at most 1 024 edges and regions")?;
        rule(waves.iter().all(|wave| wave.bake() <= BAKE_MAX), "a wave bakes for at most seven days")?;
        rule(waves.last().is_some_and(|last| last.per_mille == PER_MILLE_ALL), "the last wave is the whole mesh")?;
        rule(gates.p99_ms.is_none_or(|most| most < P99_MS_END), "a decision is timed up to 254 ms")?;
        let rates = [gates.refused_per_mille, gates.newly_denied_per_mille, gates.failed_per_mille];
        rule(rates.iter().all(|rate| *rate <= PER_MILLE_ALL), "the rate of a gate is at most 1 000 of a thousand")
    }

    /// The body of `POST /v1/bundles`: this, and what would be posted without it.
    #[must_use]
    pub fn with(&self, rest: &[u8]) -> Vec<u8> {
        framed(MAGIC, self, rest)
    }
}

impl<'b> Posted<'b> {
    /// Takes the body of `POST /v1/bundles` apart. The container is not looked at.
    ///
    /// # Errors
    /// [`MalformedBundle`].
    pub fn split(body: &'b [u8]) -> Result<Self, MalformedBundle> {
        let (plan, rest) = unframed::<RolloutPlan>(MAGIC, body)?;
        plan.iter().try_for_each(RolloutPlan::check)?;
        let (approval, container) = Approval::split(rest)?;
        Ok(Self { plan, approval, container })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(per_mille: u16) -> Wave {
        Wave { per_mille, bake_ms: 600_000, ..Wave::default() }
    }

    fn plan() -> RolloutPlan {
        let canary = Wave { edges: [EdgeId::new("e1").unwrap()].into(), bake_ms: 60_000, ..Wave::default() };
        let region = Wave { regions: [Region::new("eu-west").unwrap()].into(), ..wave(0) };
        RolloutPlan { waves: vec![canary, region, wave(500), wave(1_000)], gates: Gates::default() }
    }

    const GOLDEN: &str = concat!(
        r#"{"waves":[{"edges":["e1"],"bake_ms":60000},{"regions":["eu-west"],"bake_ms":600000},"#,
        r#"{"per_mille":500,"bake_ms":600000},{"per_mille":1000,"bake_ms":600000}],"#,
        r#""gates":{"refused_per_mille":0,"newly_denied_per_mille":10,"newly_permitted":0,"failed_per_mille":1,"#,
        r#""p99_ms":50}}"#,
    );

    /// Clause O-3.
    #[test]
    fn a_plan_has_these_bytes_and_reads_back() {
        let body = plan().with(b"REMITBDL");
        let len = u32::try_from(GOLDEN.len()).unwrap().to_be_bytes();
        let golden = [b"REMITROL\x00\x01".as_slice(), &len, GOLDEN.as_bytes(), b"REMITBDL"].concat();
        assert_eq!(String::from_utf8_lossy(&body), String::from_utf8_lossy(&golden));
        let posted = Posted { plan: Some(plan()), approval: None, container: b"REMITBDL" };
        assert_eq!(Posted::split(&body), Ok(posted));
        let at_once = Posted { plan: None, approval: None, container: b"REMITBDL" };
        assert_eq!(Posted::split(b"REMITBDL"), Ok(at_once));
    }

    /// Clause O-4.
    #[test]
    fn what_is_no_plan_is_refused() {
        let refused = |plan: RolloutPlan| assert!(Posted::split(&plan.with(b"")).is_err(), "{plan:?}");
        let waves = |waves| RolloutPlan { waves, ..plan() };
        refused(waves(vec![]));
        refused(waves(vec![wave(500)]));
        refused(waves(vec![wave(1_001)]));
        refused(waves(vec![wave(0), wave(1_000)]));
        refused(waves(vec![wave(1_000); WAVES_MAX + 1]));
        refused(waves(vec![Wave { bake_ms: u64::MAX, ..wave(1_000) }]));
        let edges = (0..=SCOPE_NAMES_MAX).map(|n| EdgeId::new(&format!("e{n}")).unwrap()).collect();
        refused(waves(vec![Wave { edges, ..wave(1_000) }]));
        refused(RolloutPlan { gates: Gates { p99_ms: Some(255), ..Gates::default() }, ..plan() });
        refused(RolloutPlan { gates: Gates { failed_per_mille: 1_001, ..Gates::default() }, ..plan() });
        let body = plan().with(b"");
        for end in MAGIC.len()..body.len() {
            assert!(Posted::split(&body[..end]).is_err());
        }
    }

    /// Clause O-1: nobody is left out again by a later wave.
    #[test]
    fn a_wave_has_everybody_of_those_before_it() {
        let plan = plan();
        for wave in 1..plan.waves.len() {
            let (before, scope) = (plan.scope(wave - 1, 7), plan.scope(wave, 7));
            assert!(before.edges.is_subset(&scope.edges) && before.regions.is_subset(&scope.regions));
            assert!(before.per_mille <= scope.per_mille && scope.salt == 7);
        }
        assert!(plan.scope(3, 7).is_all() && !plan.scope(2, 7).is_all());
        assert_eq!(plan.length(), Duration::from_secs(60 + 3 * 600));
    }
}
