//! Which digests a set may hold: "no" is certain, "yes" has to be looked up.
//!
//! A filter after Bloom (1970) with one bit for each digest, addressed by the digest's own first bytes, for these are as
//! good as random. Every link and holder of every call is asked for, and nearly none is in the set: the tree and its
//! texts are then not touched at all. Who makes ids that meet in a bit costs its own calls a look into the tree.

use crate::crypto::digest::Digest;

/// Bits for each digest that may be noted before the sketch is drawn anew: of others, at most one in sixteen is looked
/// up in vain.
const BITS_EACH: usize = 16;
/// Words of the smallest sketch.
const WORDS_MIN: usize = 16;

// INVARIANT: a digest that was noted is held; the number of words is zero or a power of two.
#[derive(Debug, Clone, Default)]
pub(super) struct Sketch {
    words: Vec<u64>,
    noted: usize,
}

impl Sketch {
    /// Of at most `count` digests, with room for as many again.
    pub(super) fn of(count: usize, digests: impl Iterator<Item = Digest>) -> Self {
        let words = count.saturating_mul(2 * BITS_EACH).div_ceil(64).max(WORDS_MIN).next_power_of_two();
        let mut sketch = Self { words: vec![0; words], noted: 0 };
        digests.for_each(|digest| sketch.note(&digest));
        sketch
    }

    /// Whether it is time to draw it anew, before more is noted.
    pub(super) fn is_full(&self) -> bool {
        self.noted.saturating_mul(BITS_EACH) >= self.words.len().saturating_mul(64)
    }

    pub(super) fn note(&mut self, digest: &Digest) {
        let (word, bit) = self.place(digest);
        if let Some(word) = self.words.get_mut(word) {
            *word |= bit;
        }
        self.noted += 1;
    }

    pub(super) fn may_hold(&self, digest: &Digest) -> bool {
        let (word, bit) = self.place(digest);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    fn place(&self, digest: &Digest) -> (usize, u64) {
        let first = digest.0.first_chunk().map_or(0, |first| u32::from_be_bytes(*first));
        let word = usize::try_from(first >> 6).unwrap_or(0) & self.words.len().wrapping_sub(1);
        (word, 1 << (first & 63))
    }
}
