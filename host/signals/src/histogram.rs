//! Latencies in buckets that grow with the value.
//!
//! Values below 8 µs have a bucket each; above, each power of two is divided into 8 buckets, so that a bucket is at most
//! an eighth as wide as its values (the scheme of `HdrHistogram`, with 3 bits).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const SUB_BITS: u32 = 3;
const SUB: usize = 1 << SUB_BITS;
/// Values from 2^36 µs (19 hours) on share the last bucket.
const MAX_EXPONENT: u32 = 36;
const BUCKETS: usize = (MAX_EXPONENT - SUB_BITS) as usize * SUB + SUB;

/// The bucket of a value.
fn index(micros: u64) -> usize {
    let micros = micros.min((1 << MAX_EXPONENT) - 1);
    if micros < SUB as u64 {
        return usize::try_from(micros).unwrap_or(0);
    }
    let shift = micros.ilog2() - SUB_BITS;
    let sub = usize::try_from(micros >> shift).unwrap_or(0);
    shift as usize * SUB + sub
}

/// The smallest value of a bucket; of the bucket after the last, the end of the scale.
fn lower_bound(index: usize) -> u64 {
    if index < SUB {
        return index as u64;
    }
    let shift = index / SUB - 1;
    ((SUB + index % SUB) as u64) << shift
}

/// Counts latencies without a lock.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_micros: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BUCKETS], sum_micros: AtomicU64::new(0) }
    }
}

impl Histogram {
    pub(crate) fn record(&self, micros: u64) {
        self.buckets[index(micros)].fetch_add(1, Relaxed);
        self.sum_micros.fetch_add(micros, Relaxed);
    }

    pub(crate) fn add(&self, counts: &Counts) {
        for (bucket, count) in self.buckets.iter().zip(&counts.buckets) {
            bucket.fetch_add(*count, Relaxed);
        }
        self.sum_micros.fetch_add(counts.sum_micros, Relaxed);
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts {
            buckets: self.buckets.iter().map(|bucket| bucket.load(Relaxed)).collect(),
            sum_micros: self.sum_micros.load(Relaxed),
        }
    }
}

/// A histogram at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counts {
    buckets: Vec<u64>,
    pub(crate) sum_micros: u64,
}

impl Default for Counts {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], sum_micros: 0 }
    }
}

impl Counts {
    /// How many values there are.
    pub(crate) fn total(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The value below which the share `q` (0 to 1) of the values lies, as the middle of its bucket: at most 1/16 off.
    /// 0 when there are no values.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank among counts, which stay far below 2^52"
    )]
    pub(crate) fn quantile(&self, q: f64) -> u64 {
        let rank = ((self.total() as f64 * q).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return lower_bound(index).midpoint(lower_bound(index + 1) - 1);
            }
        }
        0
    }

    /// The values since `earlier`.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let pairs = self.buckets.iter().zip(&earlier.buckets);
        Self {
            buckets: pairs.map(|(now, then)| now.saturating_sub(*then)).collect(),
            sum_micros: self.sum_micros.saturating_sub(earlier.sum_micros),
        }
    }

    /// Buckets whose upper bounds are powers of two from 2^`first` to 2^`last` µs: bound in µs and count. What lies above
    /// is not in them.
    pub(crate) fn powers_of_two(&self, first: u32, last: u32) -> impl Iterator<Item = (u64, u64)> {
        (first..=last).map(move |power| {
            let from = if power == first { 0 } else { index(1 << (power - 1)) };
            (1 << power, self.buckets[from..index(1 << power)].iter().sum())
        })
    }
}

/// How long calls took, as it is kept: only the buckets that are not empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Durations {
    buckets: Vec<(usize, u64)>,
    sum_micros: u64,
}

impl Durations {
    /// How many calls there were.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }

    /// The time in microseconds that the share `q` (0 to 1) of the calls took no longer than, at most 1/16 off; 0 without
    /// calls.
    pub fn quantile(&self, q: f64) -> u64 {
        Counts::from(self).quantile(q)
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let (mut counts, other) = (Counts::from(self), Counts::from(other));
        counts.buckets.iter_mut().zip(&other.buckets).for_each(|(mine, more)| *mine += more);
        counts.sum_micros += other.sum_micros;
        Self::from(&counts)
    }
}

impl From<&Counts> for Durations {
    fn from(counts: &Counts) -> Self {
        let buckets = counts.buckets.iter().copied().enumerate().filter(|(_, count)| *count > 0).collect();
        Self { buckets, sum_micros: counts.sum_micros }
    }
}

impl From<&Durations> for Counts {
    fn from(kept: &Durations) -> Self {
        let mut counts = Self { sum_micros: kept.sum_micros, ..Self::default() };
        for (index, count) in &kept.buckets {
            counts.buckets[(*index).min(BUCKETS - 1)] += count;
        }
        counts
    }
}

impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Durations::from(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Counts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Durations::deserialize(deserializer).map(|kept| Self::from(&kept))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{BUCKETS, Histogram, index, lower_bound};

    #[test]
    fn buckets_cover_the_scale_without_gaps() {
        for bucket in 0..BUCKETS {
            assert_eq!(index(lower_bound(bucket)), bucket);
            assert_eq!(index(lower_bound(bucket + 1) - 1), bucket);
        }
        assert_eq!(index(u64::MAX), BUCKETS - 1);
    }

    proptest! {
        #[test]
        fn quantiles_are_close(mut values in prop::collection::vec(0_u64..10_000_000, 1..400), q in 0.01_f64..=1.0) {
            let histogram = Histogram::default();
            for value in &values {
                histogram.record(*value);
            }
            values.sort_unstable();
            #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
            let rank = ((values.len() as f64 * q).ceil() as usize).clamp(1, values.len());
            let (exact, estimate) = (values[rank - 1], histogram.counts().quantile(q));
            prop_assert!(estimate.abs_diff(exact) * 16 <= exact, "{estimate} for {exact}");
        }

        #[test]
        fn storing_loses_nothing(values in prop::collection::vec(any::<u32>(), 0..100)) {
            let histogram = Histogram::default();
            for value in &values {
                histogram.record(u64::from(*value));
            }
            let counts = histogram.counts();
            let stored = serde_json::to_string(&counts).unwrap();
            prop_assert_eq!(serde_json::from_str::<super::Counts>(&stored).unwrap(), counts.clone());
            let again = Histogram::default();
            again.add(&counts);
            prop_assert_eq!(again.counts(), counts);
        }

        #[test]
        fn what_is_kept_adds_up(first in prop::collection::vec(any::<u32>(), 0..50), second in prop::collection::vec(any::<u32>(), 0..50)) {
            let of = |values: &[u32]| {
                let histogram = Histogram::default();
                for value in values {
                    histogram.record(u64::from(*value));
                }
                super::Durations::from(&histogram.counts())
            };
            let both: Vec<u32> = first.iter().chain(&second).copied().collect();
            prop_assert_eq!(of(&first).plus(&of(&second)), of(&both));
            prop_assert_eq!(of(&both).count(), both.len() as u64);
        }

        #[test]
        fn coarse_buckets_count_what_is_below(values in prop::collection::vec(0_u64..100_000_000, 0..200)) {
            let histogram = Histogram::default();
            for value in &values {
                histogram.record(*value);
            }
            let mut below = 0;
            for (bound, count) in histogram.counts().powers_of_two(4, 26) {
                below += count;
                prop_assert_eq!(below, values.iter().filter(|value| **value < bound).count() as u64);
            }
        }
    }
}
