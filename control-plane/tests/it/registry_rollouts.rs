//! Rollouts as the log has them: waves, time, ways back. Clauses O-3 to O-12.

use remit_common::bundle::{BuildOverrides, BundleSource, Gates, RolloutPlan, SignedBundle, Wave};
use remit_common::crypto::digest::Digest;
use remit_common::id::LogIndex;
use remit_common::time::Timestamp;
use remit_common::trust::activation::{RING_ALL, RING_STAGED};
use remit_control_plane::registry::{
    Applied, Command, RollbackRequest, Rollout, RolloutChange, RolloutRequest, RolloutStatus, RolloutStep, State,
    TrustDocuments,
};

use crate::registry_objects::{CREDENTIAL, Seal, profile, shard};
use crate::world::{
    CUTTER, MESH, NOW, OPS, Replica, at, bundle_source, genesis, key, reason, request, signed_directory,
    successor_root, tenant,
};

const BAKE_SECS: i64 = 600;

/// The example for acme, which may be taken back to `fallback`.
fn container(version: u64, floor: u64, fallback: Option<Digest>) -> Vec<u8> {
    signed(&bundle_source("acme", version, floor), fallback)
}

fn signed(source: &BundleSource, fallback: Option<Digest>) -> Vec<u8> {
    let overrides = BuildOverrides { created: Some(NOW), mesh_id: Some(MESH), version: None, fallback };
    let mut signed = source.build(&overrides).unwrap().into_container();
    [6, 7].iter().for_each(|seed| signed.add_signature(&key(*seed)));
    signed.to_bytes()
}

fn digest_of(container: &[u8]) -> Digest {
    SignedBundle::parse(container).unwrap().digest()
}

fn plan() -> RolloutPlan {
    let bake_ms = u64::try_from(BAKE_SECS * 1_000).unwrap();
    let canary = Wave { edges: ["eu-west-1".parse().unwrap()].into(), bake_ms, ..Wave::default() };
    let all = Wave { per_mille: 1_000, bake_ms, ..Wave::default() };
    RolloutPlan { waves: vec![canary, all], gates: Gates::default() }
}

/// A replica with version 1, and version 2 on its way.
struct Scene {
    replica: Replica,
    nonce: u64,
    first: Digest,
    second: Digest,
}

impl Scene {
    fn new() -> Self {
        let first = container(1, 1, None);
        let mut scene = Self { replica: Replica::new(), nonce: 0, first: digest_of(&first), second: Digest::default() };
        assert_eq!(reason(&scene.post("/v1/bundles", first, 0)), "bundle");
        scene
    }

    fn begun() -> Self {
        let mut scene = Self::new();
        let second = container(2, 1, Some(scene.first));
        scene.second = digest_of(&second);
        assert_eq!(reason(&scene.post("/v1/bundles", plan().with(&second), 0)), "rollout");
        scene
    }

    fn post(&mut self, path: &str, body: Vec<u8>, secs: i64) -> Applied {
        self.post_as(OPS, path, body, secs)
    }

    fn post_as(&mut self, seed: u8, path: &str, body: Vec<u8>, secs: i64) -> Applied {
        self.nonce += 1;
        self.replica.admin(request(seed, path, body, at(secs), self.nonce), at(secs))
    }

    fn change(&mut self, change: RolloutChange, secs: i64) -> Applied {
        let rollout = self.rollout().id;
        let asked = RolloutRequest { tenant: tenant("acme"), rollout, change, reason: "because".to_owned() };
        self.post("/v1/rollouts", serde_json::to_vec(&asked).unwrap(), secs)
    }

    fn roll_back(&mut self, to: Option<Digest>, from: Digest) -> Applied {
        let asked = RollbackRequest { tenant: tenant("acme"), to, from, reason: String::new() };
        self.post("/v1/rollbacks", serde_json::to_vec(&asked).unwrap(), 0)
    }

    fn step(&mut self, wave: u32, step: RolloutStep, secs: i64) -> Applied {
        let rollout = self.rollout().id;
        let command = Command::StepRollout { tenant: tenant("acme"), rollout, wave, step, at: at(secs) };
        self.replica.apply(command)
    }

