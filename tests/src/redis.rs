//! A real Redis, alone or as a cluster, for tests and measurements.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use crate::Certificates;
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// The longest that a server may take to answer, or a cluster to form. A million executions take half a minute to be read.
const PATIENCE: Duration = Duration::from_mins(2);
/// How often a start is tried whose port somebody took meanwhile.
const STARTS: usize = 5;
/// How to get what is missing.
const MEND: &str =
    "run `cargo xtask setup`, or install Redis 7 or later so that `redis-server` and `redis-cli` are found";

/// A `redis-server` on a free loopback port, which writes all it is told to its folder before it answers. It is killed
/// when this is dropped.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    tls: Option<Tls>,
    folder: PathBuf,
    options: Vec<String>,
    child: Child,
}

impl RedisServer {
    /// Starts a server that keeps its data in `folder`, and waits until it answers.
    pub fn start(folder: &Path) -> Result<Self> {
        Self::start_with(folder, &[])
    }

    /// The same, with more options of `redis-server`.
    pub fn start_with(folder: &Path, options: &[&str]) -> Result<Self> {
        Self::launch(folder, None, options)
    }

    /// The same for a server that speaks TLS and nothing else, with these certificates. It asks its clients for a
    /// certificate if `mutual`.
    pub fn start_tls(folder: &Path, certificates: &Certificates, mutual: bool) -> Result<Self> {
        Self::launch(folder, Some(Tls { certificates: certificates.clone(), mutual }), &[])
    }

    fn launch(folder: &Path, tls: Option<Tls>, options: &[&str]) -> Result<Self> {
        let options: Vec<_> = options.iter().map(|option| (*option).to_owned()).collect();
        std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        let mut last = None;
        for _ in 0..STARTS {
            let port = free_port()?;
            let mut child = spawn(port, tls.as_ref(), folder, &options)?;
            match wait_until(PATIENCE, || answers(port, tls.as_ref()) || has_ended(&mut child)) {
                Ok(()) if !has_ended(&mut child) => {
                    return Ok(Self { port, tls, folder: folder.to_owned(), options, child });
                }
                outcome => last = outcome.err(),
            }
            end(&mut child);
        }
        let log = std::fs::read_to_string(folder.join("redis.log")).unwrap_or_default();
        bail!("redis-server did not start ({last:?}); its log:\n{log}")
    }

    /// As `redis://127.0.0.1:6379`, or `rediss://…` over TLS.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.tls.is_some() { "rediss" } else { "redis" }, self.host())
    }

    /// As `127.0.0.1:6379`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What `redis-cli` answers to a command.
    pub fn cli(&self, arguments: &[&str]) -> Result<String> {
        cli(self.port, self.tls.as_ref(), arguments)
    }

    /// Stops it as it is (SIGSTOP): it keeps its connections and says nothing.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Kills it.
    pub fn kill(&mut self) {
        end(&mut self.child);
    }

    /// Starts it again on its data and its port, after [`RedisServer::kill`].
    pub fn restart(&mut self) -> Result<()> {
        self.child = spawn(self.port, self.tls.as_ref(), &self.folder, &self.options)?;
        wait_until(PATIENCE, || answers(self.port, self.tls.as_ref()))
    }

    /// Makes the server believe that so much time has passed: what expires, and how long entries have been pending.
    pub fn advance(&self, by: Duration) -> Result<()> {
        self.cli(&["EVAL", include_str!("advance.lua"), "0", &by.as_millis().to_string()]).map(drop)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal).context("redis-server cannot be signalled")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Three servers that share the slots of a cluster.
#[derive(Debug)]
pub struct RedisCluster {
    /// The servers.
    pub nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts them below `folder` and waits until the cluster has formed.
    pub fn start(folder: &Path) -> Result<Self> {
        Self::launch(folder, None)
    }

    /// The same for servers that speak TLS and nothing else, with clients and with each other, as
    /// [`RedisServer::start_tls`].
    pub fn start_tls(folder: &Path, certificates: &Certificates, mutual: bool) -> Result<Self> {
        Self::launch(folder, Some(&Tls { certificates: certificates.clone(), mutual }))
    }

