//! The store in Redis keeps the contract, on a real server and a real cluster, and knows when it is alone.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod contract;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use contract::Driver;
use nexus_model::{AppName, Durability, Key, RuntimeStore, StoreError, Write};
use nexus_state::{OpenError, RedisConfig, RedisStore, RedisTls};
use nexus_tests::{Certificates, RedisCluster, RedisServer};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Longer than anything takes, however slow the machine.
const LONG: Duration = Duration::from_secs(30);

fn config(url: &str, deadline: Duration) -> RedisConfig {
    RedisConfig { deadline, quota: contract::QUOTA, ..RedisConfig::new(url.parse().unwrap()) }
}

/// The same over TLS: this authority is trusted, and no other.
fn trusting(url: &str, certificates: &Certificates) -> RedisConfig {
    let tls = RedisTls { authorities: Some(std::fs::read(&certificates.authority).unwrap()), identity: None };
    RedisConfig { tls, ..config(url, LONG) }
}

/// The same, showing a certificate of that authority.
fn shown(url: &str, certificates: &Certificates) -> RedisConfig {
    let mut config = trusting(url, certificates);
    let (certificate, key) = (std::fs::read(&certificates.certificate), std::fs::read(&certificates.key));
    config.tls.identity = Some((certificate.unwrap(), key.unwrap().into()));
    config
}

async fn try_open(config: RedisConfig) -> Result<Arc<RedisStore>, OpenError> {
    Ok(Arc::new(RedisStore::open(config, &TaskTracker::new(), CancellationToken::new()).await?))
}

async fn open(url: &str, deadline: Duration) -> Arc<RedisStore> {
    try_open(config(url, deadline)).await.unwrap()
}

/// One server, killed and started again between two stores: what was acknowledged is there.
struct Single(Mutex<RedisServer>);

impl Driver for Single {
    type Store = RedisStore;
    const DURABLE: bool = true;

    async fn open(&self) -> Arc<RedisStore> {
        let url = self.0.lock().unwrap().url();
        open(&url, LONG).await
    }

    async fn close(&self, store: Arc<RedisStore>) {
        store.close();
        let mut server = self.0.lock().unwrap();
        server.kill();
        server.restart().unwrap();
    }

    async fn advance(&self, by: Duration) {
        self.0.lock().unwrap().advance(by).unwrap();
    }
}

/// Three servers, and how they are reached.
struct Cluster(RedisCluster, RedisConfig);

impl Driver for Cluster {
    type Store = RedisStore;
    const DURABLE: bool = true;

    async fn open(&self) -> Arc<RedisStore> {
        try_open(self.1.clone()).await.unwrap()
    }

    async fn close(&self, store: Arc<RedisStore>) {
        store.close();
    }

    async fn advance(&self, by: Duration) {
        for node in &self.0.nodes {
            node.advance(by).unwrap();
        }
    }
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    (folder, path)
}

fn key(name: &str) -> Key {
    Key::of_host("test", name)
}

async fn put(store: &RedisStore, key: Key, value: &str) -> Result<(), StoreError> {
    store.write(vec![Write::Set { key, value: value.into(), ttl: None }], Durability::Synced).await
}

