//! Who a node is, who an administrator is, and who an agent is.
//!
//! A node is its SPIFFE id and the key its certificate carries; an administrator is a key in the directory, and
//! each command carries that key's signature. Nothing here grants anything: TLS admits a connection, and what a
//! name or a key may do stands in the directory.

pub mod administrator;
mod bytes;
pub mod certificate;
mod drain;
pub mod join_token;
pub mod signed_request;
pub mod spiffe;
pub mod svid;

pub use administrator::{Administrator, Administrators, NotPermitted, Verb};
pub use certificate::{BadCertificate, CannotIssue, Validity, identity_of, issue_ca, issue_node, to_pem};
pub use drain::{DRAIN_BODY_BYTES_MAX, DRAIN_PATH, DrainRequest};
pub use join_token::{Admission, JoinToken, MalformedToken, TokenSecret};
pub use signed_request::{RequestRefused, SignedRequest, VerifiedRequest};
pub use spiffe::{NodeKind, NodeRole, SpiffeId};
pub use svid::{
    AgentSpiffeId, AgentSvid, BadSvid, InvalidAgentSpiffeId, NotThisAgent, issue_agent_svid, svid_from_pem,
};
