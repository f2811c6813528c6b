//! Who may join, and which certificates edges were given.
//!
//! A token is the digest of a public key, whose private half its holder alone has. It is spent by an entry of the log that
//! carries what the holder has signed: checked and consumed in one step on every voter, so that a fail-over in between
//! gives nobody a second turn, and a voter lets nobody in. Whoever asks again with the same keys is told what came of it.
//! A certificate admits a connection and nothing else: an edge serves when the directory lists it, and that takes the
//! directory's signers. Clauses J-9 to J-18, docs/PROTOCOL.md.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use remit_common::crypto::digest::Digest;
use remit_common::crypto::hpke::SealingPublicKey;
use remit_common::crypto::sign::{PublicKey, Signature};
use remit_common::id::{EdgeId, KeyId, LogIndex, Region, TenantId};
pub use remit_common::identity::certificate::GRACE;
use remit_common::identity::{Administrator, Admission, SignedRequest, Verb};
use remit_common::revocation::CutKind;
use remit_common::time::Timestamp;
use remit_common::trust::directory::{Directory, Edge};
use serde::{Deserialize, Serialize};

use super::apply::Applied;
use super::authenticate::not_permitted;
use super::refusal::{Refusal, RefusalKind};
use super::state::State;

/// Bytes of a request's body.
const BODY_BYTES_MAX: usize = 512;
/// Tokens that live at a time. A new region of a hundred edges is an afternoon's work.
pub const TOKENS_MAX: usize = 1_024;
/// Turns of one token: one, and a few more for an edge whose disk is being sorted out.
pub const TOKEN_USES_MAX: u32 = 16;
/// The longest life of a token.
pub const TOKEN_LIFE_MAX: Duration = Duration::from_secs(7 * 86_400);
/// Edges that have joined and that the directory does not list yet.
const WAITING_MAX: usize = 4_096;
/// Lives of certificates, in seconds.
pub const CERTIFICATE_LIFE_SECS: std::ops::RangeInclusive<u32> = 10..=7 * 86_400;
/// An edge that asks again within this time is given what it was given (clause J-15).
const AGAIN_WITHIN: Duration = Duration::from_secs(5);

/// What an administrator asks for: the body of `POST /v1/join-tokens`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "change", rename_all = "lowercase", deny_unknown_fields)]
pub enum TokenRequest {
    /// Makes a token.
    Create {
        /// SHA-256 of its public key.
        token: Digest,
        /// Where the edge is to stand.
        region: Region,
        /// Which edge.
        edge: EdgeId,
        /// How long it counts, from the entry on.
        lifetime_secs: u64,
        /// How often.
        uses: u32,
    },
    /// Takes one back.
    Revoke {
        /// SHA-256 of its public key.
        token: Digest,
    },
}

/// What an edge asks for, as a voter that has checked its claim passes it on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnrolRequest {
    /// To be taken in.
    Join {
        /// The public key of the token.
        token: PublicKey,
        /// Where.
        region: Region,
        /// Which edge.
        edge: EdgeId,
        /// The key of its certificates.
        identity: PublicKey,
        /// What credentials are to be sealed to.
        sealing: SealingPublicKey,
        /// By the token's key, over the [`Admission`] of all that: a voter cannot make one up.
        admission: Signature,
    },
    /// Another certificate.
    Renew {
        /// Where.
        region: Region,
        /// Which edge.
        edge: EdgeId,
        /// The key of its certificates.
        identity: PublicKey,
    },
}

impl EnrolRequest {
    /// The key that is asked about.
    #[must_use]
    pub fn identity(&self) -> &PublicKey {
        match self {
            Self::Join { identity, .. } | Self::Renew { identity, .. } => identity,
        }
    }
}

/// A token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Where the edge is to stand.
    pub region: Region,
    /// Which edge.
    pub edge: EdgeId,
    /// First moment at which it no longer counts.
    pub expires: Timestamp,
    /// How often it counts.
    pub uses: u32,
    /// Which administrator's key asked for it.
    pub by: KeyId,
    /// The entry.
    pub index: LogIndex,
    /// Who has used it: identity key and sealing key.
    pub used: Vec<(KeyId, KeyId)>,
}

