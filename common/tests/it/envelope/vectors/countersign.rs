//! Countersignatures beside a chain: what is evidence that a hop was registered, and what is none. Clauses E-30, E-31.

use remit_common::text::hex;
use serde_json::{Value, json};

use super::super::fixture::*;
use super::vector::{Meant, Vector};

const EDGE: u8 = 31;
const OTHER_EDGE: u8 = 33;

/// What the directory lists of edges.
pub(super) fn edges() -> Value {
    let listed = |id: &str, region: &str, seed: u8| json!({"id": id, "region": region, "key": hex(key(seed).public().as_bytes())});
    json!([listed("eu-west-1", "eu-west", EDGE), listed("us-east-1", "us-east", OTHER_EDGE)])
}

/// A statement about a link, as clause E-30 has it, any of it changed by tests.
#[derive(Clone)]
struct Said {
    fields: Fields,
    typ: &'static str,
    label: &'static [u8],
    signer: u8,
    kid: u8,
}

impl Said {
    fn of(link: &RawLink) -> Self {
        let fields = Fields::from([
            (1, V::B(link.id().0.to_vec())),
            (2, t("eu-west-1")),
            (3, t("eu-west")),
            (4, V::U(ISSUED + 2)),
            (5, V::U(ISSUED + 601)),
            (6, V::B(vec![0xbb; 32])),
            (7, V::B(vec![0xdd; 16])),
        ]);
        Self { fields, typ: "remit-countersign+cbor", label: b"remit/countersign/v1", signer: EDGE, kid: EDGE }
    }

    fn with(mut self, key: u64, value: V) -> Self {
        self.fields.insert(key, value);
        self
    }

    fn value(&self) -> V {
        let header = vec![(1, V::I(-19)), (4, V::B(kid(self.kid))), (16, t(self.typ))];
        let (protected, payload) = (m(header).encode(), payload(&self.fields));
        let aad = [self.label, &MESH.0].concat();
        let signing = V::A(vec![t("Signature1"), V::B(protected.clone()), V::B(aad), V::B(payload.clone())]).encode();
        let signature = key(self.signer).sign(&signing).0.to_vec();
        V::A(vec![V::B(protected), V::M(Vec::new()), V::B(payload), V::B(signature)])
    }
}

fn beside(links: &[RawLink], third: V) -> Vec<u8> {
    V::A(vec![V::U(1), V::A(links.iter().map(RawLink::value).collect()), third]).encode()
}

pub(super) fn vectors() -> Vec<Vector> {
    let links = raw_chain(3);
    let honest = |hop: usize| Said::of(&links[hop]);
    let good = |name: &str, description: &str, first: &Said| {
        let third = m(vec![(1, first.value()), (2, honest(2).value())]);
        let name = format!("accept-countersigned{name}");
        Vector::envelope(&name, "E-30 E-31", description, Meant::Accepted, &beside(&links, third))
    };
    let bad = |name: &str, description: &str, third: V| {
        let meant = Meant::Refused("malformed", Value::Null);
        let name = format!("reject-countersigned-{name}");
        Vector::envelope(&name, "E-1 E-30", description, meant, &beside(&links, third))
    };
    let one = |said: Said| m(vec![(1, said.value())]);
    let changed = |change: fn(&mut Said)| {
        let mut said = honest(1);
        change(&mut said);
        said
    };
    let leases = V::A(vec![V::B(vec![1; 16]), V::B(vec![2; 16])]);
    let many_leases = V::A(vec![V::B(vec![1; 16]); 17]);
    let mut unprotected = honest(1).value();
    if let V::A(items) = &mut unprotected {
        items[1] = V::M(vec![(V::I(1), V::I(-19))]);
    }
    let another = |hop: usize| (1, honest(hop).value());
    let none = "The first countersignature is no evidence: ";
    vec![
        good("", "Two hops, both countersigned by an edge that the directory lists.", &honest(1)),
        good("-with-leases", "The first names leases.", &honest(1).with(8, leases)),
        good("-by-a-stranger", &format!("{none}another key signed it."), &changed(|said| said.signer = STRANGER)),
        good("-other-kid", &format!("{none}it names another key."), &changed(|said| said.kid = STRANGER)),
        good("-other-link", &format!("{none}it is about another link."), &honest(2)),
        good("-other-edge", &format!("{none}nobody lists the edge."), &honest(1).with(2, t("eu-west-9"))),
        good("-other-region", &format!("{none}the edge is in another region."), &honest(1).with(3, t("us-east"))),
        good("-ended", &format!("{none}it has ended."), &honest(1).with(5, V::U(ISSUED + 60))),
        good(
            "-other-label",
            &format!("{none}it was signed as a link."),
            &changed(|said| said.label = b"remit/link/v1"),
        ),
        bad("root", "A countersignature of the root.", m(vec![(0, honest(1).value())])),
        bad("beyond", "A countersignature of a link that is not there.", m(vec![(3, honest(1).value())])),
        bad("nothing", "No countersignature where there should be some.", V::M(Vec::new())),
        bad("order", "The second hop's before the first's.", m(vec![(2, honest(2).value()), another(1)])),
        bad("twice", "The first hop's twice.", m(vec![another(1), another(1)])),
        bad("wrong-typ", "A header of another type.", one(changed(|said| said.typ = "remit-link+cbor"))),
        bad("unknown-key", "Key 9.", one(honest(1).with(9, V::U(0)))),
        bad("without-decision", "No decision.", one(changed(|said| drop(said.fields.remove(&7))))),
        bad("many-leases", "Seventeen leases.", one(honest(1).with(8, many_leases))),
        bad(
            "long-integer",
            "A time in nine bytes.",
            one(honest(1).with(4, V::Raw([&[0x1b], &ISSUED.to_be_bytes()[..]].concat()))),
        ),
        bad("unprotected", "An algorithm in the unprotected header.", m(vec![(1, unprotected)])),
    ]
}
