//! Ways in which a bundle becomes wider that a comparison must not miss. Clauses B-36, B-40 and B-49 to B-52.

use std::collections::BTreeMap;

use remit_common::bundle::CompiledBundle;
use remit_common::bundle::diff::{Budget, Comparison, Kind, Subject, compare};

use super::diff::{bundle, changed};
use super::{NOW, example, relating};

fn differ(old: &CompiledBundle, new: &CompiledBundle) -> Comparison {
    compare(old, new, &[], NOW, Budget::VOTER)
}

/// The example with more policies, about the tool with arguments that policies see.
fn with(policies: &str) -> CompiledBundle {
    let mut files = example();
    files.insert("policies/more.cedar".to_owned(), policies.as_bytes().to_vec());
    bundle(files)
}

fn replaced(mut files: BTreeMap<String, Vec<u8>>, file: &str, from: &str, to: &str) -> BTreeMap<String, Vec<u8>> {
    let text = String::from_utf8(files.remove(file).unwrap()).unwrap();
    assert!(text.contains(from), "`{from}` is not in {file}");
    files.insert(file.to_owned(), text.replacen(from, to, 1).into_bytes());
    files
}

fn permit(condition: &str) -> String {
    format!(
        "@id(\"more.ticket\")\npermit (principal in AgentClass::\"billing-clerk\", action == Action::\"tickets.create\", \
         resource)\nwhen {{ {condition} }};\n"
    )
}

fn loosens<'c>(found: &'c Comparison, name: &str) -> Option<&'c str> {
    found.loosened().find(|change| change.name == name).and_then(|change| change.loosens.as_deref())
}

/// What tuples decide is asked with tuples, or said not to have been.
#[test]
fn a_condition_on_relations_that_is_dropped_is_wider() {
    let files = relating::files();
    let wider = replaced(files.clone(), "policies/renewal.cedar", " && context.agent_relations.assigned", "");
    let (old, new) = (bundle(files.clone()), bundle(wider));
    let found = differ(&old, &new);
    assert!(found.widens(), "{found:#?}");
    // A model that lets more follow from the same tuples.
    let model = replaced(files, "relations.fga", "define assigned: [agent]", "define assigned: [agent, agent:*]");
    let found = differ(&old, &bundle(model));
    assert!(loosens(&found, "relations.fga").is_some(), "{found:#?}");
}

/// Every entity that is not what it was is asked about, however many others there are.
#[test]
fn one_entity_among_many_that_is_promoted_is_found() {
    let with_users = |promoted: &str| {
        let users: String = (0..60)
            .map(|number| {
                let team = if promoted == number.to_string() { "finance" } else { "customer-success" };
                format!(
                    "{{ \"uid\": {{ \"type\": \"User\", \"id\": \"user:n{number:02}@example\" }}, \"attrs\": {{}},\n  \
                     \"parents\": [{{ \"type\": \"Team\", \"id\": \"{team}\" }}] }},\n"
                )
            })
            .collect();
        bundle(replaced(example(), "entities.json", "[", &format!("[\n{users}")))
    };
    let found = differ(&with_users("none"), &with_users("41"));
    let finding = found.findings.iter().find(|finding| finding.kind == Kind::NewlyPermitted).expect("a finding");
    assert_eq!(finding.exemplars.first().unwrap().request.delegator, "user:n41@example");
    let entities: Vec<&str> = found
        .changes
        .iter()
        .filter(|change| change.subject == Subject::Entity)
        .map(|change| change.name.as_str())
        .collect();
    assert_eq!(entities, ["User::\"user:n41@example\""]);
    assert!(!differ(&with_users("41"), &with_users("41")).widens());
    // More of them than can be asked: the rest is said to be wider.
    let nobody = bundle(example());
    let narrow = compare(&nobody, &with_users("41"), &[], NOW, Budget { generated: 20, ..Budget::VOTER });
    assert!(narrow.loosened().any(|change| change.subject == Subject::Entity), "{narrow:#?}");
    // One that no request names.
    let from = "\"Team\", \"id\": \"finance\" }, \"attrs\": {}, \"parents\": []";
    let to = "\"Team\", \"id\": \"finance\" }, \"attrs\": {}, \"parents\": [{ \"type\": \"Team\", \"id\": \"all\" }]";
    let schema = replaced(example(), "schema.cedarschema", "entity Team;", "entity Team in [Team];");
    let moved = differ(&bundle(schema.clone()), &bundle(replaced(schema, "entities.json", from, to)));
    assert!(loosens(&moved, "Team::\"finance\"").is_some(), "{moved:#?}");
}

