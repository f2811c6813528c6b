//! What may follow what.

use remit_common::bundle::{BundleRejected, Fallback, HighWater, Manifest, SignedBundle, VerifiedBundle};
use remit_common::id::{BundleVersion, LogIndex};

use super::mesh::*;

fn verified(bundle: SignedBundle) -> VerifiedBundle {
    bundle.verify(&root(), &MESH, &acme(), NOW).unwrap()
}

fn bundle(change: impl FnOnce(&mut Manifest)) -> VerifiedBundle {
    verified(with_manifest(change))
}

fn activated(bundles: &[&VerifiedBundle]) -> HighWater {
    let mut water = HighWater::default();
    for (number, bundle) in (1..).zip(bundles) {
        water.check_activation(LogIndex(number)).unwrap();
        water.note_activated(LogIndex(number), bundle.manifest(), bundle.digest());
    }
    water
}

fn code(bundle: &VerifiedBundle, water: &HighWater, secs: u64) -> Result<(), &'static str> {
    bundle.check_succeeds(water, at(secs)).map_err(|rejected| rejected.reason_code())
}

#[test]
fn rollback() {
    // Clause B-10.
    let (six, seven, eight) = (verified(version(6)), verified(version(7)), verified(version(8)));
    let water = activated(&[&seven]);
    assert_eq!(code(&eight, &water, 0), Ok(()));
    assert_eq!(code(&seven, &water, 0), Ok(()));
    let (version, high) = (BundleVersion(6), BundleVersion(7));
    assert_eq!(six.check_succeeds(&water, NOW), Err(BundleRejected::Rollback { version, high }));
    assert_eq!(code(&six, &HighWater::default(), 0), Ok(()));
}

#[test]
fn another_bundle_of_the_same_version() {
    // Clause B-12.
    let seven = verified(version(7));
    let other = bundle(|manifest| manifest.limits.chain_links = 3);
    assert_eq!(code(&other, &activated(&[&seven]), 0), Err("same_version"));
}

#[test]
fn a_live_fallback_of_high_and_only_of_high() {
    // Clauses B-10 and B-11.
    let names = |version: u64, fallback: &VerifiedBundle, until: u64| {
        let named = Fallback { digest: *fallback.digest(), until: at(until) };
        bundle(|manifest| {
            manifest.version = BundleVersion(version);
            manifest.fallback = vec![named];
        })
    };
    let six = verified(version(6));
    let seven = names(7, &six, 1_000);
    let eight = names(8, &seven, 100);
    let water = activated(&[&six, &seven, &eight]);
    assert_eq!(code(&seven, &water, 99), Ok(()));
    assert_eq!(code(&seven, &water, 100), Err("rollback"));
    // Back at seven, eight is still high: seven's own fallback does not open the way to six.
    let mut water = water;
    water.note_activated(LogIndex(4), seven.manifest(), seven.digest());
    assert_eq!(water.high.as_ref().map(|high| high.version), Some(BundleVersion(8)));
    assert_eq!(code(&six, &water, 50), Err("rollback"));
    assert_eq!(code(&eight, &water, 50), Ok(()));
}

#[test]
fn never_below_the_floor_of_anything_verified() {
    // Clause B-11.
    let six = verified(version(6));
    let mut water = HighWater::default();
    // Seven was only verified, and its floor is seven.
    let seven = bundle(|manifest| {
        manifest.floor = BundleVersion(7);
        manifest.fallback = vec![Fallback { digest: *six.digest(), until: at(1_000) }];
    });
    water.note_verified(seven.manifest());
    let (version, floor) = (BundleVersion(6), BundleVersion(7));
    assert_eq!(six.check_succeeds(&water, NOW), Err(BundleRejected::BelowFloor { version, floor }));
    // Not even as a fallback that high names.
    water.note_activated(LogIndex(1), seven.manifest(), seven.digest());
    assert_eq!(code(&six, &water, 0), Err("below_floor"));
}

/// Clause B-32: what may take the place of a bundle that cannot be run is a part of what may be activated.
#[test]
fn what_takes_the_place_of_a_bundle_is_a_live_fallback_of_high_and_never_high_itself() {
    let (five, six) = (verified(version(5)), verified(version(6)));
    let names = |version: u64, floor: u64, fallback: &VerifiedBundle| {
        let named = Fallback { digest: *fallback.digest(), until: at(100) };
        bundle(|manifest| {
            (manifest.version, manifest.floor) = (BundleVersion(version), BundleVersion(floor));
            manifest.fallback = vec![named];
        })
    };
    let may = |bundle: &VerifiedBundle, water: &HighWater, secs: u64| {
        let version = bundle.manifest().version;
        water.check_fallback(version, bundle.digest(), at(secs)).map_err(|rejected| rejected.reason_code())
    };
    let (seven, nine) = (names(7, 1, &six), verified(version(9)));
    let eight = names(8, 1, &seven);
    let mut water = activated(&[&six, &seven, &eight]);
    water.note_activated(LogIndex(4), seven.manifest(), seven.digest());
    assert_eq!(may(&seven, &water, 99), Ok(()));
    assert_eq!(may(&seven, &water, 100), Err("rollback"), "its time is over");
    assert_eq!(may(&six, &water, 0), Err("rollback"), "only seven names it");
    assert_eq!(may(&eight, &water, 0), Err("rollback"), "it was taken back");
    assert_eq!(may(&nine, &water, 0), Err("rollback"), "nobody has activated it");
    assert_eq!(may(&five, &HighWater::default(), 0), Err("rollback"), "nothing was ever active");
    let floored = names(8, 7, &six);
    assert_eq!(may(&six, &activated(&[&floored]), 0), Err("below_floor"));
}

#[test]
fn the_high_water_only_rises() {
    // Clauses B-12 and B-13.
    let (six, nine) = (verified(version(6)), verified(version(9)));
    let mut water = activated(&[&nine]);
    water.note_activated(LogIndex(7), nine.manifest(), nine.digest());
    let before = water.clone();
    water.note_activated(LogIndex(3), six.manifest(), six.digest());
    assert_eq!(water, before);
    for (number, rises) in [(6, false), (7, false), (8, true)] {
        assert_eq!(water.check_activation(LogIndex(number)).is_ok(), rises, "{number}");
    }
}

#[test]
fn the_stored_form_is_golden() {
    // Clause B-13.
    let water = activated(&[&verified(version(7))]);
    let stored = serde_json::to_string(&water).unwrap();
    let digest = version(7).digest();
    let expected = format!(
        "{{\"activation\":1,\"high\":{{\"version\":7,\"digest\":\"{digest}\",\"fallback\":[{{\"digest\":\
         \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\",\"until\":1794096000000}}]}},\"floor\":5}}"
    );
    assert_eq!(stored, expected);
    assert_eq!(serde_json::from_str::<HighWater>(&stored).unwrap(), water);
}
