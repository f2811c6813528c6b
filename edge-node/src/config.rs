//! An edge's configuration: one plain struct, checked whole before a socket is bound.
//!
//! Values come from four places, each above the one before it: the defaults in this file, the TOML file, `REMIT_*`
//! variables of the environment, and `--set KEY=VALUE` flags. [`resolve`] keeps where each value came from, so that
//! `--print-config` can say it. Relative paths are relative to the folder of the file. Secrets are not in it: it names
//! files that hold them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use remit_common::crypto::digest::Digest;
use remit_common::crypto::sign::PublicKey;
use remit_common::id::{EdgeId, EnforcementPoint, MeshId, Region, TenantId, UpstreamName, VoterId};
use remit_common::limits::CONFIG_BYTES_MAX;
use remit_common::proof::Grade;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

/// Voters an edge may know. Raft groups beyond seven only get slower; the rest is room for a change of members.
pub const VOTERS_MAX: usize = 16;
/// Tenants one edge serves. Each costs a compiled bundle in memory.
pub const TENANTS_MAX: usize = 64;
/// Platforms that may ask.
pub const ENFORCEMENT_POINTS_MAX: usize = 256;
/// Programs of one edge.
const PROGRAMS_MAX: usize = 64;
/// Origins a browser may call from.
pub const ORIGINS_MAX: usize = 64;
/// The smallest spool that is any use: a few segments.
pub const SPOOL_BYTES_MIN: u64 = 1024 * 1024;

/// What one edge needs to know before it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The mesh this edge belongs to.
    pub mesh_id: MeshId,
    /// This edge, as the directory and its certificate name it.
    pub id: EdgeId,
    /// Where it stands, as the directory and its certificate say it.
    pub region: Region,
    /// Where bundles, shards, revocations and the spool are kept. Owned by one process at a time.
    pub data_dir: PathBuf,
    /// The signed root document that this edge was installed with. Everything it trusts follows from it.
    pub root: PathBuf,
    /// The key file of this edge's sealing key; shards are sealed to its public half in the directory.
    pub sealing_key: PathBuf,
    /// The tenants this edge serves.
    pub tenants: BTreeSet<TenantId>,
    /// Origins from which a browser may call. None by default: a request with an `Origin` is refused.
    #[serde(default)]
    pub allowed_origins: BTreeSet<String>,
    /// What this edge is on TLS connections.
    pub tls: TlsFiles,
    /// Where it listens.
    pub listen: Listen,
    /// The control plane, in order of preference.
    pub voters: Vec<VoterAddr>,
    /// How this edge comes by its certificate, if the voters give it one; without it, it is installed and replaced by
    /// somebody else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrolment: Option<Enrolment>,
    /// A folder that stands in for the control plane at the start (`remit edge bootstrap`): whatever of it is newer than
    /// what is here is verified and taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap: Option<PathBuf>,
    /// Where others reach the agents' listener: `https://host[:port]`. The endpoints of enforcement points are announced
    /// under it, and not at all without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    /// Platforms that may ask what policy says, without calling anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub enforcement_points: Vec<EnforcementPointEntry>,
    /// Programs that are tool servers, which the edge starts when a call needs one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<ProgramEntry>,
    /// What callers have to prove.
    #[serde(default)]
    pub proof: Proofs,
    /// How much it takes on.
    #[serde(default)]
    pub limits: Limits,
}

/// The files of this edge's TLS identity and of the anchor it believes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// The key file of the identity key; the certificate and the directory carry its public half.
    pub key: PathBuf,
    /// The authority of voters' certificates, PEM.
    pub voters_ca: PathBuf,
}

/// The listeners of an edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// Agents (HTTP). Anywhere but on loopback with `tls` only.
    pub agent: SocketAddr,
    /// Operations: health, metrics, status (HTTP).
    pub ops: SocketAddr,
    /// What the agents' listener shows; without it that listener speaks no TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<ListenTls>,
}

/// The files of the agents' listener. They are read again every few seconds; a usable pair is shown from the next
/// connection on, without a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenTls {
    /// The certificate chain, leaf first, PEM. Of an authority that agents know, for the name by which they call.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// Where one voter listens for edges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoterAddr {
    /// The voter, as its certificate names it.
    pub id: VoterId,
    /// Its distribution endpoint (QUIC).
    pub dist: SocketAddr,
}

