//! What a refused caller is told about itself, in `WWW-Authenticate` (RFC 9110 section 11.6.1).
//!
//! Clients that get no further than the header learn from it what to do next: another envelope, another channel, more
//! proof. Clause X-9.

use http::HeaderValue;
use remit_common::policy::decision::Reason;

use crate::pdp::Refusal;

/// The challenge of a refusal; `None` when the envelope stands and another one would not help.
pub(super) fn of(refusal: &Refusal) -> Option<HeaderValue> {
    if !refusal.challenge {
        return None;
    }
    let plain = "Bearer realm=\"remit\"";
    let mut text = match refusal.denied.reason {
        Reason::NoEnvelope => plain.to_owned(),
        reason => format!("{plain}, error=\"invalid_token\", error_description=\"{reason}\""),
    };
    if let Some(proof) = &refusal.proof {
        text.push_str(&format!(", proof=\"{}\"", proof.fault.as_str()));
        if let Some(required) = proof.required {
            text.push_str(&format!(", required=\"{required}\""));
        }
    }
    // INVARIANT: every word in it is one of ours.
    Some(HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("Bearer realm=\"remit\"")))
}
