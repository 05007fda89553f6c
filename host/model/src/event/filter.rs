//! Which events are meant, in the dialects `exact`, `prefix`, `suffix`, `all`, `any` and `not` of `CloudEvents`
//! Subscriptions 1.0: <https://github.com/cloudevents/spec/blob/subscriptions/v1.0.0/subscriptions/spec.md>.

use super::CloudEvent;

/// A condition on an event's attributes. An attribute that is not set satisfies no comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventFilter {
    /// The attribute is this text.
    Exact {
        /// The attribute.
        attribute: String,
        /// The text.
        value: String,
    },
    /// The attribute begins with this text.
    Prefix {
        /// The attribute.
        attribute: String,
        /// The text.
        value: String,
    },
    /// The attribute ends with this text.
    Suffix {
        /// The attribute.
        attribute: String,
        /// The text.
        value: String,
    },
    /// All of these hold; none does where there is none.
    All(Vec<EventFilter>),
    /// One of these holds.
    Any(Vec<EventFilter>),
    /// This does not hold.
    Not(Box<EventFilter>),
}

impl EventFilter {
    /// Whether the event is meant.
    pub fn matches(&self, event: &CloudEvent) -> bool {
        match self {
            Self::Exact { attribute, value } => event.attribute(attribute).is_some_and(|text| text == value.as_str()),
            Self::Prefix { attribute, value } => {
                event.attribute(attribute).is_some_and(|text| text.starts_with(value.as_str()))
            }
            Self::Suffix { attribute, value } => {
                event.attribute(attribute).is_some_and(|text| text.ends_with(value.as_str()))
            }
            Self::All(filters) => !filters.is_empty() && filters.iter().all(|filter| filter.matches(event)),
            Self::Any(filters) => filters.iter().any(|filter| filter.matches(event)),
            Self::Not(filter) => !filter.matches(event),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::{CloudEvent, EventFilter};

    fn leaf() -> impl Strategy<Value = EventFilter> {
        let attribute = prop::sample::select(vec!["type", "source", "subject", "partitionkey"]);
        (attribute, "[ab/]{0,3}", 0..3_u8).prop_map(|(attribute, value, kind)| {
            let attribute = attribute.to_owned();
            match kind {
                0 => EventFilter::Exact { attribute, value },
                1 => EventFilter::Prefix { attribute, value },
                _ => EventFilter::Suffix { attribute, value },
            }
        })
    }

    fn filter() -> impl Strategy<Value = EventFilter> {
        leaf().prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 1..3).prop_map(EventFilter::All),
                prop::collection::vec(inner.clone(), 1..3).prop_map(EventFilter::Any),
                inner.prop_map(|one| EventFilter::Not(Box::new(one))),
            ]
        })
    }

    fn negated(filters: &[EventFilter]) -> Vec<EventFilter> {
        filters.iter().map(|filter| EventFilter::Not(Box::new(filter.clone()))).collect()
    }

    proptest! {
        #[test]
        fn the_laws_of_logic_hold(filter in filter(), kind in "[ab/]{1,4}", source in "[ab/]{1,4}", subject in "[ab/]{1,4}") {
            let event = CloudEvent::now(kind, source, subject, Value::Null);
            let holds = filter.matches(&event);
            prop_assert_ne!(EventFilter::Not(Box::new(filter.clone())).matches(&event), holds);
            prop_assert_eq!(EventFilter::All(vec![filter.clone()]).matches(&event), holds);
            prop_assert_eq!(EventFilter::Any(vec![filter.clone()]).matches(&event), holds);
            // De Morgan.
            if let EventFilter::All(inner) = &filter {
                prop_assert_ne!(EventFilter::Any(negated(inner)).matches(&event), holds);
            }
            if let EventFilter::Any(inner) = &filter {
                prop_assert_ne!(EventFilter::All(negated(inner)).matches(&event), holds);
            }
            // What is equal begins and ends with it.
            if let EventFilter::Exact { attribute, value } = &filter
                && holds
            {
                let (attribute, value) = (attribute.clone(), value.clone());
                let prefix = EventFilter::Prefix { attribute: attribute.clone(), value: value.clone() };
                prop_assert!(prefix.matches(&event));
                let suffix = EventFilter::Suffix { attribute, value };
                prop_assert!(suffix.matches(&event));
            }
        }
    }
}
