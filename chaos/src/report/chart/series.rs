//! From many observations to as many points as a drawing can show.

/// What was the same from one observation to the last one in a row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stretch<T> {
    /// First seen, in microseconds since the run began.
    pub(crate) from_us: u64,
    /// Until when it is drawn: the next observation, or the last one before silence.
    pub(crate) to_us: u64,
    /// What.
    pub(crate) value: T,
}

/// How long nothing may be heard before it counts as silence: some observations in a row were missed.
pub(crate) fn silence(times: impl IntoIterator<Item = u64>) -> u64 {
    let times: Vec<u64> = times.into_iter().collect();
    let mut gaps: Vec<u64> =
        times.iter().zip(times.iter().skip(1)).map(|(from, to)| to.saturating_sub(*from)).collect();
    gaps.sort_unstable();
    let usual = gaps.get(gaps.len() / 2).copied().unwrap_or_default();
    usual.saturating_mul(3).max(1_500_000)
}

/// Joins equal observations in a row; a silence ends a stretch.
pub(crate) fn stretches<T: PartialEq>(seen: Vec<(u64, T)>, silence_us: u64) -> Vec<Stretch<T>> {
    let mut all: Vec<Stretch<T>> = Vec::new();
    for (time_us, value) in seen {
        match all.last_mut() {
            Some(last) if time_us.saturating_sub(last.to_us) <= silence_us => {
                last.to_us = time_us;
                if last.value != value {
                    all.push(Stretch { from_us: time_us, to_us: time_us, value });
                }
            }
            _ => all.push(Stretch { from_us: time_us, to_us: time_us, value }),
        }
    }
    all
}

/// At most about `most` of the points, keeping the least and the greatest of every part, and first and last.
pub(crate) fn thin(points: &[(u64, f64)], most: usize) -> Vec<(u64, f64)> {
    let parts = (most / 2).saturating_sub(1).max(1);
    if points.len() <= most {
        return points.to_vec();
    }
    let mut kept: Vec<(u64, f64)> = points.first().copied().into_iter().collect();
    for part in points.chunks(points.len().div_ceil(parts)) {
        let least = part.iter().min_by(|a, b| a.1.total_cmp(&b.1));
        let greatest = part.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        let mut ends: Vec<_> = least.into_iter().chain(greatest).copied().collect();
        ends.sort_by_key(|point| point.0);
        kept.extend(ends);
    }
    kept.extend(points.last());
    kept.dedup();
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn silence_ends_a_stretch_and_change_does_not_leave_a_hole() {
        let seen = vec![(0, 'a'), (1, 'a'), (2, 'b'), (20, 'b'), (21, 'b')];
        let stretch = |from_us, to_us, value| Stretch { from_us, to_us, value };
        assert_eq!(stretches(seen, 5), [stretch(0, 2, 'a'), stretch(2, 2, 'b'), stretch(20, 21, 'b')]);
    }

    proptest! {
        #[test]
        fn thinning_keeps_ends_and_extremes(values in proptest::collection::vec(-1e6..1e6f64, 1..5_000)) {
            let points: Vec<(u64, f64)> = (0..).zip(values).collect();
            let kept = thin(&points, 600);
            prop_assert!(kept.len() <= 600);
            prop_assert_eq!(kept.first(), points.first());
            prop_assert_eq!(kept.last(), points.last());
            prop_assert!(kept.windows(2).all(|pair| pair[0].0 <= pair[1].0));
            let most = |points: &[(u64, f64)]| points.iter().map(|point| point.1).max_by(f64::total_cmp);
            let least = |points: &[(u64, f64)]| points.iter().map(|point| point.1).min_by(f64::total_cmp);
            prop_assert_eq!((most(&kept), least(&kept)), (most(&points), least(&points)));
        }
    }
}
