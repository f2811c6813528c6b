//! A request that two bundles are asked.
//!
//! Purposes and classes go by their names, because numbers mean what a bundle's own taxonomy says.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use super::super::CompiledBundle;
use super::super::canary::{Canary, CanaryCall};
use crate::envelope::{AgentRequest, Any, Authority, GrantRequest, IdsRequest, MaximumRequest, NumberedOrNamed};
use crate::id::{DecisionId, PolicyId, ToolName};
use crate::lattice::Effect;
use crate::policy::catalogue::RECORDS;
use crate::policy::{Decision, Reason};
use crate::time::Timestamp;

/// Where a request comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "origin")]
pub enum Origin {
    /// A canary of one of the bundles.
    Canary {
        /// Its name.
        name: String,
    },
    /// A test case.
    Test {
        /// Its name.
        name: String,
    },
    /// A decision that an edge recorded.
    Recorded {
        /// Which.
        id: DecisionId,
    },
    /// Made up around a policy, or around something else that changed.
    Generated {
        /// The policy.
        about: Option<PolicyId>,
        /// What the policy should do with it: if it does not, a way in which it may hold was not met.
        #[serde(skip)]
        expects: Expects,
    },
}

/// What a policy should do with a request that was made for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expects {
    /// Whatever.
    #[default]
    Anything,
    /// Permit it, in the later bundle.
    Permit,
    /// Forbid it, in the earlier one.
    Forbid,
}

/// A request.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Where it comes from.
    pub origin: Origin,
    pub(super) canary: Canary,
    /// Whether it gets a grant that admits it, by the descriptor of the bundle that is asked.
    pub(super) granted: bool,
    pub(super) max_records: Option<u64>,
    pub(super) classes: Vec<String>,
    pub(super) now: Timestamp,
    pub(super) expires: Timestamp,
}

/// A request in words, for people and programs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Request {
    /// The tool.
    pub action: ToolName,
    /// The agent that calls.
    pub agent: String,
    /// What kind of agent it is.
    pub class: String,
    /// The human.
    pub delegator: String,
    /// What for.
    pub purpose: String,
    /// Links of the chain.
    pub chain_depth: usize,
    /// The arguments.
    pub arguments: Map<String, Value>,
    /// The records that the grant allows, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_records: Option<u64>,
    /// The classes that the grant allows.
    pub classes: Vec<String>,
    /// When it is asked.
    pub now: Timestamp,
    /// When the envelope ends.
    pub expires: Timestamp,
}

/// How long the envelope of a request that says nothing would live.
const LIFE: Duration = Duration::from_secs(3_600);

impl Question {
    /// The canaries of two bundles, each once.
    pub(super) fn canaries(old: &CompiledBundle, new: &CompiledBundle, now: Timestamp) -> Vec<Self> {
        let mut all: Vec<&Canary> = Vec::new();
        for canary in old.manifest().canaries.iter().chain(&new.manifest().canaries) {
            if !all.contains(&canary) {
                all.push(canary);
            }
        }
        all.into_iter()
            .map(|canary| Self::of_canary(canary, Origin::Canary { name: canary.name.clone() }, now))
            .collect()
    }

    /// A request as a canary or a test case describes it, with its own grants.
    #[must_use]
    pub fn of_canary(canary: &Canary, origin: Origin, now: Timestamp) -> Self {
        let grants = &canary.grants;
        let names = grants.iter().flat_map(|grant| grant.classes.iter().flatten());
        let classes = names
            .map(|class| match class {
                NumberedOrNamed::Name(name) => name.clone(),
                NumberedOrNamed::Number(number) => number.to_string(),
            })
            .collect();
        let records = grants.iter().filter_map(|grant| grant.maxima.get(RECORDS)).find_map(|max| match max {
            MaximumRequest::Max(max) => Some(*max),
            MaximumRequest::Word(Any::Any) => None,
        });
        Self {
            origin,
            canary: canary.clone(),
            granted: false,
            max_records: records,
            classes,
            now,
            expires: now.plus(LIFE),
        }
    }

    /// A request of which policy alone is asked: it gets a grant that admits it.
    #[must_use]
    pub fn granted(request: &Request, chain: Vec<AgentRequest>, origin: Origin) -> Option<Self> {
        let canary = Canary {
            name: String::new(),
            delegator: request.delegator.parse().ok()?,
            session: None,
            task: None,
            agent: AgentRequest { id: request.agent.parse().ok()?, class: request.class.parse().ok()? },
            chain,
            purpose: request.purpose.clone(),
            grants: Vec::new(),
            call: CanaryCall { tool: request.action.clone(), arguments: request.arguments.clone() },
            tuples: Vec::new(),
            expect: Reason::Permit,
            policies: None,
            dimension: None,
        };
        let Request { max_records, now, expires, ref classes, .. } = *request;
        Some(Self { origin, canary, granted: true, max_records, classes: classes.clone(), now, expires })
    }

    /// In words.
    #[must_use]
    pub fn request(&self) -> Request {
        Request {
            action: self.canary.call.tool.clone(),
            agent: self.canary.agent.id.to_string(),
            class: self.canary.agent.class.to_string(),
            delegator: self.canary.delegator.to_string(),
            purpose: self.canary.purpose.clone(),
            chain_depth: self.canary.chain.len().saturating_add(1),
            arguments: self.canary.call.arguments.clone(),
            max_records: self.max_records,
            classes: self.classes.clone(),
            now: self.now,
            expires: self.expires,
        }
    }

    /// What a bundle says to it.
    ///
    /// # Errors
    /// Why it cannot be asked at all: a purpose or a class that the bundle does not have.
    pub(super) fn ask(&self, bundle: &CompiledBundle) -> Result<Decision, String> {
        let mut canary = self.canary.clone();
        if self.granted {
            canary.grants = vec![self.grant(bundle)];
        }
        let authority = canary.authority(bundle, bundle.manifest().created)?;
        let authority = Authority { expires: self.expires, ..authority };
        let call = canary.call.to_call()?;
        Ok(bundle.decide(&authority, &call, &canary.relations(bundle)?, self.now))
    }

    /// A grant that admits the call: every dimension that the tool yields, without a limit.
    fn grant(&self, bundle: &CompiledBundle) -> GrantRequest {
        let tool = bundle.policy().catalogue().tools.get(&self.canary.call.tool);
        let dimensions = tool.iter().flat_map(|tool| &tool.dimensions);
        let amounts = tool.iter().flat_map(|tool| &tool.amounts);
        let mut maxima: BTreeMap<_, _> =
            amounts.map(|(name, _)| (name.clone(), MaximumRequest::Word(Any::Any))).collect();
        if let Some((max, name)) = self.max_records.zip(RECORDS.parse().ok()) {
            maxima.insert(name, MaximumRequest::Max(max));
        }
        GrantRequest {
            of: 0,
            tools: vec![self.canary.call.tool.to_string()],
            future: true,
            pins: BTreeMap::new(),
            effects: Some(Effect::ALL.to_vec()),
            classes: Some(self.classes.iter().cloned().map(NumberedOrNamed::Name).collect()),
            ids: dimensions.map(|(name, _)| (name.clone(), IdsRequest::Word(Any::Any))).collect(),
            maxima,
            args: BTreeMap::new(),
        }
    }
}
