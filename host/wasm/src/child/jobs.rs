//! What the child does.

use std::sync::Arc;

use bytes::Bytes;
use nexus_model::ComponentKind;
use wasmtime_wizer::Wizer;

use super::{
    functions::FunctionCache,
    protocol::{Job, Refusal, RefusalKind},
    snapshot,
};
use crate::{
    artefact::{self, TrustedCode},
    engine::{compile_engine, snapshot_engine},
};

/// The engine for generated code: `QuickJS` as a component.
pub(crate) const JIT_RUNNER: &[u8] = include_bytes!("../../../../plugins/dist/jit-runner.wasm");

/// A snapshot of this has all functions that any snapshot has.
const SMALLEST_SOURCE: &str = "function run(input) { return { abstain: \"\" }; }";

/// The largest component that a snapshot may become, in bytes. Without code of its own the engine makes about 2 MiB.
const MAX_SNAPSHOT_BYTES: usize = 16 << 20;

/// Does `job` with its `blobs`; see [`Job`] for what goes in and what comes out.
pub(crate) fn run(job: Job, blobs: &[Bytes]) -> Result<Vec<Bytes>, Refusal> {
    match (job, blobs) {
        (Job::Prepare, []) => prepare(),
        (Job::Snapshot, [instrumented, functions, source]) => snapshot(instrumented, functions, source.clone()),
        (Job::CompileGenerated, [component]) => compile(ComponentKind::Generated, component),
        (Job::CompilePlugin, [component]) => compile(ComponentKind::Plugin, component),
        _ => Err(Refusal::new(RefusalKind::Host, "the request has the wrong number of parts")),
    }
}

fn prepare() -> Result<Vec<Bytes>, Refusal> {
    let wizer = wizer();
    let (context, instrumented) = wizer.instrument_component(JIT_RUNNER).map_err(|e| Refusal::host(&e))?;
    let engine = snapshot_engine().map_err(|e| Refusal::host(&e))?;
    let instrumented = engine.precompile_component(&instrumented).map_err(|e| Refusal::host(&e))?;
    let instrumented = TrustedCode::assert(instrumented.into());
    let component = artefact::component(&engine, &instrumented).map_err(|e| Refusal::host(&e))?;
    let source = Bytes::from_static(SMALLEST_SOURCE.as_bytes());
    let sealed = snapshot::take(&wizer, &context, &component, source)?;
    let functions = Arc::new(FunctionCache::default());
    compile_sealed(&sealed, functions.clone())?;
    Ok(vec![instrumented.bytes().clone(), functions.encode()])
}

fn snapshot(instrumented: &Bytes, functions: &Bytes, source: Bytes) -> Result<Vec<Bytes>, Refusal> {
    let wizer = wizer();
    let (context, _) = wizer.instrument_component(JIT_RUNNER).map_err(|e| Refusal::host(&e))?;
    let engine = snapshot_engine().map_err(|e| Refusal::host(&e))?;
    let instrumented = TrustedCode::assert(instrumented.clone());
    let component = artefact::component(&engine, &instrumented).map_err(|e| Refusal::host(&e))?;
    let sealed = snapshot::take(&wizer, &context, &component, source)?;
    if sealed.len() > MAX_SNAPSHOT_BYTES {
        let message = format!("the component has {} bytes, at most {MAX_SNAPSHOT_BYTES} are allowed", sealed.len());
        return Err(Refusal::new(RefusalKind::Limit, message));
    }
    let code = compile_sealed(&sealed, Arc::new(FunctionCache::decode(functions.clone())))?;
    Ok(vec![sealed.into(), code])
}

fn compile_sealed(sealed: &[u8], functions: Arc<FunctionCache>) -> Result<Bytes, Refusal> {
    let engine = compile_engine(ComponentKind::Generated, Some(functions)).map_err(|e| Refusal::host(&e))?;
    Ok(engine.precompile_component(sealed).map_err(|e| refused(&e))?.into())
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
