//! How an envelope travels in a request.
//!
//! In `Remit-Envelope`, or as a bearer token for clients that know nothing else; in one of them, once. An envelope in
//! two places would leave it to chance which of them was judged. Beside it there may be a proof that the caller has its
//! key. Clauses G-1, G-2 and X-5.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use remit_common::envelope::{ENVELOPE_HEADER, MalformedEnvelope, RawPresentation, read_reference};
use remit_common::id::LinkId;
use remit_common::limits::{IDEMPOTENCY_KEY_BYTES_MAX, PRESENTATION_BYTES_MAX};
use remit_common::policy::decision::{Denied, Reason};
use remit_common::proof::{MalformedProof, PROOF_HEADER, Proof};
use remit_common::relation_log::RELATIONS_HEADER;
use remit_common::text;

/// The header of an idempotency key.
const IDEMPOTENCY_HEADER: &str = "idempotency-key";

/// What a request carries.
#[derive(Debug, Clone)]
pub(crate) enum Carried {
    /// All of an envelope.
    Presentation(RawPresentation),
    /// All of an envelope, as a token that proves nothing.
    Bearer(RawPresentation),
    /// The last link of an envelope that was shown before.
    Reference(LinkId),
}

/// A request carries no envelope that can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoCarrier {
    /// There is none.
    #[error("the request carries no envelope")]
    Absent,
    /// There is more than one.
    #[error("the request carries more than one envelope")]
    Twice,
    /// Not base64url without padding, or too long.
    #[error("the envelope is not base64url, or longer than {PRESENTATION_BYTES_MAX} bytes")]
    Encoding,
    /// Not a presentation.
    #[error("the envelope is malformed")]
    Malformed(#[from] MalformedEnvelope),
}

impl NoCarrier {
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Absent => Reason::NoEnvelope,
            Self::Twice | Self::Encoding | Self::Malformed(_) => Reason::Malformed,
        }
    }
}

/// Takes the envelope of a request.
///
/// # Errors
/// [`NoCarrier`].
pub(crate) fn envelope(headers: &HeaderMap) -> Result<Carried, NoCarrier> {
    let own = headers.get_all(ENVELOPE_HEADER).iter().map(|value| (value.as_bytes(), false));
    let bearer = headers.get_all(AUTHORIZATION).iter().filter_map(|value| Some((bearer(value.as_bytes())?, true)));
    let mut carriers = own.chain(bearer);
    let (carrier, is_bearer) = carriers.next().ok_or(NoCarrier::Absent)?;
    if carriers.next().is_some() {
        return Err(NoCarrier::Twice);
    }
    if carrier.len() > PRESENTATION_BYTES_MAX.div_ceil(3) * 4 {
        return Err(NoCarrier::Encoding);
    }
    let carrier = std::str::from_utf8(carrier).map_err(|_| NoCarrier::Encoding)?;
    let bytes = text::from_base64url(carrier).ok_or(NoCarrier::Encoding)?;
    if !is_bearer && let Some(leaf) = read_reference(&bytes) {
        return Ok(Carried::Reference(leaf));
    }
    let raw = RawPresentation::parse(&bytes)?;
    Ok(if is_bearer { Carried::Bearer(raw) } else { Carried::Presentation(raw) })
}

/// The revision of relations below which the caller does not want to be judged, if it names one (clause G-82).
///
/// # Errors
/// The denial of a request that names two, or no number.
pub(crate) fn relations_at_least(headers: &HeaderMap) -> Result<Option<u64>, Denied> {
    let mut values = headers.get_all(RELATIONS_HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let number = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match number.and_then(|text| text.parse().ok()) {
        Some(least) if values.next().is_none() => Ok(Some(least)),
        _ => Err(Denied::new(Reason::Malformed, format!("`{RELATIONS_HEADER}` is one decimal number"))),
    }
}

/// Takes the proof of a request, if it has one.
///
/// # Errors
/// [`MalformedProof`].
pub(crate) fn proof(headers: &HeaderMap) -> Result<Option<Proof>, MalformedProof> {
    sole(headers, PROOF_HEADER)?.map(Proof::parse).transpose()
}

/// The idempotency key of a request; empty for none.
///
/// # Errors
/// [`MalformedProof`].
pub(crate) fn idempotency_key(headers: &HeaderMap) -> Result<&[u8], MalformedProof> {
    let key = sole(headers, IDEMPOTENCY_HEADER)?.unwrap_or_default();
    if key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        return Err(MalformedProof::TooLong { bytes_max: IDEMPOTENCY_KEY_BYTES_MAX });
    }
    Ok(key)
}

fn sole<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a [u8]>, MalformedProof> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().map(http::HeaderValue::as_bytes);
    if values.next().is_some() { Err(MalformedProof::Twice) } else { Ok(first) }
}

/// The token of `Bearer <token>` (RFC 6750 section 2.1; the scheme in any case). Other schemes are not ours.
pub(super) fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii_start())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn one_carrier_and_no_more() {
        let check = |lines: &[(&'static str, &str)], expected: NoCarrier| {
            let headers: HeaderMap = lines
                .iter()
                .map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
                .collect();
            assert_eq!(envelope(&headers).map(|_| ()), Err(expected), "{lines:?}");
        };
        check(&[], NoCarrier::Absent);
        check(&[("authorization", "Basic dXNlcjpwdw")], NoCarrier::Absent);
        check(&[("remit_envelope", "AAAA")], NoCarrier::Absent);
        check(&[("remit-envelope", "AAAA"), ("remit-envelope", "AAAA")], NoCarrier::Twice);
        check(&[("remit-envelope", "AAAA"), ("authorization", "bearer AAAA")], NoCarrier::Twice);
        check(&[("remit-envelope", "not base64")], NoCarrier::Encoding);
        check(&[("remit-envelope", "AAAA====")], NoCarrier::Encoding);
        check(&[("authorization", &format!("Bearer {}", "A".repeat(60_000)))], NoCarrier::Encoding);
    }

    #[test]
    fn what_is_unreadable_is_malformed_and_what_is_absent_is_not() {
        assert_eq!(NoCarrier::Absent.reason(), Reason::NoEnvelope);
        assert_eq!(NoCarrier::Twice.reason(), Reason::Malformed);
        let headers: HeaderMap =
            [(http::HeaderName::from_static("remit-envelope"), HeaderValue::from_static("AAAA"))].into_iter().collect();
        assert_eq!(envelope(&headers).map(|_| ()).unwrap_err().reason(), Reason::Malformed);
    }
}