/// How an edge comes by its certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    /// The file of the join token. At the first start the edge joins by it: it makes `tls.key` and `sealing_key` where
    /// they are missing, and writes `tls.certificate`, `tls.voters_ca` and `root`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<PathBuf>,
    /// Where voters take edges in; without it, the token says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub voters: Vec<EnrolAddr>,
}

/// Where one voter takes edges in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolAddr {
    /// The voter, as its certificate names it.
    pub id: VoterId,
    /// Its enrolment endpoint (QUIC).
    pub at: SocketAddr,
}

/// A platform that guards something of its own and asks this edge what policy says. It is known by a token or by a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnforcementPointEntry {
    /// How records name it.
    pub name: EnforcementPoint,
    /// Whose policy it asks, and about whose envelopes.
    pub tenant: TenantId,
    /// SHA-256 of its token, in hex. The token has 32 random bytes or more; here it is never in the clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_sha256: Option<Digest>,
    /// The Ed25519 key of the certificate that it shows, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PublicKey>,
    /// What it has made sure of before it asks about an envelope: that its caller has the envelope's key, by a proof of
    /// this grade. Nothing, by default.
    #[serde(default)]
    pub vouches: Grade,
    /// How a proxy asks about requests that it holds back, if this is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forward_auth: Option<ForwardAuth>,
}

/// A program that speaks MCP over its standard input and output. A bundle names it (`stdio:time`); what it is stands
/// here, because no signed policy is to say what runs on a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProgramEntry {
    /// How bundles name it.
    pub name: UpstreamName,
    /// The executable, with its whole path.
    pub executable: PathBuf,
    /// Its arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// All of its environment. No place for secrets: it is printed with the configuration, and not searched for in answers.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
}

/// How a proxy asks about a request that it holds back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForwardAuth {
    /// Where it says which request that is.
    pub headers: HeldRequestIn,
    /// The upstream of the catalogue whose plain HTTP tools such requests call.
    pub upstream: UpstreamName,
}

/// Where a proxy says which request it holds back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeldRequestIn {
    /// `X-Original-Method` and `X-Original-URI`, as nginx is usually configured.
    Original,
    /// `X-Forwarded-Method` and `X-Forwarded-Uri`, as Traefik and Caddy send them.
    Forwarded,
    /// In method and path of the question itself, below `/forward-auth`, as Envoy asks.
    Path,
}

/// What callers have to prove: that they have the key of the envelope that they show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Proofs {
    /// The least grade, whatever a bundle says: `none`, `P0`, `P1` or `P2`. Below `P1` only tools that read and take no
    /// credential can be called without a proof, and only if the bundle says so, too.
    pub floor: Grade,
}

impl Default for Proofs {
    fn default() -> Self {
        Self { floor: Grade::P1 }
    }
}

/// How much an edge takes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Bytes of records kept while no majority of voters has them. 8 GiB are about three days of a busy edge.
    pub spool_bytes_max: u64,
    /// Connections of agents at the same time. Each may hold one body of 1 MiB, hence 2 GiB at the very worst.
    pub agent_connections_max: usize,
    /// Of those, connections of one source (an IPv4 address, or an IPv6 /64): a quarter. More for agents that come through
    /// one proxy or one gateway. Callers on loopback are not counted by source: all sidecars of a machine share it.
    pub agent_connections_per_source_max: usize,
    /// Calls under way at upstreams at the same time. Each may hold one result of 8 MiB.
    pub calls_max: usize,
    /// The longest a tool may take to answer, in seconds.
    pub upstream_secs_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            spool_bytes_max: 8 * 1024 * 1024 * 1024,
            agent_connections_max: 2_048,
            agent_connections_per_source_max: 512,
            calls_max: 256,
            upstream_secs_max: 30,
        }
    }
}

/// A configuration that this edge does not start with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not TOML.
    #[error("the configuration file is not TOML: {0}")]
    Syntax(String),
    /// The file is larger than any configuration of ours.
    #[error("the configuration file has {bytes} bytes, more than {CONFIG_BYTES_MAX}")]
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
        problem: &'static str,
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

