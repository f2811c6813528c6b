use proptest::prelude::*;

use super::super::fixture::{key, role};
use super::*;
use crate::limits::SIGNATURES_MAX;

const TYPE: &str = "application/vnd.remit.test.v1+json";

fn two_of_three() -> Role {
    Role::new("test", &role(&[1, 2, 3], 2)).unwrap()
}

fn signed(seeds: &[u8]) -> Envelope {
    let mut envelope = Envelope::new(TYPE, b"{}".to_vec());
    for seed in seeds {
        envelope.sign(&key(*seed));
    }
    envelope
}

fn check(envelope: &Envelope, expected: Result<(), usize>) {
    let expected = expected.map_err(|found| NotVerified::NotEnoughSignatures { found, needed: 2 });
    assert_eq!(envelope.verify(TYPE, &two_of_three()).map(|_| ()), expected, "{envelope:?}");
}

#[test]
fn encodes_the_standards_example() {
    // Clause T-2.
    // The example of the DSSE protocol document.
    assert_eq!(
        pae("http://example.com/HelloWorld", b"hello world"),
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    );
}

#[test]
fn wrong_threshold_is_refused() {
    // Clause T-3.
    check(&signed(&[1, 3]), Ok(()));
    check(&signed(&[1, 2, 3, 9]), Ok(()));
    check(&signed(&[1, 9]), Err(1));
    check(&signed(&[8, 9]), Err(0));
    check(&signed(&[]), Err(0));
}

#[test]
fn one_key_twice_counts_once() {
    // Clause T-3.
    check(&signed(&[1, 1]), Err(1));
    let mut twice = signed(&[1]);
    twice.signatures.push(twice.signatures[0]);
    check(&twice, Err(1));
    // The same key under the id of another: the id says whose signature it claims to be, and it is not.
    let mut renamed = signed(&[1]);
    renamed.signatures.push(DsseSignature { keyid: key(2).public().id(), ..renamed.signatures[0] });
    check(&renamed, Err(1));
}

#[test]
fn duplicate_key_ids_are_malformed_however_they_are_spelled() {
    // Clause T-1.
    let one = signed(&[1]);
    let text = String::from_utf8(one.to_bytes()).unwrap();
    let start = text.find("{\"keyid\"").unwrap();
    let entry = text[start..].trim_end_matches("]}").to_owned();
    let id = key(1).public().id().to_string();
    let with = |second: &str| text.replace("]}", &format!(",{second}]}}"));
    for second in [
        entry.clone(),
        entry.replace(&id, &id.to_uppercase()),
        entry.replace(&id, &format!("0x{id}")),
        entry.replace(&id, &format!(" {id}")),
        entry.replace(&id, ""),
    ] {
        assert!(Envelope::parse(with(&second).as_bytes()).is_err(), "{second}");
    }
}

#[test]
fn a_signature_is_for_one_type_and_one_payload() {
    let good = signed(&[1, 2]);
    let role = two_of_three();
    assert_eq!(good.verify(TYPE, &role), Ok(&b"{}"[..]));
    assert_eq!(good.verify("application/vnd.remit.root.v1+json", &role), Err(NotVerified::WrongType));
    let retyped = Envelope { payload_type: "application/vnd.remit.root.v1+json".to_owned(), ..good.clone() };
    let expected = NotVerified::NotEnoughSignatures { found: 0, needed: 2 };
    assert_eq!(retyped.verify("application/vnd.remit.root.v1+json", &role), Err(expected));
    check(&Envelope { payload: b"{ }".to_vec(), ..good }, Err(0));
}

#[test]
fn the_order_of_signing_does_not_show() {
    assert_eq!(signed(&[1, 2, 3]).to_bytes(), signed(&[3, 1, 2, 1]).to_bytes());
}

#[test]
fn the_json_form_is_golden() {
    // Clause T-1.
    let text = String::from_utf8(signed(&[1]).to_bytes()).unwrap();
    assert_eq!(
        text,
        "{\"payload\":\"e30=\",\"payloadType\":\"application/vnd.remit.test.v1+json\",\"signatures\":[{\"keyid\":\
         \"34750f98bd59fcfc946da45aaabe933be154a4b5094e1c4abf42866505f3c97e\",\"sig\":\"dbAR/tpXXAf5l2z8y3G8GW2Kf21LcbR0eGOMDNt15BXaEph5qjjhLKk4iH1JP2wkJB+263BkmOzgppx+BVdbBQ==\"}]}"
    );
}

#[test]
fn what_is_not_one_spelling_is_malformed() {
    // Clause T-1.
    let good = String::from_utf8(signed(&[1, 2]).to_bytes()).unwrap();
    assert_eq!(Envelope::parse(good.as_bytes()), Ok(signed(&[1, 2])));
    for bad in [
        good.replace("\"e30=\"", "\"e30\""),
        good.replace("\"e30=\"", "\"e31=\""),
        good.replace("\"e30=\"", "\"e30=\\n\""),
        good.replace("\"payloadType\"", "\"payloadtype\""),
        good.replace("\"payload\":", "\"payload\":\"e30=\",\"payload\":"),
        good.replacen('{', "{\"extra\":0,", 1),
        good.replace("test.v1", "test v1"),
        format!("{good}{good}"),
        format!("{good}x"),
        String::new(),
    ] {
        assert!(Envelope::parse(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn endless_data_is_refused_before_it_is_read() {
    // Clause T-1.
    let many = signed(&(1..=17).collect::<Vec<_>>());
    assert_eq!(many.signatures.len(), SIGNATURES_MAX + 1);
    assert!(Envelope::parse(&many.to_bytes()).is_err());
    let long = Envelope::new(TYPE, vec![b' '; DOCUMENT_BYTES_MAX]);
    assert_eq!(Envelope::parse(&long.to_bytes()), Err(MalformedDocument { rule: "a document is at most 1 MiB" }));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Envelope::parse(&bytes).is_err());
    }

    #[test]
    fn reads_back_what_it_wrote(payload in proptest::collection::vec(any::<u8>(), 0..200), seeds in proptest::collection::vec(0u8..9, 0..6)) {
        let mut envelope = Envelope::new(TYPE, payload);
        for seed in seeds {
            envelope.sign(&key(seed));
        }
        prop_assert_eq!(Envelope::parse(&envelope.to_bytes()), Ok(envelope));
    }

    #[test]
    fn a_mutation_never_adds_a_signature(at in any::<proptest::sample::Index>(), byte: u8) {
        let good = signed(&[1, 2]);
        let mut bytes = good.to_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(envelope) = Envelope::parse(&bytes)
            && envelope.verify(TYPE, &two_of_three()).is_ok()
        {
            prop_assert_eq!(envelope, good);
        }
    }
}
