//! What runs in the sandboxes of the tests: one static program without dependencies, which does what its first argument says.

use std::{
    env::args,
    fs::{self, OpenOptions},
    io::{self, BufRead, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

fn main() {
    let words: Vec<String> = args().skip(1).collect();
    let word = |place: usize| words.get(place).map_or("", String::as_str);
    match word(0) {
        "look" => look(),
        "deaf" => deaf(),
        "flood" => flood(),
        "forks" => forks(),
        "child" => thread::sleep(Duration::from_secs(600)),
        "disk" => disk(),
        "memory" => memory(),
        "data" => data(word(1)),
        "ask" => ask(&words[1..]),
        "env" => {
            for (name, value) in std::env::vars() {
                say(format!("{name}={value}"));
            }
            say("end");
        }
        "complain" => {
            eprintln!("I have a complaint");
            std::process::exit(7);
        }
        _ => echo(),
    }
}

fn say(line: impl AsRef<str>) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{}", line.as_ref()).and_then(|()| out.flush());
}

fn echo() {
    say("ready");
    for line in io::stdin().lock().lines() {
        say(line.unwrap_or_default());
    }
}

/// Does not care that its input ends.
fn deaf() {
    say("ready");
    loop {
        thread::sleep(Duration::from_secs(600));
    }
}

/// Writes as fast as it may. For each line that it hears, it says on standard error how many it had written then.
fn flood() {
    static LINES: AtomicU64 = AtomicU64::new(0);
    say("ready");
    thread::spawn(|| {
        for _ in io::stdin().lock().lines() {
            eprintln!("{}", LINES.load(Ordering::Relaxed));
        }
    });
    let line = "x".repeat(1023);
    loop {
        say(&line);
        LINES.fetch_add(1, Ordering::Relaxed);
    }
}

fn forks() {
    say("ready");
    let mut children = Vec::new();
    let mut refused = 0;
    while refused < 1000 {
        match Command::new("/proc/self/exe").arg("child").spawn() {
            Ok(child) => children.push(child),
            Err(_) => refused += 1,
        }
    }
    say(format!("children {}", children.len()));
    deaf();
}

/// Every place that the kernel says is mounted, whatever the options say.
fn places() -> Vec<String> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().filter_map(|line| line.split_whitespace().nth(1)).map(str::to_owned).collect()
}

fn writable(place: &str) -> bool {
    let file = format!("{}/probe", place.trim_end_matches('/'));
    OpenOptions::new().create(true).append(true).open(file).is_ok()
}

fn disk() {
    say("ready");
    let chunk = vec![b'x'; 1 << 20];
    let mut written = 0_u64;
    for place in places() {
        let file = format!("{}/fill", place.trim_end_matches('/'));
        if let Ok(mut file) = OpenOptions::new().create(true).write(true).open(file) {
            while written < 4 << 30 && file.write_all(&chunk).is_ok() {
                written += 1 << 20;
            }
        }
    }
    say(format!("written {written}"));
    deaf();
}

fn memory() {
    say("ready");
    let mut all = Vec::new();
    loop {
        all.push(vec![1_u8; 1 << 20]);
    }
}

fn look() {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    for line in status.lines() {
        if ["Uid", "Gid", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"]
            .iter()
            .any(|name| line.starts_with(&format!("{name}:")))
        {
            say(line.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    let routes = fs::read_to_string("/proc/net/route").unwrap_or_default();
    say(format!("routes {}", routes.lines().skip(1).count()));
    let devices = fs::read_dir("/sys/class/net").map(|found| {
        found.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect::<Vec<_>>().join(",")
    });
    say(format!("devices {}", devices.unwrap_or_default()));
    let names = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    say(format!("nameservers {}", names.lines().filter(|line| line.starts_with("nameserver")).count()));
    say(format!("resolves {}", ("example.com", 443).to_socket_addrs().is_ok()));
    let sockets = ["/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock"];
    say(format!("socket {}", sockets.iter().any(|place| fs::metadata(place).is_ok())));
    let places: Vec<String> = places().into_iter().filter(|place| writable(place)).collect();
    say(format!("writable {}", places.join(",")));
    let hosts = OpenOptions::new().append(true).open("/etc/hosts").is_ok();
    say(format!("hosts {hosts}"));
    say(format!("mknod {}", fs::metadata("/dev/sda").is_ok() || fs::metadata("/dev/vda").is_ok()));
    say("end");
    echo();
}

/// Appends to a file and says what is in it.
fn data(place: &str) {
    let file = format!("{place}/lines");
    let added = OpenOptions::new().create(true).append(true).open(&file).and_then(|mut file| file.write_all(b"x"));
    say(format!("added {}", added.is_ok()));
    say(fs::read_to_string(file).unwrap_or_default());
}

/// Connects to each `host:port`, asks the proxy for each URL, or talks to each destination, and says what came of it.
fn ask(wanted: &[String]) {
    let proxy = std::env::var("HTTP_PROXY").unwrap_or_default();
    let proxy = proxy.trim_start_matches("http://").to_owned();
    for wanted in wanted {
        let answer = match wanted.split_once(' ') {
            Some(("connect", target)) => tunnel(&proxy, target),
            Some(("tcp", target)) => talk(target),
            Some(("bytes", target)) => bytes(target),
            _ if wanted.starts_with("http://") => {
                exchange(&proxy, &format!("GET {wanted} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))
            }
            _ => direct(wanted).map(|_| "connected".to_owned()),
        };
        say(format!("{wanted} -> {}", answer.unwrap_or_else(|error| format!("failed ({error})"))));
    }
    say("end");
    // Its namespace is looked at from outside.
    echo();
}

/// Says `ping`, then that this is all, and hears what comes back until the end.
fn talk(target: &str) -> io::Result<String> {
    let mut stream = direct(target)?;
    stream.write_all(b"ping")?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Sends 8 MiB, and hears them come back.
fn bytes(target: &str) -> io::Result<String> {
    let mut stream = direct(target)?;
    let sent: Vec<u8> = (0..8_u32 << 20).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (mut writer, all) = (stream.try_clone()?, sent.clone());
    let writing = thread::spawn(move || writer.write_all(&all).and_then(|()| writer.shutdown(std::net::Shutdown::Write)));
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard)?;
    writing.join().map_err(|_| io::ErrorKind::Other)??;
    Ok(if heard == sent { "all came back" } else { "not all came back" }.to_owned())
}

fn direct(target: &str) -> io::Result<TcpStream> {
    let address = target.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?;
    TcpStream::connect_timeout(&address, Duration::from_secs(3))
}

fn exchange(proxy: &str, request: &str) -> io::Result<String> {
    let mut stream = direct(proxy)?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    Ok(format!("{} {body}", head.split_whitespace().nth(1).unwrap_or_default()))
}

/// Through a tunnel, says `ping` and hears what comes back.
fn tunnel(proxy: &str, target: &str) -> io::Result<String> {
    let mut stream = direct(proxy)?;
    stream.write_all(format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n").as_bytes())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let status = String::from_utf8_lossy(&head).split_whitespace().nth(1).unwrap_or_default().to_owned();
    if status != "200" {
        return Ok(status);
    }
    stream.write_all(b"ping")?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    Ok(format!("200 {}", String::from_utf8_lossy(&answer)))
}
