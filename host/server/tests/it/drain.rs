//! How a server stops.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;

use crate::support::{Host, in_time, problem};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_flight_is_finished_and_nothing_new_is_begun() {
    let mut host = Host::start().await;
    let url = host.url();
    let held = host.shout("held").send();
    let (client, admin) = (host.client.clone(), host.admin.clone());
    let running = host.take();
    let watch = async {
        host.endpoint.asked_by(1).await;
        let stopping = running.stop();
        let look = async {
            problem(draining(&client, &url).await, 503, "draining").await;
            assert_eq!(client.get(format!("{url}/healthz")).send().await.unwrap().status(), StatusCode::OK);
            let refused = client.get(format!("{url}/v1/apps")).bearer_auth(&admin).send().await.unwrap();
            assert!(refused.headers().contains_key("retry-after"));
            problem(refused, 503, "draining").await;
            host.endpoint.release();
        };
        tokio::join!(stopping, look).0
    };
    let (held, finished) = in_time(async { tokio::join!(held, watch) }).await;
    let held = held.unwrap();
    assert_eq!(held.status(), 200);
    assert_eq!(held.json::<serde_json::Value>().await.unwrap(), json!({ "shout": "HELD" }));
    assert!(finished);
    assert!(client.get(format!("{url}/healthz")).send().await.is_err(), "nobody listens any more");
}

/// The first answer of `/readyz` that is not the one of a server at work.
async fn draining(client: &reqwest::Client, url: &str) -> reqwest::Response {
    loop {
        let ready = client.get(format!("{url}/readyz")).send().await.unwrap();
        if ready.status() != StatusCode::OK {
            return ready;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_has_an_end() {
    let mut host = Host::start_with(|settings| settings.limits.drain = Duration::from_millis(200)).await;
    let held = host.shout("held").send();
    let running = host.take();
    let stop = async {
        host.endpoint.asked_by(1).await;
        running.stop().await
    };
    let (held, finished) = in_time(async { tokio::join!(held, stop) }).await;
    assert!(!finished, "the model has not answered: {held:?}");
    assert!(held.map_or(true, |answer| answer.status() != 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_does_not_hold_a_stopping_server() {
    let mut host = Host::start().await;
    assert_eq!(host.shout("x").send().await.unwrap().status(), 200);
    assert!(in_time(host.stop()).await);
}
