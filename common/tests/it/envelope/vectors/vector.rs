//! One vector: what is put to a verifier, and what it says.

use remit_common::text::hex;
use serde_json::{Map, Value, json};

use super::super::fixture::{ISSUED, MESH, RawLink, issuers, presentation};
use super::judge::judge;

/// What a generator means a vector to come to; checked when it is written.
#[derive(Clone, Debug)]
pub(super) enum Meant {
    Accepted,
    /// Reason, and the word or the link that says more.
    Refused(&'static str, Value),
}

pub(super) struct Vector {
    name: String,
    fields: Map<String, Value>,
    meant: Meant,
}

impl Vector {
    pub(super) fn new(kind: &str, name: &str, clauses: &str, description: &str, meant: Meant) -> Self {
        let mut fields = Map::new();
        fields.insert("version".into(), json!(1));
        fields.insert("kind".into(), json!(kind));
        fields.insert("name".into(), json!(name));
        fields.insert("description".into(), json!(description));
        fields.insert("clauses".into(), clauses.split(' ').map(|clause| json!(clause)).collect());
        fields.insert("mesh".into(), json!(hex(&MESH.0)));
        Self { name: name.to_owned(), fields, meant }
    }

    /// An envelope at an edge, a minute after its root was issued.
    pub(super) fn envelope(name: &str, clauses: &str, description: &str, meant: Meant, bytes: &[u8]) -> Self {
        let listed: Value = issuers()
            .iter()
            .map(|issuer| {
                let until = issuer.until.as_secs();
                json!({
                    "key": hex(issuer.key.as_bytes()),
                    "tenants": issuer.tenants.iter().map(|tenant| tenant.as_str()).collect::<Vec<_>>(),
                    "from_secs": issuer.from.as_secs(),
                    // Not in the life of this format.
                    "until_secs": if until > 2 * ISSUED { Value::Null } else { json!(until) },
                })
            })
            .collect();
        Self::new("envelope", name, clauses, description, meant)
            .with("issuers", listed)
            .with("edges", super::countersign::edges())
            .with("now_ms", json!((ISSUED + 60) * 1_000))
            .with("edge", json!("eu-west-1"))
            .with("region", json!("eu-west"))
            .with("revoked", json!([]))
            .with("presentation", json!(hex(bytes)))
            .with("calls", json!([]))
    }

    pub(super) fn with(mut self, key: &str, value: Value) -> Self {
        self.fields.insert(key.to_owned(), value);
        self
    }

    /// Its name and its file.
    pub(super) fn finish(self) -> (String, String) {
        let Self { name, mut fields, meant } = self;
        let expected = judge(&Value::Object(fields.clone()));
        match meant {
            Meant::Accepted => assert_eq!(expected["verdict"], "accept", "{name}: {expected}"),
            Meant::Refused(reason, more) => {
                let found = expected.get("hop").or(expected.get("fault")).unwrap_or(&Value::Null);
                assert_eq!((&expected["reason"], found), (&json!(reason), &more), "{name}: {expected}");
            }
        }
        fields.insert("expected".into(), expected);
        let text = serde_json::to_string_pretty(&Value::Object(fields)).expect("it is JSON");
        (name, text + "\n")
    }
}

pub(super) fn accepted(name: &str, clauses: &str, description: &str, links: &[RawLink]) -> Vector {
    Vector::envelope(&format!("accept-{name}"), clauses, description, Meant::Accepted, &presentation(links))
}

/// `hop`: the link at which the fault shows; `None` where it is not one of a link.
pub(super) fn refused(
    name: &str,
    clauses: &str,
    description: &str,
    bytes: &[u8],
    reason: &'static str,
    hop: Option<usize>,
) -> Vector {
    Vector::envelope(
        &format!("reject-{name}"),
        clauses,
        description,
        Meant::Refused(reason, hop.map_or(Value::Null, |hop| json!(hop))),
        bytes,
    )
}
