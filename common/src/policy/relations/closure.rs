//! The closure: for every subject the sets it is in, for every object that others hang below the subjects it leads
//! to. A check of a flat model is then one search for a number that two sorted lists share.
//!
//! Only searches are flattened (relations that are *pure*): intersections and exclusions are evaluated over them. What
//! would expire, lie too deep or cost too much is left out and marked, and the walk looks there itself. Clause Q-5.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::base::{Base, How, Link, Set, usize_of};
use super::expiring::Expiring;
use super::overlay::Touched;
use super::schema::{Direct, Expr, RelationId, RelationSchema, TypeId};
use super::tuple::NEVER;
use super::walk::DEPTH_MAX;

/// Steps that building a closure may take for each tuple: a second for 100 000 of them, off the way of calls.
const WORK_PER_TUPLE: usize = 128;
/// Numbers that a closure may hold for each tuple, 4 bytes each: a hierarchy of some depth needs three to ten. Whoever
/// does not fit in is walked for.
const HELD_PER_TUPLE: usize = 32;
/// Tuples that are reckoned with where there are fewer.
const TUPLES_MIN: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Closure {
    /// Where the sets of each subject begin.
    offsets: Vec<u32>,
    members: Vec<u32>,
    /// The sets that every object of a type is in.
    everyone: BTreeMap<TypeId, Vec<u32>>,
    /// Subjects whose sets are not known here.
    unknown: HashSet<u32>,
    nobody_known: bool,
    /// Where the subjects of a container's set stand.
    containers: HashMap<Set, Folded>,
    folded: Vec<u32>,
    /// Sets with a tuple that expires somewhere below them: whoever is in one by what lasts is in it.
    pub(super) unfolded: Touched,
    pub(super) expiring: Expiring,
    /// Numbers that it may hold, for members and for containers each.
    held_max: usize,
    above: Above,
}

/// A subject of a container: as in [`super::base::Link`].
type Key = (How, u32);

/// Where the subjects of a container stand: objects, then sets, then types, each sorted.
#[derive(Debug, Clone, Copy)]
struct Folded {
    start: u32,
    usersets: u32,
    everyone: u32,
    end: u32,
}

/// The way from a set to the sets that include it.
#[derive(Debug, Default)]
struct Above {
    /// By relation: relations of the same object that follow from it.
    computed: Vec<Vec<RelationId>>,
    /// By relation: through which relation others follow from it, and which.
    arrows: Vec<Vec<(RelationId, RelationId)>>,
    /// Objects that others hang below: (above, below, through).
    hangs: Vec<(u32, u32, RelationId)>,
    /// Sets that others include: (included, including).
    included: Vec<(u32, Set)>,
    /// Relations on a way to a set that tuples name.
    useful: Vec<bool>,
    /// Those, and relations on a way to a container.
    tracked: Vec<bool>,
}

fn flag(flags: &[bool], id: RelationId) -> bool {
    flags.get(usize::from(id)).copied().unwrap_or(false)
}

