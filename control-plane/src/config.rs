//! A voter's configuration: one plain struct, checked whole before a socket is bound.
//!
//! Values come from four places, each above the one before it: the defaults in this file, the TOML file, `REMIT_*`
//! variables of the environment, and `--set KEY=VALUE` flags. [`resolve`] keeps where each value came from, so that
//! `--print-config` can say it. Relative paths are relative to the folder of the file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::registry::CERTIFICATE_LIFE_SECS;
use remit_common::id::{MeshId, VoterId};
use remit_common::net::env::Env;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

/// The least number of entries between two snapshots.
const SNAPSHOT_ENTRIES_MIN: u64 = 20;

/// What one voter needs to know before it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The mesh this voter belongs to.
    pub mesh_id: MeshId,
    /// This voter. Bound to its data folder at the first start; an empty folder needs a new id.
    pub id: VoterId,
    /// Where the Raft log, snapshots and records are kept. Owned by one process at a time.
    pub data_dir: PathBuf,
    /// The signed root document that this voter was installed with; its digest is the mesh's anchor.
    pub root: PathBuf,
    /// The signed directory to start from; a newer one that Raft holds wins over it.
    pub directory: PathBuf,
    /// The seed of this voter's issuer key: 64 hex digits.
    pub issuer_key: PathBuf,
    /// The seed with which this voter signs ticks, whose key the directory lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beacon_key: Option<PathBuf>,
    /// While that is being replaced: the seed of the key that the directory will list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_beacon_key: Option<PathBuf>,
    /// Whether this voter joins a mesh that is there already: it waits until `remit voter add` takes it in. Without
    /// effect once it has been taken in.
    #[serde(default)]
    pub join: bool,
    /// What this voter is on TLS connections.
    pub tls: TlsFiles,
    /// Where it listens.
    pub listen: Listen,
    /// The first voters of the mesh, this one included; for one that joins, the voters that there are, and itself.
    pub peers: Vec<Peer>,
    /// Where and how this voter takes edges in; without it, it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolment: Option<Enrolment>,
    /// Raft's clockwork.
    #[serde(default)]
    pub timings: Timings,
}

/// How a voter takes edges in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// Where (QUIC, `remit-enrol/1`).
    pub listen: SocketAddr,
    /// The edges' authority, PEM: one of those in `tls.edges_ca`. A voter without it answers, and issues nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// The key file of that authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// Seconds for which a certificate counts. A day is what an edge gets over a control plane that is gone for hours.
    #[serde(default = "day")]
    pub certificate_secs: u32,
}

impl Enrolment {
    /// Seconds for which a certificate counts where nothing else is said.
    pub const DAY_SECS: u32 = 86_400;
}

fn day() -> u32 {
    Enrolment::DAY_SECS
}

/// The files of this voter's TLS identity and of the anchors it believes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// The seed of the identity key: 64 hex digits.
    pub key: PathBuf,
    /// The authority of voters' certificates, PEM.
    pub voters_ca: PathBuf,
    /// The authority of edges' certificates, PEM.
    pub edges_ca: PathBuf,
}

/// The listeners of a voter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// Other voters (QUIC, `remit-raft/1`).
    pub raft: SocketAddr,
    /// Edges (QUIC, `remit-dist/1`).
    pub dist: SocketAddr,
    /// Administrators (HTTP). Loopback only, until this listener speaks TLS.
    pub admin: SocketAddr,
    /// Operations: health, metrics, status (HTTP).
    pub ops: SocketAddr,
}

/// One voter, as the others reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Its id.
    pub id: VoterId,
    /// Its Raft endpoint.
    pub raft: SocketAddr,
}

/// Raft's clockwork, in milliseconds where nothing else is said. The defaults suit voters within 10 ms of each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timings {
    /// Between two heartbeats of the leader.
    pub heartbeat_ms: u64,
    /// The shortest wait before an election.
    pub election_ms_min: u64,
    /// The longest wait before an election.
    pub election_ms_max: u64,
    /// Between two ticks.
    pub tick_ms: u64,
    /// Entries of the log, not milliseconds, after which a snapshot is taken. A fifth of them stays in the log.
    pub snapshot_entries: u64,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            heartbeat_ms: 100,
            election_ms_min: 600,
            election_ms_max: 1_200,
            tick_ms: 1_000,
            snapshot_entries: 5_000,
        }
    }
}

