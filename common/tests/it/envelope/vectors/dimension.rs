//! Each dimension alone: a hop that narrows it, and a hop that asks for more, which gains nothing.

use serde_json::{Value, json};

use super::super::fixture::*;
use super::accept::deleg;
use super::vector::{Vector, accepted};

const ANY: u64 = u64::MAX;

fn texts(texts: &[&str]) -> V {
    V::A(texts.iter().map(|text| t(text)).collect())
}

fn ids(kind: u64, of: &[&str]) -> V {
    V::M(vec![(t("contract"), V::A(vec![V::U(kind), texts(of)]))])
}

/// A root that admits nearly everything, its grant changed; and a hop that says nothing, its fields changed.
fn pair(root: impl Fn(&mut Fields, &mut Fields), hop: impl Fn(&mut Fields, &mut Fields)) -> Vec<RawLink> {
    let mut fields = root_fields();
    let mut grant = Fields::from([
        (1, V::U(0)),
        (2, texts(&["**"])),
        (4, ids(1, &[])),
        (5, V::M(vec![(t("records"), V::U(ANY))])),
        (6, V::B(vec![0xff, 0xff])),
        (7, V::U(0b11_1111)),
        (9, V::Bool(true)),
    ]);
    fields.insert(6, V::A(vec![V::U(1)]));
    fields.insert(11, deleg(4, 64, true));
    root(&mut fields, &mut grant);
    fields.insert(8, V::A(vec![m(grant.into_iter().collect())]));
    let first = sign_root(payload(&fields), &ISSUERS[..2]);
    let mut fields = hop_fields(&first, 1);
    let mut grant = Fields::from([(1, V::U(0)), (2, texts(&["**"])), (9, V::Bool(true))]);
    fields.insert(11, deleg(4, 64, true));
    hop(&mut fields, &mut grant);
    fields.insert(8, V::A(vec![m(grant.into_iter().collect())]));
    let second = sign_hop(payload(&fields), HOLDERS[0]);
    vec![first, second]
}

/// A call of `tool` on contract c1, with records on the result side, changed.
fn call(tool: &str, change: &[(&str, Value)]) -> Value {
    let mut call =
        json!({"tool": tool, "effects": ["read"], "ids": {"contract": ["c1"]}, "result_maxima": ["records"]});
    for (key, value) in change {
        call[*key] = value.clone();
    }
    call
}

fn nothing(_: &mut Fields, _: &mut Fields) {}

/// What key of the grant says in the root and in the hop, and two calls: one that both admit, and one that only the
/// narrower one of them refuses.
struct Dimension {
    name: &'static str,
    clauses: &'static str,
    key: u64,
    wide: Option<V>,
    narrow: V,
    inside: Value,
    outside: Value,
}

