//! What every request passes on its way in and every answer on its way out.

use std::{convert::Infallible, panic::AssertUnwindSafe};

use axum::{Router, body::Body, response::IntoResponse};
use futures::FutureExt;
use hyper::{Request, Response, body::Incoming};
use tower::Service;

use super::{Access, Api, error, headers, local};

/// The whole server for one connection; cheap to clone. No layers: one function around the routes.
#[derive(Clone)]
pub(crate) struct Door {
    routes: Router,
    local: bool,
}

impl Door {
    pub(crate) fn new(api: Api) -> Self {
        let local = api.access == Access::Local;
        Self { routes: super::routes(api), local }
    }

    /// Answers a request, whatever happens.
    pub(crate) async fn answer(mut self, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let mut response = match self.check(&request) {
            Ok(()) => {
                let answer = AssertUnwindSafe(self.routes.call(request)).catch_unwind().await;
                answer.map_or_else(|_| error::internal().into_response(), |Ok(response)| response)
            }
            Err(problem) => problem.into_response(),
        };
        headers::harden(response.headers_mut());
        Ok(response)
    }

    fn check(&self, request: &Request<Incoming>) -> Result<(), super::Problem> {
        if self.local { local::check(request.uri(), request.headers()) } else { Ok(()) }
    }
}
