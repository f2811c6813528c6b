//! Offers to renew a contract: what rests on relations that somebody writes, and on a policy that may freeze them.

use anyhow::Result;
use remit_common::envelope::{GrantRequest, IdsRequest, TaskRequest};
use remit_common::id::ResourceId;

use crate::example;

/// The tool.
pub(super) const TOOL: &str = "renewals.propose";
/// The contract whose manager a drill changes.
pub(crate) const STEADY: &str = "contract_7781";
/// The contract whose manager changes all the time.
pub(super) const CHANGING: &str = "contract_7790";

/// The tuple by which the delegator of every session manages a contract.
pub(super) fn manager_of(contract: &str) -> String {
    format!("contract:{contract}#assigned_manager@user:maya@customer-success.example")
}

/// What an envelope has to grant so that an offer for either contract rests on nothing but relation and policy.
pub(super) fn grants() -> Result<Vec<GrantRequest>> {
    let mut grants = TaskRequest::parse_toml(example::PROPOSE)?.grants;
    for ids in grants.iter_mut().flat_map(|grant| grant.ids.values_mut()) {
        if let IdsRequest::These(ids) = ids
            && ids.iter().any(|id| id.as_str() == STEADY)
        {
            ids.push(ResourceId::new(CHANGING)?);
        }
    }
    Ok(grants)
}
