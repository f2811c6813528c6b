//! Who takes part in a drill.

use std::fmt;
use std::str::FromStr;

use remit_common::id::{EdgeId, Region, VoterId};
use serde::{Deserialize, Serialize};

/// One machine of a drill. As text: `voter/1`, `edge/eu-west-1`, `tools`, `operator`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Node {
    /// A voter of the control plane.
    Voter(VoterId),
    /// An edge, with the agents that call it over loopback.
    Edge(EdgeId),
    /// The tool server.
    Tools,
    /// Where administrators work; never a target of faults.
    Operator,
}

/// No node has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no node: `voter/1`, `edge/eu-west-1`, `tools` and `operator` are")]
pub struct NoSuchNode(pub String);

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Voter(id) => write!(f, "voter/{id}"),
            Self::Edge(id) => write!(f, "edge/{id}"),
            Self::Tools => f.write_str("tools"),
            Self::Operator => f.write_str("operator"),
        }
    }
}

impl FromStr for Node {
    type Err = NoSuchNode;

    fn from_str(text: &str) -> Result<Self, NoSuchNode> {
        let unknown = || NoSuchNode(text.to_owned());
        match text.split_once('/') {
            None if text == "tools" => Ok(Self::Tools),
            None if text == "operator" => Ok(Self::Operator),
            Some(("voter", id)) => id.parse().map(|id| Self::Voter(VoterId(id))).map_err(|_| unknown()),
            Some(("edge", id)) => EdgeId::new(id).map(Self::Edge).map_err(|_| unknown()),
            _ => Err(unknown()),
        }
    }
}

impl TryFrom<String> for Node {
    type Error = NoSuchNode;

    fn try_from(text: String) -> Result<Self, NoSuchNode> {
        text.parse()
    }
}

impl From<Node> for String {
    fn from(node: Node) -> Self {
        node.to_string()
    }
}

/// Every node of a mesh, with the region of those that have one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Roster {
    /// In the order in which reports show them.
    pub nodes: Vec<Member>,
}

/// One node of a [`Roster`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Which.
    pub node: Node,
    /// Where; edges have one.
    pub region: Option<Region>,
}

impl Roster {
    /// The voters.
    pub fn voters(&self) -> impl Iterator<Item = VoterId> {
        self.nodes.iter().filter_map(|member| if let Node::Voter(id) = member.node { Some(id) } else { None })
    }

    /// The edges.
    pub fn edges(&self) -> impl Iterator<Item = &EdgeId> {
        self.nodes.iter().filter_map(|member| if let Node::Edge(id) = &member.node { Some(id) } else { None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_reads_back_what_it_writes() {
        for text in ["voter/1", "edge/eu-west-1", "tools", "operator"] {
            assert_eq!(text.parse::<Node>().unwrap().to_string(), text);
        }
        for text in ["", "voter", "voter/x", "edge/", "edge/A B", "tool"] {
            assert!(text.parse::<Node>().is_err(), "{text}");
        }
    }
}