    fn rollout(&self) -> Rollout {
        self.replica.state.rollouts().values().next_back().unwrap().as_ref().clone()
    }

    fn number(&self, ring: u32) -> Option<(u64, Digest)> {
        let activation = self.replica.state.activations().get(&(tenant("acme"), ring))?;
        Some((activation.number.0, activation.manifest))
    }

    fn active(&self) -> Digest {
        *self.replica.state.active(&tenant("acme")).unwrap().digest()
    }

    /// Nothing is staged, and this is everybody's.
    fn assert_settled(&self, status: RolloutStatus, everybodys: Digest) {
        assert_eq!(self.rollout().status, status);
        assert_eq!(self.number(RING_STAGED), None);
        assert_eq!(self.number(RING_ALL).unwrap().1, everybodys);
        assert_eq!(self.active(), everybodys);
        assert!(self.replica.state.candidate(&tenant("acme")).is_none());
        assert!(self.replica.state.scopes().is_empty());
    }
}

fn back() -> RolloutStep {
    RolloutStep::TakeBack { reason: "a gate".to_owned() }
}

#[test]
fn a_bundle_comes_in_waves_and_is_everybodys_at_the_end() {
    let mut scene = Scene::begun();
    let (edge, region) = ("eu-west-2".parse().unwrap(), "eu-west".parse().unwrap());
    assert_eq!(scene.number(RING_ALL), Some((2, scene.first)), "everybody else goes on as before");
    assert_eq!(scene.number(RING_STAGED), Some((3, scene.second)));
    assert_eq!(scene.active(), scene.first);
    let scopes = scene.replica.state.scopes();
    let scope = &scopes[&tenant("acme")];
    assert!(scope.covers(&"eu-west-1".parse().unwrap(), &region) && !scope.covers(&edge, &region));

    assert_eq!(reason(&scene.step(0, RolloutStep::Next, BAKE_SECS)), "rollout");
    assert_eq!((scene.rollout().wave, scene.number(RING_STAGED)), (1, Some((4, scene.second))));
    assert!(scene.replica.state.scopes()[&tenant("acme")].is_all());
    assert_eq!(reason(&scene.step(1, RolloutStep::Next, 2 * BAKE_SECS)), "rollout");
    scene.assert_settled(RolloutStatus::Completed, scene.second);
    assert_eq!(scene.number(RING_ALL), Some((5, scene.second)), "a number of its own: edges take it as news");
}

/// Clause O-8: whatever a leader says.
#[test]
fn a_lying_leader_cannot_hurry_a_wave_nor_repeat_a_step() {
    let mut scene = Scene::begun();
    assert_eq!(reason(&scene.step(0, RolloutStep::Next, BAKE_SECS - 1)), "rollout_has_moved");
    assert_eq!(reason(&scene.step(1, RolloutStep::Next, BAKE_SECS)), "rollout_has_moved");
    assert_eq!(reason(&scene.step(0, RolloutStep::Next, BAKE_SECS)), "rollout");
    assert_eq!(reason(&scene.step(0, RolloutStep::Next, 9 * BAKE_SECS)), "rollout_has_moved", "proposed twice");
    assert_eq!(reason(&scene.step(0, back(), BAKE_SECS)), "rollout_has_moved", "it looked at another wave");
    assert_eq!(scene.rollout().wave, 1);
}

/// Clause O-9.
#[test]
fn a_closed_gate_takes_the_bundle_back_everywhere_and_says_why() {
    for wave in 0..2 {
        let mut scene = Scene::begun();
        for wave in 0..wave {
            assert_eq!(reason(&scene.step(wave, RolloutStep::Next, BAKE_SECS)), "rollout");
        }
        assert_eq!(reason(&scene.step(wave, back(), BAKE_SECS)), "rollout");
        scene.assert_settled(RolloutStatus::TakenBack, scene.first);
        let rollout = scene.rollout();
        let last = rollout.events.last().unwrap();
        assert_eq!((last.reason.as_str(), last.by.as_deref(), last.wave), ("a gate", None, wave));
        assert_eq!(reason(&scene.step(wave, back(), BAKE_SECS)), "rollout_has_moved", "it is over");
        // What is taken back is not the end: the next version comes as always.
        let third = container(3, 1, Some(scene.first));
        assert_eq!(reason(&scene.post("/v1/bundles", third, BAKE_SECS)), "bundle");
    }
}

