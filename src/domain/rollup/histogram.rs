//! Histograms of milliseconds, with fixed bounds that grow exponentially.

/// Buckets of a histogram. The last one has no upper bound.
pub const BUCKETS: usize = 16;

/// The least bound is 2^2 ms, each next one is twice as much.
const FIRST: u32 = 2;

/// The upper bounds of all buckets but the last: 4 ms, 8 ms, 16 ms, … 65,536 ms. A bucket holds what is above the bound before
/// it, and at most its own.
pub fn bounds() -> [u64; BUCKETS - 1] {
    std::array::from_fn(|place| 1 << (FIRST as usize + place))
}

/// The bucket that a number of milliseconds is in.
pub(super) fn place(millis: u64) -> usize {
    // The exponent of the least power of two that is not less.
    let power = u64::BITS - millis.saturating_sub(1).leading_zeros();
    (power.saturating_sub(FIRST) as usize).min(BUCKETS - 1)
}

/// Counts by bucket.
#[derive(Copy, Clone, Debug)]
pub struct Histogram<'a>(pub(super) &'a [u32]);

impl Histogram<'_> {
    pub const fn buckets(&self) -> &[u32] {
        self.0
    }

    pub fn count(&self) -> u64 {
        self.0.iter().map(|count| u64::from(*count)).sum()
    }

    /// About the number of milliseconds that so many of a hundred do not exceed, taken to be spread evenly within a bucket;
    /// in the last bucket its lower bound. Nothing without a count.
    pub fn percentile(&self, percent: u64) -> Option<u64> {
        let rank = (self.count() * percent).div_ceil(100).max(1);
        let bounds = bounds();
        let mut below = 0;
        for (place, count) in self.0.iter().enumerate() {
            let count = u64::from(*count);
            if below + count >= rank {
                let lower = place.checked_sub(1).and_then(|place| bounds.get(place));
                let lower = lower.copied().unwrap_or_default();
                let Some(upper) = bounds.get(place) else {
                    return Some(lower);
                };
                return Some(lower + ((upper - lower) * (rank - below)).div_ceil(count));
            }
            below += count;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bucket_holds_what_is_above_the_bound_before_it_and_at_most_its_own(millis in any::<u64>(), shift in 0..64_u32) {
            let millis = millis >> shift;
            let (place, bounds) = (place(millis), bounds());
            prop_assert!(bounds.get(place).is_none_or(|bound| millis <= *bound));
            let before = place.checked_sub(1).map(|place| bounds[place]);
            prop_assert!(before.is_none_or(|bound| millis > bound));
        }

        #[test]
        fn a_percentile_lies_in_the_bucket_of_the_number_itself(
            mut millis in prop::collection::vec(0..100_000_u64, 1..200), percent in 1..=100_u64,
        ) {
            let mut counts = [0; BUCKETS];
            for millis in &millis {
                counts[place(*millis)] += 1;
            }
            millis.sort_unstable();
            let rank = (millis.len() as u64 * percent).div_ceil(100);
            let exact = place(millis[rank as usize - 1]);
            let told = Histogram(&counts).percentile(percent).unwrap();
            // What has no upper bound is told as its lower one, which belongs to the bucket before.
            prop_assert_eq!(place(told), exact.min(BUCKETS - 2));
        }
    }

    #[test]
    fn the_bounds_are_the_documented_ones() {
        assert_eq!((bounds()[0], bounds()[1], bounds()[14]), (4, 8, 65_536));
        assert_eq!(Histogram(&[0; BUCKETS]).percentile(50), None);
    }
}
