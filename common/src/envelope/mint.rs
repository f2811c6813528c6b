//! Minting roots: every issuer builds the same payload from the same command and signs it. Clause E-23.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cose::{self, Header, LinkSignature, Sign1};
use super::encode;
use super::error::MalformedEnvelope;
use super::link::{AgentIdentity, EvidenceKind, Link, Nonce, RootContext};
use super::presentation::{self, RawPresentation};
use crate::crypto::digest::Digest;
use crate::crypto::sign::{PublicKey, Signature, SignatureInvalid, SigningKey};
use crate::id::{Delegator, LinkId, MeshId, SessionId, TaskId, TenantId};
use crate::lattice::{Audience, Delegation, Demands, Grant, PurposePath};
use crate::limits::ROOT_SIGNATURES_MAX;
use crate::time::Timestamp;

/// What somebody asks a root for, names resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootRequest {
    /// Whose mesh resources these are.
    pub tenant: TenantId,
    /// The human.
    pub delegator: Delegator,
    /// The human's session.
    pub session: SessionId,
    /// The task.
    pub task: TaskId,
    /// The agent that will hold it.
    pub agent: AgentIdentity,
    /// What for.
    pub purpose: PurposePath,
    /// What is granted: tools by name, or by pattern where `future` is set; classes and effects given, `of` 0.
    pub grants: Vec<Grant>,
    /// How long it holds, in whole seconds, from the moment of issue.
    pub life: Duration,
    /// Whether and how it may be handed on.
    pub delegation: Option<Delegation>,
    /// Where it holds.
    pub audience: Audience,
    /// What has to be met besides being permitted.
    pub demands: Demands,
    /// What the human wrote, for the logs.
    pub intent: Option<String>,
}

/// What the issuing mesh adds to a request. Equal on every issuer: it comes from the replicated command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootStamp {
    /// The moment of issue, cut to seconds.
    pub issued: Timestamp,
    /// Random, from the command.
    pub nonce: Nonce,
    /// What the issuers saw.
    pub evidence_kind: EvidenceKind,
    /// Its digest.
    pub evidence: Digest,
    /// The version of the catalogue that the tools were checked against.
    pub catalogue_version: u64,
    /// The version of the taxonomy whose numbers the request holds.
    pub taxonomy_version: u64,
    /// The oldest bundle that may decide under this root.
    pub min_bundle_version: u64,
}

/// A request cannot become a root.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotMint {
    /// A pattern where a root needs the name of a tool.
    #[error("`{pattern}` is a pattern; a root names each tool, or sets `future` for those that are still to come")]
    Wildcard {
        /// The pattern.
        pattern: String,
    },
    /// The payload would not pass the decoder.
    #[error("the request does not make a valid root")]
    Invalid(#[source] MalformedEnvelope),
    /// No signature, too many, or two by one key.
    #[error("a root carries 1 to 5 signatures by different keys")]
    Signatures,
}

/// The bytes that issuers sign. Serialisable, because the registry keeps them until issuers have signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootPayload(pub(super) Vec<u8>);

impl RootPayload {
    /// Builds the payload: the same request, holder and stamp give the same bytes.
    ///
    /// # Errors
    /// [`CannotMint`] when no verifier would accept the root.
    pub fn build(request: &RootRequest, holder: &PublicKey, stamp: &RootStamp) -> Result<Self, CannotMint> {
        let RootRequest { tenant, delegator, session, task, agent, purpose, grants, .. } = request;
        let RootRequest { life, delegation, audience, demands, intent, .. } = request;
        let mut named = grants.iter().filter(|grant| !grant.future).flat_map(|grant| &grant.tools);
        if let Some(pattern) = named.find(|pattern| !pattern.is_exact()) {
            return Err(CannotMint::Wildcard { pattern: pattern.to_string() });
        }
        let issued_secs = stamp.issued.as_secs();
        let link = Link {
            parent: LinkId(Digest([0; 32])),
            holder: *holder,
            agent: agent.clone(),
            context: Some(RootContext {
                tenant: tenant.clone(),
                delegator: delegator.clone(),
                session: session.clone(),
                task: task.clone(),
                evidence_kind: stamp.evidence_kind,
                evidence: stamp.evidence,
                idp: None,
                auth_time_secs: None,
                acr: None,
                catalogue_version: stamp.catalogue_version,
                taxonomy_version: stamp.taxonomy_version,
                min_bundle_version: stamp.min_bundle_version,
            }),
            purpose: Some(*purpose),
            subtask: None,
            grants: grants.clone(),
            not_before_secs: issued_secs,
            expires_secs: issued_secs.saturating_add(life.as_secs()),
            delegation: *delegation,
            audience: audience.clone(),
            demands: *demands,
            nonce: stamp.nonce,
            issued_secs,
            intent: intent.clone(),
            extensions: BTreeMap::new(),
        };
        let payload = Self(encode::payload(&link));
        // What the decoder would refuse is refused here, before anybody signs it.
        let signatures = (0u8..).take(ROOT_SIGNATURES_MAX).map(RootSignature::placeholder).collect();
        RawPresentation::parse(&payload.presentation(signatures)).map_err(CannotMint::Invalid)?;
        Ok(payload)
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn signed(&self, mesh: &MeshId) -> Vec<u8> {
        cose::signed(mesh, &Header::Quorum.encode(), &self.0)
    }

    fn presentation(&self, signatures: Vec<RootSignature>) -> Vec<u8> {
        let link = Sign1::new(Header::Quorum, self.0.clone(), LinkSignature::Quorum(signatures));
        presentation::encode(std::iter::once(&link), &presentation::Countersignatures::new())
    }
}

/// One issuer's signature over a root. Serialisable, because issuers send it to whoever collects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootSignature {
    /// The first eight bytes of the issuer's key id.
    pub kid: [u8; 8],
    /// The signature.
    pub signature: Signature,
}

impl RootSignature {
    /// Takes the room of a signature, so that a root is measured with as many as it may ever carry.
    const fn placeholder(number: u8) -> Self {
        Self { kid: [number; 8], signature: Signature([0; 64]) }
    }

    /// Checks what a peer sent before it is put into a root.
    ///
    /// # Errors
    /// [`SignatureInvalid`] when it is not this key's signature over this payload.
    pub fn verify(&self, mesh: &MeshId, payload: &RootPayload, key: &PublicKey) -> Result<(), SignatureInvalid> {
        key.verify(&payload.signed(mesh), &self.signature)
    }
}

/// One issuer's part of a root.
#[must_use]
pub fn sign_root_part(mesh: &MeshId, payload: &RootPayload, issuer: &SigningKey) -> RootSignature {
    RootSignature { kid: issuer.public().id().short(), signature: issuer.sign(&payload.signed(mesh)) }
}

/// The presentation of a root with these signatures. More than a majority is no better than a majority.
///
/// # Errors
/// [`CannotMint::Signatures`] when their number is not 1 to 5, or one key signed twice.
pub fn assemble_root(payload: &RootPayload, signatures: Vec<RootSignature>) -> Result<Vec<u8>, CannotMint> {
    let mut signatures = signatures;
    signatures.sort_by_key(|part| part.kid);
    let twice = signatures.iter().zip(signatures.iter().skip(1)).any(|(a, b)| a.kid == b.kid);
    if signatures.is_empty() || signatures.len() > ROOT_SIGNATURES_MAX || twice {
        return Err(CannotMint::Signatures);
    }
    Ok(payload.presentation(signatures))
}
