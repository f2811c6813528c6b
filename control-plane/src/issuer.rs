//! Root envelopes, signed by a majority of the tenant's issuers.
//!
//! Each voter holds one issuer key and signs only what its own registry has commissioned: it never looks at a payload
//! that somebody sends. Whoever collects the signatures checks each before it counts. Clauses C-63 to C-66.

use std::time::Duration;

use futures::StreamExt as _;
use remit_common::crypto::digest::Digest;
use remit_common::crypto::sign::SigningKey;
use remit_common::envelope::{RootSignature, assemble_root, sign_root_part};
use remit_common::id::{LogIndex, TenantId};
use remit_common::limits::ROOT_SIGNATURES_MAX;
use remit_common::time::Timestamp;

use crate::cluster::{Cluster, PeerReply, PeerRequest};
use crate::registry::{Commission, State};

/// How long an issuer waits until its own registry has the command.
const APPLIED_WITHIN: Duration = Duration::from_secs(2);

/// This voter's issuer key.
pub(crate) struct Issuer {
    key: SigningKey,
}

/// A signed root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Issued {
    /// The presentation: one link.
    pub(crate) presentation: Vec<u8>,
    /// When it expires.
    pub(crate) expires: Timestamp,
}

/// A root was commissioned and not signed by enough.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotIssued {
    /// The registry has no such commission any more.
    #[error("this voter's registry does not hold the command")]
    NoCommission,
    /// Too few issuers answered with a good signature.
    #[error("{got} of the {needed} signatures that a root needs")]
    TooFew {
        /// Good signatures.
        got: usize,
        /// How many it takes.
        needed: usize,
    },
    /// The signatures do not make a root.
    #[error("the root cannot be assembled: {0}")]
    Unusable(String),
}

impl Issuer {
    pub(crate) fn new(key: SigningKey) -> Self {
        Self { key }
    }

    /// Whether the directory lists this key for a commission of this tenant.
    fn check_listed(&self, state: &State, tenant: &TenantId, issued: Timestamp) -> Result<(), String> {
        let trust = state.trust().map_err(|refusal| refusal.detail)?;
        let mut listed = trust.directory.issuers().listed(tenant, issued);
        if listed.any(|issuer| issuer.key == *self.key.public()) {
            Ok(())
        } else {
            Err(format!("the directory does not list this voter as an issuer of `{tenant}`"))
        }
    }

    fn sign(&self, state: &State, tenant: &TenantId, evidence: &Digest) -> Result<RootSignature, String> {
        let commission = state.commission(tenant, evidence).ok_or_else(|| NotIssued::NoCommission.to_string())?;
        self.check_listed(state, tenant, commission.issued)?;
        Ok(sign_root_part(&state.genesis().mesh, &commission.payload, &self.key))
    }

    /// Answers another voter that collects.
    pub(crate) async fn sign_for_peer(
        &self,
        cluster: &Cluster,
        tenant: &TenantId,
        evidence: &Digest,
        index: LogIndex,
    ) -> PeerReply {
        if let Err(error) = cluster.wait_applied(index, APPLIED_WITHIN).await {
            return PeerReply::NotSigned { why: error.to_string() };
        }
        match self.sign(&cluster.view().state, tenant, evidence) {
            Ok(RootSignature { kid, signature }) => PeerReply::Signed { kid, signature },
            Err(why) => PeerReply::NotSigned { why },
        }
    }

    /// Collects the signatures for a command that this voter or another had applied.
    pub(crate) async fn collect(
        &self,
        cluster: &Cluster,
        tenant: &TenantId,
        evidence: &Digest,
        index: LogIndex,
    ) -> Result<Issued, NotIssued> {
        cluster.wait_applied(index, APPLIED_WITHIN).await.map_err(|_| NotIssued::NoCommission)?;
        let view = cluster.view();
        let commission = view.state.commission(tenant, evidence).ok_or(NotIssued::NoCommission)?;
        let ask = PeerRequest::SignRoot { tenant: tenant.clone(), evidence: *evidence, index };
        let mut signatures = Vec::new();
        match self.sign(&view.state, tenant, evidence) {
            Ok(own) => signatures.push(own),
            Err(why) => tracing::warn!(%tenant, why, "this voter does not sign"),
        }
        let mut replies = cluster.ask_each(&ask);
        while let Some((voter, reply)) = replies.next().await {
            match reply {
                Ok(PeerReply::Signed { kid, signature }) => signatures.push(RootSignature { kid, signature }),
                Ok(PeerReply::NotSigned { why }) => tracing::warn!(%voter, %tenant, why, "an issuer does not sign"),
                Ok(_) => tracing::warn!(%voter, "an issuer gave an answer to another question"),
                Err(error) => tracing::warn!(%voter, %error, "an issuer does not answer"),
            }
            // A majority is enough: who is silent, or gone, holds nobody up.
            if let Ok(issued) = assemble(&view.state, tenant, commission, signatures.clone()) {
                return Ok(issued);
            }
        }
        assemble(&view.state, tenant, commission, signatures)
    }
}

/// Counts each listed issuer's good signature once.
fn assemble(
    state: &State,
    tenant: &TenantId,
    commission: &Commission,
    offered: Vec<RootSignature>,
) -> Result<Issued, NotIssued> {
    let trust = state.trust().map_err(|_| NotIssued::NoCommission)?;
    let issuers = trust.directory.issuers();
    let needed = issuers.majority(tenant, commission.issued).unwrap_or(usize::MAX);
    let mut good: Vec<RootSignature> = Vec::new();
    for issuer in issuers.listed(tenant, commission.issued) {
        let mine = offered.iter().filter(|signature| signature.kid == issuer.kid.short());
        let verified =
            mine.filter(|signature| signature.verify(&state.genesis().mesh, &commission.payload, &issuer.key).is_ok());
        good.extend(verified.take(1));
    }
    let got = good.len();
    if got < needed {
        return Err(NotIssued::TooFew { got, needed });
    }
    good.truncate(needed.min(ROOT_SIGNATURES_MAX));
    let presentation =
        assemble_root(&commission.payload, good).map_err(|error| NotIssued::Unusable(error.to_string()))?;
    Ok(Issued { presentation, expires: commission.expires })
}