fn dimensions() -> Vec<Dimension> {
    let args = |constraint: Vec<V>| V::M(vec![(t("/a"), V::A(constraint))]);
    let carries = |value: Value| call("a.b", &[("arguments", json!({"/a": value}))]);
    let pinned = |digest: &str| call("a.b", &[("definition", json!(digest.repeat(32)))]);
    let one_of = vec![V::U(1), V::A(vec![V::U(2), V::U(500), V::I(-3), t("x"), V::Bool(false)])];
    vec![
        Dimension {
            name: "tools",
            clauses: "L-3",
            key: 2,
            wide: Some(texts(&["crm.*", "notes.**"])),
            narrow: texts(&["*.read", "notes.a.*"]),
            inside: call("crm.read", &[]),
            outside: call("crm.write", &[]),
        },
        Dimension {
            name: "pins",
            clauses: "L-14",
            key: 3,
            wide: None,
            narrow: V::M(vec![(t("a.b"), V::B(vec![7; 32]))]),
            inside: pinned("07"),
            outside: pinned("08"),
        },
        Dimension {
            name: "ids",
            clauses: "L-11",
            key: 4,
            wide: Some(ids(0, &["c1", "c2", "c10"])),
            narrow: ids(0, &["c1", "c3"]),
            inside: call("a.b", &[]),
            outside: call("a.b", &[("ids", json!({"contract": ["c1", "c2"]}))]),
        },
        Dimension {
            name: "ids-of-any",
            clauses: "L-11 L-4",
            key: 4,
            wide: None,
            narrow: ids(0, &["c1"]),
            inside: call("a.b", &[]),
            outside: call("a.b", &[("ids", json!({"contract": ["c2"]}))]),
        },
        Dimension {
            name: "maxima",
            clauses: "L-11",
            key: 5,
            wide: Some(V::M(vec![(t("records"), V::U(25)), (t("amount"), V::U(500))].into_iter().rev().collect())),
            narrow: V::M(vec![(t("amount"), V::U(300))]),
            inside: call("a.b", &[("amounts", json!({"amount": "300"}))]),
            outside: call("a.b", &[("amounts", json!({"amount": "301"}))]),
        },
        Dimension {
            name: "classes",
            clauses: "L-7",
            key: 6,
            wide: Some(V::B(vec![0b1110, 0b1])),
            narrow: V::B(vec![0b0111]),
            inside: call("a.b", &[]),
            outside: call("a.b", &[("ids", json!({}))]),
        },
        Dimension {
            name: "effects",
            clauses: "L-8",
            key: 7,
            wide: Some(V::U(0b111)),
            narrow: V::U(0b1_0001),
            inside: call("a.b", &[]),
            outside: call("a.b", &[("effects", json!(["read", "write"]))]),
        },
        Dimension {
            name: "argument-is",
            clauses: "L-15",
            key: 8,
            wide: None,
            narrow: args(vec![V::U(0), t("low")]),
            inside: carries(json!(["low"])),
            outside: carries(json!(["high"])),
        },
        Dimension {
            name: "argument-one-of",
            clauses: "L-15",
            key: 8,
            wide: Some(args(one_of)),
            narrow: args(vec![V::U(1), V::A(vec![V::U(2), V::I(-3), V::Bool(true)])]),
            inside: carries(json!([2, -3])),
            outside: carries(json!([2, "x"])),
        },
        Dimension {
            name: "argument-within",
            clauses: "L-15",
            key: 8,
            wide: Some(args(vec![V::U(2), V::I(-5), V::U(300)])),
            narrow: args(vec![V::U(2), V::U(100), V::U(900)]),
            inside: carries(json!([100, 300])),
            outside: carries(json!([99])),
        },
        Dimension {
            name: "argument-below",
            clauses: "L-15",
            key: 8,
            wide: Some(args(vec![V::U(3), t("/srv")])),
            narrow: args(vec![V::U(3), t("/srv/reports/")]),
            inside: carries(json!(["/srv/reports/2026"])),
            outside: carries(json!(["/srv/reports/../secret"])),
        },
        Dimension {
            name: "argument-length",
            clauses: "L-15",
            key: 8,
            wide: Some(args(vec![V::U(4), V::U(80)])),
            narrow: args(vec![V::U(4), V::U(4)]),
            inside: carries(json!(["äb"])),
            outside: carries(json!(["abcde"])),
        },
        Dimension {
            name: "argument-two-kinds",
            clauses: "L-15",
            key: 8,
            wide: Some(args(vec![V::U(1), V::A(vec![V::U(1), V::U(5), V::U(9)])])),
            narrow: args(vec![V::U(2), V::U(4), V::U(8)]),
            inside: carries(json!([5])),
            outside: carries(json!([9])),
        },
    ]
}

pub(super) fn vectors() -> Vec<Vector> {
    let mut all = Vec::new();
    for Dimension { name, clauses, key, wide, narrow, inside, outside } in dimensions() {
        let put = |value: Option<V>| {
            move |_: &mut Fields, grant: &mut Fields| {
                if let Some(value) = &value {
                    grant.insert(key, value.clone());
                }
            }
        };
        let mut absent = inside.clone();
        absent["arguments"] = json!({});
        let calls = json!([inside, outside, absent]);
        let links = pair(put(wide.clone()), put(Some(narrow.clone())));
        let description = format!("A hop narrows the dimension `{name}` and nothing else.");
        all.push(accepted(&format!("narrow-{name}"), clauses, &description, &links).with("calls", calls.clone()));
        // The other way round: the narrow one is the root, and the hop asks for more, or for what is beside it.
        let links = pair(put(Some(narrow)), put(wide));
        let description =
            format!("A hop asks for more of the dimension `{name}` than its parent has, and gains nothing.");
        all.push(
            accepted(&format!("widen-{name}"), &format!("E-15 {clauses}"), &description, &links).with("calls", calls),
        );
    }
    all.extend(of_the_chain());
    all
}

