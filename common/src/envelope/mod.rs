//! The envelope: who delegated what, to which key, for which purpose, and how it was narrowed since.
//!
//! An envelope is a chain of COSE_Sign1 links (RFC 9052). The root is signed by a majority of the tenant's issuers,
//! each later link by the key that the link before it names as holder. Bytes become authority in three steps, and
//! each step is a type: [`RawPresentation`] has the right shape, [`VerifiedChain`] has the right signatures, and
//! [`Effective`] is what the meet of all links leaves. Policy accepts only the last. A link is a restriction: what it
//! asks for beyond its parent is not refused, it is simply not there after the meet.
//!
//! An envelope holds no credential, and by itself opens nothing: whoever uses it proves that it has the last link's key
//! (clauses ).
//!
//! Clauses E-1 to E-35, docs/PROTOCOL.md.

mod authority;
mod beginnings;
mod cbor;
mod cose;
mod countersign;
mod decode;
mod decode_grant;
mod delegate;
mod encode;
mod error;
mod issuers;
mod later;
mod link;
mod mint;
mod presentation;
mod request;
mod request_terms;
mod terms;
mod verify;

pub(crate) use cbor::Writer;

pub use authority::{Authority, Effective, NOT_BEFORE_GRACE, RootSigners, TimeDenied, WrongAudience};
pub use beginnings::Beginnings;
pub use countersign::{Countersignature, NotRegistered, RawCountersignature};
pub use delegate::{CannotDelegate, Restriction, delegate};
pub use error::{MalformedEnvelope, ShapeFault, Unauthenticated};
pub use issuers::{InvalidIssuers, Issuer, Issuers};
pub use link::{AgentIdentity, EvidenceKind, Link, Nonce, RootContext};
pub use mint::{CannotMint, RootPayload, RootRequest, RootSignature, RootStamp, assemble_root, sign_root_part};
pub use presentation::{
    CannotCarry, ENVELOPE_HEADER, RawPresentation, leaf_holder, read_reference, reference, with_countersignature,
};
pub use request::{
    AgentRequest, Any, DelegationRequest, GrantRequest, IdsRequest, InvalidRequest, MaximumRequest, NumberedOrNamed,
    RestrictionRequest, TaskRequest,
};
pub use request_terms::{AudienceRequest, ConstraintRequest, InvalidConstraint, ObligationsRequest, ScalarRequest};
pub use verify::{VerifiedChain, VerifiedLink};

pub use crate::lattice::Delegation;

#[cfg(test)]
mod tests;
