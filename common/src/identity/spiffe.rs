//! SPIFFE ids of nodes: `spiffe://<mesh id in hex>.remit/voter/1`, `spiffe://…/edge/eu-west/eu-west-1`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::id::{EdgeId, MeshId, Region, VoterId};

/// The two kinds of nodes. Each has a trust anchor of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NodeKind {
    /// A member of the control plane.
    Voter,
    /// An edge.
    Edge,
}

impl NodeKind {
    /// The first segment of the path.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Voter => "voter",
            Self::Edge => "edge",
        }
    }
}

impl fmt::Display for NodeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which node of its mesh.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum NodeRole {
    /// A voter.
    Voter(VoterId),
    /// An edge and where it is.
    Edge {
        /// Where.
        region: Region,
        /// Which.
        edge: EdgeId,
    },
}

impl NodeRole {
    /// Voter or edge.
    #[must_use]
    pub fn kind(&self) -> NodeKind {
        match self {
            Self::Voter(_) => NodeKind::Voter,
            Self::Edge { .. } => NodeKind::Edge,
        }
    }
}

/// The name that a node's certificate carries.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpiffeId {
    /// The trust domain is this mesh.
    pub mesh: MeshId,
    /// The path is this node.
    pub role: NodeRole,
}

/// A text is not the SPIFFE id of a node of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the SPIFFE id of a node")]
pub struct InvalidSpiffeId;

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}.remit/", self.mesh)?;
        match &self.role {
            NodeRole::Voter(id) => write!(f, "voter/{id}"),
            NodeRole::Edge { region, edge } => write!(f, "edge/{region}/{edge}"),
        }
    }
}

impl FromStr for SpiffeId {
    type Err = InvalidSpiffeId;

    /// Takes exactly what [`fmt::Display`] writes.
    fn from_str(text: &str) -> Result<Self, InvalidSpiffeId> {
        let (domain, path) =
            text.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/')).ok_or(InvalidSpiffeId)?;
        let mesh = domain.strip_suffix(".remit").and_then(|hex| hex.parse().ok()).ok_or(InvalidSpiffeId)?;
        let mut segments = path.split('/');
        let role = match (segments.next(), segments.next(), segments.next(), segments.next()) {
            (Some("voter"), Some(id), None, None) => NodeRole::Voter(VoterId(id.parse().map_err(|_| InvalidSpiffeId)?)),
            (Some("edge"), Some(region), Some(edge), None) => NodeRole::Edge {
                region: region.parse().map_err(|_| InvalidSpiffeId)?,
                edge: edge.parse().map_err(|_| InvalidSpiffeId)?,
            },
            _ => return Err(InvalidSpiffeId),
        };
        let id = Self { mesh, role };
        // `01` and `+1` are numbers, too, but not the name of a voter.
        if id.to_string() == text { Ok(id) } else { Err(InvalidSpiffeId) }
    }
}

impl TryFrom<String> for SpiffeId {
    type Error = InvalidSpiffeId;
    fn try_from(text: String) -> Result<Self, InvalidSpiffeId> {
        text.parse()
    }
}

impl From<SpiffeId> for String {
    fn from(id: SpiffeId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_spelling_is_a_name() {
        // Clause T-30.
        let mesh = "000102030405060708090a0b0c0d0e0f";
        for good in [format!("spiffe://{mesh}.remit/voter/3"), format!("spiffe://{mesh}.remit/edge/eu-west/eu-west-1")]
        {
            assert_eq!(good.parse::<SpiffeId>().map(|id| id.to_string()), Ok(good));
        }
        for bad in [
            format!("spiffe://{mesh}.remit/voter/03"),
            format!("spiffe://{mesh}.remit/voter/+3"),
            format!("spiffe://{mesh}.remit/voter/3/"),
            format!("spiffe://{mesh}.remit/voter/"),
            format!("spiffe://{mesh}.remit/edge/eu-west"),
            format!("spiffe://{mesh}.remit/edge/eu-west/a/b"),
            format!("spiffe://{mesh}.remit/edge/../a"),
            format!("SPIFFE://{mesh}.remit/voter/3"),
            format!("spiffe://{mesh}/voter/3"),
            "spiffe://0.remit/voter/3".to_owned(),
            String::new(),
        ] {
            assert_eq!(bad.parse::<SpiffeId>(), Err(InvalidSpiffeId), "{bad}");
        }
    }
}
