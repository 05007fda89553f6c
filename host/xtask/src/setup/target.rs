//! Rust's standard library for `wasm32-wasip2`, where it has to go: into the tool chain's sysroot.
//!
//! Three ways, the cheapest first: it is there; rustup downloads it; it is built from Debian's packages, of which
//! `rust-src` has the source of the standard library and `wasi-libc` the C library that it links.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::{TARGET, debian, entries, lock, make_folder, name, quietly, remove_folder, said, succeeds_within};
use crate::{out, workspace::Workspace};

/// How long rustup may take. It answers at once where it cannot reach its server, and retries where it can.
const DOWNLOAD: Duration = Duration::from_secs(90);

/// The tool chain that cargo uses in this workspace.
struct Toolchain {
    sysroot: PathBuf,
    version: String,
}

/// Makes sure that Rust can compile for [`TARGET`].
pub(super) fn ensure(workspace: &Workspace) -> Result<()> {
    let toolchain = Toolchain::find(workspace)?;
    if toolchain.works(workspace) {
        return Ok(());
    }
    let _lock = lock(&toolchain.rustlib().join(".nexus-setup.lock"))?;
    if toolchain.works(workspace) {
        return Ok(()); // another run has brought it while this one waited
    }
    out::step("setup", &format!("Rust {} cannot compile for {TARGET} yet: asking rustup", toolchain.version));
    let mut rustup = workspace.command("rustup");
    if succeeds_within(rustup.args(["target", "add", TARGET]), DOWNLOAD) && toolchain.works(workspace) {
        return Ok(());
    }
    out::step("setup", "rustup cannot bring it: building the standard library from Debian's packages, about a minute");
    let start = Instant::now();
    toolchain.build().with_context(|| {
        format!("{TARGET} cannot be set up. Where rustup's server can be reached, `rustup target add {TARGET}` does it")
    })?;
    if !toolchain.works(workspace) {
        bail!("the standard library for {TARGET} was installed, but Rust {} does not take it", toolchain.version);
    }
    out::note(format!("{TARGET} is there, after {}", out::duration(start.elapsed())));
    Ok(())
}

impl Toolchain {
    fn find(workspace: &Workspace) -> Result<Self> {
        let rustc = |argument| said(workspace.command("rustc").arg(argument)).context("rustc does not run");
        let about = rustc("-vV")?;
        let version = about.lines().find_map(|line| line.strip_prefix("release: "));
        let version = version.context("rustc -vV names no release")?.to_owned();
        let sysroot = rustc("--print=sysroot")?.into();
        Ok(Self { sysroot, version })
    }

    /// Whether the compiler takes the standard library that is there: a leftover of another version it does not.
    fn works(&self, workspace: &Workspace) -> bool {
        let library = self.library();
        let mut rustc = workspace.command("rustc");
        rustc.args(["-", "--crate-name=probe", "--crate-type=lib", "--emit=metadata", "--target", TARGET, "-o", "-"]);
        let linkable = library.join("self-contained").join("crt1-command.o").exists();
        linkable && succeeds_within(&mut rustc, DOWNLOAD)
    }

    fn rustlib(&self) -> PathBuf {
        self.sysroot.join("lib").join("rustlib")
    }

    fn library(&self) -> PathBuf {
        self.rustlib().join(TARGET).join("lib")
    }

    /// Builds the standard library and installs it, or changes nothing.
    fn build(&self) -> Result<()> {
        // Always the same place: cargo makes crate ids out of the source's path, and with other ids than last time
        // every target folder that was built against the old library fails with E0463.
        let work = self.rustlib().join(".nexus-setup");
        remove_folder(&work)?;
        make_folder(&work)?;
        let built = self.build_in(&work);
        remove_folder(&work)?;
        built
    }

    fn build_in(&self, work: &Path) -> Result<()> {
        let unpacked = work.join("packages");
        let source = debian::Package { name: "rust-src", version: Some(&self.version), suites: &["trixie-backports"] };
        debian::unpack(&[source, debian::WASI_LIBC], &unpacked)?;
        let source = unpacked.join("usr").join("src").join(format!("rustc-{}", self.version)).join("library");
        let libc = unpacked.join("usr").join("lib").join(TARGET);
        let library = work.join("library");
        make_folder(&library.join("self-contained"))?;
        for file in ["crt1-command.o", "crt1-reactor.o", "libc.a"] {
            copy(&libc.join(file), &library.join("self-contained").join(file))?;
        }
        for file in compile(&source, &work.join("std"))? {
            copy(&file, &library.join(name(&file)))?;
        }
        let destination = self.library();
        remove_folder(&destination)?;
        make_folder(&self.rustlib().join(TARGET))?;
        fs::rename(&library, &destination).with_context(|| format!("{} cannot be written", destination.display()))
    }
}

/// Compiles the standard library, as the dependency of an empty crate, and names its files.
fn compile(source: &Path, work: &Path) -> Result<Vec<PathBuf>> {
    make_folder(&work.join("src"))?;
    let manifest = "[package]\nname = \"seed\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[workspace]\n";
    write(&work.join("Cargo.toml"), manifest)?;
    write(&work.join("src").join("lib.rs"), "#![no_std]\n")?;
    let mut cargo = Command::new("cargo");
    cargo.current_dir(work).args(["build", "--release", "-Zbuild-std=std,panic_abort,test", "--target", TARGET]);
    for inherited in ["CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"] {
        cargo.env_remove(inherited);
    }
    cargo.envs([
        ("RUSTC_BOOTSTRAP", "1"),
        // Components are linked with LTO, which wants the bitcode that cargo leaves out of other builds.
        ("RUSTFLAGS", "-Cembed-bitcode=yes"),
        ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1"),
    ]);
    cargo.env("__CARGO_TESTS_ONLY_SRC_ROOT", source).env("CARGO_TARGET_DIR", work.join("target"));
    quietly(&mut cargo)?;
    let built = entries(&work.join("target").join(TARGET).join("release").join("deps"));
    let is_std =
        |path: &PathBuf| path.extension().is_some_and(|end| end == "rlib") && !name(path).starts_with("libseed-");
    Ok(built.into_iter().filter(is_std).collect())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("{} cannot be copied to {}", from.display(), to.display()))?;
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}
