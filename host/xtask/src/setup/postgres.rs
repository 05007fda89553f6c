//! `PostgreSQL`, for the test of an MCP server that reads and writes a database.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use super::{debian::Server, entries, said};

/// Where Debian's packages put their programs, a folder for each version: they are on no path.
const VERSIONS: &str = "/usr/lib/postgresql";

/// Makes sure that the programs of a `PostgreSQL` of version 13 or later are there, `initdb` and `postgres`: tests make their own cluster.
pub(super) fn ensure() -> Result<()> {
    let server = Server {
        name: "PostgreSQL",
        package: "postgresql",
        oldest: 13,
        version,
        why: "an MCP server of others is tested on a real database",
        mend: "install PostgreSQL 13 or later, so that `initdb` and `postgres` are found",
    };
    server.ensure()
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
