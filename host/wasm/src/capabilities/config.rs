//! `wasi:config/store`: the values that the grant has.

use nexus_model::Grants;
use wasmtime::component::{HasSelf, Linker};

use super::Capability;
use crate::wasi::GuestState;

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/wasi/config",
        world: "imports",
        imports: { default: trappable },
    });
}

use bindings::wasi::config::store;

pub(super) const CAPABILITY: Capability = Capability {
    interfaces: &["wasi:config/store@0.2.0-rc.1"],
    granted,
    yaml: |_| "config: {}   # with the keys that it reads, and their values",
    add_to_linker,
};

fn granted(grants: &Grants) -> bool {
    grants.config.is_some()
}

fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    store::add_to_linker::<_, HasSelf<GuestState>>(linker, |state| state)
}

impl store::Host for GuestState {
    fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<String>, store::Error>> {
        let values = self.plugin().granted().grants.config.as_ref();
        Ok(Ok(values.and_then(|values| values.get(&key).cloned())))
    }

    fn get_all(&mut self) -> wasmtime::Result<Result<Vec<(String, String)>, store::Error>> {
        let values = self.plugin().granted().grants.config.iter().flatten();
        Ok(Ok(values.map(|(key, value)| (key.clone(), value.clone())).collect()))
    }
}
