//! Files out of Debian's packages, without installing them and without touching the system's package lists.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::{entries, make_folder, name, quietly, remove_folder, said};
use crate::{out, workspace::spelled};

/// The C library of WASI. Of any version that knows `wasm32-wasip2`: Debian's stable releases are older than that.
pub(super) const WASI_LIBC: Package<'_> =
    Package { name: "wasi-libc", version: None, suites: &["sid", "trixie-backports"] };

/// Names a folder with the packages as files, for the day when the archive has moved on to other versions.
const DEBS: &str = "NEXUS_DEBS";

/// A package to fetch.
#[derive(Clone, Copy)]
pub(super) struct Package<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// What its version has to begin with; any version will do without.
    pub(super) version: Option<&'a str>,
    /// Where to look for it, the best first.
    pub(super) suites: &'a [&'a str],
}

/// Fetches the packages and unpacks them all into the folder `to`.
pub(super) fn unpack(packages: &[Package<'_>], to: &Path) -> Result<()> {
    let files = to.with_extension("debs");
    remove_folder(&files)?;
    make_folder(&files)?;
    if let Err(error) = download(packages, &files) {
        borrow(packages, &files).with_context(|| format!("Debian's archive did not help: {error:#}"))?;
    }
    make_folder(to)?;
    for file in entries(&files).iter().filter(|file| file.extension().is_some_and(|end| end == "deb")) {
        quietly(Command::new("dpkg").arg("-x").arg(file).arg(to))?;
    }
    remove_folder(&files)
}

/// Downloads through an apt of our own, from the mirror that the system's apt uses.
fn download(packages: &[Package<'_>], to: &Path) -> Result<()> {
    let apt = Apt::new(packages, to)?;
    out::note(format!("reading the package lists of {}", apt.mirror));
    quietly(apt.get().arg("update"))?;
    for package in packages {
        out::note(format!("downloading {}", package.name));
        apt.download(package)?;
    }
    Ok(())
}

/// Takes the packages from the folder that `NEXUS_DEBS` names.
fn borrow(packages: &[Package<'_>], to: &Path) -> Result<()> {
    let Some(folder) = env::var_os(DEBS).map(PathBuf::from) else {
        bail!("a folder with the packages could be named in {DEBS}");
    };
    for package in packages {
        let prefix = format!("{}_{}", package.name, package.version.unwrap_or_default());
        let found = entries(&folder).into_iter().find(|file| name(file).starts_with(&prefix));
        let found = found.with_context(|| format!("{} has no {prefix}*.deb", folder.display()))?;
        fs::copy(&found, to.join(name(&found))).with_context(|| format!("{} cannot be copied", found.display()))?;
    }
    Ok(())
}

/// An apt with lists, sources and a cache of its own.
struct Apt {
    mirror: String,
    folder: PathBuf,
}

impl Apt {
    fn new(packages: &[Package<'_>], folder: &Path) -> Result<Self> {
        let apt = Self { mirror: mirror()?, folder: folder.to_owned() };
        let keyring = keyring()?;
        let mut suites: Vec<_> = packages.iter().flat_map(|package| package.suites).collect();
        suites.sort_unstable();
        suites.dedup();
        let source = |suite: &&&str| format!("deb [signed-by={keyring}] {} {suite} main\n", apt.mirror);
        let sources: String = suites.iter().map(source).collect();
        make_folder(&apt.folder.join("lists").join("partial"))?;
        make_folder(&apt.folder.join("archives").join("partial"))?;
        fs::write(apt.folder.join("sources.list"), sources).context("the list of sources cannot be written")?;
        Ok(apt)
    }

    fn get(&self) -> Command {
        let mut command = Command::new("apt-get");
        command.current_dir(&self.folder).arg("-qq");
        let folder = self.folder.display();
        for option in [
            format!("Dir::Etc::sourcelist={folder}/sources.list"),
            "Dir::Etc::sourceparts=-".to_owned(),
            format!("Dir::State::lists={folder}/lists"),
            format!("Dir::Cache={folder}"),
            // The user that apt would change to cannot write here.
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
            // Without this, an archive that cannot be reached is only a warning.
            "APT::Update::Error-Mode=any".to_owned(),
        ] {
            command.arg("-o").arg(option);
        }
        command
    }

    fn download(&self, package: &Package<'_>) -> Result<()> {
        let mut last = None;
        for suite in package.suites {
            let wanted = match package.version {
                Some(version) => format!("{}={version}*", package.name),
                None => format!("{}/{suite}", package.name),
            };
            match quietly(self.get().args(["download", &wanted])) {
                Ok(()) => return Ok(()),
                Err(error) => last = Some(error),
            }
        }
        Err(last.with_context(|| format!("no suite is named for {}", package.name))?)
    }
}

/// The archive that this machine's apt uses, leaving the one for security updates aside.
fn mirror() -> Result<String> {
    let format = "$(REPO_URI) $(CODENAME)";
    let targets = said(Command::new("apt-get").args(["indextargets", "--format", format])).unwrap_or_default();
    let main = targets.lines().filter_map(|line| line.split_once(' ')).find(|(_, suite)| !suite.contains("security"));
    main.map(|(uri, _)| uri.to_owned()).context("this machine's apt has no Debian archive")
}

/// The file of the archive's keys, as its package says.
fn keyring() -> Result<String> {
    let package = "debian-archive-keyring";
    let files = said(Command::new("dpkg").args(["--listfiles", package])).unwrap_or_default();
    let is_keyring = |file: &&str| [".gpg", ".pgp"].iter().any(|end| file.ends_with(&format!("/{package}{end}")));
    let found = files.lines().find(is_keyring).map(str::to_owned);
    found.with_context(|| format!("Debian's package {package} is not installed"))
}

/// Installs packages into the system, as root or through sudo.
pub(super) fn install(packages: &[String]) -> Result<()> {
    let mut command = apt_as_root();
    command.args(["install", "--yes", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"]).args(packages);
    let mend = spelled(&command);
    quietly(&mut command).with_context(|| format!("{} cannot be installed by `{mend}`", packages.join(" and ")))
}

/// Ends the service that a package has started, where there is anything that starts services.
pub(super) fn stop_service(package: &str) -> Result<()> {
    if said(Command::new("systemctl").args(["is-active", package])).is_some() {
        quietly(as_root("systemctl").args(["disable", "--now", package]))?;
    }
    Ok(())
}

/// The names of the packages that match `pattern`. An image whose lists were removed gets them again.
pub(super) fn search(pattern: &str) -> Vec<String> {
    let found = names(pattern);
    if !found.is_empty() {
        return found;
    }
    // Without lists the second search finds nothing either, and that is what gets reported.
    let _ = quietly(apt_as_root().arg("update"));
    names(pattern)
}

fn names(pattern: &str) -> Vec<String> {
    let found = said(Command::new("apt-cache").args(["search", "--names-only", pattern])).unwrap_or_default();
    let first_words = found.lines().filter_map(|line| line.split_whitespace().next());
    first_words.map(str::to_owned).collect()
}

/// A program with the right to change the system.
fn as_root(program: &str) -> Command {
    let root = said(Command::new("id").arg("-u")).is_some_and(|id| id == "0");
    let mut command = Command::new(if root { program } else { "sudo" });
    if !root {
        command.arg(program);
    }
    command
}

fn apt_as_root() -> Command {
    let mut command = as_root("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// A server that Debian packages and tests start by themselves.
pub(super) struct Server {
    /// What people call it.
    pub(super) name: &'static str,
    /// Debian's package, which brings all its programs.
    pub(super) package: &'static str,
    /// The oldest main version that the tests take.
    pub(super) oldest: u32,
    /// The main version, if all its programs are there.
    pub(super) version: fn() -> Option<u32>,
    /// What the tests need it for.
    pub(super) why: &'static str,
    /// What to do where it cannot be installed.
    pub(super) mend: &'static str,
}

impl Server {
    /// Makes sure that it is there, and not too old. It is installed where it is missing; the service that comes with the package is
    /// not left running.
    pub(super) fn ensure(&self) -> Result<()> {
        let Self { name, package, oldest, version, why, mend } = *self;
        if let Some(version) = version() {
            if version < oldest {
                bail!("{name} is of version {version}, and the tests need {oldest} or later: upgrade it");
            }
            return Ok(());
        }
        out::step("setup", &format!("installing Debian's {package}: {why}"));
        if search(&format!("^{package}$")).is_empty() {
            bail!("there is no package {package} here: {mend}");
        }
        install(&[package.to_owned()]).context(mend)?;
        stop_service(package)?;
        version().map(drop).with_context(|| format!("{package} was installed and is not found: {mend}"))
    }
}
