//! How a call is decided.
//!
//! A bundle's sources are compiled once ([`CompiledPolicy`]); a call is decided by [`decide()`], which is pure: the same
//! policy, authority, call and time give the same answer on every edge, in every replay. What comes back from a tool
//! passes [`response::filter`]. Nothing here reads a clock or a file. Clauses P-1 to P-35, docs/PROTOCOL.md.

pub mod advice;
mod arguments;
pub mod bounds;
pub mod call;
pub mod catalogue;
pub mod compile;
pub mod decide;
pub mod decision;
pub mod delegating;
pub mod engines;
pub mod explain;
pub(crate) mod fault;
pub mod json;
mod model;
mod mutating;
pub mod recall;
mod relating;
pub mod relations;
pub mod response;
pub mod stage;
pub mod taxonomy;
#[cfg(test)]
mod tests;
pub mod trust_domains;
pub mod words;

pub use advice::AdvisedActions;
pub use bounds::Bounds;
pub use call::ToolCall;
pub use catalogue::{Catalogue, Tool, Upstream};
pub use compile::CompiledPolicy;
pub use decide::{decide, visible_tools};
pub use decision::{Decision, Denied, Obligations, Permitted, Reason};
pub use delegating::{DELEGATE_ACTION, Handed, Handing};
pub use engines::cedar::{CedarOutcome, CedarTest, Mutant, RuleInfo};
pub use explain::{Explanation, explain};
pub use fault::PolicyFault;
pub use relations::{RelationSchema, Relations};
pub use response::{Filtered, ResultFigures};
pub use stage::Stage;
pub use taxonomy::Taxonomy;
pub use trust_domains::TrustDomains;
