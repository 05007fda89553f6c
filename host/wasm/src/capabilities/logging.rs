//! `wasi:logging/logging`: to the log of the host.

use nexus_model::{Grants, GuestLevel, GuestServices};
use wasmtime::component::{HasSelf, Linker};

use super::Capability;
use crate::wasi::GuestState;

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/wasi/logging",
        world: "imports",
        imports: { default: trappable },
    });
}

use bindings::wasi::logging::logging;

pub(super) const CAPABILITY: Capability =
    Capability { interfaces: &["wasi:logging/logging@0.1.0-draft"], granted, yaml: |_| "logging: true", add_to_linker };

/// How much of a message, and of its context, is kept, in bytes.
const MESSAGE_BYTES: usize = 4 << 10;
const CONTEXT_BYTES: usize = 128;

/// How many messages one call may write.
const LINES: u32 = 100;

fn granted(grants: &Grants) -> bool {
    grants.logging
}

fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    logging::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)
}

impl logging::Host for GuestState {
    fn log(&mut self, level: logging::Level, context: String, message: String) -> wasmtime::Result<()> {
        let services = self.services()?;
        self.plugin().lines_left.spend(&*services, level.into(), &context, &message);
        Ok(())
    }
}

impl From<logging::Level> for GuestLevel {
    fn from(level: logging::Level) -> Self {
        match level {
            logging::Level::Trace => Self::Trace,
            logging::Level::Debug => Self::Debug,
            logging::Level::Info => Self::Info,
            logging::Level::Warn => Self::Warn,
            logging::Level::Error => Self::Error,
            logging::Level::Critical => Self::Critical,
        }
    }
}

/// How many messages the call may still write.
pub(super) struct LinesLeft(u32);

impl Default for LinesLeft {
    fn default() -> Self {
        Self(LINES)
    }
}

impl LinesLeft {
    /// Writes a message if there is one left to write; the last of them says that there will be no more.
    fn spend(&mut self, services: &dyn GuestServices, level: GuestLevel, context: &str, message: &str) {
        match self.0 {
            0 => return,
            1 => services.log(GuestLevel::Warn, "nexus", "this call writes too much; the rest of it is not kept"),
            _ => services.log(level, start(context, CONTEXT_BYTES), start(message, MESSAGE_BYTES)),
        }
        self.0 -= 1;
    }
}

/// The first bytes of `text`, cut between characters.
fn start(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}
