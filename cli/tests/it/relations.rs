//! Relations from a writer's desk to an edge, by real processes: what is added is permitted, what is removed is refused.

use serde_json::{Value, json};

use crate::mesh::{Mesh, read_7781};
use crate::process::{json as run, read, remit, stdout_of, write};

const MAYA: (&str, &str) = ("maya.envelope", "agent.key");
const OWNS: &str = "contract:contract_7781#account_owner@user:maya@customer-success.example";
const AT_LEAST: &str = "remit-relations-at-least";

const OWNERS_ONLY: &str = r#"
@id("owners.only")
forbid (principal, action == Action::"contracts.read", resource)
unless { context.relations.account_owner };
"#;

const CANARY: &str = r#"
- name: the owner of the account reads
  delegator: user:maya@customer-success.example
  agent: { id: spiffe://customer-success.example/agent/renewal-analyst, class: renewal-analyst }
  purpose: review.renewal_risk
  grants:
    - tools: [contracts.read]
      effects: [read]
      classes: [contract_metadata, renewal_terms]
      ids: { customer: [cust_acme_1042], contract: [contract_7781] }
      maxima: { records: 25 }
  tuples: ["contract:contract_7781#account_owner@user:maya@customer-success.example"]
  call:
    tool: contracts.read
    arguments: { customer_id: cust_acme_1042, contract_id: contract_7781 }
  expect: permit
"#;

impl Mesh {
    /// Activates a version of the example in which only owners of an account read its contracts.
    fn publish_owners_only(&self) {
        let bundle = self.path().join(".remit/example/bundle");
        let schema = String::from_utf8(read(&bundle.join("schema.cedarschema"))).unwrap();
        let seen = "max_records: Long, classes: Set<String>,\n        dimensions:";
        let with = seen.replacen("max_records", "relations: { account_owner: Bool }, max_records", 1);
        assert!(schema.contains(seen), "{schema}");
        write(&bundle.join("schema.cedarschema"), schema.replacen(seen, &with, 1).as_bytes());
        write(&bundle.join("policies/owners.cedar"), OWNERS_ONLY.as_bytes());
        write(&bundle.join("canaries.yaml"), CANARY.as_bytes());
        self.build("v2.bundle", "2", &[]);
        // What relations permit is not for a comparison to know, so this counts as wider.
        let push = ["bundle", "push", "v2.bundle", "--approve-widening", "--reason", "owners read their contracts"];
        stdout_of(&remit(self.path(), &push), 0);
        while run(self.path(), &["status"])["edges"][0]["status"]["bundle_version"] != 2 {}
    }

    /// What an edge says that has relations of this revision or later.
    async fn read_at(&self, revision: &str) -> Value {
        loop {
            let answer = self.call_with(MAYA, "contracts.read", read_7781(), &[(AT_LEAST, revision)]).await;
            if answer["error"]["data"]["reason"] != "stale" {
                return answer;
            }
        }
    }
}

#[tokio::test]
async fn a_tuple_that_is_added_permits_and_one_that_is_removed_does_not() {
    let mesh = Mesh::up("1");
    let here = mesh.path();
    run(here, &["envelope", "issue", "--task", ".remit/example/task.toml", "-o", MAYA.0, "--key", MAYA.1]);
    mesh.publish_owners_only();
    let answer = mesh.read_at("0").await;
    assert_eq!(answer["error"]["data"]["reason"], "forbidden", "nobody owns anything yet: {answer}");

    let added = run(here, &["relation", "add", OWNS]);
    assert_eq!((&added["revision"], &added["added"]), (&json!(1), &json!(1)), "{added}");
    let answer = mesh.read_at("1").await;
    assert_eq!(answer["result"]["structuredContent"]["contracts"].as_array().map(Vec::len), Some(25), "{answer}");
    // Nobody has written a second revision: whoever asks for it is not judged by the first.
    let answer = mesh.call_with(MAYA, "contracts.read", read_7781(), &[(AT_LEAST, "2")]).await;
    assert_eq!(answer["error"]["data"]["reason"], "stale", "{answer}");

    let asked = run(here, &["relation", "check", OWNS]);
    assert_eq!(asked, json!({ "holds": true, "revision": 1, "because": [OWNS] }));
    let other = remit(here, &["relation", "check", "contract:contract_7790#account_owner@user:maya"]);
    assert!(stdout_of(&other, 1).starts_with("no, as of revision 1"), "{other:?}");
    let status = run(here, &["status"]);
    let known = json!([{ "tenant": "acme", "revision": 1, "tuples": 1, "batches": 1 }]);
    assert_eq!(status["control"]["relations"], known, "{status}");

    let listed = run(here, &["relation", "ls"]);
    assert_eq!((&listed["tuples"], &listed["unusable"]), (&json!([OWNS]), &json!(null)), "{listed}");
    let wrong = remit(here, &["relation", "add", "contract:contract_7781#acount_owner@user:maya", "--json"]);
    assert!(stdout_of(&wrong, 1).contains("unknown_tuple"), "{wrong:?}");

    let removed = run(here, &["relation", "rm", OWNS]);
    assert_eq!((&removed["revision"], &removed["removed"]), (&json!(2), &json!(1)), "{removed}");
    let answer = mesh.read_at("2").await;
    assert_eq!(answer["error"]["data"]["reason"], "forbidden", "{answer}");
    // The record says by which tuples it was judged.
    let id = answer["error"]["data"]["decision_id"].as_str().unwrap();
    let shown = loop {
        let output = remit(here, &["decision", "show", id, "--json"]);
        if output.status.success() {
            break stdout_of(&output, 0);
        }
    };
    let shown: Value = serde_json::from_str(&shown).unwrap();
    assert!(shown.to_string().contains("\"relations_revision\":2"), "{shown}");

    let stated = run(here, &["relation", "compact"]);
    assert_eq!((&stated["revision"], &stated["tuples"]), (&json!(3), &json!(0)), "{stated}");
    assert_eq!(run(here, &["relation", "ls"])["batches"], 1);
}
