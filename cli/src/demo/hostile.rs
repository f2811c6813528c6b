//! A publisher that lies, holding a voter's stolen key and certificate, and one edge that listens to it.
//!
//! Whatever could widen anything carries the signature of who may widen it, and this publisher has none of those keys.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use remit_chaos::launcher::{MeshFile, VoterEntry};
use remit_chaos::liar::{Answered, Heard, Liar, Role, Told};
use remit_common::net::env::{Env, deadline};
use tokio::sync::mpsc;

/// Reports that wait to be read. An edge sends a few for each thing it is offered.
const REPORTS_MAX: usize = 256;

/// The publisher, listening. It ends when this is dropped.
pub(crate) struct Hostile {
    liar: Liar,
    reports: mpsc::Receiver<Answered>,
}

impl Hostile {
    /// Steals a voter's identity and listens.
    pub(crate) fn start(env: &Env, mesh: &MeshFile, victim: &VoterEntry, addr: SocketAddr, told: Told) -> Result<Self> {
        let (report, reports) = mpsc::channel(REPORTS_MAX);
        let role = Role { voter: victim.id, dir: victim.dir.clone(), dist: addr };
        let ear = Arc::new(move |_: &_, heard| {
            if let Heard::Answered(answered) = heard {
                // A full queue means that nobody reads any more.
                let _ = report.try_send(answered);
            }
        });
        Ok(Self { liar: Liar::start(env, mesh, &role, told, ear)?, reports })
    }

    /// Says something else from now on.
    pub(crate) fn say(&self, told: Told) {
        self.liar.say(told);
    }

    /// The next answer of the edge that is `wanted`, if it comes in time.
    pub(crate) async fn answer(&mut self, within: Duration, wanted: impl Fn(&Answered) -> bool) -> Option<Answered> {
        let next = async {
            while let Some(answer) = self.reports.recv().await {
                if wanted(&answer) {
                    return Some(answer);
                }
            }
            None
        };
        deadline(within, next).await.ok().flatten()
    }

    /// Forgets what the edge has answered so far.
    pub(crate) fn forget(&mut self) {
        while self.reports.try_recv().is_ok() {}
    }
}
