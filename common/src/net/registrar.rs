//! The agents' side of registration: shows a hop to the edge of the parent's channel, and brings back the child's
//! envelope with the edge's countersignature in it.
//!
//! A hop is made by whoever holds the parent ([`crate::envelope::delegate`]); an edge cannot make one. It can say that it
//! has seen one, and most edges take no other. Clauses.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderValue, WWW_AUTHENTICATE};
use http::{Request, Response, StatusCode};

use super::http::{HttpClient, HttpFailed};
use super::prover::{NotProven, Prover};
use crate::envelope::{CannotCarry, NotRegistered, RawCountersignature, RawPresentation, with_countersignature};
use crate::policy::json::{self, Json, Mode};
use crate::proof::{Exchange, Grade, PROOF_HEADER, Target};
use crate::text;

/// Where hops are registered.
pub const DELEGATIONS_PATH: &str = "/v1/delegations";
const CBOR: &str = "application/cbor";
/// As it is, over a new channel, and once more.
const TRIES_MAX: u32 = 3;

/// A hop that an edge has registered.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The child's presentation, with the countersignature in it: what the child shows, at any edge.
    pub presentation: Vec<u8>,
    /// What of the hop's wishes the parent does not hold, for people.
    pub not_held: Vec<NotHeld>,
    /// The decision, as the edge's records name it.
    pub decision: String,
}

/// One thing that a hop asks for and its parent does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotHeld {
    /// The index of the hop's grant.
    pub grant: i64,
    /// Which dimension.
    pub dimension: String,
    /// What was asked for.
    pub asked: String,
    /// What the parent holds of it.
    pub held: String,
}

/// A hop is not registered.
#[derive(Debug, thiserror::Error)]
pub enum CannotRegister {
    /// The edge opens no channel for the parent, or the exchange broke.
    #[error("the parent's holder cannot be proven to the edge")]
    NotProven(#[from] NotProven),
    /// The edge says no; [`refusal_of`] reads why.
    #[error("the edge does not register it: {}", refusal_of(.0).unwrap_or_else(|| format!("HTTP {}", .0.status())))]
    Refused(Box<Response<Bytes>>),
    /// The answer is no registration.
    #[error("the edge's answer is no registration")]
    Answer,
    /// The countersignature is not that edge's, or about another hop.
    #[error("the countersignature does not count")]
    Countersignature(#[from] NotRegistered),
    /// The countersignature does not fit the envelope.
    #[error("the countersignature does not fit the envelope")]
    Carry(#[from] CannotCarry),
}

/// The reason that a refusal names.
#[must_use]
pub fn refusal_of(response: &Response<Bytes>) -> Option<String> {
    let body = json::parse(response.body(), Mode::Protocol).ok()?;
    let reason = body.get("reason")?.as_text()?.to_owned();
    let hop = body.get("hop").and_then(Json::as_int).map(|hop| format!(" (link {hop})")).unwrap_or_default();
    Some(reason + &hop)
}

impl Prover {
    /// Registers a child of this envelope at this edge. `child` is its presentation; registering it again gives the
    /// same countersignature.
    ///
    /// # Errors
    /// [`CannotRegister`].
    pub async fn register(
        &self,
        client: &HttpClient,
        to: SocketAddr,
        child: &[u8],
        within: Duration,
    ) -> Result<Registration, CannotRegister> {
        let target = Target::Http { method: "POST", path: DELEGATIONS_PATH, query: "", content_type: CBOR };
        let exchange = Exchange { target, body: child, idempotency_key: b"" };
        let mut tries = 1;
        let response = loop {
            let (proof, channel) = self.prove_over(client, to, &exchange, Grade::P2, within).await?;
            let unwritten = |error: http::Error| NotProven::Http(HttpFailed::Broken(error.into()));
            let mut request = Request::post(DELEGATIONS_PATH).body(Bytes::copy_from_slice(child)).map_err(unwritten)?;
            let host = HeaderValue::from_str(&to.to_string()).map_err(|error| unwritten(error.into()))?;
            let headers = request.headers_mut();
            headers.insert(HOST, host);
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(CBOR));
            headers.insert(PROOF_HEADER, proof);
            let response = client.send(to, request, within).await.map_err(NotProven::Http)?;
            let challenge = response.headers().get(WWW_AUTHENTICATE).and_then(|challenge| challenge.to_str().ok());
            let heeds = |challenge: &str| self.heed(DELEGATIONS_PATH, channel, Grade::P2, challenge);
            if tries >= TRIES_MAX || !challenge.is_some_and(heeds) {
                break response;
            }
            tries += 1;
        };
        if response.status() != StatusCode::OK {
            return Err(CannotRegister::Refused(Box::new(response)));
        }
        self.take(child, response.body())
    }

    /// Believes what the edge's key says, and nothing else of the answer that matters.
    fn take(&self, child: &[u8], answer: &[u8]) -> Result<Registration, CannotRegister> {
        let answer = json::parse(answer, Mode::Protocol).map_err(|_| CannotRegister::Answer)?;
        let member = |name: &str| answer.get(name).and_then(Json::as_text).ok_or(CannotRegister::Answer);
        let countersignature = text::from_base64url(member("countersignature")?).ok_or(CannotRegister::Answer)?;
        let edge = self.edge();
        let link =
            RawPresentation::parse(child).ok().and_then(|raw| raw.leaf_id(&edge.mesh)).ok_or(CannotRegister::Answer)?;
        let raw = RawCountersignature::parse(&countersignature).map_err(|_| CannotRegister::Answer)?;
        let region = &raw.said().region;
        raw.verify(&edge.mesh, &link, |id| (*id == edge.edge).then_some((region, &edge.key)))?;
        let not_held = answer.get("not_held").and_then(Json::as_array).unwrap_or_default();
        Ok(Registration {
            presentation: with_countersignature(child, &edge.mesh, &countersignature)?,
            not_held: not_held.iter().filter_map(NotHeld::read).collect(),
            decision: member("decision_id")?.to_owned(),
        })
    }
}

impl NotHeld {
    fn read(json: &Json) -> Option<Self> {
        let text = |name: &str| json.get(name).and_then(Json::as_text).map(str::to_owned);
        let grant = json.get("grant").and_then(Json::as_int)?;
        Some(Self { grant, dimension: text("dimension")?, asked: text("asked")?, held: text("held")? })
    }
}
