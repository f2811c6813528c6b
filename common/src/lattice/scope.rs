//! The scope of a chain: the grants that its links leave, link by link.
//!
//! Each grant of a hop names the one grant of its parent that it narrows, so a chain costs one meet per grant and
//! link, whatever its depth. A grant of which nothing is left stays as a tombstone, so that no index shifts.
//! Clauses L-6, L-9 and L-13.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::argument::{ArgumentPointer, ArgumentValue};
use super::grant::Miss;
use super::{Effects, Grant, Omitted, ScopeMiss, SortedMap, TooManyPatterns};
use crate::crypto::digest::Digest;
use crate::id::{DimensionName, ResourceId, ToolName};
use crate::limits::GRANTS_MAX;

/// What a call is, as far as scope is concerned: made from the tool's descriptor and the judged arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallFacts {
    /// The tool.
    pub tool: ToolName,
    /// What the tool does, as its descriptor says.
    pub effects: Effects,
    /// The resources that the arguments name, by dimension.
    pub ids: BTreeMap<DimensionName, BTreeSet<ResourceId>>,
    /// The quantities that the arguments ask for, by dimension.
    pub amounts: BTreeMap<DimensionName, u64>,
    /// The maxima that are enforced on the result, such as `records`.
    pub result_maxima: BTreeSet<DimensionName>,
    /// Whether the tool came after the catalogue for which the root was minted.
    pub is_newer: bool,
    /// The digest of the tool's definition, as the catalogue states it.
    pub definition: Option<Digest>,
    /// What the arguments are at the pointers that some grant constrains; a pointer that reaches nothing is absent.
    pub arguments: SortedMap<ArgumentPointer, Vec<ArgumentValue>>,
}

impl CallFacts {
    /// A call of a tool that yields nothing.
    #[must_use]
    pub const fn of_tool(tool: ToolName, effects: Effects) -> Self {
        Self {
            tool,
            effects,
            ids: BTreeMap::new(),
            amounts: BTreeMap::new(),
            result_maxima: BTreeSet::new(),
            is_newer: false,
            definition: None,
            arguments: SortedMap::new(),
        }
    }
}

/// A call lies outside a scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{miss}, since link {hop}")]
pub struct OutOfScope {
    /// What does not fit.
    pub miss: ScopeMiss,
    /// The first link of the chain below which the call is no longer admitted; 0 is the root.
    pub hop: u8,
}

/// Grants that do not make a scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidScope {
    /// None, or more than a link may carry.
    #[error("a link carries 1 to {GRANTS_MAX} grants")]
    Count,
    /// A root's grant leaves out its classes or its effects, or names a parent grant.
    #[error("grant {grant} of a root needs classes and effects, and has `of` 0")]
    IncompleteRoot {
        /// Its index.
        grant: usize,
    },
    /// A grant narrows one that the parent does not have.
    #[error("grant {grant} narrows grant {of}, which the parent does not have")]
    NoSuchParent {
        /// Its index.
        grant: usize,
        /// The index it names.
        of: u16,
    },
    /// More links than a scope can count.
    #[error("too many links")]
    TooDeep,
    /// A pattern set that would grow beyond its bound.
    #[error("grant {grant}")]
    TooManyPatterns {
        /// Its index.
        grant: usize,
        /// The bound.
        #[source]
        source: TooManyPatterns,
    },
}

/// What a chain leaves, tombstones included. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope(Arc<Level>);

/// The scope after one link, and those before it, which say where something was narrowed away.
#[derive(Debug, PartialEq, Eq)]
struct Level {
    parent: Option<Scope>,
    hop: u8,
    grants: Vec<Slot>,
}

/// A grant, or why nothing is left of it.
#[derive(Debug, PartialEq, Eq)]
struct Slot {
    of: u16,
    grant: Result<Grant, ScopeMiss>,
}

impl Slot {
    fn check<'a>(&'a self, call: &'a CallFacts) -> Result<(), Miss<'a>> {
        match &self.grant {
            Ok(grant) => grant.check(call, Omitted::Closed),
            Err(miss) => Err(miss.borrowed()),
        }
    }
}

impl Scope {
    /// The scope of a root.
    ///
    /// # Errors
    /// [`InvalidScope`] when the list is empty or too long, or a grant is not one of a root.
    pub fn root(grants: Vec<Grant>) -> Result<Self, InvalidScope> {
        if grants.is_empty() || grants.len() > GRANTS_MAX {
            return Err(InvalidScope::Count);
        }
        let incomplete = |grant: &Grant| grant.classes.is_none() || grant.effects.is_none() || grant.of != 0;
        if let Some(grant) = grants.iter().position(incomplete) {
            return Err(InvalidScope::IncompleteRoot { grant });
        }
        let grants = grants.into_iter().map(|grant| Slot { of: grant.of, grant: grant.or_nothing() }).collect();
        Ok(Self(Arc::new(Level { parent: None, hop: 0, grants })))
    }

