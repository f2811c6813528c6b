//! Handing on: a holder narrows its own envelope by signing the next link. No server takes part.

use std::time::Duration;

use crate::crypto::sign::{PublicKey, SigningKey};
use crate::id::MeshId;
use crate::lattice::{Grant, PurposePath};
use crate::time::Timestamp;

use super::error::{MalformedEnvelope, Unauthenticated};
use super::link::{AgentIdentity, Delegation, Nonce};

/// What a hop keeps of its parent. Whatever it asks for beyond that, it will not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restriction {
    /// The agent that will hold it.
    pub agent: AgentIdentity,
    /// What for; `None` keeps the parent's.
    pub purpose: Option<PurposePath>,
    /// The part of the task that is handed on, for the logs.
    pub subtask: Option<String>,
    /// What is kept; each names the grant of the parent that it narrows.
    pub grants: Vec<Grant>,
    /// How long it holds, in whole seconds. It ends with its parent at the latest.
    pub life: Duration,
    /// Whether and how it may be handed on again.
    pub delegation: Option<Delegation>,
    /// What was meant, for the logs.
    pub intent: Option<String>,
}

/// An envelope cannot be handed on like this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotDelegate {
    /// The parent is no envelope.
    #[error("the parent is malformed")]
    Parent(#[source] MalformedEnvelope),
    /// The key is not the one that the parent names as its holder.
    #[error("the key does not hold the parent")]
    NotTheHolder,
    /// The hop could not be met with its parent.
    #[error("the child would be refused everywhere")]
    Refused(#[source] Unauthenticated),
    /// The hop would not pass the decoder.
    #[error("the restriction does not make a valid link")]
    Invalid(#[source] MalformedEnvelope),
}

/// Appends a hop to a presentation and returns the child's presentation.
///
/// The parent's signatures are not checked, because its holder need not know the mesh's issuers; a child of a
/// forged parent is as worthless as the parent.
///
/// # Errors
/// [`CannotDelegate`] when no edge would accept the child.
pub fn delegate(
    parent: &[u8],
    parent_key: &SigningKey,
    mesh: &MeshId,
    restriction: &Restriction,
    child: &PublicKey,
    now: Timestamp,
    nonce: Nonce,
) -> Result<Vec<u8>, CannotDelegate> {
    let _ = (parent, parent_key, mesh, restriction, child, now, nonce);
    todo!()
}
