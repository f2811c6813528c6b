//! Data classes: a set of the numbers of `classes.toml`, ordered by inclusion; the meet is the intersection.
//!
//! The order between classes (holding one means holding those below it) is spent when a set is made: sets are
//! closed downwards by whoever names them, so that the meet of two sets needs to know no order.

use std::fmt;

/// A set of class numbers, 0 to 255.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ClassSet([u64; 4]);

/// Bytes are not the one encoding of a class set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a class set is at most 32 bytes and does not end in a zero byte")]
pub struct InvalidClassSet;

impl ClassSet {
    /// No class.
    pub const EMPTY: Self = Self([0; 4]);
    /// Every number there is.
    pub const ALL: Self = Self([u64::MAX; 4]);

    /// Adds a class.
    pub fn insert(&mut self, class: u8) {
        if let Some(word) = self.0.get_mut(usize::from(class >> 6)) {
            *word |= 1 << (class & 63);
        }
    }

    /// Whether this class is in the set.
    #[must_use]
    pub fn contains(&self, class: u8) -> bool {
        self.0.get(usize::from(class >> 6)).is_some_and(|word| word >> (class & 63) & 1 == 1)
    }

    /// Whether no class is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::EMPTY
    }

    /// What both sets hold.
    #[must_use]
    pub fn meet(self, other: Self) -> Self {
        self.zip(other, |a, b| a & b)
    }

    /// What either set holds: for closing a set downwards while it is made, never for narrowing.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        self.zip(other, |a, b| a | b)
    }

    /// Whether `other` holds everything that this set holds.
    #[must_use]
    pub fn is_within(self, other: Self) -> bool {
        self.meet(other) == self
    }

    /// The numbers in the set, rising.
    pub fn iter(&self) -> impl Iterator<Item = u8> {
        let set = *self;
        (0..=u8::MAX).filter(move |class| set.contains(*class))
    }

    /// The encoding (clause L-7): class `n` is bit `n mod 8`, least significant first, of byte `n / 8`; no zero
    /// byte at the end.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.0.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        bytes
    }

    /// Reads the one encoding of a set.
    ///
    /// # Errors
    /// [`InvalidClassSet`] for more than 32 bytes or a zero byte at the end.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidClassSet> {
        if bytes.len() > 32 || bytes.last() == Some(&0) {
            return Err(InvalidClassSet);
        }
        let mut words = [0; 4];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks(8)) {
            *word = chunk.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        }
        Ok(Self(words))
    }

    fn zip(self, other: Self, op: impl Fn(u64, u64) -> u64) -> Self {
        let mut words = self.0;
        for (word, theirs) in words.iter_mut().zip(other.0) {
            *word = op(*word, theirs);
        }
        Self(words)
    }
}

impl FromIterator<u8> for ClassSet {
    fn from_iter<I: IntoIterator<Item = u8>>(classes: I) -> Self {
        let mut set = Self::EMPTY;
        for class in classes {
            set.insert(class);
        }
        set
    }
}

impl fmt::Debug for ClassSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clause L-1 over every subset of classes that sit at word and byte borders.
    #[test]
    fn the_meet_is_exact() {
        const NUMBERS: [u8; 6] = [0, 7, 63, 64, 200, 255];
        let all: Vec<ClassSet> = (0u32..64)
            .map(|mask| NUMBERS.iter().enumerate().filter(|(at, _)| mask >> at & 1 == 1).map(|(_, n)| *n).collect())
            .collect();
        for a in &all {
            for b in &all {
                let included = (0..=u8::MAX).all(|class| !a.contains(class) || b.contains(class));
                assert_eq!(a.is_within(*b), included, "{a:?} within {b:?}");
                for touched in &all {
                    let both = touched.is_within(*a) && touched.is_within(*b);
                    assert_eq!(touched.is_within(a.meet(*b)), both, "{a:?} ∧ {b:?} on {touched:?}");
                }
            }
        }
    }

    #[test]
    fn each_set_has_one_encoding() {
        for class in 0..=u8::MAX {
            let set = ClassSet::from_iter([class]);
            let bytes = set.to_bytes();
            assert_eq!(bytes.len(), usize::from(class) / 8 + 1);
            assert_eq!(ClassSet::from_bytes(&bytes), Ok(set));
            assert_eq!(set.iter().collect::<Vec<_>>(), [class]);
        }
        assert!(ClassSet::EMPTY.to_bytes().is_empty());
        assert_eq!(ClassSet::from_iter([0, 1, 9]).to_bytes(), [0b11, 0b10]);
        assert_eq!(ClassSet::from_bytes(&[]), Ok(ClassSet::EMPTY));
        assert_eq!(ClassSet::from_bytes(&[1, 0]), Err(InvalidClassSet));
        assert_eq!(ClassSet::from_bytes(&[1; 33]), Err(InvalidClassSet));
    }
}
