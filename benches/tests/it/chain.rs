//! The chain fixture is a chain, so that its bench verifies one.

use remit_benches::chain::Fixture;

#[test]
fn the_fixture_verifies_link_by_link() {
    for links in 1..=4u8 {
        let fixture = Fixture::new(links).expect("mints");
        let effective = fixture.verify_cold().expect("verifies");
        assert_eq!((effective.links().len(), effective.chain_depth), (usize::from(links), links));
        assert_eq!(effective.scope.grants().filter(|(_, grant)| grant.is_some()).count(), 2);
    }
}

#[test]
fn a_changed_byte_does_not_verify() {
    let mut fixture = Fixture::new(4).expect("mints");
    let last = fixture.presentation.len() - 1;
    fixture.presentation[last] ^= 1;
    assert!(fixture.verify_cold().is_err());
}
