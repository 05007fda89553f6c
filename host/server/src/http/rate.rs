//! Rates as header fields: `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers), one item for the
//! key's rate and one for the application's.

use std::fmt::Write as _;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use nexus_core::RateState;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Tells callers how much of their rates is left; says nothing where there are none.
pub(crate) fn tell<'a>(fields: &mut HeaderMap, rates: impl IntoIterator<Item = &'a RateState>) {
    let (mut policy, mut limit) = (String::new(), String::new());
    for rate in rates {
        let comma = if policy.is_empty() { "" } else { ", " };
        let seconds = rate.reset.as_millis().div_ceil(1_000);
        // Writing to a String does not fail.
        let _ = write!(policy, "{comma}\"{}\";q={};w=60", rate.whose, rate.per_minute);
        let _ = write!(limit, "{comma}\"{}\";r={};t={seconds}", rate.whose, rate.remaining);
    }
    if let (false, Ok(policy), Ok(limit)) =
        (policy.is_empty(), HeaderValue::try_from(policy), HeaderValue::try_from(limit))
    {
        fields.insert(POLICY, policy);
        fields.insert(LIMIT, limit);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::HeaderMap;
    use nexus_core::RateState;

    use super::tell;

    #[test]
    fn rates_are_told_as_the_draft_says() {
        let key = RateState { whose: "key", per_minute: 60, remaining: 59, reset: Duration::from_millis(1_001) };
        let app = RateState { whose: "app", per_minute: 6, remaining: 0, reset: Duration::from_mins(1) };
        let mut fields = HeaderMap::new();
        tell(&mut fields, []);
        assert!(fields.is_empty());
        tell(&mut fields, [&key, &app]);
        assert_eq!(fields["ratelimit-policy"], "\"key\";q=60;w=60, \"app\";q=6;w=60");
        assert_eq!(fields["ratelimit"], "\"key\";r=59;t=2, \"app\";r=0;t=60");
    }
}
