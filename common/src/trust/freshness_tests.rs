use proptest::prelude::*;

use super::super::tick::{NonceTree, TickRoots};
use super::*;
use crate::time::BootTime;

const BOUNDS: Bounds = Bounds::DEFAULT;
const VOTER: VoterId = VoterId(1);
/// The wall clock when the boot clock is zero.
const WALL: u64 = 1_800_000_000_000;

fn at(millis: u64) -> Now {
    Now { wall: Timestamp::from_millis(WALL + millis), boot: BootTime::from_millis(millis) }
}

fn skewed(millis: u64, by: i64) -> Now {
    Now { wall: Timestamp::from_millis((WALL + millis).saturating_add_signed(by)), ..at(millis) }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn me() -> EdgeId {
    "eu-west-1".parse().unwrap()
}

fn enforced(epoch: u64) -> Enforced {
    Enforced { epoch: RevocationEpoch(epoch), digest: Digest::of(&[&epoch.to_be_bytes()]) }
}

fn nonce(n: u8) -> Nonce {
    Nonce([n; 32])
}

fn answer_from(edge: &EdgeId, n: u64, nonce: Nonce, knew: Enforced) -> TickAnswer {
    let tree = NonceTree::new([(edge.clone(), nonce), ("another".parse().unwrap(), Nonce([0xee; 32]))]);
    let tick = TickRoots { roots: vec![(VOTER, tree.root()), (VoterId(2), Digest::default())] };
    TickAnswer {
        n: LogIndex(n),
        nonce,
        nonce_root: tick.nonce_root(),
        path: tree.path(edge, VOTER, &tick).unwrap(),
        epoch: knew.epoch,
        revocations: knew.digest,
        activations: Digest::default(),
        directory: 1,
        root: 1,
    }
}

fn answer(n: u64, sent: u8, epoch: u64) -> TickAnswer {
    answer_from(&me(), n, nonce(sent), enforced(epoch))
}

fn started() -> Freshness {
    Freshness::start(None, enforced(1), at(0))
}

/// An answer arrives, and the disk takes the proof.
fn give(freshness: &mut Freshness, answer: &TickAnswer, now: Now) -> Result<Learned, AnswerRefused> {
    freshness.on_answer(answer, &me(), VOTER, now).inspect(|learned| store(freshness, learned))
}

/// An epoch is on the disk, and then the proof that waited for it.
fn enforce(freshness: &mut Freshness, enforced: Enforced, now: Now) -> Learned {
    let learned = freshness.on_enforced(enforced, now);
    store(freshness, &learned);
    learned
}

fn store(freshness: &mut Freshness, learned: &Learned) {
    if let Learned::Younger(proof) = learned {
        freshness.on_stored(proof);
    }
}

fn proof(n: u64, sent: u64, stored: u64) -> StoredProof {
    let wall = |millis| Timestamp::from_millis(WALL + millis);
    StoredProof { n: LogIndex(n), sent: wall(sent), stored: wall(stored), epoch: RevocationEpoch(1) }
}

fn effects(effect: Effect) -> Effects {
    Effects::from_iter([effect])
}

#[test]
fn the_age_counts_from_sending_the_nonce_not_from_its_answer() {
    // Clause F-8.
    let mut freshness = started();
    assert_eq!(freshness.view().age(at(0)), None);
    freshness.on_nonce_sent(nonce(1), at(1_000));
    assert_eq!(give(&mut freshness, &answer(10, 1, 1), at(4_000)), Ok(Learned::Younger(proof(10, 1_000, 4_000))));
    assert_eq!(freshness.view().age(at(4_000)), Some(secs(3)));
    assert_eq!(freshness.view().age(at(64_000)), Some(secs(63)));
    assert_eq!(freshness.view().tick(), LogIndex(10));
}

#[test]
fn an_equal_or_lower_tick_changes_nothing() {
    // Clause F-10.
    let mut freshness = started();
    freshness.on_nonce_sent(nonce(1), at(0));
    freshness.on_nonce_sent(nonce(2), at(2_000));
    give(&mut freshness, &answer(10, 1, 1), at(2_500)).unwrap();
    let before = freshness.view();
    for n in [10, 9, 0] {
        assert_eq!(give(&mut freshness, &answer(n, 2, 1), at(3_000)), Ok(Learned::Nothing));
        assert_eq!(freshness.view(), before);
    }
    // A higher tick that answers an older nonce does not make the view older.
    assert!(matches!(give(&mut freshness, &answer(12, 2, 1), at(3_000)), Ok(Learned::Younger(_))));
    freshness.on_nonce_sent(nonce(3), at(4_000));
    assert_eq!(give(&mut freshness, &answer(13, 2, 1), at(5_000)), Ok(Learned::Nothing));
    // Nor does it count as the newest: a restart would take back what no stored proof has.
    assert_eq!((freshness.view().tick(), freshness.view().age(at(5_000))), (LogIndex(12), Some(secs(3))));
}

#[test]
fn an_answer_for_others_or_for_nobody_is_refused() {
    let mut freshness = started();
    freshness.on_nonce_sent(nonce(1), at(0));
    let before = freshness.view();
    assert_eq!(give(&mut freshness, &answer(10, 2, 1), at(1)), Err(AnswerRefused::UnknownNonce));
    let of_another = answer_from(&"us-east-1".parse().unwrap(), 10, nonce(1), enforced(1));
    let not_included = Err(AnswerRefused::Tick(TickRefused::NotIncluded));
    assert_eq!(give(&mut freshness, &of_another, at(1)), not_included);
    let replayed = TickAnswer { nonce: nonce(1), ..answer(10, 2, 1) };
    assert_eq!(give(&mut freshness, &replayed, at(1)), not_included);
    assert_eq!(freshness.on_answer(&answer(10, 1, 1), &me(), VoterId(2), at(1)), not_included);
    assert_eq!(freshness.view(), before);
}

#[test]
fn an_answer_ahead_of_the_disk_counts_once_the_disk_has_it() {
    // Clause F-9.
    let mut freshness = started();
    freshness.on_nonce_sent(nonce(1), at(0));
    let behind = Ok(Learned::Behind { epoch: RevocationEpoch(3) });
    assert_eq!(give(&mut freshness, &answer(10, 1, 3), at(1_000)), behind);
    assert_eq!(freshness.view().age(at(1_000)), None);
    assert_eq!(enforce(&mut freshness, enforced(2), at(1_100)), Learned::Nothing);
    assert_eq!(freshness.view().age(at(1_100)), None);
    assert!(matches!(enforce(&mut freshness, enforced(3), at(1_200)), Learned::Younger(_)));
    assert_eq!(freshness.view().age(at(1_200)), Some(Duration::from_millis(1_200)));
    // One that is behind the disk counts, too, if its digest was the one here.
    freshness.on_nonce_sent(nonce(2), at(2_000));
    assert!(matches!(give(&mut freshness, &answer(11, 2, 2), at(2_100)), Ok(Learned::Younger(_))));
}

#[test]
fn a_proof_that_the_disk_does_not_take_does_not_count() {
    // Clause F-9: what this edge shows is what it still knows after a restart.
    let mut freshness = started();
    freshness.on_nonce_sent(nonce(1), at(0));
    freshness.on_nonce_sent(nonce(2), at(2_000));
    give(&mut freshness, &answer(10, 1, 1), at(2_500)).unwrap();
    let before = freshness.view();
    let learned = freshness.on_answer(&answer(11, 2, 1), &me(), VOTER, at(3_000));
    assert_eq!(learned, Ok(Learned::Younger(proof(11, 2_000, 3_000))));
    assert_eq!(freshness.view(), before);
    // The next one says the same again, and is taken.
    assert!(matches!(give(&mut freshness, &answer(12, 2, 1), at(4_000)), Ok(Learned::Younger(_))));
    assert_eq!((freshness.view().tick(), freshness.view().age(at(4_000))), (LogIndex(12), Some(secs(2))));
}

#[test]
fn other_revocations_at_the_same_epoch_never_count() {
    // Clause F-9.
    let mut freshness = started();
    freshness.on_nonce_sent(nonce(1), at(0));
    let other = Enforced { digest: Digest::of(&[b"forged"]), ..enforced(1) };
    let forged = answer_from(&me(), 10, nonce(1), other);
    let refused = AnswerRefused::OtherRevocations { epoch: RevocationEpoch(1) };
    assert_eq!(give(&mut freshness, &forged, at(1)), Err(refused));
    // The same for an epoch that is still to come.
    let other = Enforced { digest: Digest::of(&[b"forged"]), ..enforced(2) };
    give(&mut freshness, &answer_from(&me(), 10, nonce(1), other), at(1)).unwrap();
    assert_eq!(enforce(&mut freshness, enforced(2), at(2)), Learned::Nothing);
    assert_eq!(freshness.view().age(at(2)), None);
}

#[test]
fn clocks_that_drift_apart_make_the_age_infinite_until_a_nonce_sent_after() {
    // Clause F-11.
    for by in [2_001, -2_001] {
        let mut freshness = started();
        freshness.on_nonce_sent(nonce(1), at(0));
        freshness.on_nonce_sent(nonce(2), at(500));
        give(&mut freshness, &answer(10, 1, 1), at(1_000)).unwrap();
        assert_eq!(freshness.view().age(skewed(3_000, by / 2)), Some(secs(3)));
        let jumped = skewed(4_000, by);
        assert_eq!(freshness.view().age(jumped), None);
        assert_eq!(freshness.view().mode(&BOUNDS, jumped), Mode::Quarantined);
        freshness.on_clock(jumped);
        // The clocks agreeing again later does not bring it back, nor does an answer to a nonce from before.
        assert_eq!(freshness.view().age(at(4_100)), None);
        assert_eq!(give(&mut freshness, &answer(11, 2, 1), skewed(4_200, by)), Ok(Learned::Nothing));
        assert_eq!(
            freshness.view().check(effects(Effect::Read), &BOUNDS, skewed(4_200, by)),
            Err(Stale::Quarantined(QuarantineCause::ClockJumped))
        );
        freshness.on_nonce_sent(nonce(3), skewed(5_000, by));
        assert!(matches!(give(&mut freshness, &answer(12, 3, 1), skewed(5_500, by)), Ok(Learned::Younger(_))));
        assert_eq!(freshness.view().age(skewed(6_000, by)), Some(secs(1)));
        assert_eq!(freshness.view().mode(&BOUNDS, skewed(6_000, by)), Mode::Fresh);
    }
}

#[test]
fn indefinite_freeze_ends_in_isolation() {
    // A voter that is cut off, or wants to hide a revocation, can only repeat what it said.
    let mut freshness = started();
    freshness.on_nonce_sent(nonce(1), at(0));
    let said = answer(10, 1, 1);
    give(&mut freshness, &said, at(100)).unwrap();
    for second in 1..=300u64 {
        assert_eq!(give(&mut freshness, &said, at(second * 1_000)), Ok(Learned::Nothing));
        assert_eq!(freshness.view().age(at(second * 1_000)), Some(secs(second)));
    }
    assert_eq!(freshness.view().mode(&BOUNDS, at(300_000)), Mode::Isolated);
}

#[test]
fn the_stored_proof_is_golden() {
    // Clause F-12.
    let stored = serde_json::to_string(&proof(10, 1_000, 4_000)).unwrap();
    assert_eq!(stored, r#"{"n":10,"sent":1800000001000,"stored":1800000004000,"epoch":1}"#);
    assert_eq!(serde_json::from_str::<StoredProof>(&stored).unwrap(), proof(10, 1_000, 4_000));
}

#[test]
fn a_suspended_machine_ages() {
    // Both clocks run through suspend: an hour passes in one step.
    let mut freshness = started();
    freshness.on_nonce_sent(nonce(1), at(0));
    give(&mut freshness, &answer(10, 1, 1), at(1_000)).unwrap();
    assert_eq!(freshness.view().age(at(3_600_000)), Some(secs(3_600)));
    assert_eq!(freshness.view().mode(&BOUNDS, at(3_600_000)), Mode::Isolated);
}

#[test]
fn after_a_restart_only_reads_live_on_and_only_by_a_clock_that_did_not_step_back() {
    // Clause F-12.
    let restart = |stored, now| Freshness::start(Some(stored), enforced(1), now);
    let read = effects(Effect::Read);
    let now = at(100_000);
    let view = restart(proof(10, 40_000, 50_000), now).view();
    assert_eq!(view.age(now), None);
    assert_eq!(view.check(read, &BOUNDS, now), Ok(Fresh { age: secs(60), left: secs(240) }));
    assert_eq!(view.check(read, &BOUNDS, at(339_999)).map(|fresh| fresh.age), Ok(Duration::from_millis(299_999)));
    let infinite = |bound| Err(Stale::Bound { age: None, bound: secs(bound) });
    assert_eq!(view.check(effects(Effect::Write), &BOUNDS, now), infinite(60));
    assert_eq!(view.check(Effects::from_iter([Effect::Read, Effect::Write]), &BOUNDS, now), infinite(60));
    assert_eq!(view.check(Effects::NONE, &BOUNDS, now), infinite(10));
    assert_eq!(view.mode(&BOUNDS, now), Mode::Degraded);
    // The wall clock stepped back before or after the start, or the disk lost revocations.
    assert_eq!(restart(proof(10, 40_000, 100_001), now).view().check(read, &BOUNDS, now), infinite(300));
    assert_eq!(view.check(read, &BOUNDS, skewed(101_000, -2_001)), infinite(300));
    let newer = StoredProof { epoch: RevocationEpoch(2), ..proof(10, 40_000, 50_000) };
    assert_eq!(restart(newer, now).view().check(read, &BOUNDS, now), infinite(300));
    // Ticks do not go back over a restart.
    let mut freshness = restart(proof(10, 40_000, 50_000), now);
    freshness.on_nonce_sent(nonce(1), now);
    assert_eq!(give(&mut freshness, &answer(10, 1, 1), now), Ok(Learned::Nothing));
    assert!(matches!(give(&mut freshness, &answer(11, 1, 1), now), Ok(Learned::Younger(_))));
}

#[test]
fn modes_follow_the_bounds() {
    // Clauses F-13 and F-14.
    let mut freshness = started();
    freshness.on_nonce_sent(nonce(1), at(0));
    give(&mut freshness, &answer(10, 1, 1), at(0)).unwrap();
    let check = |freshness: &Freshness, millis, expected| {
        assert_eq!(freshness.view().mode(&BOUNDS, at(millis)), expected, "{millis}");
    };
    check(&freshness, 9_999, Mode::Fresh);
    check(&freshness, 10_000, Mode::Degraded);
    check(&freshness, 299_999, Mode::Degraded);
    check(&freshness, 300_000, Mode::Isolated);
    let stale = freshness.view().check(effects(Effect::Irreversible), &BOUNDS, at(10_000));
    assert_eq!(stale, Err(Stale::Bound { age: Some(secs(10)), bound: secs(10) }));
    freshness.quarantine(QuarantineCause::Revoked);
    check(&freshness, 1, Mode::Quarantined);
    freshness.on_nonce_sent(nonce(2), at(400_000));
    give(&mut freshness, &answer(11, 2, 1), at(400_000)).unwrap();
    check(&freshness, 400_000, Mode::Quarantined);
}

#[test]
fn what_a_peer_can_make_us_hold_is_bounded() {
    let mut freshness = started();
    for n in 0..200u64 {
        freshness.on_nonce_sent(Nonce([u8::try_from(n).unwrap(); 32]), at(n));
        enforce(&mut freshness, enforced(n), at(n));
    }
    assert_eq!((freshness.sent.len(), freshness.enforced.len()), (NONCES_MAX, EPOCHS_MAX));
    assert_eq!(give(&mut freshness, &answer(10, 1, 199), at(300)), Err(AnswerRefused::UnknownNonce));
}

#[derive(Debug, Clone)]
enum Event {
    Pass {
        millis: u64,
    },
    Step {
        wall_by: i64,
    },
    Send,
    /// The nonce sent so many sends ago goes into the next tick, which knows so many epochs more than the edge.
    Tick {
        nonce_back: usize,
        epochs_ahead: u64,
    },
    /// The answer made so many ticks ago arrives, perhaps again.
    Deliver {
        back: usize,
    },
    /// The edge applies the next epoch.
    Enforce,
    /// The edge restarts from the last proof that it stored.
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0u64..5_000).prop_map(|millis| Event::Pass { millis }),
        1 => (-3_000i64..3_000).prop_map(|wall_by| Event::Step { wall_by }),
        4 => Just(Event::Send),
        4 => (0usize..4, 0u64..2).prop_map(|(nonce_back, epochs_ahead)| Event::Tick { nonce_back, epochs_ahead }),
        6 => (0usize..4).prop_map(|back| Event::Deliver { back }),
        2 => Just(Event::Enforce),
        1 => Just(Event::Restart),
    ]
}

