//! What one tiny call shows of a model.

use std::time::Duration;

use nexus_model::ModelErrorKind;

use crate::{
    KEY,
    endpoint::Endpoint,
    models,
    spoken::{PROVIDERS, answered, refusal, settings},
};

const NUMBERS: [&str; 3] = ["{\"numbers\":", "[1,2,3,4,5,6,7,8,9,10,", "11,12]}"];

#[tokio::test]
async fn a_model_that_works_shows_it() {
    for provider in PROVIDERS {
        let endpoint = Endpoint::start(vec![answered(provider, &NUMBERS, 40, 30)]).await;
        let probe = models(settings(provider, &endpoint), Some(KEY)).probe("small", Duration::from_secs(20)).await;
        assert!(probe.error.is_none(), "{probe:?}");
        assert_eq!(
            (probe.reachable, probe.key, probe.schema, probe.streaming),
            (Some(true), Some(true), Some(true), Some(true))
        );
        assert_eq!(probe.answered.as_deref(), Some("model-1"));
        assert_eq!(probe.usage.cost.unwrap().0, 40 * 150 + 30 * 600);
        assert!(probe.first_piece.is_some_and(|first| first <= probe.latency));
        assert_eq!(endpoint.requests().len(), 1);
    }
}

#[tokio::test]
async fn what_does_not_work_is_told_apart() {
    for provider in PROVIDERS {
        for (script, key, shown, kind) in [
            (vec![], None, (None, Some(false), None), ModelErrorKind::MissingKey),
            (
                refusal(provider, "401 Unauthorized", "", "authentication_error", "no"),
                Some(KEY),
                (Some(true), Some(false), None),
                ModelErrorKind::Unauthorized,
            ),
            (vec![], Some(KEY), (Some(false), None, None), ModelErrorKind::Unreachable),
            (
                answered(provider, &["one, two"], 1, 1),
                Some(KEY),
                (Some(true), Some(true), Some(false)),
                ModelErrorKind::NotJson,
            ),
        ] {
            let endpoint = Endpoint::start(vec![script]).await;
            let probe = models(settings(provider, &endpoint), key).probe("small", Duration::from_secs(20)).await;
            assert_eq!((probe.reachable, probe.key, probe.schema), shown, "{provider:?}: {probe:?}");
            let error = probe.error.unwrap();
            assert_eq!(error.kind, kind);
            assert!(!error.hint.is_empty());
        }
    }
}
