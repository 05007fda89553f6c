//! What every request passes on its way in and every answer on its way out.

use std::{convert::Infallible, panic::AssertUnwindSafe};

use axum::{
    BoxError, Router,
    body::{Body, Bytes, HttpBody},
    response::IntoResponse,
};
use futures::FutureExt;
use hyper::{Request, Response, StatusCode};
use tower::Service;

use super::{Access, Api, Problem, api::Asking, error, headers, local};

/// The whole server for one connection; cheap to clone. No layers: one function around the routes.
#[derive(Clone)]
pub(crate) struct Door {
    routes: Router,
    api: Api,
}

impl Door {
    pub(crate) fn new(api: Api) -> Self {
        Self { routes: super::routes(api.clone()), api }
    }

    /// Answers a request, whatever happens.
    pub(crate) async fn answer<B>(mut self, request: Request<B>) -> Result<Response<Body>, Infallible>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let asking = Asking::of(&request);
        let mut response = match self.check(&request) {
            Ok(()) => guarded(&mut self.routes, request).await,
            Err(problem) => problem.into_response(),
        };
        if matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            self.api.deny(response.status(), &asking);
        }
        headers::harden(response.headers_mut());
        Ok(response)
    }

    fn check<B>(&self, request: &Request<B>) -> Result<(), Problem> {
        if self.api.access == Access::Local { local::check(request.uri(), request.headers()) } else { Ok(()) }
    }
}

/// The answer of the routes; a panic in one of them is an answer too.
async fn guarded<B>(routes: &mut Router, request: Request<B>) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let answer = AssertUnwindSafe(routes.call(request)).catch_unwind().await;
    answer.map_or_else(|_| error::internal().into_response(), |Ok(response)| response)
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Body, routing::get};
    use hyper::{Request, StatusCode};

    use super::guarded;

    #[tokio::test]
    async fn a_panic_is_one_answer_and_not_the_end() {
        let panics = get(|| async { [0][std::hint::black_box(1)].to_string() });
        let mut routes = Router::new().route("/panic", panics).route("/fine", get(|| async { "fine" }));
        for (path, status) in [("/panic", StatusCode::INTERNAL_SERVER_ERROR), ("/fine", StatusCode::OK)] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let response = guarded(&mut routes, request).await;
            assert_eq!(response.status(), status);
            if status != StatusCode::OK {
                assert_eq!(response.headers()["content-type"], "application/problem+json");
            }
        }
    }
}