    /// The scope below a hop with these grants.
    ///
    /// # Errors
    /// [`InvalidScope`] when the list is empty or too long, or a grant names none of the parent's.
    pub fn narrow(&self, grants: Vec<Grant>) -> Result<Self, InvalidScope> {
        if grants.is_empty() || grants.len() > GRANTS_MAX {
            return Err(InvalidScope::Count);
        }
        let hop = self.0.hop.checked_add(1).ok_or(InvalidScope::TooDeep)?;
        let mut slots = Vec::with_capacity(grants.len());
        for (index, child) in grants.into_iter().enumerate() {
            let of = child.of;
            let parent = self.slot(of).ok_or(InvalidScope::NoSuchParent { grant: index, of })?;
            let grant = match &parent.grant {
                Ok(parent) => parent
                    .with_room_for(&child)
                    .meet(child, Omitted::Closed)
                    .map_err(|source| InvalidScope::TooManyPatterns { grant: index, source })?
                    // Kept for as long as the chain is; the room for more patterns is not.
                    .map(|mut met| {
                        met.tools.shrink_to_fit();
                        Grant { of, ..met }
                    }),
                Err(why) => Err(why.clone()),
            };
            slots.push(Slot { of, grant });
        }
        Ok(Self(Arc::new(Level { parent: Some(self.clone()), hop, grants: slots })))
    }

    /// Every grant with its index; `None` where a tombstone stands.
    pub fn grants(&self) -> impl Iterator<Item = (u16, Option<&Grant>)> {
        (0u16..).zip(&self.0.grants).map(|(index, slot)| (index, slot.grant.as_ref().ok()))
    }

    /// The grant with this index, unless it is a tombstone.
    #[must_use]
    pub fn grant(&self, index: u16) -> Option<&Grant> {
        self.slot(index).and_then(|slot| slot.grant.as_ref().ok())
    }

    /// The scope before the last link; `None` for a root.
    #[must_use]
    pub fn parent(&self) -> Option<&Self> {
        self.0.parent.as_ref()
    }

    /// The arguments that some grant of some link constrains; one may come several times.
    pub fn constrained(&self) -> impl Iterator<Item = &ArgumentPointer> {
        self.all().flat_map(|grant| grant.args.keys())
    }

    /// About how many bytes it takes in memory, the scopes of the links before included: for whoever keeps many.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.all().map(Grant::bytes).fold(0, usize::saturating_add)
    }

    /// What is left of every grant of every link.
    fn all(&self) -> impl Iterator<Item = &Grant> {
        let levels = std::iter::successors(Some(self), |scope| scope.parent());
        levels.flat_map(|scope| scope.grants()).filter_map(|(_, grant)| grant)
    }

    /// Whether this grant, alone, admits the call.
    ///
    /// # Errors
    /// What does not fit, and since which link.
    pub fn admits(&self, grant: u16, call: &CallFacts) -> Result<(), OutOfScope> {
        let Some(slot) = self.slot(grant) else {
            return Err(OutOfScope { miss: ScopeMiss::Tool, hop: self.0.hop });
        };
        slot.check(call).map_err(|miss| self.blame(slot, miss, call))
    }

    /// The lowest index of a grant that admits the call.
    ///
    /// # Errors
    /// The closest miss at the first link below which no grant admits the call.
    pub fn admits_any(&self, call: &CallFacts) -> Result<u16, OutOfScope> {
        match self.closest(call) {
            Ok(index) => Ok(index),
            Err(miss) => {
                let mut found = OutOfScope { miss: miss.into(), hop: self.0.hop };
                let mut above = self.parent();
                while let Some(scope) = above {
                    let Err(miss) = scope.closest(call) else { break };
                    found = OutOfScope { miss: miss.into(), hop: scope.0.hop };
                    above = scope.parent();
                }
                Err(found)
            }
        }
    }

    fn slot(&self, index: u16) -> Option<&Slot> {
        self.0.grants.get(usize::from(index))
    }

    fn closest<'a>(&'a self, call: &'a CallFacts) -> Result<u16, Miss<'a>> {
        let mut closest = Miss::Tool;
        for (index, slot) in (0u16..).zip(&self.0.grants) {
            match slot.check(call) {
                Ok(()) => return Ok(index),
                Err(miss) if miss.closeness() > closest.closeness() => closest = miss,
                Err(_) => {}
            }
        }
        Err(closest)
    }

    /// Follows the grant towards the root for as long as the call is refused.
    fn blame(&self, slot: &Slot, miss: Miss<'_>, call: &CallFacts) -> OutOfScope {
        let mut found = OutOfScope { miss: miss.into(), hop: self.0.hop };
        let (mut of, mut above) = (slot.of, self.parent());
        while let Some((scope, slot)) = above.and_then(|scope| Some((scope, scope.slot(of)?))) {
            let Err(miss) = slot.check(call) else { break };
            found = OutOfScope { miss: miss.into(), hop: scope.0.hop };
            (of, above) = (slot.of, scope.parent());
        }
        found
    }
}
