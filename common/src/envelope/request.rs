//! Requests that people write: `task.toml` for a root, `child.toml` for a hop. The same structures are JSON bodies.
//!
//! Names of purposes and classes are resolved against the taxonomy of the active bundle; numbers may stand in their
//! place, for who has no bundle at hand.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{AgentClass, AgentId, Delegator, DimensionName, ResourceId, SessionId, TaskId, TenantId, ToolName};
use crate::lattice::{Effect, Grant, Names, ToolPattern};

use super::delegate::Restriction;
use super::mint::RootRequest;

/// A name of the taxonomy, or the numbers that it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum NumberedOrNamed<T> {
    /// A name.
    Name(String),
    /// The number, or the path of numbers.
    Number(T),
}

/// The request for a root: `task.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskRequest {
    /// Whose mesh resources these are.
    pub tenant: TenantId,
    /// The human.
    pub delegator: Delegator,
    /// The human's session.
    pub session: SessionId,
    /// The task.
    pub task: TaskId,
    /// The dotted name of the purpose, or its path of numbers.
    pub purpose: NumberedOrNamed<Vec<u32>>,
    /// How long it holds.
    pub lifetime_secs: u64,
    /// What the human wrote, for the logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<String>,
    /// The agent that will hold it.
    pub agent: AgentRequest,
    /// Whether and how it may be handed on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegation: Option<DelegationRequest>,
    /// What is granted.
    #[serde(rename = "grant")]
    pub grants: Vec<GrantRequest>,
}

/// The agent of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentRequest {
    /// Its SPIFFE ID, or another name.
    pub id: AgentId,
    /// What kind of agent it is.
    pub class: AgentClass,
}

/// Whether and how a holder may hand on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DelegationRequest {
    /// Hops that may still follow.
    pub depth: u8,
    /// Children of one link.
    #[serde(default = "fanout_default")]
    pub fanout: u16,
    /// Whether hops may be made without registration.
    #[serde(default)]
    pub offline: bool,
}

const fn fanout_default() -> u16 {
    8
}

/// One grant of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantRequest {
    /// In a hop: which grant of the parent it narrows, from 0.
    #[serde(default)]
    pub of: u16,
    /// The tools; a root needs their names in the end, see [`TaskRequest::expand_tools`].
    pub tools: Vec<String>,
    /// The effects that a tool may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effects: Option<Vec<Effect>>,
    /// The data classes that a result may show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<NumberedOrNamed<u8>>>,
    /// Which resources, by dimension.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ids: BTreeMap<DimensionName, IdsRequest>,
    /// The largest amounts, by dimension.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub maxima: BTreeMap<DimensionName, MaximumRequest>,
}

/// Which resources of a dimension: a list, or `"any"`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum IdsRequest {
    /// These.
    These(Vec<ResourceId>),
    /// The word `any`.
    Word(Any),
}

/// A largest amount: a number, or `"any"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum MaximumRequest {
    /// At most this.
    Max(u64),
    /// The word `any`.
    Word(Any),
}

/// The word `any`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Any {
    /// No limit.
    Any,
}

/// The request for a hop: `child.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestrictionRequest {
    /// The part of the task that is handed on, for the logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subtask: Option<String>,
    /// A narrower purpose; absent keeps the parent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<NumberedOrNamed<Vec<u32>>>,
    /// How long it holds.
    pub lifetime_secs: u64,
    /// What was meant, for the logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<String>,
    /// The agent that will hold it.
    pub agent: AgentRequest,
    /// Whether and how it may be handed on again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegation: Option<DelegationRequest>,
    /// What is kept.
    #[serde(rename = "grant")]
    pub grants: Vec<GrantRequest>,
}

/// A request that cannot be read, or names what there is not.
#[derive(Debug, thiserror::Error)]
pub enum InvalidRequest {
    /// Not TOML, or not of this shape.
    #[error("the request is not of the expected shape")]
    Toml(#[source] Box<toml::de::Error>),
    /// A tool that is neither a name nor a pattern.
    #[error("grant {grant}")]
    Pattern {
        /// The grant.
        grant: usize,
        /// The cause.
        #[source]
        source: crate::lattice::InvalidPattern,
    },
    /// A purpose that the taxonomy does not have.
    #[error("the taxonomy at hand has no purpose `{name}`")]
    Purpose {
        /// The name.
        name: String,
    },
    /// A class that the taxonomy does not have.
    #[error("the taxonomy at hand has no class `{name}`")]
    Class {
        /// The name.
        name: String,
    },
    /// A root's grant without effects or classes.
    #[error("grant {grant} of a root needs `{field}`")]
    Incomplete {
        /// The grant.
        grant: usize,
        /// What it lacks.
        field: &'static str,
    },
    /// A pattern that matches no tool of the catalogue.
    #[error("no tool of the catalogue matches `{pattern}`")]
    NoSuchTool {
        /// The pattern.
        pattern: String,
    },
}

impl TaskRequest {
    /// Reads a `task.toml`.
    ///
    /// # Errors
    /// [`InvalidRequest::Toml`] with line and column.
    pub fn parse_toml(text: &str) -> Result<Self, InvalidRequest> {
        toml::from_str(text).map_err(|error| InvalidRequest::Toml(Box::new(error)))
    }

    /// Replaces each pattern by the names of the catalogue that it matches today.
    ///
    /// # Errors
    /// [`InvalidRequest`] for a pattern that matches nothing.
    pub fn expand_tools<'a>(
        &mut self,
        catalogue: impl IntoIterator<Item = &'a ToolName> + Clone,
    ) -> Result<(), InvalidRequest> {
        let _ = catalogue;
        todo!()
    }

    /// Turns names into numbers.
    ///
    /// # Errors
    /// [`InvalidRequest`] for a name that the taxonomy does not have.
    pub fn resolve(&self, names: &dyn Names) -> Result<RootRequest, InvalidRequest> {
        let _ = names;
        todo!()
    }
}

impl RestrictionRequest {
    /// Reads a `child.toml`.
    ///
    /// # Errors
    /// [`InvalidRequest::Toml`] with line and column.
    pub fn parse_toml(text: &str) -> Result<Self, InvalidRequest> {
        toml::from_str(text).map_err(|error| InvalidRequest::Toml(Box::new(error)))
    }

    /// Turns names into numbers.
    ///
    /// # Errors
    /// [`InvalidRequest`] for a name that the taxonomy does not have.
    pub fn resolve(&self, names: &dyn Names) -> Result<Restriction, InvalidRequest> {
        let _ = names;
        todo!()
    }
}

impl Restriction {
    /// Reads a `child.toml` and turns its names into numbers.
    ///
    /// # Errors
    /// [`InvalidRequest`] as of its two steps.
    pub fn parse_toml(text: &str, names: &dyn Names) -> Result<Self, InvalidRequest> {
        RestrictionRequest::parse_toml(text)?.resolve(names)
    }
}

impl GrantRequest {
    /// Turns names into numbers. Also how a bundle's canaries describe grants.
    ///
    /// # Errors
    /// [`InvalidRequest`] for a name that the taxonomy does not have.
    pub fn resolve(&self, index: usize, names: &dyn Names) -> Result<Grant, InvalidRequest> {
        let _ = (index, names, ToolPattern::new(""));
        todo!()
    }
}
