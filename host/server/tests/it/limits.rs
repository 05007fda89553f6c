//! What happens at the limits.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::support::{Host, SHOUT, in_time, problem};

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_turns_away_before_it_works() {
    let host = Host::start_with(|settings| settings.limits.in_flight = 2).await;
    let turned_away = AtomicUsize::new(0);
    let call = async |n: usize| {
        let answer = host.shout(&format!("held {n}")).send().await.unwrap();
        if answer.status() != 200 && turned_away.fetch_add(1, Ordering::SeqCst) == 3 {
            host.endpoint.release();
        }
        answer
    };
    let answers = in_time(futures::future::join_all((0..6).map(call))).await;
    let (good, shed): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status() == 200);
    assert_eq!((good.len(), shed.len()), (2, 4));
    for answer in shed {
        assert!(answer.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
        problem(answer, 503, "overloaded").await;
    }
    assert_eq!(host.endpoint.asked(), 2);
    assert!(host.get("/metrics").send().await.unwrap().text().await.unwrap().contains("shed"));
    assert_eq!(host.shout("again").send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_told_by_a_full_server() {
    let host = Host::start_with(|settings| settings.limits.in_flight = 1).await;
    let held = async { host.shout("held").send().await.unwrap().status() };
    let health = async {
        host.endpoint.asked_by(1).await;
        problem(host.get("/v1/apps").send().await.unwrap(), 503, "overloaded").await;
        for path in ["/healthz", "/readyz"] {
            assert_eq!(host.client.get(format!("{}{path}", host.url())).send().await.unwrap().status(), 200);
        }
        host.endpoint.release();
    };
    let (status, ()) = tokio::join!(held, health);
    assert_eq!(status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_header_ends_the_connection() {
    let host = Host::start_with(|settings| settings.limits.header_timeout = Duration::from_millis(300)).await;
    for sent in ["", "GET /healthz HTTP/1.1\r\nHost: "] {
        let mut stream = TcpStream::connect(host.addr()).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let begun = Instant::now();
        let mut rest = Vec::new();
        // What is read before the end does not matter, nor whether the end is a clean one.
        let _ = in_time(stream.read_to_end(&mut rest)).await;
        assert!(begun.elapsed() >= Duration::from_millis(200));
        assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
    }
    assert_eq!(host.shout("neighbour").send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_body_is_not_waited_for() {
    let host = Host::start_with(|settings| settings.limits.body_timeout = Duration::from_millis(300)).await;
    let mut stream = TcpStream::connect(host.addr()).await.unwrap();
    let head = format!(
        "POST {SHOUT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: 100\r\n\r\n{{\"text",
        host.admin
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = in_time(stream.read(&mut answer)).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("body_timeout"), "{answer}");
    assert_eq!(host.shout("neighbour").send().await.unwrap().status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_before_sending_is_answered_before_sending() {
    let host = Host::start().await;
    let mut stream = TcpStream::connect(host.addr()).await.unwrap();
    let head = format!(
        "POST {SHOUT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: 2097152\r\nExpect: 100-continue\r\n\r\n",
        host.admin
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    in_time(stream.read_to_end(&mut answer)).await.unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_frees_its_place() {
    let host = Host::start_with(|settings| settings.limits.in_flight = 1).await;
    tokio::select! {
        answer = host.shout("held").send() => panic!("{answer:?}"),
        () = host.endpoint.asked_by(1) => {}
    }
    in_time(async {
        while host.shout("x").send().await.unwrap().status() != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}
