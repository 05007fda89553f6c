//! The operation `total` of `apps/pricing`: what an order costs, to the cent, or nothing.
//!
//! Money stays in whole minor units (cents) from the first digit to the last and is never rounded: on what cannot be said
//! exactly, the operation abstains.

mod money;

use nexus_guest::Abstain;
use serde::{Deserialize, Serialize};

use money::Currency;

/// An order.
#[derive(Debug, Deserialize)]
pub struct Order {
    /// ISO 4217 code of every price in the order.
    pub currency: String,
    /// What is bought.
    pub lines: Vec<Line>,
    /// Whole percent off the sum of the lines, 0 to 100.
    #[serde(default)]
    pub discount_percent: u8,
}

/// One line of an order.
#[derive(Debug, Deserialize)]
pub struct Line {
    /// The shop's name for the article; the sum does not depend on it.
    pub sku: String,
    /// How many.
    pub quantity: u32,
    /// The price of one, as a decimal number: `19.99`.
    pub unit_price: String,
}

/// What an order costs.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Total {
    /// The order's currency.
    pub currency: String,
    /// A decimal number with as many fraction digits as the currency has.
    pub total: String,
}

/// Sums the lines and takes the discount off.
pub fn run(order: Order) -> Result<Total, Abstain> {
    let currency = Currency::by_code(&order.currency).ok_or_else(|| Abstain::because("an unknown currency"))?;
    let sum = order.lines.iter().try_fold(0, |sum, line| add(sum, line, currency))?;
    let total = discounted(sum, order.discount_percent)?;
    Ok(Total { total: currency.write(total), currency: order.currency })
}

nexus_guest::operation!(run);

/// `sum` and the price of `line`, in minor units.
fn add(sum: u64, line: &Line, currency: Currency) -> Result<u64, Abstain> {
    let price = currency.read(&line.unit_price)?;
    let amount = price.checked_mul(u64::from(line.quantity));
    amount.and_then(|amount| sum.checked_add(amount)).ok_or_else(too_large)
}

/// `sum` less `percent` of it, when that is a whole number of minor units.
fn discounted(sum: u64, percent: u8) -> Result<u64, Abstain> {
    let kept = 100_u64.checked_sub(u64::from(percent)).ok_or_else(|| Abstain::because("a discount above 100 %"))?;
    let hundredths = sum.checked_mul(kept).ok_or_else(too_large)?;
    if !hundredths.is_multiple_of(100) {
        return Err(Abstain::because("a discount that does not end at a whole minor unit"));
    }
    Ok(hundredths / 100)
}

fn too_large() -> Abstain {
    Abstain::because("an amount that is too large")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(order: &str) -> Result<String, Abstain> {
        run(serde_json::from_str(order).unwrap()).map(|total| total.total)
    }

    fn order(currency: &str, price: &str, quantity: u32, percent: u8) -> Result<String, Abstain> {
        let line = Line { sku: "a".to_owned(), quantity, unit_price: price.to_owned() };
        run(Order { currency: currency.to_owned(), lines: vec![line], discount_percent: percent })
            .map(|total| total.total)
    }

    #[test]
    fn lines_are_summed_exactly() {
        let order = r#"{"currency": "EUR", "lines": [
            {"sku": "pen", "quantity": 3, "unit_price": "0.10"},
            {"sku": "ink", "quantity": 1, "unit_price": "19.9"},
            {"sku": "pad", "quantity": 2, "unit_price": "5"}], "discount_percent": 50}"#;
        assert_eq!(total(order).as_deref(), Ok("15.10"));
        assert_eq!(total(r#"{"currency": "EUR", "lines": []}"#).as_deref(), Ok("0.00"));
    }

    #[test]
    fn a_currency_decides_the_fraction_digits() {
        assert_eq!(order("JPY", "120", 2, 0).as_deref(), Ok("240"));
        assert_eq!(order("KWD", "1.005", 2, 0).as_deref(), Ok("2.010"));
    }

    #[test]
    fn what_is_not_exact_is_abstained_from() {
        let inexact = [
            order("EUR", "0.005", 2, 0),
            order("EUR", "0.01", 1, 50),
            order("JPY", "1.0", 1, 0),
            order("XXX", "1", 1, 0),
            order("EUR", "1", 1, 101),
            order("EUR", "92233720368547758.07", u32::MAX, 0),
        ];
        for answer in inexact {
            assert!(answer.is_err(), "{answer:?}");
        }
    }

    #[test]
    fn a_price_is_plain_digits() {
        for price in ["", ".", ".5", "5.", "-1", "+1", "1e2", "1,5", " 1", "1.2.3", "٣"] {
            assert!(order("EUR", price, 1, 0).is_err(), "{price}");
        }
    }
}
