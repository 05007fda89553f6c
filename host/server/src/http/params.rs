//! Path and query parameters whose faults are problems like all others.

use std::str::FromStr;

use axum::{
    extract::{FromRequestParts, Path, Query},
    http::request::Parts,
};
use serde::de::DeserializeOwned;

use super::{api::Api, error, problem::Problem};

/// The names in a path. What is no text names nothing.
pub(crate) struct Named<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Api> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let Path(names) = Path::from_request_parts(parts, api).await.map_err(|_| error::unknown_route())?;
        Ok(Self(names))
    }
}

/// The query. What is not known is refused, not ignored.
pub(crate) struct Asked<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Api> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let Query(query) = Query::from_request_parts(parts, api)
            .await
            .map_err(|rejection| error::invalid_parameter(rejection.body_text()))?;
        Ok(Self(query))
    }
}

/// How many are asked for: `default` if nothing is said, at most `most`.
pub(crate) fn limit(asked: Option<usize>, default: usize, most: usize) -> Result<usize, Problem> {
    let limit = asked.unwrap_or(default);
    if (1..=most).contains(&limit) {
        Ok(limit)
    } else {
        Err(error::invalid_parameter(format!("`limit` is from 1 to {most}")))
    }
}

/// A value of the query, if it is there; `what` says what it must be, as "`app` is no name".
pub(crate) fn parsed<T: FromStr>(value: Option<&str>, what: &str) -> Result<Option<T>, Problem> {
    value.map(str::parse).transpose().map_err(|_| error::invalid_parameter(what))
}
