//! Canaries: requests with the decisions that a bundle's authors expect.
//!
//! They stand in `canaries.yaml`, travel in the signed manifest, and are asked when a bundle is compiled, at the
//! author's desk, by the voters and on every edge: an edge that would read the sources in another way than their
//! author did refuses to activate them. Clause B-14, docs/PROTOCOL.md.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::rejected::BundleRejected;
use super::verified::CompiledBundle;
use crate::envelope::{AgentIdentity, AgentRequest, Authority, GrantRequest};
use crate::id::{Delegator, DimensionName, InvalidId, PolicyId, SessionId, TaskId, ToolName};
use crate::lattice::{Audience, Delegation, Demands, Scope};
use crate::policy::relations::Tuple;
use crate::policy::{Decision, Reason, Relations, ToolCall, json};
use crate::time::Timestamp;

/// Canaries of one bundle. Each is decided at every compilation, in microseconds.
pub const CANARIES_MAX: usize = 256;
/// Relation tuples of one canary.
pub const TUPLES_MAX: usize = 64;
/// Bytes of a canary's name.
const NAME_BYTES_MAX: usize = 128;
/// How long the envelope of a canary would live.
const LIFE: Duration = Duration::from_secs(3_600);

/// A request and its decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// What it shows, in words.
    pub name: String,
    /// The human.
    pub delegator: Delegator,
    /// The human's session, if that matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// The task, if that matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// The agent that calls.
    pub agent: AgentRequest,
    /// The agents above it, the root's first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<AgentRequest>,
    /// The dotted name of the purpose.
    pub purpose: String,
    /// What is granted, as in a task request.
    pub grants: Vec<GrantRequest>,
    /// What is called.
    pub call: CanaryCall,
    /// The relation tuples that there are; none where it says nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tuples: Vec<Tuple>,
    /// `permit`, or the reason of the denial.
    pub expect: Reason,
    /// The policies that decide, if that matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies: Option<Vec<PolicyId>>,
    /// The dimension that a denial names, if that matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimension: Option<DimensionName>,
}

/// The call of a canary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CanaryCall {
    /// The tool.
    pub tool: ToolName,
    /// Its arguments.
    #[serde(default)]
    pub arguments: serde_json::Map<String, serde_json::Value>,
}

/// The session and the task of a canary that names none.
const UNNAMED: &str = "canary";

impl Canary {
    /// Asks and compares.
    ///
    /// # Errors
    /// [`BundleRejected::BadCanary`] when it cannot be asked, [`BundleRejected::Canary`] when the answer is another.
    pub fn check(&self, bundle: &CompiledBundle) -> Result<(), BundleRejected> {
        let bad = |fault: String| BundleRejected::BadCanary { name: self.name.clone(), fault };
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX || self.name.chars().any(char::is_control) {
            return Err(bad("a name has 1 to 128 bytes and no control characters".to_owned()));
        }
        let relations = self.relations(bundle).map_err(bad)?;
        let decision = self.ask(bundle, &relations, bundle.manifest().created).map_err(bad)?;
        let (found, dimension) = (decision.reason(), decision.dimension());
        let wrong =
            |detail| Err(BundleRejected::Canary { name: self.name.clone(), expected: self.expect, found, detail });
        if found != self.expect {
            return wrong(decision.detail().to_owned());
        }
        if let Some(expected) = &self.policies {
            let (mut expected, mut policies): (Vec<_>, Vec<_>) = (expected.clone(), decision.policies().to_vec());
            expected.sort();
            policies.sort();
            if expected != policies {
                return wrong(format!("decided by {policies:?}"));
            }
        }
        if self.dimension.is_some() && self.dimension.as_ref() != dimension {
            return wrong(format!("the dimension is {dimension:?}"));
        }
        Ok(())
    }

    /// The canary's tuples; no relations where the bundle has no model for them.
    pub(super) fn relations(&self, bundle: &CompiledBundle) -> Result<Relations, String> {
        let Some(rules) = bundle.policy().relation_rules() else {
            let are_none = self.tuples.is_empty();
            return are_none
                .then(Relations::none)
                .ok_or_else(|| "the bundle has no relations.fga for its tuples".into());
        };
        if self.tuples.len() > TUPLES_MAX {
            return Err(format!("a canary has at most {TUPLES_MAX} tuples"));
        }
        for tuple in &self.tuples {
            rules.schema().check(&tuple.key).map_err(|unfit| format!("`{tuple}`: {unfit}"))?;
        }
        Ok(Relations::new(rules.schema().clone(), 0, self.tuples.iter().cloned()))
    }

    /// Asks, and leaves the comparison to the caller.
    pub(super) fn ask(
        &self,
        bundle: &CompiledBundle,
        relations: &Relations,
        at: Timestamp,
    ) -> Result<Decision, String> {
        let authority = self.authority(bundle, at)?;
        Ok(bundle.decide(&authority, &self.call.to_call()?, relations, at))
    }

    pub(super) fn authority(&self, bundle: &CompiledBundle, at: Timestamp) -> Result<Authority, String> {
        let taxonomy = bundle.policy().taxonomy();
        let manifest = bundle.manifest();
        let text = |fault: InvalidId| fault.to_string();
        let purpose =
            taxonomy.purpose(&self.purpose).ok_or_else(|| format!("there is no purpose `{}`", self.purpose))?;
        let grants = self.grants.iter().enumerate().map(|(index, grant)| grant.resolve(index, taxonomy));
        let grants = grants.collect::<Result<Vec<_>, _>>().map_err(|fault| fault.to_string())?;
        let chain_agents: Vec<AgentIdentity> =
            self.chain.iter().chain([&self.agent]).map(AgentIdentity::from).collect();
        let chain_depth = u8::try_from(chain_agents.len()).map_err(|_| "the chain is too long".to_owned())?;
        Ok(Authority {
            tenant: manifest.tenant.clone(),
            delegator: self.delegator.clone(),
            session: self.session.clone().map_or_else(|| SessionId::new(UNNAMED), Ok).map_err(text)?,
            task: self.task.clone().map_or_else(|| TaskId::new(UNNAMED), Ok).map_err(text)?,
            agent: self.agent.id.clone(),
            class: self.agent.class.clone(),
            chain_agents,
            purpose,
            not_before: at,
            expires: at.plus(LIFE),
            depth_left: Delegation::NOT.depth_left,
            fanout_max: Delegation::NOT.fanout_max,
            offline: Delegation::NOT.offline,
            audience: Audience::EVERYWHERE,
            demands: Demands::NONE,
            chain_depth,
            scope: Scope::root(grants).map_err(|fault| fault.to_string())?,
            min_bundle_version: manifest.version,
            taxonomy_version: taxonomy.version(),
            catalogue_version: manifest.version.0,
        })
    }
}

impl CanaryCall {
    pub(super) fn to_call(&self) -> Result<ToolCall, String> {
        let bytes = serde_json::to_vec(&self.arguments).map_err(|fault| fault.to_string())?;
        let arguments = json::parse(&bytes, json::Mode::Arguments).map_err(|fault| fault.to_string())?;
        Ok(ToolCall { tool: self.tool.clone(), arguments })
    }
}
