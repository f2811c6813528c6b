use proptest::prelude::*;

use super::*;

fn fault_of(document: &str, mode: Mode) -> Option<JsonFault> {
    parse(document.as_bytes(), mode).err().map(|error| error.fault)
}

/// Clauses P-1 and P-2.
#[test]
fn what_two_readers_could_read_differently_is_refused() {
    let check = |document: &str, expected: JsonFault| {
        assert_eq!(fault_of(document, Mode::Arguments), Some(expected), "{document}");
    };
    check(r#"{"a":1,"a":2}"#, JsonFault::DuplicateKey);
    check(r#"{"a":1,"\u0061":2}"#, JsonFault::DuplicateKey);
    check(r#"{"x":[{"b":1,"a":1,"b":2}]}"#, JsonFault::DuplicateKey);
    check(r#"{"customer_id":1,"customerId":2}"#, JsonFault::FoldedKey);
    check(r#"{"a-b":1,"A_B":2}"#, JsonFault::FoldedKey);
    check(r#"{"sp ace":1}"#, JsonFault::KeyAlphabet);
    check(r#"{"ünicode":1}"#, JsonFault::KeyAlphabet);
    check(r#"{"":1}"#, JsonFault::KeyAlphabet);
    check(r#"{"a/b":1}"#, JsonFault::KeyAlphabet);
    check(r#""\ud800""#, JsonFault::LoneSurrogate);
    check(r#""\ud800x""#, JsonFault::LoneSurrogate);
    check(r#""\ud800\u0041""#, JsonFault::LoneSurrogate);
    check(r#""\udc00\ud800""#, JsonFault::LoneSurrogate);
    check(r#""a\u0000b""#, JsonFault::NulCharacter);
    check("\"a\0b\"", JsonFault::NulCharacter);
    check(r#"{"a\u0000":1}"#, JsonFault::NulCharacter);
    check("9007199254740992", JsonFault::LossyNumber);
    check("[1e400]", JsonFault::LossyNumber);
    check("0.1000000000000000000001", JsonFault::LossyNumber);
}

/// Clause P-1.
#[test]
fn what_is_not_json_is_refused() {
    let check = |document: &str, expected: JsonFault| {
        assert_eq!(fault_of(document, Mode::Protocol), Some(expected), "{document}");
    };
    for early in
        ["", "  ", "[", "[1", "[1,", "{", "{\"a\"", "{\"a\":", "\"a", "\"\\", "\"\\u00", "tru", "-", "1.", "1e"]
    {
        check(early, JsonFault::Truncated);
    }
    for bad in [
        "[1,]",
        "{\"a\":1,}",
        "{a:1}",
        "{1:1}",
        "01",
        "+1",
        ".5",
        "1.e3",
        "0x10",
        "NaN",
        "Infinity",
        "'a'",
        "[1 2]",
        "\"\u{1}\"",
        "\"\\x\"",
        "\"\\u00g0\"",
        "truely",
        "nul!",
        "/* */ 1",
        "\u{feff}1",
        "--1",
        "1-1",
    ] {
        let fault = fault_of(bad, Mode::Protocol);
        assert!(matches!(fault, Some(JsonFault::Syntax | JsonFault::TrailingBytes)), "{bad}: {fault:?}");
    }
    check("1 2", JsonFault::TrailingBytes);
    check("{}{}", JsonFault::TrailingBytes);
    assert_eq!(parse(b"\"\xff\"", Mode::Protocol).map_err(|error| error.fault), Err(JsonFault::NotUtf8));
}

#[test]
fn depth_and_size_are_bounded() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(fault_of(&nested(32), Mode::Arguments), None);
    assert_eq!(fault_of(&nested(33), Mode::Arguments), Some(JsonFault::TooDeep));
    assert_eq!(fault_of(&"[".repeat(1_000_000), Mode::Arguments), Some(JsonFault::TooDeep));
    let many = format!("[{}0]", "0,".repeat(crate::limits::JSON_VALUES_MAX));
    assert_eq!(fault_of(&many, Mode::Arguments), Some(JsonFault::TooManyValues));
}

/// Clause P-3.
#[test]
fn a_message_may_name_its_own_members_as_the_protocol_does() {
    let meta = r#"{"params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
    assert_eq!(fault_of(meta, Mode::Protocol), None);
    assert_eq!(fault_of(meta, Mode::Arguments), Some(JsonFault::KeyAlphabet));
    assert_eq!(fault_of(r#"{"method":"a","Method":"b"}"#, Mode::Protocol), Some(JsonFault::FoldedKey));
    assert_eq!(fault_of(r#"{"id":1e999}"#, Mode::Protocol), Some(JsonFault::LossyNumber));
    for later in [
        r#"{"params":{"arguments":{"aB":1e999,"ab":1}}}"#,
        r#"{"result":{"structuredContent":{"a_b":12345678901234567890,"ab":1}}}"#,
    ] {
        assert_eq!(fault_of(later, Mode::Protocol), None, "{later}");
    }
    let twice = r#"{"params":{"arguments":{"a":1,"a":1}}}"#;
    assert_eq!(fault_of(twice, Mode::Protocol), Some(JsonFault::DuplicateKey));
}

/// Clause P-3.
#[test]
fn below_a_free_pointer_names_and_numbers_are_free() {
    let document = br#"{"id":"x","note":{"A b":1,"a_B":2,"ab":12345678901234567890123}}"#;
    let message = [br#"{"params":{"arguments":"#.as_slice(), document, b"}}"].concat();
    let arguments = parse(&message, Mode::Protocol)
        .ok()
        .and_then(|json| json.get("params").and_then(|params| params.get("arguments")).cloned())
        .expect("structure is sound");
    let free = ["/note".parse::<Pointer>().expect("a pointer")];
    assert_eq!(check(&arguments, Mode::Arguments, &free), Ok(()));
    assert!(check(&arguments, Mode::Arguments, &[]).is_err());
    assert_eq!(encode(&arguments), document, "what is free travels as it was written");
}

#[test]
fn a_fault_says_where_it_is() {
    let error = parse(br#"{"a":[{"b":1},{"b":1e999}]}"#, Mode::Arguments).expect_err("lossy");
    assert_eq!(error.to_string(), "a number that does not survive a double at `/a/1/b`");
    let error = parse(b"[1,x]", Mode::Arguments).expect_err("no value");
    assert_eq!(error.to_string(), "a syntax error at byte 3");
}

/// Clause P-4.
#[test]
fn encoding_is_compact_and_keeps_order() {
    let json = parse(br#" { "b" : [ 1 , 2.50 , "\u00e9\ud83d\ude00\/\n\u0001" ] , "a" : { } } "#, Mode::Arguments);
    let expected = "{\"b\":[1,2.5,\"é😀/\\n\\u0001\"],\"a\":{}}";
    assert_eq!(json.map(|json| encode_text(&json)), Ok(expected.to_owned()));
}

/// Clauses P-13 and P-18.
#[test]
fn a_pointer_yields_the_set_of_all_values_it_can_reach() {
    let json = parse(
        br#"{"id":"a","ids":["b",["c"]],"items":[{"id":"d"},{"id":["e","f"]},{}],"map":{"x":{"id":"g"}},"none":[],"a/b~c":1}"#,
        Mode::Protocol,
    )
    .expect("a document");
    let check = |pointer: &str, expected: Option<&[&str]>| {
        let pointer: Pointer = pointer.parse().expect("a pointer");
        let values = pointer.values(&json);
        let texts = values.map(|values| values.into_iter().filter_map(Json::as_text).collect::<Vec<_>>());
        assert_eq!(texts.as_deref(), expected, "{pointer}");
    };
    check("/id", Some(&["a"]));
    check("/ids", Some(&["b", "c"]));
    check("/ids/0", Some(&["b"]));
    check("/items/*/id", Some(&["d", "e", "f"]));
    check("/map/*/id", Some(&["g"]));
    check("/none", Some(&[]));
    check("/absent", None);
    check("/id/deeper", None);
    let escaped: Pointer = "/a~1b~0c".parse().expect("a pointer");
    assert_eq!(escaped.values(&json), Some(vec![&Json::Int(1)]));
    assert_eq!(escaped.to_string(), "/a~1b~0c");
    for bad in ["a", "a/b", "/a~", "/a~2"] {
        assert!(bad.parse::<Pointer>().is_err(), "{bad}");
    }
}

/// Documents as they are written, so that escapes, spaces, odd numbers and repeated keys all occur.
fn document() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        (-1000i64..1000).prop_map(|n| n.to_string()),
        any::<f64>().prop_filter("finite", |f| f.is_finite()).prop_map(|f| format!("{f:e}")),
        (-1e15f64..1e15).prop_map(|f| format!("{f:?}")),
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?",
    ];
    let text = prop_oneof![
        "[a-zA-Z_-]{0,3}",
        any::<String>().prop_map(|text| encode_text(&Json::Text(text)).trim_matches('"').to_owned()),
        "(\\\\u[0-9a-fA-F]{4}|\\\\[nrtbf/\\\\]|[a-z]){0,4}",
    ]
    .prop_map(|text| format!("\"{text}\""));
    let leaf =
        prop_oneof![Just("null".to_owned()), Just("true".to_owned()), Just("false".to_owned()), number, text.clone()];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|values| format!("[{}]", values.join(" ,"))),
            prop::collection::vec((text.clone(), inner), 0..5).prop_map(|members| {
                let members: Vec<String> = members.iter().map(|(key, value)| format!("{key}: {value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes, Mode::Arguments);
        let _ = parse(&bytes, Mode::Protocol);
    }

    #[test]
    fn no_mutation_of_a_document_makes_the_parser_panic(
        text in document(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = text.into_bytes();
        let position = at.index(bytes.len());
        bytes[position] = byte;
        bytes.truncate(cut.index(bytes.len()) + 1);
        let _ = parse(&bytes, Mode::Protocol);
    }

    #[test]
    fn what_is_accepted_reads_the_same_after_encoding(text in document()) {
        for mode in [Mode::Protocol, Mode::Arguments] {
            if let Ok(json) = parse(text.as_bytes(), mode) {
                prop_assert_eq!(parse(&encode(&json), mode), Ok(json));
            }
        }
    }

    /// serde_json is another reader of the same bytes, and of what we write.
    #[test]
    fn what_is_accepted_another_reader_reads_the_same(text in document()) {
        if let Ok(json) = parse(text.as_bytes(), Mode::Arguments) {
            let theirs: serde_json::Value = serde_json::from_str(&text).expect("accepted by us, hence JSON");
            prop_assert!(is_same(&serde_json::Value::from(&json), &theirs), "{json:?} and {theirs}");
            let again: serde_json::Value = serde_json::from_slice(&encode(&json)).expect("written by us");
            prop_assert!(is_same(&again, &theirs), "{again} and {theirs}");
        }
    }

    #[test]
    fn what_is_not_json_is_not_accepted(text in document()) {
        if serde_json::from_str::<serde_json::Value>(&text).is_err() {
            prop_assert!(parse(text.as_bytes(), Mode::Protocol).is_err());
        }
    }
}

/// Equal, where doubles may differ by the last three bits: that reader rounds fast rather than right, most of all near
/// the ends of the range.
fn is_same(left: &serde_json::Value, right: &serde_json::Value) -> bool {
    use serde_json::Value;
    match (left, right) {
        (Value::Number(left), Value::Number(right)) if left.is_f64() && right.is_f64() => {
            let bits = |number: &serde_json::Number| number.as_f64().unwrap_or(f64::NAN).to_bits();
            bits(left).abs_diff(bits(right)) <= 8
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| is_same(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left.iter().zip(right).all(|((l, left), (r, right))| l == r && is_same(left, right))
        }
        _ => left == right,
    }
}

#[test]
fn the_generated_documents_are_not_all_refused() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let accepted = (0..400)
        .filter(|_| {
            let tree = document().new_tree(&mut runner).expect("a document");
            parse(tree.current().as_bytes(), Mode::Arguments).is_ok()
        })
        .count();
    assert!(accepted > 80, "{accepted} of 400 accepted");
}
