//! The catalogue: what each tool is, to the edge that stands in front of it.
//!
//! An agent calls a tool by name and sends arguments; what that call *means* (which customer, how much, whether it
//! can be taken back, which fields of the answer are billing data) stands here, in the signed bundle, and nowhere
//! the agent or the tool could change it. Clauses P-10 to P-13.

pub mod http;
mod read;
#[cfg(test)]
mod tests;
mod upstream;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use http::HttpCall;
pub(crate) use read::{ReadCatalogue, read};
pub use upstream::{Injection, InvalidUpstream, Protocol, Upstream};

use super::json::{Json, Pointer};
use crate::crypto::digest::Digest;
use crate::id::{CredentialId, DimensionName, ToolName, UpstreamName};
use crate::lattice::{Effect, Effects, PurposePath};
use crate::proof::Grade;

/// The dimension whose maximum is enforced on the records of a result.
pub const RECORDS: &str = "records";

/// Every tool of a bundle, and where they live.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    /// The tools, by the name that envelopes and policies use.
    pub tools: BTreeMap<ToolName, Arc<Tool>>,
    /// The servers behind them.
    pub upstreams: BTreeMap<UpstreamName, Upstream>,
}

/// One tool, as its descriptor says.
#[derive(Debug, Clone, PartialEq)]
pub struct Tool {
    /// What envelopes and policies call it.
    pub name: ToolName,
    /// Where it lives.
    pub upstream: UpstreamName,
    /// What its server calls it.
    pub upstream_tool: String,
    /// How a call is a request, for a server that speaks plain HTTP.
    pub http: Option<HttpCall>,
    /// A short name for people.
    pub title: Option<String>,
    /// What an agent is told about it.
    pub description: String,
    /// The JSON Schema of its arguments that an agent is told.
    pub input_schema: Json,
    /// What a call does; never empty.
    pub effects: Effects,
    /// The subtrees of the purpose tree in which it makes sense.
    pub purposes: Vec<PurposePath>,
    /// The credential that the edge spends on it.
    pub credential: Option<CredentialId>,
    /// What it acts on, for policies.
    pub resource: Option<ResourceRule>,
    /// Where in the arguments the resources of each dimension stand.
    pub dimensions: Vec<(DimensionName, Pointer)>,
    /// Where in the arguments the quantities of each dimension stand.
    pub amounts: Vec<(DimensionName, Pointer)>,
    /// Where in the result the arrays of records are.
    pub records: Option<Pointer>,
    /// Which parts of the result belong to which class.
    pub classes: Vec<(Pointer, u8)>,
    /// Arguments that need no rule.
    pub free: Vec<Pointer>,
    /// Whether parts of the result without a class are released.
    pub open: bool,
    /// The pinned digest of the tool's own definition.
    pub definition: Option<Digest>,
    /// The version of the bundle in which it first stood; 0 where nobody says. An envelope that was minted for an older
    /// one reaches it only through a grant that is for tools to come.
    pub since: u64,
    /// The least proof of possession that a call needs.
    pub min_pop: Grade,
}

/// How the resource of a call is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceRule {
    /// The entity type that policies know it by, `Contract`.
    pub kind: String,
    /// Where in the arguments its id stands.
    pub id: Pointer,
}

impl Tool {
    /// Whether parts of the result without a class are dropped: the tool declares classes or records, and does not
    /// say that it is open.
    #[must_use]
    pub fn is_strict(&self) -> bool {
        self.is_classified() && !self.open
    }

    /// Whether anything in the result is named, so that its content has to be written anew.
    #[must_use]
    pub fn is_classified(&self) -> bool {
        !self.classes.is_empty() || self.records.is_some()
    }

    /// The maxima that are enforced on the result.
    #[must_use]
    pub fn result_maxima(&self) -> BTreeSet<DimensionName> {
        self.records.iter().filter_map(|_| DimensionName::new(RECORDS).ok()).collect()
    }

    /// Pointers to the arguments that have a meaning: resource, dimensions, amounts.
    pub fn mapped(&self) -> impl Iterator<Item = &Pointer> {
        let resource = self.resource.iter().map(|resource| &resource.id);
        resource.chain(self.dimensions.iter().chain(&self.amounts).map(|(_, pointer)| pointer))
    }

    /// The least proof of a tool whose descriptor says nothing: what cannot be taken back, costs money or hands on
    /// authority is signed for, so that somebody else can check it later.
    #[must_use]
    pub fn min_pop_of(effects: Effects) -> Grade {
        let undoable = Effects::from_iter([Effect::Read, Effect::Write, Effect::ExternalSend]);
        if effects.is_within(undoable) { Grade::P1 } else { Grade::P2 }
    }

    /// Whether a call may do without a proof over its own bytes: it only reads, and spends no credential.
    #[must_use]
    pub fn can_go_unproven(&self) -> bool {
        self.credential.is_none() && self.effects.is_within(Effects::from_iter([Effect::Read]))
    }

    /// Whether the tool makes sense for this purpose.
    #[must_use]
    pub fn serves(&self, purpose: &PurposePath) -> bool {
        self.purposes.iter().any(|subtree| subtree.is_prefix_of(purpose))
    }
}
