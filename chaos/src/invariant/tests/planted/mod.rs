//! Each way to break a promise, planted into histories that keep it.

mod control_plane;
mod edges;

use super::super::{Invariant, check};
use super::tamper::Tampered;
use super::{broken, model};

/// Breaks a promise; gives an event that the breach has to name. None if this history offers no occasion.
type Plant = fn(&mut Tampered) -> Option<u64>;

/// Seeds that are tried, and in how many of them each breach must have been possible.
const SEEDS: u64 = 8;
const OCCASIONS_LEAST: u64 = 2;

fn each(invariant: Invariant, plants: &[(&str, Plant)]) {
    let histories: Vec<_> = (0..SEEDS).map(model::history).collect();
    let context = model::context();
    for (name, plant) in plants {
        let mut occasions = 0;
        for (seed, events) in (0..).zip(&histories) {
            let mut tampered = Tampered::new(events.clone(), seed);
            let Some(named) = plant(&mut tampered) else { continue };
            occasions += 1;
            let judgement = check(&tampered.events, &context);
            assert_eq!(
                broken(&judgement),
                [invariant],
                "{name}, seed {seed}: {:#?}",
                judgement.violated().collect::<Vec<_>>()
            );
            let verdict = judgement.verdict(invariant).unwrap();
            let mut witnesses = verdict.breaches.iter().flat_map(|breach| &breach.events);
            assert!(
                witnesses.any(|witness| witness.index == named),
                "{name}, seed {seed}: event {named} is not named in {:#?}",
                verdict.breaches
            );
        }
        assert!(occasions >= OCCASIONS_LEAST, "{name}: only {occasions} of {SEEDS} histories offered an occasion");
    }
}