impl Above {
    fn of(base: &Base, schema: &RelationSchema) -> Self {
        let count = schema.relations.len();
        let mut above = Self { computed: vec![Vec::new(); count], arrows: vec![Vec::new(); count], ..Self::default() };
        let (mut named, mut containers) = (vec![false; count], vec![false; count]);
        let set = |flags: &mut Vec<bool>, id: RelationId| {
            if let Some(flag) = flags.get_mut(usize::from(id)) {
                *flag = schema.is_pure(id);
            }
        };
        for (id, def) in schema.numbered() {
            for direct in &def.direct {
                if let Direct::Userset(of) = direct {
                    set(&mut named, *of);
                }
            }
            def.expr.walk(&mut |part| match part {
                Expr::Arrow { to, .. } => to.iter().for_each(|(_, target)| set(&mut containers, *target)),
                Expr::This | Expr::Computed(_) | Expr::Union(_) | Expr::Intersection(_) | Expr::Exclusion(..) => {}
            });
            if !def.pure {
                continue;
            }
            def.expr.walk(&mut |part| match part {
                Expr::Computed(from) => {
                    if let Some(of) = above.computed.get_mut(usize::from(*from)) {
                        of.push(id);
                    }
                }
                Expr::Arrow { via, to } => {
                    for (_, target) in to {
                        if let Some(of) = above.arrows.get_mut(usize::from(*target)) {
                            of.push((*via, id));
                        }
                    }
                }
                Expr::This | Expr::Union(_) | Expr::Intersection(_) | Expr::Exclusion(..) => {}
            });
        }
        above.useful = above.leading_to(schema, named.clone());
        let both = named.iter().zip(&containers).map(|(named, container)| *named || *container).collect();
        above.tracked = above.leading_to(schema, both);
        let leads: HashSet<RelationId> =
            above.arrows.iter().flatten().filter(|(_, id)| flag(&above.tracked, *id)).map(|(via, _)| *via).collect();
        for (object, entry) in base.all().filter(|(_, entry)| entry.expires == NEVER) {
            let link = entry.link;
            match link.how {
                How::Object if leads.contains(&link.relation) => {
                    above.hangs.push((link.subject, object, link.relation));
                }
                How::Userset if flag(&above.tracked, link.relation) => {
                    above.included.push((link.subject, (object, link.relation)));
                }
                How::Object | How::Userset | How::Everyone => {}
            }
        }
        above.hangs.sort_unstable();
        above.included.sort_unstable();
        above
    }

    /// The relations from which one of these follows.
    fn leading_to(&self, schema: &RelationSchema, mut flags: Vec<bool>) -> Vec<bool> {
        loop {
            let leads = |(id, def): (RelationId, &super::schema::RelationDef)| {
                let computed = self.computed.get(usize::from(id)).into_iter().flatten();
                let arrows = self.arrows.get(usize::from(id)).into_iter().flatten().map(|(_, to)| to);
                flag(&flags, id) || def.pure && computed.chain(arrows).any(|to| flag(&flags, *to))
            };
            let next: Vec<bool> = schema.numbered().map(leads).collect();
            if next == flags {
                return flags;
            }
            flags = next;
        }
    }

    fn each(&self, base: &Base, set: Set, keep: &[bool], see: &mut dyn FnMut(Set)) {
        let (object, relation) = set;
        let at = usize::from(relation);
        for id in self.computed.get(at).into_iter().flatten().filter(|id| flag(keep, **id)) {
            see((object, *id));
        }
        let arrows = self.arrows.get(at).map(Vec::as_slice).unwrap_or_default();
        if !arrows.is_empty() {
            let start = self.hangs.partition_point(|(above, ..)| *above < object);
            let hangs = self.hangs.get(start..).unwrap_or_default().iter();
            for (_, below, through) in hangs.take_while(|(above, ..)| *above == object) {
                let through = arrows.iter().filter(|(via, id)| via == through && flag(keep, *id));
                through.for_each(|(_, id)| see((*below, *id)));
            }
        }
        if let Some(number) = base.usersets.find(set) {
            let start = self.included.partition_point(|(included, _)| *included < number);
            let including = self.included.get(start..).unwrap_or_default().iter();
            let including = including.take_while(|(included, _)| *included == number);
            including.filter(|(_, (_, id))| flag(keep, *id)).for_each(|(_, set)| see(*set));
        }
    }
}

impl Closure {
    pub(super) fn build(base: &Base, schema: &RelationSchema) -> Self {
        let tuples = base.len().max(TUPLES_MIN);
        let held_max = tuples.saturating_mul(HELD_PER_TUPLE);
        let mut closure = Self { above: Above::of(base, schema), held_max, ..Self::default() };
        let mut work = tuples.saturating_mul(WORK_PER_TUPLE);
        closure.join_members(base, &mut work);
        closure.fold_containers(base, schema, &mut work);
        let mut unfolded = Touched::default();
        for (object, entry) in base.all().filter(|(_, entry)| entry.expires != NEVER) {
            closure.touch(base, (object, entry.link.relation), &mut unfolded);
            closure.expire(base, schema, entry.link);
        }
        closure.unfolded = unfolded;
        closure
    }

