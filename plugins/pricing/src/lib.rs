//! The plugin `pricing`: what goods cost and what is paid back for them. What its tools do says `wit/pricing.wit`.
//!
//! Money stays in whole cents from the first digit to the last.

use self::bindings::{Fault, Guest, Line};

struct Pricing;

nexus_guest::plugin!(Pricing, additional_derives: [PartialEq]);

impl Guest for Pricing {
    fn total(lines: Vec<Line>) -> Result<String, Fault> {
        let sum = lines.iter().try_fold(0_u64, |sum, line| sum.checked_add(cents(line)?).ok_or(Fault::TooLarge))?;
        Ok(written(sum))
    }

    fn refund(units: Line, percent: u32) -> Result<String, Fault> {
        if percent > 100 {
            return Err(Fault::Percent(percent));
        }
        let part = u128::from(cents(&units)?) * u128::from(percent);
        // A part of what fits.
        u64::try_from((part + 50) / 100).map(written).map_err(|_| Fault::TooLarge)
    }
}

fn cents(line: &Line) -> Result<u64, Fault> {
    let price = read(&line.unit_price).ok_or_else(|| Fault::NotAPrice(line.unit_price.clone()))?;
    price.checked_mul(line.quantity.into()).ok_or(Fault::TooLarge)
}

/// The cents of `19.99`, `19.9` or `19`.
fn read(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || fraction.len() > 2 {
        return None;
    }
    format!("{whole}{fraction:0<2}").parse().ok()
}

fn written(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

#[cfg(test)]
mod tests {
    use super::{Fault, Guest, Line, Pricing};

    fn line(quantity: u32, unit_price: &str) -> Line {
        Line { quantity, unit_price: unit_price.to_owned() }
    }

    #[test]
    fn sums_are_exact() {
        let total = |lines| Pricing::total(lines);
        assert_eq!(total(vec![]), Ok("0.00".to_owned()));
        assert_eq!(total(vec![line(3, "19.99"), line(1, "5"), line(10, "0.1")]), Ok("65.97".to_owned()));
        for text in ["", ".5", "5.", "1.234", "-1", "1,5", "1e3"] {
            assert_eq!(total(vec![line(1, text)]), Err(Fault::NotAPrice(text.to_owned())), "{text}");
        }
        assert_eq!(total(vec![line(2, "184467440737095516.15")]), Err(Fault::TooLarge));
    }

    #[test]
    fn what_is_paid_back_is_rounded_to_the_cent() {
        assert_eq!(Pricing::refund(line(2, "3.45"), 100), Ok("6.90".to_owned()));
        assert_eq!(Pricing::refund(line(1, "0.01"), 50), Ok("0.01".to_owned()));
        assert_eq!(Pricing::refund(line(1, "0.01"), 49), Ok("0.00".to_owned()));
        assert_eq!(Pricing::refund(line(1, "1"), 101), Err(Fault::Percent(101)));
    }
}