/// The newest certificate of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// Where the edge stands.
    pub region: Region,
    /// Which edge.
    pub edge: EdgeId,
    /// Its identity key.
    pub identity: PublicKey,
    /// Its sealing key; absent once the directory has listed it.
    pub sealing: Option<SealingPublicKey>,
    /// The entry: the certificate's serial number.
    pub index: LogIndex,
    /// When it was issued.
    pub at: Timestamp,
    /// How long it counts from then.
    pub life_secs: u32,
}

impl Enrolled {
    /// First moment at which the certificate no longer counts.
    #[must_use]
    pub fn ends(&self) -> Timestamp {
        self.at.plus(Duration::from_secs(self.life_secs.into()))
    }
}

/// Tokens and certificates.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// By the digest of their public keys.
    pub(super) tokens: BTreeMap<Digest, Token>,
    /// By the id of the identity key.
    pub(super) enrolled: BTreeMap<KeyId, Enrolled>,
}

impl Enrolment {
    pub(super) fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.enrolled.is_empty()
    }
}

impl State {
    /// The tokens that count, by the digest of their public keys.
    pub fn join_tokens(&self) -> impl Iterator<Item = (&Digest, &Token)> {
        self.enrolment.tokens.iter().filter(|(_, token)| token.expires > self.clock)
    }

    /// The newest certificate of a key.
    #[must_use]
    pub fn enrolled(&self, identity: &KeyId) -> Option<&Enrolled> {
        self.enrolment.enrolled.get(identity)
    }

    /// Edges that have joined and that the directory does not list with these keys, as the directory would.
    pub fn waiting(&self) -> impl Iterator<Item = (Edge, &Enrolled)> {
        let directory = self.trust.as_deref().map(|trust| &trust.directory);
        self.enrolment.enrolled.values().filter_map(move |enrolled| {
            let Enrolled { region, edge, identity, sealing, .. } = enrolled;
            let row = Edge { id: edge.clone(), region: region.clone(), identity: *identity, sealing: sealing.clone()? };
            let is_listed = directory.is_some_and(|directory| directory.edge(edge) == Some(&row));
            (!is_listed).then_some((row, enrolled))
        })
    }

    /// Whether every tenant of the mesh has cut this edge (clause J-17).
    #[must_use]
    pub fn is_evicted(&self, edge: &EdgeId) -> bool {
        self.evicted.contains(edge)
    }

    /// To be called when the cuts or the tenants have changed.
    pub(super) fn find_evicted(&mut self) {
        let tenants: BTreeSet<&TenantId> =
            self.trust.iter().flat_map(|trust| trust.root.content().policy.keys()).collect();
        let mut cut: BTreeMap<EdgeId, BTreeSet<&TenantId>> = BTreeMap::new();
        let cuts = self.revocations.iter().map(|entry| &entry.cut);
        for found in cuts.filter(|cut| cut.kind == CutKind::Edge) {
            if let Ok(edge) = EdgeId::new(&found.id) {
                let reached = tenants.iter().copied().filter(|tenant| found.tenant.covers(tenant));
                cut.entry(edge).or_default().extend(reached);
            }
        }
        let everywhere = cut.into_iter().filter(|(_, by)| by.len() == tenants.len()).map(|(edge, _)| edge).collect();
        if *self.evicted != everywhere {
            self.evicted = Arc::new(everywhere);
        }
    }

    /// What has ended is let go; called with every tick.
    pub(super) fn expire_enrolment(&mut self) {
        let clock = self.clock;
        let is_over = |enrolled: &Enrolled| enrolled.ends().plus(GRACE) <= clock;
        let any = self.enrolment.tokens.values().any(|token| token.expires <= clock)
            || self.enrolment.enrolled.values().any(is_over);
        if any {
            let enrolment = Arc::make_mut(&mut self.enrolment);
            enrolment.tokens.retain(|_, token| token.expires > clock);
            enrolment.enrolled.retain(|_, enrolled| !is_over(enrolled));
        }
    }
}

