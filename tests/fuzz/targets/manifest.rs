//! `app.yaml`, as an author or a stranger writes it.
#![no_main]

#[path = "folder.rs"]
mod folder;

use libfuzzer_sys::fuzz_target;
use nexus_definitions::{load, remove_plugin, set_plugin};
use nexus_model::{Grants, Plugin};

fuzz_target!(|bytes: &[u8]| {
    let files = folder::with("app.yaml", bytes);
    match load(&files) {
        Err(faults) => folder::check_places(&files, &faults),
        Ok(app) => {
            let Ok(text) = str::from_utf8(bytes) else { panic!("not UTF-8, and read") };
            for plugin in app.plugins.values() {
                edited(text, plugin);
            }
        }
    }
});

/// A plugin that is taken out and put in again is what it was.
fn edited(text: &str, plugin: &Plugin) {
    let Ok(without) = remove_plugin(text, &plugin.name) else { return };
    let plugin = Plugin { grants: Grants::default(), ..plugin.clone() };
    let Ok(with) = set_plugin(&without, &plugin) else { return };
    let app = load(&folder::with("app.yaml", with.as_bytes()));
    assert_eq!(app.ok().and_then(|mut app| app.plugins.remove(&plugin.name)), Some(plugin), "{with}");
}
