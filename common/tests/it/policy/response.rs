//! What is released of a result: nothing without a permitted class, never too many records, nothing twice.
//! Clauses P-20 to P-24.

use std::sync::Arc;

use proptest::prelude::*;
use remit_common::id::{ToolName, UpstreamName};
use remit_common::lattice::{ClassSet, Demands, Effect, Effects, Redact};
use remit_common::policy::json::{Json, Mode, encode_text, parse};
use remit_common::policy::response::{TOOL_ERROR_TEXT, UNCLASSIFIED_TEXT, UnusableResult, filter};
use remit_common::policy::{Filtered, Obligations, Tool};
use remit_common::proof::Grade;

use super::{compiled, example};

fn json(text: &str) -> Json {
    parse(text.as_bytes(), Mode::Protocol).expect("JSON")
}

fn contracts() -> Arc<Tool> {
    compiled(&example()).catalogue().tools["contracts.read"].clone()
}

fn limits(max_records: Option<u64>, classes: &[u8]) -> Obligations {
    Obligations { max_records, classes: ClassSet::from_iter(classes.iter().copied()), demands: Demands::NONE }
}

fn text_of(filtered: &Filtered, block: usize) -> String {
    let blocks = filtered.json.get("content").and_then(Json::as_array).expect("content");
    blocks[block].get("text").and_then(Json::as_text).expect("text").to_owned()
}

const RESULT: &str = r#"{
    "content": [{"type":"text","text":"everything, the IBAN DE89 too"},{"type":"image","data":"…","mimeType":"image/png"}],
    "structuredContent": {"contracts": [
        {"contract_id":"c1","title":"A","terms":{"ends_on":"2027"},"billing":{"iban":"DE89"},"internal_margin_percent":21},
        {"contract_id":"c2","Title":"renamed","terms":{"ends_on":"2028"},"billing":{"iban":"DE90"}},
        {"contract_id":"c3","terms":null,"extra":{"contract_id":"hidden"}}
    ], "total": 40, "contractz": [{"contract_id":"c4"}]},
    "_meta": {"note":"DE89"}, "resultType": "complete"
}"#;

#[test]
fn fields_without_a_permitted_class_are_dropped_and_content_is_written_anew() {
    let filtered = filter(&contracts(), &json(RESULT), &limits(Some(25), &[1, 2, 3])).expect("usable");
    let expected = r#"{"contracts":[{"contract_id":"c1","title":"A","terms":{"ends_on":"2027"}},{"contract_id":"c2","terms":{"ends_on":"2028"}},{"contract_id":"c3","terms":null}]}"#;
    assert_eq!(encode_text(filtered.json.get("structuredContent").expect("structured")), expected);
    assert_eq!(text_of(&filtered, 0), expected);
    let whole = encode_text(&filtered.json);
    for leak in ["DE89", "DE90", "renamed", "hidden", "c4", "40", "image", "everything", "21", "_meta"] {
        assert!(!whole.contains(leak), "{leak} in {whole}");
    }
    let figures = filtered.figures;
    assert_eq!((figures.records_before, figures.records_released), (3, 3));
    assert_eq!(figures.fields_dropped, 7, "billing twice, margin, Title, extra, total, contractz");
    assert_eq!(usize::try_from(figures.bytes), Ok(whole.len()));
}

