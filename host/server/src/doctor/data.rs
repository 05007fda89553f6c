//! The data directory, and the master key in it.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

use nexus_core::MasterKey;
use nexus_signals::Redactor;
use rustix::fs::{Access, access, statvfs};

use super::Finding;
use crate::{
    data_dir::{DataDir, DataDirError, MASTER_KEY_FILE, known_master_key},
    environment::Environment,
    settings::Settings,
};

const CHECK: &str = "data directory";
const MIB: u64 = 1 << 20;
/// With less free space a server will soon not be able to write.
const TOO_LITTLE: u64 = 100 * MIB;
/// With less free space an operator should know.
const LITTLE: u64 = 1024 * MIB;

/// Who has the data directory.
#[derive(Debug)]
pub(super) enum Hold {
    /// It is not there yet, or cannot be used.
    Nobody,
    /// A running server.
    Server,
    /// This examination, so that no server starts meanwhile.
    Us(DataDir),
}

/// Looks at the directory, and takes it if nobody has it.
pub(super) fn look(path: &Path) -> (Hold, Finding) {
    let shown = path.display();
    let meta = match fs::metadata(path) {
        Ok(meta) if meta.is_dir() => meta,
        Ok(_) => {
            let mend = "name a folder in `data_dir`, or move the file away";
            return (Hold::Nobody, Finding::fail(CHECK, format!("`{shown}` is no folder"), mend));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return (Hold::Nobody, absent(path)),
        Err(error) => return (Hold::Nobody, unusable(path, &error)),
    };
    let hold = match DataDir::open(path) {
        Ok(data) => Hold::Us(data),
        Err(DataDirError::InUse(_)) => Hold::Server,
        Err(DataDirError::Io { source, .. }) => return (Hold::Nobody, unusable(path, &source)),
        Err(error) => return (Hold::Nobody, Finding::fail(CHECK, error.to_string(), "look at the folder")),
    };
    let finding = judge(path, meta.mode(), free(path), matches!(hold, Hold::Server));
    (hold, finding)
}

fn unusable(path: &Path, error: &io::Error) -> Finding {
    let mend = "run this and the server as the user who owns the folder, or correct its owner and mode";
    Finding::fail(CHECK, format!("`{}` cannot be used: {error}", path.display()), mend)
}

/// A directory that the first start would make.
fn absent(path: &Path) -> Finding {
    let here = Path::new(".");
    let mut above = path.ancestors().skip(1).map(|folder| if folder.as_os_str().is_empty() { here } else { folder });
    let above = above.find(|folder| folder.exists()).unwrap_or(here);
    if above.is_dir() && access(above, Access::WRITE_OK).is_ok() {
        return Finding::ok(CHECK, format!("`{}` is not there yet; the first start makes it", path.display()));
    }
    let found = format!("`{}` is not there and cannot be made in `{}`", path.display(), above.display());
    Finding::fail(CHECK, found, "make the folder for the server's user, or name another in `data_dir`")
}

/// Bytes that this user may still write; `None` if the system does not say.
fn free(path: &Path) -> Option<u64> {
    statvfs(path).ok().map(|space| space.f_bavail.saturating_mul(space.f_frsize))
}

fn judge(path: &Path, mode: u32, free: Option<u64>, taken: bool) -> Finding {
    let shown = path.display();
    let space = free.map(|free| format!(", {} MiB free", free / MIB)).unwrap_or_default();
    let mend = "free space, or move the data directory to a larger disk; `log.keep_bytes`, `wasm.cache_bytes` and \
                `executions` bound what is kept";
    if free.is_some_and(|free| free < TOO_LITTLE) {
        return Finding::fail(CHECK, format!("`{shown}`{space}: too little"), mend);
    }
    if mode & 0o077 != 0 {
        let found = format!("`{shown}` can be entered by others (mode {:o}){space}", mode & 0o777);
        return Finding::warn(CHECK, found, format!("chmod 700 {shown}"));
    }
    if free.is_some_and(|free| free < LITTLE) {
        return Finding::warn(CHECK, format!("`{shown}`{space}"), mend);
    }
    let who = if taken { "a running server has it" } else { "no server has it" };
    Finding::ok(CHECK, format!("`{shown}`: {who}{space}"))
}

/// The master key, if there is one, and what is to be said of it.
pub(super) fn master_key(
    settings: &Settings,
    environment: &Environment,
    redactor: &Redactor,
) -> (Option<MasterKey>, Finding) {
    const CHECK: &str = "master key";
    let configured = environment.get("NEXUS_MASTER_KEY");
    match known_master_key(&settings.data_dir, configured, redactor) {
        Ok(None) => (None, Finding::ok(CHECK, "none yet; the first start makes one")),
        Ok(key) => {
            let file = settings.data_dir.join(MASTER_KEY_FILE).display().to_string();
            (key, Finding::ok(CHECK, format!("from {}", configured.map_or(&*file, |_| "NEXUS_MASTER_KEY"))))
        }
        Err(error) => {
            let mend = match &error {
                DataDirError::Exposed(path) => format!("chmod 600 {}", path.display()),
                DataDirError::NotAKey(_) => "bring back the key from its copy; without it, API keys, secrets and the \
                                             audit log's seals in the store cannot be opened"
                    .to_owned(),
                _ => "let the server's user read it".to_owned(),
            };
            (None, Finding::fail(CHECK, error.to_string(), mend))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{super::Outcome, LITTLE, TOO_LITTLE, judge};

    #[test]
    fn space_and_mode_are_judged() {
        let of = |mode, free| judge(Path::new("/d"), mode, free, false);
        assert_eq!(of(0o40_700, Some(LITTLE)).outcome, Outcome::Ok);
        assert_eq!(of(0o40_700, None).outcome, Outcome::Ok);
        assert_eq!(of(0o40_700, Some(LITTLE - 1)).outcome, Outcome::Warn);
        assert_eq!(of(0o40_750, Some(LITTLE)).mend.as_deref(), Some("chmod 700 /d"));
        let full = of(0o40_750, Some(TOO_LITTLE - 1));
        assert_eq!(full.outcome, Outcome::Fail);
        assert!(full.mend.unwrap().starts_with("free space"));
    }
}