/// Clause O-14.
#[test]
fn a_root_that_drops_the_signers_keys_takes_back_what_is_on_its_way() {
    let mut scene = Scene::begun();
    let directory = |version| Some(signed_directory(version, NOW).to_bytes());
    // A new directory alone takes nothing back.
    let install = |scene: &mut Scene, documents| scene.replica.apply(Command::InstallTrust { documents, at: at(1) });
    let applied = install(&mut scene, TrustDocuments { roots: Vec::new(), directory: directory(2) });
    assert_eq!(applied, Applied::Trust { root: 1, directory: 2 });
    assert!(scene.rollout().status.is_under_way());
    let roots = vec![successor_root(NOW).to_bytes()];
    let applied = install(&mut scene, TrustDocuments { roots, directory: directory(3) });
    assert_eq!(applied, Applied::Trust { root: 2, directory: 3 });
    scene.assert_settled(RolloutStatus::TakenBack, scene.first);
    let last = scene.rollout().events.last().unwrap().reason.clone();
    assert!(last.contains("does not verify under the mesh's newest root"), "{last}");
}

/// Clause O-10.
#[test]
fn a_paused_wave_has_baked_as_long_as_it_had() {
    let mut scene = Scene::begun();
    assert_eq!(reason(&scene.change(RolloutChange::Resume, 50)), "nothing_to_change");
    assert_eq!(reason(&scene.change(RolloutChange::Pause, 100)), "rollout");
    assert_eq!(reason(&scene.change(RolloutChange::Pause, 150)), "nothing_to_change");
    assert_eq!(reason(&scene.step(0, RolloutStep::Next, 9 * BAKE_SECS)), "rollout_has_moved");
    assert_eq!(reason(&scene.change(RolloutChange::Resume, 10 * BAKE_SECS)), "rollout");
    let left = |scene: &Scene, secs| scene.rollout().left(at(secs)).as_secs();
    assert_eq!(left(&scene, 10 * BAKE_SECS), 500);
    assert_eq!(reason(&scene.step(0, RolloutStep::Next, 10 * BAKE_SECS + 499)), "rollout_has_moved");
    assert_eq!(reason(&scene.step(0, RolloutStep::Next, 10 * BAKE_SECS + 500)), "rollout");
    // Gates count while somebody holds it.
    assert_eq!(reason(&scene.change(RolloutChange::Pause, 10 * BAKE_SECS + 501)), "rollout");
    assert_eq!(reason(&scene.step(1, back(), 10 * BAKE_SECS + 502)), "rollout");
    scene.assert_settled(RolloutStatus::TakenBack, scene.first);
}

#[test]
fn an_administrator_aborts_and_nobody_without_the_verb_does() {
    let mut scene = Scene::begun();
    let rollout = scene.rollout().id;
    let asked = |rollout| {
        let change = RolloutChange::Abort;
        let asked = RolloutRequest { tenant: tenant("acme"), rollout, change, reason: "it hurts".to_owned() };
        serde_json::to_vec(&asked).unwrap()
    };
    assert_eq!(reason(&scene.post_as(CUTTER, "/v1/rollouts", asked(rollout), 1)), "verb_not_permitted");
    assert_eq!(reason(&scene.post("/v1/rollouts", asked(LogIndex(99)), 1)), "unknown_rollout");
    assert_eq!(reason(&scene.post("/v1/rollouts", b"{}".to_vec(), 1)), "malformed");
    assert_eq!(reason(&scene.post("/v1/rollouts", vec![b' '; 5_000], 1)), "malformed");
    assert_eq!(scene.rollout().status, RolloutStatus::Baking);
    assert_eq!(reason(&scene.post("/v1/rollouts", asked(rollout), 1)), "rollout");
    scene.assert_settled(RolloutStatus::Aborted, scene.first);
    assert_eq!(scene.rollout().events.last().unwrap().by.as_deref(), Some("ops"));
    assert_eq!(reason(&scene.post("/v1/rollouts", asked(rollout), 2)), "rollout_over");
}