/// Keys that a variable or a flag may set, and whether their value is a number.
const SETTABLE: [(&str, bool); 22] = [
    ("mesh_id", false),
    ("id", false),
    ("region", false),
    ("data_dir", false),
    ("root", false),
    ("sealing_key", false),
    ("tls.certificate", false),
    ("tls.key", false),
    ("tls.voters_ca", false),
    ("listen.agent", false),
    ("listen.ops", false),
    ("listen.tls.certificate", false),
    ("listen.tls.key", false),
    ("enrolment.token", false),
    ("bootstrap", false),
    ("public_url", false),
    ("proof.floor", false),
    ("limits.spool_bytes_max", true),
    ("limits.agent_connections_max", true),
    ("limits.agent_connections_per_source_max", true),
    ("limits.calls_max", true),
    ("limits.upstream_secs_max", true),
];

/// Keys that are lists, and stand in the file only.
const LISTS: [&str; 5] = ["tenants", "allowed_origins", "voters", "enforcement_points", "programs"];

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
    if file.len() > CONFIG_BYTES_MAX {
        return Err(ConfigError::TooLarge { bytes: file.len() });
    }
    let mut table: Table = file.parse().map_err(|e: toml::de::Error| ConfigError::Syntax(e.to_string()))?;
    let mut origins = BTreeMap::new();
    let table_of = |table: Result<Table, toml::ser::Error>| table.map_err(|e| ConfigError::Shape(e.to_string()));
    let limits = table_of(Table::try_from(Limits::default()))?.into_iter().map(|(name, value)| ("limits", name, value));
    let proofs = table_of(Table::try_from(Proofs::default()))?.into_iter().map(|(name, value)| ("proof", name, value));
    for (section, name, value) in limits.chain(proofs) {
        let key = format!("{section}.{name}");
        if lookup(&table, &key).is_none() {
            put(&mut table, &key, value)?;
            origins.insert(key, Source::Default);
        }
    }
    for (key, is_number) in SETTABLE {
        let name = format!("REMIT_{}", key.replace('.', "_").to_uppercase());
        if let Some(text) = environment.get(&name) {
            put(&mut table, key, value_of(is_number, text))?;
            origins.insert(key.to_owned(), Source::Environment(name));
        }
    }
    for flag in flags {
        let settable = flag.split_once('=').and_then(|(key, text)| {
            SETTABLE.into_iter().find(|(known, _)| *known == key).map(|(key, is_number)| (key, is_number, text))
        });
        let (key, is_number, text) = settable.ok_or_else(|| ConfigError::Flag(flag.clone()))?;
        put(&mut table, key, value_of(is_number, text))?;
        origins.insert(key.to_owned(), Source::Flag);
    }
    let mut shown = BTreeMap::new();
    for key in SETTABLE.into_iter().map(|(key, _)| key).chain(LISTS) {
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

/// What is no number stays text, and the typed reading that follows says so.
fn value_of(is_number: bool, text: &str) -> Value {
    match text.parse::<i64>() {
        Ok(number) if is_number => Value::Integer(number),
        _ => Value::String(text.to_owned()),
    }
}

impl Config {
    fn rebase(&mut self, folder: &Path) {
        let Self {
            mesh_id: _,
            id: _,
            region: _,
            data_dir,
            root,
            sealing_key,
            tenants: _,
            allowed_origins: _,
            tls,
            listen,
            voters: _,
            enrolment,
            bootstrap,
            public_url: _,
            enforcement_points: _,
            programs: _,
            proof: _,
            limits: _,
        } = self;
        let TlsFiles { certificate, key, voters_ca } = tls;
        for path in [data_dir, root, sealing_key, certificate, key, voters_ca] {
            *path = folder.join(&*path);
        }
        if let Some(Enrolment { token: Some(token), voters: _ }) = enrolment {
            *token = folder.join(&*token);
        }
        if let Some(bootstrap) = bootstrap {
            *bootstrap = folder.join(&*bootstrap);
        }
        if let Some(ListenTls { certificate, key }) = &mut listen.tls {
            for path in [certificate, key] {
                *path = folder.join(&*path);
            }
        }
    }

    /// What the types cannot say.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] names the key.
    pub fn check(&self) -> Result<(), ConfigError> {
        let invalid = |key, problem| Err(ConfigError::Invalid { key, problem });
        let voters: BTreeSet<VoterId> = self.voters.iter().map(|voter| voter.id).collect();
        if self.voters.is_empty() || self.voters.len() > VOTERS_MAX {
            return invalid("voters", "must be 1 to 16");
        }
        if voters.len() != self.voters.len() {
            return invalid("voters", "a voter is listed twice");
        }
        if let Some(of) = &self.enrolment {
            let ids: BTreeSet<VoterId> = of.voters.iter().map(|voter| voter.id).collect();
            if of.voters.len() > VOTERS_MAX || ids.len() != of.voters.len() {
                return invalid("enrolment.voters", "must be at most 16, each listed once");
            }
            if of.token.is_none() && of.voters.is_empty() {
                return invalid("enrolment.token", "must be there, or `enrolment.voters`");
            }
        }
        if self.tenants.is_empty() || self.tenants.len() > TENANTS_MAX {
            return invalid("tenants", "must be 1 to 64");
        }
        if self.allowed_origins.len() > ORIGINS_MAX || self.allowed_origins.iter().any(|origin| !is_origin(origin)) {
            return invalid("allowed_origins", "must be at most 64 of the form scheme://host[:port], without a path");
        }
        if self.public_url.as_ref().is_some_and(|url| !url.starts_with("https://") || !is_origin(url)) {
            return invalid("public_url", "must be https://host[:port], without a path");
        }
        self.check_enforcement_points()?;
        self.check_programs()?;
        if self.listen.tls.is_none() && !self.listen.agent.ip().is_loopback() {
            return invalid(
                "listen.agent",
                "must be a loopback address, or have `listen.tls` with a certificate and its key",
            );
        }
        let Limits {
            spool_bytes_max,
            agent_connections_max,
            agent_connections_per_source_max,
            calls_max,
            upstream_secs_max,
        } = self.limits;
        if spool_bytes_max < SPOOL_BYTES_MIN {
            return invalid("limits.spool_bytes_max", "must be at least 1 MiB");
        }
        if !(1..=65_536).contains(&agent_connections_max) {
            return invalid("limits.agent_connections_max", "must be within 1 and 65536");
        }
        if !(1..=65_536).contains(&agent_connections_per_source_max) {
            return invalid("limits.agent_connections_per_source_max", "must be within 1 and 65536");
        }
        if !(1..=65_536).contains(&calls_max) {
            return invalid("limits.calls_max", "must be within 1 and 65536");
        }
        if !(1..=3_600).contains(&upstream_secs_max) {
            return invalid("limits.upstream_secs_max", "must be within 1 and 3600");
        }
        Ok(())
    }

    fn check_enforcement_points(&self) -> Result<(), ConfigError> {
        let invalid = |problem| Err(ConfigError::Invalid { key: "enforcement_points", problem });
        let points = &self.enforcement_points;
        if points.len() > ENFORCEMENT_POINTS_MAX {
            return invalid("must be at most 256");
        }
        if points.iter().any(|point| point.token_sha256.is_some() == point.key.is_some()) {
            return invalid("each has either `token_sha256` or `key`");
        }
        if self.listen.tls.is_none() && points.iter().any(|point| point.key.is_some()) {
            return invalid("`key` is that of a certificate, which needs `listen.tls`");
        }
        if points.iter().any(|point| point.token_sha256 == Some(Digest::of(&[]))) {
            return invalid("a `token_sha256` is that of no token at all");
        }
        if points.iter().any(|point| !self.tenants.contains(&point.tenant)) {
            return invalid("each is of a tenant that this edge serves");
        }
        let names: BTreeSet<_> = points.iter().map(|point| &point.name).collect();
        let known_by: BTreeSet<_> = points.iter().map(|point| (point.token_sha256, point.key)).collect();
        if names.len() != points.len() || known_by.len() != points.len() {
            return invalid("two have the same name, token or key");
        }
        Ok(())
    }

    fn check_programs(&self) -> Result<(), ConfigError> {
        let invalid = |problem| Err(ConfigError::Invalid { key: "programs", problem });
        if self.programs.len() > PROGRAMS_MAX {
            return invalid("must be at most 64");
        }
        if self.programs.iter().any(|program| !program.executable.is_absolute()) {
            return invalid("an `executable` is a whole path: nothing is looked for");
        }
        if self.programs.iter().any(|program| program.folder.as_ref().is_some_and(|folder| !folder.is_absolute())) {
            return invalid("a `folder` is a whole path");
        }
        let names: BTreeSet<_> = self.programs.iter().map(|program| &program.name).collect();
        if names.len() != self.programs.len() {
            return invalid("two have the same name");
        }
        Ok(())
    }

    /// The longest a tool may take to answer.
    #[must_use]
    pub fn upstream_deadline(&self) -> Duration {
        Duration::from_secs(self.limits.upstream_secs_max)
    }
}

/// An origin as a browser sends it (RFC 6454 section 6.2): scheme and authority, nothing after them.
fn is_origin(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else { return false };
    !scheme.is_empty()
        && scheme.bytes().all(|b| b.is_ascii_lowercase())
        && !authority.is_empty()
        && authority.bytes().all(|b| b.is_ascii_graphic() && !b"/?#@\\".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        mesh_id = "000102030405060708090a0b0c0d0e0f"
        id = "eu-west-1"
        region = "eu-west"
        data_dir = "data"
        root = "root.json"
        sealing_key = "sealing.key"
        tenants = ["acme"]

        [tls]
        certificate = "edge.pem"
        key = "identity.key"
        voters_ca = "/etc/remit/voters.pem"

        [listen]
        agent = "127.0.0.1:7511"
        ops = "127.0.0.1:7611"

        [[voters]]
        id = 1
        dist = "127.0.0.1:7421"
    "#;

    fn resolve_file(file: &str) -> Result<Resolved, ConfigError> {
        resolve(file, Path::new("/mesh/eu-west-1"), &BTreeMap::new(), &[])
    }

    #[test]
    fn each_source_stands_above_the_one_before() -> Result<(), ConfigError> {
        let environment =
            BTreeMap::from([("REMIT_LISTEN_OPS", "127.0.0.1:1"), ("REMIT_LIMITS_CALLS_MAX", "7"), ("REMIT_X", "y")])
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect();
        let flags = ["limits.calls_max=9".to_owned()];
        let resolved = resolve(GOOD, Path::new("/mesh/eu-west-1"), &environment, &flags)?;
        assert_eq!(resolved.config.data_dir, Path::new("/mesh/eu-west-1/data"));
        assert_eq!(resolved.config.tls.voters_ca, Path::new("/etc/remit/voters.pem"));
        assert_eq!(resolved.config.listen.ops.port(), 1);
        assert_eq!(resolved.config.limits.calls_max, 9);
        let shown = resolved.print();
        for line in [
            "limits.calls_max = 9  # flag",
            "limits.upstream_secs_max = 30  # default",
            "listen.ops = \"127.0.0.1:1\"  # environment, REMIT_LISTEN_OPS",
            "tenants = [\"acme\"]  # file",
        ] {
            assert!(shown.contains(line), "{line} is missing in\n{shown}");
        }
        Ok(())
    }

    #[test]
    fn what_is_written_is_read_back() -> Result<(), Box<dyn std::error::Error>> {
        let config = resolve_file(GOOD)?.config;
        assert_eq!(resolve_file(&toml::to_string(&config)?)?.config, config);
        Ok(())
    }

    #[test]
    fn what_cannot_be_right_is_refused() {
        let check = |from: &str, to: &str, expected: &str| {
            assert!(GOOD.contains(from), "{from}");
            let error = resolve_file(&GOOD.replace(from, to)).expect_err(to);
            assert!(error.to_string().contains(expected), "{to}: {error}");
        };
        check("region =", "regoin = \"x\"\n        region =", "regoin");
        check("ops =", "opps = \"127.0.0.1:1\"\n        ops =", "opps");
        check("[\"acme\"]", "[]", "tenants");
        check("[\"acme\"]", "[\"Acme Corp\"]", "not a valid tenant");
        check("127.0.0.1:7511", "0.0.0.0:7511", "loopback");
        check("127.0.0.1:7511", "localhost", "socket address");
        check("[tls]", "[limits]\nspool_bytes_max = 7\n[tls]", "1 MiB");
        check("[tls]", "allowed_origins = [\"https://a.example/path\"]\n[tls]", "allowed_origins");
        check("[[voters]]", "[[voters]]\nid = 1\ndist = \"127.0.0.1:1\"\n[[voters]]", "twice");
        let flags = |flag: &str| resolve(GOOD, Path::new("/"), &BTreeMap::new(), &[flag.to_owned()]).map(|_| ());
        assert!(matches!(flags("voters=1"), Err(ConfigError::Flag(_))));
        assert!(matches!(flags("limits.calls_max"), Err(ConfigError::Flag(_))));
        assert!(matches!(flags("limits.calls_max=many"), Err(ConfigError::Shape(_))));
        let long = " ".repeat(CONFIG_BYTES_MAX + 1);
        assert!(matches!(resolve_file(&long), Err(ConfigError::TooLarge { .. })));
    }
}
