//! What the voters agree on, as pure code.
//!
//! A [`Command`] comes out of the log, [`apply`] changes the [`State`], and every voter does the same. Nothing here
//! reads a clock or draws a random byte: time arrives inside the command, put there by the leader, and never goes
//! back. What an administrator asked for arrives with the administrator's signature, and every voter checks it: a
//! leader that invents or alters a command has written an entry that changes nothing, on every voter alike.
//!
//! Tables of a tenant are keyed by the tenant first. Clauses C-50 to C-80, docs/PROTOCOL.md.

mod admission;
mod apply;
mod authenticate;
mod bundles;
mod command;
mod credentials;
mod enrolment;
mod envelopes;
mod refusal;
mod relations;
mod revocations;
mod rollouts;
mod snapshot;
mod state;
mod ticks;
mod trust;
mod voters;

pub use admission::{Uncompared, to_command, uncompared};
pub use apply::{Applied, apply};
pub(crate) use authenticate::request_refused;
pub use authenticate::{Operation, Requester, authenticate};
pub use bundles::{ActiveBundle, StoredBundle};
pub use command::Command;
pub use credentials::Credential;
pub use enrolment::{
    CERTIFICATE_LIFE_SECS, EnrolRequest, Enrolled, Enrolment, GRACE, TOKEN_LIFE_MAX, TOKEN_USES_MAX, TOKENS_MAX, Token,
    TokenRequest, check_enrolment,
};
pub use envelopes::{Commission, EnvelopeRequest};
pub(crate) use refusal::with_causes;
pub use refusal::{Refusal, RefusalKind};
pub use relations::check_relations;
pub use rollouts::{RollbackRequest, Rollout, RolloutChange, RolloutEvent, RolloutRequest, RolloutStatus, RolloutStep};
pub use snapshot::SnapshotUnusable;
pub use state::{EpochFact, Genesis, Spent, State};
pub use ticks::TickFact;
pub use trust::{Trust, TrustDocuments};
pub use voters::{Seats, VoterPlan, VoterRequest, VoterWish};
