//! `PostgreSQL`, for the test of an MCP server that reads and writes a database.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::{debian, entries, said};
use crate::out;

/// Debian's package, of whatever version the release has.
const PACKAGE: &str = "postgresql";
/// The oldest version that the test takes.
const OLDEST: u32 = 13;
/// Where Debian's packages put their programs, a folder for each version: they are on no path.
const VERSIONS: &str = "/usr/lib/postgresql";

/// Makes sure that the programs of a `PostgreSQL` of version 13 or later are there, `initdb` and `postgres`. On Debian they are
/// installed where they are missing; the cluster that comes with the package is not left running: tests make their own.
pub(super) fn ensure() -> Result<()> {
    let mend = "install PostgreSQL 13 or later, so that `initdb` and `postgres` are found";
    if let Some(version) = version() {
        if version < OLDEST {
            bail!("PostgreSQL is of version {version}, and the tests need {OLDEST} or later: upgrade it");
        }
        return Ok(());
    }
    out::step("setup", "installing Debian's postgresql: an MCP server of others is tested on a real database");
    if debian::search(&format!("^{PACKAGE}$")).is_empty() {
        bail!("there is no package {PACKAGE} here: {mend}");
    }
    debian::install(&[PACKAGE.to_owned()]).context(mend)?;
    debian::stop_service(PACKAGE)?;
    version().map(drop).with_context(|| format!("{PACKAGE} was installed and is not found: {mend}"))
}

/// The newest main version of which both programs are there: in one of Debian's folders, or on the path.
fn version() -> Option<u32> {
    let folders = entries(VERSIONS.as_ref()).into_iter().map(|version| version.join("bin"));
    folders.chain([PathBuf::new()]).filter_map(|folder| version_in(&folder)).max()
}

fn version_in(folder: &Path) -> Option<u32> {
    said(Command::new(folder.join("initdb")).arg("--version"))?;
    main_version(&said(Command::new(folder.join("postgres")).arg("--version"))?)
}

fn main_version(told: &str) -> Option<u32> {
    told.strip_prefix("postgres (PostgreSQL) ")?.split(|mark: char| !mark.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::main_version;

    #[test]
    fn the_version_is_read() {
        assert_eq!(main_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(15));
        assert_eq!(main_version("postgres (PostgreSQL) 18rc1"), Some(18));
        assert_eq!(main_version("postgres"), None);
    }
}