    /// Marks a set that has changed, and every set above it for which this closure says something.
    pub(super) fn touch(&self, base: &Base, (object, relation): Set, touched: &mut Touched) {
        // What leads through a relation changes with it: not the relation above, but what hangs below its object.
        let through = self.above.arrows.iter().flatten().filter(|(via, _)| *via == relation).map(|(_, id)| *id);
        let mut todo: Vec<Set> = through.chain([relation]).map(|id| (object, id)).collect();
        todo.retain(|set| self.is_tracked(set.1) && touched.add(*set));
        while let Some(next) = todo.pop() {
            self.above.each(base, next, &self.above.tracked, &mut |above| {
                if touched.add(above) {
                    todo.push(above);
                }
            });
        }
    }

    /// Remembers whom a tuple that expires puts somewhere.
    fn expire(&mut self, base: &Base, schema: &RelationSchema, link: Link) {
        if self.is_tracked(link.relation) {
            self.expiring.add(link);
        }
        // Who is in the container above is in what hangs below it.
        for (target, through) in (0..).zip(&self.above.arrows) {
            let leads = through.iter().any(|(via, id)| *via == link.relation && flag(&self.above.tracked, *id));
            let kind = schema.def(target).map(|def| def.kind);
            if leads && link.how == How::Object && kind == base.names.kind(link.subject) {
                self.expiring.add_container((link.subject, target));
            }
        }
    }

    fn is_tracked(&self, id: RelationId) -> bool {
        flag(&self.above.tracked, id)
    }

    /// For every subject, the sets it is in.
    fn join_members(&mut self, base: &Base, work: &mut usize) {
        let mut starts: Vec<(u32, Set)> = Vec::new();
        let mut everyone: BTreeMap<TypeId, Vec<Set>> = BTreeMap::new();
        for (object, entry) in base.all().filter(|(_, entry)| entry.expires == NEVER) {
            let link = entry.link;
            if !flag(&self.above.useful, link.relation) {
                continue;
            }
            match link.how {
                How::Object => starts.push((link.subject, (object, link.relation))),
                How::Everyone => {
                    let kind = TypeId::try_from(link.subject).unwrap_or(TypeId::MAX);
                    everyone.entry(kind).or_default().push((object, link.relation));
                }
                How::Userset => {}
            }
        }
        starts.sort_unstable();
        let (known, arena, held_max) = (HashMap::new(), Vec::new(), self.held_max);
        let mut ups = Ups { base, above: &self.above, known, arena, held_max };
        for (kind, sets) in everyone {
            match ups.join(sets.into_iter(), work) {
                Some(joined) => _ = self.everyone.insert(kind, joined),
                None => self.nobody_known = true,
            }
        }
        let mut rest = starts.as_slice();
        self.offsets.push(0);
        for subject in 0..base.names.end() {
            let count = rest.iter().take_while(|(of, _)| *of == subject).count();
            let (own, others) = rest.split_at_checked(count).unwrap_or((rest, &[]));
            rest = others;
            if !own.is_empty() {
                match ups.join(own.iter().map(|(_, set)| *set), work).filter(|_| self.members.len() < held_max) {
                    Some(joined) => self.members.extend(joined),
                    None => _ = self.unknown.insert(subject),
                }
            }
            self.offsets.push(u32::try_from(self.members.len()).unwrap_or(u32::MAX));
        }
        self.members.shrink_to_fit();
    }

