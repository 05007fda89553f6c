//! What this machine and this program can do.

use std::time::Instant;

use nexus_model::{ComponentAnswer, ComponentHost, ComponentKind};
use nexus_wasm::{CacheKey, WasmHost};
use tokio_util::task::TaskTracker;

use super::Finding;
use crate::{
    environment::Environment,
    server::wasm,
    settings::{Settings, Sources},
    start_error::chain,
};

/// Code that is built, compiled and run to see that it can be.
const TRIVIAL: &str = "function run(input) { return { ok: input }; }";
const INPUT: &str = r#"{"works":true}"#;

/// Where settings that can be read come from.
pub(super) fn settings(sources: &Sources, environment: &Environment, settings: &Settings) -> Finding {
    let file = sources.file(environment);
    let place = file.map_or_else(|| "no file, all defaults".to_owned(), |file| format!("`{}`", file.display()));
    let models = settings.models.len();
    let plural = if models == 1 { "" } else { "s" };
    Finding::ok("settings", format!("{place}, {models} model{plural}, store {}", settings.store))
}

/// Has the compile child build and compile code, and runs it; in a folder of its own, which is removed.
pub(super) async fn compiler(settings: &Settings, tasks: &TaskTracker) -> Finding {
    const CHECK: &str = "compiler";
    let mend = "`wasm.compiler` must be a `nexus` program of this version (this one if left out), and memory and address \
                space must not be limited (ulimit -v)";
    let begun = Instant::now();
    match build_and_run(settings, tasks).await {
        Ok(()) => Finding::ok(CHECK, format!("builds, compiles and runs code, in {} ms", begun.elapsed().as_millis())),
        Err(reason) => Finding::fail(CHECK, reason, mend),
    }
}

async fn build_and_run(settings: &Settings, tasks: &TaskTracker) -> Result<(), String> {
    let folder = std::env::temp_dir().join(format!("nexus-doctor-{}", std::process::id()));
    let outcome = async {
        let config = wasm(settings, folder.clone(), CacheKey::new(rand::random())).map_err(|error| chain(&error))?;
        let host = WasmHost::new(config, tasks.clone()).map_err(|error| chain(&error))?;
        let component = host.build(TRIVIAL).await.map_err(|error| error.to_string())?;
        let loaded = host.load(ComponentKind::Generated, &component).await.map_err(|error| error.to_string())?;
        match loaded.run(INPUT, std::time::Duration::from_secs(5)).await {
            Ok(ComponentAnswer::Value(answer)) if answer == INPUT => Ok(()),
            other => Err(format!("code that was built answered wrongly: {other:?}")),
        }
    };
    let outcome = outcome.await;
    // It may not have been made.
    let _ = std::fs::remove_dir_all(&folder);
    outcome
}

/// What the kernel has that is used.
pub(super) fn kernel(pagemap_scan: bool) -> Finding {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    if pagemap_scan {
        return Finding::ok("kernel", format!("Linux {release} has what is used (PAGEMAP_SCAN)"));
    }
    let found = format!("Linux {release} cannot scan page maps: calls of components cost some microseconds more");
    Finding::warn("kernel", found, "Linux 6.7 or later, and /proc/self/pagemap readable")
}

#[cfg(test)]
mod tests {
    use super::{super::Outcome, kernel};

    #[test]
    fn an_old_kernel_is_a_warning() {
        assert_eq!(kernel(true).outcome, Outcome::Ok);
        let old = kernel(false);
        assert_eq!(old.outcome, Outcome::Warn);
        assert!(old.mend.unwrap().contains("6.7"));
    }
}