/// Plays events; at every step the age must not be younger than the truth. Returns how often there was an age.
fn play(events: &[Event]) -> usize {
    let (mut boot, mut step, mut epoch, mut n, mut random) = (0u64, 0i64, 1u64, 0u64, 0u64);
    let mut freshness = started();
    let mut stored = None;
    let mut sends: Vec<(Nonce, u64)> = Vec::new();
    // Answers with the sending time of the nonce in them.
    let mut answers: Vec<(TickAnswer, u64, u64)> = Vec::new();
    let mut delivered: Vec<(u64, u64)> = Vec::new();
    let mut aged = 0;
    for event in events {
        let now = skewed(boot, step);
        match event {
            Event::Pass { millis } => boot += millis,
            Event::Step { wall_by } => step += wall_by,
            Event::Send => {
                random += 1; // never repeats, over restarts neither
                let nonce = Nonce(Digest::of(&[&random.to_be_bytes()]).0);
                sends.push((nonce, boot));
                freshness.on_nonce_sent(nonce, now);
            }
            Event::Tick { nonce_back, epochs_ahead } => {
                n += 1;
                if let Some((nonce, sent)) = sends.iter().rev().nth(*nonce_back) {
                    let knew = epoch + epochs_ahead;
                    answers.push((answer_from(&me(), n, *nonce, enforced(knew)), *sent, knew));
                }
            }
            Event::Deliver { back } => {
                if let Some((answer, sent, knew)) = answers.iter().rev().nth(*back) {
                    delivered.push((*sent, *knew));
                    let before = freshness.view();
                    let learned = give(&mut freshness, answer, now);
                    if answer.n <= before.n {
                        assert_eq!(learned, Ok(Learned::Nothing));
                    }
                    if let Ok(Learned::Younger(proof)) = learned {
                        stored = Some(proof);
                    }
                }
            }
            Event::Enforce => {
                epoch += 1;
                if let Learned::Younger(proof) = enforce(&mut freshness, enforced(epoch), now) {
                    stored = Some(proof);
                }
            }
            Event::Restart => {
                freshness = Freshness::start(stored, enforced(epoch), now);
                sends.clear();
                delivered.clear();
            }
        }
        let truth = delivered.iter().filter(|(_, knew)| *knew <= epoch).map(|(sent, _)| *sent).max();
        if let Some(age) = freshness.view().age(skewed(boot, step)) {
            aged += 1;
            let sent = truth.expect("there is an age, so a nonce was answered");
            assert!(age >= Duration::from_millis(boot - sent), "age {age:?}, sent at {sent}, now {boot}");
        }
    }
    aged
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn the_age_is_never_younger_than_the_truth(events in proptest::collection::vec(event(), 0..120)) {
        // Clause F-8.
        play(&events);
    }
}

#[test]
fn the_property_is_not_vacuous() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = proptest::collection::vec(event(), 100..120);
    let aged: usize = (0..50)
        .map(|_| {
            let events = proptest::strategy::ValueTree::current(&strategy.new_tree(&mut runner).unwrap());
            usize::from(play(&events) > 10)
        })
        .sum();
    assert!(aged >= 25, "only {aged} of 50 runs had an age for more than ten steps");
}
