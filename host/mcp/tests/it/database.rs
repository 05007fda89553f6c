//! A real `PostgreSQL` for one test.

use std::{
    fs::{self, File},
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

use crate::support::PATIENT;

/// Where Debian's packages put the programs, a folder for each version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// Whom it runs as where the test runs as root, which it refuses: `nobody`.
const NOBODY: u32 = 65534;
const PASSWORD: &str = "sesame";

/// A cluster in a temporary folder, on a free port of loopback, that asks for a password. It ends when this is dropped.
pub(crate) struct Database {
    folder: TempDir,
    port: u16,
    server: Child,
}

impl Database {
    /// Makes a cluster, and waits until it can be asked.
    pub(crate) fn start() -> Self {
        let (programs, folder) = (programs(), tempfile::tempdir().unwrap());
        let (data, password, log) =
            (folder.path().join("data"), folder.path().join("password"), folder.path().join("log"));
        fs::write(&password, PASSWORD).unwrap();
        for path in [folder.path(), &password] {
            given_away(path);
        }
        let mut made = humble(&programs.join("initdb"));
        made.args(["--username=nexus", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]);
        made.arg("--pwfile").arg(&password).arg("--pgdata").arg(&data);
        let made = made.output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = humble(&programs.join("postgres"));
        server.arg("-D").arg(&data).args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"]);
        server.args(["-c", "unix_socket_directories=", "-c", "fsync=off"]).stderr(File::create(&log).unwrap());
        let mut this = Self { server: server.spawn().unwrap(), folder, port };
        let end = Instant::now() + PATIENT;
        while !this.log().contains("ready to accept connections") {
            let ended = this.server.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < end, "PostgreSQL did not start ({ended:?}):\n{}", this.log());
            sleep(Duration::from_millis(20));
        }
        this
    }

    /// Where it is and how to log in.
    pub(crate) fn url(&self) -> String {
        format!("postgres://nexus:{PASSWORD}@127.0.0.1:{}/postgres?sslmode=disable", self.port)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // It ends at once, with all that it has started. It may have ended already.
        let _ = kill_process(Pid::from_child(&self.server), Signal::QUIT);
        let _ = self.server.wait();
    }
}

/// The newest programs in Debian's folders, or those on the path.
fn programs() -> PathBuf {
    let folders = fs::read_dir(VERSIONS).into_iter().flatten().flatten().map(|version| version.path().join("bin"));
    let newest = folders.max_by_key(|folder| {
        let version = folder.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        version.and_then(|version| version.parse::<u32>().ok())
    });
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = newest.into_iter().chain(std::env::split_paths(&path));
    let Some(found) = found.find(|folder| folder.join("initdb").exists()) else {
        panic!(
            "there is no PostgreSQL here, whose `initdb` and `postgres` the test runs: bring it with `cargo xtask setup`"
        );
    };
    found
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

fn given_away(path: &Path) {
    if geteuid().is_root() {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}
