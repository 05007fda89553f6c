//! A service that counts what it is asked to do.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread::{JoinHandle, sleep, spawn},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::random::Random;

/// Connections at one time; more are closed at once.
const CONNECTIONS: usize = 1_024;
/// How soon an idle connection sees that the service ends.
const LOOK: Duration = Duration::from_millis(200);
/// The longest an answer takes, in microseconds.
const LATENCY: u64 = 20_000;
/// The longest line of a request, and the largest body, in bytes.
const LARGEST: u64 = 64 << 10;

/// One effect that can be asked for: of an execution's number, and a step's.
pub(super) type Effect = (usize, usize);

/// What was asked of one effect.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    /// Requests.
    pub(super) requests: usize,
    /// Their idempotency keys.
    pub(super) keys: BTreeSet<String>,
}

/// An HTTP service on loopback: `POST /EXECUTION/STEP` is an effect. It counts requests as they come, and their
/// `Idempotency-Key`s, and answers after up to 20 ms.
pub struct CountingService {
    shared: Arc<Shared>,
    address: SocketAddr,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    asked: Mutex<BTreeMap<Effect, Asked>>,
    /// When each execution last asked for something.
    last: Mutex<BTreeMap<usize, Instant>>,
    seed: AtomicU64,
    stop: AtomicBool,
}

impl CountingService {
    /// Starts it on a free port.
    pub fn start(seed: u64) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no port is free")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            asked: Mutex::default(),
            last: Mutex::default(),
            seed: AtomicU64::new(seed),
            stop: AtomicBool::new(false),
        });
        let accepting = Some(spawn({
            let shared = Arc::clone(&shared);
            move || accept(&listener, &shared)
        }));
        Ok(Self { shared, address, accepting })
    }

    /// As `http://127.0.0.1:8080`.
    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All that was asked so far.
    pub(super) fn asked(&self) -> BTreeMap<Effect, Asked> {
        locked(&self.shared.asked).clone()
    }

    /// When an execution last asked for something.
    pub(super) fn last(&self, execution: usize) -> Option<Instant> {
        locked(&self.shared.last).get(&execution).copied()
    }
}

impl Drop for CountingService {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        // Whoever accepts looks up.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut open: Vec<JoinHandle<()>> = Vec::new();
    for connection in listener.incoming() {
        if shared.stop.load(SeqCst) {
            break;
        }
        open.retain(|thread| !thread.is_finished());
        if let Ok(connection) = connection
            && open.len() < CONNECTIONS
        {
            let shared = Arc::clone(shared);
            // A client that breaks off is a client that was killed.
            open.push(spawn(move || drop(serve(&connection, &shared))));
        }
    }
    for thread in open {
        let _ = thread.join();
    }
}

/// Answers requests until the client goes away or the service ends.
fn serve(connection: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(LOOK))?;
    let mut random = Random::new(shared.seed.fetch_add(1, SeqCst));
    let (mut reader, mut writer) = (BufReader::new(connection), connection);
    loop {
        // Wait for a first byte without taking it, so that a pause between requests loses nothing.
        match reader.fill_buf() {
            Ok([]) => return Ok(()),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                if shared.stop.load(SeqCst) {
                    return Ok(());
                }
                continue;
            }
            Err(error) => return Err(error),
        }
        let Some((effect, key)) = request(&mut reader)? else {
            return writer.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        };
        {
            let mut asked = locked(&shared.asked);
            let asked = asked.entry(effect).or_default();
            asked.requests += 1;
            asked.keys.extend(key);
        }
        locked(&shared.last).insert(effect.0, Instant::now());
        sleep(Duration::from_micros(random.below(LATENCY)));
        writer.write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 11\r\n\r\n{\"ok\":true}",
        )?;
    }
}

/// Reads a request: its effect and its key. `None` if it is none of this service's.
fn request(reader: &mut impl BufRead) -> std::io::Result<Option<(Effect, Option<String>)>> {
    let first = line(reader)?;
    let (mut key, mut length) = (None, 0);
    loop {
        let line = line(reader)?;
        if line.is_empty() {
            break;
        }
        let Some((name, value)) = line.split_once(':') else { return Ok(None) };
        match name.to_ascii_lowercase().as_str() {
            "idempotency-key" => key = Some(value.trim().to_owned()),
            "content-length" => length = value.trim().parse().unwrap_or(0),
            _ => {}
        }
    }
    std::io::copy(&mut reader.take(length.min(LARGEST)), &mut std::io::sink())?;
    let mut words = first.split(' ');
    let (method, path) = (words.next(), words.next().unwrap_or_default());
    let mut parts = path.trim_start_matches('/').split('/').map(str::parse);
    Ok(match (method, parts.next(), parts.next()) {
        (Some("POST"), Some(Ok(execution)), Some(Ok(step))) => Some(((execution, step), key)),
        _ => None,
    })
}

fn line(reader: &mut impl BufRead) -> std::io::Result<String> {
    let mut line = String::new();
    reader.take(LARGEST).read_line(&mut line)?;
    if line.is_empty() {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
