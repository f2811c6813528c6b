//! The chain fixture is a chain, so that its bench verifies one.

use remit_benches::biscuit::{Asked, Token};
use remit_benches::chain::Fixture;
use remit_benches::warm::Warm;
use remit_common::proof::Grade;

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

/// Chains travel in a header of every request that is not a reference. Their length is no matter of measuring.
#[test]
fn four_links_of_one_grant_do_not_grow() {
    let bytes = Fixture::lean(4).expect("mints").presentation.len();
    // The budget of 1 400 B is missed (BUDGETS.md); this is what they may not grow beyond.
    assert!(bytes <= 1_500, "{bytes} B");
}

#[test]
fn a_warm_step_takes_each_proof_once() {
    let mut warm = Warm::new().expect("the channel opens");
    for grade in [Grade::P1, Grade::P2] {
        for header in warm.headers(grade, 2) {
            assert_eq!(warm.step(&header).expect("it stands").1, grade);
            assert!(warm.step(&header).is_err() && warm.step_cold(&header).is_err());
        }
        let header = warm.headers(grade, 1).remove(0);
        assert_eq!(warm.step_cold(&header).expect("it stands").1, grade);
    }
}

#[test]
fn the_biscuit_beside_it_answers_alike() {
    let (token, fixture) = (Token::new().expect("mints"), Fixture::new(4).expect("mints"));
    for (contract, admitted) in [("contract_7781", true), ("contract_7790", true), ("contract_9001", false)] {
        let asked = Asked::read_of(contract).expect("a call");
        assert_eq!(token.authorize_cold(&asked).is_ok(), admitted, "{contract}");
        assert_eq!(fixture.admits_cold(contract).expect("verifies"), admitted, "{contract}");
    }
}
