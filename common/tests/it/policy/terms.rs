//! Definitions, arguments and age of tools, as a grant restricts them and a catalogue states them. Clauses L-14 to
//! L-16, P-32 and P-33.

use std::collections::BTreeMap;

use remit_common::crypto::digest::Digest;
use remit_common::envelope::Authority;
use remit_common::lattice::{Constraint, Effect, Grant, PathPrefix, Pin, Scalar, Scope, SortedMap};
use remit_common::policy::{CompiledPolicy, Decision, Reason, Relations, decide, visible_tools};

use super::{NOW, authority, call, compiled, example, grant, names};

const TICKET: &str = "tickets.create";

/// The example, with something more said of `tickets.create`.
fn with(line: &str) -> CompiledPolicy {
    let mut files: BTreeMap<String, Vec<u8>> = example();
    let catalogue = files.get_mut("catalogue/acme.toml").expect("there");
    let text = String::from_utf8(catalogue.clone()).expect("text");
    let said = text.replace("title        = \"Open a ticket\"", &format!("title        = \"Open a ticket\"\n{line}"));
    assert!(line.is_empty() || said != text);
    *catalogue = said.into_bytes();
    compiled(&files)
}

fn maya(policy: &CompiledPolicy, change: impl FnOnce(Grant) -> Grant) -> Authority {
    let ids: &[(&str, &[&str])] = &[("customer", &["cust_acme_1042"])];
    let grants = vec![change(grant(&[TICKET], &[Effect::Irreversible], ids, None))];
    authority(policy, "renewal-analyst", "review.renewal_risk", grants)
}