#[test]
fn an_argument_that_needs_no_rule_any_more_is_wider() {
    let from = "free         = [\"/include_terms\"]";
    let freed = changed("catalogue/acme.toml", from, "free         = [\"/include_terms\", \"/with_drafts\"]");
    let found = differ(&bundle(example()), &freed);
    assert!(loosens(&found, "contracts.read").is_some_and(|why| why.contains("`/with_drafts`")), "{found:#?}");
    assert!(!differ(&freed, &bundle(example())).widens());
    // What agents are told about a tool decides nothing.
    let told = changed("catalogue/acme.toml", "The documents of one contract", "All documents of one contract");
    let told = differ(&bundle(example()), &told);
    assert!(!told.widens() && !told.changes.is_empty(), "{told:#?}");
}

/// What forbids is asked of every agent in the chain, and one above may be of another class than the one that calls.
#[test]
fn a_forbid_for_agents_above_the_one_that_calls_is_exercised() {
    let forbid = |class: &str| {
        with(&format!(
            "@id(\"more.above\")\nforbid (principal in AgentClass::\"{class}\", action == Action::\"contracts.read\", \
             resource);\n"
        ))
    };
    let found = differ(&forbid("clause-classifier"), &forbid("billing-clerk"));
    let above = found
        .findings
        .iter()
        .filter(|finding| finding.kind == Kind::NewlyPermitted && finding.role.as_str() == "renewal-analyst")
        .flat_map(|finding| &finding.exemplars)
        .find(|exemplar| exemplar.request.chain_depth > 1);
    assert!(above.is_some(), "{found:#?}");
}

/// However long the list of changes is, none that is wider by itself falls off its end.
#[test]
fn the_last_of_very_many_changes_still_counts() {
    let users: String = (0..2_100)
        .map(|number| {
            format!(
                "{{ \"uid\": {{ \"type\": \"User\", \"id\": \"user:{number}\" }}, \"attrs\": {{}},\n  \"parents\": [{{ \
                 \"type\": \"Team\", \"id\": \"all\" }}] }},\n"
            )
        })
        .collect();
    let mut files = replaced(example(), "entities.json", "[", &format!("[\n{users}"));
    let toml = "name = \"example\"\ntenant = \"acme\"\nversion = 2\ncreated = 2026-11-01T00:00:00Z\nallow_bearer = true\n[limits]\nchain_links = 5\n";
    files.insert("bundle.toml".to_owned(), toml.as_bytes().to_vec());
    let found = differ(&bundle(example()), &bundle(files));
    assert!(found.changes.len() > 2_100);
    assert!(loosens(&found, "allow_bearer").is_some(), "{:?}", found.changes.last());
}

