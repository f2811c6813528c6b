//! Platforms that guard something of their own, and ask here what policy says of it.
//!
//! Whoever asks is known: the configuration lists enforcement points, each with one tenant and either a token or the key
//! of the certificate that it shows. What it is told is advice: nothing is called, no credential is opened. Clauses
//! G-91 to G-93.

pub(crate) mod authzen;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use remit_common::crypto::digest::Digest;
use remit_common::crypto::sign::PublicKey;

use super::carrier;
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
        let mut own = headers.get_all(TOKEN_HEADER).iter().map(http::HeaderValue::as_bytes);
        let mut bearers = headers.get_all(AUTHORIZATION).iter().filter_map(|value| carrier::bearer(value.as_bytes()));
        let by_key = || connection.and_then(|key| self.0.iter().find(|point| point.key == Some(key)));
        // Beside a name of its own, what a caller wanted to be authorized by is none of it.
        let (token, again) = match own.next() {
            Some(token) => (token, own.next()),
            None => match by_key() {
                Some(point) => return Some(point),
                None => (bearers.next()?, bearers.next()),
            },
        };
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
