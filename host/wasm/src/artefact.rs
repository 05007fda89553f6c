//! Machine code, and the one place where it is trusted.

use bytes::Bytes;
use wasmtime::{Engine, component::Component};

/// Machine code that wasmtime made: either its signature has been checked, or it came straight from a compile child of
/// this process, or, within such a child, from its parent.
#[derive(Debug, Clone)]
pub(crate) struct TrustedCode(Bytes);

impl TrustedCode {
    /// States that `bytes` are such code. Called where a signature has just been checked, where a child's answer has
    /// just been read, and where a child reads its request.
    pub(crate) fn assert(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.0
    }
}

/// Makes a component of exactly these bytes. Fails when they were made for other settings or another version.
pub(crate) fn component(engine: &Engine, code: &TrustedCode) -> wasmtime::Result<Component> {
    #[expect(
        unsafe_code,
        reason = "machine code cannot be checked by looking at it; TrustedCode says where it came from"
    )]
    unsafe {
        Component::deserialize(engine, &code.0)
    }
}
