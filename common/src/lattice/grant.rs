//! A grant: one product of dimensions. One call is admitted by one grant as a whole, never by parts of several.

use std::collections::BTreeMap;

use super::{CallFacts, ClassSet, Effects, IdSet, ToolPattern};
use crate::id::DimensionName;
use crate::limits::PATTERNS_MAX;
use crate::planted::{Bug, planted};

/// What a grant says about a dimension that it does not mention (clause L-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Omitted {
    /// Nothing: the call may yield any value for it, or none. So in a hop.
    Free,
    /// That the call must not yield a value for it. So in a root, and in whatever is met with one.
    Closed,
}

/// One grant, as a link says it or as a chain leaves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Which grant of the parent's signed list this one narrows; 0 in a root.
    pub of: u16,
    /// The tools, as a union.
    pub tools: Vec<ToolPattern>,
    /// Which resources, by dimension.
    pub ids: BTreeMap<DimensionName, IdSet>,
    /// The largest amounts per call, by dimension. `u64::MAX` is any.
    pub maxima: BTreeMap<DimensionName, u64>,
    /// The data classes that a result may show; `None` in a hop says nothing.
    pub classes: Option<ClassSet>,
    /// The effects that a tool may have; `None` in a hop says nothing.
    pub effects: Option<Effects>,
}

/// Why a grant does not admit a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeMiss {
    /// No pattern matches the tool.
    #[error("no tool pattern matches")]
    Tool,
    /// The tool does more than the grant allows, or says nothing of what it does.
    #[error("the tool has an effect that is not granted")]
    Effect,
    /// The call names a resource, or an amount, outside the grant.
    #[error("dimension `{0}` is outside the grant")]
    Dimension(DimensionName),
    /// The grant constrains the dimension and the call yields no value for it, or the other way round.
    #[error("dimension `{0}` is constrained or yielded on one side only")]
    UnmappedDimension(DimensionName),
}

/// The meet of two pattern sets would need more patterns than one grant may hold (clause L-12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tool patterns of both grants do not combine into {PATTERNS_MAX}")]
pub struct TooManyPatterns;

/// A [`ScopeMiss`] that borrows, so that trying a grant that does not fit costs no allocation.
#[derive(Debug, Clone, Copy)]
pub(super) enum Miss<'a> {
    Tool,
    Effect,
    Dimension(&'a DimensionName),
    Unmapped(&'a DimensionName),
}

impl Miss<'_> {
    /// How far the call got before it failed; the closest miss is the one to report.
    pub(super) const fn closeness(&self) -> u8 {
        match self {
            Self::Tool => 0,
            Self::Effect => 1,
            Self::Unmapped(_) => 2,
            Self::Dimension(_) => 3,
        }
    }
}

impl From<Miss<'_>> for ScopeMiss {
    fn from(miss: Miss<'_>) -> Self {
        match miss {
            Miss::Tool => Self::Tool,
            Miss::Effect => Self::Effect,
            Miss::Dimension(name) => Self::Dimension(name.clone()),
            Miss::Unmapped(name) => Self::UnmappedDimension(name.clone()),
        }
    }
}

impl Grant {
    /// Whether this grant, alone, admits the call. Says nothing of the result, which is limited when it is there.
    ///
    /// # Errors
    /// The first dimension that does not fit, in the order tool, effects, ids, maxima.
    pub fn admits(&self, call: &CallFacts, omitted: Omitted) -> Result<(), ScopeMiss> {
        self.check(call, omitted).map_err(ScopeMiss::from)
    }

    pub(super) fn check<'a>(&'a self, call: &'a CallFacts, omitted: Omitted) -> Result<(), Miss<'a>> {
        if !self.tools.iter().any(|pattern| pattern.matches(call.tool.as_str())) {
            return Err(Miss::Tool);
        }
        // A tool that declares no effect is not a harmless one: absent never satisfies (L-5).
        if call.effects.is_empty() || !self.effects.is_none_or(|granted| call.effects.is_within(granted)) {
            return Err(Miss::Effect);
        }
        for (name, set) in &self.ids {
            let values = call.ids.get(name).filter(|values| !values.is_empty()).ok_or(Miss::Unmapped(name))?;
            let is_last = self.ids.last_key_value().is_some_and(|(last, _)| last == name);
            if !values.iter().all(|id| set.admits(id)) && (is_last || !planted(Bug::LastDimensionDecides)) {
                return Err(Miss::Dimension(name));
            }
        }
        for (name, max) in &self.maxima {
            match call.amounts.get(name) {
                Some(amount) if amount > max => return Err(Miss::Dimension(name)),
                None if !call.result_maxima.contains(name) => return Err(Miss::Unmapped(name)),
                Some(_) | None => {}
            }
        }
        match omitted {
            Omitted::Free => Ok(()),
            Omitted::Closed => self.check_omitted(call),
        }
    }

