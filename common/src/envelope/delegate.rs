//! Handing on: a holder narrows its own envelope by signing the next link. No server takes part. Clause E-24.

use std::collections::BTreeMap;
use std::time::Duration;

use super::cose::{self, Header, LinkSignature, Sign1};
use super::encode;
use super::error::{MalformedEnvelope, Unauthenticated};
use super::link::{AgentIdentity, Link, Nonce};
use super::presentation::{self, RawPresentation};
use super::verify;
use crate::crypto::sign::{PublicKey, SigningKey};
use crate::id::MeshId;
use crate::lattice::{Audience, Delegation, Demands, Grant, PurposePath};
use crate::time::Timestamp;

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
    /// Where it holds, as far as its parent does.
    pub audience: Audience,
    /// What is demanded besides what its parent demands.
    pub demands: Demands,
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
    /// The parent has ended, so that nothing is left to hand on.
    #[error("the parent has expired")]
    ParentExpired,
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
    let RawPresentation { links, countersignatures, tenant: _ } =
        RawPresentation::parse(parent).map_err(CannotDelegate::Parent)?;
    let Some(leaf) = links.last().filter(|leaf| leaf.link.holder == *parent_key.public()) else {
        return Err(CannotDelegate::NotTheHolder);
    };
    let Restriction { agent, purpose, subtask, grants, life, delegation, audience, demands, intent } = restriction;
    let issued_secs = now.as_secs();
    // The child would end with its parent anyway; saying so keeps what it reads true.
    let parent_expires_secs = links.iter().map(|raw| raw.link.expires_secs).min().unwrap_or(0);
    if parent_expires_secs <= issued_secs {
        return Err(CannotDelegate::ParentExpired);
    }
    let hop = Link {
        parent: leaf.sign1.id(mesh),
        holder: *child,
        agent: agent.clone(),
        context: None,
        purpose: *purpose,
        subtask: subtask.clone(),
        grants: grants.clone(),
        not_before_secs: issued_secs,
        expires_secs: issued_secs.saturating_add(life.as_secs()).min(parent_expires_secs),
        delegation: *delegation,
        audience: audience.clone(),
        demands: *demands,
        nonce,
        issued_secs,
        intent: intent.clone(),
        extensions: BTreeMap::new(),
    };
    let header = Header::of_hop(parent_key.public());
    let payload = encode::payload(&hop);
    let signature = parent_key.sign(&cose::signed(mesh, &header.encode(), &payload));
    let last = Sign1::new(header, payload, LinkSignature::Holder(signature));
    let all: Vec<&Sign1> = links.iter().map(|raw| &raw.sign1).chain([&last]).collect();
    let bytes = presentation::encode(all.into_iter(), &countersignatures);
    RawPresentation::parse(&bytes).map_err(CannotDelegate::Invalid)?;
    let mut chain: Vec<Link> = links.into_iter().map(|raw| raw.link).chain([hop]).collect();
    verify::meet(&mut chain).map_err(CannotDelegate::Refused)?;
    Ok(bytes)
}