/// Clause O-5.
#[test]
fn nothing_else_comes_while_a_rollout_is_under_way() {
    let mut scene = Scene::begun();
    let third = container(3, 1, Some(scene.first));
    assert_eq!(reason(&scene.post("/v1/bundles", third.clone(), 1)), "rollout_under_way");
    assert_eq!(reason(&scene.post("/v1/bundles", plan().with(&third), 1)), "rollout_under_way");
    let (first, second) = (scene.first, scene.second);
    assert_eq!(reason(&scene.roll_back(Some(first), second)), "rollout_under_way");
    assert_eq!(scene.rollout().status, RolloutStatus::Baking);
}

/// Clause O-6.
#[test]
fn a_rollout_begins_only_with_a_way_back() {
    let mut replica = Replica::new();
    let alone = plan().with(&container(1, 1, None));
    assert_eq!(reason(&replica.admin(request(OPS, "/v1/bundles", alone, NOW, 1), NOW)), "no_way_back");
    let mut scene = Scene::new();
    let (first, second) = (scene.first, Digest([9; 32]));
    let same = plan().with(&container(1, 1, None));
    assert_eq!(reason(&scene.post("/v1/bundles", same, 1)), "already_active");
    let nowhere = |wave: Wave| RolloutPlan { waves: [vec![wave], plan().waves].concat(), ..plan() };
    for wave in [
        Wave { edges: ["eu-wset-1".parse().unwrap()].into(), ..Wave::default() },
        Wave { regions: ["eu-wset".parse().unwrap()].into(), ..Wave::default() },
    ] {
        let mistyped = nowhere(wave).with(&container(2, 1, Some(first)));
        assert_eq!(reason(&scene.post("/v1/bundles", mistyped, 1)), "unknown_edge");
    }
    let long = RolloutPlan {
        waves: (0..5).map(|_| Wave { per_mille: 1_000, bake_ms: 7 * 86_400_000, ..Wave::default() }).collect(),
        ..plan()
    };
    for (what, body) in [
        ("none is named", plan().with(&container(2, 1, None))),
        ("another is named", plan().with(&container(2, 1, Some(second)))),
        ("the floor is above it", plan().with(&container(2, 2, Some(first)))),
        ("it ends before the plan does", long.with(&container(2, 1, Some(first)))),
    ] {
        assert_eq!(reason(&scene.post("/v1/bundles", body, 1)), "no_way_back", "{what}");
    }
    assert!(scene.replica.state.rollouts().is_empty());
    // A floor counts once it was verified, whatever became of its bundle: version 1 is below the one that was refused.
    assert_eq!(reason(&scene.post("/v1/bundles", container(1, 1, None), 1)), "below_floor");
}

/// Clause O-11.
#[test]
fn a_rollback_goes_to_what_the_highest_names_and_to_nothing_else() {
    let mut scene = Scene::new();
    let first = scene.first;
    assert_eq!(reason(&scene.roll_back(None, first)), "no_way_back");
    let second = container(2, 1, Some(first));
    let digest = digest_of(&second);
    assert_eq!(reason(&scene.post("/v1/bundles", second, 0)), "bundle");
    assert_eq!(reason(&scene.roll_back(None, first)), "another_is_active");
    assert_eq!(reason(&scene.roll_back(Some(Digest([9; 32])), digest)), "unknown_bundle");
    assert_eq!(reason(&scene.roll_back(None, digest)), "bundle");
    assert_eq!(scene.active(), first);
    // Fallbacks do not chain, and the highest one can come back.
    assert_eq!(reason(&scene.roll_back(None, first)), "no_way_back");
    assert_eq!(reason(&scene.roll_back(Some(digest), first)), "bundle");
    assert_eq!(scene.active(), digest);
}

