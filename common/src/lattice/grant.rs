//! A grant: one product of dimensions. One call is admitted by one grant as a whole, never by parts of several.

use super::argument::{ArgumentPointer, Constraint};
use super::{CallFacts, ClassSet, Effects, IdSet, Pin, SortedMap, ToolPattern};
use crate::crypto::digest::Digest;
use crate::id::{DimensionName, ToolName};
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
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grant {
    /// Which grant of the parent's signed list this one narrows; 0 in a root.
    pub of: u16,
    /// The tools, as a union.
    pub tools: Vec<ToolPattern>,
    /// The definitions that tools must have. A tool without one here may have any.
    pub pins: SortedMap<ToolName, Pin>,
    /// Which resources, by dimension.
    pub ids: SortedMap<DimensionName, IdSet>,
    /// The largest amounts per call, by dimension. `u64::MAX` is any.
    pub maxima: SortedMap<DimensionName, u64>,
    /// The data classes that a result may show; `None` in a hop says nothing.
    pub classes: Option<ClassSet>,
    /// The effects that a tool may have; `None` in a hop says nothing.
    pub effects: Option<Effects>,
    /// What arguments have to be. An argument without an entry may be anything.
    pub args: SortedMap<ArgumentPointer, Constraint>,
    /// Whether tools are meant, too, that are newer than the catalogue of the root. False where a link is silent, in a
    /// hop as in a root: what somebody has not thought of is not handed on.
    pub future: bool,
}

/// Why a grant does not admit a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScopeMiss {
    /// No pattern matches the tool.
    #[error("no tool pattern matches")]
    Tool,
    /// The tool came after the catalogue for which the root was minted.
    #[error("the tool is newer than the catalogue of the grant")]
    Newer,
    /// The tool's definition is not the one that was pinned.
    #[error("the tool's definition is not the pinned one")]
    Definition,
    /// The tool does more than the grant allows, or says nothing of what it does.
    #[error("the tool has an effect that is not granted")]
    Effect,
    /// The call names a resource, or an amount, outside the grant.
    #[error("dimension `{0}` is outside the grant")]
    Dimension(DimensionName),
    /// The grant constrains the dimension and the call yields no value for it, or the other way round.
    #[error("dimension `{0}` is constrained or yielded on one side only")]
    UnmappedDimension(DimensionName),
    /// The call carries an argument that is not what it has to be.
    #[error("argument `{0}` is outside the grant")]
    Argument(ArgumentPointer),
    /// The grant constrains the argument and the call carries none.
    #[error("argument `{0}` is constrained and not carried")]
    UnmappedArgument(ArgumentPointer),
}

/// The meet of two pattern sets would need more patterns than one grant may hold (clause L-12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tool patterns of both grants do not combine into {PATTERNS_MAX}")]
pub struct TooManyPatterns;

/// A [`ScopeMiss`] that borrows, so that trying a grant that does not fit costs no allocation.
#[derive(Debug, Clone, Copy)]
pub(super) enum Miss<'a> {
    Tool,
    Newer,
    Definition,
    Effect,
    Dimension(&'a DimensionName),
    Unmapped(&'a DimensionName),
    Argument(&'a ArgumentPointer),
    UnmappedArgument(&'a ArgumentPointer),
}

impl Miss<'_> {
    /// How far the call got before it failed; the closest miss is the one to report.
    pub(super) const fn closeness(&self) -> u8 {
        match self {
            Self::Tool => 0,
            Self::Newer => 1,
            Self::Definition => 2,
            Self::Effect => 3,
            Self::Unmapped(_) => 4,
            Self::Dimension(_) => 5,
            Self::UnmappedArgument(_) => 6,
            Self::Argument(_) => 7,
        }
    }
}

impl From<Miss<'_>> for ScopeMiss {
    fn from(miss: Miss<'_>) -> Self {
        match miss {
            Miss::Tool => Self::Tool,
            Miss::Newer => Self::Newer,
            Miss::Definition => Self::Definition,
            Miss::Effect => Self::Effect,
            Miss::Dimension(name) => Self::Dimension(name.clone()),
            Miss::Unmapped(name) => Self::UnmappedDimension(name.clone()),
            Miss::Argument(pointer) => Self::Argument(pointer.clone()),
            Miss::UnmappedArgument(pointer) => Self::UnmappedArgument(pointer.clone()),
        }
    }
}

impl ScopeMiss {
    pub(super) const fn borrowed(&self) -> Miss<'_> {
        match self {
            Self::Tool => Miss::Tool,
            Self::Newer => Miss::Newer,
            Self::Definition => Miss::Definition,
            Self::Effect => Miss::Effect,
            Self::Dimension(name) => Miss::Dimension(name),
            Self::UnmappedDimension(name) => Miss::Unmapped(name),
            Self::Argument(pointer) => Miss::Argument(pointer),
            Self::UnmappedArgument(pointer) => Miss::UnmappedArgument(pointer),
        }
    }
}

