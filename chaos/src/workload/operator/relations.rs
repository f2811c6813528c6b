//! Whoever writes relations: says who manages a contract, and that they do not any more.

use std::time::Duration;

use remit_common::net::tasks::Shutdown;
use remit_common::policy::relations::Tuple;
use remit_common::relation_log::BatchContent;
use remit_control_plane::admin::model::{RelationList, RelationsWritten};

use super::{Made, Operator};
use crate::history::WriteKind;
use crate::launcher::read_signing_key;
use crate::workload::offers;
use crate::workload::rest::rest;

const PATH: &str = "/v1/relations";
/// How often a change is signed anew. What was not answered may have been carried out; then the next follows on it.
const ATTEMPTS: u32 = 3;

impl Operator {
    /// Says that the delegator of every session manages a contract from now on, or does not any more. Gives the revision
    /// when a voter took it.
    pub async fn relate(&self, contract: &str, holds: bool) -> Option<u64> {
        let _one_at_a_time = self.0.relating.lock().await;
        for _ in 0..ATTEMPTS {
            if let Some(written) = self.write_relation(contract, holds).await {
                return Some(written.revision);
            }
        }
        None
    }

    async fn write_relation(&self, contract: &str, holds: bool) -> Option<RelationsWritten> {
        let mesh = self.0.access.mesh();
        let key = read_signing_key(&self.env(), mesh.keys.relations.as_ref()?).ok()?;
        let head = self.get_any::<RelationList>(&format!("{PATH}?tenant={}&limit=1", mesh.tenant)).await?;
        let relation = offers::manager_of(contract);
        let tuple: Tuple = relation.parse().ok()?;
        let (add, remove) = if holds { (vec![tuple], Vec::new()) } else { (Vec::new(), vec![tuple.key]) };
        let next = (head.revision.saturating_add(1), head.digest);
        let batch = BatchContent::change(mesh.mesh_id, mesh.tenant, next, add, remove).sign(&key).ok()?;
        let kind = WriteKind::Relate { relation, holds };
        let made = |written: &RelationsWritten| Made { revision: Some(written.revision), ..Made::at(written.index) };
        self.write_as(&key, kind, PATH, batch.bytes().to_vec(), made).await
    }

    /// Makes somebody the manager of the second contract, and takes that back, over and over.
    pub(in crate::workload) async fn relate_repeatedly(self, every: Duration, stop: Shutdown) {
        let mut holds = true;
        while rest(&self.env(), every, &stop).await {
            if self.relate(offers::CHANGING, holds).await.is_some() {
                holds = !holds;
            }
        }
    }
}
