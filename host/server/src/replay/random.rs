//! Chance that repeats itself. Pure.

use nexus_model::sha256_hex;

/// What a draw is for, so that one draw does not tell the other.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    Fault,
    Latency,
}

/// A number from 0 up to 1, the same for the same seed, request and turn.
pub(super) fn draw(seed: u64, request: &str, turn: u64, purpose: Purpose) -> f64 {
    let hash = sha256_hex(format!("{seed}/{request}/{turn}/{purpose:?}"));
    let bits = hash.get(..8).and_then(|digits| u32::from_str_radix(digits, 16).ok()).unwrap_or(0);
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::{Purpose, draw};

    #[test]
    fn draws_repeat_and_spread() {
        let draws: Vec<f64> = (0..10_000).map(|turn| draw(7, "request", turn, Purpose::Fault)).collect();
        assert!(draws.iter().all(|x| (0.0..1.0).contains(x)));
        let mean = draws.iter().sum::<f64>() / 10_000.0;
        assert!((0.48..0.52).contains(&mean), "{mean}");
        assert_eq!(draw(7, "request", 3, Purpose::Fault).to_bits(), draws[3].to_bits());
        for other in [
            draw(8, "request", 3, Purpose::Fault),
            draw(7, "other", 3, Purpose::Fault),
            draw(7, "request", 3, Purpose::Latency),
        ] {
            assert_ne!(other.to_bits(), draws[3].to_bits());
        }
    }
}
