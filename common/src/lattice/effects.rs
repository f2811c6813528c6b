//! Effects: what a call does to the world. A set of six, ordered by inclusion; the meet is the intersection.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One kind of effect. The numbers are bit positions in links and are never reused (clause L-8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Effect {
    /// Learns something.
    Read,
    /// Changes something that can be changed back.
    Write,
    /// Changes something that cannot be changed back.
    Irreversible,
    /// Sends something out of the organisation.
    ExternalSend,
    /// Spends money.
    Spend,
    /// Hands authority on.
    Delegate,
}

/// A text names no effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is no effect: read, write, irreversible, external-send, spend or delegate")]
pub struct InvalidEffect {
    /// The text, cut to 64 characters, with control characters escaped.
    pub found: String,
}

impl Effect {
    /// Every effect, in bit order.
    pub const ALL: [Self; 6] =
        [Self::Read, Self::Write, Self::Irreversible, Self::ExternalSend, Self::Spend, Self::Delegate];

    /// The name that catalogues and people use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Irreversible => "irreversible",
            Self::ExternalSend => "external-send",
            Self::Spend => "spend",
            Self::Delegate => "delegate",
        }
    }

    const fn bit(self) -> u32 {
        match self {
            Self::Read => 1,
            Self::Write => 1 << 1,
            Self::Irreversible => 1 << 2,
            Self::ExternalSend => 1 << 3,
            Self::Spend => 1 << 4,
            Self::Delegate => 1 << 5,
        }
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Effect {
    type Err = InvalidEffect;
    fn from_str(text: &str) -> Result<Self, InvalidEffect> {
        Self::ALL
            .into_iter()
            .find(|effect| effect.as_str() == text)
            .ok_or_else(|| InvalidEffect { found: text.chars().take(64).flat_map(char::escape_default).collect() })
    }
}

impl TryFrom<String> for Effect {
    type Error = InvalidEffect;
    fn try_from(text: String) -> Result<Self, InvalidEffect> {
        text.parse()
    }
}

impl From<Effect> for String {
    fn from(effect: Effect) -> Self {
        effect.as_str().to_owned()
    }
}

/// A set of effects. In JSON and TOML a list of names, elsewhere its bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Effects(u32);

impl Effects {
    /// No effect.
    pub const NONE: Self = Self(0);
    /// Every effect this version knows.
    pub const ALL: Self = Self(0b11_1111);

    /// The set with these bits; `None` when a bit has no effect that this version knows.
    #[must_use]
    pub fn from_bits(bits: u64) -> Option<Self> {
        u32::try_from(bits).ok().filter(|bits| bits & !Self::ALL.0 == 0).map(Self)
    }

    /// One bit per effect.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether no effect is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether this effect is in the set.
    #[must_use]
    pub const fn contains(self, effect: Effect) -> bool {
        self.0 & effect.bit() != 0
    }

    /// What both sets hold.
    #[must_use]
    pub const fn meet(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether `other` holds everything that this set holds.
    #[must_use]
    pub const fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }

    /// The effects of the set, in bit order.
    pub fn iter(self) -> impl Iterator<Item = Effect> {
        Effect::ALL.into_iter().filter(move |effect| self.contains(*effect))
    }
}

impl FromIterator<Effect> for Effects {
    fn from_iter<I: IntoIterator<Item = Effect>>(effects: I) -> Self {
        Self(effects.into_iter().fold(0, |bits, effect| bits | effect.bit()))
    }
}

impl From<Effect> for Effects {
    fn from(effect: Effect) -> Self {
        Self(effect.bit())
    }
}

impl fmt::Display for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, effect) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            effect.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Effects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Effects({self})")
    }
}

impl Serialize for Effects {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_seq(self.iter()) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for Effects {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            Vec::<Effect>::deserialize(deserializer).map(Self::from_iter)
        } else {
            let bits = u32::deserialize(deserializer)?;
            Self::from_bits(u64::from(bits)).ok_or_else(|| serde::de::Error::custom("unknown effect bit"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clause L-1 over every pair of sets and every request.
    #[test]
    fn the_meet_is_exact() {
        let all: Vec<Effects> = (0..64).filter_map(Effects::from_bits).collect();
        assert_eq!(all.len(), 64);
        for (bits, set) in all.iter().enumerate() {
            for (place, effect) in Effect::ALL.into_iter().enumerate() {
                assert_eq!(set.contains(effect), bits >> place & 1 == 1, "{effect} in {bits:b}");
            }
            for other in &all {
                let included = Effect::ALL.into_iter().all(|effect| !set.contains(effect) || other.contains(effect));
                assert_eq!(set.is_within(*other), included, "{set} within {other}");
            }
        }
        for a in &all {
            for b in &all {
                for request in &all {
                    let both = request.is_within(*a) && request.is_within(*b);
                    assert_eq!(request.is_within(a.meet(*b)), both, "{a} ∧ {b} on {request}");
                }
            }
        }
    }

    #[test]
    fn bits_are_fixed_and_unknown_bits_are_refused() {
        let bits: Vec<u32> = Effect::ALL.into_iter().map(|effect| Effects::from(effect).bits()).collect();
        assert_eq!(bits, [1, 2, 4, 8, 16, 32]);
        for bad in [64, 1 << 31, 1 << 40, u64::MAX] {
            assert_eq!(Effects::from_bits(bad), None);
        }
        for effect in Effect::ALL {
            assert_eq!(effect.as_str().parse(), Ok(effect));
        }
        assert!("Read".parse::<Effect>().is_err());
    }
}
