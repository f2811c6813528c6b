//! A decision oracle of any size, made in the way of the committed ones: the same family of policies (the texts of the
//! three committed sizes come out byte for byte), the same agents and records, requests of which three in four are
//! aimed at some permit.
//!
//! The right answers come from arithmetic on the numbers of a permit, not from any engine; stock Cedar is asked all the
//! same. The same number gives the same bytes on every machine.

use std::borrow::Cow;
use std::fmt::Write as _;

use serde_json::json;

use crate::oracle::Set;

/// Requests of a set.
const CASES: u64 = 1_000;
const AGENTS: u64 = 100;
const RECORDS: u64 = 1_000;
const NOW: u64 = 1_900_000_000;
const EXPIRES: u64 = 2_000_000_000;
const RECORDS_MAX: u64 = 25;

/// What permit number `p` asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Permit {
    pub(crate) role: u64,
    pub(crate) tool: u64,
    pub(crate) collection: u64,
    pub(crate) purpose: u64,
}

impl Permit {
    pub(crate) fn new(p: u64) -> Self {
        Self { role: p % 60, tool: p / 3 % 50, collection: p / 2 % 40, purpose: p % 7 }
    }
}

/// Splitmix64: small, and the same everywhere.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn roles(agent: u64) -> [u64; 3] {
    [agent % 60, (agent * 7 + 1) % 60, (agent * 13 + 5) % 60]
}

/// The collection of a record, and the one around it, if there is one.
fn collections(record: u64) -> Vec<u64> {
    let inner = record % 40;
    if inner < 10 { vec![inner] } else { vec![inner, inner / 10] }
}

/// The policies of a set with this many permits, and three forbids.
#[must_use]
pub fn policies(permits: u64) -> String {
    let mut text = String::from(
        "@id(\"f_depth\") forbid(principal, action, resource) when { context.chain_depth > 4 };\n\
         @id(\"f_tenant\") forbid(principal, action, resource) when { principal.tenant != resource.tenant };\n\
         @id(\"f_exp\") forbid(principal, action, resource) when { context.now >= context.expires_at };\n",
    );
    for p in 0..permits {
        let Permit { role, tool, collection, purpose } = Permit::new(p);
        _ = writeln!(
            text,
            "@id(\"p{p}\") permit(principal in Role::\"role{role}\", action == Action::\"tool{tool}\", resource in \
             Collection::\"coll{collection}\") when {{ context.purpose == \"purpose{purpose}\" && \
             context.data_classes.contains(resource.data_class) && context.requested <= context.max_records }} \
             unless {{ context.risk > 70 }};"
        );
    }
    text
}

/// A set with this many permits.
#[must_use]
pub fn set(permits: u64) -> Set {
    let mut numbers = Numbers(permits);
    let (mut cases, mut permitted) = (String::new(), 0);
    for case in 0..CASES {
        let aimed = case % 4 != 3;
        let (mut agent, mut record) = (numbers.below(AGENTS), numbers.below(RECORDS));
        let mut permit = Permit::new(numbers.below(permits.max(1)));
        let fits = |agent: u64, record: u64, permit: Permit| {
            let sees = roles(agent).contains(&permit.role) && collections(record).contains(&permit.collection);
            sees && agent % 5 == record % 5
        };
        // Four in a thousand agents and records fit a permit; should none turn up, the case is aimed at nothing.
        for _ in 0..20_000 {
            if !aimed || fits(agent, record, permit) {
                break;
            }
            (agent, record) = (numbers.below(AGENTS), numbers.below(RECORDS));
            permit = Permit::new(numbers.below(permits.max(1)));
        }
        let (tool, purpose) = if aimed { (permit.tool, permit.purpose) } else { (numbers.below(50), numbers.below(7)) };
        let (requested, risk) = (numbers.below(28), numbers.below(80));
        let depth = if numbers.below(20) == 0 { 5 } else { numbers.below(4) };
        let class = record % 4;
        let mut forbids = Vec::new();
        if depth > 4 {
            forbids.push("f_depth".to_owned());
        }
        if agent % 5 != record % 5 {
            forbids.push("f_tenant".to_owned());
        }
        let open = class < 3 && requested <= RECORDS_MAX && risk <= 70;
        let matches = |p: &u64| {
            let wanted = Permit::new(*p);
            open && wanted.tool == tool
                && wanted.purpose == purpose
                && roles(agent).contains(&wanted.role)
                && collections(record).contains(&wanted.collection)
        };
        let mut permits: Vec<String> = (0..permits).filter(matches).map(|p| format!("p{p}")).collect();
        permits.sort();
        let permit = forbids.is_empty() && !permits.is_empty();
        permitted += usize::from(permit);
        let names = |kind: &str, numbers: &[u64]| -> Vec<String> {
            let mut seen: Vec<String> = Vec::new();
            for name in numbers.iter().map(|number| format!("{kind}{number}")) {
                if !seen.contains(&name) {
                    seen.push(name);
                }
            }
            seen
        };
        let line = json!({
            "request": {
                "principal": {
                    "id": format!("a{agent}"), "tenant": format!("t{}", agent % 5), "roles": names("role", &roles(agent)),
                },
                "action": format!("tool{tool}"),
                "resource": {
                    "id": format!("r{record}"), "tenant": format!("t{}", record % 5),
                    "data_class": format!("dc{class}"), "collections": names("coll", &collections(record)),
                },
                "context": {
                    "delegator": "u1", "purpose": format!("purpose{purpose}"), "task": "t",
                    "data_classes": ["dc0", "dc1", "dc2"], "max_records": RECORDS_MAX, "requested": requested,
                    "chain_depth": depth, "risk": risk, "expires_at": EXPIRES, "now": NOW,
                },
            },
            "expect": { "permit": permit, "permits": permits, "forbids": forbids },
        });
        _ = writeln!(cases, "{line}");
    }
    Set {
        permits: usize::try_from(permits).unwrap_or(usize::MAX),
        permitted,
        policies: Cow::Owned(policies(permits)),
        cases: Cow::Owned(cases),
    }
}