    /// A root admits a call only if every dimension that the call yields is one that the root speaks of.
    fn check_omitted<'a>(&self, call: &'a CallFacts) -> Result<(), Miss<'a>> {
        let ids = call.ids.keys().find(|name| !self.ids.contains_key(*name));
        let quantities = call.amounts.keys().chain(&call.result_maxima);
        match ids.or_else(|| quantities.into_iter().find(|name| !self.maxima.contains_key(*name))) {
            Some(name) => Err(Miss::Unmapped(name)),
            None => Ok(()),
        }
    }

    /// What both grants admit, with this one's `of`; the inner error says why that is nothing.
    ///
    /// `omitted` is this side's rule for dimensions it does not mention and stays the rule of the result; `child`
    /// is a hop's grant, which is free where it is silent.
    ///
    /// # Errors
    /// [`TooManyPatterns`] when the result would be too large to keep.
    pub fn meet(&self, child: &Self, omitted: Omitted) -> Result<Result<Self, ScopeMiss>, TooManyPatterns> {
        let tools = meet_tools(&self.tools, &child.tools)?;
        Ok(self.meet_rest(child, omitted, tools))
    }

    fn meet_rest(&self, child: &Self, omitted: Omitted, tools: Vec<ToolPattern>) -> Result<Self, ScopeMiss> {
        let mut met = Self {
            of: self.of,
            tools,
            ids: self.ids.clone(),
            maxima: self.maxima.clone(),
            classes: meet_optional(self.classes, child.classes, ClassSet::meet),
            effects: meet_optional(self.effects, child.effects, Effects::meet),
        };
        for (name, theirs) in &child.ids {
            let set = match (self.ids.get(name), omitted) {
                (Some(mine), _) => mine.meet(theirs),
                (None, Omitted::Free) => theirs.clone(),
                // No call yields a value and yields none.
                (None, Omitted::Closed) => return Err(ScopeMiss::UnmappedDimension(name.clone())),
            };
            met.ids.insert(name.clone(), set);
        }
        for (name, theirs) in &child.maxima {
            let max = match (self.maxima.get(name), omitted) {
                (Some(mine), _) => *mine.min(theirs),
                (None, Omitted::Free) => *theirs,
                (None, Omitted::Closed) => return Err(ScopeMiss::UnmappedDimension(name.clone())),
            };
            met.maxima.insert(name.clone(), max);
        }
        met.or_nothing()
    }

    /// The grant, unless it admits no call at all.
    pub(super) fn or_nothing(self) -> Result<Self, ScopeMiss> {
        if self.tools.is_empty() {
            return Err(ScopeMiss::Tool);
        }
        if self.effects.is_some_and(Effects::is_empty) {
            return Err(ScopeMiss::Effect);
        }
        match self.ids.iter().find(|(_, set)| set.is_nothing()) {
            Some((name, _)) => Err(ScopeMiss::Dimension(name.clone())),
            None => Ok(self),
        }
    }
}

fn meet_optional<T: Copy>(a: Option<T>, b: Option<T>, meet: impl Fn(T, T) -> T) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(meet(a, b)),
        (one, None) | (None, one) => one,
    }
}

/// What both unions match. Without the bound, sets of wildcards could multiply with every hop.
fn meet_tools(parent: &[ToolPattern], child: &[ToolPattern]) -> Result<Vec<ToolPattern>, TooManyPatterns> {
    let mut met: Vec<ToolPattern> = Vec::new();
    for mine in parent {
        // An exact name survives once or not at all, which is all there is below a minted root.
        if mine.is_exact() {
            if child.iter().any(|theirs| theirs.matches(mine.as_str())) {
                keep_maximal(&mut met, mine.clone())?;
            }
            continue;
        }
        for theirs in child {
            if let Some(both) = mine.meet(theirs) {
                keep_maximal(&mut met, both)?;
            }
        }
    }
    Ok(met)
}

fn keep_maximal(met: &mut Vec<ToolPattern>, pattern: ToolPattern) -> Result<(), TooManyPatterns> {
    if met.iter().any(|kept| pattern.is_within(kept)) {
        return Ok(());
    }
    met.retain(|kept| !kept.is_within(&pattern));
    if met.len() >= PATTERNS_MAX {
        return Err(TooManyPatterns);
    }
    met.push(pattern);
    Ok(())
}
