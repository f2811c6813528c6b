//! Who verifies next what an edge says that it enforces.
//!
//! A revocation goes to every edge at once, and the first answer while others have not heard of it yet. Each answer takes
//! longer to verify than a message takes to send, so with all of them verified as they come the last edges hear when most
//! of the verifying is done. So few verify at a time, and each lets the others run first.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Cloning gives the same turns.
#[derive(Debug, Clone)]
pub(crate) struct Turns(Arc<Semaphore>);

impl Turns {
    /// For half of the threads that run tasks.
    pub(crate) fn new() -> Self {
        let threads = tokio::runtime::Handle::current().metrics().num_workers();
        Self(Arc::new(Semaphore::new((threads / 2).max(1))))
    }

    /// Waits for a turn, which ends when it is dropped. `None` would mean that there are none any more, which nobody
    /// brings about. Cancelling gives up the place in the queue.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        let turn = Arc::clone(&self.0).acquire_owned().await.ok();
        tokio::task::yield_now().await;
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_has_a_turn_lets_the_others_run_first() {
        let turns = Turns::new();
        let (sent, mut order) = tokio::sync::mpsc::unbounded_channel();
        let verifying = async {
            let _turn = turns.turn().await;
            sent.send("verified").unwrap();
        };
        let sending = async { sent.send("sent").unwrap() };
        tokio::join!(verifying, sending);
        assert_eq!((order.recv().await, order.recv().await), (Some("sent"), Some("verified")));
    }

    #[tokio::test]
    async fn one_thread_verifies_one_at_a_time() {
        let turns = Turns::new();
        let first = turns.turn().await;
        assert!(first.is_some());
        assert!(futures::poll!(std::pin::pin!(turns.turn())).is_pending());
        drop(first);
        assert!(turns.turn().await.is_some());
    }
}
