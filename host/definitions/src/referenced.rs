//! The files that `app.yaml` refers to.

use nexus_model::FileTree;

use crate::{
    document::Document,
    fault::{FaultCode, Faults, Finding, quoted},
    nearest::{listed, nearest},
};

/// What a component's file must be.
pub(crate) const A_COMPONENT: &str = "a WebAssembly component, as built for the target wasm32-wasip2";

/// The path at `pointer`, if it leads to a file of the folder whose name ends with one of `endings`; otherwise a fault,
/// unless what stands there has the wrong shape, which is one already.
pub(crate) fn referenced(
    document: &Document,
    files: &FileTree,
    pointer: &str,
    endings: &[&str],
    faults: &mut Faults,
) -> Option<String> {
    let path = document.value.pointer(pointer)?.as_str().filter(|path| !path.is_empty())?.to_owned();
    let finding = if !stays_inside(&path) {
        Finding::new(FaultCode::BadPath, format!("{} leads out of the folder", quoted(&path)))
            .expected("a path relative to the folder, as `schemas/input.json`")
    } else if files.contains_key(&path) {
        if endings.iter().any(|ending| path.ends_with(ending)) {
            return Some(path);
        }
        Finding::new(FaultCode::BadPath, format!("{} is not a file of this kind", quoted(&path)))
            .expected(format!("a name that ends with {}", listed(endings.iter().copied())))
    } else {
        let alike = files.keys().filter(|file| endings.iter().any(|ending| file.ends_with(ending)));
        Finding::new(FaultCode::MissingFile, format!("there is no file {}", quoted(&path)))
            .nearest(nearest(&path, alike.map(String::as_str)))
    };
    faults.add(document.fault_at_value(pointer, finding));
    None
}

/// As [`referenced`], for a file that must begin as a component does.
pub(crate) fn component<'f>(
    document: &Document,
    files: &'f FileTree,
    pointer: &str,
    faults: &mut Faults,
) -> Option<(String, &'f [u8])> {
    let path = referenced(document, files, pointer, &[".wasm"], faults)?;
    let bytes = files.get(&path)?;
    if let Some(message) = component_fault(bytes) {
        let message = format!("{} {message}", quoted(&path));
        let finding = Finding::new(FaultCode::BadComponent, message).expected(A_COMPONENT);
        faults.add(document.fault_at_value(pointer, finding));
        return None;
    }
    Some((path, bytes))
}

fn stays_inside(path: &str) -> bool {
    !path.contains(['\\', '\0']) && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// What speaks against these bytes being a component, by the first eight of them: magic, version 13, layer 1.
fn component_fault(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [b'\0', b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => None,
        [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => Some("is a core module"),
        [b'\0', b'a', b's', b'm', ..] => Some("is a component of another version of the format"),
        _ => Some("is not WebAssembly"),
    }
}