fn refuse(kind: RefusalKind, reason: &'static str, detail: impl std::fmt::Display) -> Refusal {
    Refusal::new(kind, reason, detail)
}

/// Clauses J-9 and J-10.
pub(super) fn change(
    state: &mut State,
    index: LogIndex,
    administrator: &Administrator,
    request: &SignedRequest,
) -> Result<Applied, Refusal> {
    administrator.check_anywhere(Verb::EnrolEdge, state.clock).map_err(|error| not_permitted(&error))?;
    if request.body.len() > BODY_BYTES_MAX {
        return Err(Refusal::malformed("the body is too long"));
    }
    match serde_json::from_slice(&request.body).map_err(Refusal::malformed)? {
        TokenRequest::Create { token, region, edge, lifetime_secs, uses } => {
            let lifetime = Duration::from_secs(lifetime_secs);
            if lifetime.is_zero() || lifetime > TOKEN_LIFE_MAX || !(1..=TOKEN_USES_MAX).contains(&uses) {
                return Err(Refusal::malformed("a token counts for a second to seven days, once to 16 times"));
            }
            state.expire_enrolment();
            let expires = state.clock.plus(lifetime);
            if state.enrolment.tokens.contains_key(&token) {
                return Err(refuse(RefusalKind::Conflict, "token_exists", "there is a token with this key"));
            }
            if state.enrolment.tokens.len() >= TOKENS_MAX {
                let detail = "there are 1024 tokens that count; take some back, or wait until they end";
                return Err(refuse(RefusalKind::Full, "too_many_tokens", detail));
            }
            let by = request.key;
            let made = Token { region, edge, expires, uses, by, index, used: Vec::new() };
            Arc::make_mut(&mut state.enrolment).tokens.insert(token, made);
            Ok(Applied::JoinToken { token, expires: Some(expires) })
        }
        TokenRequest::Revoke { token } => {
            if Arc::make_mut(&mut state.enrolment).tokens.remove(&token).is_none() {
                return Err(refuse(RefusalKind::Conflict, "no_such_token", "there is no such token that counts"));
            }
            Ok(Applied::JoinToken { token, expires: None })
        }
    }
}

/// What applying a request would come to: a certificate that was given already, or a new one. What is refused here need
/// not get into the log.
///
/// # Errors
/// [`Refusal`] names the first rule that stands against it.
pub fn check_enrolment(state: &State, request: &EnrolRequest, at: Timestamp) -> Result<Option<Enrolled>, Refusal> {
    let trust = state.trust()?;
    trust.check_time(at)?;
    match request {
        EnrolRequest::Join { token, region, edge, identity, sealing, admission } => {
            let mesh = state.genesis().mesh;
            let admitted = Admission { mesh, region, edge, identity, sealing };
            check_join(state, &trust.directory, (token, admission), &admitted, at)
        }
        EnrolRequest::Renew { region, edge, identity } => {
            check_renewal(state, &trust.directory, (region, edge, identity), at)
        }
    }
}

fn check_not_evicted(state: &State, edge: &EdgeId) -> Result<(), Refusal> {
    if state.is_evicted(edge) {
        return Err(refuse(RefusalKind::Forbidden, "edge_evicted", format_args!("edge `{edge}` has been cut")));
    }
    Ok(())
}

