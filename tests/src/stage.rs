//! A server with the fixture in a folder of its own.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{Fixture, House, HouseOptions};

/// Where a test happens: a folder with applications, recordings and state.
#[derive(Debug)]
pub struct Stage {
    folder: PathBuf,
}

impl Stage {
    /// Prepares `folder`, which the caller keeps for as long as the stage is used.
    pub fn new(folder: &Path) -> Result<Self> {
        for name in ["apps", "recordings", "data"] {
            std::fs::create_dir_all(folder.join(name)).with_context(|| format!("{name} cannot be made"))?;
        }
        Ok(Self { folder: folder.to_owned() })
    }

    /// The folder of the applications, which the server watches.
    pub fn apps(&self) -> PathBuf {
        self.folder.join("apps")
    }

    /// Adds an application with its recordings.
    pub fn add(&self, fixture: &Fixture) -> Result<()> {
        fixture.write(&self.apps(), &self.folder.join("recordings"))
    }

    /// Starts server and replay, the replay without latency. The oracle looks ten times a second and asks again about
    /// `audit` of the component's answers.
    pub fn start(&self, audit: f64) -> Result<House> {
        self.start_with(&format!("oracle: {{ tick_ms: 100, audit_share: {audit} }}\n"), Some(self.apps()))
    }

    /// Starts server and replay with these settings.
    pub fn start_with(&self, settings: &str, apps: Option<PathBuf>) -> Result<House> {
        House::start(self.options(settings, apps)?, &self.folder.join("data"))
    }

    /// Starts a server with these settings that has no applications of its own and asks its models where `other` does.
    pub fn start_beside(&self, other: &House, settings: &str) -> Result<House> {
        House::start_beside(other, self.options(settings, None)?, &self.folder.join("data"))
    }

    fn options(&self, settings: &str, apps: Option<PathBuf>) -> Result<HouseOptions> {
        let recordings = self.folder.join("recordings");
        Ok(HouseOptions { apps, ..HouseOptions::new(programs()?, self.apps(), recordings, settings.to_owned()) })
    }
}

/// A clone of a server's definitions, to change them as people do.
#[derive(Debug)]
pub struct Checkout {
    folder: PathBuf,
}

impl Checkout {
    /// Clones the definitions of a server to `folder`, which must not be there yet.
    pub fn new(house: &House, folder: &Path) -> Result<Self> {
        let repository = house.store().join("definitions.git");
        git(&house.store(), &["clone", "-q", &repository.to_string_lossy(), &folder.to_string_lossy()])?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// The folder of an application.
    pub fn app(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Commits all that changed and pushes it.
    pub fn push(&self, message: &str) -> Result<()> {
        git(&self.folder, &["add", "--all"])?;
        git(&self.folder, &["commit", "-q", "-m", message])?;
        git(&self.folder, &["push", "-q", "origin", "HEAD"]).map(|_| ())
    }
}

/// The folder of the built programs, as seen from a test: its own is `deps` in there.
pub fn programs() -> Result<PathBuf> {
    let own = std::env::current_exe().context("the test does not know its own program")?;
    own.ancestors().nth(2).map(Path::to_owned).context("the test's program has left the target folder")
}

/// What `git` says, run in `folder`.
pub fn git(folder: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("git");
    // A person's settings must not decide what a test sees.
    command.args(["-c", "user.name=Test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false"]);
    let output = command.args(arguments).current_dir(folder).output().context("the tests need the program `git`")?;
    if !output.status.success() {
        bail!("git {} failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
