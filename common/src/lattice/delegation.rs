//! Delegation on: how often, to how many, and whether without registration. Depth falls strictly, so chains end.

/// Whether and how the holder of a link may hand it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Delegation {
    /// How many hops may still follow.
    pub depth_left: u8,
    /// How many children one link may have.
    pub fanout_max: u16,
    /// Whether a hop may be made without registration.
    pub offline: bool,
}

impl Delegation {
    /// Not at all: what a link says that does not speak of it.
    pub const NOT: Self = Self { depth_left: 0, fanout_max: 0, offline: false };

    /// What is left below a hop that asks for `child`; `None` when this holder may not hand on at all (L-10).
    #[must_use]
    pub fn hop(self, child: Self) -> Option<Self> {
        let left = self.depth_left.checked_sub(1)?;
        Some(Self {
            depth_left: left.min(child.depth_left),
            fanout_max: self.fanout_max.min(child.fanout_max),
            offline: self.offline && child.offline,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_falls_with_every_hop_whatever_the_hop_asks_for() {
        let depth = |depth_left| Delegation { depth_left, ..Delegation::NOT };
        for parent in 0..=u8::MAX {
            for child in [0, 1, 2, 100, u8::MAX] {
                match depth(parent).hop(depth(child)) {
                    Some(left) => assert!(left.depth_left < parent && left.depth_left <= child),
                    None => assert_eq!(parent, 0),
                }
            }
        }
    }

    /// Clause L-1 for what hangs on one link: so many hops below it, so many children of it, with registration or
    /// without. A hop is one level nearer to the end, hence the parent is asked for one more.
    #[test]
    fn the_meet_is_exact() {
        let admits = |delegation: Delegation, (below, children, offline): (u8, u16, bool)| {
            below <= delegation.depth_left && children <= delegation.fanout_max && (delegation.offline || !offline)
        };
        let all = |depths: u8| {
            (0..depths).flat_map(|depth_left| {
                (0..4u16).flat_map(move |fanout_max| {
                    [false, true].map(|offline| Delegation { depth_left, fanout_max, offline })
                })
            })
        };
        let mut admitted = 0u32;
        for parent in all(5) {
            for child in all(5) {
                for asked in all(4) {
                    let asked = (asked.depth_left, asked.fanout_max, asked.offline);
                    let both = admits(parent, (asked.0 + 1, asked.1, asked.2)) && admits(child, asked);
                    let found = parent.hop(child).is_some_and(|left| admits(left, asked));
                    assert_eq!(found, both, "{parent:?}, {child:?} asked for {asked:?}");
                    admitted += u32::from(both);
                }
            }
        }
        assert!(admitted > 5_000, "{admitted} were admitted");
    }
}
