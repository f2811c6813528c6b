//! Percentiles from the histograms that edges publish.

use std::collections::BTreeMap;

/// The sum of one histogram over several processes: cumulative counts by upper bound.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Histogram {
    /// Upper bounds in nanoseconds, for an order; the count of values at or below each. The last is infinite.
    buckets: BTreeMap<u64, u64>,
}

const INFINITE: u64 = u64::MAX;

impl Histogram {
    /// Adds the histogram `name` of one process, from its Prometheus text.
    pub(crate) fn add(&mut self, name: &str, text: &str) {
        let prefix = format!("{name}_bucket{{");
        for line in text.lines() {
            let Some((labels, value)) = line.strip_prefix(&prefix).and_then(|rest| rest.split_once("} ")) else {
                continue;
            };
            let bound = labels.split(',').find_map(|label| label.strip_prefix("le=\"")?.strip_suffix('"'));
            let count = value.split(' ').next().and_then(|count| count.parse::<u64>().ok());
            if let (Some(bound), Some(count)) = (bound.and_then(nanos), count) {
                *self.buckets.entry(bound).or_default() += count;
            }
        }
    }

    /// How many values there are.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.get(&INFINITE).copied().unwrap_or(0)
    }

    /// The value in microseconds below which `per_mille` thousandths lie, interpolated within its bucket; `None`
    /// without values, or when it lies beyond the last bound.
    pub(crate) fn percentile_us(&self, per_mille: u64) -> Option<f64> {
        // Thousandths, so that no rank is lost to rounding.
        let rank = self.count().checked_mul(per_mille).filter(|rank| *rank > 0)?;
        let (mut low_bound, mut low_count) = (0u64, 0u64);
        for (bound, count) in &self.buckets {
            let (reached, below) = (count.saturating_mul(1_000), low_count.saturating_mul(1_000));
            if reached >= rank {
                let share = thousandths(rank - below, reached - below)?;
                let width = if *bound == INFINITE { return None } else { bound - low_bound };
                return Some(to_us(low_bound.saturating_add(width.saturating_mul(share) / 1_000)));
            }
            (low_bound, low_count) = (*bound, *count);
        }
        None
    }
}

fn thousandths(part: u64, whole: u64) -> Option<u64> {
    part.checked_mul(1_000)?.checked_div(whole)
}

fn to_us(nanos: u64) -> f64 {
    let tenths = u32::try_from(nanos / 100).unwrap_or(u32::MAX);
    f64::from(tenths) / 10.0
}

/// A bound in seconds, as decimal text, in nanoseconds.
fn nanos(text: &str) -> Option<u64> {
    if text == "+Inf" {
        return Some(INFINITE);
    }
    let seconds: f64 = text.parse().ok()?;
    let duration = std::time::Duration::try_from_secs_f64(seconds).ok()?;
    u64::try_from(duration.as_nanos()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# TYPE remit_edge_decision_seconds histogram
remit_edge_decision_seconds_bucket{le=\"1e-5\"} 10
remit_edge_decision_seconds_bucket{le=\"0.00002\"} 60
remit_edge_decision_seconds_bucket{le=\"0.00005\"} 99
remit_edge_decision_seconds_bucket{le=\"+Inf\"} 100
remit_edge_other_seconds_bucket{le=\"+Inf\"} 7
";

    #[test]
    fn percentiles_lie_in_the_right_bucket() {
        let mut histogram = Histogram::default();
        histogram.add("remit_edge_decision_seconds", TEXT);
        assert_eq!(histogram.count(), 100);
        assert_eq!(histogram.percentile_us(100), Some(10.0));
        assert_eq!(histogram.percentile_us(500), Some(18.0));
        assert_eq!(histogram.percentile_us(990), Some(50.0));
        assert_eq!(histogram.percentile_us(999), None);
    }

    #[test]
    fn processes_add_up() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile_us(500), None);
        histogram.add("remit_edge_decision_seconds", TEXT);
        histogram.add("remit_edge_decision_seconds", TEXT);
        assert_eq!((histogram.count(), histogram.percentile_us(500)), (200, Some(18.0)));
        histogram.add("remit_edge_decision_seconds", "remit_edge_decision_seconds_bucket{le=\"x\"} y\n");
        assert_eq!(histogram.count(), 200);
    }
}