/// Clause O-6: canaries would have no credential. And what is refused is not the highest: the way back stays as it was.
#[test]
fn a_bundle_that_changes_how_a_credential_is_taken_does_not_come_in_waves_and_closes_no_way_back() {
    let mut scene = Scene::new();
    let first = scene.first;
    let second = container(2, 1, Some(first));
    let digest = digest_of(&second);
    assert_eq!(reason(&scene.post("/v1/bundles", second, 0)), "bundle");
    let profile = profile(&scene.replica, "acme");
    let sealed = Seal { of: "acme", edge: ("eu-west-1", 31), version: 1, sealer: 51, name: CREDENTIAL, profile };
    assert_eq!(reason(&scene.post("/v1/credentials", format!("[{}]", shard(&sealed)).into_bytes(), 0)), "credential");

    let mut source = bundle_source("acme", 3, 1);
    let catalogue = source.files.get_mut("catalogue/acme.toml").unwrap();
    let changed = String::from_utf8_lossy(catalogue).replace("\"authorization\"", "\"x-api-key\"");
    *catalogue = changed.into_bytes();
    let third = plan().with(&signed(&source, Some(digest)));
    assert_eq!(reason(&scene.post("/v1/bundles", third, 0)), "profile_changes");
    assert!(scene.replica.state.rollouts().is_empty());
    assert_eq!(reason(&scene.roll_back(None, digest)), "bundle");
    assert_eq!(scene.active(), first);
}

/// Clause C-86: a voter that reads a snapshot has what the others have, candidate and all.
#[test]
fn a_snapshot_in_the_middle_of_a_rollout_goes_on_with_it() {
    let mut scene = Scene::begun();
    assert_eq!(reason(&scene.change(RolloutChange::Pause, 100)), "rollout");
    let bytes = scene.replica.state.to_snapshot();
    scene.replica.state = State::from_snapshot(&genesis(true, NOW), &bytes).unwrap();
    assert_eq!(scene.replica.state.to_snapshot(), bytes);
    assert_eq!(*scene.replica.state.candidate(&tenant("acme")).unwrap().digest(), scene.second);
    assert_eq!(scene.active(), scene.first);
    assert_eq!(reason(&scene.change(RolloutChange::Resume, 200)), "rollout");
    assert_eq!(reason(&scene.step(0, RolloutStep::Next, 200 + BAKE_SECS)), "rollout");
    assert_eq!(reason(&scene.step(1, RolloutStep::Next, 200 + 2 * BAKE_SECS)), "rollout");
    scene.assert_settled(RolloutStatus::Completed, scene.second);
    // And after a rollback, whose activation has another number than the bundle's entry.
    let mut scene = Scene::begun();
    assert_eq!(reason(&scene.step(0, back(), 1)), "rollout");
    let bytes = scene.replica.state.to_snapshot();
    scene.replica.state = State::from_snapshot(&genesis(true, NOW), &bytes).unwrap();
    scene.assert_settled(RolloutStatus::TakenBack, scene.first);
}

/// Clause O-12.
#[test]
fn what_is_remembered_has_a_bound() {
    let mut scene = Scene::new();
    for round in 0..20 {
        let body = plan().with(&container(2 + round, 1, Some(scene.first)));
        assert_eq!(reason(&scene.post("/v1/bundles", body, 0)), "rollout");
        for _ in 0..40 {
            assert_eq!(reason(&scene.change(RolloutChange::Pause, 0)), "rollout");
            assert_eq!(reason(&scene.change(RolloutChange::Resume, 0)), "rollout");
        }
        assert_eq!(scene.rollout().events.len(), 64);
        assert_eq!(scene.rollout().events[0].index, scene.rollout().id, "how it began stays");
        assert_eq!(reason(&scene.change(RolloutChange::Abort, 0)), "rollout");
    }
    assert_eq!(scene.replica.state.rollouts().len(), 16);
    assert!(scene.replica.state.clock() >= Timestamp::from_secs(NOW.as_secs()));
}