/// A configuration that this voter does not start with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not TOML.
    #[error("the configuration file is not TOML: {0}")]
    Syntax(String),
    /// The file is larger than any configuration of ours.
    #[error("the configuration file has {bytes} bytes, more than {}", remit_common::limits::CONFIG_BYTES_MAX)]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// A value is missing, unknown or of the wrong type.
    #[error("{0}")]
    Shape(String),
    /// `--set` without `=`, or of a key that takes no single value.
    #[error("`{0}` is not KEY=VALUE with a known key")]
    Flag(String),
    /// A value contradicts another, or the machine.
    #[error("{key}: {problem}")]
    Invalid {
        /// The key at fault.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// This program.
    Default,
    /// The TOML file.
    File,
    /// A variable of the environment.
    Environment(String),
    /// `--set`.
    Flag,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File => f.write_str("file"),
            Self::Environment(name) => write!(f, "environment, {name}"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// A configuration, and where each of its values came from.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The configuration, checked.
    pub config: Config,
    origins: BTreeMap<String, (String, Source)>,
}

/// Keys that a variable or a flag may set: everything but the list of peers.
const SETTABLE: [&str; 25] = [
    "mesh_id",
    "id",
    "data_dir",
    "root",
    "directory",
    "issuer_key",
    "beacon_key",
    "next_beacon_key",
    "tls.certificate",
    "tls.key",
    "tls.voters_ca",
    "tls.edges_ca",
    "listen.raft",
    "listen.dist",
    "listen.admin",
    "listen.ops",
    "enrolment.listen",
    "enrolment.certificate",
    "enrolment.key",
    "enrolment.certificate_secs",
    "timings.heartbeat_ms",
    "timings.election_ms_min",
    "timings.election_ms_max",
    "timings.tick_ms",
    "timings.snapshot_entries",
];

/// Puts the four sources together and checks the result. `folder` is where relative paths start.
///
/// # Errors
/// [`ConfigError`] names the key at fault.
pub fn resolve(
    file: &str,
    folder: &Path,
    environment: &BTreeMap<String, String>,
    flags: &[String],
) -> Result<Resolved, ConfigError> {
    if file.len() > remit_common::limits::CONFIG_BYTES_MAX {
        return Err(ConfigError::TooLarge { bytes: file.len() });
    }
    let mut table: Table = file.parse().map_err(|e: toml::de::Error| ConfigError::Syntax(e.to_string()))?;
    let mut origins = BTreeMap::new();
    let defaults = Table::try_from(Timings::default()).map_err(|e| ConfigError::Shape(e.to_string()))?;
    for (name, value) in defaults {
        let key = format!("timings.{name}");
        if lookup(&table, &key).is_none() {
            origins.insert(key.clone(), Source::Default);
            put(&mut table, &key, value)?;
        }
    }
    for key in SETTABLE {
        let name = format!("REMIT_{}", key.replace('.', "_").to_uppercase());
        if let Some(text) = environment.get(&name) {
            put(&mut table, key, value_of(key, text))?;
            origins.insert(key.to_owned(), Source::Environment(name));
        }
    }
    for flag in flags {
        let (key, text) = flag.split_once('=').ok_or_else(|| ConfigError::Flag(flag.clone()))?;
        if !SETTABLE.contains(&key) {
            return Err(ConfigError::Flag(flag.clone()));
        }
        put(&mut table, key, value_of(key, text))?;
        origins.insert(key.to_owned(), Source::Flag);
    }
    let mut shown = BTreeMap::new();
    for key in SETTABLE.into_iter().chain(["join", "peers"]) {
        if let Some(value) = lookup(&table, key) {
            let source = origins.remove(key).unwrap_or(Source::File);
            shown.insert(key.to_owned(), (value.to_string(), source));
        }
    }
    let mut config: Config =
        Value::Table(table).try_into().map_err(|e: toml::de::Error| ConfigError::Shape(e.to_string()))?;
    config.rebase(folder);
    config.check()?;
    Ok(Resolved { config, origins: shown })
}

impl Resolved {
    /// Every value with its source, one a line.
    #[must_use]
    pub fn print(&self) -> String {
        self.origins.iter().fold(String::new(), |mut out, (key, (value, source))| {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{key} = {value}  # {source}");
            out
        })
    }
}

fn lookup<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        Some((head, rest)) => lookup(table.get(head)?.as_table()?, rest),
        None => table.get(key),
    }
}

fn put(table: &mut Table, key: &str, value: Value) -> Result<(), ConfigError> {
    let Some((head, rest)) = key.split_once('.') else {
        table.insert(key.to_owned(), value);
        return Ok(());
    };
    let inner = table.entry(head).or_insert_with(|| Value::Table(Table::new()));
    match inner.as_table_mut() {
        Some(inner) => put(inner, rest, value),
        None => Err(ConfigError::Shape(format!("`{head}` is not a table"))),
    }
}

