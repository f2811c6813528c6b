//! Chains that stand, and where they end to.

use serde_json::json;

use super::super::fixture::*;
use super::vector::{Vector, accepted};

/// A chain of so many links; `change` sees every link's fields before they are signed.
pub(super) fn chain_of(links: usize, change: impl Fn(usize, &mut Fields)) -> Vec<RawLink> {
    let mut all: Vec<RawLink> = Vec::new();
    for hop in 0..links {
        let mut fields = match all.last() {
            None => root_fields(),
            Some(parent) => hop_fields(parent, hop),
        };
        change(hop, &mut fields);
        all.push(match hop {
            0 => sign_root(payload(&fields), &ISSUERS[..2]),
            _ => sign_hop(payload(&fields), HOLDERS[hop - 1]),
        });
    }
    all
}

pub(super) fn deleg(depth: u64, fanout: u64, offline: bool) -> V {
    m(vec![(1, V::U(depth)), (2, V::U(fanout)), (3, V::Bool(offline)), (4, V::U(0))])
}

/// Eight links fit only where everybody lets them.
pub(super) fn deep(links: usize) -> Vec<RawLink> {
    chain_of(links, |_, fields| drop(fields.insert(11, deleg(255, 1, false))))
}

pub(super) fn cut(kind: &str, id: &str) -> serde_json::Value {
    json!({"tenant": "acme", "kind": kind, "id": id})
}

pub(super) fn vectors() -> Vec<Vector> {
    let mut all = Vec::new();
    for links in [1, 2, 4] {
        let description = format!("A chain of {links} links. Hops keep contract_7781 of the first grant.");
        all.push(accepted(&format!("chain-{links}"), "E-1 E-15", &description, &raw_chain(links)));
    }
    all.push(accepted("chain-8", "E-1 E-22", "As long as a chain may be.", &deep(8)));
    let everything = full_chain();
    let asked = vec![
        json!({"tool": "crm.read", "effects": ["read"], "definition": "01".repeat(32), "ids": {"customer": ["c1"]},
            "amounts": {"amount": "500"}, "result_maxima": ["records"], "arguments": {"/is": ["low"],
            "/one": [true, 3], "/below": ["/srv/reports/2026"], "/title": ["short"], "/within": [-5, 300]}}),
        json!({"tool": "crm.read", "effects": ["read"], "definition": "03".repeat(32), "ids": {"customer": ["c1"]},
            "amounts": {"amount": "500"}, "result_maxima": ["records"], "arguments": {"/is": ["low"],
            "/one": [true, 3], "/below": ["/srv/reports/2026"], "/title": ["short"], "/within": [-5, 300]}}),
    ];
    let all_keys = accepted("everything", "E-3 E-5", "A root and a hop that use every key there is.", &everything);
    all.push(all_keys.with("calls", json!(asked)).with("region", json!("us-east")).with("edge", json!("us-east-1")));

    let by = |seeds: &[u8]| vec![sign_root(payload(&root_fields()), seeds)];
    all.push(accepted("root-by-all-issuers", "E-10", "Three of three issuers signed the root.", &by(&ISSUERS)));
    all.push(accepted(
        "root-with-a-stranger",
        "E-10",
        "Two of three issuers and a key that is not listed, which counts for nothing and against nothing.",
        &by(&[ISSUERS[0], ISSUERS[1], STRANGER]),
    ));
    let mut links = raw_chain(4);
    links.truncate(2);
    all.push(accepted(
        "stripped",
        "E-12",
        "The first two of four links: valid, and worth something only to the second holder.",
        &links,
    ));
    let extended = chain_of(2, |hop, fields| {
        fields.insert(63, V::M(vec![(t("x"), V::B(vec![1, 2])), (t("note"), V::B(vec![0; 500]))]));
        if hop == 1 {
            fields.insert(20, t("carried, never read"));
        }
    });
    all.push(accepted("extensions", "E-3 E-22", "`ext` and `intent` are carried and change nothing.", &extended));
    all.extend(times());
    all.extend(grants());
    all.extend(cuts());
    all
}

