//! Servers that others have written: their packages are put into an image once, and the application names the image.

use std::{collections::BTreeMap, time::Duration};

use nexus_definitions::{BaseImages, CommunityChoice, community_server};
use nexus_model::PluginName;
use nexus_sandbox::BuildSpec;
use tokio::sync::mpsc;

use super::ServerError;
use crate::{Core, Edit, Written};

/// How long an image may take to be made.
const BUILD_LIMIT: Duration = Duration::from_mins(15);
/// Memory of a step that makes an image, in bytes.
const BUILD_MEMORY: u32 = 2 << 30;

/// How the images of community servers are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageMaking {
    /// What packages are put into.
    pub bases: BaseImages,
    /// What the package managers are told: arguments of the build, such as `PIP_INDEX_URL`. They can be read from the images.
    pub arguments: BTreeMap<String, String>,
}

/// A community server that an application is to have.
#[derive(Debug, Clone)]
pub struct Addition {
    /// What the catalogue calls it.
    pub server: String,
    /// What the application calls it.
    pub name: PluginName,
    /// What it is granted.
    pub choice: CommunityChoice,
    /// Whether its image is made anew, with what its package depends on as the index has it now.
    pub anew: bool,
}

impl Core {
    /// Adds a community server to an application, or sets it up anew: makes the image that has its package, unless the engine has it, and
    /// writes the server to `app.yaml`, in one commit. What was written below its name before is replaced; tools that were
    /// approved stay so as long as they are the same. `progress` is told what the engine says. Dropped, it ends the build and
    /// nothing is written.
    pub async fn add_mcp(
        &self,
        edit: &Edit,
        addition: &Addition,
        progress: mpsc::Sender<String>,
    ) -> Result<Written, ServerError> {
        let server = community_server(&addition.server)?;
        // Before minutes are spent on it.
        server.check(&addition.choice)?;
        let making = &self.servers().making;
        let dockerfile = server.dockerfile(&making.bases, &making.arguments.keys().cloned().collect());
        let image = match dockerfile {
            Some(text) => Some(self.image(&text, addition, progress).await?),
            None => None,
        };
        let entry = server.entry(image.as_deref(), &addition.choice)?;
        let written = self.registry.put_server(edit, &addition.name, &entry).await?;
        self.servers().adjust(self);
        Ok(written)
    }

    /// Takes a server out of an application, with the tools that were approved of it. What it keeps in a folder of its own stays at
    /// the engine.
    pub async fn remove_mcp(&self, edit: &Edit, server: &str) -> Result<Written, ServerError> {
        let server = self.server(&edit.app, server)?;
        let written = self.registry.delete_server(edit, &server.name).await?;
        self.servers().adjust(self);
        Ok(written)
    }

    async fn image(
        &self,
        dockerfile: &str,
        addition: &Addition,
        progress: mpsc::Sender<String>,
    ) -> Result<String, ServerError> {
        let Ok(_one) = self.servers().building.try_acquire() else { return Err(ServerError::Building) };
        let spec = BuildSpec::of_dockerfile(dockerfile, &format!("nexus-mcp/{}", addition.server));
        let spec = BuildSpec {
            args: self.servers().making.arguments.clone(),
            network: true,
            memory: BUILD_MEMORY,
            limit: BUILD_LIMIT,
            anew: addition.anew,
            ..spec.map_err(|error| ServerError::Image(error.into()))?
        };
        let built = self.servers().connecting.sandboxes.build(spec, progress).await;
        built.map(|built| built.image.to_string()).map_err(ServerError::Image)
    }
}
