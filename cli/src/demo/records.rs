//! What operators see of the decisions, and whether all of it is there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;

use super::Stage;
use crate::commands::decision::{fetch, fetch_all};
use crate::failure::{Exit, Failure};

/// From an answer to its record at a voter: edges flush reads every 50 ms and send batches every 200 ms.
const ARRIVES_WITHIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(100);

/// The record of a decision, once a voter has it.
pub(super) async fn wait(stage: &Stage, id: &str) -> Result<Value, Failure> {
    let from = stage.now();
    loop {
        let found = fetch(&stage.admin, &stage.file.tenant, id).await?;
        if let Some(record) = found.into_iter().next() {
            return Ok(record);
        }
        if stage.now().since(from) > ARRIVES_WITHIN {
            return Err(Failure::new(Exit::Failed, format!("the record of decision {id} does not arrive")));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Why it was decided so, in a few words: the rules that decided, the dimension and the link, the edge's own note.
pub(super) fn why(record: &Value) -> String {
    let text = |path: &str| match record.pointer(path) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Array(items)) => Some(items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")),
        Some(other) => Some(other.to_string()),
    };
    let mut parts = Vec::new();
    parts.extend(text("/remit/policies").map(|rules| format!("rule {rules}")));
    parts.extend(text("/remit/dimension").map(|name| format!("dimension {name}")));
    parts.extend(text("/remit/hop").map(|hop| format!("narrowed away at link {hop}")));
    parts.extend(text("/remit/note"));
    parts.join("; ")
}

/// Checks that every record is there, none twice, and that each edge's records are one unbroken chain.
pub(super) async fn audit(stage: &mut Stage) -> Result<(), Failure> {
    let from = stage.now();
    let records = fetch_all(&stage.admin, &stage.file.tenant).await?;
    let mut chains: BTreeMap<(String, String), BTreeMap<u64, (String, String)>> = BTreeMap::new();
    let mut twice = 0u64;
    let mut hashes = BTreeSet::new();
    for record in &records {
        let text = |path: &str| record.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
        let seq = record.pointer("/remit/seq").and_then(Value::as_u64).unwrap_or(0);
        let chain = chains.entry((text("/labels/edge"), text("/remit/boot"))).or_default();
        let known = chain.insert(seq, (text("/remit/hash"), text("/remit/prev"))).is_some();
        twice += u64::from(known || !hashes.insert(text("/remit/hash")));
    }
    let broken: Vec<_> =
        chains.iter().filter_map(|((edge, _), chain)| Some(format!("{edge}: {}", fault(chain)?))).collect();
    let got = if broken.is_empty() {
        format!("{} records of {} edges, {twice} twice, chains unbroken", records.len(), chains.len())
    } else {
        broken.join("; ")
    };
    let ok = broken.is_empty() && twice == 0 && chains.len() == stage.file.edges.len();
    stage.check(from, "the records", "every one arrived, none twice, chains unbroken", got, ok);
    Ok(())
}

/// The first place where numbers or hashes do not follow on each other.
fn fault(chain: &BTreeMap<u64, (String, String)>) -> Option<String> {
    let mut before: Option<(u64, &str)> = None;
    for (seq, (hash, prev)) in chain {
        match before {
            None if *seq != 1 => return Some(format!("the first record is number {seq}")),
            Some((last, _)) if *seq != last + 1 => return Some(format!("record {seq} follows on {last}")),
            Some((_, hash)) if hash != prev => return Some(format!("record {seq} does not name the one before it")),
            None | Some(_) => {}
        }
        before = Some((*seq, hash.as_str()));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(records: &[(u64, &str, &str)]) -> BTreeMap<u64, (String, String)> {
        records.iter().map(|(seq, hash, prev)| (*seq, ((*hash).to_owned(), (*prev).to_owned()))).collect()
    }

    #[test]
    fn a_gap_or_a_wrong_link_is_a_fault() {
        let check = |records: &[(u64, &str, &str)], expected: Option<&str>| {
            assert_eq!(fault(&chain(records)).as_deref(), expected);
        };
        check(&[(1, "a", "0"), (2, "b", "a"), (3, "c", "b")], None);
        check(&[(2, "b", "a")], Some("the first record is number 2"));
        check(&[(1, "a", "0"), (3, "c", "b")], Some("record 3 follows on 1"));
        check(&[(1, "a", "0"), (2, "b", "x")], Some("record 2 does not name the one before it"));
    }

    #[test]
    fn the_reason_is_put_in_words() {
        let record =
            serde_json::json!({ "remit": { "policies": ["limits.urgent"], "dimension": "customer", "hop": 0 } });
        assert_eq!(why(&record), "rule limits.urgent; dimension customer; narrowed away at link 0");
        assert_eq!(why(&serde_json::json!({})), "");
    }
}