/// Dimensions that hang on the chain and not on a grant.
fn of_the_chain() -> Vec<Vector> {
    let field = |key: u64, value: V| move |fields: &mut Fields, _: &mut Fields| drop(fields.insert(key, value.clone()));
    let both = |name: &str, clauses: &str, key: u64, wide: V, narrow: V| {
        let narrower = format!("A hop narrows `{name}` and nothing else.");
        let wider = format!("A hop asks for more of `{name}` than its parent has, and gains nothing.");
        [
            accepted(
                &format!("narrow-{name}"),
                clauses,
                &narrower,
                &pair(field(key, wide.clone()), field(key, narrow.clone())),
            ),
            accepted(&format!("widen-{name}"), clauses, &wider, &pair(field(key, narrow), field(key, wide))),
        ]
    };
    let path = |numbers: &[u64]| V::A(numbers.iter().map(|number| V::U(*number)).collect());
    let regions = |names: &[&str]| m(vec![(1, texts(names))]);
    let edges = |names: &[&str]| m(vec![(2, texts(names))]);
    let mut all = Vec::new();
    all.extend(both("purpose", "E-16 L-11", 6, path(&[1]), path(&[1, 4, 70_000])));
    all.extend(both("delegation", "E-18 L-10", 11, deleg(7, 64, true), deleg(2, 3, false)));
    all.extend(both("regions", "E-28 L-17", 12, regions(&["eu-west", "us-east"]), regions(&["eu-west"])));
    all.extend(both("edges", "E-28 L-17", 12, edges(&["eu-west-1", "us-east-1"]), edges(&["eu-west-1"])));
    all.extend(both(
        "obligations",
        "E-29 L-18",
        13,
        m(vec![(1, V::U(1))]),
        m(vec![(1, V::U(3)), (3, V::U(1)), (4, V::U(1))]),
    ));
    // A hop ends with its parent, whatever it says.
    let late = pair(nothing, |fields, _| {
        fields.insert(9, V::U(ISSUED + 3_000));
        fields.insert(10, V::U(ISSUED + 3_900));
        fields.insert(16, V::U(ISSUED + 3_000));
    });
    all.push(
        accepted("widen-time", "E-17 L-11", "A hop that would end after its parent ends with it.", &late)
            .with("now_ms", json!((ISSUED + 3_001) * 1_000)),
    );
    // Silence is the narrowest for these two.
    let calls = json!([call("a.b", &[]), call("a.b", &[("is_newer", json!(true))])]);
    let silent = pair(nothing, |_, grant| drop(grant.remove(&9)));
    all.push(
        accepted("narrow-future", "L-16 L-4", "A hop that does not say `future` gives up tools to come.", &silent)
            .with("calls", calls.clone()),
    );
    let kept = pair(nothing, nothing);
    all.push(
        accepted("keep-future", "L-16", "Every link says `future`, so tools to come are meant.", &kept)
            .with("calls", calls),
    );
    let silent = pair(nothing, |fields, _| drop(fields.remove(&11)));
    all.push(accepted("narrow-delegation-silent", "E-18 L-4", "A hop without `deleg` is not handed on.", &silent));
    let omitted = pair(
        |_, grant| {
            grant.remove(&4);
            grant.remove(&5);
        },
        nothing,
    );
    let calls = json!([
        call("a.b", &[("ids", json!({})), ("result_maxima", json!([]))]),
        call("a.b", &[("result_maxima", json!([]))]),
        call("a.b", &[("ids", json!({}))]),
        call("a.b", &[("ids", json!({})), ("result_maxima", json!([])), ("effects", json!([]))]),
    ]);
    let description = "A root that mentions no ids and no maxima admits only calls that yield none.";
    all.push(accepted("omitted-in-a-root", "L-4 L-5", description, &omitted).with("calls", calls));
    let claimed = pair(|_, grant| drop(grant.remove(&4)), |_, grant| drop(grant.insert(4, ids(0, &["c1"]))));
    let description =
        "A hop constrains a dimension of which its root is silent: no call yields a value and yields none.";
    all.push(accepted("omitted-then-said", "L-4 L-6", description, &claimed).with("calls", json!([call("a.b", &[])])));
    all
}
