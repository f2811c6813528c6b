//! Sealed credentials.

use std::collections::BTreeMap;
use std::sync::Arc;

use remit_common::shard::{SealedShard, VerifiedShard};
use remit_common::time::Now;

use super::{Accepted, Refused, State};

impl State {
    fn verify_shard(&self, bytes: &[u8]) -> Result<VerifiedShard, Refused> {
        let directory = self.directory.as_ref().ok_or(Refused::NoDirectory)?;
        Ok(SealedShard::parse(bytes)?.verify_for(directory, &self.config.mesh, &self.config.edge)?)
    }

    /// A sealed shard arrived.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed.
    pub(crate) fn accept_shard(&mut self, bytes: &[u8], now: Now) -> Result<Accepted, Refused> {
        let shard = self.verify_shard(bytes)?;
        let key = (shard.tenant().clone(), shard.credential().clone());
        if !self.config.tenants.contains(&key.0) {
            return Err(Refused::NotOurs(key.0));
        }
        if self.shards.get(&key).is_some_and(|previous| **previous == shard) {
            return Ok(Accepted::Nothing);
        }
        let mut index = self.index.clone();
        let entry = index.tenants.entry(key.0.clone()).or_default();
        // Compared with the highest that ever came, not with what still verifies: a sealer that has left does not
        // open the way back to an older version.
        shard.check_rises(entry.shard_versions.get(&key.1).copied())?;
        entry.shard_versions.insert(key.1.clone(), shard.version());
        let content = self.store.put_content(bytes, now.wall)?;
        entry.shards.insert(key.1.clone(), content);
        self.commit(index)?;
        self.shards.insert(key, Arc::new(shard));
        self.show();
        Ok(Accepted::Changed)
    }

    /// Shards are only as good as the directory that lists their sealer and our key.
    pub(super) fn recheck_shards(&mut self) -> Result<(), Refused> {
        let mut shards = BTreeMap::new();
        for stored in self.index.tenants.values().flat_map(|tenant| tenant.shards.values()) {
            if let Ok(shard) = self.verify_shard(&self.store.content(stored)?) {
                shards.insert((shard.tenant().clone(), shard.credential().clone()), Arc::new(shard));
            }
        }
        self.shards = shards;
        Ok(())
    }
}