/// Asks until there is an answer.
async fn until_back(store: &RedisStore, key: &Key) {
    let end = Instant::now() + LONG;
    while let Err(error) = store.get(key).await {
        assert!(Instant::now() < end, "{error}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_keeps_the_contract() {
    let (_folder, path) = folder();
    contract::holds(&Single(Mutex::new(RedisServer::start(&path).unwrap()))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_cluster_keeps_the_contract() {
    let (_folder, path) = folder();
    let cluster = RedisCluster::start(&path).unwrap();
    let config = config(&cluster.url(), LONG);
    contract::holds(&Cluster(cluster, config)).await;
}

/// Over TLS and nothing else, each node showing a certificate and asking for one; also those nodes that the address does
/// not name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_cluster_over_tls_keeps_the_contract() {
    let (_folder, path) = folder();
    let ours = Certificates::make(&path.join("ours")).unwrap();
    let others = Certificates::make(&path.join("others")).unwrap();
    let cluster = RedisCluster::start_tls(&path.join("redis"), &ours, true).unwrap();
    let url = cluster.url();
    for untrusting in [config(&url, LONG), trusting(&url, &others)] {
        let error = try_open(untrusting).await.unwrap_err();
        assert!(matches!(error, OpenError::Untrusted { .. }) && error.to_string().contains("redis.ca"), "{error}");
    }
    for unknown in [trusting(&url, &ours), config(&url.replace("rediss", "redis"), LONG)] {
        let error = try_open(unknown).await.unwrap_err();
        assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");
    }
    let config = shown(url.split(',').next().unwrap(), &ours);
    contract::holds(&Cluster(cluster, config)).await;
}

/// A killed server: all that is asked is refused at once, however long the deadline is, until it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_server_that_is_gone() {
    let (_folder, path) = folder();
    let mut server = RedisServer::start(&path).unwrap();
    let store = open(&server.url(), LONG).await;
    put(&store, key("a"), "1").await.unwrap();
    server.kill();
    let gone = Instant::now();
    for _ in 0..1_000 {
        assert!(matches!(store.get(&key("a")).await, Err(StoreError::Unavailable(_))));
        assert!(matches!(put(&store, key("a"), "2").await, Err(StoreError::Unavailable(_))));
        assert!(matches!(store.ping().await, Err(StoreError::Unavailable(_))));
    }
    assert!(gone.elapsed() < LONG, "3,000 refusals took longer than one deadline");
    server.restart().unwrap();
    until_back(&store, &key("a")).await;
    assert_eq!(store.get(&key("a")).await.unwrap().as_deref(), Some(&b"1"[..]));
    put(&store, key("a"), "3").await.unwrap();
    store.close();
    assert!(matches!(store.get(&key("a")).await, Err(StoreError::Unavailable(_))));
}

/// A stopped server: who asks first waits for the deadline, and nobody after.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_deadline_is_enough_to_know_a_server_that_says_nothing() {
    let deadline = Duration::from_secs(2);
    let (_folder, path) = folder();
    let server = RedisServer::start(&path).unwrap();
    let store = open(&server.url(), deadline).await;
    put(&store, key("a"), "1").await.unwrap();
    server.pause().unwrap();
    let mut first = tokio::task::JoinSet::new();
    for _ in 0..1_000 {
        let store = Arc::clone(&store);
        first.spawn(async move { store.get(&key("a")).await });
    }
    let first = first.join_all().await;
    assert!(first.iter().all(Result::is_err), "none of those that were in flight, or waited for a place, was answered");
    let known = Instant::now();
    for _ in 0..1_000 {
        assert!(matches!(store.get(&key("a")).await, Err(StoreError::Unavailable(_))));
    }
    assert!(known.elapsed() < deadline, "1,000 refusals took longer than one deadline");
    server.resume().unwrap();
    until_back(&store, &key("a")).await;
}

/// In a cluster, the applications of the other nodes notice nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_node_takes_its_applications_only() {
    let (_folder, path) = folder();
    let mut cluster = RedisCluster::start(&path).unwrap();
    for node in &cluster.nodes {
        node.cli(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]).unwrap();
    }
    let of = |app: &str| Key::of_app(&app.parse::<AppName>().unwrap(), "test", "a");
    let apps = ["one", "two", "three", "four", "five", "six", "seven", "eight"];
    let lost = cluster.node_of("one").unwrap().host();
    let elsewhere = apps.into_iter().find(|app| cluster.node_of(app).unwrap().host() != lost).unwrap();
    let store = open(&cluster.url(), LONG).await;
    put(&store, of("one"), "1").await.unwrap();
    put(&store, of(elsewhere), "1").await.unwrap();
    cluster.node_of("one").unwrap().kill();
    let gone = Instant::now();
    for _ in 0..100 {
        assert!(matches!(store.get(&of("one")).await, Err(StoreError::Unavailable(_))));
        put(&store, of(elsewhere), "2").await.unwrap();
    }
    assert!(gone.elapsed() < LONG);
    let node = cluster.nodes.iter_mut().find(|node| node.host() == lost).unwrap();
    node.restart().unwrap();
    until_back(&store, &of("one")).await;
    assert_eq!(store.get(&of("one")).await.unwrap().as_deref(), Some(&b"1"[..]));
}

/// Over TLS: a certificate of an authority that is named is taken, one of any other is refused, before anything is sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_reaches_a_server_whose_authority_is_known_and_no_other() {
    let (_folder, path) = folder();
    let ours = Certificates::make(&path.join("ours")).unwrap();
    let others = Certificates::make(&path.join("others")).unwrap();
    let mut server = RedisServer::start_tls(&path.join("redis"), &ours, false).unwrap();
    let url = server.url();
    let store = try_open(trusting(&url, &ours)).await.unwrap();
    put(&store, key("a"), "1").await.unwrap();
    server.kill();
    assert!(matches!(store.get(&key("a")).await, Err(StoreError::Unavailable(_))));
    server.restart().unwrap();
    until_back(&store, &key("a")).await;
    assert_eq!(store.get(&key("a")).await.unwrap().as_deref(), Some(&b"1"[..]));
    for untrusting in
        [config(&url, LONG), trusting(&url, &others), trusting(&url.replace("127.0.0.1", "localhost"), &ours)]
    {
        let error = try_open(untrusting).await.unwrap_err();
        let told = error.to_string();
        assert!(matches!(error, OpenError::Untrusted { .. }) && told.contains("redis.ca"), "{told}");
    }

    let mutual = RedisServer::start_tls(&path.join("mutual"), &ours, true).unwrap();
    let error = try_open(trusting(&mutual.url(), &ours)).await.unwrap_err().to_string();
    assert!(error.contains("ertificate"), "{error}");
    let config = shown(&mutual.url(), &ours);
    assert!(!format!("{config:?}").contains("PRIVATE"));
    try_open(config).await.unwrap().ping().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_used_is_told_with_a_mend() {
    let (_folder, path) = folder();
    let server = RedisServer::start_with(&path, &["--requirepass", "canary"]).unwrap();
    let refused =
        async |config| RedisStore::open(config, &TaskTracker::new(), CancellationToken::new()).await.unwrap_err();

    let error = refused(config(&server.url(), LONG)).await.to_string();
    assert!(error.contains(&server.host()) && error.contains("NOAUTH"), "{error}");
    let wrong = RedisConfig { password: Some("wrong-canary".into()), ..config(&server.url(), LONG) };
    assert!(!format!("{wrong:?}").contains("canary"));
    let error = refused(wrong).await;
    assert!(matches!(&error, OpenError::Unreachable { .. }) && !error.to_string().contains("canary"), "{error}");
    let right = RedisConfig { password: Some("canary".into()), ..config(&server.url(), LONG) };
    let full = RedisConfig { in_flight: 0, deadline: Duration::from_millis(300), ..right.clone() };
    let error = refused(full).await.to_string();
    assert!(error.contains("busy") && error.contains("300 ms"), "{error}");
    RedisStore::open(right, &TaskTracker::new(), CancellationToken::new()).await.unwrap().ping().await.unwrap();

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("redis://{}", listener.local_addr().unwrap());
    let error = refused(config(&silent, Duration::from_millis(300))).await.to_string();
    assert!(error.contains(&silent) && error.contains("store: embedded"), "{error}");
}
