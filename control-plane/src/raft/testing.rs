//! What the tests of this folder share.

use std::sync::Arc;

use remit_common::id::LogIndex;

use super::{RestoreError, SnapshotCheck, StateMachine};

/// Keeps every entry, so that a test can compare all that was applied.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    applied: Vec<(u64, Vec<u8>)>,
}

impl StateMachine for Counter {
    fn apply(&mut self, index: LogIndex, entry: &[u8]) -> Vec<u8> {
        self.applied.push((index.0, entry.to_vec()));
        self.applied.len().to_be_bytes().to_vec()
    }

    fn snapshot(&self) -> Vec<u8> {
        serde_json::to_vec(&self.applied).unwrap()
    }

    fn snapshot_check(&self) -> SnapshotCheck {
        Arc::new(|snapshot| Self::default().restore(snapshot))
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), RestoreError> {
        self.applied = serde_json::from_slice(snapshot).map_err(|error| RestoreError(error.to_string()))?;
        Ok(())
    }
}
