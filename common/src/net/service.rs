//! What a service manager is told: that a daemon is ready, and that it stops (`sd_notify`, systemd's `Type=notify`).
//!
//! Where none is there, nothing happens. One that does not listen is no reason not to serve.

use sd_notify::NotifyState;

/// Everything that the daemon promises to serve is served from now on.
pub fn ready() {
    tell(NotifyState::Ready);
}

/// The daemon has been asked to stop, and finishes what is under way.
pub fn stopping() {
    tell(NotifyState::Stopping);
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager was not told");
    }
}
