//! An application's folder in which one file is a stranger's.

use std::sync::Arc;

use nexus_definitions::{Fault, limits};
use nexus_model::FileTree;

macro_rules! file {
    ($name:literal) => {
        ($name, &include_bytes!(concat!("../../../host/definitions/tests/valid/everything/", $name))[..])
    };
}

/// The folder of a good application with this file in place of its own.
pub(crate) fn with(name: &str, bytes: &[u8]) -> FileTree {
    let files: [(&str, &[u8]); 7] = [
        file!("app.yaml"),
        file!("prompts/again.prompt.yml"),
        file!("prompts/classify.prompt.yml"),
        file!("schemas/in.json"),
        file!("schemas/out.json"),
        file!("schemas/tree.json"),
        file!("plugins/x.wasm"),
    ];
    let mut files: FileTree = files.into_iter().map(|(name, bytes)| (name.to_owned(), Arc::from(bytes))).collect();
    files.insert(name.to_owned(), Arc::from(bytes));
    files
}

/// Every fault lies within its file.
pub(crate) fn check_places(files: &FileTree, faults: &[Fault]) {
    assert!(!faults.is_empty() && faults.len() <= limits::FAULTS && faults.is_sorted());
    for fault in faults {
        let bytes = files.get(&fault.file).map_or(&[][..], |bytes| bytes);
        assert!(fault.offset + fault.length <= bytes.len(), "{fault:?}");
        let line = bytes[..fault.offset].split(|byte| *byte == b'\n').count();
        assert_eq!(fault.line, line, "{fault:?}");
        assert!(!bytes[fault.offset..fault.offset + fault.length].contains(&b'\n'), "{fault:?}");
        assert!(!fault.message.contains('\n'), "{fault:?}");
    }
}
