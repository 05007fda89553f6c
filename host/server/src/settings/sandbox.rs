//! Where programs run apart, and which of the host's own may be used.

use std::{collections::BTreeMap, path::PathBuf};

use nexus_core::{HostProgram, ImageMaking};
use nexus_definitions::BaseImages;
use serde::{Deserialize, Serialize};

/// Where programs run apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxDriver {
    /// In containers of a Docker engine.
    #[default]
    Docker,
    /// As plain processes, which are not isolated at all. For development.
    Process,
    /// Nowhere.
    Off,
}

/// Where programs run apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct SandboxSettings {
    /// By what.
    pub driver: SandboxDriver,
    /// Where the engine listens: `unix:///path` or `tcp://host:port`; its usual socket if left out.
    pub docker_host: Option<String>,
    /// A runtime that the engine knows, as `runsc`; its own if left out.
    pub runtime: Option<String>,
    /// Whether images may be named by tags, which can be moved. For development.
    pub allow_tags: bool,
}

/// Outside MCP servers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct McpSettings {
    /// Programs of this machine that applications may use as MCP servers, by the name that they call them. They are not
    /// isolated: they can do what this server can.
    pub programs: BTreeMap<String, ProgramSettings>,
    /// How `nexus mcp add` makes images.
    pub images: ImageSettings,
}

/// How images of community servers are made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageSettings {
    /// An image with Node.js 22 or later and npm.
    pub node: String,
    /// An image with Python 3.11 or later and its module `venv`.
    pub python: String,
    /// What the package managers are told, such as `PIP_INDEX_URL` and `NPM_CONFIG_REGISTRY`. It can be read from the images: no
    /// secret.
    pub build_args: BTreeMap<String, String>,
}

impl Default for ImageSettings {
    fn default() -> Self {
        Self {
            node: "node:22-bookworm-slim".to_owned(),
            python: "python:3.13-slim-bookworm".to_owned(),
            build_args: BTreeMap::new(),
        }
    }
}

/// A program of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ProgramSettings {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    #[serde(default)]
    pub args: Vec<String>,
    /// Its whole environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
}

impl McpSettings {
    /// How images are made, for the core.
    pub(crate) fn images(&self) -> ImageMaking {
        let ImageSettings { node, python, build_args } = self.images.clone();
        ImageMaking { bases: BaseImages { node, python }, arguments: build_args }
    }

    /// The programs, for the core.
    pub(crate) fn programs(&self) -> BTreeMap<String, HostProgram> {
        let program = |settings: &ProgramSettings| HostProgram {
            program: settings.program.clone(),
            arguments: settings.args.clone(),
            environment: settings.env.clone(),
        };
        self.programs.iter().map(|(name, settings)| (name.clone(), program(settings))).collect()
    }
}
