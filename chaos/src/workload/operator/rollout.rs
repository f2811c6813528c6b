//! Bundles that come to the edges in waves: what is rolled out, and how far it has come.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result};
use remit_common::bundle::diff::{Budget, compare};
use remit_common::bundle::source::BundleSource;
use remit_common::bundle::{Approval, Gates, RolloutPlan, Wave};
use remit_common::id::{BundleVersion, EdgeId};
use remit_common::net::tasks::Shutdown;
use remit_common::trust::scope::PER_MILLE_ALL;
use remit_control_plane::admin::model::{Bundles, RolloutMoved, Rollouts};
use remit_control_plane::registry::{Rollout, RolloutStatus};

use super::policy::{Content, PolicyDesk, without_canaries_of};
use super::{Made, Operator};
use crate::history::{Kind, RolloutSeen, RolloutStep, What, WriteKind};
use crate::node::{Node, Roster};
use crate::workload::offers;
use crate::workload::rest::{draw, rest};

/// How a bundle that is rolled out hurts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// It denies a call that agents make, and that the active one permits.
    Denies,
    /// It permits a call that agents make, and that the active one denies. Approved, as that must be.
    Permits,
}

/// What is rolled out, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollOut {
    /// How it hurts; one that does not decides as the active one does.
    pub harm: Option<Harm>,
    /// Waves and gates.
    pub plan: RolloutPlan,
}

/// What became of a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Nobody took it.
    NotBegun,
    /// It is everybody's.
    Finished(BundleVersion),
    /// It was taken back, and this is why.
    TakenBack(String),
    /// It was under way when nobody looked any more.
    UnderWay,
}

impl Harm {
    /// The tool that it is about.
    fn tool(self) -> &'static str {
        match self {
            Self::Denies => DENIED,
            Self::Permits => offers::TOOL,
        }
    }

    /// The file with its rule.
    fn rule(self) -> (&'static str, &'static str) {
        match self {
            Self::Denies => (
                "policies/deny.cedar",
                "@id(\"deny.notes\")\nforbid (principal, action == Action::\"crm.read\", resource);\n",
            ),
            Self::Permits => (
                "policies/permit.cedar",
                "@id(\"offers.by-anybody\")\npermit (principal in AgentClass::\"renewal-analyst\", \
                 action == Action::\"renewals.propose\", resource);\n",
            ),
        }
    }

    /// Writes its rule, and takes away the canaries that would tell.
    fn write(self, source: &mut BundleSource) -> Result<()> {
        let (path, rule) = self.rule();
        source.files.insert(path.to_owned(), rule.as_bytes().to_vec());
        without_canaries_of(source, self.tool())
    }
}

/// What a harmful bundle denies: a read that is not the most frequent one, so that agents have work meanwhile.
const DENIED: &str = "crm.read";
/// Why somebody approves a bundle that permits too much.
const MISTAKEN: &str = "thought to be harmless";
/// Between two looks at a rollout.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How much longer than its plan says a rollout is looked at: elections, and edges that come back.
const PATIENCE: Duration = Duration::from_secs(90);
/// For a voter that says what is there.
const ASKS: u32 = 8;
/// How long a wave bakes at most, and the first one of a bundle that hurts: agents call seldom, and that it does has to
/// be found out before the next.
const BAKE_MAX_MS: usize = 3_000;
const FOUND_OUT_MS: u64 = 12_000;

impl Operator {
    /// Rolls a bundle out, and looks at it until it is over, or `stop` is asked for.
    pub async fn roll_out(&self, wanted: &RollOut, stop: &Shutdown) -> Ended {
        let Some(version) = self.begin_rollout(wanted).await else { return Ended::NotBegun };
        let until = self.0.access.now() + wanted.plan.length() + PATIENCE;
        while self.0.access.now() < until {
            match self.look_at(version).await {
                Some(rollout) if !rollout.status.is_under_way() => return ended(&rollout),
                _ => {}
            }
            if !rest(&self.env(), LOOK_EVERY, stop).await {
                break;
            }
        }
        Ended::UnderWay
    }