/// Numbers where the key is a number, text otherwise; the typed reading that follows reports what does not fit.
fn value_of(key: &str, text: &str) -> Value {
    match text.parse::<i64>() {
        Ok(number) if key == "id" || key.ends_with("_secs") || key.starts_with("timings.") => Value::Integer(number),
        _ => Value::String(text.to_owned()),
    }
}

impl Config {
    /// Where Raft's log and snapshot are.
    pub(crate) fn raft_dir(&self) -> PathBuf {
        self.data_dir.join("raft")
    }

    /// Whether this voter has begun already. Blocks.
    pub(crate) fn has_log(&self, env: &Env) -> io::Result<bool> {
        Ok(!env.disk.list(&self.raft_dir())?.is_empty())
    }

    fn rebase(&mut self, folder: &Path) {
        let Self {
            mesh_id: _,
            id: _,
            data_dir,
            root,
            directory,
            issuer_key,
            beacon_key,
            next_beacon_key,
            join: _,
            tls,
            listen: _,
            peers: _,
            enrolment,
            timings: _,
        } = self;
        let TlsFiles { certificate, key, voters_ca, edges_ca } = tls;
        let single = [data_dir, root, directory, issuer_key, certificate, key, voters_ca, edges_ca];
        for path in single.into_iter().chain(beacon_key).chain(next_beacon_key) {
            *path = folder.join(&*path);
        }
        if let Some(Enrolment { listen: _, certificate, key, certificate_secs: _ }) = enrolment {
            for path in certificate.iter_mut().chain(key) {
                *path = folder.join(&*path);
            }
        }
    }

    /// What the types cannot say.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] names the key.
    pub fn check(&self) -> Result<(), ConfigError> {
        let invalid = |key, problem: String| Err(ConfigError::Invalid { key, problem });
        let ids: BTreeSet<_> = self.peers.iter().map(|peer| peer.id).collect();
        if ids.len() != self.peers.len() {
            return invalid("peers", "a voter is listed twice".to_owned());
        }
        if !ids.contains(&self.id) {
            return invalid("peers", format!("voter {} is not among them", self.id));
        }
        if ids.len().is_multiple_of(2) && !self.join {
            return invalid("peers", format!("{} voters: an odd number survives as many failures", ids.len()));
        }
        let voters_max = VOTERS_MAX + usize::from(self.join);
        if ids.len() > voters_max {
            return invalid("peers", format!("{} voters, more than {voters_max}", ids.len()));
        }
        if !self.listen.admin.ip().is_loopback() {
            return invalid("listen.admin", "must be a loopback address: this listener does not speak TLS".to_owned());
        }
        let Timings { heartbeat_ms, election_ms_min, election_ms_max, tick_ms, snapshot_entries } = self.timings;
        if let Some(Enrolment { certificate, key, certificate_secs, .. }) = &self.enrolment {
            if certificate.is_some() != key.is_some() {
                return invalid("enrolment.key", "certificate and key of the edges' authority go together".to_owned());
            }
            if !CERTIFICATE_LIFE_SECS.contains(certificate_secs) {
                return invalid("enrolment.certificate_secs", "must be within 10 and 604800".to_owned());
            }
        }
        if heartbeat_ms == 0 || heartbeat_ms.saturating_mul(3) > election_ms_min {
            return invalid("timings.election_ms_min", "must be at least three heartbeats".to_owned());
        }
        if election_ms_max <= election_ms_min {
            return invalid("timings.election_ms_max", "must be above election_ms_min".to_owned());
        }
        if !(50..=1_000).contains(&tick_ms) {
            return invalid("timings.tick_ms", "must be within 50 and 1000: edges age by it".to_owned());
        }
        if snapshot_entries < SNAPSHOT_ENTRIES_MIN {
            let problem = format!("must be at least {SNAPSHOT_ENTRIES_MIN}: a snapshot is the whole state");
            return invalid("timings.snapshot_entries", problem);
        }
        Ok(())
    }

    /// Between two ticks.
    #[must_use]
    pub fn tick(&self) -> Duration {
        Duration::from_millis(self.timings.tick_ms)
    }
}

