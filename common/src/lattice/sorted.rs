//! Small sorted sets and maps, in one piece of memory each.
//!
//! What a grant holds is met in place: the left side keeps its storage, entries of the right side are moved over. A
//! tree would allocate a node for each of them; a vector with room does not, so whoever makes the room decides when
//! memory is asked for. Sizes are those of a link (at most some hundred entries), for which a search in a sorted
//! vector is no slower than one in a tree.

use std::borrow::Borrow;
use std::fmt;

use serde::Serialize;

/// A set, sorted, each item once.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct SortedSet<T>(Vec<T>);

/// A map, sorted by key, each key once.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SortedMap<K, V>(Vec<(K, V)>);

impl<T: Ord> SortedSet<T> {
    /// The empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Items in the set.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this item is in the set.
    #[must_use]
    pub fn contains<Q: Ord + ?Sized>(&self, item: &Q) -> bool
    where
        T: Borrow<Q>,
    {
        self.0.binary_search_by(|own| own.borrow().cmp(item)).is_ok()
    }

    /// The items, rising.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    /// Keeps the items for which this holds.
    pub(super) fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        self.0.retain(keep);
    }

    /// Room for so many more.
    pub(super) fn reserve(&mut self, more: usize) {
        self.0.reserve(more);
    }

    /// Takes in what the other set has and this one has not.
    pub(super) fn join(&mut self, other: Self) {
        let own = self.0.len();
        for item in other.0 {
            if self.0.get(..own).is_some_and(|own| own.binary_search(&item).is_err()) {
                self.0.push(item);
            }
        }
        self.0.sort_unstable();
    }
}

impl<K: Ord, V> SortedMap<K, V> {
    /// The empty map.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Entries in the map.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of this key.
    #[must_use]
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        let at = self.0.binary_search_by(|(own, _)| own.borrow().cmp(key)).ok()?;
        self.0.get(at).map(|(_, value)| value)
    }

    /// Whether this key has a value.
    #[must_use]
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// Sets the value of a key.
    pub fn insert(&mut self, key: K, value: V) {
        match self.0.binary_search_by(|(own, _)| own.cmp(&key)) {
            Ok(at) => {
                if let Some(entry) = self.0.get_mut(at) {
                    entry.1 = value;
                }
            }
            Err(at) => self.0.insert(at, (key, value)),
        }
    }

    /// The entries, by rising key.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&K, &V)> + DoubleEndedIterator + Clone {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// The keys, rising.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &K> + DoubleEndedIterator + Clone {
        self.0.iter().map(|(key, _)| key)
    }

    /// Room for so many more.
    pub(super) fn reserve(&mut self, more: usize) {
        self.0.reserve(more);
    }

    /// The values, by rising key, to change.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.0.iter_mut().map(|(key, value)| (&*key, value))
    }

    /// Takes out the first entry for which this holds.
    pub(super) fn take(&mut self, which: impl Fn(&K, &V) -> bool) -> Option<(K, V)> {
        let at = self.0.iter().position(|(key, value)| which(key, value))?;
        Some(self.0.remove(at))
    }

    /// Takes in the entries of the other map: by `meet` where the key is here, as they are where it is not.
    pub(super) fn meet(&mut self, other: Self, mut meet: impl FnMut(&mut V, V)) {
        let own = self.0.len();
        for (key, theirs) in other.0 {
            let known = self.0.get(..own).and_then(|own| own.binary_search_by(|(own, _)| own.cmp(&key)).ok());
            match known.and_then(|at| self.0.get_mut(at)) {
                Some((_, mine)) => meet(mine, theirs),
                None => self.0.push((key, theirs)),
            }
        }
        self.0.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    }
}

impl<T> Default for SortedSet<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Ord> FromIterator<T> for SortedSet<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut items: Vec<T> = items.into_iter().collect();
        items.sort_unstable();
        items.dedup();
        Self(items)
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for SortedMap<K, V> {
    /// Of two entries with one key the later counts.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::new();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

impl<T: Ord, const N: usize> From<[T; N]> for SortedSet<T> {
    fn from(items: [T; N]) -> Self {
        items.into_iter().collect()
    }
}

impl<K: Ord, V, const N: usize> From<[(K, V); N]> for SortedMap<K, V> {
    fn from(entries: [(K, V); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl<'a, T> IntoIterator for &'a SortedSet<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<'a, K, V> IntoIterator for &'a SortedMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = std::iter::Map<std::slice::Iter<'a, (K, V)>, fn(&'a (K, V)) -> (&'a K, &'a V)>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|(key, value)| (key, value))
    }
}

impl<T: fmt::Debug> fmt::Debug for SortedSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(&self.0).finish()
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for SortedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(key, value)| (key, value))).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// The standard library's trees are the reference.
        #[test]
        fn they_are_what_trees_are(
            a in prop::collection::vec((0u8..12, any::<u8>()), 0..12),
            b in prop::collection::vec((0u8..12, any::<u8>()), 0..12),
            key in 0u8..12,
        ) {
            let (mut map, tree): (SortedMap<u8, u8>, BTreeMap<u8, u8>) =
                (a.iter().copied().collect(), a.iter().copied().collect());
            prop_assert_eq!(map.get(&key), tree.get(&key));
            prop_assert_eq!((map.len(), map.is_empty()), (tree.len(), tree.is_empty()));
            prop_assert!(map.iter().eq(tree.iter()) && map.keys().eq(tree.keys()) && (&map).into_iter().eq(&tree));
            map.meet(b.iter().copied().collect(), |mine, theirs| *mine = (*mine).min(theirs));
            let mut least = tree;
            for (key, value) in b.iter().copied().collect::<BTreeMap<u8, u8>>() {
                least.entry(key).and_modify(|own| *own = (*own).min(value)).or_insert(value);
            }
            prop_assert!(map.iter().eq(least.iter()), "{:?} is not {:?}", map, least);

            let keys = |entries: &[(u8, u8)]| entries.iter().map(|(key, _)| *key).collect::<Vec<_>>();
            let (mut set, tree): (SortedSet<u8>, BTreeSet<u8>) =
                (keys(&a).into_iter().collect(), keys(&a).into_iter().collect());
            prop_assert_eq!(set.contains(&key), tree.contains(&key));
            prop_assert_eq!((set.len(), set.is_empty()), (tree.len(), tree.is_empty()));
            set.join(keys(&b).into_iter().collect());
            let union: BTreeSet<u8> = tree.into_iter().chain(keys(&b)).collect();
            prop_assert!(set.iter().eq(&union), "{:?} is not {:?}", set, union);
        }
    }

    #[test]
    fn the_first_that_fits_is_taken_out() {
        let mut map = SortedMap::from([(3, 'c'), (1, 'a'), (2, 'a')]);
        assert_eq!(map.take(|_, value| *value == 'a'), Some((1, 'a')));
        assert_eq!(map.take(|_, value| *value == 'x'), None);
        assert!(map.iter().eq([(&2, &'a'), (&3, &'c')]));
    }
}