    fn launch(folder: &Path, tls: Option<&Tls>) -> Result<Self> {
        let mut nodes = Vec::new();
        for number in 0..3 {
            let bus = free_port()?.to_string();
            let over_tls = if tls.is_some() { "yes" } else { "no" };
            let options = ["--cluster-enabled", "yes", "--cluster-port", &bus, "--tls-cluster", over_tls];
            nodes.push(RedisServer::launch(&folder.join(number.to_string()), tls.cloned(), &options)?);
        }
        let hosts: Vec<_> = nodes.iter().map(RedisServer::host).collect();
        let mut create = vec!["--cluster", "create"];
        create.extend(hosts.iter().map(String::as_str));
        create.extend(["--cluster-replicas", "0", "--cluster-yes"]);
        nodes[0].cli(&create)?;
        let formed = |node: &RedisServer| {
            node.cli(&["CLUSTER", "INFO"])
                .is_ok_and(|info| info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3"))
        };
        wait_until(PATIENCE, || nodes.iter().all(formed))?;
        Ok(Self { nodes })
    }

    /// As `redis+cluster://127.0.0.1:1,127.0.0.1:2,127.0.0.1:3`, or `rediss+cluster://…` over TLS.
    pub fn url(&self) -> String {
        let hosts: Vec<_> = self.nodes.iter().map(RedisServer::host).collect();
        let scheme = if self.nodes.iter().any(|node| node.tls.is_some()) { "rediss" } else { "redis" };
        format!("{scheme}+cluster://{}", hosts.join(","))
    }

    /// The node that has an application's slot.
    pub fn node_of(&mut self, app: &str) -> Result<&mut RedisServer> {
        let slot: u16 = self.nodes[0].cli(&["CLUSTER", "KEYSLOT", &format!("{{{app}}}")])?.parse()?;
        let shards = self.nodes[0].cli(&["CLUSTER", "NODES"])?;
        let owns = |line: &&str| {
            line.split_whitespace()
                .skip(8)
                .filter_map(|range| range.split_once('-'))
                .any(|(first, last)| (first.parse().unwrap_or(u16::MAX)..=last.parse().unwrap_or(0)).contains(&slot))
        };
        let line = shards.lines().find(owns).context("no node has the slot")?;
        let address = line.split_whitespace().nth(1).and_then(|address| address.split('@').next());
        let address = address.context("the node has no address")?.to_owned();
        self.nodes.iter_mut().find(|node| node.host() == address).context("the node is unknown")
    }
}

/// How a server speaks TLS.
#[derive(Debug, Clone)]
struct Tls {
    certificates: Certificates,
    mutual: bool,
}

impl Tls {
    /// Options of `redis-server` for this port, and no other.
    fn serve(&self, command: &mut Command, port: &str) {
        let Certificates { authority, certificate, key } = &self.certificates;
        command.args(["--port", "0", "--tls-port", port]).arg("--tls-ca-cert-file").arg(authority);
        command.arg("--tls-cert-file").arg(certificate).arg("--tls-key-file").arg(key);
        command.args(["--tls-auth-clients", if self.mutual { "yes" } else { "no" }]);
    }

    /// Options of `redis-cli`.
    fn ask(&self, command: &mut Command) {
        let Certificates { authority, certificate, key } = &self.certificates;
        command.args(["--tls", "--cacert"]).arg(authority).arg("--cert").arg(certificate).arg("--key").arg(key);
    }
}

fn spawn(port: u16, tls: Option<&Tls>, folder: &Path, options: &[String]) -> Result<Child> {
    let mut command = Command::new("redis-server");
    match tls {
        Some(tls) => tls.serve(&mut command, &port.to_string()),
        None => drop(command.args(["--port", &port.to_string()])),
    }
    command.args(["--bind", "127.0.0.1", "--save", "", "--daemonize", "no"]);
    command.args(["--appendonly", "yes", "--appendfsync", "always", "--enable-debug-command", "local"]);
    command.arg("--dir").arg(folder).arg("--logfile").arg(folder.join("redis.log")).args(options);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().with_context(|| format!("redis-server is missing: {MEND}"))
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
    Ok(listener.local_addr()?.port())
}

fn cli(port: u16, tls: Option<&Tls>, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("redis-cli");
    command.args(["-h", "127.0.0.1", "-p", &port.to_string()]);
    if let Some(tls) = tls {
        tls.ask(&mut command);
    }
    let output = command.args(arguments).stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("redis-cli is missing: {MEND}"))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    if !output.status.success() || text.contains("ERR ") {
        bail!("redis-cli {arguments:?}: {text}");
    }
    Ok(text)
}

/// Whether a server answers and has read its data.
fn answers(port: u16, tls: Option<&Tls>) -> bool {
    if tls.is_some() {
        return cli(port, tls, &["PING"]).is_ok_and(|answer| answer == "PONG");
    }
    let ask = || -> std::io::Result<bool> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"PING\r\n")?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer)?;
        // A server with a password says that one is needed.
        Ok(&answer == b"+PONG" || &answer == b"-NOAU")
    };
    ask().unwrap_or(false)
}

fn has_ended(child: &mut Child) -> bool {
    !matches!(child.try_wait(), Ok(None))
}

fn end(child: &mut Child) {
    // It may have ended already.
    let _ = child.kill();
    let _ = child.wait();
}

fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> Result<()> {
    let end = Instant::now() + limit;
    while !done() {
        if Instant::now() > end {
            bail!("it took longer than {} s", limit.as_secs());
        }
        sleep(Duration::from_millis(20));
    }
    Ok(())
}