fn reason(policy: &CompiledPolicy, authority: &Authority, arguments: &str) -> Reason {
    let arguments = format!(r#"{{"customer_id":"cust_acme_1042",{arguments}}}"#);
    match decide(policy, authority, &call(TICKET, &arguments), &Relations::none(), NOW) {
        Decision::Permit(_) => Reason::Permit,
        Decision::Deny(denied) => denied.reason,
    }
}

const GOOD: &str = r#""title":"Call","body":"…","priority":"low""#;

#[test]
fn an_argument_is_what_the_grant_says_or_the_call_is_refused() {
    let policy = with("");
    let args = |args: Vec<(&str, Constraint)>| {
        let args: SortedMap<_, _> = args.into_iter().map(|(at, is)| (at.parse().expect("a pointer"), is)).collect();
        maya(&policy, |grant| Grant { args: args.clone(), ..grant })
    };
    assert_eq!(reason(&policy, &args(vec![]), GOOD), Reason::Permit);
    let low = || Constraint::one_of(["low".into(), "normal".into()]);
    let check = |said: Vec<(&str, Constraint)>, arguments: &str, expected| {
        assert_eq!(reason(&policy, &args(said.clone()), arguments), expected, "{said:?} on {arguments}");
    };
    // The schema of policies declares `title` and `priority` as texts; `body` may be anything.
    let with = |body: &str| format!(r#""title":"Call","body":{body}"#);
    check(vec![("/priority", low())], GOOD, Reason::Permit);
    check(vec![("/priority", low())], &GOOD.replace("low", "normal"), Reason::Permit);
    check(vec![("/priority", Constraint::one_of(["normal".into()]))], GOOD, Reason::OutOfScope);
    check(vec![("/priority", low())], &with("\"Call\""), Reason::UnmappedArgument);
    check(vec![("/priority", low()), ("/title", Constraint::length_max(3))], GOOD, Reason::OutOfScope);
    // Each of several values counts, and an array of none is none.
    check(vec![("/body", Constraint::length_max(4))], &with(r#"["Call","me"]"#), Reason::Permit);
    check(vec![("/body", Constraint::length_max(3))], &with(r#"["Call","me"]"#), Reason::OutOfScope);
    check(vec![("/body", Constraint::length_max(3))], &with("[]"), Reason::UnmappedArgument);
    check(vec![("/body/*/x", Constraint::within(0, 5))], &with(r#"[{"x":5},{"x":0}]"#), Reason::Permit);
    check(vec![("/body/*/x", Constraint::within(0, 5))], &with(r#"[{"x":5},{"x":6}]"#), Reason::OutOfScope);
    // A number with a fraction, null and an object are no value that a constraint admits.
    for other in ["5.5", "null", r#"{"x":5}"#, "5.0"] {
        check(vec![("/body", Constraint::within(0, 9))], &with(other), Reason::OutOfScope);
    }
    check(vec![("/body", Constraint::within(0, 9))], &with("5"), Reason::Permit);
    check(vec![("/body", Constraint::one_of([Scalar::Bool(true)]))], &with("true"), Reason::Permit);
    let below = || vec![("/body", Constraint::below(PathPrefix::new("/srv/a").expect("a prefix")))];
    check(below(), &with("\"/srv/a/b\""), Reason::Permit);
    check(below(), &with("\"/srv/a/../b\""), Reason::OutOfScope);
}

/// What hops constrain adds up, and each is named as the one that narrowed.
#[test]
fn every_link_constrains_arguments() {
    let policy = with("");
    let narrowed = |authority: &Authority, at: &str, is: Constraint| {
        let args = SortedMap::from([(at.parse().expect("a pointer"), is)]);
        let hop = Grant { args, tools: vec!["**".parse().expect("a pattern")], ..Grant::default() };
        Authority { scope: authority.scope.narrow(vec![hop]).expect("a hop"), ..authority.clone() }
    };
    let root = maya(&policy, |grant| grant);
    let child = narrowed(&root, "/priority", Constraint::one_of(["low".into(), "normal".into()]));
    let leaf = narrowed(&child, "/title", Constraint::length_max(4));
    assert_eq!(reason(&policy, &leaf, GOOD), Reason::Permit);
    let refused = |arguments: &str| {
        let arguments = format!(r#"{{"customer_id":"cust_acme_1042",{arguments}}}"#);
        match decide(&policy, &leaf, &call(TICKET, &arguments), &Relations::none(), NOW) {
            Decision::Permit(permit) => panic!("{permit:?}"),
            Decision::Deny(denied) => (denied.reason, denied.hop),
        }
    };
    assert_eq!(refused(&GOOD.replace("low", "urgent")), (Reason::OutOfScope, Some(1)));
    assert_eq!(refused(&GOOD.replace("Call", "Call me")), (Reason::OutOfScope, Some(2)));
    assert_eq!(refused(r#""title":"Call","body":"…""#), (Reason::UnmappedArgument, Some(1)));
}

#[test]
fn a_pinned_tool_has_the_definition_that_the_catalogue_states_or_is_not_called() {
    let pinned = |byte: u8| {
        move |grant: Grant| {
            let pins = SortedMap::from([(TICKET.parse().expect("a tool"), Pin::Is(Digest([byte; 32])))]);
            Grant { pins, ..grant }
        }
    };
    let states = with(&format!("definition = \"sha256:{}\"", "0a".repeat(32)));
    let silent = with("");
    let listed = |policy: &CompiledPolicy, authority: &Authority| {
        names(visible_tools(policy, authority).iter().map(|tool| tool.name.clone()))
    };
    let check = |policy: &CompiledPolicy, authority: Authority, expected| {
        assert_eq!(reason(policy, &authority, GOOD), expected);
        let seen = if expected == Reason::Permit { names([TICKET]) } else { names([TICKET; 0]) };
        assert_eq!(listed(policy, &authority), seen, "what cannot be called is not listed");
    };
    check(&states, maya(&states, pinned(0x0a)), Reason::Permit);
    check(&states, maya(&states, pinned(0x0b)), Reason::OutOfScope);
    check(&states, maya(&states, |grant| grant), Reason::Permit);
    check(&silent, maya(&silent, pinned(0x0a)), Reason::OutOfScope);
    check(&silent, maya(&silent, |grant| grant), Reason::Permit);
}

#[test]
fn a_tool_that_came_later_needs_a_grant_for_tools_to_come() {
    let policy = with("since = 5");
    let minted_under = |catalogue_version, future| {
        let authority = maya(&policy, |grant| Grant { future, ..grant });
        Authority { catalogue_version, ..authority }
    };
    let check = |authority: Authority, expected| {
        assert_eq!(reason(&policy, &authority, GOOD), expected);
        assert_eq!(visible_tools(&policy, &authority).len(), usize::from(expected == Reason::Permit));
    };
    check(minted_under(5, false), Reason::Permit);
    check(minted_under(6, false), Reason::Permit);
    check(minted_under(4, false), Reason::OutOfScope);
    check(minted_under(4, true), Reason::Permit);
    // A hop that is silent about tools to come does not hand them on.
    let hop = |future| {
        let parent = minted_under(4, true);
        let grants = vec![Grant { tools: vec!["**".parse().expect("a pattern")], future, ..Grant::default() }];
        Authority { scope: parent.scope.narrow(grants).expect("a hop"), ..parent }
    };
    check(hop(true), Reason::Permit);
    check(hop(false), Reason::OutOfScope);
    let wide =
        Grant { tools: vec!["**".parse().expect("a pattern")], ..grant(&[], &[Effect::Irreversible], &[], None) };
    let scope = Scope::root(vec![wide]).expect("a root");
    let seen = visible_tools(&policy, &Authority { scope, ..minted_under(4, false) });
    assert!(seen.iter().all(|tool| tool.name.as_str() != TICKET), "nor does a wildcard");
}