    /// For every object that others hang below, the subjects it leads to.
    fn fold_containers(&mut self, base: &Base, schema: &RelationSchema, work: &mut usize) {
        let mut via: HashMap<RelationId, Vec<(TypeId, RelationId)>> = HashMap::new();
        for (_, def) in schema.numbered() {
            def.expr.walk(&mut |part| {
                if let Expr::Arrow { via: through, to } = part {
                    let pure = to.iter().filter(|(_, id)| schema.is_pure(*id));
                    via.entry(*through).or_default().extend(pure);
                }
            });
        }
        for (_, entry) in base.all() {
            let Some(targets) = via.get(&entry.link.relation).filter(|_| entry.link.how == How::Object) else {
                continue;
            };
            let kind = base.names.kind(entry.link.subject);
            for (_, target) in targets.iter().filter(|(of, _)| Some(*of) == kind) {
                let set = (entry.link.subject, *target);
                if self.containers.contains_key(&set) || self.folded.len() >= self.held_max {
                    continue;
                }
                if let Some(folded) = fold(base, schema, set, work) {
                    let at = |n: usize| u32::try_from(self.folded.len().saturating_add(n)).unwrap_or(u32::MAX);
                    let before = |how: How| at(folded.partition_point(|(of, _)| *of < how));
                    let (usersets, everyone) = (before(How::Userset), before(How::Everyone));
                    self.containers.insert(set, Folded { start: at(0), usersets, everyone, end: at(folded.len()) });
                    self.folded.extend(folded.into_iter().map(|(_, number)| number));
                }
            }
        }
        self.folded.shrink_to_fit();
    }

    fn sets_of(&self, subject: u32) -> &[u32] {
        let at = usize_of(subject);
        let range = self.offsets.get(at).zip(self.offsets.get(at.saturating_add(1)));
        range.and_then(|(start, end)| self.members.get(usize_of(*start)..usize_of(*end))).unwrap_or_default()
    }

    fn everyone_of(&self, kind: TypeId) -> &[u32] {
        self.everyone.get(&kind).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether the sets of a subject are known.
    pub(super) fn knows(&self, subject: u32) -> bool {
        !self.nobody_known && (self.unknown.is_empty() || !self.unknown.contains(&subject))
    }

    /// Whether a subject that is known is in the set of this number.
    pub(super) fn is_member(&self, subject: u32, kind: TypeId, userset: u32) -> bool {
        let holds = |sets: &[u32]| sets.binary_search(&userset).is_ok();
        holds(self.sets_of(subject)) || holds(self.everyone_of(kind))
    }

    /// Whether a subject that is known is in a container's set; `None` where that was not folded.
    pub(super) fn is_inside(&self, subject: u32, kind: TypeId, container: Set) -> Option<bool> {
        let Folded { start, usersets, everyone, end } = *self.containers.get(&container)?;
        let part = |from, to| self.folded.get(usize_of(from)..usize_of(to)).unwrap_or_default();
        let named = part(start, usersets).binary_search(&subject).is_ok();
        if named || part(everyone, end).binary_search(&u32::from(kind)).is_ok() {
            return Some(true);
        }
        let usersets = part(usersets, everyone);
        Some(shares(usersets, self.sets_of(subject)) || shares(usersets, self.everyone_of(kind)))
    }

    pub(super) fn bytes(&self) -> usize {
        let above = self.above.hangs.capacity() * 12 + self.above.included.capacity() * 12;
        let containers = self.containers.capacity() * (size_of::<(Set, Folded)>() + 1);
        let everyone: usize = self.everyone.values().map(|sets| sets.capacity() * 4).sum();
        self.offsets.capacity() * 4
            + self.members.capacity() * 4
            + self.folded.capacity() * 4
            + above
            + containers
            + everyone
    }
}

/// Lists that differ this much in length are searched rather than walked along.
const MUCH_LONGER: usize = 16;

/// Whether two sorted lists have a number in common.
fn shares(left: &[u32], right: &[u32]) -> bool {
    let (short, long) = if left.len() < right.len() { (left, right) } else { (right, left) };
    if short.len().saturating_mul(MUCH_LONGER) < long.len() {
        return short.iter().any(|number| long.binary_search(number).is_ok());
    }
    let (mut at, mut beside) = (0, 0);
    while let (Some(one), Some(other)) = (short.get(at), long.get(beside)) {
        if one == other {
            return true;
        }
        // Without a branch: which of the two is less cannot be foretold.
        at += usize::from(one < other);
        beside += usize::from(other < one);
    }
    false
}

/// Upward closures of single sets, each computed once.
struct Ups<'a> {
    base: &'a Base,
    above: &'a Above,
    known: HashMap<Set, Option<(usize, usize)>>,
    arena: Vec<u32>,
    held_max: usize,
}