/// Voters of one mesh. A root carries at most five issuers' signatures, and each voter is an issuer.
pub const VOTERS_MAX: usize = remit_common::limits::ROOT_SIGNATURES_MAX;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// One that is whole.
    pub(crate) const FILE: &str = r#"
        mesh_id = "00112233445566778899aabbccddeeff"
        id = 1
        data_dir = "data"
        root = "root.json"
        directory = "/etc/remit/directory.json"
        issuer_key = "issuer.key"
        peers = [{ id = 1, raft = "127.0.0.1:7301" }, { id = 2, raft = "127.0.0.1:7302" }, { id = 3, raft = "127.0.0.1:7303" }]
        [tls]
        certificate = "voter.pem"
        key = "voter.key"
        voters_ca = "voters-ca.pem"
        edges_ca = "edges-ca.pem"
        [listen]
        raft = "127.0.0.1:7301"
        dist = "127.0.0.1:7401"
        admin = "127.0.0.1:7411"
        ops = "127.0.0.1:7421"
    "#;

    fn resolved(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> Result<Resolved, ConfigError> {
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        resolve(file, Path::new("/srv/voter"), &environment, &flags)
    }

    #[test]
    fn flags_beat_the_environment_beats_the_file_beats_the_default() -> Result<(), ConfigError> {
        let environment = [("REMIT_LISTEN_OPS", "127.0.0.1:1"), ("REMIT_TIMINGS_TICK_MS", "500"), ("REMIT_X", "y")];
        let resolved = resolved(FILE, &environment, &["listen.ops=127.0.0.1:2"])?;
        assert_eq!(resolved.config.listen.ops.port(), 2);
        assert_eq!(resolved.config.tick(), Duration::from_millis(500));
        assert_eq!(resolved.config.timings.heartbeat_ms, 100);
        assert_eq!(resolved.config.data_dir, Path::new("/srv/voter/data"));
        assert_eq!(resolved.config.directory, Path::new("/etc/remit/directory.json"));
        let printed = resolved.print();
        for line in [
            "listen.ops = \"127.0.0.1:2\"  # flag",
            "timings.tick_ms = 500  # environment, REMIT_TIMINGS_TICK_MS",
            "timings.heartbeat_ms = 100  # default",
            "listen.raft = \"127.0.0.1:7301\"  # file",
        ] {
            assert!(printed.contains(line), "{line} is missing in\n{printed}");
        }
        Ok(())
    }

    #[test]
    fn a_wrong_configuration_names_its_key() {
        let check = |file: &str, flags: &[&str], expected: &str| {
            let message = match resolved(file, &[], flags) {
                Ok(_) => String::new(),
                Err(error) => error.to_string(),
            };
            assert!(message.contains(expected), "{expected:?} is not in {message:?}");
        };
        check(FILE, &["id=4"], "voter 4 is not among them");
        check(FILE, &["listen.admin=0.0.0.0:7411"], "listen.admin");
        check(FILE, &["timings.election_ms_min=200"], "three heartbeats");
        check(FILE, &["timings.tick_ms=5000"], "timings.tick_ms");
        check(FILE, &["timings.snapshot_entries=1"], "timings.snapshot_entries");
        let enrolling = format!("{FILE}\n[enrolment]\nlisten = \"127.0.0.1:7431\"\n");
        check(&enrolling, &[], "");
        check(&enrolling, &["enrolment.key=a"], "enrolment.key");
        check(&enrolling, &["enrolment.certificate_secs=9"], "enrolment.certificate_secs");
        check(FILE, &["peers=1"], "not KEY=VALUE");
        check(FILE, &["id=one"], "invalid type");
        check(&FILE.replace("id = 3", "id = 2"), &[], "listed twice");
        check(&FILE.replace(", { id = 3, raft = \"127.0.0.1:7303\" }", ""), &[], "odd number");
        check(&format!("surprise = 1\n{FILE}"), &[], "surprise");
        // Who joins makes three voters four, until one of the others leaves.
        let fourth =
            format!("join = true\n{}", FILE.replace("peers = [", "peers = [{ id = 4, raft = \"127.0.0.1:7304\" }, "));
        check(&fourth, &["id=4"], "");
        check(&fourth.replace("join = true", "join = false"), &["id=4"], "odd number");
        check("mesh_id = ", &[], "not TOML");
    }

    #[test]
    fn what_the_launcher_writes_reads_back() -> Result<(), Box<dyn std::error::Error>> {
        let flags = ["enrolment.listen=127.0.0.1:7431", "enrolment.certificate=a", "enrolment.key=b"];
        let config = resolved(FILE, &[], &flags)?.config;
        assert_eq!(config.enrolment.as_ref().map(|enrolment| enrolment.certificate_secs), Some(86_400));
        let written = toml::to_string(&config)?;
        assert_eq!(resolve(&written, Path::new("/"), &BTreeMap::new(), &[])?.config, config);
        Ok(())
    }
}
