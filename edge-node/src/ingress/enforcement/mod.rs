//! Platforms that guard something of their own, and ask here what policy says of it.
//!
//! Whoever asks is known: the configuration lists enforcement points, each with one tenant and either a token or the key
//! of the certificate that it shows. What it is told is advice: nothing is called, no credential is opened. Clauses
//! G-91 to G-93.

pub(crate) mod authzen;
pub(super) mod forward_auth;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use remit_common::crypto::digest::Digest;
use remit_common::crypto::sign::PublicKey;
use remit_common::policy::decision::Reason;

use super::{Ingress, carrier, connection_of};
use crate::config::EnforcementPointEntry;

/// Where a caller's own `Authorization` is passed on, the token stands here.
const TOKEN_HEADER: &str = "remit-enforcement-token";
/// Bytes of a token. What an operator makes has 32 random ones in some alphabet.
const TOKEN_BYTES_MAX: usize = 512;

/// The enforcement points of this edge.
#[derive(Debug)]
pub(crate) struct EnforcementPoints(Vec<EnforcementPointEntry>);

impl EnforcementPoints {
    pub(crate) fn new(entries: &[EnforcementPointEntry]) -> Self {
        Self(entries.to_vec())
    }

    /// Whether there is any.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Which one asks: by its token in a header of its own, by the key of its connection, or by a bearer token; the first
    /// of these that is there counts, and a token is shown once.
    fn asking(&self, headers: &HeaderMap, connection: Option<PublicKey>) -> Option<&EnforcementPointEntry> {
        if headers.contains_key(TOKEN_HEADER) {
            // Beside a name of its own, what a caller wanted to be authorized by is none of it.
            return self.of_token(own_tokens(headers));
        }
        let bearers = headers.get_all(AUTHORIZATION).iter();
        let bearers = bearers.filter_map(|value| carrier::bearer(value.as_bytes()));
        self.of_key(connection).or_else(|| self.of_token(bearers))
    }

    /// The same for whoever passes on the headers of a caller: no bearer token is its own, and where it is known by its
    /// key, no token at all.
    fn asking_for_a_caller(
        &self,
        headers: &HeaderMap,
        connection: Option<PublicKey>,
    ) -> Option<&EnforcementPointEntry> {
        match (self.of_key(connection), headers.contains_key(TOKEN_HEADER)) {
            (Some(_), true) | (None, false) => None,
            (Some(point), false) => Some(point),
            (None, true) => self.of_token(own_tokens(headers)),
        }
    }

    fn of_key(&self, connection: Option<PublicKey>) -> Option<&EnforcementPointEntry> {
        connection.and_then(|key| self.0.iter().find(|point| point.key == Some(key)))
    }

    /// Whose the one token is.
    fn of_token<'t>(&self, mut tokens: impl Iterator<Item = &'t [u8]>) -> Option<&EnforcementPointEntry> {
        let (token, again) = (tokens.next()?, tokens.next());
        if again.is_some() || !(1..=TOKEN_BYTES_MAX).contains(&token.len()) {
            return None;
        }
        let digest = Digest::of(&[token]);
        // All of them, so that the time says nothing about which one it was.
        self.0.iter().fold(None, |found, point| {
            let is_it = point.token_sha256.as_ref().is_some_and(|of| of.is_same_secret(&digest));
            found.or(is_it.then_some(point))
        })
    }
}

fn own_tokens(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    headers.get_all(TOKEN_HEADER).iter().map(http::HeaderValue::as_bytes)
}

/// Who is no enforcement point is on record like a caller without an envelope.
fn turned_away(ingress: &Ingress, parts: &Parts, why: &'static str) {
    let journey = ingress.gateway.arrive(connection_of(&parts.extensions));
    ingress.gateway.refuse_request(&journey, Reason::BadProof, why);
}
