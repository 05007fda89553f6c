//! What a guest that misbehaves means for the others.

use std::time::Duration;

use futures::future::{join, join_all};
use nexus_model::ComponentFault;
use nexus_wasm::PoolSize;

use crate::support::{PATIENCE, config, fault, guest, host_with, plugin};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loops_on_every_worker_leave_the_neighbour_answering() {
    let dir = tempfile::tempdir().unwrap();
    let host = host_with(config(dir.path()));
    let endless = plugin(&host, &guest("(loop $l (br $l))")).await;
    let echo = plugin(&host, &guest("")).await;
    let hostile = join_all((0..8).map(|_| endless.run("1", PATIENCE)));
    // Not on a task of its own: the loops must give way on the very task that they share with this one.
    let neighbour = async {
        for _ in 0..40 {
            echo.run("1", PATIENCE).await.unwrap();
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        biased;
        ended = hostile => panic!("the loops ended before the neighbour had its answers: {ended:?}"),
        () = neighbour => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_pool_turns_calls_away_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.pool = PoolSize { instances: 3, concurrent: 2, warm: 1 };
    let host = host_with(config);
    let endless = plugin(&host, &guest("(loop $l (br $l))")).await;
    let echo = plugin(&host, &guest("")).await;
    let full = join(endless.run("1", PATIENCE), endless.run("1", PATIENCE));
    tokio::select! {
        biased;
        ended = full => panic!("the loops ended before the call was turned away: {ended:?}"),
        turned_away = fault(&*echo, 50) => assert_eq!(turned_away, ComponentFault::Exhausted),
    }
    let hold = async { drop(tokio::join!(endless.run("1", SHORT), endless.run("1", SHORT))) };
    let waits = echo.run("1", PATIENCE);
    let ((), answer) = join(hold, waits).await;
    assert!(answer.is_ok(), "{answer:?}");
}

/// How long the pool is held.
const SHORT: Duration = Duration::from_millis(200);
