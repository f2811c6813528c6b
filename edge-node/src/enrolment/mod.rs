//! How an edge comes by its certificate, and keeps having one.
//!
//! An installed edge may have everything as files; then nothing here runs. Otherwise it [`join`]s at its first start, by a
//! token: it makes its keys itself, and they never leave it. It [`wait`]s until the directory lists it, and [`renew`]s its
//! certificate at half its life for as long as it runs. Clauses N-22 to N-25 and J-3 to J-16.

mod join;
mod renew;
mod wait;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use remit_common::crypto::hpke::SealingPublicKey;
use remit_common::crypto::sign::SigningKey;
use remit_common::id::VoterId;
use remit_common::identity::{MalformedToken, NodeRole, SpiffeId};
use remit_common::net::enrol::{Answered, Enroller};
use remit_common::net::env::{AppendFile, Env};
use remit_common::net::http::{ServeCounters, serve};
use remit_common::net::quic::OpenFailed;
use remit_common::net::tasks::Shutdown;
use remit_common::wire::enrol::{Claim, EnrolAnswer, EnrolQuestion, EnrolRefused, Purpose, is_final};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub(crate) use renew::{Renewal, Shown};

use crate::config::Config;
use crate::material::{Material, MaterialUnusable, PEM_BYTES_MAX};

/// From dialling a voter to its answer; the log may have to find a leader first.
const ANSWERED_WITHIN: Duration = Duration::from_secs(15);
/// The first wait before another round of asking.
const BACKOFF_MIN: Duration = Duration::from_millis(500);
/// The longest.
const BACKOFF_MAX: Duration = Duration::from_secs(15);
/// Bytes of the file that says how far enrolment is.
const PROGRESS_BYTES_MAX: usize = 4 * 1024;
const PROGRESS_VERSION: u8 = 1;
/// How long the listener for operators may take to make room for the running edge's.
const OPS_END_WITHIN: Duration = Duration::from_secs(1);