impl Ups<'_> {
    /// The sets that whoever is in these is in; `None` if they lie too deep or cost too much.
    fn join(&mut self, starts: impl Iterator<Item = Set>, work: &mut usize) -> Option<Vec<u32>> {
        let mut joined = Vec::new();
        for start in starts {
            let (from, count) = match self.known.get(&start) {
                Some(known) => (*known)?,
                None => {
                    let up = self.up(start, work);
                    self.known.insert(start, up);
                    up?
                }
            };
            *work = work.checked_sub(count)?;
            joined.extend(self.arena.get(from..from.saturating_add(count)).unwrap_or_default());
        }
        joined.sort_unstable();
        joined.dedup();
        Some(joined)
    }

    fn up(&mut self, start: Set, work: &mut usize) -> Option<(usize, usize)> {
        let from = self.arena.len();
        if from >= self.held_max {
            return None;
        }
        let mut seen = HashSet::from([start]);
        let mut level = vec![start];
        for _ in 0..DEPTH_MAX {
            let mut next = Vec::new();
            for set in level {
                *work = work.checked_sub(1)?;
                self.arena.extend(self.base.usersets.find(set));
                self.above.each(self.base, set, &self.above.useful, &mut |above| {
                    if seen.insert(above) {
                        next.push(above);
                    }
                });
            }
            if next.is_empty() {
                return Some((from, self.arena.len().saturating_sub(from)));
            }
            level = next;
        }
        self.arena.truncate(from);
        None
    }
}

/// The subjects that a pure set leads to without entering the sets among them; `None` if they lie too deep.
fn fold(base: &Base, schema: &RelationSchema, set: Set, work: &mut usize) -> Option<Vec<Key>> {
    let mut keys = Vec::new();
    let mut seen = HashSet::from([set]);
    let mut level = vec![set];
    for _ in 0..DEPTH_MAX {
        let mut next = Vec::new();
        for (object, relation) in level {
            let def = schema.def(relation)?;
            let mut reach = |set: Set| {
                if seen.insert(set) {
                    next.push(set);
                }
            };
            def.expr.walk(&mut |part| match part {
                Expr::This => {
                    let entries = base.in_relation(object, relation).iter().filter(|entry| entry.expires == NEVER);
                    keys.extend(entries.map(|entry| (entry.link.how, entry.link.subject)));
                }
                Expr::Computed(id) => reach((object, *id)),
                Expr::Arrow { via, to } => {
                    let entries = base.in_relation(object, *via).iter().filter(|entry| entry.expires == NEVER);
                    for entry in entries.filter(|entry| entry.link.how == How::Object) {
                        let kind = base.names.kind(entry.link.subject);
                        let to = to.iter().filter(|(of, _)| Some(*of) == kind);
                        to.for_each(|(_, id)| reach((entry.link.subject, *id)));
                    }
                }
                Expr::Union(_) | Expr::Intersection(_) | Expr::Exclusion(..) => {}
            });
            *work = work.checked_sub(1 + keys.len() / 16)?;
        }
        if next.is_empty() {
            keys.sort_unstable();
            keys.dedup();
            return Some(keys);
        }
        level = next;
    }
    None
}
