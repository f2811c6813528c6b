//! Why a command changed nothing.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Whose turn it is to do something about a refusal. Callers map it to a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RefusalKind {
    /// The request is not what it has to be.
    Malformed,
    /// Nobody we know asked, or not now, or not for the first time.
    Unauthenticated,
    /// Somebody we know asked for what is not theirs to ask.
    Forbidden,
    /// It does not follow on what is there.
    Conflict,
    /// Well-formed and allowed, and still wrong: a bundle that does not compile.
    Unacceptable,
    /// There is no room.
    Full,
    /// The registry is not ready for this.
    NotReady,
}

/// A command that was recorded and changed nothing, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    /// Whose turn it is.
    pub kind: RefusalKind,
    /// A word out of a fixed set, for programs and metrics.
    pub reason: String,
    /// For people.
    pub detail: String,
}

impl Refusal {
    pub(crate) fn new(kind: RefusalKind, reason: &'static str, detail: impl fmt::Display) -> Self {
        Self { kind, reason: reason.to_owned(), detail: detail.to_string() }
    }

    pub(crate) fn malformed(detail: impl fmt::Display) -> Self {
        Self::new(RefusalKind::Malformed, "malformed", detail)
    }
}

/// An error and what caused it, in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
