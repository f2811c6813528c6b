//! Looks for secrets in what is sent where they do not belong.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::HostId;

/// Shorter ones are found by accident.
const SECRET_BYTES_MIN: usize = 8;

/// A secret went where it does not belong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leak {
    /// Which, by the order in which they were forbidden, from 0.
    pub secret: usize,
    /// From which host.
    pub from: String,
    /// To which.
    pub to: String,
    /// The first time.
    pub at: Duration,
    /// In a stream, not in a datagram.
    pub is_stream: bool,
}

/// It cannot be looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret of {0} bytes would be found by accident; take one of at least {SECRET_BYTES_MIN}")]
pub struct SecretTooShort(usize);

/// Where a secret was found first; one entry for each secret and pair of hosts, so that this stays small.
pub(super) type Found = BTreeMap<(usize, HostId, HostId, bool), Duration>;

struct Secret {
    bytes: Vec<u8>,
    /// From where to where it may go.
    allowed: BTreeSet<(HostId, HostId)>,
}

#[derive(Default)]
pub(super) struct Watch {
    secrets: Vec<Secret>,
    /// A bit for each pair of bytes: whether it stands somewhere in the first `shortest` bytes of a secret.
    bits: Vec<u64>,
    shortest: usize,
    longest: usize,
    pub(super) found: Found,
}

impl Watch {
    pub(super) fn forbid(
        &mut self,
        secret: Vec<u8>,
        allowed: BTreeSet<(HostId, HostId)>,
    ) -> Result<(), SecretTooShort> {
        if secret.len() < SECRET_BYTES_MIN {
            return Err(SecretTooShort(secret.len()));
        }
        self.secrets.push(Secret { bytes: secret, allowed });
        let lengths = || self.secrets.iter().map(|secret| secret.bytes.len());
        self.shortest = lengths().min().unwrap_or_default();
        self.longest = lengths().max().unwrap_or_default();
        self.bits = vec![0; 1024];
        let starts = self.secrets.iter().filter_map(|secret| secret.bytes.get(..self.shortest));
        for pair in starts.flat_map(|start| start.array_windows::<2>().copied()) {
            let (word, bit) = place(pair);
            if let Some(word) = self.bits.get_mut(word) {
                *word |= 1 << bit;
            }
        }
        Ok(())
    }

    /// Bytes at the end of what was sent in a stream that may be the beginning of a secret.
    pub(super) fn overlap(&self) -> usize {
        self.longest.saturating_sub(1)
    }

    /// Looks at what is sent. An occurrence covers `shortest - 1` places at which one of its first pairs begins; so it
    /// is enough to look at every so many-th place, and closely only where such a pair stands.
    pub(super) fn look(&mut self, at: Duration, from: HostId, to: HostId, is_stream: bool, bytes: &[u8]) {
        let Self { secrets, bits, shortest, found, .. } = self;
        let Some(stride) = shortest.checked_sub(1) else { return };
        for place_of_pair in (0..bytes.len()).step_by(stride.max(1)) {
            let Some(&[first, second]) = bytes.get(place_of_pair..).and_then(|rest| rest.first_chunk::<2>()) else {
                return;
            };
            let (word, bit) = place([first, second]);
            if bits.get(word).is_none_or(|word| word & (1 << bit) == 0) {
                continue;
            }
            for (index, secret) in secrets.iter().enumerate() {
                if secret.allowed.contains(&(from, to)) {
                    continue;
                }
                let secret = secret.bytes.as_slice();
                let begin = place_of_pair.saturating_sub(secret.len());
                let end = bytes.len().min(place_of_pair + secret.len());
                let around = bytes.get(begin..end).unwrap_or_default();
                if around.windows(secret.len()).any(|window| window == secret) {
                    found.entry((index, from, to, is_stream)).or_insert(at);
                }
            }
        }
    }
}

fn place([first, second]: [u8; 2]) -> (usize, u32) {
    let pair = u16::from_be_bytes([first, second]);
    (usize::from(pair >> 6), u32::from(pair & 63))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: HostId = HostId(0);
    const B: HostId = HostId(1);

    proptest! {
        #[test]
        fn a_secret_is_found_wherever_it_stands(
            before in prop::collection::vec(any::<u8>(), 0..64),
            after in prop::collection::vec(any::<u8>(), 0..64),
            secret in prop::collection::vec(any::<u8>(), 8..40),
            other in prop::collection::vec(any::<u8>(), 8..40),
        ) {
            let mut watch = Watch::default();
            watch.forbid(other, BTreeSet::from([(A, B)])).unwrap();
            watch.forbid(secret.clone(), BTreeSet::new()).unwrap();
            let bytes = [before, secret, after].concat();
            watch.look(Duration::ZERO, A, B, false, &bytes);
            prop_assert!(watch.found.contains_key(&(1, A, B, false)));
            prop_assert!(!watch.found.contains_key(&(0, A, B, false)));
        }
    }

    #[test]
    fn nothing_is_found_where_nothing_is() {
        let mut watch = Watch::default();
        assert_eq!(watch.forbid(b"short".to_vec(), BTreeSet::new()), Err(SecretTooShort(5)));
        watch.look(Duration::ZERO, A, B, true, b"anything");
        watch.forbid(b"canary-0001".to_vec(), BTreeSet::new()).unwrap();
        watch.look(Duration::ZERO, A, B, true, b"a canary-0002 and canary-000");
        assert!(watch.found.is_empty());
    }
}
