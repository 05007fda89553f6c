//! How each kind of server is reached.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Weak},
};

use async_trait::async_trait;
use nexus_mcp::hub::{
    Connect, Grant, HttpAuth, LaunchError, Launched, Launcher, OAuthSpec, Process, ProcessLauncher, Registration,
    SecretSource, ServerSpec, TokenStore,
};
use nexus_model::{App, AppName, EnvValue, McpServer, McpServerAt, PluginName, SecretName, ServerAuth, ServerImage};
use nexus_sandbox::{Profile, Sandbox, SandboxHandle, SandboxSpec, ServerProfile, VolumeSpec};
use secrecy::{ExposeSecret as _, SecretString};
use tokio_util::task::TaskTracker;

use super::{CONNECT, HostProgram, MAX_RESULT_BYTES, ServerGate};
use crate::{
    events::SecretLookup,
    sandboxes::{Sandboxes, causes},
};

/// What a volume of a server may hold, in bytes, where the engine can bound it.
const VOLUME_BYTES: u64 = 1 << 30;
/// Writable memory of a server, as `/tmp`, in bytes.
const SCRATCH_BYTES: u64 = 64 << 20;
/// Memory of a server, in bytes.
const MEMORY_BYTES: u64 = 512 << 20;

/// What connections are made of.
pub(crate) struct Connecting {
    pub(crate) sandboxes: Arc<Sandboxes>,
    pub(crate) programs: BTreeMap<String, HostProgram>,
    pub(crate) secrets: SecretLookup,
    pub(crate) tokens: Arc<dyn TokenStore>,
    pub(crate) gate: Arc<ServerGate>,
    pub(crate) tasks: TaskTracker,
}

impl Connecting {
    /// What the hub is told of a server, or why it cannot be used here.
    pub(super) fn spec(&self, key: &str, app: &App, server: &McpServer) -> Result<ServerSpec, String> {
        let connect = match &server.at {
            McpServerAt::Image(image) => Connect::Stream(Arc::new(self.container(key, app, server, image))),
            McpServerAt::Host(name) => Connect::Stream(Arc::new(self.program(name)?)),
            McpServerAt::Url { url, auth } => Connect::Http {
                url: url.parse().map_err(|error| format!("`{url}` is no address: {error}"))?,
                auth: auth.as_ref().map_or(HttpAuth::None, |auth| self.auth(&app.name, auth)),
            },
        };
        Ok(ServerSpec {
            key: key.to_owned(),
            connect,
            call_timeout: server.timeout,
            connect_timeout: CONNECT,
            result_bytes: MAX_RESULT_BYTES,
            approved: server.approved.as_deref().cloned(),
        })
    }

    fn program(&self, name: &str) -> Result<ProcessLauncher, String> {
        let allowed = self.programs.get(name);
        let program = allowed.ok_or_else(|| format!("the operator allows no program `{name}`: see `mcp.programs`"))?;
        Ok(ProcessLauncher {
            program: program.program.clone(),
            arguments: program.arguments.clone(),
            environment: program.environment.clone(),
            folder: None,
            tasks: self.tasks.clone(),
        })
    }

    fn container(&self, key: &str, app: &App, server: &McpServer, image: &ServerImage) -> Container {
        let name = key.replace(['/', '*'], "-").trim_matches('-').to_owned();
        self.gate.grant(&name, &image.grants);
        let reaches = !image.grants.http.is_empty() || !image.grants.tcp.is_empty();
        Container {
            sandboxes: Arc::downgrade(&self.sandboxes),
            gate: reaches.then(|| Arc::clone(&self.gate)),
            server: server.name.clone(),
            name,
            app: app.name.clone(),
            image: image.clone(),
            secrets: Arc::clone(&self.secrets),
        }
    }

