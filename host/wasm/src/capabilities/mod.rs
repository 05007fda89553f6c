//! What a plugin may use beyond inert WASI. What is not granted is not linked.
//!
//! Each capability is a module with the same steps: the interfaces that it serves, whether the grants have it, the lines
//! that would grant it, how it is linked, and what it keeps for one call in [`PluginState`].

mod clocks;
mod config;
mod folder;
mod host;
mod http;
mod keyvalue;
mod logging;
mod mcp;
mod random;
mod state;

use nexus_model::{GrantNeed, Grants};
use wasmtime::{Engine, component::Linker};

pub(crate) use state::{Granted, PluginState};

use crate::wasi::{self, GuestState};

/// A capability, as its module describes it.
struct Capability {
    /// The interfaces that it serves, with their versions; `@0.2` stands for every version of WASI 0.2.
    interfaces: &'static [&'static str],
    granted: fn(&Grants) -> bool,
    /// The lines below `grants:` that would grant these of its interfaces.
    yaml: fn(&[&str]) -> &'static str,
    add_to_linker: fn(&mut Linker<GuestState>) -> wasmtime::Result<()>,
}

const ALL: [&Capability; 11] = [
    &http::CAPABILITY,
    &config::CAPABILITY,
    &keyvalue::CAPABILITY,
    &logging::CAPABILITY,
    &folder::CAPABILITY,
    &clocks::CAPABILITY,
    &random::CAPABILITY,
    &host::TOOLS,
    &host::EVENTS,
    &host::LLM,
    &mcp::CAPABILITY,
];

impl Capability {
    fn serves(&self, import: &str) -> bool {
        self.interfaces.iter().any(|interface| match interface.strip_suffix("@0.2") {
            Some(name) => wasi::is_of_wasi_0_2(import).is_some_and(|imported| imported == name),
            None => *interface == import,
        })
    }
}

/// Inert WASI and what is granted.
pub(crate) fn link(engine: &Engine, grants: &Grants) -> wasmtime::Result<Linker<GuestState>> {
    let mut linker = wasi::linker(engine)?;
    // Some capabilities put functions with bounds in the place of what the library has linked.
    linker.allow_shadowing(true);
    for capability in ALL.iter().filter(|capability| (capability.granted)(grants)) {
        (capability.add_to_linker)(&mut linker)?;
    }
    Ok(linker)
}

/// The least grants without which a component with these imports cannot be linked; or the imports that no grant is for.
pub(crate) fn needs<'a>(imports: impl Iterator<Item = &'a str>) -> Result<Vec<GrantNeed>, Vec<String>> {
    let foreign: Vec<_> = imports.filter(|import| !is_inert(import)).collect();
    let unknown: Vec<_> = foreign.iter().filter(|import| !ALL.iter().any(|it| it.serves(import))).collect();
    if unknown.is_empty() {
        Ok(ALL.iter().flat_map(|capability| needs_of(capability, &foreign)).collect())
    } else {
        Err(unknown.into_iter().map(ToString::to_string).collect())
    }
}

/// What of the imports is not granted, and the grants for it; all at once. An import that no grant is for is not among
/// them.
pub(crate) fn missing<'a>(imports: impl Iterator<Item = &'a str>, grants: &Grants) -> Vec<GrantNeed> {
    let foreign: Vec<_> = imports.filter(|import| !is_inert(import)).collect();
    ALL.iter()
        .filter(|capability| !(capability.granted)(grants))
        .flat_map(|capability| needs_of(capability, &foreign))
        .collect()
}

/// Whether an import opens nothing: inert WASI, and types.
fn is_inert(import: &str) -> bool {
    wasi::is_inert(import) || import == mcp::TYPES
}

fn needs_of(capability: &Capability, imports: &[&str]) -> Vec<GrantNeed> {
    let served: Vec<_> = imports.iter().copied().filter(|import| capability.serves(import)).collect();
    let yaml = (capability.yaml)(&served);
    served.into_iter().map(|import| GrantNeed { import: import.to_owned(), yaml: yaml.to_owned() }).collect()
}

#[cfg(test)]
mod tests {
    use nexus_model::Access;

    use super::*;

    const STORE: &str = "wasi:keyvalue/store@0.2.0-draft2";
    const ATOMICS: &str = "wasi:keyvalue/atomics@0.2.0-draft2";
    const LOGGING: &str = "wasi:logging/logging@0.1.0-draft";

    fn need(import: &str, yaml: &str) -> GrantNeed {
        GrantNeed { import: import.to_owned(), yaml: yaml.to_owned() }
    }

    #[test]
    fn inert_wasi_needs_no_grant() {
        let imports = ["wasi:cli/environment@0.2.6", "wasi:clocks/wall-clock@0.2.0", "nexus:mcp/types@0.1.0"];
        assert_eq!(needs(imports.into_iter()), Ok(Vec::new()));
    }

    #[test]
    fn all_that_no_grant_is_for_is_named() {
        let imports = [LOGGING, "acme:robot/arm@1.0.0", "wasi:config/store@9.9.9"];
        let unknown = ["acme:robot/arm@1.0.0", "wasi:config/store@9.9.9"].map(ToOwned::to_owned).to_vec();
        assert_eq!(needs(imports.into_iter()), Err(unknown));
    }

    #[test]
    fn writing_needs_more_than_reading() {
        assert_eq!(needs([STORE].into_iter()), Ok(vec![need(STORE, "state: read")]));
        let both = vec![need(STORE, "state: read-write"), need(ATOMICS, "state: read-write")];
        assert_eq!(needs([STORE, ATOMICS].into_iter()), Ok(both));
    }

    #[test]
    fn what_is_granted_is_not_missing() {
        let grants = Grants { state: Some(Access::Read), ..Grants::default() };
        let imports = || [STORE, ATOMICS, LOGGING].into_iter();
        assert_eq!(missing(imports(), &grants), vec![need(LOGGING, "logging: true")]);
        assert!(missing(imports(), &Grants { logging: true, ..grants }).is_empty());
    }

    #[test]
    fn what_is_proposed_is_the_grant() {
        for capability in ALL {
            let yaml = (capability.yaml)(capability.interfaces);
            let grants: Grants = serde_saphyr::from_str(yaml).unwrap();
            assert!((capability.granted)(&grants), "{yaml}");
            assert!(!(capability.granted)(&Grants::default()), "{yaml}");
        }
    }
}