/// An edge has not come by its certificate.
#[derive(Debug, thiserror::Error)]
pub enum NotJoined {
    /// There is no certificate, or one that ended too long ago, and no token by which to get one.
    #[error(
        "there is no certificate in `{certificate}` that voters would renew, and no join token in `{token}`; \
         `remit edge token create` makes one"
    )]
    NoToken {
        /// The certificate's file.
        certificate: String,
        /// The token's.
        token: String,
    },
    /// The file holds no token.
    #[error("`{token}` is not usable")]
    Token {
        /// The file.
        token: String,
        /// What is wrong.
        #[source]
        source: MalformedToken,
    },
    /// The token is for somebody else.
    #[error("the join token is for {what} `{found}`, and this edge is configured as `{expected}`")]
    OtherEdge {
        /// What differs.
        what: &'static str,
        /// As the token has it.
        found: String,
        /// As the configuration has it.
        expected: String,
    },
    /// The voters do not take it in.
    #[error("the voters do not take this edge in: {code}: {detail}")]
    Refused {
        /// A fixed word.
        code: String,
        /// For people.
        detail: String,
    },
    /// The disk does not take keys or certificate.
    #[error("`{path}` cannot be read or written")]
    Disk {
        /// The file.
        path: String,
        /// What the disk says.
        #[source]
        source: io::Error,
    },
    /// A file that is there is not usable.
    #[error(transparent)]
    Material(#[from] MaterialUnusable),
    /// No endpoint opens.
    #[error("cannot open an endpoint towards the voters")]
    Endpoint(#[from] OpenFailed),
    /// No listener for operators opens.
    #[error("cannot listen at `{addr}`")]
    Listen {
        /// Where.
        addr: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// How far enrolment is: `<data_dir>/enrolment.json` (clause N-23). No secret is in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Progress {
    v: u8,
    /// Whether a voter has said that the directory lists this edge: from then on it starts without asking.
    listed: bool,
    /// Where voters take edges in.
    pub(crate) voters: BTreeMap<VoterId, SocketAddr>,
}

impl Progress {
    fn new(listed: bool, voters: BTreeMap<VoterId, SocketAddr>) -> Self {
        Self { v: PROGRESS_VERSION, listed, voters }
    }

    /// One that cannot be read is none: then the edge asks once more.
    pub(crate) fn load(config: &Config, env: &Env) -> Option<Self> {
        let bytes = env.disk.read(&path(config), PROGRESS_BYTES_MAX).ok()??;
        serde_json::from_slice(&bytes).ok().filter(|progress: &Self| progress.v == PROGRESS_VERSION)
    }

    fn store(&self, config: &Config, env: &Env) -> Result<(), NotJoined> {
        // INVARIANT: numbers and addresses always serialise.
        let bytes = serde_json::to_vec(self).unwrap_or_default();
        write(env, &path(config), &bytes)
    }
}

fn path(config: &Config) -> PathBuf {
    config.data_dir.join("enrolment.json")
}

fn write(env: &Env, path: &std::path::Path, bytes: &[u8]) -> Result<(), NotJoined> {
    let failed = |source| NotJoined::Disk { path: path.display().to_string(), source };
    if let Some(folder) = path.parent() {
        env.disk.create_dir(folder).map_err(failed)?;
    }
    env.disk.replace(path, bytes).map_err(failed)
}

/// Where voters take edges in: the configuration's word, else the token's.
pub(crate) fn places(config: &Config, progress: Option<&Progress>) -> BTreeMap<VoterId, SocketAddr> {
    let configured = config.enrolment.iter().flat_map(|of| &of.voters).map(|voter| (voter.id, voter.at)).collect();
    match progress {
        Some(progress) if BTreeMap::is_empty(&configured) => progress.voters.clone(),
        _ => configured,
    }
}

/// This edge, as it asks.
pub(crate) struct Asker {
    pub(crate) env: Env,
    pub(crate) config: Arc<Config>,
    pub(crate) enroller: Enroller,
    pub(crate) key: Arc<SigningKey>,
    pub(crate) sealing: SealingPublicKey,
    pub(crate) places: BTreeMap<VoterId, SocketAddr>,
}

/// What came of asking every voter until one did what was asked.
pub(crate) enum Round {
    /// One did.
    Done(Box<Answered>),
    /// None did, and every one of them said that asking again is of no use.
    Refused(EnrolRefused),
    /// None did now, for what reason the last one gave.
    Later(String),
}

impl Asker {
    fn name(&self) -> SpiffeId {
        let Config { mesh_id, id, region, .. } = &*self.config;
        SpiffeId { mesh: *mesh_id, role: NodeRole::Edge { region: region.clone(), edge: id.clone() } }
    }

    /// Asks one voter after the other, beginning with any.
    async fn round(&self, purpose: Purpose, question: impl Fn(Claim) -> EnrolQuestion) -> Round {
        let Config { mesh_id, id, region, .. } = &*self.config;
        let [turn] = self.env.random();
        let count = self.places.len().max(1);
        let places = self.places.iter().cycle().skip(usize::from(turn) % count).take(self.places.len());
        let (mut refused, mut later) = (None, None);
        for (voter, addr) in places {
            let named = SpiffeId { mesh: *mesh_id, role: NodeRole::Voter(*voter) };
            let make = |binding: &_| {
                let name = (*mesh_id, region.clone(), id.clone());
                question(Claim::sign(name, &self.key, self.sealing.clone(), purpose, binding))
            };
            match self.enroller.ask((&named, *addr), make, ANSWERED_WITHIN).await {
                Ok(Answered { answer: EnrolAnswer::Refused(why), .. }) if is_final(&why.code) => {
                    refused = Some((*voter, why));
                }
                Ok(Answered { answer: EnrolAnswer::Refused(why), .. }) => {
                    later = Some(format!("voter {voter}: {}: {}", why.code, why.detail));
                }
                Ok(Answered { answer: EnrolAnswer::Unknown { .. }, .. }) => {
                    later = Some(format!("voter {voter} gives an answer that this edge does not know"));
                }
                Ok(answered) => return Round::Done(Box::new(answered)),
                Err(error) => later = Some(format!("voter {voter}: {}", crate::telemetry::chain_text(&error))),
            }
        }
        match (refused, later) {
            (Some((_, why)), None) => Round::Refused(why),
            // One voter alone may lie, or be behind.
            (Some((voter, EnrolRefused { code, detail })), Some(later)) => {
                Round::Later(format!("voter {voter}: {code}: {detail}; but {later}"))
            }
            (None, later) => Round::Later(later.unwrap_or_else(|| "no voter is known that takes edges in".to_owned())),
        }
    }

    /// Between half and the whole of a wait, so that edges that wait together do not come back together.
    fn jittered(&self, wait: Duration) -> Duration {
        let [random] = self.env.random();
        wait / 2 + (wait / 2).mul_f32(f32::from(random) / f32::from(u8::MAX))
    }
}

/// Whether this edge could start: its files are usable, or its token is.
pub(crate) fn check(config: &Config, env: &Env) -> Result<(), NotJoined> {
    let has_token = config.enrolment.as_ref().is_some_and(|of| of.token.is_some());
    match Material::load(config, env) {
        Err(MaterialUnusable::Missing { .. }) if has_token => join::token(config, env).map(drop),
        loaded => Ok(loaded.map(drop)?),
    }
}

/// What comes before an edge that the voters take in can start. `false`: it was asked to stop meanwhile. An edge that has
/// to wait says `ready` once operators can see for what.
pub(crate) async fn prepare(
    config: &Config,
    env: &Env,
    shutdown: &Shutdown,
    ready: &mut (dyn FnMut() + Send),
) -> Result<bool, NotJoined> {
    let Some(of) = &config.enrolment else { return Ok(true) };
    let _lock = lock(config, env)?;
    if of.token.is_none() {
        return Ok(true);
    }
    let is_listed = Progress::load(config, env).is_some_and(|progress| progress.listed);
    if is_listed && join::has_certificate(config, env)? {
        return Ok(true);
    }
    let (tell, told) = watch::channel("joining: asking the voters".to_owned());
    let ended = Shutdown::new();
    let addr = config.listen.ops;
    let listener = env.socket.listen(addr).map_err(|source| NotJoined::Listen { addr, source })?;
    let router = wait::router(config, told);
    let (ops_env, ops_ended) = (env.clone(), ended.clone());
    let ops = env.spawn_named("operations listener", async move {
        serve(&ops_env, listener, router, wait::ops_limits(), &ServeCounters::default(), &ops_ended).await;
    });
    ready();
    let done = tokio::select! {
        biased;
        () = shutdown.requested() => Ok(false),
        done = enrol(config, env, &tell) => done.map(|()| true),
    };
    ended.trigger();
    // The running edge listens at the same place.
    if remit_common::net::env::deadline(OPS_END_WITHIN * 2, ops.join()).await.is_err() {
        tracing::warn!("operators who read kept the listener open");
    }
    done
}

async fn enrol(config: &Config, env: &Env, tell: &watch::Sender<String>) -> Result<(), NotJoined> {
    let config = Arc::new(config.clone());
    let keys = join::keys(&config, env)?;
    let progress = join::join(&config, env, &keys, tell).await?;
    wait::until_listed(&config, env, &keys, progress, tell).await
}

fn lock(config: &Config, env: &Env) -> Result<Box<dyn AppendFile>, NotJoined> {
    let failed = |source| NotJoined::Disk { path: config.data_dir.display().to_string(), source };
    env.disk.create_dir(&config.data_dir).map_err(failed)?;
    env.disk.open_append(&config.data_dir.join("lock")).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// N-23.
    #[test]
    fn the_file_keeps_its_form() {
        let progress = Progress::new(true, BTreeMap::from([(VoterId(2), "10.0.0.1:7431".parse().unwrap())]));
        let text = r#"{"v":1,"listed":true,"voters":{"2":"10.0.0.1:7431"}}"#;
        assert_eq!(serde_json::to_string(&progress).unwrap(), text);
        assert_eq!(serde_json::from_str::<Progress>(text).unwrap(), progress);
    }
}