fn times() -> Vec<Vector> {
    let at = |name: &str, description: &str, millis: u64| {
        accepted(name, "E-20", description, &raw_chain(2)).with("now_ms", json!(millis))
    };
    vec![
        at("last-moment", "A millisecond before the hop ends.", (ISSUED + 601) * 1_000 - 1),
        at("first-moment", "Thirty seconds before the hop begins, for clocks that differ.", (ISSUED - 29) * 1_000),
    ]
}

/// What can be done with lists of grants.
fn grants() -> Vec<Vector> {
    let contract = |of: u64, id: &str| {
        let ids = V::M(vec![(t("contract"), V::A(vec![V::U(0), V::A(vec![t(id)])]))]);
        m(vec![(1, V::U(of)), (2, V::A(vec![t("**")])), (4, ids)])
    };
    let hop = |grants: Vec<V>| {
        chain_of(2, move |hop, fields| {
            if hop == 1 {
                drop(fields.insert(8, V::A(grants.clone())))
            }
        })
    };
    let read = |id: &str| {
        json!({"tool": "contracts.read", "effects": ["read"], "result_maxima": ["records"],
            "ids": {"customer": ["cust_acme_1042"], "contract": [id]}})
    };
    let calls = json!([read("contract_7781"), read("contract_7782"), read("contract_9999")]);
    vec![
        accepted(
            "one-grant-twice",
            "L-6",
            "Two grants of the hop narrow the same grant of the root; the other grant of the root is let go.",
            &hop(vec![contract(0, "contract_7782"), contract(0, "contract_7781")]),
        )
        .with("calls", calls.clone()),
        accepted(
            "tombstone",
            "L-6",
            "The hop's first grant leaves nothing of the root's. It keeps its place, and the next one its index.",
            &hop(vec![contract(0, "contract_9999"), contract(0, "contract_7781")]),
        )
        .with("calls", calls.clone()),
        accepted(
            "of-counts-signed-grants",
            "L-6",
            "The third link names grant 1 of the second, whose grant 0 is a tombstone.",
            &chain_of(3, |hop, fields| match hop {
                1 => drop(fields.insert(8, V::A(vec![contract(0, "contract_9999"), contract(0, "contract_7781")]))),
                2 => drop(fields.insert(8, V::A(vec![m(vec![(1, V::U(1)), (2, V::A(vec![t("contracts.**")]))])]))),
                _ => {}
            }),
        )
        .with("calls", calls),
    ]
}

/// Cuts that do not concern the chain.
fn cuts() -> Vec<Vector> {
    let links = raw_chain(4);
    let sibling = chain_of(2, |hop, fields| {
        if hop == 1 {
            drop(fields.insert(15, V::B(vec![0x99; 16])))
        }
    });
    let others = json!([
        cut("link", &sibling[1].id().to_string()),
        cut("holder", &key(STRANGER).public().id().to_string()),
        cut("task", "another-task"),
        {"tenant": "globex", "kind": "link", "id": links[0].id().to_string()},
    ]);
    let below = json!([cut("link", &links[3].id().to_string())]);
    let issuer = |before: u64| json!([cut("issuer", &format!("{}@{before}", key(ISSUERS[0]).public().id()))]);
    let by_all = [sign_root(payload(&root_fields()), &ISSUERS)];
    vec![
        accepted(
            "cut-elsewhere",
            "T-40 T-41",
            "A sibling, another key and another task are cut, and, in another tenant, \
            this chain's own root.",
            &links,
        )
        .with("revoked", others),
        accepted("cut-below", "T-41", "What was cut is a link that this chain ends above.", &links[..3])
            .with("revoked", below),
        accepted(
            "cut-issuer-of-three",
            "T-49",
            "One of the three that signed the root is cut; two are enough.",
            &by_all,
        )
        .with("revoked", issuer(ISSUED + 1)),
        accepted("cut-issuer-later", "T-49", "An issuer is cut for what it signed before the root.", &links)
            .with("revoked", issuer(ISSUED)),
    ]
}
