//! `*.prompt.yml`, as an author or a stranger writes it.
#![no_main]

#[path = "folder.rs"]
mod folder;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let files = folder::with("prompts/again.prompt.yml", bytes);
    if let Err(faults) = nexus_definitions::load(&files) {
        folder::check_places(&files, &faults);
    }
});
