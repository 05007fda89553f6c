//! `wasi:keyvalue`: the application's state, in the two versions of the draft that components use.

mod bucket;
mod draft;
mod draft2;

use nexus_model::{Access, Grants, ServiceError};
use wasmtime::component::{Linker, Resource};

use super::Capability;
use crate::wasi::GuestState;

#[expect(unreachable_pub, reason = "the bindings export it again")]
pub use bucket::Bucket;
pub(super) use bucket::Held;
use bucket::{Reach, name};

pub(super) const CAPABILITY: Capability = Capability {
    interfaces: &[
        "wasi:keyvalue/store@0.2.0-draft",
        "wasi:keyvalue/batch@0.2.0-draft",
        "wasi:keyvalue/atomics@0.2.0-draft",
        "wasi:keyvalue/store@0.2.0-draft2",
        "wasi:keyvalue/batch@0.2.0-draft2",
        "wasi:keyvalue/atomics@0.2.0-draft2",
    ],
    granted,
    yaml,
    add_to_linker,
};

fn granted(grants: &Grants) -> bool {
    grants.state.is_some()
}

/// Whoever only imports `store` may do with reading; writing is denied when it comes to it.
fn yaml(imports: &[&str]) -> &'static str {
    if imports.iter().any(|import| import.starts_with("wasi:keyvalue/atomics")) {
        "state: read-write"
    } else {
        "state: read"
    }
}

fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    draft::add_to_linker(linker)?;
    draft2::add_to_linker(linker)
}

/// Why something was not done, before a version of the interface says it in its own type.
enum Refused {
    NoSuchStore,
    Denied,
    Other(String),
}

impl Refused {
    fn because(reason: &str) -> Self {
        Self::Other(reason.to_owned())
    }
}

impl From<ServiceError> for Refused {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Denied(_) => Self::Denied,
            error => Self::Other(error.to_string()),
        }
    }
}

impl GuestState {
    fn open(&mut self, identifier: String) -> wasmtime::Result<Result<Resource<Bucket>, Refused>> {
        Ok(match name(identifier) {
            Some(name) => Ok(self.table.push(Bucket::new(name))?),
            None => Err(Refused::NoSuchStore),
        })
    }

    fn reach(&mut self, bucket: &Resource<Bucket>) -> wasmtime::Result<Reach> {
        let bucket = self.table.get(bucket)?.name.clone();
        self.reach_named(bucket)
    }

    fn reach_named(&mut self, bucket: String) -> wasmtime::Result<Reach> {
        let writable = self.plugin().granted().grants.state == Some(Access::ReadWrite);
        Ok(Reach { services: self.services()?, bucket, writable })
    }
}
