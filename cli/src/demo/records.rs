//! What operators see of the decisions, and whether all of it is there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use remit_common::crypto::digest::Digest;
use remit_common::id::BootId;
use remit_common::record::{Record, verify_chain};
use remit_common::text;
use remit_control_plane::admin::model::StoredRecords;
use serde_json::Value;

use super::Stage;
use crate::commands::decision::fetch;
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

/// Checks that every record is there, none twice, and that each edge's records are one unbroken chain: from the bytes
/// that the edges wrote, with each edge's key.
pub(super) async fn audit(stage: &mut Stage) -> Result<(), Failure> {
    let from = stage.now();
    let (_, directory) = stage.trust().await?;
    let mut records: BTreeMap<Digest, Record> = BTreeMap::new();
    let mut twice = 0u64;
    for voter in &stage.file.voters {
        let mut places = BTreeSet::new();
        for record in stored(stage, &voter.admin).await? {
            let public = record.public();
            twice += u64::from(!places.insert((public.edge.clone(), public.boot, public.seq)));
            records.insert(record.hash(&stage.file.mesh_id), record);
        }
    }
    let mut faults = Vec::new();
    for edge in directory.edges() {
        let chain = in_order(records.values().filter(|record| record.public().edge == edge.id));
        match verify_chain(&stage.file.mesh_id, &edge.id, &edge.identity, None, chain) {
            Ok(Some(_)) => {}
            Ok(None) => faults.push(format!("{} has no record", edge.id)),
            Err(fault) => faults.push(format!("{}: {fault}", edge.id)),
        }
    }
    let got = if faults.is_empty() {
        let edges = directory.edges().count();
        format!("{} records of {edges} edges, {twice} twice, chains verified with each edge's key", records.len())
    } else {
        faults.join("; ")
    };
    let ok = faults.is_empty() && twice == 0;
    stage.check(from, "the records", "every one arrived, none twice, chains intact", got, ok);
    Ok(())
}

/// Everything in one voter's store.
async fn stored(stage: &Stage, admin: &str) -> Result<Vec<Record>, Failure> {
    let mut all = Vec::new();
    let mut after = 0;
    loop {
        let page: StoredRecords = stage.admin.get_from(admin, &format!("/v1/records?after={after}")).await?;
        if page.records.is_empty() {
            return Ok(all);
        }
        for record in &page.records {
            let bytes = text::from_base64(record).unwrap_or_default();
            all.push(Record::parse(&bytes).map_err(|error| Failure::caused(Exit::Failed, &error))?);
        }
        after = page.last;
    }
}

/// The records of one edge, one process after the other.
fn in_order<'r>(records: impl Iterator<Item = &'r Record>) -> Vec<&'r Record> {
    let mut boots: BTreeMap<BootId, Vec<&Record>> = BTreeMap::new();
    for record in records {
        boots.entry(record.public().boot).or_default().push(record);
    }
    let mut boots: Vec<_> = boots.into_values().collect();
    for boot in &mut boots {
        boot.sort_by_key(|record| record.public().seq);
    }
    boots.sort_by_key(|boot| boot.first().map(|record| record.public().mono));
    boots.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_put_in_words() {
        let record =
            serde_json::json!({ "remit": { "policies": ["limits.urgent"], "dimension": "customer", "hop": 0 } });
        assert_eq!(why(&record), "rule limits.urgent; dimension customer; narrowed away at link 0");
        assert_eq!(why(&serde_json::json!({})), "");
    }
}