impl Grant {
    /// Whether this grant, alone, admits the call. Says nothing of the result, which is limited when it is there.
    ///
    /// # Errors
    /// The first dimension that does not fit, in the order tool, age, definition, effects, ids, maxima, arguments.
    pub fn admits(&self, call: &CallFacts, omitted: Omitted) -> Result<(), ScopeMiss> {
        self.check(call, omitted).map_err(ScopeMiss::from)
    }

    /// Whether some call of this tool could be admitted, as far as the tool itself goes: for lists.
    #[must_use]
    pub fn reaches(&self, tool: &ToolName, effects: Effects, is_newer: bool, definition: Option<&Digest>) -> bool {
        self.check_tool(tool, effects, is_newer, definition).is_ok()
    }

    fn check_tool(
        &self,
        tool: &ToolName,
        effects: Effects,
        is_newer: bool,
        definition: Option<&Digest>,
    ) -> Result<(), Miss<'static>> {
        if !self.tools.iter().any(|pattern| pattern.matches(tool.as_str())) {
            return Err(Miss::Tool);
        }
        if is_newer && !self.future {
            return Err(Miss::Newer);
        }
        if self.pins.get(tool).is_some_and(|pin| !pin.admits(definition)) {
            return Err(Miss::Definition);
        }
        // A tool that declares no effect is not a harmless one: absent never satisfies (L-5).
        if effects.is_empty() || !self.effects.is_none_or(|granted| effects.is_within(granted)) {
            return Err(Miss::Effect);
        }
        Ok(())
    }

    pub(super) fn check<'a>(&'a self, call: &'a CallFacts, omitted: Omitted) -> Result<(), Miss<'a>> {
        self.check_tool(&call.tool, call.effects, call.is_newer, call.definition.as_ref())?;
        for (name, set) in &self.ids {
            let values = call.ids.get(name).filter(|values| !values.is_empty()).ok_or(Miss::Unmapped(name))?;
            let is_last = self.ids.keys().next_back().is_some_and(|last| last == name);
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
        if omitted == Omitted::Closed {
            self.check_omitted(call)?;
        }
        for (pointer, constraint) in &self.args {
            let values = call.arguments.get(pointer).filter(|values| !values.is_empty());
            let values = values.ok_or(Miss::UnmappedArgument(pointer))?;
            if !values.iter().all(|value| constraint.admits(value)) {
                return Err(Miss::Argument(pointer));
            }
        }
        Ok(())
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

    /// About how many bytes it takes in memory, rounded up: for whoever keeps many.
    pub(super) fn bytes(&self) -> usize {
        /// What an id or a listed value takes beside its place in the set: a short text.
        const TEXT: usize = 64;
        let ids = self.ids.iter().map(|(_, IdSet::In(ids) | IdSet::NotIn(ids))| ids.len());
        let listed = self.args.iter().map(|(_, constraint)| constraint.texts());
        let texts = ids.chain(listed).fold(0usize, |sum, texts| sum.saturating_add(texts).saturating_add(2));
        let entries = self.pins.len() + self.maxima.len() + self.args.len();
        size_of::<Self>()
            .saturating_add(self.tools.len().saturating_mul(size_of::<ToolPattern>()))
            .saturating_add(texts.saturating_mul(TEXT + size_of::<crate::id::ResourceId>()))
            .saturating_add(entries.saturating_mul(2 * TEXT))
    }

    /// A copy with room for whatever [`Self::meet`] moves over from `child`, so that the meet allocates nothing.
    #[must_use]
    pub fn with_room_for(&self, child: &Self) -> Self {
        let mut grant = self.clone();
        if !grant.tools.iter().all(ToolPattern::is_exact) {
            // Each meet is appended before what it was made from goes.
            grant.tools.reserve(PATTERNS_MAX);
        }
        grant.pins.reserve(child.pins.len());
        grant.ids.reserve(child.ids.len());
        grant.maxima.reserve(child.maxima.len());
        grant.args.reserve(child.args.len());
        for (name, set) in grant.ids.iter_mut() {
            if let Some(theirs) = child.ids.get(name) {
                set.make_room(theirs);
            }
        }
        grant
    }

    /// What both grants admit, with this one's `of`; the inner error says why that is nothing.
    ///
    /// `omitted` is this side's rule for dimensions it does not mention and stays the rule of the result; `child`
    /// is a hop's grant, which is free where it is silent. Works in place, on the storage of both: it allocates
    /// nothing if room was made ([`Self::with_room_for`]).
    ///
    /// # Errors
    /// [`TooManyPatterns`] when the result would be too large to keep.
    pub fn meet(mut self, child: Self, omitted: Omitted) -> Result<Result<Self, ScopeMiss>, TooManyPatterns> {
        let Self { of: _, tools, pins, mut ids, mut maxima, classes, effects, args, future } = child;
        meet_tools(&mut self.tools, &tools)?;
        if omitted == Omitted::Closed {
            // No call yields a value and yields none.
            if let Some((name, _)) = ids.take(|name, _| !self.ids.contains_key(name)) {
                return Ok(Err(ScopeMiss::UnmappedDimension(name)));
            }
            if let Some((name, _)) = maxima.take(|name, _| !self.maxima.contains_key(name)) {
                return Ok(Err(ScopeMiss::UnmappedDimension(name)));
            }
        }
        self.pins.meet(pins, Pin::meet);
        self.ids.meet(ids, IdSet::meet);
        self.maxima.meet(maxima, |mine, theirs| *mine = theirs.min(*mine));
        self.classes = meet_optional(self.classes, classes, ClassSet::meet);
        self.effects = meet_optional(self.effects, effects, Effects::meet);
        self.args.meet(args, Constraint::meet);
        self.future = self.future && future;
        Ok(self.or_nothing())
    }

    /// The grant, unless it is plain that it admits no call at all.
    pub(super) fn or_nothing(mut self) -> Result<Self, ScopeMiss> {
        if self.tools.is_empty() {
            return Err(ScopeMiss::Tool);
        }
        if self.effects.is_some_and(Effects::is_empty) {
            return Err(ScopeMiss::Effect);
        }
        if let Some((name, _)) = self.ids.take(|_, set| set.is_nothing()) {
            return Err(ScopeMiss::Dimension(name));
        }
        match self.args.take(|_, constraint| constraint.is_nothing()) {
            Some((pointer, _)) => Err(ScopeMiss::Argument(pointer)),
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

/// Leaves what both unions match. Without the bound, sets of wildcards could multiply with every hop.
fn meet_tools(mine: &mut Vec<ToolPattern>, theirs: &[ToolPattern]) -> Result<(), TooManyPatterns> {
    // An exact name survives once or not at all, which is all there is below most roots.
    if mine.iter().all(ToolPattern::is_exact) {
        mine.retain(|name| theirs.iter().any(|pattern| pattern.matches(name.as_str())));
        return Ok(());
    }
    let before = mine.len();
    for at in 0..before {
        for pattern in theirs {
            if let Some(both) = mine.get(at).and_then(|own| own.meet(pattern)) {
                keep_maximal(mine, before, both)?;
            }
        }
    }
    mine.drain(..before);
    Ok(())
}

/// Puts a pattern behind those that were kept from `first` on, unless one of them says as much; those that it makes
/// redundant go.
fn keep_maximal(all: &mut Vec<ToolPattern>, first: usize, pattern: ToolPattern) -> Result<(), TooManyPatterns> {
    if all.iter().skip(first).any(|kept| pattern.is_within(kept)) {
        return Ok(());
    }
    let mut at = 0;
    all.retain(|kept| {
        at += 1;
        at <= first || !kept.is_within(&pattern)
    });
    if all.len() >= first.saturating_add(PATTERNS_MAX) {
        return Err(TooManyPatterns);
    }
    all.push(pattern);
    Ok(())
}
