//! Requests that people write: `task.toml` for a root, `child.toml` for a hop. The same structures are JSON bodies.
//! Clause E-25.
//!
//! Names of purposes and classes are resolved against the taxonomy of the active bundle; numbers may stand in their
//! place, for who has no bundle at hand.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::delegate::Restriction;
use super::link::AgentIdentity;
use super::mint::RootRequest;
use super::request_terms::{AudienceRequest, ConstraintRequest, InvalidConstraint, ObligationsRequest};
use crate::crypto::digest::Digest;
use crate::id::{AgentClass, AgentId, Delegator, DimensionName, ResourceId, SessionId, TaskId, TenantId, ToolName};
use crate::lattice::{ClassSet, Delegation, Effect, Grant, IdSet, Names, Pin, PurposePath, ToolPattern};

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
    /// Where it holds.
    #[serde(default, skip_serializing_if = "AudienceRequest::is_everywhere")]
    pub audience: AudienceRequest,
    /// What has to be met besides being permitted.
    #[serde(default, skip_serializing_if = "ObligationsRequest::is_none")]
    pub obligations: ObligationsRequest,
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
    /// The tools; a root that does not set `future` needs their names in the end, see [`TaskRequest::expand_tools`].
    pub tools: Vec<String>,
    /// Whether tools are meant, too, that the catalogue does not have yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub future: bool,
    /// The digests of the definitions that tools must have, by the tool's name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pins: BTreeMap<ToolName, Digest>,
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
    /// What arguments have to be, by JSON pointer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<String, ConstraintRequest>,
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
    /// Where it holds.
    #[serde(default, skip_serializing_if = "AudienceRequest::is_everywhere")]
    pub audience: AudienceRequest,
    /// What has to be met besides being permitted.
    #[serde(default, skip_serializing_if = "ObligationsRequest::is_none")]
    pub obligations: ObligationsRequest,
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
    /// A constraint on an argument that no link can carry.
    #[error("grant {grant}: the constraint on argument `{pointer}`")]
    Argument {
        /// The grant.
        grant: usize,
        /// Where the argument stands.
        pointer: String,
        /// The cause.
        #[source]
        source: InvalidConstraint,
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

    /// Replaces each pattern by the names of the catalogue that it matches today, except where a grant is for tools to
    /// come, too.
    ///
    /// # Errors
    /// [`InvalidRequest`] for a pattern that matches nothing.
    pub fn expand_tools<'a>(
        &mut self,
        catalogue: impl IntoIterator<Item = &'a ToolName> + Clone,
    ) -> Result<(), InvalidRequest> {
        for (index, grant) in self.grants.iter_mut().enumerate().filter(|(_, grant)| !grant.future) {
            let mut expanded = BTreeSet::new();
            for text in &grant.tools {
                let pattern = pattern(index, text)?;
                if pattern.is_exact() {
                    expanded.insert(text.clone());
                    continue;
                }
                let matching = catalogue.clone().into_iter().filter(|tool| pattern.matches(tool.as_str()));
                let names: Vec<String> = matching.map(|tool| tool.as_str().to_owned()).collect();
                if names.is_empty() {
                    return Err(InvalidRequest::NoSuchTool { pattern: text.clone() });
                }
                expanded.extend(names);
            }
            grant.tools = expanded.into_iter().collect();
        }
        Ok(())
    }

    /// Turns names into numbers.
    ///
    /// # Errors
    /// [`InvalidRequest`] for a name that the taxonomy does not have.
    pub fn resolve(&self, names: &dyn Names) -> Result<RootRequest, InvalidRequest> {
        let grants = resolve_grants(&self.grants, names)?;
        for (index, grant) in grants.iter().enumerate() {
            let lacks = [("effects", grant.effects.is_none()), ("classes", grant.classes.is_none())];
            if let Some((field, _)) = lacks.into_iter().find(|(_, lacking)| *lacking) {
                return Err(InvalidRequest::Incomplete { grant: index, field });
            }
        }
        Ok(RootRequest {
            tenant: self.tenant.clone(),
            delegator: self.delegator.clone(),
            session: self.session.clone(),
            task: self.task.clone(),
            agent: (&self.agent).into(),
            purpose: resolve_purpose(&self.purpose, names)?,
            grants,
            life: Duration::from_secs(self.lifetime_secs),
            delegation: self.delegation.map(Into::into),
            audience: (&self.audience).into(),
            demands: self.obligations.into(),
            intent: self.intent.clone(),
        })
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
        Ok(Restriction {
            agent: (&self.agent).into(),
            purpose: self.purpose.as_ref().map(|purpose| resolve_purpose(purpose, names)).transpose()?,
            subtask: self.subtask.clone(),
            grants: resolve_grants(&self.grants, names)?,
            life: Duration::from_secs(self.lifetime_secs),
            delegation: self.delegation.map(Into::into),
            audience: (&self.audience).into(),
            demands: self.obligations.into(),
            intent: self.intent.clone(),
        })
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
        let tools = self.tools.iter().map(|text| pattern(index, text)).collect::<Result<_, _>>()?;
        let classes = self.classes.as_ref().map(|classes| resolve_classes(classes, names)).transpose()?;
        let arg = |(pointer, constraint): (&String, &ConstraintRequest)| {
            let wrong = |source| InvalidRequest::Argument { grant: index, pointer: pointer.clone(), source };
            Ok((
                pointer.parse().map_err(|error| wrong(InvalidConstraint::Pointer(error)))?,
                constraint.resolve().map_err(wrong)?,
            ))
        };
        Ok(Grant {
            of: self.of,
            tools,
            pins: self.pins.iter().map(|(tool, digest)| (tool.clone(), Pin::Is(*digest))).collect(),
            args: self.args.iter().map(arg).collect::<Result<_, _>>()?,
            future: self.future,
            ids: self.ids.iter().map(|(name, ids)| (name.clone(), ids.into())).collect(),
            maxima: self.maxima.iter().map(|(name, max)| (name.clone(), (*max).into())).collect(),
            classes,
            effects: self.effects.as_ref().map(|effects| effects.iter().copied().collect()),
        })
    }
}

