//! What a count really supports.

/// The lower end of the one-sided 95 % Clopper–Pearson interval of a share: with this confidence the true share is no
/// less, whatever it is (Clopper and Pearson, Biometrika 26, 1934). 0 when nothing agreed.
///
/// Found by bisection on the binomial tail, P(X ≥ agreed | n, p) = 0.05.
pub(crate) fn lower_95(agreed: u64, n: u64) -> f64 {
    if agreed == 0 || agreed > n {
        return 0.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if upper_tail(agreed, n, middle) < 0.05 { low = middle } else { high = middle }
    }
    low
}

/// P(X ≥ k) for X binomial with n trials of probability p.
#[expect(clippy::cast_precision_loss, reason = "counts of inputs stay far below 2^52")]
fn upper_tail(k: u64, n: u64, p: f64) -> f64 {
    // Each term from the one before, in logarithms: C(n, i) p^i (1-p)^(n-i).
    let mut log_term = (n as f64) * (1.0 - p).ln();
    let mut below = 0.0;
    for i in 0..k {
        below += log_term.exp();
        log_term += ((n - i) as f64).ln() - ((i + 1) as f64).ln() + p.ln() - (1.0 - p).ln();
    }
    1.0 - below
}

#[cfg(test)]
mod tests {
    use super::lower_95;

    #[test]
    fn is_the_interval_of_the_textbook() {
        // All of n agree: the bound is 0.05^(1/n).
        for n in [6_u64, 30, 59] {
            let exact = 0.05_f64.powf(1.0 / f64::from(u32::try_from(n).unwrap()));
            assert!((lower_95(n, n) - exact).abs() < 1e-9, "{n}");
        }
        // R: binom.test(27, 30, alternative = "greater")$conf.int
        assert!((lower_95(27, 30) - 0.7614).abs() < 1e-3, "{}", lower_95(27, 30));
        assert!(lower_95(0, 30).abs() < f64::EPSILON);
    }
}
