//! A mesh in a test: real keys, documents and certificates, one real edge, voters that are driven by hand.

pub(crate) mod agent;
pub(crate) mod bundle;
pub(crate) mod edge;
pub(crate) mod keys;
pub(crate) mod logs;
pub(crate) mod scene;
pub(crate) mod upstream;
pub(crate) mod voter;
pub(crate) mod world;

use std::time::Duration;

/// Longer than anything takes on a busy machine; a test that waits for it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks until `look` gives something.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    match tokio::time::timeout(PATIENCE, looking).await {
        Ok(found) => found,
        Err(_) => {
            let logs = String::from_utf8_lossy(&logs::kept()).into_owned();
            let tail: Vec<&str> = logs.lines().rev().take(40).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            panic!("waited {PATIENCE:?} in vain: {what}\n{}", tail.join("\n"));
        }
    }
}