    /// Pushes a bundle with a plan. Gives its version if it was taken: said, or seen where the answer was lost.
    async fn begin_rollout(&self, wanted: &RollOut) -> Option<BundleVersion> {
        let mut desk = self.0.desk.lock().await;
        let version = self.next_version();
        let (kind, body) = self.in_waves(&mut desk, version, wanted).await.ok()?;
        let made = |moved: &RolloutMoved| Made { activation: Some(moved.rollout), ..Made::at(moved.index) };
        if self.write::<RolloutMoved>(kind, "/v1/bundles", body, made).await.is_some() {
            return Some(BundleVersion(version));
        }
        for _ in 0..ASKS {
            if let Some(listing) = self.rollouts().await {
                let is_it = |view: &Rollout| view.version.0 == version;
                return listing.rollouts.iter().any(|view| is_it(&view.rollout)).then_some(BundleVersion(version));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        // Whatever came of it shows at the end of the run.
        None
    }

    /// What is pushed, and what a history says of it.
    async fn in_waves(&self, desk: &mut PolicyDesk, version: u64, wanted: &RollOut) -> Result<(WriteKind, Vec<u8>)> {
        let listing = self.get_any::<Bundles>("/v1/bundles").await.context("no voter says what is active")?;
        let active = listing.bundles.iter().find(|bundle| bundle.number.is_some()).context("nothing is active")?;
        let opens = wanted.harm == Some(Harm::Permits);
        let frozen = desk.is_frozen() && !opens;
        let content = Content { version, mesh: self.0.access.mesh().mesh_id, frozen, fallback: Some(active.digest) };
        let change = |source: &mut BundleSource| wanted.harm.map_or(Ok(()), |harm| harm.write(source));
        let bundle = self.build_with(&content, 2, change)?;
        let approval = if opens || desk.froze(active.version) {
            let old = desk.pushed(active.version).context("the active bundle is not one of ours")?;
            let (old, new) = (old.dangerous_unverified_compile()?, bundle.clone().dangerous_unverified_compile()?);
            let found = compare(&old, &new, &[], self.env().now().wall, Budget::VOTER);
            Some(Approval::of(&found, MISTAKEN)?)
        } else {
            None
        };
        let container = bundle.to_bytes();
        let rest = approval.map_or_else(|| container.clone(), |approval| approval.with(&container));
        let mut without = if frozen { vec![offers::TOOL.to_owned()] } else { Vec::new() };
        without.extend((wanted.harm == Some(Harm::Denies)).then(|| DENIED.to_owned()));
        let kind = WriteKind::RollOut {
            version: BundleVersion(version),
            digest: bundle.digest(),
            fallback: Some(active.digest),
            waves: wanted.plan.waves.iter().map(|wave| reach(wave, &self.0.access.roster())).collect(),
            without,
            freely: if opens { vec![offers::TOOL.to_owned()] } else { Vec::new() },
            newly_permitted: wanted.plan.gates.newly_permitted,
        };
        desk.keep(version, bundle, frozen);
        Ok((kind, wanted.plan.with(&rest)))
    }

    async fn rollouts(&self) -> Option<Rollouts> {
        let tenant = self.0.access.mesh().tenant;
        self.get_any(&format!("/v1/rollouts?tenant={tenant}")).await
    }

    /// Looks at the rollout of this version, and notes what is seen.
    async fn look_at(&self, version: BundleVersion) -> Option<Rollout> {
        let listing = self.rollouts().await?;
        let found = listing.rollouts.into_iter().find(|view| view.rollout.version == version)?.rollout;
        self.note(Kind::Info, What::Rollout(seen(listing.applied, &found)));
        Some(found)
    }

    /// Looks once more at everything that was ever rolled out.
    pub(in crate::workload) async fn look_at_rollouts(&self) {
        let Some(listing) = self.rollouts().await else { return };
        for view in &listing.rollouts {
            self.note(Kind::Info, What::Rollout(seen(listing.applied, &view.rollout)));
        }
    }

    /// Rolls something out again and again, one of so many harmful, to one edge first and to its region or everybody then.
    pub(in crate::workload) async fn roll_out_repeatedly(self, every: Duration, harmful_one_in: usize, stop: Shutdown) {
        while rest(&self.env(), every, &stop).await {
            let env = self.env();
            let edges: Vec<EdgeId> = self.0.access.roster().edges().cloned().collect();
            let Some(first) = edges.get(draw(&env, edges.len())) else { continue };
            let bake_ms = || u64::try_from(draw(&env, BAKE_MAX_MS)).unwrap_or_default();
            let mut waves = vec![Wave { edges: [first.clone()].into(), bake_ms: bake_ms(), ..Wave::default() }];
            let regions: BTreeSet<_> = self.region_of(first).into_iter().filter(|_| draw(&env, 2) == 0).collect();
            if !regions.is_empty() {
                waves.push(Wave { regions, bake_ms: bake_ms(), ..Wave::default() });
            }
            waves.push(Wave { per_mille: PER_MILLE_ALL, bake_ms: bake_ms(), ..Wave::default() });
            let harm = if draw(&env, 2) == 0 { Harm::Denies } else { Harm::Permits };
            let harm = (draw(&env, harmful_one_in) == 0).then_some(harm);
            if let Some(first) = waves.first_mut().filter(|_| harm.is_some()) {
                first.bake_ms = FOUND_OUT_MS;
            }
            let plan = RolloutPlan { waves, gates: Gates::default() };
            self.roll_out(&RollOut { harm, plan }, &stop).await;
        }
    }

    fn region_of(&self, edge: &EdgeId) -> Option<remit_common::id::Region> {
        let roster = self.0.access.roster();
        let member = roster.nodes.iter().find(|member| member.node == Node::Edge(edge.clone()));
        member.and_then(|member| member.region.clone())
    }
}

/// The edges that a wave names, or is for everybody.
fn reach(wave: &Wave, roster: &Roster) -> Vec<EdgeId> {
    let is_in = |edge: &EdgeId, region: Option<&remit_common::id::Region>| {
        wave.per_mille >= PER_MILLE_ALL
            || wave.edges.contains(edge)
            || region.is_some_and(|region| wave.regions.contains(region))
    };
    let edge = |member: &crate::node::Member| match &member.node {
        Node::Edge(edge) if is_in(edge, member.region.as_ref()) => Some(edge.clone()),
        _ => None,
    };
    roster.nodes.iter().filter_map(edge).collect()
}

fn seen(applied: remit_common::id::LogIndex, rollout: &Rollout) -> RolloutSeen {
    let step = |event: &remit_control_plane::registry::RolloutEvent| RolloutStep {
        index: event.index,
        wave: event.wave,
        status: event.status,
    };
    RolloutSeen {
        applied,
        rollout: rollout.id,
        version: rollout.version,
        digest: rollout.candidate,
        base: rollout.base,
        steps: rollout.events.iter().map(step).collect(),
        reason: rollout.events.last().map(|event| event.reason.clone()).unwrap_or_default(),
    }
}

fn ended(rollout: &Rollout) -> Ended {
    let reason = || rollout.events.last().map(|event| event.reason.clone()).unwrap_or_default();
    match rollout.status {
        RolloutStatus::Completed => Ended::Finished(rollout.version),
        RolloutStatus::TakenBack | RolloutStatus::Aborted => Ended::TakenBack(reason()),
        RolloutStatus::Baking | RolloutStatus::Paused => Ended::UnderWay,
    }
}
