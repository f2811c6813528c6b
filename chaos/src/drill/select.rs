//! Whom a step means: `role=edge`, `region=eu-west`, `voter=1`, `leader`.

use std::collections::BTreeSet;
use std::fmt;

use remit_common::id::{EdgeId, Region, VoterId};
use serde_saphyr::Location;

use super::backend::Shape;
use super::complaint::{Book, nearest};
use crate::node::{Member, Node, Roster};

/// Whom a step means.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Selector {
    /// Every voter.
    Voters,
    /// Every edge.
    Edges,
    /// Every edge of a region.
    Region(Region),
    /// One voter.
    Voter(VoterId),
    /// One edge.
    Edge(EdgeId),
    /// The tool server.
    Tools,
    /// Every voter and every edge.
    Everyone,
    /// The voter that leads when the step begins.
    Leader,
    /// One voter that does not.
    Follower,
    /// As many followers as may fail while the others still are a majority.
    Minority,
    /// The other voters.
    Majority,
    /// Whom faults of this drill hit when the step begins.
    Hit,
}

/// What can stand alone.
const WORDS: [(&str, Selector); 7] = [
    ("leader", Selector::Leader),
    ("follower", Selector::Follower),
    ("minority", Selector::Minority),
    ("majority", Selector::Majority),
    ("everyone", Selector::Everyone),
    ("tools", Selector::Tools),
    ("hit", Selector::Hit),
];
const ROLES: [(&str, Selector); 2] = [("control", Selector::Voters), ("edge", Selector::Edges)];

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Voters => f.write_str("role=control"),
            Self::Edges => f.write_str("role=edge"),
            Self::Region(region) => write!(f, "region={region}"),
            Self::Voter(id) => write!(f, "voter={id}"),
            Self::Edge(id) => write!(f, "edge={id}"),
            other => {
                let word = WORDS.iter().find(|(_, selector)| selector == other).map_or("?", |(word, _)| word);
                f.write_str(word)
            }
        }
    }
}

/// The mesh that a shape becomes: voters from 1, edges as `REGION-1` and so on.
#[must_use]
pub fn planned(shape: &Shape) -> Roster {
    let voters = (1..=shape.voters).map(|id| Member { node: Node::Voter(VoterId(id)), region: None });
    let edges = shape.regions.iter().flat_map(|(region, count)| {
        (1..=*count).filter_map(move |number| {
            let id = EdgeId::new(&format!("{region}-{number}")).ok()?;
            Some(Member { node: Node::Edge(id), region: Some(region.clone()) })
        })
    });
    let tools = Member { node: Node::Tools, region: None };
    Roster { nodes: voters.chain(edges).chain([tools]).collect() }
}

/// What a selector is resolved against.
#[derive(Debug, Clone, Copy)]
pub struct Now<'a> {
    /// Who takes part.
    pub roster: &'a Roster,
    /// Who leads, as far as somebody has said.
    pub leader: Option<VoterId>,
    /// Whom faults hit.
    pub hit: &'a BTreeSet<Node>,
}

impl Selector {
    /// Reads one, and checks it against the mesh that there will be.
    pub(super) fn read(text: &str, at: Location, roster: &Roster, book: &mut Book<'_>) -> Option<Self> {
        let Some((kind, name)) = text.split_once('=') else {
            let found = WORDS.iter().find(|(word, _)| *word == text);
            if found.is_none() {
                let words: Vec<&str> = WORDS.iter().map(|(word, _)| *word).collect();
                unknown_target(book, at, text, &words, roster);
            }
            return found.map(|(_, selector)| selector.clone());
        };
        let selector = match kind {
            "role" => ROLES.iter().find(|(role, _)| *role == name).map(|(_, selector)| selector.clone()),
            "region" => Region::new(name).ok().map(Self::Region),
            "voter" => name.parse().ok().map(|id| Self::Voter(VoterId(id))),
            "edge" => EdgeId::new(name).ok().map(Self::Edge),
            _ => {
                book.unknown(at, "selector", kind, &["role", "region", "voter", "edge"]);
                return None;
            }
        };
        let known: Vec<String> = match kind {
            "role" => ROLES.iter().map(|(role, _)| (*role).to_owned()).collect(),
            "region" => {
                let regions = roster.nodes.iter().filter_map(|member| member.region.as_ref());
                regions.map(ToString::to_string).collect::<BTreeSet<_>>().into_iter().collect()
            }
            "voter" => roster.voters().map(|id| id.to_string()).collect(),
            _ => roster.edges().map(ToString::to_string).collect(),
        };
        let names: Vec<&str> = known.iter().map(String::as_str).collect();
        if selector.is_some() && names.contains(&name) {
            return selector;
        }
        book.unknown(at, kind, name, &names);
        None
    }

