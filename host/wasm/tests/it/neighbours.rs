//! What a guest that misbehaves means for the others.

use std::time::{Duration, Instant};

use nexus_model::ComponentFault;
use nexus_wasm::PoolSize;

use crate::support::{PATIENCE, config, fault, guest, host_with, plugin};

/// The nearest-rank percentile.
fn percentile(mut times: Vec<Duration>, percent: usize) -> Duration {
    times.sort();
    times[(times.len() * percent).div_ceil(100) - 1]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loops_on_every_worker_leave_the_neighbour_answering() {
    let dir = tempfile::tempdir().unwrap();
    let host = host_with(config(dir.path()));
    let endless = plugin(&host, &guest("(loop $l (br $l))")).await;
    let echo = plugin(&host, &guest("")).await;
    let hostile = async {
        let calls = (0..8).map(|_| endless.run("1", Duration::from_millis(800)));
        futures::future::join_all(calls).await
    };
    // Not on a task of its own: the loops must give way on the very task that they share with this one.
    let neighbour = async {
        let mut times = Vec::new();
        for _ in 0..40 {
            let start = Instant::now();
            echo.run("1", PATIENCE).await.unwrap();
            times.push(start.elapsed());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        times
    };
    let (ended, times) = tokio::join!(hostile, neighbour);
    assert!(ended.iter().all(|end| matches!(end, Err(ComponentFault::Deadline(_)))), "{ended:?}");
    assert!(percentile(times, 90) < Duration::from_millis(100));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_pool_turns_calls_away_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.pool = PoolSize { instances: 3, concurrent: 2, warm: 1 };
    let host = host_with(config);
    let endless = plugin(&host, &guest("(loop $l (br $l))")).await;
    let echo = plugin(&host, &guest("")).await;
    let long = Duration::from_millis(700);
    let (first, second, third, fourth) = tokio::join!(
        endless.run("1", long),
        endless.run("1", long),
        async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            fault(&*echo, 50).await
        },
        async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            echo.run("1", PATIENCE).await
        },
    );
    assert!(first.is_err() && second.is_err());
    assert_eq!(third, ComponentFault::Exhausted);
    assert!(fourth.is_ok());
}
