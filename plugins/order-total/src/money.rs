//! Decimal text to whole minor units and back.

use nexus_guest::Abstain;

/// How many fraction digits a currency's amounts have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Currency {
    digits: usize,
}

impl Currency {
    /// The currency of an ISO 4217 code, if it is one of those the shop sells in.
    pub(crate) fn by_code(code: &str) -> Option<Self> {
        let digits = match code {
            "JPY" | "KRW" | "ISK" | "VND" => 0,
            "AUD" | "BRL" | "CAD" | "CHF" | "CNY" | "CZK" | "DKK" | "EUR" | "GBP" | "HKD" | "INR" | "MXN" | "NOK"
            | "NZD" | "PLN" | "RON" | "SEK" | "SGD" | "THB" | "USD" | "ZAR" => 2,
            "BHD" | "JOD" | "KWD" | "OMR" | "TND" => 3,
            _ => return None,
        };
        Some(Self { digits })
    }

    /// Minor units of a decimal number: digits, and at most one point between digits.
    pub(crate) fn read(self, text: &str) -> Result<u64, Abstain> {
        let (whole, fraction) = match text.split_once('.') {
            Some((whole, fraction)) if is_number(fraction) => (whole, fraction),
            None => (text, ""),
            Some(_) => return Err(Abstain::because("a price that is not a plain decimal number")),
        };
        if !is_number(whole) {
            return Err(Abstain::because("a price that is not a plain decimal number"));
        }
        if fraction.len() > self.digits {
            return Err(Abstain::because("a price finer than the currency's minor unit"));
        }
        let digits = format!("{whole}{fraction:0<width$}", width = self.digits);
        digits.parse().map_err(|_| Abstain::because("an amount that is too large"))
    }

    /// Minor units as a decimal number.
    pub(crate) fn write(self, minor: u64) -> String {
        let text = format!("{minor:0>width$}", width = self.digits + 1);
        let (whole, fraction) = text.split_at(text.len() - self.digits);
        if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
