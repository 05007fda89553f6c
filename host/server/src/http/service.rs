//! What every request passes on its way in and every answer on its way out.

use std::{convert::Infallible, panic::AssertUnwindSafe};

use axum::{
    BoxError, Router,
    body::{Body, Bytes, HttpBody},
    response::IntoResponse,
};
use futures::FutureExt;
use hyper::{Request, Response};
use tower::Service;

use super::{Access, Api, Problem, error, headers, local};

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
    pub(crate) async fn answer<B>(mut self, request: Request<B>) -> Result<Response<Body>, Infallible>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
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

    fn check<B>(&self, request: &Request<B>) -> Result<(), Problem> {
        if self.local { local::check(request.uri(), request.headers()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, routing::get};
    use hyper::{Request, StatusCode};

    use super::Door;

    #[tokio::test]
    async fn a_panic_is_one_answer_and_not_the_end() {
        let panics = get(|| async { [0][std::hint::black_box(1)].to_string() });
        let routes = Router::new().route("/panic", panics).route("/fine", get(|| async { "fine" }));
        let door = Door { routes, local: false };
        for (path, status) in [("/panic", StatusCode::INTERNAL_SERVER_ERROR), ("/fine", StatusCode::OK)] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let response = door.clone().answer(request).await.unwrap();
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()["x-content-type-options"], "nosniff");
            if status != StatusCode::OK {
                assert_eq!(response.headers()["content-type"], "application/problem+json");
            }
        }
    }
}
