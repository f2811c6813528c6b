//! Refusals as HTTP answers (RFC 9457). Clause A-4.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use remit_common::id::LogIndex;

use super::model::Problem;
use crate::cluster::{Unavailable, WriteError};
use crate::collect::StoreFailed;
use crate::issuer::NotIssued;
use crate::registry::{Refusal, RefusalKind};

/// An answer that is not 2xx.
#[derive(Debug)]
pub(super) struct Failure(Problem);

impl Failure {
    pub(super) fn new(status: StatusCode, reason: &str, detail: impl std::fmt::Display) -> Self {
        Self(Problem {
            kind: "about:blank".to_owned(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.to_string(),
            reason: reason.to_owned(),
            index: None,
        })
    }

    /// The command is in the log, as one that changed nothing.
    pub(super) fn recorded(refusal: &Refusal, index: LogIndex) -> Self {
        let Self(problem) = refusal.into();
        Self(Problem { index: Some(index), ..problem })
    }
}

/// A refusal, as the admin API answers it.
pub(crate) fn problem_of(refusal: &Refusal) -> Problem {
    Failure::from(refusal).0
}

/// Why a write was not carried out, as the admin API answers it.
pub(crate) fn problem_of_write(error: WriteError) -> Problem {
    Failure::from(error).0
}

impl From<&Refusal> for Failure {
    fn from(refusal: &Refusal) -> Self {
        let status = match refusal.kind {
            RefusalKind::Malformed => StatusCode::BAD_REQUEST,
            RefusalKind::Unauthenticated => StatusCode::UNAUTHORIZED,
            RefusalKind::Forbidden => StatusCode::FORBIDDEN,
            RefusalKind::Conflict => StatusCode::CONFLICT,
            RefusalKind::Unacceptable => StatusCode::UNPROCESSABLE_ENTITY,
            RefusalKind::Full => StatusCode::TOO_MANY_REQUESTS,
            RefusalKind::NotReady => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, &refusal.reason, &refusal.detail)
    }
}

impl From<Unavailable> for Failure {
    fn from(error: Unavailable) -> Self {
        let reason = match &error {
            Unavailable::NoLeader => "no_leader",
            Unavailable::NotConfirmed => "leader_not_confirmed",
            Unavailable::Behind { .. } => "behind",
            Unavailable::Stopping => "stopping",
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, reason, error)
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Refused(refusal) => (&refusal).into(),
            WriteError::Unavailable(error) => error.into(),
            WriteError::OutcomeUnknown => Self::new(StatusCode::SERVICE_UNAVAILABLE, "outcome_unknown", error),
        }
    }
}

impl From<NotIssued> for Failure {
    fn from(error: NotIssued) -> Self {
        let reason = match &error {
            NotIssued::NoCommission => "behind",
            NotIssued::TooFew { .. } => "issuers_unavailable",
            NotIssued::Unusable(_) => "issuers_unusable",
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, reason, error)
    }
}

impl From<StoreFailed> for Failure {
    fn from(error: StoreFailed) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "storage_failed", error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(self.0)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}
