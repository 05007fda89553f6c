//! What the child does.

use std::sync::Arc;

use bytes::Bytes;
use nexus_model::ComponentKind;
use wasmtime_wizer::Wizer;

use super::{
    functions::FunctionCache,
    protocol::{Job, Refusal, RefusalKind},
    snapshot, world,
};
use crate::{
    artefact::{self, TrustedCode},
    engine::compile_engine,
};

/// The engine for generated code: `QuickJS` as a component.
pub(crate) const JIT_RUNNER: &[u8] = include_bytes!("../../../../plugins/dist/jit-runner.wasm");

/// The largest component that a snapshot may become, in bytes. Without code of its own the engine makes about 2 MiB.
const MAX_SNAPSHOT_BYTES: usize = 16 << 20;

/// Does `job` with its `blobs`; see [`Job`] for what goes in and what comes out.
pub(crate) fn run(job: Job, blobs: &[Bytes]) -> Result<Vec<Bytes>, Refusal> {
    match (job, blobs) {
        (Job::Prepare, []) => prepare(),
        (Job::Snapshot, [instrumented, functions, source]) => {
            snapshot(instrumented, Arc::new(FunctionCache::decode(functions.clone())), source.clone())
        }
        (Job::CompileGenerated, [component]) => compile(ComponentKind::Generated, component),
        (Job::CompilePlugin, [component]) => compile(ComponentKind::Plugin, component),
        (Job::Describe, [component]) => {
            let mut results = compile(ComponentKind::Plugin, component)?;
            results.push(world::text(component).into());
            Ok(results)
        }
        _ => Err(Refusal::new(RefusalKind::Host, "the request has the wrong number of parts")),
    }
}

/// The functions of the instrumented engine are those of every component made from it, so what is compiled here is not
/// compiled again.
fn prepare() -> Result<Vec<Bytes>, Refusal> {
    let (_, instrumented) = wizer().instrument_component(JIT_RUNNER).map_err(|e| Refusal::host(&e))?;
    let functions = Arc::new(FunctionCache::default());
    let engine = compile_engine(ComponentKind::Generated, Some(functions.clone())).map_err(|e| Refusal::host(&e))?;
    let instrumented = engine.precompile_component(&instrumented).map_err(|e| Refusal::host(&e))?;
    Ok(vec![instrumented.into(), functions.encode()])
}

fn snapshot(instrumented: &Bytes, functions: Arc<FunctionCache>, source: Bytes) -> Result<Vec<Bytes>, Refusal> {
    let wizer = wizer();
    let (context, _) = wizer.instrument_component(JIT_RUNNER).map_err(|e| Refusal::host(&e))?;
    let engine = compile_engine(ComponentKind::Generated, Some(functions)).map_err(|e| Refusal::host(&e))?;
    let instrumented = TrustedCode::assert(instrumented.clone());
    let component = artefact::component(&engine, &instrumented).map_err(|e| Refusal::host(&e))?;
    let sealed = snapshot::take(&wizer, &context, &component, source)?;
    if sealed.len() > MAX_SNAPSHOT_BYTES {
        let message = format!("the component has {} bytes, at most {MAX_SNAPSHOT_BYTES} are allowed", sealed.len());
        return Err(Refusal::new(RefusalKind::Limit, message));
    }
    let code = engine.precompile_component(&sealed).map_err(|e| refused(&e))?;
    Ok(vec![sealed.into(), code.into()])
}

fn compile(kind: ComponentKind, component: &[u8]) -> Result<Vec<Bytes>, Refusal> {
    let engine = compile_engine(kind, None).map_err(|e| Refusal::host(&e))?;
    let code = engine.precompile_component(component).map_err(|e| refused(&e))?;
    Ok(vec![code.into()])
}

/// The initialisation function stays, because taking an export out of a component changes its type.
fn wizer() -> Wizer {
    let mut wizer = Wizer::new();
    wizer.init_func(snapshot::INITIALIZE).keep_init_func(true);
    wizer
}

/// Why the compiler does not take a component: bytes that are not valid are told from those it cannot translate.
fn refused(error: &wasmtime::Error) -> Refusal {
    let kind = match error.downcast_ref::<wasmparser::BinaryReaderError>() {
        Some(_) => RefusalKind::NotAComponent,
        None => RefusalKind::Compile,
    };
    Refusal::new(kind, error.root_cause().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_compiles_few_functions_again() {
        // With one thread the keys of functions are the same in each run: see `FunctionCache`.
        let thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let (known, new) = thread.install(|| {
            let [instrumented, known] = <[Bytes; 2]>::try_from(prepare().unwrap()).unwrap();
            let functions = Arc::new(FunctionCache::decode(known.clone()));
            let source = Bytes::from_static(b"function run(input) { return { ok: input }; }");
            snapshot(&instrumented, functions.clone(), source).unwrap();
            (known, functions.encode())
        });
        // It is much more when the engine does not export its globals: see `plugins/jit-runner/build.rs`.
        assert!(new.len() < known.len() / 8, "{} of {} bytes are compiled again", new.len(), known.len());
    }
}
