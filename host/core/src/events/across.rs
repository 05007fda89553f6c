//! Events that one application emits and another takes: only where both definitions say so.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use nexus_model::{AppName, Security};
use nexus_signals::DeliveryRefusal;

use super::Events;
use crate::{
    permissions::{CallRefused, may_call},
    registry::Application,
};

/// Pairs of applications whose refusal is remembered; with more, all are forgotten and said again.
const MOST_PAIRS: usize = 4_096;

/// The refusals that were said, by who emits and who takes.
#[derive(Default)]
pub(super) struct Said(Mutex<BTreeMap<(AppName, AppName), DeliveryRefusal>>);

impl Said {
    /// Whether this is to be said: a reason is, once, and again after another one or after the pair was permitted.
    fn is_news(&self, emitter: &AppName, taker: &AppName, reason: Option<DeliveryRefusal>) -> bool {
        let pair = (emitter.clone(), taker.clone());
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(reason) = reason else {
            said.remove(&pair);
            return false;
        };
        if said.len() >= MOST_PAIRS && !said.contains_key(&pair) {
            said.clear();
        }
        said.insert(pair, reason) != Some(reason)
    }
}

impl Events {
    /// Whether an application may take what this one emits, by the definitions that serve now. What no application of
    /// this name serves permits nothing.
    pub(super) fn permits(&self, emitter: &AppName, taker: &Application) -> Result<(), CallRefused> {
        let emits = self.parts.registry.application(emitter.as_str());
        let nothing = Security::default();
        let security = emits.as_ref().map_or(&nothing, |emits| &emits.app.security);
        may_call((emitter, security), (&taker.app.name, &taker.app.security))
    }

    /// As [`Events::permits`], for a delivery that is about to be made: a refusal is counted, and said once.
    pub(super) fn permit(&self, emitter: &AppName, taker: &Application) -> Result<(), CallRefused> {
        let outcome = self.permits(emitter, taker);
        let refused = outcome.as_ref().err();
        let reason = refused.map(CallRefused::reason);
        if let Some(reason) = reason {
            self.parts.metrics.host().record_delivery_refused(reason);
        }
        if self.said.is_news(emitter, &taker.app.name, reason)
            && let Some(refused) = refused
        {
            let mend = refused.mend();
            tracing::warn!(app = %taker.app.name, emitter = %emitter, "events are not delivered: {refused}; {mend}");
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_said_once_for_each_pair_and_reason() {
        let name = |name: &str| name.parse::<AppName>().unwrap();
        let (said, shop, crm) = (Said::default(), name("shop"), name("crm"));
        let (declared, admitted) = (Some(DeliveryRefusal::NotDeclared), Some(DeliveryRefusal::NotAdmitted));
        for (reason, news) in [
            (None, false),
            (declared, true),
            (declared, false),
            (admitted, true),
            (admitted, false),
            (declared, true),
            (None, false),
            (declared, true),
        ] {
            assert_eq!(said.is_news(&shop, &crm, reason), news, "{reason:?}");
        }
        assert!(said.is_news(&crm, &shop, declared), "another pair");
    }

    #[test]
    fn memory_is_bounded() {
        let said = Said::default();
        let taker: AppName = "crm".parse().unwrap();
        for number in 0..2 * MOST_PAIRS {
            let emitter: AppName = format!("app-{number}").parse().unwrap();
            assert!(said.is_news(&emitter, &taker, Some(DeliveryRefusal::NotDeclared)));
        }
        assert!(said.0.lock().unwrap().len() <= MOST_PAIRS);
    }
}
