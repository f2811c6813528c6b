//! What one link says, decoded: the fields of the payload that this version can enforce, or may ignore.

use std::collections::BTreeMap;

use crate::crypto::digest::Digest;
use crate::crypto::sign::PublicKey;
use crate::id::{AgentClass, AgentId, Delegator, LinkId, SessionId, TaskId, TenantId};
use crate::lattice::{Audience, Delegation, Demands, Grant, PurposePath};

/// Sixteen random bytes that make two equal requests two links.
pub type Nonce = [u8; 16];

/// The payload of a link. A root has a [`RootContext`]; a hop has none, and may not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The link that this one narrows; zero in a root.
    pub parent: LinkId,
    /// The key that may sign the next link.
    pub holder: PublicKey,
    /// The agent that the signer says holds the key.
    pub agent: AgentIdentity,
    /// Root only: on whose behalf, and within what.
    pub context: Option<RootContext>,
    /// What for; a hop may leave it out and keeps its parent's.
    pub purpose: Option<PurposePath>,
    /// Hop only: the part of the task that was handed on, in words. Carried, never read.
    pub subtask: Option<String>,
    /// What is granted, or what is left of it.
    pub grants: Vec<Grant>,
    /// Seconds since the Unix epoch from which the link holds.
    pub not_before_secs: u64,
    /// Seconds since the Unix epoch at which the link has ended.
    pub expires_secs: u64,
    /// Whether and how it may be handed on; absent is not at all.
    pub delegation: Option<Delegation>,
    /// Where it holds.
    pub audience: Audience,
    /// What has to be met besides being permitted.
    pub demands: Demands,
    /// Makes two equal requests two links.
    pub nonce: Nonce,
    /// Seconds since the Unix epoch at which it was made.
    pub issued_secs: u64,
    /// What the human wrote. Carried and logged, never read.
    pub intent: Option<String>,
    /// Room for others. Carried, never read.
    pub extensions: BTreeMap<String, Vec<u8>>,
}

/// An agent as a link names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentIdentity {
    /// Its SPIFFE ID, or another name that the issuer knows it by.
    pub id: AgentId,
    /// What kind of agent it is.
    pub class: AgentClass,
    /// The digest of its attestation, if there was one. Carried; nothing checks it yet.
    pub attestation: Option<Digest>,
}

/// The discrete part of a root: set once, inherited by every hop, never set again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootContext {
    /// Whose mesh resources these are.
    pub tenant: TenantId,
    /// The human.
    pub delegator: Delegator,
    /// The human's session.
    pub session: SessionId,
    /// The task.
    pub task: TaskId,
    /// What the issuers saw.
    pub evidence_kind: EvidenceKind,
    /// For [`EvidenceKind::Admin`]: SHA-256 of the signature base of the administrator's command.
    pub evidence: Digest,
    /// The identity provider that authenticated the human.
    pub idp: Option<String>,
    /// When it did, in seconds since the Unix epoch.
    pub auth_time_secs: Option<u64>,
    /// How it did (OpenID Connect `acr`).
    pub acr: Option<String>,
    /// The version of the catalogue whose tools were granted.
    pub catalogue_version: u64,
    /// The version of the taxonomy whose numbers purpose and classes are.
    pub taxonomy_version: u64,
    /// The oldest bundle that may decide under this root.
    pub min_bundle_version: u64,
}

/// On what evidence a root was issued. Numbers stand in links and are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EvidenceKind {
    /// An administrator asked, by a signed command.
    Admin,
    /// An OpenID Connect id token. Decoded; no issuer of this version checks one, so it is refused.
    IdToken,
    /// An identity assertion grant (ID-JAG). As above.
    Jag,
    /// A standing mandate. As above.
    Mandate,
}
