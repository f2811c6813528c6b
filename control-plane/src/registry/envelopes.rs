//! Root envelopes: the registry says what may be signed, issuers sign it.
//!
//! Every voter builds the same payload from the same command, so that an issuer signs what its own registry holds and
//! never what somebody hands it.

use std::sync::Arc;
use std::time::Duration;

use remit_common::crypto::digest::Digest;
use remit_common::crypto::sign::PublicKey;
use remit_common::envelope::{EvidenceKind, Nonce, RootPayload, RootRequest, RootStamp, TaskRequest};
use remit_common::id::LogIndex;
use remit_common::identity::{Administrator, SignedRequest, Verb};
use remit_common::lattice::{Effect, Effects};
use remit_common::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::apply::Applied;
use super::authenticate::not_permitted;
use super::bundles::ActiveBundle;
use super::refusal::{Refusal, RefusalKind, with_causes};
use super::state::State;

/// How long issuers may sign a root after its command: a slow voter catches up within it, and nobody collects
/// signatures later.
const SIGNING_WINDOW: Duration = Duration::from_secs(120);

/// Roots waiting for signatures at the same time.
const COMMISSIONS_MAX: usize = 4_096;

/// The body of `POST /v1/envelopes`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvelopeRequest {
    /// The key that will hold the root.
    pub holder: PublicKey,
    /// What is asked for.
    pub task: TaskRequest,
}

/// A root that issuers may sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commission {
    /// The entry that asked for it.
    pub index: LogIndex,
    /// When it was issued: which issuers count is a question of this moment.
    pub issued: Timestamp,
    /// When the root expires.
    pub expires: Timestamp,
    /// Last moment for signing.
    pub(super) until: Timestamp,
    /// What to sign.
    pub payload: RootPayload,
}

/// Clauses C-63 to C-65.
pub(super) fn commission(
    state: &mut State,
    index: LogIndex,
    administrator: &Administrator,
    request: &SignedRequest,
) -> Result<Applied, Refusal> {
    let EnvelopeRequest { holder, task } = serde_json::from_slice(&request.body).map_err(Refusal::malformed)?;
    let tenant = task.tenant.clone();
    administrator.check(Verb::IssueEnvelope, &tenant, state.clock).map_err(|error| not_permitted(&error))?;
    let active = state.active(&tenant).ok_or_else(|| {
        Refusal::new(RefusalKind::NotReady, "no_bundle", format_args!("tenant `{tenant}` has no active bundle"))
    })?;
    let evidence = request.evidence(&state.genesis.mesh);
    let dev = state.trust()?.root.content().dev;
    let root = resolve(active, task, dev)?;
    let stamp = stamp(active, state.clock, evidence);
    let payload = RootPayload::build(&root, &holder, &stamp)
        .map_err(|error| Refusal::new(RefusalKind::Unacceptable, "cannot_mint", error))?;
    let clock = state.clock;
    let issued = stamp.issued;
    let commissions = Arc::make_mut(&mut state.commissions);
    commissions.retain(|_, commission| commission.until > clock);
    if commissions.len() >= COMMISSIONS_MAX {
        return Err(Refusal::new(RefusalKind::Full, "too_many_envelopes", "too many roots wait for signatures"));
    }
    let commission =
        Commission { index, issued, expires: issued.plus(root.life), until: clock.plus(SIGNING_WINDOW), payload };
    commissions.insert((tenant.clone(), evidence), commission);
    Ok(Applied::Envelope { tenant, evidence })
}

/// Names become numbers and patterns become the tools of today's catalogue, so that a tool added tomorrow is not in
/// a root of today; unless a grant says that it is for tools to come, too.
fn resolve(active: &ActiveBundle, mut task: TaskRequest, dev: bool) -> Result<RootRequest, Refusal> {
    let unacceptable = |error| Refusal::new(RefusalKind::Unacceptable, "invalid_request", with_causes(&error));
    task.expand_tools(active.tool_names()).map_err(unacceptable)?;
    let mut named = task.grants.iter().filter(|grant| !grant.future).flat_map(|grant| &grant.tools);
    if let Some(unknown) = named.find(|name| !active.tool_names().any(|known| known.as_str() == **name)) {
        let detail = format_args!("the active bundle has no tool `{unknown}`");
        return Err(Refusal::new(RefusalKind::Unacceptable, "tool_unknown", detail));
    }
    let root = task.resolve(active.names()).map_err(unacceptable)?;
    let weak = Effects::from_iter([Effect::Read, Effect::Write]);
    let too_much = root.grants.iter().any(|grant| !grant.effects.is_some_and(|effects| effects.is_within(weak)));
    if too_much && !dev {
        let detail = "an administrator's word alone gives only `read` and `write` outside a `dev` mesh";
        return Err(Refusal::new(RefusalKind::Forbidden, "evidence_too_weak", detail));
    }
    Ok(root)
}

fn stamp(active: &ActiveBundle, clock: Timestamp, evidence: Digest) -> RootStamp {
    RootStamp {
        issued: Timestamp::from_secs(clock.as_secs()),
        nonce: nonce_of(&evidence),
        evidence_kind: EvidenceKind::Admin,
        evidence,
        catalogue_version: active.version().0,
        taxonomy_version: active.taxonomy_version(),
        min_bundle_version: active.floor().0,
    }
}

/// The root's nonce follows from the request's own: no voter chooses it.
fn nonce_of(evidence: &Digest) -> Nonce {
    let Digest(bytes) = Digest::of(&[b"remit/admin-root-nonce/v1", &evidence.0]);
    let mut nonce = [0; 16];
    for (to, from) in nonce.iter_mut().zip(bytes) {
        *to = from;
    }
    nonce
}
