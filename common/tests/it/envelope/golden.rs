//! The bytes of the format. A change here is a change of what every edge, voter and agent must agree on.

use remit_common::lattice::Grade;
use remit_common::text::hex;

use super::fixture::{HOLDERS, ISSUED, chain, full_chain, key, presentation, raw_chain, root, verify};

/// Clauses E-1 to E-8: a root of two grants, signed by two of three issuers.
const ROOT: &str = include_str!("golden/root.hex");
/// Clauses E-1 to E-8 and E-11: that root and three hops.
const FOUR_LINKS: &str = include_str!("golden/four-links.hex");
/// Clauses E-3 and E-5: every key of a link and of a grant.
const FULL: &str = include_str!("golden/everything.hex");

#[test]
fn a_root_and_a_four_link_presentation_have_these_bytes() {
    for (bytes, golden) in [(root(), ROOT), (chain(4), FOUR_LINKS)] {
        let lines: String = golden.lines().collect();
        assert_eq!(hex(&bytes), lines);
    }
}

/// Clauses E-3 and E-5: a root and a hop that say everything there is to say. The bytes are those of the second writer;
/// the first one reads them and, as each decoded link is encoded anew and compared, writes them too.
#[test]
fn links_that_say_everything_have_these_bytes() -> anyhow::Result<()> {
    let bytes = presentation(&full_chain());
    let lines: String = FULL.lines().collect();
    assert_eq!(hex(&bytes), lines);
    let effective = verify(&bytes)?.effective();
    assert_eq!((effective.depth_left, effective.fanout_max, effective.offline), (2, 300, true));
    assert_eq!(effective.demands.min_pop, Grade::P1);
    assert!(effective.audience.admits(&"us-east".parse()?, &"us-east-1".parse()?));
    let grant = effective.scope.grant(0).expect("the same twice is the same");
    assert_eq!((grant.pins.len(), grant.args.len(), grant.maxima.len(), grant.future), (2, 5, 2, true));
    Ok(())
}

/// The description of the format, written a second time, gives the same bytes.
#[test]
fn the_second_writer_agrees() {
    for links in 1..=4 {
        assert_eq!(hex(&presentation(&raw_chain(links))), hex(&chain(links)), "{links} links");
    }
}

/// Clause E-7: the id of a link covers what was signed and not the signature.
#[test]
fn link_ids_are_hashes_of_what_was_signed() -> anyhow::Result<()> {
    let links = raw_chain(4);
    let effective = verify(&presentation(&links))?.effective();
    let expected: Vec<_> = links.iter().map(|link| link.id()).collect();
    assert_eq!(effective.links().iter().map(|id| id.0).collect::<Vec<_>>(), expected);
    assert_eq!(expected[0].to_string(), "fe660d0749946b4670bc8540337c9538ece42820223e3a71bad114bde5789a5a");
    assert_eq!(expected[3].to_string(), "6ec0173f78a026000b9f1f03d2239d0ca70a6b3129b0dc78e2dcede36bd7d754");
    let holders: Vec<_> = HOLDERS[..4].iter().map(|seed| key(*seed).public().id()).collect();
    assert_eq!(effective.holders(), holders);
    assert_eq!((effective.chain_depth, effective.depth_left), (4, 0));
    assert_eq!(effective.expires.as_secs(), ISSUED + 601);
    Ok(())
}
