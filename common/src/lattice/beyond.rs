//! What a hop asks for and its parent does not hold: for people who wonder why a child can do less than they wrote.
//!
//! This is the order of the lattice, and it decides nothing: `a` is within `b` if the meet of both is `a` again. What is
//! named here is not there after the meet, whether or not anybody looks. Clause E-35.

use std::fmt::Display;

use super::{Grant, IdSet, Scope, ToolPattern};

/// Entries of one list; a hop that asks for more of what it cannot have does not need all of it spelled out.
pub const BEYOND_MAX: usize = 64;
/// Items that are named of one set.
const NAMED_MAX: usize = 8;

/// One thing that was asked for and is not held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beyond {
    /// The index of the hop's grant.
    pub grant: u16,
    /// `tools`, `effects`, `classes`, `ids.…`, `maxima.…`, `args.…`, `pins.…`, `future`, or `grant` when nothing is
    /// left.
    pub dimension: String,
    /// What was asked for.
    pub asked: String,
    /// What the parent holds of it.
    pub held: String,
}

/// What `child`, the grants of a hop, asks for beyond `parent`, the scope above it; at most [`BEYOND_MAX`].
#[must_use]
pub fn beyond(parent: &Scope, child: &[Grant]) -> Vec<Beyond> {
    let mut found = Vec::new();
    for (index, asked) in (0u16..).zip(child) {
        match parent.grant(asked.of) {
            Some(held) => beyond_grant(index, asked, held, &mut found),
            None => found.push(Beyond {
                grant: index,
                dimension: "grant".to_owned(),
                asked: format!("a part of grant {}", asked.of),
                held: "nothing is left of that grant".to_owned(),
            }),
        }
        if found.len() >= BEYOND_MAX {
            found.truncate(BEYOND_MAX);
            break;
        }
    }
    found
}

fn beyond_grant(index: u16, asked: &Grant, held: &Grant, found: &mut Vec<Beyond>) {
    let mut add = |dimension: String, asked: String, held: String| {
        found.push(Beyond { grant: index, dimension, asked, held });
    };
    let within = |pattern: &ToolPattern| held.tools.iter().any(|own| pattern.is_within(own));
    let tools: Vec<&ToolPattern> = asked.tools.iter().filter(|pattern| !within(pattern)).collect();
    if !tools.is_empty() {
        add("tools".to_owned(), names(&tools), names(&held.tools));
    }
    if let (Some(wanted), Some(own)) = (asked.effects, held.effects)
        && !wanted.is_within(own)
    {
        let not_held: Vec<_> = wanted.iter().filter(|effect| !own.contains(*effect)).collect();
        add("effects".to_owned(), names(&not_held), names(&own.iter().collect::<Vec<_>>()));
    }
    if let (Some(wanted), Some(own)) = (asked.classes, held.classes)
        && !wanted.is_within(own)
    {
        let not_held: Vec<u8> = wanted.iter().filter(|class| !own.contains(*class)).collect();
        add("classes".to_owned(), names(&not_held), names(&own.iter().collect::<Vec<_>>()));
    }
    for (name, wanted) in &asked.ids {
        match held.ids.get(name) {
            // A root that does not speak of a dimension admits no call that yields a value for it.
            None => add(format!("ids.{name}"), ids(wanted), "no call that names one".to_owned()),
            Some(own) => {
                let mut met = own.clone();
                met.meet(wanted.clone());
                if met != *wanted {
                    add(format!("ids.{name}"), ids(wanted), ids(own));
                }
            }
        }
    }
    for (name, wanted) in &asked.maxima {
        match held.maxima.get(name) {
            None => add(format!("maxima.{name}"), amount(*wanted), "no call that has one".to_owned()),
            Some(own) if wanted > own => add(format!("maxima.{name}"), amount(*wanted), amount(*own)),
            Some(_) => {}
        }
    }
    for (pointer, wanted) in &asked.args {
        if let Some(own) = held.args.get(pointer) {
            let mut met = own.clone();
            met.meet(wanted.clone());
            if met != *wanted {
                let held = "is constrained more tightly above".to_owned();
                add(format!("args.{pointer}"), "what this hop says".to_owned(), held);
            }
        }
    }
    for (tool, wanted) in &asked.pins {
        if held.pins.get(tool).is_some_and(|own| own != wanted) {
            add(format!("pins.{tool}"), "another definition".to_owned(), "the one pinned above".to_owned());
        }
    }
    if asked.future && !held.future {
        add("future".to_owned(), "tools to come".to_owned(), "tools of the root's catalogue only".to_owned());
    }
}

