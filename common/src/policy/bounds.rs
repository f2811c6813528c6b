//! How old an edge's knowledge may be, effect by effect.
//!
//! There is one table, in the signed manifest; the root says the most a manifest may allow. An effect whose bound is
//! passed is refused as `stale`. Clause P-30.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::lattice::{Effect, Effects};

/// The longest age, in seconds, at which each effect may still be permitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Bounds {
    /// Calls that only read.
    pub read: u32,
    /// Calls that change something that can be changed back.
    pub write: u32,
    /// Calls that cannot be taken back.
    pub irreversible: u32,
    /// Calls that send something out.
    pub external_send: u32,
    /// Calls that cost money.
    pub spend: u32,
    /// Calls that hand authority on.
    pub delegate: u32,
    /// A peer's release of its part of a sealed credential; never the effect of a call.
    pub unseal: u32,
}

/// A bound is longer than the root allows, or zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bound of `{effect}` is {secs} s; it is at least 1 s and at most {most} s")]
pub struct BoundOutOfRange {
    /// Which bound.
    pub effect: &'static str,
    /// What it says, in seconds.
    pub secs: u32,
    /// The most it may say, in seconds.
    pub most: u32,
}

impl Default for Bounds {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Bounds {
    /// What holds where a manifest says nothing.
    pub const DEFAULT: Self =
        Self { read: 300, write: 60, irreversible: 10, external_send: 10, spend: 10, delegate: 60, unseal: 10 };

    /// The most a manifest may say where the root says nothing.
    pub const MOST: Self =
        Self { read: 3_600, write: 300, irreversible: 30, external_send: 30, spend: 30, delegate: 300, unseal: 30 };

    /// The bound of a single effect.
    #[must_use]
    pub fn of(&self, effect: Effect) -> Duration {
        let secs = match effect {
            Effect::Read => self.read,
            Effect::Write => self.write,
            Effect::Irreversible => self.irreversible,
            Effect::ExternalSend => self.external_send,
            Effect::Spend => self.spend,
            Effect::Delegate => self.delegate,
        };
        Duration::from_secs(secs.into())
    }

    /// The bound of a call with these effects: the least of them. A call without an effect gets the least of all.
    #[must_use]
    pub fn bound_for(&self, effects: Effects) -> Duration {
        let least = |effects: Effects| effects.iter().map(|effect| self.of(effect)).min();
        least(effects).or_else(|| least(Effects::ALL)).unwrap_or_default()
    }

    /// Checks every bound against the most it may be.
    ///
    /// # Errors
    /// The first bound that is zero or longer than in `most`.
    pub fn check_within(&self, most: &Self) -> Result<(), BoundOutOfRange> {
        for ((effect, secs), (_, most)) in self.all().into_iter().zip(most.all()) {
            if secs == 0 || secs > most {
                return Err(BoundOutOfRange { effect, secs, most });
            }
        }
        Ok(())
    }

    fn all(&self) -> [(&'static str, u32); 7] {
        let Self { read, write, irreversible, external_send, spend, delegate, unseal } = *self;
        [
            ("read", read),
            ("write", write),
            ("irreversible", irreversible),
            ("external-send", external_send),
            ("spend", spend),
            ("delegate", delegate),
            ("unseal", unseal),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_bound_by_its_strictest_effect() {
        let check = |effects: &[Effect], secs| {
            let effects = effects.iter().copied().collect();
            assert_eq!(Bounds::DEFAULT.bound_for(effects), Duration::from_secs(secs));
        };
        check(&[Effect::Read], 300);
        check(&[Effect::Read, Effect::Write], 60);
        check(&[Effect::Write, Effect::Irreversible], 10);
        check(&[], 10);
    }

    #[test]
    fn a_manifest_cannot_say_more_than_the_root() {
        assert_eq!(Bounds::DEFAULT.check_within(&Bounds::MOST), Ok(()));
        let long = Bounds { spend: 31, ..Bounds::DEFAULT };
        assert_eq!(long.check_within(&Bounds::MOST), Err(BoundOutOfRange { effect: "spend", secs: 31, most: 30 }));
        let never = Bounds { read: 0, ..Bounds::DEFAULT };
        assert!(never.check_within(&Bounds::MOST).is_err());
    }

    #[test]
    fn bounds_are_written_by_effect_and_default_one_by_one() {
        let bounds: Bounds = toml::from_str("external-send = 5").expect("bounds");
        assert_eq!(bounds, Bounds { external_send: 5, ..Bounds::DEFAULT });
        assert!(toml::from_str::<Bounds>("reed = 5").is_err());
    }
}