/// Clauses J-11, J-12 and J-18.
fn check_join(
    state: &State,
    directory: &Directory,
    (key, signature): (&PublicKey, &Signature),
    admission: &Admission<'_>,
    at: Timestamp,
) -> Result<Option<Enrolled>, Refusal> {
    let Admission { region, edge, identity, sealing, .. } = *admission;
    let unknown = || refuse(RefusalKind::Unauthenticated, "token_unknown", "there is no such token, or not any more");
    let token = state.enrolment.tokens.get(&key.id().0).ok_or_else(unknown)?;
    if token.expires <= at {
        return Err(refuse(RefusalKind::Unauthenticated, "token_expired", "the token has ended"));
    }
    if token.region != *region || token.edge != *edge {
        let detail = "the token is for another edge, or another region";
        return Err(refuse(RefusalKind::Forbidden, "token_for_another", detail));
    }
    if admission.verify(key, signature).is_err() {
        let detail = "whoever holds the token has not signed these keys";
        return Err(refuse(RefusalKind::Unauthenticated, "bad_signature", detail));
    }
    check_not_evicted(state, edge)?;
    let keys = (identity.id(), sealing.id());
    if token.used.contains(&keys)
        && let Some(given) = state.enrolled(&keys.0)
    {
        return Ok(Some(given.clone()));
    }
    if u32::try_from(token.used.len()).unwrap_or(u32::MAX) >= token.uses {
        return Err(refuse(RefusalKind::Conflict, "token_used", "the token has been used, with other keys"));
    }
    let same = |id: &EdgeId, region_of: &Region| id == edge && region_of == region;
    let listed = directory
        .edges()
        .any(|other| (other.identity == *identity || other.sealing == *sealing) && !same(&other.id, &other.region));
    let enrolled = state.enrolment.enrolled.values().any(|other| {
        (other.identity == *identity || other.sealing.as_ref() == Some(sealing)) && !same(&other.edge, &other.region)
    });
    if listed || enrolled {
        let detail = "another edge has one of these keys: every edge makes its own";
        return Err(refuse(RefusalKind::Conflict, "key_taken", detail));
    }
    if !state.enrolment.enrolled.contains_key(&keys.0) && state.waiting().count() >= WAITING_MAX {
        let detail = "4096 edges wait for the directory to list them";
        return Err(refuse(RefusalKind::Full, "too_many_waiting", detail));
    }
    Ok(None)
}

/// Clauses J-13 to J-15.
fn check_renewal(
    state: &State,
    directory: &Directory,
    (region, edge, identity): (&Region, &EdgeId, &PublicKey),
    at: Timestamp,
) -> Result<Option<Enrolled>, Refusal> {
    let is_listed = directory.edge(edge).is_some_and(|listed| listed.identity == *identity && listed.region == *region);
    if !is_listed {
        let detail = "the directory does not list this edge with this key and region";
        return Err(refuse(RefusalKind::Forbidden, "not_in_directory", detail));
    }
    check_not_evicted(state, edge)?;
    let given = state.enrolled(&identity.id()).filter(|given| at.since(given.at) < AGAIN_WITHIN && given.edge == *edge);
    Ok(given.cloned())
}

/// Clauses J-11 to J-15 and J-18, on every voter alike.
pub(super) fn enrol(
    state: &mut State,
    index: LogIndex,
    request: EnrolRequest,
    life_secs: u32,
) -> Result<Applied, Refusal> {
    let at = state.clock;
    if !CERTIFICATE_LIFE_SECS.contains(&life_secs) {
        return Err(Refusal::malformed("a certificate lives ten seconds to seven days"));
    }
    if let Some(given) = check_enrolment(state, &request, at)? {
        return Ok(Applied::Certificate { edge: given.edge, index: given.index });
    }
    let enrolment = Arc::make_mut(&mut state.enrolment);
    let enrolled = match request {
        EnrolRequest::Join { token, region, edge, identity, sealing, admission: _ } => {
            if let Some(token) = enrolment.tokens.get_mut(&token.id().0) {
                token.used.push((identity.id(), sealing.id()));
            }
            Enrolled { region, edge, identity, sealing: Some(sealing), index, at, life_secs }
        }
        EnrolRequest::Renew { region, edge, identity } => {
            Enrolled { region, edge, identity, sealing: None, index, at, life_secs }
        }
    };
    let edge = enrolled.edge.clone();
    enrolment.enrolled.insert(enrolled.identity.id(), enrolled);
    Ok(Applied::Certificate { edge, index })
}
