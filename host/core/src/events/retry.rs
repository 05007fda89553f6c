//! When something is tried again, and when no more. A decision on values alone.

use std::time::Duration;

/// How often an event is delivered before it is put aside.
pub(crate) const MOST_DELIVERIES: u64 = 5;
/// The longest wait.
const LONGEST: Duration = Duration::from_mins(1);

/// How long to wait after the delivery of this number (from 1) failed: twice as long each time, of which half is left to
/// chance (`draw` is uniform over 0 to 1), so that what failed together is not tried together. `None`: no more.
pub(crate) fn wait_after(delivery: u64, first: Duration, draw: f64) -> Option<Duration> {
    if delivery >= MOST_DELIVERIES {
        return None;
    }
    let doublings = u32::try_from(delivery.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
    let full = first.saturating_mul(1 << doublings).min(LONGEST);
    Some(full.mul_f64(0.5 + draw.clamp(0.0, 1.0) / 2.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn waits_grow_up_to_the_longest_and_end(delivery in 1..20_u64, first in 1..100_000_u64, draw in 0.0..1.0_f64) {
            let first = Duration::from_millis(first);
            match wait_after(delivery, first, draw) {
                None => prop_assert!(delivery >= MOST_DELIVERIES),
                Some(wait) => {
                    prop_assert!(wait <= LONGEST && wait >= first.min(LONGEST) / 2);
                    if delivery > 1 {
                        let least = wait_after(delivery, first, 0.0).unwrap_or_default();
                        let before = wait_after(delivery - 1, first, 1.0).unwrap_or_default();
                        prop_assert!(least + Duration::from_nanos(1) >= before.min(LONGEST / 2));
                    }
                }
            }
        }
    }
}
