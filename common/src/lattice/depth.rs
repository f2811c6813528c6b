//! Depth: how many more times a chain may be handed on. Strictly falling, so chains end.

/// How many hops may still follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct DepthLeft(pub u8);

impl DepthLeft {
    /// What is left below a hop that asks for `child`; `None` when this holder may not hand on at all (L-10).
    #[must_use]
    pub fn hop(self, child: Self) -> Option<Self> {
        self.0.checked_sub(1).map(|left| Self(left.min(child.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_falls_with_every_hop_whatever_the_hop_asks_for() {
        for parent in 0..=u8::MAX {
            for child in [0, 1, 2, 100, u8::MAX] {
                match DepthLeft(parent).hop(DepthLeft(child)) {
                    Some(left) => assert!(left.0 < parent && left.0 <= child),
                    None => assert_eq!(parent, 0),
                }
            }
        }
    }
}
