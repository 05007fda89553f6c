//! A server with the tests' fixture, for benchmarks that need code which Nexus wrote.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nexus_tests::{Fixture, House, HouseOptions, Taste, source};

use crate::workspace::Workspace;

/// A folder of one measurement; it goes when this is dropped.
pub(super) struct Bench {
    pub(super) folder: PathBuf,
}

impl Bench {
    pub(super) fn new(workspace: &Workspace, name: &str) -> Result<Self> {
        let folder = workspace.target.join(format!("bench/{name}-{}", std::process::id()));
        for name in ["apps", "recordings"] {
            let part = folder.join(name);
            std::fs::create_dir_all(&part).with_context(|| format!("{} cannot be made", part.display()))?;
        }
        Ok(Self { folder })
    }

    pub(super) fn apps(&self) -> PathBuf {
        self.folder.join("apps")
    }

    /// Adds the fixture as an application; the coder's first attempt is good.
    pub(super) fn add(&self, app: &str) -> Result<()> {
        let fixture = Fixture::new(app, Taste::Opinion)?.with_code("weigh", vec![source("weigh.2")?]);
        fixture.write(&self.apps(), &self.folder.join("recordings"))
    }

    /// Starts a server with fresh state; everything but the replay's latency and `settings` is as shipped.
    pub(super) fn start(
        &self,
        workspace: &Workspace,
        state: &str,
        settings: &str,
        cores: Option<(&'static str, &'static str)>,
    ) -> Result<House> {
        let data = self.folder.join(state);
        std::fs::create_dir_all(&data)?;
        let options = HouseOptions {
            cores,
            ..HouseOptions::new(workspace.programs(), self.apps(), self.folder.join("recordings"), settings.to_owned())
        };
        House::start(options, &data)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        // A folder that stays is below the target folder and does no harm.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Copies an application of the workspace.
pub(super) fn copy_app(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| format!("{} cannot be read", from.display()))? {
        let (path, target) = entry.map(|entry| (entry.path(), to.join(entry.file_name())))?;
        if path.is_dir() {
            copy_app(&path, &target)?;
        } else {
            std::fs::copy(&path, &target)?;
        }
    }
    Ok(())
}
