//! How a command ends, and what it says when it did not end well.

use std::process::ExitCode;

use serde::Serialize;

/// How a command ended. Scripts rely on the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Done,
    /// The operation was refused or failed; a denial by policy, too.
    Failed,
    /// Used wrongly.
    Usage,
    /// The mesh cannot be reached.
    Unreachable,
    /// A check found a fault.
    Fault,
    /// Aborted, and undone.
    Aborted,
    /// Too little happened to prove anything.
    Vacuous,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Unreachable => 3,
            Exit::Fault => 4,
            Exit::Aborted => 5,
            Exit::Vacuous => 6,
        })
    }
}

/// A command that did not do what was asked: what happened, and what to do next.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    pub(crate) message: String,
    /// From the fixed set of whoever refused.
    pub(crate) reason: Option<String>,
    pub(crate) hint: Option<String>,
}

#[derive(Serialize)]
struct Document<'a> {
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), reason: None, hint: None }
    }

    /// An error with its causes, in one line.
    pub(crate) fn caused(exit: Exit, error: &dyn std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(source) = cause {
            message = format!("{message}: {source}");
            cause = source.source();
        }
        Self::new(exit, message)
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    #[must_use]
    pub(crate) fn reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    pub(crate) fn to_json(&self) -> String {
        let inner = Inner { message: &self.message, reason: self.reason.as_deref(), hint: self.hint.as_deref() };
        serde_json::to_string(&Document { error: inner }).unwrap_or_default()
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::caused(Exit::Failed, error.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_tells_its_causes_and_what_to_do_next() {
        let error = anyhow::anyhow!("connection refused").context("cannot ask voter 1");
        let failure = Failure::from(error).hint("start a mesh with `remit up`").reason("unreachable");
        assert_eq!(failure.message, "cannot ask voter 1: connection refused");
        assert_eq!(
            failure.to_json(),
            r#"{"error":{"message":"cannot ask voter 1: connection refused","reason":"unreachable","hint":"start a mesh with `remit up`"}}"#
        );
    }
}
