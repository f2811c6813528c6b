//! The one signal that ends a voter: the first reason is kept, everybody can wait for it.

use std::fmt::Display;
use std::sync::Arc;

use tokio::sync::watch;

/// Raised when this voter can no longer keep its promises. Cloning gives the same signal; it cannot be taken back.
#[derive(Debug, Clone)]
pub(crate) struct Fatal(Arc<watch::Sender<Option<String>>>);

impl Fatal {
    /// Not raised.
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Ends the voter. Only the first reason counts: those after it are usually its consequences.
    pub(crate) fn raise(&self, reason: impl Display) {
        self.0.send_if_modified(|raised| {
            let first = raised.is_none();
            if first {
                let reason = reason.to_string();
                tracing::error!(reason, "this voter must stop");
                *raised = Some(reason);
            }
            first
        });
    }

    /// The reason, if it was raised.
    pub(crate) fn reason(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    /// Waits until it is raised. Cancelling loses nothing.
    pub(crate) async fn raised(&self) -> String {
        let mut seen = self.0.subscribe();
        let reason = seen.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        // `self` holds the sender, so waiting ends only with the value.
        reason.unwrap_or_default()
    }
}
