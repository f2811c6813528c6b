//! The parts of requests that say where an envelope holds, what it demands, and what arguments have to be.
//! Clause E-25.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::id::{EdgeId, Region};
use crate::lattice::{
    Audience, Constraint, Demands, Grade, InvalidArgumentPointer, InvalidPathPrefix, Log, PathPrefix, Redact, Scalar,
};

/// Where an envelope holds. What is not mentioned is not restricted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AudienceRequest {
    /// In these regions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regions: Option<BTreeSet<Region>>,
    /// At these edges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edges: Option<BTreeSet<EdgeId>>,
}

/// What has to be met besides being permitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObligationsRequest {
    /// The least proof of possession.
    #[serde(default)]
    pub min_pop: Grade,
    /// Whether parts of results without a class are withheld, whatever the tool's descriptor says.
    #[serde(default)]
    pub redact_unclassified: bool,
    /// Whether each decision is on the disk before its call is made.
    #[serde(default)]
    pub record_first: bool,
}

/// What an argument has to be: `{ is = "low" }`, `{ one_of = ["low", "normal"] }`, `{ within = [0, 5] }`,
/// `{ below = "/srv/reports/" }`, `{ length_max = 80 }`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConstraintRequest {
    /// This value.
    Is(ScalarRequest),
    /// One of these values.
    OneOf(Vec<ScalarRequest>),
    /// An integer from the first to the second, both included.
    Within([i64; 2]),
    /// A path at or below this place.
    Below(String),
    /// A text of at most so many bytes.
    LengthMax(u32),
}

/// A value: an integer, a text or a truth value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ScalarRequest {
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A text.
    Text(String),
}

/// A constraint that no link can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConstraint {
    /// The place of the argument.
    #[error("its place")]
    Pointer(#[source] InvalidArgumentPointer),
    /// The path it has to lie at or below.
    #[error("`below`")]
    Path(#[source] InvalidPathPrefix),
    /// A list without a value.
    #[error("`one_of` lists nothing, so no call would do")]
    Nothing,
}

impl AudienceRequest {
    pub(super) fn is_everywhere(&self) -> bool {
        *self == Self::default()
    }
}

impl ObligationsRequest {
    pub(super) fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl ConstraintRequest {
    /// The constraint.
    ///
    /// # Errors
    /// [`InvalidConstraint`].
    pub fn resolve(&self) -> Result<Constraint, InvalidConstraint> {
        match self {
            Self::Is(value) => Ok(Constraint::one_of([value.into()])),
            Self::OneOf(values) if values.is_empty() => Err(InvalidConstraint::Nothing),
            Self::OneOf(values) => Ok(Constraint::one_of(values.iter().map(Scalar::from))),
            Self::Within([low, high]) => Ok(Constraint::within(*low, *high)),
            Self::Below(path) => PathPrefix::new(path).map(Constraint::below).map_err(InvalidConstraint::Path),
            Self::LengthMax(bytes) => Ok(Constraint::length_max(*bytes)),
        }
    }
}

impl From<&ScalarRequest> for Scalar {
    fn from(value: &ScalarRequest) -> Self {
        match value {
            ScalarRequest::Bool(value) => Self::Bool(*value),
            ScalarRequest::Int(number) => Self::Int(*number),
            ScalarRequest::Text(text) => Self::Text(text.as_str().into()),
        }
    }
}

impl From<&AudienceRequest> for Audience {
    fn from(audience: &AudienceRequest) -> Self {
        let AudienceRequest { regions, edges } = audience;
        Self {
            regions: regions.as_ref().map(|regions| regions.iter().cloned().collect()),
            edges: edges.as_ref().map(|edges| edges.iter().cloned().collect()),
        }
    }
}

impl From<ObligationsRequest> for Demands {
    fn from(obligations: ObligationsRequest) -> Self {
        let ObligationsRequest { min_pop, redact_unclassified, record_first } = obligations;
        Self {
            min_pop,
            redact: Redact { unclassified: redact_unclassified },
            log: if record_first { Log::First } else { Log::Usual },
        }
    }
}
