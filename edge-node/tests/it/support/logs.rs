//! Everything that this process logs, kept, so that a test can look for what must not be in it.

use std::io;
use std::sync::{Arc, Mutex, OnceLock};

use tracing_subscriber::fmt::MakeWriter;

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Kept {
    type Writer = Kept;
    fn make_writer(&'a self) -> Kept {
        self.clone()
    }
}

static KEPT: OnceLock<Kept> = OnceLock::new();

/// Keeps everything from now on, at every level of our own crates.
pub(crate) fn collect() {
    KEPT.get_or_init(|| {
        let kept = Kept::default();
        let filter = tracing_subscriber::EnvFilter::new("warn,remit_edge_node=trace,remit_common=trace");
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(kept.clone()).init();
        kept
    });
}

/// What has been kept.
pub(crate) fn kept() -> Vec<u8> {
    KEPT.get().map(|kept| kept.0.lock().unwrap().clone()).unwrap_or_default()
}
