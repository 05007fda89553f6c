//! Adding, changing, approving and removing outside MCP servers: one commit each.

use std::sync::Arc;

use nexus_definitions::{AppOutline, remove_server, set_server};
use nexus_model::{FileTree, McpServer, PluginName, Snapshot};
use serde_json::{Map, Value};

use super::{
    ApplicationRegistry, Edit, WriteError, Written,
    plugin_write::{APP, text},
    write::Planned,
};

impl ApplicationRegistry {
    /// Adds a server, or replaces what stands below its name. The edit's condition speaks of the server; its revisions are the
    /// application's.
    pub(crate) async fn put_server(
        &self,
        edit: &Edit,
        name: &PluginName,
        entry: &Map<String, Value>,
    ) -> Result<Written, WriteError> {
        let created = std::sync::atomic::AtomicBool::new(false);
        let written = self
            .change(edit, |current| {
                let current = known(edit, current)?;
                let text = text(current)?;
                let there = AppOutline::read(text).has_server(name);
                edit.condition.admit(Some(&current.revision), there)?;
                created.store(!there, std::sync::atomic::Ordering::Relaxed);
                let files = with(current, APP, set_server(text, name, entry.clone())?.into_bytes());
                let verb = if there { "Change" } else { "Add" };
                Ok(Planned { files, message: format!("{verb} MCP server {name} of {}", edit.app) })
            })
            .await?;
        Ok(Written { created: created.into_inner(), ..written })
    }

    /// Removes a server, and the tools that were approved of it.
    pub(crate) async fn delete_server(&self, edit: &Edit, name: &PluginName) -> Result<Written, WriteError> {
        self.change(edit, |current| {
            let current = known(edit, current)?;
            edit.condition.admit(Some(&current.revision), true)?;
            let mut files = with(current, APP, remove_server(text(current)?, name)?.into_bytes());
            files.remove(&McpServer::approved_file(name));
            Ok(Planned { files, message: format!("Remove MCP server {name} of {}", edit.app) })
        })
        .await
    }

    /// Writes what was approved of a server, whether or not something was before. The edit's condition speaks of the
    /// application.
    pub(crate) async fn put_approval(
        &self,
        edit: &Edit,
        name: &PluginName,
        approved: &str,
    ) -> Result<Written, WriteError> {
        self.change(edit, |current| {
            let current = known(edit, current)?;
            edit.condition.admit(Some(&current.revision), true)?;
            let files = with(current, &McpServer::approved_file(name), approved.as_bytes().to_vec());
            Ok(Planned { files, message: format!("Approve tools of MCP server {name} of {}", edit.app) })
        })
        .await
    }
}

fn known<'a>(edit: &Edit, current: Option<&'a Snapshot>) -> Result<&'a Snapshot, WriteError> {
    current.ok_or_else(|| WriteError::UnknownApp(edit.app.clone()))
}

fn with(current: &Snapshot, path: &str, content: Vec<u8>) -> FileTree {
    let mut files = current.files.clone();
    files.insert(path.to_owned(), Arc::from(content));
    files
}
