//! What one document says otherwise than the one before it, line by line.
//!
//! It looks at the JSON and not at the types, so that whatever a document says is compared, also what is new in it.

use std::collections::BTreeMap;

use remit_common::crypto::sign::PublicKey;
use remit_common::time::Timestamp;
use remit_common::trust::ceremony::Content;
use serde_json::Value;

use crate::failure::{Exit, Failure};

/// Members whose numbers are moments.
const MOMENTS: [&str; 4] = ["created", "expires", "from", "until"];
/// What tells two rows of a list apart: the first that a row has.
const NAMES: [&str; 3] = ["id", "key", "name"];

/// Every difference; none without a document to compare with.
pub(super) fn between(before: Option<&Content>, after: &Content) -> Result<Vec<String>, Failure> {
    let Some(before) = before else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    compare("", &value(before)?, &value(after)?, &mut found);
    Ok(found)
}

/// The JSON form of a document's content.
pub(super) fn value(content: &Content) -> Result<Value, Failure> {
    serde_json::to_value(content).map_err(|error| Failure::caused(Exit::Failed, &error))
}

fn compare(at: &str, before: &Value, after: &Value, found: &mut Vec<String>) {
    if before == after {
        return;
    }
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let names: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
            for name in names {
                let at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                match (before.get(name), after.get(name)) {
                    (Some(before), Some(after)) => compare(&at, before, after, found),
                    (None, Some(after)) => found.push(format!("+ {at} {}", short(&at, after))),
                    (Some(before), None) => found.push(format!("- {at} {}", short(&at, before))),
                    (None, None) => {}
                }
            }
        }
        (Value::Array(before), Value::Array(after)) => rows(at, before, after, found),
        _ => found.push(format!("~ {at}: {} -> {}", short(at, before), short(at, after))),
    }
}

fn rows(at: &str, before: &[Value], after: &[Value], found: &mut Vec<String>) {
    let named = |rows: &[Value]| rows.iter().map(|row| (name(row), row.clone())).collect::<BTreeMap<_, _>>();
    let (before, after) = (named(before), named(after));
    for (name, row) in &after {
        match before.get(name) {
            None => found.push(format!("+ {at} {}", label(at, name))),
            Some(old) => compare(&format!("{at} {name}"), old, row, found),
        }
    }
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        found.push(format!("- {at} {}", label(at, name)));
    }
}

/// A signer's key with its id: signatures name that, and descriptions the key.
fn label(at: &str, name: &str) -> String {
    let key = serde_json::from_value::<PublicKey>(Value::String(name.to_owned()));
    match key {
        Ok(key) if at.ends_with(".keys") => format!("{name} (key id {})", key.id()),
        _ => name.to_owned(),
    }
}

/// What a row is known by.
pub(super) fn name(row: &Value) -> String {
    match NAMES.iter().find_map(|name| row.get(*name)) {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => row.as_str().map_or_else(|| row.to_string(), str::to_owned),
    }
}

fn short(at: &str, value: &Value) -> String {
    let member = at.rsplit(['.', ' ']).next().unwrap_or_default();
    match value {
        Value::Number(number) if MOMENTS.contains(&member) => {
            number.as_u64().map_or_else(|| number.to_string(), |millis| Timestamp::from_millis(millis).to_string())
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_difference_is_told_and_nothing_else() {
        let before = json!({
            "version": 1, "expires": 0, "root": { "keys": ["aa", "bb"], "threshold": 1 },
            "voters": [{ "id": 1, "identity": "x" }, { "id": 2, "identity": "y" }],
        });
        let after = json!({
            "version": 2, "expires": 86_400_000, "root": { "keys": ["bb", "cc"], "threshold": 2 },
            "voters": [{ "id": 2, "identity": "z", "beacon": "b" }, { "id": 3, "identity": "w" }],
        });
        let mut found = Vec::new();
        compare("", &before, &after, &mut found);
        let expected = [
            "~ expires: 1970-01-01T00:00:00.000Z -> 1970-01-02T00:00:00.000Z",
            "+ root.keys cc",
            "- root.keys aa",
            "~ root.threshold: 1 -> 2",
            "~ version: 1 -> 2",
            "+ voters 2.beacon b",
            "~ voters 2.identity: y -> z",
            "+ voters 3",
            "- voters 1",
        ];
        assert_eq!(found, expected);
        let mut none = Vec::new();
        compare("", &before, &before, &mut none);
        assert!(none.is_empty());
    }
}