/// A condition of a form that is not understood, or that no request was found for, is taken for wider.
#[test]
fn what_is_not_understood_about_a_changed_policy_needs_an_approval() {
    let bounded = with(&permit("context.expires_at - context.now < 600"));
    let found = differ(&bounded, &with(&permit("context.expires_at - context.now < 900")));
    assert!(found.widens() && loosens(&found, "more.ticket").is_some(), "{found:#?}");
    // Nothing is ever permitted by it, as far as anybody found.
    let never = with(&permit("context.args.title == \"a\" && context.args.title == \"b\""));
    assert!(loosens(&differ(&bundle(example()), &never), "more.ticket").is_some());
    // A forbid that is gone, and that nothing made visible.
    let from = "@id(\"limits.no-billing-details\")";
    let text = String::from_utf8(example()["policies/limits.cedar"].clone()).unwrap();
    let gone = bundle(replaced(example(), "policies/limits.cedar", &text[text.find(from).unwrap()..], ""));
    assert!(differ(&bundle(example()), &gone).widens());
    // What is understood and narrower needs none.
    let narrower = differ(&with(&permit("context.chain_depth < 4")), &with(&permit("context.chain_depth < 3")));
    assert!(!narrower.widens() && narrower.count(Kind::NewlyDenied) > 0, "{narrower:#?}");
    assert!(!differ(&with(&permit("context.chain_depth < 3")), &bundle(example())).widens());
}

#[test]
fn values_that_are_compared_with_each_other_and_paths_of_has_are_found() {
    let has = differ(
        &with(&permit("context has args.priority && context.args.priority == \"low\"")),
        &with(&permit("context has args.priority && context.args.priority like \"lo*\"")),
    );
    assert!(has.count(Kind::NewlyPermitted) > 0, "{has:#?}");
    let pair = differ(
        &with(&permit("context.args has priority && context.args.title == context.args.priority")),
        &with(&permit("context.args has priority")),
    );
    assert!(pair.count(Kind::NewlyPermitted) > 0, "{pair:#?}");
    let narrower = differ(
        &with(&permit("context.args has priority")),
        &with(&permit("context.args has priority && context.args.title == context.args.priority")),
    );
    assert!(!narrower.widens() && narrower.count(Kind::NewlyDenied) > 0, "{narrower:#?}");
}

/// Conditions that nest cost their length. A reader that followed both sides of each step would take years.
#[test]
fn a_condition_that_nests_costs_its_length() {
    let nested = |last: &str| {
        let mut condition = format!("context.chain_depth < {last}");
        for depth in 0..48 {
            let op = if depth % 2 == 0 { "&&" } else { "||" };
            condition = format!("!({condition}) {op} context.chain_depth < 9");
        }
        with(&permit(&condition))
    };
    let found = differ(&nested("3"), &nested("4"));
    assert!(found.asked.generated <= 1_000);
    assert_eq!(found.digest(), differ(&nested("3"), &nested("4")).digest());
}

/// Without steps nothing is made up, and what changed is taken for wider; how many steps there are is all that counts.
#[test]
fn the_budget_is_of_steps_and_what_it_does_not_reach_is_wider() {
    let (old, new) = (with(&permit("context.chain_depth < 4")), with(&permit("context.chain_depth < 3")));
    for work in [0, 100, 1_000] {
        let found = compare(&old, &new, &[], NOW, Budget { work, ..Budget::VOTER });
        assert!(found.left_out > 0 && loosens(&found, "more.ticket").is_some(), "{work}: {found:#?}");
        assert_eq!(found, compare(&old, &new, &[], NOW, Budget { work, ..Budget::VOTER }));
    }
    assert!(!differ(&old, &new).widens());
}

/// In the place of a wildcard stands what no pattern spells, so that a pattern that matches more is found to.
#[test]
fn a_pattern_that_matches_more_is_found_and_one_that_matches_less_is_not() {
    let title = |pattern: &str| with(&permit(&format!("context.args.title like \"{pattern}\"")));
    for (narrow, wide) in [("x*", "*x*"), ("a*b", "a*"), ("a*b*c", "a*c"), ("same", "s*e")] {
        let found = differ(&title(narrow), &title(wide));
        assert!(found.count(Kind::NewlyPermitted) > 0, "{narrow} to {wide}: {found:#?}");
        let back = differ(&title(wide), &title(narrow));
        assert!(!back.widens() && back.count(Kind::NewlyDenied) > 0, "{wide} to {narrow}: {back:#?}");
    }
    let forbids = |pattern: &str| {
        let forbid = format!(
            "@id(\"more.forbid\")\nforbid (principal, action == Action::\"tickets.create\", resource)\nwhen {{ \
             context.args.title like \"{pattern}\" }};\n"
        );
        with(&(permit("context.purpose like \"review.*\"") + &forbid))
    };
    assert!(differ(&forbids("*x*"), &forbids("x*")).widens());
}