/// Clause E-29: an envelope withholds what has no class, whatever the descriptor leaves open.
#[test]
fn an_envelope_can_close_what_a_descriptor_leaves_open() {
    let closed = |limits: Obligations| Obligations {
        demands: Demands { redact: Redact { unclassified: true }, ..Demands::NONE },
        ..limits
    };
    let open = Tool { open: true, ..(*contracts()).clone() };
    let usual = filter(&open, &json(RESULT), &limits(Some(25), &[1, 2, 3])).expect("usable");
    assert!(encode_text(&usual.json).contains("renamed"), "without the demand the tool is open");
    let withheld = filter(&open, &json(RESULT), &closed(limits(Some(25), &[1, 2, 3]))).expect("usable");
    let strict = filter(&contracts(), &json(RESULT), &limits(Some(25), &[1, 2, 3])).expect("usable");
    assert_eq!(withheld, strict);

    let plain = Tool { classes: Vec::new(), records: None, ..open };
    let result = json(r#"{"content":[{"type":"text","text":"the IBAN DE89"}],"structuredContent":{"iban":"DE89"}}"#);
    let passed = filter(&plain, &result, &limits(None, &[1])).expect("usable");
    assert!(encode_text(&passed.json).contains("DE89"));
    let withheld = filter(&plain, &result, &closed(limits(None, &[1]))).expect("usable");
    assert!(!encode_text(&withheld.json).contains("DE89"));
    assert_eq!((text_of(&withheld, 0).as_str(), withheld.figures.fields_dropped), (UNCLASSIFIED_TEXT, 1));

    let error = json(r#"{"content":[{"type":"text","text":"no row DE89"}],"isError":true}"#);
    assert!(encode_text(&filter(&plain, &error, &limits(None, &[1])).expect("usable").json).contains("DE89"));
    let withheld = filter(&plain, &error, &closed(limits(None, &[1]))).expect("usable");
    assert_eq!(text_of(&withheld, 0), TOOL_ERROR_TEXT);
}

#[test]
fn records_are_cut_and_the_cut_is_announced() {
    let filtered = filter(&contracts(), &json(RESULT), &limits(Some(2), &[1])).expect("usable");
    let expected = r#"{"contracts":[{"contract_id":"c1","title":"A"},{"contract_id":"c2"}]}"#;
    assert_eq!(text_of(&filtered, 0), expected);
    assert_eq!(text_of(&filtered, 1), "Cut at 2 records, the most that the envelope allows.");
    assert_eq!(encode_text(filtered.json.get("_meta").expect("announced")), r#"{"remit/cut":{"records":2}}"#);
    assert_eq!((filtered.figures.records_before, filtered.figures.records_released), (3, 2));

    let silent = filter(&contracts(), &json(RESULT), &limits(None, &[1])).expect("usable");
    assert_eq!(text_of(&silent, 0), r#"{"contracts":[]}"#, "a grant that says nothing of records releases none");
}

#[test]
fn a_tool_cannot_get_round_the_list_of_records() {
    let tool = contracts();
    let check = |structured: &str| {
        let result = json(&format!(r#"{{"content":[],"structuredContent":{structured}}}"#));
        filter(&tool, &result, &limits(Some(25), &[1, 2, 3])).map_err(|error| error.to_string())
    };
    for not_a_list in [
        r#"{"contracts":{"a":{"contract_id":"c"}}}"#,
        r#"{"contracts":"c1, c2"}"#,
        r#"{"contracts":[[{"contract_id":"c"}]]}"#,
    ] {
        assert_eq!(check(not_a_list), Err("something else than a list of records at `/contracts`".to_owned()));
    }
    // A name that is data has no class.
    let named = check(r#"{"contracts":[{"terms":{"DE89":1}}],"DE90":[]}"#).expect("usable");
    assert_eq!(text_of(&named, 0), r#"{"contracts":[{"terms":{"DE89":1}}]}"#, "inside a class names are free");
}

#[test]
fn a_star_stands_for_elements_of_a_list_and_not_for_names() {
    let tool = Tool {
        classes: vec![("/people/*/city".parse().expect("pointer"), 1)],
        records: None,
        ..(*contracts()).clone()
    };
    let result = json(r#"{"content":[],"structuredContent":{"people":{"Maya.Rao":{"city":"Lyon"}}}}"#);
    let filtered = filter(&tool, &result, &limits(None, &[1])).expect("usable");
    assert_eq!(text_of(&filtered, 0), r#"{"people":{}}"#);
}

#[test]
fn the_nearest_class_decides() {
    let pointer = |text: &str| text.parse().expect("pointer");
    let classes = vec![
        (pointer("/a"), 1),
        (pointer("/a/secret"), 2),
        (pointer("/a/secret/open"), 1),
        (pointer("/b/*"), 1),
        (pointer("/b/0"), 2),
    ];
    let tool = Tool { classes, records: None, ..(*contracts()).clone() };
    let result = json(r#"{"content":[],"structuredContent":{"a":{"x":1,"secret":{"y":2,"open":3}},"b":[4,5]}}"#);
    let released = |classes: &[u8]| text_of(&filter(&tool, &result, &limits(None, classes)).expect("usable"), 0);
    assert_eq!(released(&[1]), r#"{"a":{"x":1,"secret":{"open":3}},"b":[5]}"#, "both classes of an element count");
    assert_eq!(released(&[2]), r#"{"a":{"secret":{"y":2}},"b":[]}"#);
    assert_eq!(released(&[1, 2]), r#"{"a":{"x":1,"secret":{"y":2,"open":3}},"b":[4,5]}"#);
    assert_eq!(released(&[]), r#"{"b":[]}"#);
}

#[test]
fn an_error_of_a_tool_is_not_its_words() {
    let failed = json(
        r#"{"content":[{"type":"text","text":"key sk-123 refused"}],"structuredContent":{"contracts":[]},"isError":true}"#,
    );
    let filtered = filter(&contracts(), &failed, &limits(Some(1), &[1])).expect("usable");
    let expected = format!(r#"{{"content":[{{"type":"text","text":"{TOOL_ERROR_TEXT}"}}],"isError":true}}"#);
    assert_eq!(encode_text(&filtered.json), expected);
    let open = Tool { open: true, classes: Vec::new(), records: None, ..(*contracts()).clone() };
    let filtered = filter(&open, &failed, &limits(None, &[])).expect("usable");
    assert!(encode_text(&filtered.json).contains("sk-123"), "a tool that says it is open is taken at its word");
}

#[test]
fn a_tool_whose_result_is_not_described_passes_without_what_is_not_its_answer() {
    let plain = Tool { classes: Vec::new(), records: None, ..(*contracts()).clone() };
    let result =
        json(r#"{"content":[{"type":"text","text":"done"}],"structuredContent":{"id":1},"_meta":{"x":1},"extra":2}"#);
    let filtered = filter(&plain, &result, &limits(None, &[])).expect("usable");
    assert_eq!(
        encode_text(&filtered.json),
        r#"{"content":[{"type":"text","text":"done"}],"structuredContent":{"id":1}}"#
    );
}

#[test]
fn what_cannot_be_judged_is_refused() {
    let tool = contracts();
    let check = |result: &str, expected: fn(&UnusableResult) -> bool| {
        let error = filter(&tool, &json(result), &limits(Some(1), &[1])).expect_err(result);
        assert!(expected(&error), "{result}: {error:?}");
    };
    for shape in [
        "[]",
        "null",
        "{}",
        r#"{"content":{}}"#,
        r#"{"content":["text"]}"#,
        r#"{"content":[{"text":"no type"}]}"#,
        r#"{"content":[],"structuredContent":[]}"#,
        r#"{"content":[],"isError":"yes"}"#,
        r#"{"content":[],"resultType":7}"#,
    ] {
        check(shape, |error| matches!(error, UnusableResult::Shape));
    }
    check(r#"{"content":[],"resultType":"input_required"}"#, |error| matches!(error, UnusableResult::NotComplete(_)));
    check(r#"{"content":[{"type":"text","text":"{}"}]}"#, |error| matches!(error, UnusableResult::NotStructured));
    for odd in [r#"{"A b":1}"#, r#"{"a":1e999}"#, r#"{"aB":1,"a_b":2}"#] {
        let result = format!(r#"{{"content":[],"structuredContent":{odd}}}"#);
        // As the answer arrives from the tool: the message is read first, its content judged here.
        let message = json(&format!(r#"{{"result":{result}}}"#));
        let error = filter(&tool, message.get("result").expect("result"), &limits(Some(1), &[1])).expect_err(odd);
        assert!(matches!(error, UnusableResult::Malformed(_)), "{odd}: {error:?}");
    }
}

/// Values over few names, so that pointers and results meet.
fn value() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![Just(Json::Null), any::<bool>().prop_map(Json::Bool), (0i64..1_000_000).prop_map(Json::Int)];
    leaf.prop_recursive(4, 60, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::Array),
            prop::collection::btree_map(prop::sample::select(&["a", "b", "c", "d"][..]), inner, 0..4).prop_map(
                |members| Json::Object(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
            ),
        ]
    })
}

fn object() -> impl Strategy<Value = Json> {
    prop::collection::btree_map(prop::sample::select(&["a", "b", "c", "d"][..]), value(), 1..4)
        .prop_map(|members| Json::Object(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()))
}

type Pattern = Vec<&'static str>;

fn pattern() -> impl Strategy<Value = Pattern> {
    prop::collection::vec(prop::sample::select(&["a", "b", "c", "*", "*"][..]), 1..4)
}

fn tool(classes: &[(Pattern, u8)], records: Option<&Pattern>, open: bool) -> Tool {
    let pointer = |pattern: &Pattern| format!("/{}", pattern.join("/")).parse().expect("pointer");
    Tool {
        name: ToolName::new("t").expect("name"),
        upstream: UpstreamName::new("u").expect("name"),
        upstream_tool: "t".into(),
        http: None,
        title: None,
        description: String::new(),
        input_schema: Json::Null,
        effects: Effects::from(Effect::Read),
        purposes: Vec::new(),
        credential: None,
        resource: None,
        dimensions: Vec::new(),
        amounts: Vec::new(),
        records: records.map(pointer),
        classes: classes.iter().map(|(pattern, class)| (pointer(pattern), *class)).collect(),
        free: Vec::new(),
        open,
        definition: None,
        since: 0,
        min_pop: Grade::P1,
    }
}

/// Names on the way to a value; an element of a list is `#`.
fn leaves<'j>(json: &'j Json, path: &mut Vec<&'j str>, out: &mut Vec<(Vec<&'j str>, &'j Json)>) {
    match json {
        Json::Object(members) if !members.is_empty() => {
            for (key, member) in members {
                path.push(key);
                leaves(member, path, out);
                path.pop();
            }
        }
        Json::Array(elements) if !elements.is_empty() => {
            for element in elements {
                path.push("#");
                leaves(element, path, out);
                path.pop();
            }
        }
        _ => out.push((path.clone(), json)),
    }
}

fn agrees(pattern: &[&str], path: &[&str]) -> bool {
    pattern.iter().zip(path).all(|(segment, step)| segment == step || (*segment == "*" && *step == "#"))
}

/// Whether the classes release a path, said in another way than the filter says it.
fn is_released(path: &[&str], classes: &[(Pattern, u8)], granted: ClassSet, open: bool) -> bool {
    let covering: Vec<_> = classes.iter().filter(|(p, _)| p.len() <= path.len() && agrees(p, path)).collect();
    match covering.iter().map(|(pattern, _)| pattern.len()).max() {
        None => open,
        Some(nearest) => covering.iter().filter(|(p, _)| p.len() == nearest).all(|(_, class)| granted.contains(*class)),
    }
}

fn records_in(json: &Json, pattern: &[&str]) -> usize {
    match (pattern.split_first(), json) {
        (None, Json::Array(elements)) => elements.len(),
        (Some((&"*", rest)), Json::Array(elements)) => elements.iter().map(|element| records_in(element, rest)).sum(),
        (Some((name, rest)), Json::Object(_)) => json.get(name).map_or(0, |member| records_in(member, rest)),
        _ => 0,
    }
}

/// The property below would hold of a filter that refuses or empties everything, too.
#[test]
fn the_generated_results_are_neither_all_refused_nor_all_empty() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = (object(), prop::collection::vec((pattern(), 0u8..4), 3..9), prop::option::of(pattern()));
    let (mut judged, mut partly) = (0, 0);
    for _ in 0..500 {
        let (structured, classes, records) = strategy.new_tree(&mut runner).expect("a case").current();
        let tool = tool(&classes, records.as_ref(), false);
        let result = Json::object([("content", Json::Array(Vec::new())), ("structuredContent", structured)]);
        if let Ok(filtered) = filter(&tool, &result, &limits(Some(3), &[0, 1, 2])) {
            let (mut after, released) = (Vec::new(), filtered.json.get("structuredContent").expect("structured"));
            leaves(released, &mut Vec::new(), &mut after);
            judged += 1;
            let something = after.iter().any(|(_, leaf)| leaf.as_object().is_none() && leaf.as_array().is_none());
            partly += usize::from(something && filtered.figures.fields_dropped > 0);
        }
    }
    assert!(judged > 250 && partly > 50, "{judged} judged, {partly} released in part");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn nothing_is_released_without_a_permitted_class_nor_more_records_than_granted(
        structured in object(),
        classes in prop::collection::vec((pattern(), 0u8..4), 0..9),
        records in prop::option::of(pattern()),
        open in any::<bool>(),
        granted in prop::collection::vec(0u8..4, 0..4),
        max in prop::option::of(0u64..6),
    ) {
        prop_assume!(!classes.is_empty() || records.is_some());
        let granted: ClassSet = granted.into_iter().collect();
        let tool = tool(&classes, records.as_ref(), open);
        let result = Json::object([
            ("content", Json::Array(vec![Json::object([("type", Json::text("text")), ("text", Json::text("leak 7777777"))])])),
            ("structuredContent", structured.clone()),
            ("_meta", Json::object([("leak", Json::text("leak"))])),
        ]);
        let limits = Obligations { max_records: max, classes: granted, demands: Demands::NONE };
        let Ok(filtered) = filter(&tool, &result, &limits) else {
            return Ok(());
        };
        let released = filtered.json.get("structuredContent").expect("structured");

        let (mut before, mut after) = (Vec::new(), Vec::new());
        leaves(&structured, &mut Vec::new(), &mut before);
        leaves(released, &mut Vec::new(), &mut after);
        for (path, leaf) in &after {
            let container = leaf.as_object().is_some() || leaf.as_array().is_some();
            let leads_on = tool.classes.iter().zip(&classes).any(|(_, (p, _))| p.len() > path.len() && agrees(p, path))
                || records.as_ref().is_some_and(|p| p.len() >= path.len() && agrees(p, path));
            let structure = path.is_empty() || (container && leads_on);
            prop_assert!(structure || is_released(path, &classes, granted, open), "{path:?} in {released:?}");
            prop_assert!(container || before.contains(&(path.clone(), leaf)), "{path:?} was not there before");
        }
        // What is released and no record is complete, so that the filter is not simply silent.
        if records.is_none() {
            for (path, leaf) in &before {
                let container = leaf.as_object().is_some() || leaf.as_array().is_some();
                let wanted = !container && is_released(path, &classes, granted, open);
                let reachable = (0..path.len()).all(|end| {
                    let above = &path[..end];
                    end == 0 || is_released(above, &classes, granted, open)
                        || classes.iter().any(|(p, _)| p.len() > end && agrees(p, above))
                });
                prop_assert!(!wanted || !reachable || after.contains(&(path.clone(), leaf)), "{path:?} was withheld");
            }
        }
        if let Some(records) = &records {
            let count = u64::try_from(records_in(released, records)).expect("few");
            prop_assert!(count <= max.unwrap_or(0), "{count} records");
            prop_assert!(count <= filtered.figures.records_released);
            prop_assert!(filtered.figures.records_released <= filtered.figures.records_before);
        }
        prop_assert_eq!(text_of(&filtered, 0), encode_text(released));
        prop_assert!(!encode_text(&filtered.json).contains("leak"));
        let blocks = filtered.json.get("content").and_then(Json::as_array).expect("content").len();
        prop_assert_eq!(blocks > 1, filtered.figures.records_released < filtered.figures.records_before);
    }
}
