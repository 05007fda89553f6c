//! Path and query parameters whose faults are problems like all others.

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