fn pattern(grant: usize, text: &str) -> Result<ToolPattern, InvalidRequest> {
    ToolPattern::new(text).map_err(|source| InvalidRequest::Pattern { grant, source })
}

fn resolve_grants(grants: &[GrantRequest], names: &dyn Names) -> Result<Vec<Grant>, InvalidRequest> {
    grants.iter().enumerate().map(|(index, grant)| grant.resolve(index, names)).collect()
}

fn resolve_purpose(purpose: &NumberedOrNamed<Vec<u32>>, names: &dyn Names) -> Result<PurposePath, InvalidRequest> {
    match purpose {
        NumberedOrNamed::Name(name) => {
            names.purpose(name).ok_or_else(|| InvalidRequest::Purpose { name: name.clone() })
        }
        NumberedOrNamed::Number(path) => {
            PurposePath::new(path).map_err(|_| InvalidRequest::Purpose { name: format!("{path:?}") })
        }
    }
}

/// Naming a class gives every class below it; numbers stand for themselves alone.
fn resolve_classes(classes: &[NumberedOrNamed<u8>], names: &dyn Names) -> Result<ClassSet, InvalidRequest> {
    classes.iter().try_fold(ClassSet::EMPTY, |set, class| match class {
        NumberedOrNamed::Name(name) => match names.class(name) {
            Some(closed) => Ok(set.join(closed)),
            None => Err(InvalidRequest::Class { name: name.clone() }),
        },
        NumberedOrNamed::Number(number) => Ok(set.join(ClassSet::from_iter([*number]))),
    })
}

impl From<&AgentRequest> for AgentIdentity {
    fn from(agent: &AgentRequest) -> Self {
        let AgentRequest { id, class } = agent;
        Self { id: id.clone(), class: class.clone(), attestation: None }
    }
}

impl From<DelegationRequest> for Delegation {
    fn from(request: DelegationRequest) -> Self {
        let DelegationRequest { depth, fanout, offline } = request;
        Self { depth_left: depth, fanout_max: fanout, offline }
    }
}

impl From<&IdsRequest> for IdSet {
    fn from(ids: &IdsRequest) -> Self {
        match ids {
            IdsRequest::These(ids) => Self::In(ids.iter().cloned().collect()),
            IdsRequest::Word(Any::Any) => Self::any(),
        }
    }
}

impl From<MaximumRequest> for u64 {
    fn from(maximum: MaximumRequest) -> Self {
        match maximum {
            MaximumRequest::Max(max) => max,
            MaximumRequest::Word(Any::Any) => Self::MAX,
        }
    }
}
