//! What an edge is told before it starts.
//!
//! One TOML file, `REMIT_*` environment variables above it, flags above both. Every value is checked before a socket
//! is bound or a directory made, so that a typing error never leaves a half-started edge. Secrets are not in the file:
//! it names files that hold them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use remit_common::id::{EdgeId, MeshId, Region, TenantId, VoterId};
use remit_common::limits::CONFIG_BYTES_MAX;
use serde::{Deserialize, Serialize};

/// Voters an edge may know. Raft groups beyond seven only get slower; the rest is room for a change of members.
pub const VOTERS_MAX: usize = 16;
/// Tenants one edge serves. Each costs a compiled bundle in memory.
pub const TENANTS_MAX: usize = 64;
/// Origins a browser may call from.
pub const ORIGINS_MAX: usize = 64;
/// The smallest spool that is any use: a few segments.
pub const SPOOL_BYTES_MIN: u64 = 1024 * 1024;
/// The spool's default quota: 8 GiB, about three days of a busy edge without a control plane.
pub const SPOOL_BYTES_DEFAULT: u64 = 8 * 1024 * 1024 * 1024;
/// Connections of agents at the same time. Each may hold one body of 1 MiB, hence 2 GiB at the very worst.
pub const AGENT_CONNECTIONS_DEFAULT: usize = 2_048;
/// Calls under way at upstreams at the same time. Each may hold one result of 8 MiB.
pub const CALLS_DEFAULT: usize = 256;
/// The longest a tool may take to answer, in seconds.
pub const UPSTREAM_SECS_DEFAULT: u64 = 30;

/// The configuration of one edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The mesh, 32 hex digits.
    pub mesh_id: MeshId,
    /// This edge's name, as the directory and its certificate say it.
    pub id: EdgeId,
    /// Where it stands, as the directory and its certificate say it.
    pub region: Region,
    /// Where bundles, shards, revocations and the spool are kept. Made if absent.
    pub data_dir: PathBuf,
    /// Where agents call.
    pub agent_addr: SocketAddr,
    /// Where operators look: `/livez`, `/readyz`, `/metrics`, `/status`.
    pub ops_addr: SocketAddr,
    /// This edge's certificate, PEM.
    pub certificate: PathBuf,
    /// The seed of this edge's identity key: 64 hex digits. The certificate and the directory carry its public half.
    pub identity_key: PathBuf,
    /// The authority of the voters' certificates, PEM.
    pub voters_ca: PathBuf,
    /// The seed of this edge's sealing key: 64 hex digits. Shards are sealed to its public half in the directory.
    pub sealing_key: PathBuf,
    /// The first root document. Everything this edge trusts follows from it.
    pub root: PathBuf,
    /// The tenants this edge serves.
    pub tenants: BTreeSet<TenantId>,
    /// The control plane, in order of preference.
    pub voters: Vec<VoterAddr>,
    /// Origins from which a browser may call. None by default: a request with an `Origin` is refused.
    #[serde(default)]
    pub allowed_origins: BTreeSet<String>,
    /// Bytes of records kept while no majority of voters has them.
    #[serde(default = "spool_bytes_default")]
    pub spool_bytes_max: u64,
    /// Connections of agents at the same time.
    #[serde(default = "agent_connections_default")]
    pub agent_connections_max: usize,
    /// Calls under way at upstreams at the same time.
    #[serde(default = "calls_default")]
    pub calls_max: usize,
    /// The longest a tool may take to answer, in seconds.
    #[serde(default = "upstream_secs_default")]
    pub upstream_secs_max: u64,
}

/// Where one voter listens for edges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoterAddr {
    /// The voter, as its certificate names it.
    pub id: VoterId,
    /// Its distribution endpoint (QUIC).
    pub addr: SocketAddr,
}

fn spool_bytes_default() -> u64 {
    SPOOL_BYTES_DEFAULT
}

fn agent_connections_default() -> usize {
    AGENT_CONNECTIONS_DEFAULT
}

fn calls_default() -> usize {
    CALLS_DEFAULT
}

fn upstream_secs_default() -> u64 {
    UPSTREAM_SECS_DEFAULT
}

