//! Properties of the registry: replicas agree whatever is in the log, a snapshot is the state, no bytes make it panic.

use proptest::collection::vec;
use proptest::prelude::*;
use remit_common::crypto::digest::Digest;
use remit_common::id::{LogIndex, VoterId};
use remit_common::trust::tick::TickRoots;
use remit_control_plane::registry::{Command, State, apply};

use crate::world::{CUTTER, GLOBEX, NOW, OPS, STRANGER, at, documents, genesis, request, revoke, signed_directory};

/// A command that is good, or wrong in one of the ways that commands are wrong.
fn command() -> impl Strategy<Value = Command> {
    let when = -20i64..40;
    let who = prop_oneof![4 => Just(OPS), 1 => Just(CUTTER), 1 => Just(GLOBEX), 1 => Just(STRANGER)];
    let of = prop_oneof![Just("acme"), Just("globex"), Just("nobody")];
    let cut = (who.clone(), of, 0u8..4, 0u64..12, when.clone(), when.clone()).prop_map(
        |(who, of, id, nonce, created, received)| Command::Admin {
            request: revoke(who, of, &format!("s{id}"), at(created), nonce),
            received_at: at(received),
        },
    );
    let path = prop_oneof![
        Just("/v1/bundles"),
        Just("/v1/credentials"),
        Just("/v1/revocations"),
        Just("/v1/envelopes"),
        Just("/v1/trust"),
        Just("/v1/other")
    ];
    let garbage = (who, path, vec(any::<u8>(), 0..64), 100u64..200, when.clone()).prop_map(
        |(who, path, body, nonce, received)| Command::Admin {
            request: request(who, path, body, NOW, nonce),
            received_at: at(received),
        },
    );
    let tick = (vec((0u64..5, any::<u8>()), 0..4), when.clone()).prop_map(|(roots, secs)| Command::Tick {
        roots: TickRoots { roots: roots.into_iter().map(|(n, b)| (VoterId(n), Digest::of(&[&[b]]))).collect() },
        at: at(secs),
    });
    let expire =
        prop_oneof![9 => 0i64..40, 1 => 4_000i64..90_000].prop_map(|secs| Command::ExpireRevocations { at: at(secs) });
    let trust = (1u64..5, when).prop_map(|(version, secs)| {
        let mut documents = documents(true, NOW);
        documents.directory = Some(signed_directory(version, NOW).to_bytes());
        Command::InstallTrust { documents, at: at(secs) }
    });
    prop_oneof![6 => cut, 2 => garbage, 2 => tick, 1 => expire, 1 => trust]
}

fn run(state: &mut State, first: u64, commands: &[Command]) -> Vec<String> {
    let mut applied = Vec::new();
    for (index, command) in (first..).zip(commands) {
        applied.push(format!("{:?}", apply(state, LogIndex(index), command.clone())));
    }
    applied
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn replicas_agree_and_a_snapshot_is_the_state(
        commands in vec(command(), 1..24),
        cut in any::<prop::sample::Index>(),
    ) {
        let genesis = genesis(true, NOW);
        let install = Command::InstallTrust { documents: documents(true, NOW), at: NOW };
        let commands: Vec<Command> = std::iter::once(install).chain(commands).collect();
        let (mut one, mut two) = (State::new(genesis.clone()), State::new(genesis.clone()));
        let answers = run(&mut one, 1, &commands);
        let (before, after) = commands.split_at(cut.index(commands.len()));
        let mut again = run(&mut two, 1, before);
        let restored = State::from_snapshot(&genesis, &two.to_snapshot());
        let mut two = restored.map_err(|error| TestCaseError::fail(error.to_string()))?;
        again.extend(run(&mut two, 1 + u64::try_from(before.len()).unwrap(), after));
        prop_assert_eq!(answers, again);
        prop_assert_eq!(one.to_snapshot(), two.to_snapshot());
    }

    #[test]
    fn no_entry_makes_the_registry_panic(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert!(Command::from_entry(&bytes).is_err());
        prop_assert!(State::from_snapshot(&genesis(true, NOW), &bytes).is_err());
    }

    #[test]
    fn a_damaged_entry_is_another_command_or_none(
        command in command(),
        at in any::<prop::sample::Index>(),
        flip in 1u8..,
    ) {
        let mut entry = command.to_entry();
        let place = at.index(entry.len());
        entry[place] ^= flip;
        let mut state = State::new(genesis(true, NOW));
        apply(&mut state, LogIndex(1), Command::InstallTrust { documents: documents(true, NOW), at: NOW });
        if let Ok(other) = Command::from_entry(&entry) {
            prop_assert!(other != command);
            apply(&mut state, LogIndex(2), other);
        }
    }

    #[test]
    fn an_entry_reads_back(command in command()) {
        prop_assert_eq!(Command::from_entry(&command.to_entry()), Ok(command));
    }
}

#[test]
fn generated_commands_do_something() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut done = 0;
    for _ in 0..50 {
        let commands = vec(command(), 20).new_tree(&mut runner).unwrap().current();
        let mut state = State::new(genesis(true, NOW));
        apply(&mut state, LogIndex(1), Command::InstallTrust { documents: documents(true, NOW), at: NOW });
        done += run(&mut state, 2, &commands).iter().filter(|applied| applied.starts_with("Revoked")).count();
    }
    assert!(done > 100, "only {done} of 1000 generated commands cut anything: the properties would be vacuous");
}