    fn auth(&self, app: &AppName, auth: &ServerAuth) -> HttpAuth {
        let named = |secret: &SecretName| -> Arc<dyn SecretSource> {
            Arc::new(Named { app: app.clone(), secret: secret.clone(), secrets: Arc::clone(&self.secrets) })
        };
        let oauth = |grant, scopes: &[String]| {
            HttpAuth::OAuth(Box::new(OAuthSpec { grant, scopes: scopes.to_vec(), store: Arc::clone(&self.tokens) }))
        };
        match auth {
            ServerAuth::Bearer { secret } => HttpAuth::Bearer(named(secret)),
            ServerAuth::ClientCredentials { client_id, secret, scopes } => {
                oauth(Grant::ClientSecret { client_id: client_id.clone(), secret: named(secret) }, scopes)
            }
            ServerAuth::Login { client_id, scopes } => {
                let client = client_id.clone().map(|id| (id, None));
                oauth(Grant::Person(Registration { client, document: None }), scopes)
            }
        }
    }
}

/// A secret of an application, read whenever it is needed.
struct Named {
    app: AppName,
    secret: SecretName,
    secrets: SecretLookup,
}

impl fmt::Debug for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Named").field("app", &self.app).field("secret", &self.secret).finish_non_exhaustive()
    }
}

#[async_trait]
impl SecretSource for Named {
    async fn secret(&self) -> Result<SecretString, String> {
        (self.secrets)(&self.app, self.secret.as_str())
            .ok_or_else(|| format!("`{}` has no secret `{}`", self.app, self.secret))
    }
}

/// Starts a server in a container.
struct Container {
    sandboxes: Weak<Sandboxes>,
    name: String,
    app: AppName,
    server: PluginName,
    image: ServerImage,
    gate: Option<Arc<ServerGate>>,
    secrets: SecretLookup,
}

impl fmt::Debug for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Container").field("name", &self.name).field("image", &self.image.image).finish_non_exhaustive()
    }
}

impl Container {
    fn spec(&self, sandboxes: &Sandboxes) -> Result<SandboxSpec, String> {
        let image = self.image.image.parse().map_err(|error: nexus_sandbox::InvalidImage| error.to_string())?;
        let mut spec = SandboxSpec::new(image);
        spec.command.clone_from(&self.image.command);
        for (name, value) in &self.image.env {
            let value = match value {
                EnvValue::Text(text) => text.clone(),
                EnvValue::Secret { secret } => (self.secrets)(&self.app, secret.as_str())
                    .map(|value| value.expose_secret().to_owned())
                    .ok_or_else(|| format!("`{}` has no secret `{secret}`", self.app))?,
            };
            spec.environment.insert(name.clone(), value);
        }
        (spec.limits.memory, spec.limits.scratch) = (MEMORY_BYTES, Some(SCRATCH_BYTES));
        let gate = self.gate.clone().map(|gate| gate as Arc<dyn nexus_sandbox::Gate>);
        let volume = self.image.grants.volume.clone().map(|target| {
            let name = sandboxes.name_of(&self.app, self.server.as_str());
            VolumeSpec { name, target, bytes: VOLUME_BYTES }
        });
        let tcp = self.image.grants.tcp.iter().cloned().collect();
        spec.profile = Profile::Server(ServerProfile { name: self.name.clone(), volume, gate, tcp });
        spec.labels.insert("app".to_owned(), self.app.to_string());
        Ok(spec)
    }
}

#[async_trait]
impl Launcher for Container {
    async fn launch(&self) -> Result<Launched, LaunchError> {
        let sandboxes = self.sandboxes.upgrade().ok_or_else(|| LaunchError("the host is stopping".to_owned()))?;
        let spec = self.spec(&sandboxes).map_err(LaunchError)?;
        let started = sandboxes.start(&spec).await;
        let Sandbox { input, output, handle } = started.map_err(|error| LaunchError(causes(&error)))?;
        Ok(Launched { input: Box::new(input), output: Box::new(output), process: Box::new(Running(handle)) })
    }
}

/// A container that ends when this is dropped.
struct Running(SandboxHandle);

impl Process for Running {
    fn last_words(&self) -> String {
        self.0.complaints()
    }
}