/// A configuration is not usable.
#[derive(Debug, thiserror::Error)]
pub enum ConfigInvalid {
    /// Longer than any configuration is.
    #[error("the configuration is longer than {CONFIG_BYTES_MAX} bytes")]
    TooLong,
    /// Not UTF-8.
    #[error("the configuration is not text")]
    NotText,
    /// Not TOML of the expected shape.
    #[error("the configuration does not parse")]
    Shape(#[source] Box<toml::de::Error>),
    /// A value that cannot be right.
    #[error("`{key}`: {rule}")]
    Value {
        /// Where it stands.
        key: &'static str,
        /// What it has to be.
        rule: &'static str,
    },
}

impl Config {
    /// Reads TOML and checks it whole. Relative paths count from `base`, the folder of the file.
    ///
    /// # Errors
    /// [`ConfigInvalid`] names the first value that is wrong.
    pub fn parse(bytes: &[u8], base: &Path) -> Result<Self, ConfigInvalid> {
        if bytes.len() > CONFIG_BYTES_MAX {
            return Err(ConfigInvalid::TooLong);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| ConfigInvalid::NotText)?;
        let mut config: Self = toml::from_str(text).map_err(|error| ConfigInvalid::Shape(Box::new(error)))?;
        for path in [
            &mut config.data_dir,
            &mut config.certificate,
            &mut config.identity_key,
            &mut config.voters_ca,
            &mut config.sealing_key,
            &mut config.root,
        ] {
            *path = base.join(&*path);
        }
        config.check()?;
        Ok(config)
    }

    /// Checks every value against its rule.
    ///
    /// # Errors
    /// [`ConfigInvalid::Value`] names the first that is wrong.
    pub fn check(&self) -> Result<(), ConfigInvalid> {
        let value = |key, rule| Err(ConfigInvalid::Value { key, rule });
        let voters: BTreeSet<VoterId> = self.voters.iter().map(|voter| voter.id).collect();
        if self.voters.is_empty() || self.voters.len() > VOTERS_MAX {
            return value("voters", "1 to 16 voters");
        }
        if voters.len() != self.voters.len() {
            return value("voters", "each voter once");
        }
        if self.tenants.is_empty() || self.tenants.len() > TENANTS_MAX {
            return value("tenants", "1 to 64 tenants");
        }
        if self.allowed_origins.len() > ORIGINS_MAX || self.allowed_origins.iter().any(|origin| !is_origin(origin)) {
            return value("allowed_origins", "at most 64 of the form scheme://host[:port], without a path");
        }
        if !self.agent_addr.ip().is_loopback() {
            return value("agent_addr", "a loopback address: agents are not served over TLS yet");
        }
        if self.spool_bytes_max < SPOOL_BYTES_MIN {
            return value("spool_bytes_max", "at least 1 MiB");
        }
        if !(1..=65_536).contains(&self.agent_connections_max) {
            return value("agent_connections_max", "1 to 65536");
        }
        if !(1..=65_536).contains(&self.calls_max) {
            return value("calls_max", "1 to 65536");
        }
        if !(1..=3_600).contains(&self.upstream_secs_max) {
            return value("upstream_secs_max", "1 to 3600 seconds");
        }
        Ok(())
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
        agent_addr = "127.0.0.1:7511"
        ops_addr = "127.0.0.1:7611"
        certificate = "edge.pem"
        identity_key = "identity.key"
        voters_ca = "/etc/remit/voters.pem"
        sealing_key = "sealing.key"
        root = "root.json"
        tenants = ["acme"]
        [[voters]]
        id = 1
        addr = "127.0.0.1:7421"
    "#;

    #[test]
    fn paths_count_from_the_file() -> Result<(), ConfigInvalid> {
        let config = Config::parse(GOOD.as_bytes(), Path::new("/mesh/edges/eu-west-1"))?;
        assert_eq!(config.data_dir, Path::new("/mesh/edges/eu-west-1/data"));
        assert_eq!(config.voters_ca, Path::new("/etc/remit/voters.pem"));
        assert_eq!(config.spool_bytes_max, SPOOL_BYTES_DEFAULT);
        Ok(())
    }

    #[test]
    fn what_cannot_be_right_is_refused() {
        let check = |from: &str, to: &str, expected: &str| {
            assert!(GOOD.contains(from), "{from}");
            let error = Config::parse(GOOD.replace(from, to).as_bytes(), Path::new("/")).expect_err(to);
            let chain = format!("{error} {:?}", std::error::Error::source(&error).map(ToString::to_string));
            assert!(chain.contains(expected), "{to}: {chain}");
        };
        check("region =", "regoin = \"x\"\nregion =", "unknown field");
        check("[\"acme\"]", "[]", "tenants");
        check("[\"acme\"]", "[\"Acme Corp\"]", "not a valid tenant");
        check("127.0.0.1:7511", "0.0.0.0:7511", "loopback");
        check("127.0.0.1:7511", "localhost", "socket address");
        check("tenants =", "spool_bytes_max = 7\ntenants =", "1 MiB");
        check("tenants =", "allowed_origins = [\"https://a.example/path\"]\ntenants =", "allowed_origins");
        check("[[voters]]", "[[voters]]\nid = 1\naddr = \"127.0.0.1:1\"\n[[voters]]", "each voter once");
        assert!(matches!(Config::parse(&[0xff], Path::new("/")), Err(ConfigInvalid::NotText)));
        let long = vec![b' '; CONFIG_BYTES_MAX + 1];
        assert!(matches!(Config::parse(&long, Path::new("/")), Err(ConfigInvalid::TooLong)));
    }
}
