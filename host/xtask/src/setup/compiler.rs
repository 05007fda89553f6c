//! A C compiler for WASI: clang, llvm-ar, and the C library's headers.

use std::{
    collections::hash_map::DefaultHasher,
    env, fs,
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::{TARGET, cache, debian, entries, lock, name, remove_folder, said};
use crate::out;

/// Names a wasi-sdk, which is then used instead of what the machine has.
const WASI_SDK: &str = "WASI_SDK";

/// What to compile C for [`TARGET`] with.
pub(crate) struct Compiler {
    cc: PathBuf,
    ar: PathBuf,
    flags: Vec<String>,
}

/// Finds the compiler and brings what is missing of it.
pub(super) fn ensure() -> Result<Compiler> {
    if let Some(sdk) = env::var_os(WASI_SDK).map(PathBuf::from) {
        return from_sdk(&sdk);
    }
    let (cc, ar) = match installed() {
        Some(found) => found,
        None => install()?,
    };
    let headers = headers()?;
    let include = headers.join("include").join(TARGET);
    Ok(Compiler {
        cc,
        ar,
        flags: vec![format!("--sysroot={}", headers.display()), format!("-isystem{}", include.display())],
    })
}

impl Compiler {
    /// The compiler; what is missing of it is brought first.
    pub(crate) fn find() -> Result<Self> {
        ensure()
    }

    /// Tells cargo's build scripts to compile with this compiler, and to read `header` before every C file.
    pub(crate) fn apply(&self, command: &mut Command, header: &Path) -> Result<()> {
        let text = fs::read(header).with_context(|| format!("{} cannot be read", header.display()))?;
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let mut flags = self.flags.clone();
        flags.extend(["-include".to_owned(), header.display().to_string()]);
        // What Rust's own code for the target uses; older clangs do not use it unless told.
        flags.extend(["-mbulk-memory", "-mnontrapping-fptoint", "-msign-ext"].map(str::to_owned));
        // Cargo does not watch the header; it does watch the flags.
        flags.push(format!("-DNEXUS_HEADER={:x}", hasher.finish()));
        let quoted: Vec<_> = flags.iter().map(|flag| format!("'{flag}'")).collect();
        let suffix = TARGET.replace('-', "_");
        command
            .env(format!("CC_{suffix}"), &self.cc)
            .env(format!("AR_{suffix}"), &self.ar)
            .env(format!("CFLAGS_{suffix}"), quoted.join(" "))
            .envs([("CC_SHELL_ESCAPED_FLAGS", "1"), ("RQUICKJS_SYS_NO_WASI_SDK", "1")]);
        Ok(())
    }
}

fn from_sdk(sdk: &Path) -> Result<Compiler> {
    let programs = sdk.join("bin");
    let (cc, ar) = (programs.join("clang"), programs.join("llvm-ar"));
    if !can_compile(&cc) {
        bail!("{} is no clang that compiles for WebAssembly: point {WASI_SDK} at a wasi-sdk or unset it", cc.display());
    }
    let sysroot = sdk.join("share").join("wasi-sysroot");
    Ok(Compiler { cc, ar, flags: vec![format!("--sysroot={}", sysroot.display())] })
}

/// A clang that knows WebAssembly and has its llvm-ar: plain `clang`, else the newest `clang-N` on the path.
fn installed() -> Option<(PathBuf, PathBuf)> {
    let path = env::var_os("PATH")?;
    let programs = env::split_paths(&path).flat_map(|folder| entries(&folder));
    let mut clangs: Vec<_> = programs.filter_map(|program| Some((version(name(&program))?, program))).collect();
    clangs.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    let complete =
        |(_, clang): (u32, PathBuf)| can_compile(&clang).then(|| archiver(&clang)).flatten().map(|ar| (clang, ar));
    clangs.into_iter().find_map(complete)
}

/// `clang` comes before every `clang-N`, and these in their order.
fn version(program: &str) -> Option<u32> {
    match program.strip_prefix("clang")? {
        "" => Some(u32::MAX),
        rest => rest.strip_prefix('-')?.parse().ok(),
    }
}

fn can_compile(clang: &Path) -> bool {
    said(Command::new(clang).arg("--print-targets")).is_some_and(|targets| targets.contains("wasm32 "))
}

/// The `llvm-ar` that belongs to a clang. GNU ar would leave WebAssembly objects out of the archive's index.
fn archiver(clang: &Path) -> Option<PathBuf> {
    let found = said(Command::new(clang).arg("-print-prog-name=llvm-ar")).map(PathBuf::from);
    found.filter(|ar| ar.is_absolute() && ar.exists())
}

/// Installs the newest clang that Debian has here.
fn install() -> Result<(PathBuf, PathBuf)> {
    let newest = debian::search("^clang-[0-9]+$").iter().filter_map(|package| version(package)).max();
    let mend = format!("install clang and llvm, with WebAssembly, or name a wasi-sdk in {WASI_SDK}");
    let newest =
        newest.with_context(|| format!("no clang for WebAssembly is here, and no Debian to take it from: {mend}"))?;
    out::step("setup", &format!("no clang for WebAssembly is here: installing Debian's clang-{newest}"));
    debian::install(&[format!("clang-{newest}"), format!("llvm-{newest}")])?;
    installed().with_context(|| format!("clang-{newest} does not compile for WebAssembly: {mend}"))
}

/// The folder with the C library's headers below `include`.
fn headers() -> Result<PathBuf> {
    let cache = cache()?;
    let folder = cache.join("wasi-libc");
    let usr = folder.join("usr");
    let there = || usr.join("include").join(TARGET).join("stdio.h").exists();
    if there() {
        return Ok(usr);
    }
    let _lock = lock(&cache.join("wasi-libc.lock"))?;
    if there() {
        return Ok(usr);
    }
    out::step("setup", "the headers of WASI's C library are missing: unpacking Debian's wasi-libc");
    let fresh = cache.join("wasi-libc.new");
    remove_folder(&fresh)?;
    let mend =
        || format!("the headers of WASI's C library cannot be set up; a wasi-sdk named in {WASI_SDK} has them too");
    debian::unpack(&[debian::WASI_LIBC], &fresh).with_context(mend)?;
    remove_folder(&folder)?;
    fs::rename(&fresh, &folder).with_context(mend)?;
    if !there() {
        bail!("Debian's wasi-libc has no headers for {TARGET}; a wasi-sdk named in {WASI_SDK} has them");
    }
    Ok(usr)
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn plain_clang_comes_first_and_then_the_newest() {
        let mut programs = ["clang-9", "clang", "clang-tidy", "clang-19", "clang++", "gcc"];
        programs.sort_by_key(|program| std::cmp::Reverse(version(program)));
        assert_eq!(programs[..3], ["clang", "clang-19", "clang-9"]);
        assert_eq!(programs.map(version).iter().flatten().count(), 3);
    }
}
