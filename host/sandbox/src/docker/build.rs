//! Images that are made here.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    path::Path,
    time::Duration,
};

use bollard::{
    body_full,
    models::BuildInfo,
    query_parameters::{BuildImageOptions, ListImagesOptions},
};
use bytes::Bytes;
use futures::StreamExt;
use nexus_model::sha256_hex;
use tokio::{sync::mpsc, time::timeout};

use super::DockerDriver;
use crate::{ImageReference, SandboxError};

/// What an image of one program was made of.
pub(crate) const CONTENT: &str = "nexus.content";
/// How long an image of one program may take.
const PROGRAM_LIMIT: Duration = Duration::from_mins(1);
/// The longest line that is handed on.
const MAX_LINE: usize = 4 << 10;
/// Lines that an error keeps.
const KEPT_LINES: usize = 8;

const PROGRAM_FILE: &str = "FROM scratch\nCOPY program /program\nUSER 65534:65534\nENTRYPOINT [\"/program\"]\n";

/// What to build.
#[derive(Debug, Clone)]
pub struct BuildSpec {
    /// A tar archive with a `Dockerfile` at its root, which every engine since API 1.41 can build (no `BuildKit`).
    pub context: Bytes,
    /// The name that the image gets; its tag says of what it is. It keeps the engine's clean-up from taking the image.
    pub name: String,
    /// Arguments of the build. They can be read from the image: no secret is one.
    pub args: BTreeMap<String, String>,
    /// Whether the steps of the build reach the network, as `RUN npm install` does.
    pub network: bool,
    /// Bytes of memory that a step may have.
    pub memory: u32,
    /// How long it may take.
    pub limit: Duration,
    /// Whether it is built although an image of the same content and arguments is there.
    pub anew: bool,
}

impl BuildSpec {
    /// Of one file, the `Dockerfile`.
    pub fn of_dockerfile(text: &str, name: &str) -> Result<Self, SandboxError> {
        let context = context(&[("Dockerfile", 0o644, text.as_bytes())])?;
        Ok(Self {
            context,
            name: name.to_owned(),
            args: BTreeMap::new(),
            network: false,
            memory: 64 << 20,
            limit: PROGRAM_LIMIT,
            anew: false,
        })
    }

    /// What makes it another image.
    fn content(&self) -> String {
        let args = self.args.iter().flat_map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes(), b"\n"]);
        sha256_hex(args.chain([self.context.as_ref()]).collect::<Vec<_>>().concat())
    }
}

/// An image that was built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// Its id, by which a sandbox can be started.
    pub image: ImageReference,
    /// Whether it was there already.
    pub reused: bool,
}

impl DockerDriver {
    /// An image that has one static program and nothing else.
    pub async fn build_from_program(&self, program: &Path, name: &str) -> Result<Built, SandboxError> {
        let read = tokio::fs::read(program).await;
        let program = read.map_err(|source| SandboxError::Process { what: "reading the program", source })?;
        let files = [("Dockerfile", 0o644, PROGRAM_FILE.as_bytes()), ("program", 0o755, &program)];
        let spec = BuildSpec { context: context(&files)?, ..BuildSpec::of_dockerfile("", name)? };
        self.build_image(spec, mpsc::channel(1).0).await
    }

    pub(super) async fn build_image(
        &self,
        spec: BuildSpec,
        progress: mpsc::Sender<String>,
    ) -> Result<Built, SandboxError> {
        let (content, limit) = (spec.content(), spec.limit);
        if !spec.anew
            && let Some(image) = self.find_image(&content).await?
        {
            return Ok(Built { image, reused: true });
        }
        let late = |_| SandboxError::Late { step: "build the image", limit };
        let image = timeout(limit, self.build_unbounded(spec, content, progress)).await.map_err(late)??;
        Ok(Built { image, reused: false })
    }

    async fn build_unbounded(
        &self,
        spec: BuildSpec,
        content: String,
        progress: mpsc::Sender<String>,
    ) -> Result<ImageReference, SandboxError> {
        let memory = i32::try_from(spec.memory).unwrap_or(i32::MAX);
        let options = BuildImageOptions {
            t: Some(format!("{}:{}", spec.name, &content[..12])),
            nocache: spec.anew,
            rm: true,
            forcerm: true,
            memory: Some(memory),
            memswap: Some(memory),
            buildargs: Some(spec.args.into_iter().collect()),
            labels: Some(HashMap::from([(CONTENT.to_owned(), content)])),
            networkmode: Some(if spec.network { "default" } else { "none" }.to_owned()),
            ..BuildImageOptions::default()
        };
        let mut said = Said { progress, last: VecDeque::new() };
        let mut id = None;
        let mut steps = self.docker.build_image(options, None, Some(body_full(spec.context)));
        while let Some(step) = steps.next().await {
            match step {
                Ok(BuildInfo { aux: Some(image), .. }) => id = image.id.or(id),
                Ok(step) => said.hand_on(step.stream.or(step.status).unwrap_or_default()),
                Err(error) => return Err(said.failure(&error.to_string())),
            }
        }
        let image = id.as_deref().and_then(|id| id.parse().ok());
        image.ok_or_else(|| said.failure("the engine named no image"))
    }

    async fn find_image(&self, content: &str) -> Result<Option<ImageReference>, SandboxError> {
        let filters = HashMap::from([("label".to_owned(), vec![format!("{CONTENT}={content}")])]);
        let options = ListImagesOptions { filters: Some(filters), ..ListImagesOptions::default() };
        let found = self.docker.list_images(Some(options)).await.map_err(SandboxError::engine("list images"))?;
        // Two that were built at the same time are two. The first is there for whoever has found it.
        let first = found.into_iter().min_by_key(|image| (image.created, image.id.clone()));
        Ok(first.and_then(|image| image.id.parse().ok()))
    }
}

/// What the engine says while it builds.
struct Said {
    progress: mpsc::Sender<String>,
    last: VecDeque<String>,
}

impl Said {
    fn hand_on(&mut self, mut text: String) {
        text.truncate(text.floor_char_boundary(MAX_LINE));
        for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
            // Whoever reads too slowly misses some.
            let _ = self.progress.try_send(line.to_owned());
            if self.last.len() == KEPT_LINES {
                self.last.pop_front();
            }
            self.last.push_back(line.to_owned());
        }
    }

    fn failure(&self, why: &str) -> SandboxError {
        let lines = self.last.iter().map(String::as_str).chain([why]);
        SandboxError::Build(lines.collect::<Vec<_>>().join("\n"))
    }
}

/// The files as a tar archive, the same for the same files.
fn context(files: &[(&str, u32, &[u8])]) -> Result<Bytes, SandboxError> {
    let pack = || {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, mode, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_mode(*mode);
            header.set_size(bytes.len() as u64);
            archive.append_data(&mut header, name, *bytes)?;
        }
        archive.into_inner()
    };
    pack().map(Bytes::from).map_err(|source| SandboxError::Process { what: "packing an image", source })
}
