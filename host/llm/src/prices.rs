//! List prices that come with Nexus, as dated data. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;
use time::Date;

use crate::settings::{ModelSettings, Price, Provider};

/// The data; what it says is checked by a test.
const BUNDLED: &str = include_str!("prices.json");

/// List prices by provider and model. They hold for the providers' own endpoints only: what another endpoint asks for a
/// model of the same name, nobody but the operator knows.
#[derive(Debug, Clone, Default)]
pub struct PriceList(Vec<List>);

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    provider: Provider,
    as_of: IsoDate,
    source: String,
    models: BTreeMap<String, Row>,
}

/// US dollars for a million tokens.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    input: f64,
    output: f64,
    #[serde(default)]
    cached_input: Option<f64>,
    #[serde(default)]
    cache_write: Option<f64>,
}

time::serde::format_description!(iso_date, Date, "[year]-[month]-[day]");

#[derive(Debug, Clone, Copy, Deserialize)]
struct IsoDate(#[serde(with = "iso_date")] Date);

/// A price and where it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Priced<'a> {
    /// The price.
    pub price: Price,
    /// `the settings`, or the source of the bundled list.
    pub source: &'a str,
}

impl PriceList {
    /// The list that this version comes with.
    pub fn bundled() -> Self {
        Self(serde_json::from_str(BUNDLED).unwrap_or_default())
    }

    /// The price of a model: what its settings say, or else the list's. `None` is not zero, it is not known.
    pub fn of(&self, settings: &ModelSettings) -> Option<Priced<'_>> {
        if let Some(price) = settings.price {
            return Some(Priced { price, source: "the settings" });
        }
        let own = match settings.provider {
            Provider::OpenAi => settings.endpoint.is_openai(),
            Provider::Anthropic => settings.endpoint.is_anthropic(),
            Provider::Ollama => false,
        };
        let list = self.0.iter().find(|list| own && list.provider == settings.provider)?;
        let row = list.models.get(undated(&settings.model))?;
        Some(Priced { price: row.price(list.as_of.0), source: &list.source })
    }
}

impl Row {
    fn price(self, as_of: Date) -> Price {
        Price {
            input_usd_per_million: self.input,
            output_usd_per_million: self.output,
            cached_input_usd_per_million: self.cached_input,
            cache_write_usd_per_million: self.cache_write,
            as_of,
        }
    }
}

/// The name without the date of a snapshot: `gpt-4o-2024-08-06` and `claude-haiku-4-5-20251001` cost as the model does.
fn undated(model: &str) -> &str {
    let digits = |text: &str, shape: &[usize]| {
        let parts: Vec<&str> = text.split('-').collect();
        parts.len() == shape.len()
            && parts
                .iter()
                .zip(shape)
                .all(|(part, length)| part.len() == *length && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    [(9, &[8][..]), (11, &[4, 2, 2][..])]
        .into_iter()
        .find_map(|(length, shape)| {
            let (name, date) = model.split_at_checked(model.len().checked_sub(length)?)?;
            digits(date.strip_prefix('-')?, shape).then_some(name)
        })
        .unwrap_or(model)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{BUNDLED, List, PriceList, undated};

    fn price(settings: Value) -> Option<f64> {
        let settings = serde_json::from_value(settings).unwrap();
        PriceList::bundled().of(&settings).map(|priced| priced.price.input_usd_per_million)
    }

    #[test]
    fn the_bundled_list_is_sound() {
        let lists: Vec<List> = serde_json::from_str(BUNDLED).unwrap();
        assert_eq!(lists.len(), 2);
        for list in lists {
            assert!(!list.source.is_empty() && list.as_of.0.year() >= 2026);
            for (model, row) in list.models {
                let cheaper = row.cached_input.is_none_or(|cached| cached < row.input);
                assert!(row.input > 0.0 && row.output > row.input && cheaper, "{model}");
            }
        }
    }

    #[test]
    fn settings_come_first_and_a_stranger_has_no_price() {
        assert_eq!(price(json!({ "model": "gpt-4o-mini" })), Some(0.15));
        assert_eq!(price(json!({ "model": "gpt-4o-mini-2024-07-18" })), Some(0.15));
        assert_eq!(price(json!({ "provider": "anthropic", "model": "claude-haiku-4-5-20251001" })), Some(1.0));
        let own = json!({ "input_usd_per_million": 9, "output_usd_per_million": 9, "as_of": "2026-01-31" });
        assert_eq!(price(json!({ "model": "gpt-4o-mini", "price": own })), Some(9.0));
        for unknown in [
            json!({ "model": "gpt-4o-mini", "endpoint": "https://proxy.example.com/v1" }),
            json!({ "model": "gpt-4o-mini", "provider": "ollama" }),
            json!({ "model": "gpt-4o-mini", "provider": "anthropic" }),
            json!({ "model": "gpt-4o-mini-next" }),
        ] {
            assert_eq!(price(unknown.clone()), None, "{unknown}");
        }
    }

    #[test]
    fn only_dates_are_cut_off() {
        for (model, name) in [
            ("m-20251001", "m"),
            ("m-2025-10-01", "m"),
            ("m-4-5", "m-4-5"),
            ("20251001", "20251001"),
            ("é-2025-10-01", "é"),
            ("m-2025100x", "m-2025100x"),
        ] {
            assert_eq!(undated(model), name);
        }
    }
}