fn ids(set: &IdSet) -> String {
    match set {
        IdSet::In(ids) => names(&ids.iter().collect::<Vec<_>>()),
        IdSet::NotIn(ids) if ids.is_empty() => "any".to_owned(),
        IdSet::NotIn(ids) => format!("all but {}", names(&ids.iter().collect::<Vec<_>>())),
    }
}

fn amount(amount: u64) -> String {
    if amount == u64::MAX { "any".to_owned() } else { amount.to_string() }
}

fn names<T: Display>(items: &[T]) -> String {
    let mut named: Vec<String> = items.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    match items.len().saturating_sub(NAMED_MAX) {
        0 if named.is_empty() => "none".to_owned(),
        0 => named.join(" "),
        more => {
            named.push(format!("and {more} more"));
            named.join(" ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ClassSet, Constraint, Effect, Effects, SortedMap};
    use super::*;

    fn grant(tools: &[&str]) -> Grant {
        Grant { tools: tools.iter().map(|tool| ToolPattern::new(tool).unwrap()).collect(), ..Grant::default() }
    }

    fn root() -> Grant {
        let mut classes = ClassSet::default();
        classes.insert(1);
        let mut ids = SortedMap::new();
        ids.insert("customer".parse().unwrap(), IdSet::In(["c1".parse().unwrap()].into_iter().collect()));
        let mut maxima = SortedMap::new();
        maxima.insert("records".parse().unwrap(), 25);
        let effects = Some(Effects::from_iter([Effect::Read]));
        Grant { classes: Some(classes), effects, ids, maxima, ..grant(&["contracts.read", "crm.*"]) }
    }

    fn of(child: Grant) -> Vec<(String, String, String)> {
        let parent = Scope::root(vec![root()]).unwrap();
        let found = beyond(&parent, &[child]);
        found.into_iter().map(|Beyond { dimension, asked, held, .. }| (dimension, asked, held)).collect()
    }

    #[test]
    fn what_is_narrower_or_silent_asks_for_nothing() {
        assert_eq!(of(root()), []);
        assert_eq!(of(grant(&["crm.read"])), []);
        let mut fewer = grant(&["contracts.read"]);
        fewer.maxima.insert("records".parse().unwrap(), 3);
        fewer.args.insert("/a".parse().unwrap(), Constraint::length_max(3));
        assert_eq!(of(fewer), []);
    }

    #[test]
    fn what_is_wider_is_named_dimension_by_dimension() {
        let mut wide = grant(&["**", "contracts.read"]);
        let mut classes = ClassSet::default();
        (1..3).for_each(|class| classes.insert(class));
        wide.classes = Some(classes);
        wide.effects = Some(Effects::from_iter([Effect::Read, Effect::Spend]));
        wide.ids.insert("customer".parse().unwrap(), IdSet::any());
        wide.ids.insert("contract".parse().unwrap(), IdSet::any());
        wide.maxima.insert("records".parse().unwrap(), 26);
        wide.future = true;
        let text = |dimension: &str, asked: &str, held: &str| (dimension.into(), asked.into(), held.into());
        let expected = [
            text("tools", "**", "contracts.read crm.*"),
            text("effects", "spend", "read"),
            text("classes", "2", "1"),
            text("ids.contract", "any", "no call that names one"),
            text("ids.customer", "any", "c1"),
            text("maxima.records", "26", "25"),
            text("future", "tools to come", "tools of the root's catalogue only"),
        ];
        assert_eq!(of(wide), expected);
    }

    #[test]
    fn of_a_grant_that_is_gone_nothing_can_be_had_and_lists_are_bounded() {
        let parent = Scope::root(vec![root()]).unwrap().narrow(vec![grant(&["billing.update"])]).unwrap();
        assert_eq!(beyond(&parent, &[grant(&["**"])]).first().unwrap().dimension, "grant");
        let parent = Scope::root(vec![root()]).unwrap();
        let mut wide = root();
        for number in 0..100 {
            wide.maxima.insert(format!("d{number:03}").parse().unwrap(), 1);
        }
        assert_eq!(beyond(&parent, &[wide]).len(), BEYOND_MAX);
    }
}
