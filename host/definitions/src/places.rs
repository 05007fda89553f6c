//! Faults that are found by who knows more than the text of `app.yaml`.

use nexus_model::FileTree;

use crate::{
    document::{self, Document, Format},
    fault::{Fault, FaultCode, Faults, Finding},
};

const FILE: &str = "app.yaml";

/// The places of the values of an `app.yaml`.
#[derive(Debug)]
pub struct AppPlaces(Option<Document>);

impl AppPlaces {
    /// Reads the places. Of a file that cannot be read, everything is at its beginning.
    pub fn open(files: &FileTree) -> Self {
        Self(Document::open(files, FILE, Format::Yaml, &mut Faults::default()))
    }

    /// A fault of the value at a JSON Pointer, or of the nearest value around it.
    pub fn fault_at_value(&self, pointer: &str, code: FaultCode, message: String) -> Fault {
        let finding = Finding::new(code, message);
        match &self.0 {
            Some(document) => document.fault_at_value(pointer, finding),
            None => document::missing(FILE, finding),
        }
    }

    /// A fault of the key of the value at a JSON Pointer, or of the nearest value around it.
    pub fn fault_at_key(&self, pointer: &str, code: FaultCode, message: String) -> Fault {
        let finding = Finding::new(code, message);
        match &self.0 {
            Some(document) => document.fault_at_key(pointer, finding),
            None => document::missing(FILE, finding),
        }
    }
}
