//! What the agents' listener shows changes while it runs. Clause G-52.

use std::time::Duration;

use remit_common::crypto::digest::Digest;
use remit_common::net::env::Env;
use remit_common::net::https::ServerTls;
use remit_common::net::tasks::Shutdown;

use crate::config::ListenTls;
use crate::material::read_certificate;
use crate::telemetry::chain_text;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Watches the files of a listener's certificate.
pub(crate) struct CertificateWatch {
    pub(crate) env: Env,
    pub(crate) files: ListenTls,
    pub(crate) tls: ServerTls,
    /// Of the files that are shown.
    pub(crate) shown: Digest,
}

impl CertificateWatch {
    /// Shows what the files hold, whenever that changes and is usable. What is not is said once, and the old
    /// certificate stays: whoever replaces two files has to write one of them first.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        let mut complaint = String::new();
        loop {
            tokio::select! {
                biased;
                () = shutdown.requested() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let (env, files) = (self.env.clone(), self.files.clone());
            let found = match self.env.run_blocking(move || read_certificate(&env, &files)).await {
                Ok(Ok((digest, _))) if digest == self.shown => {
                    complaint.clear();
                    continue;
                }
                Ok(Ok(found)) => Ok(found),
                Ok(Err(unusable)) => Err(chain_text(&unusable)),
                Err(failed) => Err(chain_text(&failed)),
            };
            match found {
                Ok((digest, certificate)) => {
                    self.tls.replace(certificate);
                    self.shown = digest;
                    complaint.clear();
                    tracing::info!("agents are shown a new certificate from now on");
                }
                Err(why) if why != complaint => {
                    tracing::warn!(%why, "the agents' listener keeps its certificate; what the files hold is not usable");
                    complaint = why;
                }
                Err(_) => {}
            }
        }
    }
}