    /// The nodes that it means whatever happens; none when that is known only when the step begins.
    #[must_use]
    pub fn fixed(&self, roster: &Roster) -> Option<BTreeSet<Node>> {
        let having = |is_it: &dyn Fn(&Member) -> bool| {
            roster.nodes.iter().filter(|member| is_it(member)).map(|member| member.node.clone()).collect()
        };
        match self {
            Self::Voters => Some(having(&|member| matches!(member.node, Node::Voter(_)))),
            Self::Edges => Some(having(&|member| matches!(member.node, Node::Edge(_)))),
            Self::Region(region) => Some(having(&|member| member.region.as_ref() == Some(region))),
            Self::Voter(id) => Some(having(&|member| member.node == Node::Voter(*id))),
            Self::Edge(id) => Some(having(&|member| member.node == Node::Edge(id.clone()))),
            Self::Tools => Some(having(&|member| member.node == Node::Tools)),
            Self::Everyone => Some(having(&|member| matches!(member.node, Node::Voter(_) | Node::Edge(_)))),
            Self::Leader | Self::Follower | Self::Minority | Self::Majority | Self::Hit => None,
        }
    }

    /// How many nodes it means at most, of those that are known only when the step begins.
    pub(super) fn width(&self, roster: &Roster) -> usize {
        let voters = roster.voters().count();
        let minority = voters.saturating_sub(1) / 2;
        match self {
            Self::Leader | Self::Follower => 1,
            Self::Minority => minority,
            Self::Majority => voters - minority,
            // Whoever is hit is counted already.
            Self::Hit => 0,
            fixed => fixed.fixed(roster).map_or(0, |nodes| nodes.len()),
        }
    }

    /// Whether it needs to be known who leads.
    #[must_use]
    pub fn needs_leader(&self) -> bool {
        matches!(self, Self::Leader | Self::Follower | Self::Minority | Self::Majority)
    }

    /// The nodes that it means now.
    ///
    /// # Errors
    /// Says why nobody is meant.
    pub fn resolve(&self, now: &Now<'_>) -> Result<BTreeSet<Node>, String> {
        if let Some(fixed) = self.fixed(now.roster) {
            return if fixed.is_empty() { Err(format!("`{self}` is not in the mesh")) } else { Ok(fixed) };
        }
        if *self == Self::Hit {
            return Ok(now.hit.clone());
        }
        let leader = now.leader.ok_or_else(|| format!("`{self}` cannot be told: no voter says that it leads"))?;
        let voters = now.roster.voters().count();
        let followers = || now.roster.voters().filter(|id| *id != leader);
        let minority: BTreeSet<VoterId> = {
            let mut last: Vec<VoterId> = followers().collect();
            last.split_off(last.len().saturating_sub(voters.saturating_sub(1) / 2)).into_iter().collect()
        };
        let found: BTreeSet<VoterId> = match self {
            Self::Leader => BTreeSet::from([leader]),
            Self::Follower => followers().take(1).collect(),
            Self::Minority => minority,
            _ => now.roster.voters().filter(|id| !minority.contains(id)).collect(),
        };
        Ok(found.into_iter().map(Node::Voter).collect())
    }
}

/// The nodes that several selectors mean now, in the order of the roster.
///
/// # Errors
/// Says why nobody is meant.
pub fn resolve_all(selectors: &[Selector], now: &Now<'_>) -> Result<Vec<Node>, String> {
    let mut all = BTreeSet::new();
    for selector in selectors {
        all.extend(selector.resolve(now)?);
    }
    Ok(all.into_iter().collect())
}

/// Somebody may have left out the kind: `eu-west` for `region=eu-west`.
fn unknown_target(book: &mut Book<'_>, at: Location, text: &str, words: &[&str], roster: &Roster) {
    let mut meant = Vec::new();
    for member in &roster.nodes {
        let selector = match &member.node {
            Node::Voter(id) => Selector::Voter(*id),
            Node::Edge(id) => Selector::Edge(id.clone()),
            Node::Tools | Node::Operator => continue,
        };
        meant.push((member.node.to_string(), selector.to_string()));
        if let Node::Edge(id) = &member.node {
            meant.push((id.to_string(), selector.to_string()));
        }
        if let Some(region) = &member.region {
            meant.push((region.to_string(), format!("region={region}")));
        }
    }
    meant.extend(
        [("control", "role=control"), ("edges", "role=edge"), ("voters", "role=control")]
            .map(|(a, b)| (a.to_owned(), b.to_owned())),
    );
    let message = format!("there is no target `{}`", super::complaint::printable(text));
    let exact = meant.iter().find(|(name, _)| name == text).map(|(_, selector)| selector.as_str());
    match exact.or_else(|| nearest(text, words)) {
        Some(near) => book.wrong_help(at, message, format!("did you mean `{near}`?")),
        None => book.unknown(at, "target", text, words),
    }
}
