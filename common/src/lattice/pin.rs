//! Pins: the definition that a tool must have. Flat: two pins of one tool agree, or nothing satisfies both.

use crate::crypto::digest::Digest;

/// The definition that one tool must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pin {
    /// The one with this digest, as the catalogue states it.
    Is(Digest),
    /// None: two links pinned two. Only a meet makes it.
    Never,
}

impl Pin {
    /// Whether the catalogue's digest of the tool is the one. A tool whose catalogue states none satisfies no pin.
    #[must_use]
    pub fn admits(&self, definition: Option<&Digest>) -> bool {
        match self {
            Self::Is(pinned) => definition == Some(pinned),
            Self::Never => false,
        }
    }

    /// Narrows this pin, in place, to what the other admits as well.
    pub fn meet(&mut self, other: Self) {
        if *self != other {
            *self = Self::Never;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clause L-1 over three pins and nothing, and four definitions and none.
    #[test]
    fn the_meet_is_exact() {
        let digests: Vec<Digest> = (0..4).map(|n| Digest([n; 32])).collect();
        let all: Vec<Pin> = digests.iter().take(3).map(|digest| Pin::Is(*digest)).chain([Pin::Never]).collect();
        let definitions: Vec<Option<&Digest>> = digests.iter().map(Some).chain([None]).collect();
        for a in &all {
            for b in &all {
                let mut meet = *a;
                meet.meet(*b);
                for definition in &definitions {
                    let both = a.admits(*definition) && b.admits(*definition);
                    assert_eq!(meet.admits(*definition), both, "{a:?} ∧ {b:?} on {definition:?}");
                }
            }
            assert_eq!(
                definitions.iter().filter(|definition| a.admits(**definition)).count(),
                usize::from(*a != Pin::Never)
            );
        }
    }
}