/// One way of holding that is met does not speak for another that the request which was made for it does not meet.
#[test]
fn a_way_of_holding_that_no_request_meets_is_wider() {
    let plain = "context.chain_depth < 3";
    let twisted = "context.max_records == 7 && context.chain_depth < context.max_records && context.now == 9 && \
                   context.chain_depth < context.now && context.expires_at == 11 && context.chain_depth < \
                   context.expires_at && context.max_records < context.expires_at";
    let reads = |condition: &str| {
        with(&permit(condition).replace("tickets.create", "contracts.read").replace("more.ticket", "more.read"))
    };
    let found = differ(&reads(plain), &reads(&format!("{plain} || ({twisted})")));
    assert!(found.widens(), "{found:#?}");
}

/// Where envelopes bind an argument, and where records are counted, shows in no decision that is asked.
#[test]
fn what_a_descriptor_binds_elsewhere_is_wider() {
    let swapped = changed(
        "catalogue/acme.toml",
        "dimensions   = { customer = \"/customer_id\", contract = \"/contract_id\" }",
        "dimensions   = { customer = \"/contract_id\", contract = \"/customer_id\" }",
    );
    let found = differ(&bundle(example()), &swapped);
    assert!(loosens(&found, "contracts.read").is_some_and(|why| why.contains("other arguments")), "{found:#?}");
    let elsewhere = changed("catalogue/acme.toml", "records      = \"/contracts\"", "records      = \"/notes\"");
    let found = differ(&bundle(example()), &elsewhere);
    assert!(loosens(&found, "contracts.read").is_some_and(|why| why.contains("counted elsewhere")), "{found:#?}");
}

/// The fixture of the AuthZEN certification scenario.
fn authzen() -> BTreeMap<String, Vec<u8>> {
    macro_rules! files {
        ($($path:literal),*) => {
            BTreeMap::from([$((
                $path.to_owned(),
                include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/authzen/bundle/", $path)).to_vec(),
            )),*])
        };
    }
    files!["bundle.toml", "purposes.toml", "classes.toml", "schema.cedarschema", "policies/records.cedar"]
}

/// No request shows what is asked without an envelope, so what could change the answer is said to be wider (P-54).
#[test]
fn what_is_asked_without_an_envelope_is_not_widened_in_silence() {
    let files = authzen();
    let of = |files: &BTreeMap<String, Vec<u8>>| bundle(files.clone());
    let old = of(&files);
    assert!(!differ(&old, &old).widens());
    let more = replaced(files.clone(), "schema.cedarschema", "resource: [record] };", "resource: [record, user] };");
    assert!(loosens(&differ(&old, &of(&more)), "schema.cedarschema").is_some());
    let permit = replaced(files.clone(), "policies/records.cedar", "principal == user::\"alice\"", "principal is user");
    assert!(loosens(&differ(&old, &of(&permit)), "records.write").is_some());
    let named = replaced(files.clone(), "bundle.toml", "\"write\", \"delete\"]", "\"write\"]");
    let named =
        replaced(named, "policies/records.cedar", "@id(\"records.delete-softly\")", "@id(\"records.write-softly\")");
    let named = replaced(named, "policies/records.cedar", "Action::\"delete\"", "Action::\"write\"");
    let fewer = of(&replaced(named, "policies/records.cedar", "when { context.action.soft };", ";"));
    let found = differ(&fewer, &old);
    assert!(loosens(&found, "authzen_without_envelope").is_some_and(|why| why.contains("`delete`")), "{found:#?}");
}
