//! What was verified once is not verified again, and nothing else is taken for it. Clause G-9.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use remit_common::crypto::digest::Digest;
use remit_common::crypto::sign::SignatureInvalid;
use remit_common::envelope::{Beginnings, RawPresentation, Unauthenticated};
use remit_common::id::LinkId;

use super::fixture::*;

#[derive(Default)]
struct Known {
    learnt: RefCell<BTreeSet<Digest>>,
    asked: RefCell<Vec<Digest>>,
    verified: Cell<usize>,
}

impl Beginnings for Known {
    fn knows(&self, beginning: &Digest) -> bool {
        self.asked.borrow_mut().push(*beginning);
        self.learnt.borrow().contains(beginning)
    }

    fn learn(&self, beginning: Digest) {
        self.learnt.borrow_mut().insert(beginning);
    }

    fn verifying(&self) {
        self.verified.set(self.verified.get() + 1);
    }
}

/// Signatures of a root of the tests, each of which is learnt by itself.
const PARTS: usize = 2;

/// The links' ids, under what is known; without it when there is none.
fn verify_under(bytes: &[u8], known: Option<&dyn Beginnings>) -> Result<Vec<LinkId>, Unauthenticated> {
    let raw = RawPresentation::parse(bytes).unwrap();
    let chain = raw.verify_beyond(&MESH, &issuers(), known)?;
    Ok(chain.links().iter().map(|link| link.id).collect())
}

#[test]
fn what_is_good_is_learnt_link_by_link_up_to_what_is_forged() {
    let known = Known::default();
    let mut links = raw_chain(4);
    links[3].signature[5] ^= 1;
    let forged = Err(Unauthenticated::Signature { hop: 3, source: SignatureInvalid });
    assert_eq!(verify_under(&presentation(&links), Some(&known)), forged);
    assert_eq!(known.learnt.borrow().len(), PARTS + 3);
    assert!(verify_under(&presentation(&raw_chain(4)), Some(&known)).is_ok());
    assert_eq!(known.learnt.borrow().len(), PARTS + 4);
    assert_eq!(known.verified.get(), PARTS + 4, "the last link twice, because it was forged the first time");
}

/// A root with a bad signature that is known all the same: only who does not look again takes it.
#[test]
fn a_known_beginning_costs_no_verification() {
    let mut links = raw_chain(3);
    let at = links[0].signature.len() - 1;
    links[0].signature[at] ^= 1;
    let bytes = presentation(&links);
    let known = Known::default();
    assert!(matches!(verify_under(&bytes, Some(&known)), Err(Unauthenticated::RootSignature { .. })));
    assert_eq!(known.learnt.borrow().len(), 1, "a signature of the root is good");
    // The longest is asked for first.
    let root = known.asked.borrow()[2];
    known.learn(root);
    known.verified.set(0);
    assert!(verify_under(&bytes, Some(&known)).is_ok());
    assert_eq!((known.learnt.borrow().len(), known.verified.get()), (4, 2));
}

/// Signatures of strangers under the root make no new beginning of a known one.
#[test]
fn a_root_with_strangers_is_the_beginning_that_is_known() {
    let known = Known::default();
    verify_under(&presentation(&raw_chain(2)), Some(&known)).unwrap();
    let mut links = raw_chain(2);
    links[0] = sign_root(links[0].payload.clone(), &[ISSUERS[0], ISSUERS[1], STRANGER]);
    let bytes = presentation(&links);
    assert_ne!(bytes, presentation(&raw_chain(2)));
    assert!(verify_under(&bytes, Some(&known)).is_ok());
    assert_eq!(known.learnt.borrow().len(), PARTS + 2, "nothing new was learnt");
    let known_as = |bytes: &[u8]| RawPresentation::parse(bytes).unwrap().known_as(&MESH, &issuers());
    assert_eq!(known_as(&bytes), known_as(&presentation(&raw_chain(2))), "nor is it another chain");
}

/// Whichever signature is forged in a copy of what is known: that one is verified, and no other.
#[test]
fn a_forged_signature_costs_one_verification() {
    let honest = presentation(&raw_chain(3));
    let known = Known::default();
    verify_under(&honest, Some(&known)).unwrap();
    let mut forgeries = 0;
    for (link, raw) in raw_chain(3).iter().enumerate() {
        for at in 0..raw.signature.len() {
            let mut links = raw_chain(3);
            links[link].signature[at] ^= 1;
            let Ok(raw) = RawPresentation::parse(&presentation(&links)) else { continue };
            known.verified.set(0);
            let chain = raw.verify_beyond(&MESH, &issuers(), Some(&known));
            // Where a kid was changed, a signature does not count any more, and too few are left.
            let expected = usize::from(!matches!(chain, Err(Unauthenticated::Minority { .. })));
            assert!(chain.is_err(), "link {link}, byte {at}");
            assert_eq!(known.verified.get(), expected, "link {link}, byte {at}");
            forgeries += expected;
        }
    }
    assert!(forgeries >= 64 * 3, "{forgeries}");
}

/// Warm and cold are one: whatever is changed, and wherever, knowing the honest chain changes no verdict.
#[test]
fn knowing_the_honest_chain_changes_no_verdict_about_any_other() {
    let honest = presentation(&raw_chain(3));
    let known = Known::default();
    verify_under(&honest, Some(&known)).unwrap();
    let (mut refused, mut taken) = (0, 0);
    for at in 0..honest.len() {
        let mut changed = honest.clone();
        changed[at] ^= 1;
        if RawPresentation::parse(&changed).is_err() {
            continue;
        }
        let cold = verify_under(&changed, None);
        assert_eq!(verify_under(&changed, Some(&known)), cold, "byte {at}");
        *if cold.is_ok() { &mut taken } else { &mut refused } += 1;
    }
    assert!(refused > 300, "{refused} refused, {taken} taken");
    for links in 1..=2 {
        assert!(verify_under(&presentation(&raw_chain(links)), Some(&known)).is_ok(), "{links} links");
    }
}
