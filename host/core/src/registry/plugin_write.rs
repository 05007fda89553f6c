//! Adding, changing and removing plugins: one commit each, of the component and of its lines in `app.yaml`.

use std::{path::Path, sync::Arc};

use nexus_definitions::{AppOutline, EditError, remove_plugin, set_plugin};
use nexus_model::{FileTree, Grants, Plugin, PluginName, Snapshot, sha256_hex};

use super::{ApplicationRegistry, Edit, WriteError, Written, diff::text_diff, write::Planned};
use crate::tools::widened;

pub(super) const APP: &str = "app.yaml";

/// What a plugin is to become.
#[derive(Debug, Clone)]
pub struct PluginChange {
    /// Its component.
    pub component: Arc<[u8]>,
    /// What it may use; as it was if `None`, and nothing for a new plugin.
    pub grants: Option<Grants>,
    /// Where the component came from, if it was not made here.
    pub source: Option<String>,
    /// Whether a plugin that is there may be granted more than it was.
    pub widen: bool,
}

/// In what a plugin would be more than it was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Widening {
    /// What it would be granted and was not, a line for each.
    pub grants: Vec<String>,
    /// How its world differs from the one that it has, as a unified diff of WIT; empty if it does not.
    pub wit: String,
}

impl ApplicationRegistry {
    /// Adds a plugin, or replaces its component. The edit's condition speaks of the plugin; its revisions are the
    /// application's. Grants are never widened without its being said.
    pub async fn put_plugin(
        &self,
        edit: &Edit,
        name: &PluginName,
        change: &PluginChange,
    ) -> Result<Written, WriteError> {
        let facts = self.inspect(&change.component).await?;
        let created = std::sync::atomic::AtomicBool::new(false);
        let replaced = std::sync::Mutex::new(None);
        let written = self
            .change(edit, |current| {
                let current = current.ok_or_else(|| WriteError::UnknownApp(edit.app.clone()))?;
                let Placed { files, there, old } = place(current, name, change)?;
                edit.condition.admit(Some(&current.revision), there)?;
                if let Ok(mut replaced) = replaced.lock() {
                    *replaced = old.as_ref().map(|old| old.digest.clone());
                }
                if let Some(old) = old {
                    admit_grants(name, &old.grants, change)?;
                }
                created.store(!there, std::sync::atomic::Ordering::Relaxed);
                let verb = if there { "Change" } else { "Add" };
                Ok(Planned { files, message: format!("{verb} plugin {name} of {}", edit.app) })
            })
            .await;
        match written {
            Ok(written) => Ok(Written { created: created.into_inner(), ..written }),
            Err(WriteError::Widened { plugin, widening }) => {
                let digest = replaced.into_inner().ok().flatten().unwrap_or_default();
                let known = self.known_facts(&digest).await;
                let wit = known.map(|old| text_diff(old.wit(), &facts.wit)).unwrap_or_default();
                Err(WriteError::Widened { plugin, widening: Box::new(Widening { wit, ..*widening }) })
            }
            Err(error) => Err(error),
        }
    }

    /// Removes a plugin, and its component unless something else has it too.
    pub async fn delete_plugin(&self, edit: &Edit, name: &PluginName) -> Result<Written, WriteError> {
        self.change(edit, |current| {
            let current = current.ok_or_else(|| WriteError::UnknownApp(edit.app.clone()))?;
            let text = text(current)?;
            let outline = AppOutline::read(text);
            let unknown = || WriteError::UnknownPlugin { app: edit.app.clone(), plugin: name.clone() };
            let old = outline.plugin(name).ok_or_else(unknown)?;
            edit.condition.admit(Some(&current.revision), true)?;
            let mut files = current.files.clone();
            files.insert(APP.to_owned(), remove_plugin(text, name)?.into_bytes().into());
            if !outline.is_used_beside(&old.path, name) {
                files.remove(&old.path);
            }
            Ok(Planned { files, message: format!("Remove plugin {name} of {}", edit.app) })
        })
        .await
    }
}

/// A plugin as it was, as far as the files tell.
struct Old {
    digest: String,
    grants: Grants,
}

struct Placed {
    files: FileTree,
    there: bool,
    old: Option<Old>,
}

/// The application's files with the plugin as it is to be.
fn place(current: &Snapshot, name: &PluginName, change: &PluginChange) -> Result<Placed, WriteError> {
    let text = text(current)?;
    let outline = AppOutline::read(text);
    let written = outline.plugin(name);
    let old = written.as_ref().map(|old| Old {
        digest: current.files.get(&old.path).map(sha256_hex).unwrap_or_default(),
        grants: old.grants.clone(),
    });
    let digest = sha256_hex(&change.component);
    let mut files = current.files.clone();
    let path = match written
        .as_ref()
        .filter(|old| Path::new(&old.path).extension().is_some_and(|extension| extension == "wasm"))
    {
        Some(old) if !outline.is_used_beside(&old.path, name) => old.path.clone(),
        _ => new_path(&outline, name, &digest),
    };
    files.insert(path.clone(), Arc::clone(&change.component));
    let grants = change.grants.clone().or_else(|| old.as_ref().map(|old| old.grants.clone())).unwrap_or_default();
    let plugin = Plugin { name: name.clone(), path, digest, source: change.source.clone(), grants };
    files.insert(APP.to_owned(), set_plugin(text, &plugin)?.into_bytes().into());
    Ok(Placed { files, there: written.is_some(), old })
}

/// Where the component of a plugin is put that has no file of its own yet.
fn new_path(outline: &AppOutline, name: &PluginName, digest: &str) -> String {
    let plain = format!("plugins/{name}.wasm");
    if outline.is_used_beside(&plain, name) { format!("plugins/{name}-{}.wasm", &digest[..12]) } else { plain }
}

fn admit_grants(name: &PluginName, old: &Grants, change: &PluginChange) -> Result<(), WriteError> {
    let grants = change.grants.as_ref().map(|new| widened(old, new)).unwrap_or_default();
    if grants.is_empty() || change.widen {
        return Ok(());
    }
    let widening = Box::new(Widening { grants, wit: String::new() });
    Err(WriteError::Widened { plugin: name.clone(), widening })
}

/// The text of `app.yaml`.
pub(super) fn text(current: &Snapshot) -> Result<&str, EditError> {
    let bytes = current.files.get(APP).map(AsRef::as_ref).unwrap_or_default();
    std::str::from_utf8(bytes).map_err(|_| EditError::Unreadable)
}
