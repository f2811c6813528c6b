//! Purpose: a path in the tree of `purposes.toml`. Longer is narrower; the meet of two comparable paths is the
//! longer, and two purposes of which neither is an ancestor of the other have nothing in common.

use std::fmt;

/// The deepest purpose. Eight levels name anything people tell apart.
pub const PURPOSE_DEPTH_MAX: usize = 8;

/// A path of node numbers from the root of the tree. The root itself is the empty path.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PurposePath {
    // INVARIANT: numbers at and beyond `depth` are zero, so that equality of fields is equality of paths.
    numbers: [u32; PURPOSE_DEPTH_MAX],
    depth: u8,
}

/// A path is deeper than a purpose can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a purpose has at most {PURPOSE_DEPTH_MAX} levels")]
pub struct InvalidPurpose;

impl PurposePath {
    /// Any purpose.
    pub const ROOT: Self = Self { numbers: [0; PURPOSE_DEPTH_MAX], depth: 0 };

    /// The path with these numbers, the root's child first.
    ///
    /// # Errors
    /// [`InvalidPurpose`] beyond [`PURPOSE_DEPTH_MAX`] levels.
    pub fn new(numbers: &[u32]) -> Result<Self, InvalidPurpose> {
        if numbers.len() > PURPOSE_DEPTH_MAX {
            return Err(InvalidPurpose);
        }
        let mut path = Self { depth: u8::try_from(numbers.len()).map_err(|_| InvalidPurpose)?, ..Self::ROOT };
        for (to, from) in path.numbers.iter_mut().zip(numbers) {
            *to = *from;
        }
        Ok(path)
    }

    /// The numbers, the root's child first.
    #[must_use]
    pub fn numbers(&self) -> &[u32] {
        self.numbers.get(..usize::from(self.depth)).unwrap_or(&[])
    }

    /// Whether `narrower` is this purpose or one below it.
    #[must_use]
    pub fn is_prefix_of(&self, narrower: &Self) -> bool {
        narrower.numbers().starts_with(self.numbers())
    }

    /// The narrower of the two, or nothing when neither is above the other.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Option<Self> {
        if self.is_prefix_of(other) {
            Some(*other)
        } else if other.is_prefix_of(self) {
            Some(*self)
        } else {
            None
        }
    }
}

impl fmt::Debug for PurposePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Purpose{:?}", self.numbers())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clause L-1 over every path of a tree with two children per node and four levels. A purpose is requested by
    /// a tool whose subtree must hold it, so a request is a path and is admitted when it lies below.
    #[test]
    fn the_meet_is_exact() {
        let mut all = vec![Vec::new()];
        for depth in 0..4 {
            for path in all.clone().into_iter().filter(|path: &Vec<u32>| path.len() == depth) {
                all.extend([0, 1].map(|child| [path.as_slice(), &[child]].concat()));
            }
        }
        let all: Vec<PurposePath> = all.iter().filter_map(|numbers| PurposePath::new(numbers).ok()).collect();
        assert_eq!(all.len(), 31);
        for a in &all {
            for b in &all {
                let meet = a.meet(b);
                assert_eq!(meet, b.meet(a));
                for request in &all {
                    let both = a.is_prefix_of(request) && b.is_prefix_of(request);
                    assert_eq!(meet.is_some_and(|meet| meet.is_prefix_of(request)), both, "{a:?} ∧ {b:?}, {request:?}");
                }
            }
        }
    }

    #[test]
    fn a_child_numbered_zero_is_not_its_parent() {
        let (parent, child) = (PurposePath::new(&[3]), PurposePath::new(&[3, 0]));
        assert_ne!(parent, child);
        assert_eq!(PurposePath::new(&[0; 9]), Err(InvalidPurpose));
    }
}
