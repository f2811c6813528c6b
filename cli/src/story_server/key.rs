//! The server's side of an API key: the hash, and the check of a request against it.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use remit_common::crypto::digest::Digest;

/// SHA-256 of the one key that opens this server. The key itself is nowhere in the process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeyHash(Digest);

/// Why a request is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyRefused {
    #[error("no `Authorization: Bearer` header")]
    Missing,
    #[error("more than one `Authorization` header")]
    Repeated,
    #[error("the key is not the right one")]
    Wrong,
}

impl KeyHash {
    /// Reads the hash from its file: 64 lower-case hex digits, white space around them ignored.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        text.trim().parse().ok().map(Self)
    }

    /// Whether the request carries the key.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), KeyRefused> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = values.next().ok_or(KeyRefused::Missing)?;
        if values.next().is_some() {
            return Err(KeyRefused::Repeated);
        }
        let key = value.as_bytes().strip_prefix(b"Bearer ").ok_or(KeyRefused::Missing)?;
        if self.0.is_same_secret(&Digest::of(&[key])) { Ok(()) } else { Err(KeyRefused::Wrong) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_key_once_opens() {
        let hash = KeyHash::parse(&format!(" {}\n", Digest::of(&[b"ak_live_1"]))).unwrap();
        let check = |values: &[&'static str], expected| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, http::HeaderValue::from_static(value));
            }
            assert_eq!(hash.check(&headers), expected, "{values:?}");
        };
        check(&["Bearer ak_live_1"], Ok(()));
        check(&[], Err(KeyRefused::Missing));
        check(&["Basic ak_live_1"], Err(KeyRefused::Missing));
        check(&["Bearer ak_live_2"], Err(KeyRefused::Wrong));
        check(&["Bearer "], Err(KeyRefused::Wrong));
        check(&["Bearer ak_live_1", "Bearer ak_live_1"], Err(KeyRefused::Repeated));
    }

    #[test]
    fn a_hash_is_64_hex_digits() {
        for bad in ["", "ak_live_1", "ABCD", &"0".repeat(63)] {
            assert!(KeyHash::parse(bad).is_none(), "{bad}");
        }
    }
}
