//! What tokens cost.

use nexus_model::{NanoUsd, Usage};
use serde::{Deserialize, Deserializer, de::Error as _};
use time::Date;

use crate::tokens::Tokens;

time::serde::format_description!(iso_date, Date, "[year]-[month]-[day]");

/// What tokens cost, and when that was true.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// US dollars for a million tokens of the prompt; six decimals count.
    #[serde(deserialize_with = "amount")]
    pub input_usd_per_million: f64,
    /// US dollars for a million tokens of the answer; six decimals count.
    #[serde(deserialize_with = "amount")]
    pub output_usd_per_million: f64,
    /// US dollars for a million tokens of the prompt that the provider had in its cache; as other tokens if left out.
    #[serde(default, deserialize_with = "optional")]
    pub cached_input_usd_per_million: Option<f64>,
    /// US dollars for a million tokens of the prompt that the provider wrote to its cache; as other tokens if left out.
    #[serde(default, deserialize_with = "optional")]
    pub cache_write_usd_per_million: Option<f64>,
    /// The day on which the price was looked up, as `YYYY-MM-DD`.
    #[serde(with = "iso_date")]
    pub as_of: Date,
}

fn amount<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let usd = f64::deserialize(deserializer)?;
    if (0.0..=1e6).contains(&usd) { Ok(usd) } else { Err(D::Error::custom("a price is from 0 to 1000000 USD")) }
}

fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    amount(deserializer).map(Some)
}

impl Price {
    /// The cost of answers, rounded to the next nano-dollar; nothing is read from or written to a cache.
    pub fn cost(&self, input_tokens: u64, output_tokens: u64) -> NanoUsd {
        self.cost_of(&Tokens { fresh: input_tokens, output: output_tokens, ..Tokens::default() })
    }

    fn cost_of(&self, tokens: &Tokens) -> NanoUsd {
        let input = self.input_usd_per_million;
        let pico = [
            (tokens.fresh, input),
            (tokens.cache_read, self.cached_input_usd_per_million.unwrap_or(input)),
            (tokens.cache_write, self.cache_write_usd_per_million.unwrap_or(input)),
            (tokens.output, self.output_usd_per_million),
        ]
        .into_iter()
        .map(|(tokens, usd)| u128::from(tokens) * pico_per_token(usd))
        .sum::<u128>();
        NanoUsd(u64::try_from((pico + 500) / 1_000).unwrap_or(u64::MAX))
    }

    /// The usage with its cost. That is unknown without a price, or when the provider did not count; nothing costs nothing.
    pub(crate) fn usage(price: Option<&Self>, tokens: &Tokens) -> Usage {
        let nothing = *tokens == Tokens::default();
        let cost = if nothing { Some(NanoUsd(0)) } else { price.map(|price| price.cost_of(tokens)) };
        Usage {
            input_tokens: tokens.input(),
            cached_input_tokens: tokens.cache_read,
            output_tokens: tokens.output,
            cost: cost.filter(|_| !tokens.incomplete),
        }
    }
}

/// A dollar for a million tokens is a micro-dollar, or 10⁶ pico-dollars, for one: whole up to six decimals.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to 10¹² and rounded")]
fn pico_per_token(usd_per_million: f64) -> u128 {
    (usd_per_million.clamp(0.0, 1e6) * 1e6).round() as u128
}

#[cfg(test)]
mod tests {
    use nexus_model::{NanoUsd, Usage};

    use super::Price;
    use crate::tokens::Tokens;

    #[test]
    fn cost_is_exact() {
        let price = |input, output| Price {
            input_usd_per_million: input,
            output_usd_per_million: output,
            cached_input_usd_per_million: None,
            cache_write_usd_per_million: None,
            as_of: time::Date::MIN,
        };
        assert_eq!(price(0.15, 0.6).cost(1_000_000, 1_000_000), NanoUsd(750_000_000));
        assert_eq!(price(0.15, 0.6).cost(1_203, 41), NanoUsd(1_203 * 150 + 41 * 600));
        assert_eq!(price(0.037_5, 0.0).cost(1, 0), NanoUsd(38));
        assert_eq!(price(0.037_5, 0.0).cost(2, 0), NanoUsd(75));
        assert_eq!(price(1e6, 1e6).cost(u64::MAX, u64::MAX), NanoUsd(u64::MAX));
    }

    #[test]
    fn cached_tokens_have_a_price_of_their_own() {
        let cached = Price {
            input_usd_per_million: 3.0,
            output_usd_per_million: 15.0,
            cached_input_usd_per_million: Some(0.3),
            cache_write_usd_per_million: Some(3.75),
            as_of: time::Date::MIN,
        };
        let tokens = Tokens { fresh: 10, cache_read: 100, cache_write: 20, output: 1, incomplete: false };
        let usage = Price::usage(Some(&cached), &tokens);
        assert_eq!((usage.input_tokens, usage.cached_input_tokens), (130, 100));
        assert_eq!(usage.cost, Some(NanoUsd(10 * 3_000 + 100 * 300 + 20 * 3_750 + 15_000)));
        assert_eq!(cached.cost(130, 1), NanoUsd(130 * 3_000 + 15_000));
    }

    #[test]
    fn what_is_not_known_is_not_zero() {
        let tokens = Tokens { fresh: 10, ..Tokens::default() };
        assert_eq!(Price::usage(None, &tokens).cost, None);
        assert_eq!(Price::usage(None, &Tokens::default()), Usage::NONE);
        let free = Price {
            input_usd_per_million: 0.0,
            output_usd_per_million: 0.0,
            cached_input_usd_per_million: None,
            cache_write_usd_per_million: None,
            as_of: time::Date::MIN,
        };
        assert_eq!(Price::usage(Some(&free), &tokens).cost, Some(NanoUsd(0)));
        assert_eq!(Price::usage(Some(&free), &Tokens { incomplete: true, ..tokens }).cost, None);
    }
}
