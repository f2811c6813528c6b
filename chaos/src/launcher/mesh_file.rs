//! `mesh.json`: where everything of a local mesh is. Written by the launcher, read by every command.
//! Clause U-3.

use std::path::{Path, PathBuf};

use remit_common::id::{EdgeId, MeshId, Region, TenantId, UpstreamName, VoterId};
use remit_common::limits::CONFIG_BYTES_MAX;
use remit_common::net::env::Disk;
use serde::{Deserialize, Serialize};

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshFile {
    /// The mesh's random name.
    pub mesh_id: MeshId,
    /// The tenant that the commands act for.
    pub tenant: TenantId,
    /// The control plane.
    pub voters: Vec<VoterEntry>,
    /// The edges, region by region.
    pub edges: Vec<EdgeEntry>,
    /// Tool servers that belong to the mesh.
    pub upstreams: Vec<UpstreamEntry>,
    /// Files of private keys.
    pub keys: KeyPaths,
    /// The signed root document that everything else is checked against.
    pub root: PathBuf,
    /// A copy of the example whose bundle is active.
    pub example: PathBuf,
}

/// One voter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoterEntry {
    /// Its number.
    pub id: VoterId,
    /// Its admin API.
    pub admin: String,
    /// Its operations listener.
    pub ops: String,
    /// Its process, if one was started.
    pub pid: Option<u32>,
    /// Its folder.
    pub dir: PathBuf,
}

/// One edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeEntry {
    /// Its name.
    pub id: EdgeId,
    /// Where it plays to be.
    pub region: Region,
    /// Where agents call.
    pub agent: String,
    /// Its operations listener.
    pub ops: String,
    /// Its process, if one was started.
    pub pid: Option<u32>,
    /// Its folder.
    pub dir: PathBuf,
}

/// One tool server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamEntry {
    /// As the bundle's catalogue calls it.
    pub name: UpstreamName,
    /// Its MCP endpoint.
    pub url: String,
    /// Its process, if one was started.
    pub pid: Option<u32>,
    /// Its folder.
    pub dir: PathBuf,
}

/// Files of private keys, one line each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyPaths {
    /// The administrators who sign bundles; two of three must.
    pub policy: Vec<PathBuf>,
    /// The administrator who signs commands.
    pub admin: PathBuf,
    /// The directory role.
    pub directory: PathBuf,
    /// The sealer of credentials.
    pub sealer: PathBuf,
    /// The root role.
    pub root: PathBuf,
    /// A second administrator, who can only cut, where the mesh has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_call: Option<PathBuf>,
    /// The authority of the agents' trust domain, where the mesh has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agents: Option<PathBuf>,
    /// The writer of relations, where the mesh has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relations: Option<PathBuf>,
}

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MeshFileFault {
    /// There is none.
    #[error("there is no mesh file at `{}`", .0.display())]
    Missing(PathBuf),
    /// The disk does not give it.
    #[error("cannot read the mesh file `{}`", .0.display())]
    Unreadable(PathBuf, #[source] std::io::Error),
    /// It is not what the launcher writes.
    #[error("`{}` is not a mesh file", .0.display())]
    Malformed(PathBuf, #[source] serde_json::Error),
}

impl MeshFile {
    /// Reads the file at `path`.
    ///
    /// # Errors
    /// [`MeshFileFault`].
    pub fn read(disk: &dyn Disk, path: &Path) -> Result<Self, MeshFileFault> {
        let bytes = disk
            .read(path, CONFIG_BYTES_MAX)
            .map_err(|source| MeshFileFault::Unreadable(path.to_owned(), source))?
            .ok_or_else(|| MeshFileFault::Missing(path.to_owned()))?;
        serde_json::from_slice(&bytes).map_err(|source| MeshFileFault::Malformed(path.to_owned(), source))
    }

    /// The file as text.
    #[must_use]
    pub fn to_json(&self) -> String {
        // INVARIANT: strings, numbers and lists always have a JSON form.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Every process that was started, with the folder that its command line names.
    pub fn processes(&self) -> impl Iterator<Item = (u32, &Path)> {
        let voters = self.voters.iter().map(|voter| (voter.pid, voter.dir.as_path()));
        let edges = self.edges.iter().map(|edge| (edge.pid, edge.dir.as_path()));
        let upstreams = self.upstreams.iter().map(|upstream| (upstream.pid, upstream.dir.as_path()));
        // Edges first: they part from a control plane that is still there, and report their last records to it.
        edges.chain(upstreams).chain(voters).filter_map(|(pid, dir)| Some((pid?, dir)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{
  "mesh_id": "000102030405060708090a0b0c0d0e0f",
  "tenant": "acme",
  "voters": [
    {
      "id": 1,
      "admin": "http://127.0.0.1:7411",
      "ops": "http://127.0.0.1:7451",
      "pid": 4711,
      "dir": "/mesh/voters/1"
    }
  ],
  "edges": [
    {
      "id": "eu-west-1",
      "region": "eu-west",
      "agent": "http://127.0.0.1:7511",
      "ops": "http://127.0.0.1:7611",
      "pid": null,
      "dir": "/mesh/edges/eu-west-1"
    }
  ],
  "upstreams": [
    {
      "name": "acme",
      "url": "http://127.0.0.1:7701/mcp",
      "pid": 4713,
      "dir": "/mesh/upstreams/acme"
    }
  ],
  "keys": {
    "policy": [
      "/mesh/keys/policy-1.key"
    ],
    "admin": "/mesh/keys/admin.key",
    "directory": "/mesh/keys/directory.key",
    "sealer": "/mesh/keys/sealer.key",
    "root": "/mesh/keys/root.key"
  },
  "root": "/mesh/root.json",
  "example": "/mesh/example"
}"#;

    /// Clause U-3.
    #[test]
    fn a_mesh_file_is_this_json_and_may_have_more() {
        let file: MeshFile = serde_json::from_str(FILE).unwrap();
        assert_eq!(file.to_json(), FILE);
        let running: Vec<_> = file.processes().map(|(pid, _)| pid).collect();
        assert_eq!(running, [4713, 4711], "tools before voters, and only what was started");
        let agents = FILE.replace("root.key\"\n", "root.key\",\n    \"agents\": \"/mesh/keys/agents.key\"\n");
        let with_agents: MeshFile = serde_json::from_str(&agents).unwrap();
        assert_eq!(with_agents.to_json(), agents);
        assert!(with_agents.keys.agents.is_some());
        let more = FILE.replacen('{', "{\"relays\":[],", 1);
        assert_eq!(serde_json::from_str::<MeshFile>(&more).unwrap(), file);
        assert!(
            serde_json::from_str::<MeshFile>(&FILE.replace("\"acme\",\n  \"voters\"", "\"A B\",\n  \"voters\""))
                .is_err()
        );
    }

    #[test]
    fn a_file_that_is_not_there_or_not_one_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let disk = remit_common::net::real::real().disk;
        let path = folder.path().join("mesh.json");
        assert!(matches!(MeshFile::read(disk.as_ref(), &path), Err(MeshFileFault::Missing(_))));
        disk.replace(&path, b"{\"mesh_id\":1}").unwrap();
        assert!(matches!(MeshFile::read(disk.as_ref(), &path), Err(MeshFileFault::Malformed(..))));
        disk.replace(&path, &vec![b' '; CONFIG_BYTES_MAX + 1]).unwrap();
        assert!(matches!(MeshFile::read(disk.as_ref(), &path), Err(MeshFileFault::Unreadable(..))));
    }
}
