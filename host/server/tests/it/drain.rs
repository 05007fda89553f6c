//! How a server stops.

use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::json;

use crate::support::{Host, problem};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_flight_is_finished_and_nothing_new_is_begun() {
    let mut host = Host::start().await;
    let url = host.url();
    let slow = host.shout("slow").send();
    let (client, admin) = (host.client.clone(), host.admin.clone());
    let running = host.take();
    let watch = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let stopping = running.stop();
        let look = async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            problem(client.get(format!("{url}/readyz")).send().await.unwrap(), 503, "draining").await;
            assert_eq!(client.get(format!("{url}/healthz")).send().await.unwrap().status(), StatusCode::OK);
            let refused = client.get(format!("{url}/v1/apps")).bearer_auth(&admin).send().await.unwrap();
            assert!(refused.headers().contains_key("retry-after"));
            problem(refused, 503, "draining").await;
        };
        tokio::join!(stopping, look).0
    };
    let (slow, finished) = tokio::join!(slow, watch);
    let slow = slow.unwrap();
    assert_eq!(slow.status(), 200);
    assert_eq!(slow.json::<serde_json::Value>().await.unwrap(), json!({ "shout": "SLOW" }));
    assert!(finished);
    assert!(client.get(format!("{url}/healthz")).send().await.is_err(), "nobody listens any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_has_an_end() {
    let mut host = Host::start_with(|settings| settings.limits.drain = Duration::from_millis(200)).await;
    let slow = host.shout("slow").send();
    let running = host.take();
    let stop = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let begun = Instant::now();
        (running.stop().await, begun.elapsed())
    };
    let (slow, (finished, took)) = tokio::join!(slow, stop);
    assert!(!finished || slow.is_ok());
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_does_not_hold_a_stopping_server() {
    let mut host = Host::start().await;
    assert_eq!(host.shout("x").send().await.unwrap().status(), 200);
    let begun = Instant::now();
    assert!(host.stop().await);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}
