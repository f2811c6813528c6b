//! Waiting between two pieces of work, never in step with others.

use std::time::Duration;

use remit_common::net::env::Env;
use remit_common::net::tasks::Shutdown;

/// Waits half to one and a half times `about`. Says whether work goes on.
pub(super) async fn rest(env: &Env, about: Duration, stop: &Shutdown) -> bool {
    let share = u32::from(u16::from_be_bytes(env.random()));
    let wait = about / 2 + about.saturating_mul(share) / 65_536;
    tokio::select! {
        biased;
        () = stop.requested() => false,
        () = tokio::time::sleep(wait) => true,
    }
}

/// One of `0..count`; 0 when there is none.
pub(super) fn draw(env: &Env, count: usize) -> usize {
    let drawn = usize::try_from(u64::from_be_bytes(env.random()) >> 1).unwrap_or(0);
    drawn.checked_rem(count).unwrap_or(0)
}
