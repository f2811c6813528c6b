//! Demands: what has to be met besides being permitted. The order is reversed: who demands more is narrower, and the
//! meet is the join.

use super::Grade;

/// What a link demands of every call under it (`obligations` of the format).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Demands {
    /// The least proof of possession.
    pub min_pop: Grade,
    /// What of a result is withheld, whatever its tool's descriptor says.
    pub redact: Redact,
    /// How a decision is recorded.
    pub log: Log,
}

/// Parts of results that are withheld. The numbers are bit positions in links and are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Redact {
    /// Bit 0: whatever has no class, also where the tool's descriptor says that it is open or names no class at all.
    pub unclassified: bool,
}

/// How a decision is recorded. The numbers stand in links and are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Log {
    /// 0: as durably as the effects of the call ask for.
    #[default]
    Usual,
    /// 1: on the disk before the call is made, also where it only reads.
    First,
}

impl Redact {
    /// The set with these bits; `None` when this version does not know one.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Option<Self> {
        match bits {
            0 => Some(Self { unclassified: false }),
            1 => Some(Self { unclassified: true }),
            _ => None,
        }
    }

    /// One bit per part.
    #[must_use]
    pub const fn bits(self) -> u32 {
        if self.unclassified { 1 } else { 0 }
    }
}

impl Log {
    /// The level with this number; `None` when this version does not know it.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Usual),
            1 => Some(Self::First),
            _ => None,
        }
    }

    /// The number in links.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Usual => 0,
            Self::First => 1,
        }
    }
}

impl Demands {
    /// Nothing is demanded.
    pub const NONE: Self = Self { min_pop: Grade::None, redact: Redact { unclassified: false }, log: Log::Usual };

    /// What both demand, together.
    #[must_use]
    pub fn meet(self, other: Self) -> Self {
        Self {
            min_pop: self.min_pop.max(other.min_pop),
            redact: Redact { unclassified: self.redact.unclassified || other.redact.unclassified },
            log: self.log.max(other.log),
        }
    }

    /// Whether what is offered is no less than what is demanded.
    #[must_use]
    pub fn are_met_by(self, offered: Self) -> bool {
        self.min_pop <= offered.min_pop
            && (offered.redact.unclassified || !self.redact.unclassified)
            && self.log <= offered.log
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clause L-1 over everything that can be demanded and offered.
    #[test]
    fn the_meet_is_exact() {
        let all: Vec<Demands> = Grade::ALL
            .into_iter()
            .flat_map(|min_pop| [0, 1].map(|bits| (min_pop, Redact::from_bits(bits).expect("known"))))
            .flat_map(|(min_pop, redact)| [Log::Usual, Log::First].map(|log| Demands { min_pop, redact, log }))
            .collect();
        assert_eq!((all.len(), all[0]), (16, Demands::NONE));
        let mut met = 0u32;
        for a in &all {
            for b in &all {
                for offered in &all {
                    let both = a.are_met_by(*offered) && b.are_met_by(*offered);
                    assert_eq!(a.meet(*b).are_met_by(*offered), both, "{a:?} ∧ {b:?} offered {offered:?}");
                    met += u32::from(both);
                }
            }
        }
        // Of the 64 pairs of grades and offered grades 30 are met, of each 8 of the two others 5.
        assert_eq!(met, 30 * 5 * 5);
    }

    #[test]
    fn numbers_are_fixed_and_unknown_ones_are_refused() {
        assert_eq!(Grade::ALL.map(|grade| grade.as_str()), ["none", "P0", "P1", "P2"]);
        assert!(Grade::ALL.is_sorted());
        assert_eq!(Grade::ALL.map(|grade| grade.to_string().parse()), Grade::ALL.map(Ok));
        assert!("p1".parse::<Grade>().is_err());
        assert_eq!([0, 1].map(|bits| Redact::from_bits(bits).map(Redact::bits)), [Some(0), Some(1)]);
        assert_eq!([0, 1].map(|number| Log::from_number(number).map(Log::number)), [Some(0), Some(1)]);
        assert_eq!((Redact::from_bits(2), Redact::from_bits(3), Log::from_number(2)), (None, None, None));
    }
}
