//! A `PostgreSQL` for a test.

use std::{
    env,
    fs::{File, create_dir_all, read_dir, read_to_string, write},
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, geteuid, kill_process};

/// The longest that it may take to answer.
const PATIENCE: Duration = Duration::from_mins(1);
/// Where Debian's packages put the programs, a folder for each version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// Whom it runs as where the test runs as root, which it refuses: `nobody`.
const NOBODY: u32 = 65534;
const PASSWORD: &str = "sesame";

/// A cluster of its own that asks for a password. It ends when this is dropped.
pub struct PostgresServer {
    folder: PathBuf,
    port: u16,
    server: Child,
}

impl PostgresServer {
    /// Makes a cluster in `folder`, which the caller keeps as long, at a free port of all addresses of this machine, and waits until it
    /// can be asked. Whoever runs it must be able to reach the folder.
    pub fn start(folder: &Path) -> Result<Self> {
        let programs = programs()?;
        create_dir_all(folder)?;
        let (data, password, log) = (folder.join("data"), folder.join("password"), folder.join("log"));
        write(&password, PASSWORD)?;
        for path in [folder, &password] {
            give_away(path)?;
        }
        let mut initdb = humble(&programs.join("initdb"));
        initdb.args(["--username=nexus", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]);
        initdb.arg("--pwfile").arg(&password).arg("--pgdata").arg(&data);
        let made = initdb.output().context("initdb cannot be started")?;
        ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        // Any address may ask, with the password.
        let mut rules = read_to_string(data.join("pg_hba.conf"))?;
        rules.push_str("host all all all scram-sha-256\n");
        write(data.join("pg_hba.conf"), rules)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut server = humble(&programs.join("postgres"));
        server.arg("-D").arg(&data).args(["-p", &port.to_string(), "-c", "listen_addresses=*"]);
        server.args(["-c", "unix_socket_directories=", "-c", "fsync=off"]).stderr(File::create(&log)?);
        let server = server.spawn().context("postgres cannot be started")?;
        let mut this = Self { folder: folder.to_owned(), port, server };
        let end = Instant::now() + PATIENCE;
        while !this.log().contains("ready to accept connections") {
            let ended = this.server.try_wait()?;
            ensure!(ended.is_none() && Instant::now() < end, "PostgreSQL did not start ({ended:?}):\n{}", this.log());
            sleep(Duration::from_millis(20));
        }
        Ok(this)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where it is and how to log in, for who reaches this machine by the name `host`.
    pub fn url(&self, host: &str) -> String {
        format!("postgres://nexus:{PASSWORD}@{host}:{}/postgres?sslmode=disable", self.port)
    }

    fn log(&self) -> String {
        read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // It ends at once, with all that it has started. It may have ended already.
        let _ = kill_process(Pid::from_child(&self.server), Signal::QUIT);
        let _ = self.server.wait();
    }
}

/// The newest programs in Debian's folders, or those on the path.
fn programs() -> Result<PathBuf> {
    let folders = read_dir(VERSIONS).into_iter().flatten().flatten().map(|version| version.path().join("bin"));
    let newest = folders.max_by_key(|folder| {
        let version = folder.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        version.and_then(|version| version.parse::<u32>().ok())
    });
    let path = env::var_os("PATH").unwrap_or_default();
    let mut found = newest.into_iter().chain(env::split_paths(&path));
    found.find(|folder| folder.join("initdb").exists()).context(
        "there is no PostgreSQL here, whose `initdb` and `postgres` the test runs: bring it with `cargo xtask setup`",
    )
}

/// A program that may do nothing that root may.
fn humble(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn give_away(path: &Path) -> Result<()> {
    if geteuid().is_root() {
        chown(path, Some(NOBODY), Some(NOBODY))?;
    }
    Ok(())
}
