//! The arguments that policies see are those of the catalogue entry. Clauses P-50 to P-52.

use std::collections::BTreeMap;

use remit_common::policy::{CompiledPolicy, Decision, PolicyFault, Relations, decide};

use super::{NOW, call, compiled, example, maya};

type Files = BTreeMap<String, Vec<u8>>;

const LIMITS: &str = "policies/limits.cedar";

fn replaced(files: &mut Files, file: &str, from: &str, to: &str) {
    let text = String::from_utf8(files[file].clone()).expect("text");
    assert!(text.contains(from), "{file} no longer contains {from}");
    files.insert(file.to_owned(), text.replacen(from, to, 1).into_bytes());
}

/// The example with one more rule about tickets.
fn with_rule(rule: &str) -> Files {
    let mut files = example();
    let rules = files.get_mut(LIMITS).expect("the file");
    rules.extend_from_slice(format!("\n@id(\"mine\") forbid (principal, {rule};\n").as_bytes());
    files
}

const TICKETS: &str = "action == Action::\"tickets.create\", resource)";

fn faults(files: &Files) -> Vec<PolicyFault> {
    CompiledPolicy::compile(files).map(|_| ()).expect_err("this should have been a fault")
}

/// The one fault, without its place, and the text at it.
fn fault(rule: &str) -> (String, String) {
    let files = with_rule(rule);
    let found = faults(&files);
    let [fault] = found.as_slice() else { panic!("{found:#?}") };
    let text = String::from_utf8(files[&fault.file].clone()).expect("text");
    let line = text.lines().nth(usize::try_from(fault.line).expect("a line") - 1).expect("it is there");
    let at: String = line.chars().skip(usize::try_from(fault.column).expect("a column") - 1).collect();
    (format!("{} (help: {})", fault.message, fault.help.clone().unwrap_or_default()), at)
}

fn answer(files: &Files, arguments: &str) -> String {
    let policy = compiled(files);
    match decide(&policy, &maya(&policy), &call("tickets.create", arguments), &Relations::none(), NOW) {
        Decision::Permit(permitted) => permitted.policies[0].to_string(),
        Decision::Deny(denied) => format!("{}: {}", denied.reason, denied.detail),
    }
}

#[test]
fn the_schema_in_force_has_the_arguments_of_every_tool() {
    let schema = compiled(&example()).schema_text().to_owned();
    let flat = schema.split_whitespace().collect::<Vec<_>>().join(" ");
    for told in ["args: { contract_id: String, customer_id: String, include_terms?: Bool }", "title: String }"] {
        assert!(flat.contains(told), "{told}: {schema}");
    }
    // What it prints is a schema again, and means the same.
    let mut files = example();
    files.insert("schema.cedarschema".to_owned(), schema.clone().into_bytes());
    assert_eq!(compiled(&files).schema_text(), schema);
}

#[test]
fn a_rule_reads_what_the_catalogue_says_and_nothing_has_to_be_declared() {
    let files = with_rule(&format!("{TICKETS} when {{ context.args.title like \"*secret*\" }}"));
    let ticket = |title: &str| format!(r#"{{"customer_id":"cust_acme_1042","title":"{title}","body":"b"}}"#);
    assert_eq!(answer(&files, &ticket("Renewal")), "renewal.ticket");
    assert!(answer(&files, &ticket("a secret thing")).starts_with("forbidden"));
    // What a rule reads has to be what the catalogue says; what nobody reads is not looked at.
    let odd = r#"{"customer_id":"cust_acme_1042","title":7,"body":"b"}"#;
    assert!(
        answer(&files, odd).starts_with("evaluation_failed: policies cannot be asked: `args.title` is not a String")
    );
    assert_eq!(answer(&example(), odd), "renewal.ticket");
    let absent = r#"{"customer_id":"cust_acme_1042","body":"b"}"#;
    assert!(answer(&files, absent).starts_with("evaluation_failed"));
}

#[test]
fn an_argument_that_nobody_has_is_a_fault_where_it_is_read() {
    let (said, at) = fault(&format!("{TICKETS} when {{ context.args.titl == \"x\" }}"));
    assert_eq!(said, "`tickets.create` has no argument `titl` that a policy can read (help: did you mean `title`?)");
    assert!(at.starts_with("context.args.titl"), "{at}");
    // Also where it is only asked for: such a rule would hold always, or never.
    for asks in ["!(context.args has wichtig)", "!(context has args.wichtig)"] {
        let (said, at) = fault(&format!("{TICKETS} when {{ {asks} }}"));
        assert!(said.contains("no argument `wichtig`") && said.contains("body: String"), "{said}");
        assert!(at.starts_with("context"), "{at}");
    }
    let any = "action, resource) when { context has args && context.args has wichtig }";
    let (said, _) = fault(any);
    assert!(said.starts_with("none of the 6 tools that this rule is about has an argument `wichtig`"), "{said}");
    // One of several tools is enough.
    let one = "action in [Action::\"tickets.create\", Action::\"crm.read\"], resource)";
    compiled(&with_rule(&format!("{one} when {{ context.args has priority && context.args.priority == \"low\" }}")));
}

#[test]
fn an_argument_of_another_type_is_a_fault_where_it_is_used() {
    let (said, at) = fault(&format!("{TICKETS} when {{ context.args.title > 3 }}"));
    assert!(said.contains("Long") && said.contains("String"), "{said}");
    assert!(at.starts_with("context.args.title"), "{at}");
    // One that calls may leave out is asked for first.
    let (said, at) = fault(&format!("{TICKETS} when {{ context.args.priority == \"low\" }}"));
    assert!(said.contains("priority") && at.starts_with("context.args.priority"), "{said} {at}");
}

#[test]
fn an_argument_without_a_type_is_named_with_what_would_help() {
    let mut files = with_rule(&format!("{TICKETS} when {{ context.args.priority == 3 }}"));
    replaced(
        &mut files,
        "catalogue/acme.toml",
        "{ type = \"string\", enum = [\"low\", \"normal\", \"urgent\"] }",
        "{ type = \"number\" }",
    );
    let found = faults(&files);
    let fits = |fault: &PolicyFault| fault.help.as_ref().is_some_and(|help| help.contains("give `priority` a type"));
    assert!(found.iter().any(fits), "{found:#?}");
}

/// A forbid that asks whether an argument is there would pass over the tool where policies cannot see it.
#[test]
fn a_rule_about_two_tools_of_which_one_hides_the_argument_is_a_fault() {
    let rule = "action in [Action::\"tickets.create\", Action::\"crm.read\"], resource) when { context.args has priority && context.args.priority == \"urgent\" }";
    for (kind, hides) in [("\"string\"", false), ("[\"string\", \"null\"]", true)] {
        let mut files = with_rule(rule);
        let (customer, records) = ("customer_id = { type = \"string\" }\n", "records      = \"/notes\"\n");
        replaced(&mut files, "catalogue/acme.toml", customer, &format!("{customer}priority = {{ type = {kind} }}\n"));
        replaced(&mut files, "catalogue/acme.toml", records, &format!("{records}free = [\"/priority\"]\n"));
        let found = CompiledPolicy::compile(&files).err().unwrap_or_default();
        let fits = |fault: &PolicyFault| fault.message.contains("`crm.read` takes `priority`");
        assert_eq!(found.iter().any(fits), hides, "{kind}: {found:#?}");
    }
}
