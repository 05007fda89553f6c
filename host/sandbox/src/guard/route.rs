//! Which call of the engine's a request is. What is not here is not made by Nexus.

use http::Method;

use super::{
    query::Is,
    refusal::{Refusal, excerpt},
};
use crate::{
    ImageReference,
    docker::{CONTENT, OWNER},
};

/// A call that Nexus makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Call {
    /// What the engine is, in a few words.
    Look,
    ListImages,
    InspectImage,
    Build,
    CreateContainer,
    ListContainers,
    /// Something that is done with a container.
    Container {
        id: String,
        act: Act,
    },
    CreateVolume,
    InspectVolume,
    RemoveVolume {
        name: String,
    },
}

/// What is done with a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    Inspect,
    Attach,
    Start,
    Kill,
    Wait,
    Remove,
    /// An archive is put into one that never runs.
    Fill,
}

/// Versions of the API whose bodies mean what they are taken for here.
const VERSIONS: std::ops::RangeInclusive<u32> = 41..=99;

const SIGNALS: &[&str] = &["", "SIGKILL", "KILL", "SIGTERM", "TERM", "SIGINT", "INT"];
const CONDITIONS: &[&str] = &["removed", "not-running", "next-exit"];

/// The call that a method and a path are, or why they are none.
pub(super) fn call(method: &Method, path: &str) -> Result<Call, Refusal> {
    // Nothing that could be read in two ways.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._:@-".contains(&byte);
    if !path.bytes().all(plain) || path.contains("..") || path.contains("//") || path.contains("/.") {
        return Err(Refusal::forbidden(format!("the path `{}` is not a plain one", excerpt(path))));
    }
    let none = || {
        let shown = excerpt(path);
        Refusal::forbidden(format!("`{method} {shown}` is no call that Nexus makes"))
    };
    let parts: Vec<&str> = path.strip_prefix('/').ok_or_else(none)?.split('/').collect();
    let parts = match parts.as_slice() {
        [version, rest @ ..] if version.starts_with("v1.") => {
            if !is_version(version) {
                let (least, most) = (VERSIONS.start(), VERSIONS.end());
                return Err(Refusal::forbidden(format!("the version is one from v1.{least} to v1.{most}")));
            }
            rest
        }
        parts => parts,
    };
    find(method.as_str(), parts).ok_or_else(none)
}

fn find(method: &str, parts: &[&str]) -> Option<Call> {
    Some(match (method, parts) {
        ("GET" | "HEAD", ["_ping"]) | ("GET", ["version"]) => Call::Look,
        ("GET", ["images", "json"]) => Call::ListImages,
        ("GET", ["images", name @ .., "json"]) => {
            name.join("/").parse::<ImageReference>().ok()?;
            Call::InspectImage
        }
        ("POST", ["build"]) => Call::Build,
        ("POST", ["containers", "create"]) => Call::CreateContainer,
        ("GET", ["containers", "json"]) => Call::ListContainers,
        (_, ["containers", id, rest @ ..]) if is_container_id(id) => {
            let act = act(method, rest)?;
            Call::Container { id: (*id).to_owned(), act }
        }
        ("POST", ["volumes", "create"]) => Call::CreateVolume,
        ("GET", ["volumes", name]) if is_volume(name) => Call::InspectVolume,
        ("DELETE", ["volumes", name]) if is_volume(name) => Call::RemoveVolume { name: (*name).to_owned() },
        _ => return None,
    })
}

fn act(method: &str, rest: &[&str]) -> Option<Act> {
    Some(match (method, rest) {
        ("GET", ["json"]) => Act::Inspect,
        ("POST", ["attach"]) => Act::Attach,
        ("POST", ["start"]) => Act::Start,
        ("POST", ["kill"]) => Act::Kill,
        ("POST", ["wait"]) => Act::Wait,
        ("PUT", ["archive"]) => Act::Fill,
        ("DELETE", []) => Act::Remove,
        _ => return None,
    })
}

impl Call {
    /// The parameters that it may have. Those of a build are looked at on their own.
    pub(super) fn parameters(&self) -> &'static [(&'static str, Is)] {
        match self {
            Self::ListImages => &[
                ("all", Is::Off),
                ("shared-size", Is::Off),
                ("digests", Is::Off),
                ("manifests", Is::Off),
                ("filters", Is::Labelled(CONTENT)),
            ],
            Self::ListContainers => &[("all", Is::Flag), ("size", Is::Off), ("filters", Is::Labelled(OWNER))],
            Self::Container { act, .. } => act.parameters(),
            Self::Look
            | Self::InspectImage
            | Self::Build
            | Self::CreateContainer
            | Self::CreateVolume
            | Self::InspectVolume
            | Self::RemoveVolume { .. } => &[],
        }
    }

    /// A parameter without which it would be about more than what belongs to Nexus.
    pub(super) fn needs(&self) -> Option<&'static str> {
        match self {
            Self::ListImages | Self::ListContainers => Some("filters"),
            Self::Container { act: Act::Fill, .. } => Some("path"),
            _ => None,
        }
    }
}

impl Act {
    fn parameters(self) -> &'static [(&'static str, Is)] {
        match self {
            Self::Inspect => &[("size", Is::Off)],
            Self::Attach => &[
                ("stream", Is::Flag),
                ("stdin", Is::Flag),
                ("stdout", Is::Flag),
                ("stderr", Is::Flag),
                ("logs", Is::Off),
            ],
            Self::Start => &[],
            Self::Kill => &[("signal", Is::One(SIGNALS))],
            Self::Wait => &[("condition", Is::One(CONDITIONS))],
            Self::Remove => &[("v", Is::Flag), ("force", Is::Flag), ("link", Is::Off)],
            Self::Fill => &[("path", Is::One(&["/"]))],
        }
    }
}

/// A whole id, as the engine gives it: a name, or the beginning of an id, can mean something else tomorrow.
pub(super) fn is_container_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

/// A name that a volume of Nexus may have.
pub(super) fn is_volume(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    name.len() <= 128 && name.strip_prefix("nexus-").is_some_and(|rest| !rest.is_empty() && rest.chars().all(plain))
}

fn is_version(text: &str) -> bool {
    let number = text.strip_prefix("v1.").filter(|number| number.len() == 2);
    let number = number.filter(|number| number.bytes().all(|digit| digit.is_ascii_digit()));
    number.and_then(|number| number.parse().ok()).is_some_and(|number| VERSIONS.contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: &str, path: &str) -> Option<Call> {
        call(&method.parse().unwrap(), path).ok()
    }

    #[test]
    fn what_nexus_calls_is_known_with_a_version_and_without() {
        let id = "0a".repeat(32);
        let of = |act| Some(Call::Container { id: id.clone(), act });
        for version in ["", "/v1.41", "/v1.53"] {
            let found = |method: &str, path: &str| found(method, &format!("{version}{path}"));
            assert_eq!(found("GET", "/version"), Some(Call::Look));
            assert_eq!(found("GET", "/images/a.b:5000/c/d@sha256:12/json"), None);
            assert_eq!(found("GET", "/images/a.b:5000/c/d:1/json"), Some(Call::InspectImage));
            assert_eq!(found("POST", &format!("/containers/{id}/attach")), of(Act::Attach));
            assert_eq!(found("DELETE", &format!("/containers/{id}")), of(Act::Remove));
            assert_eq!(found("GET", "/volumes/nexus-a-b"), Some(Call::InspectVolume));
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let id = "0a".repeat(32);
        let of_id = |rest: &str| format!("/containers/{id}{rest}");
        for (method, path) in [
            ("POST", of_id("/exec").as_str()),
            ("GET", &of_id("/logs")),
            ("GET", &of_id("/archive")),
            ("GET", &of_id("/attach/ws")),
            ("POST", &of_id("/update")),
            ("POST", &of_id("/rename")),
            ("POST", &of_id("/start/")),
            ("GET", &of_id("/../json")),
            ("POST", &of_id("/%73tart")),
            ("POST", "/containers/nexus/start"),
            ("POST", "/containers/0a0a0a0a0a0a/start"),
            ("POST", "/containers/prune"),
            ("POST", "/v1.44/../containers/create"),
            ("POST", "/v1.44//containers/create"),
            ("POST", "//containers/create"),
            ("POST", "/./containers/create"),
            ("POST", "/v1.24/containers/create"),
            ("POST", "/v1.4a/containers/create"),
            ("POST", "/v1.044/containers/create"),
            ("POST", "/v1.44/v1.44/containers/create"),
            ("POST", "/v2.44/containers/create"),
            ("post", "/containers/create"),
            ("POST", "/containers/create/"),
            ("POST", "/Containers/create"),
            ("POST", "/images/create"),
            ("DELETE", "/images/nexus"),
            ("GET", "/images/get"),
            ("GET", "/images/json/json/"),
            ("POST", "/networks/create"),
            ("GET", "/networks/bridge"),
            ("GET", "/volumes"),
            ("GET", "/volumes/other"),
            ("DELETE", "/volumes/nexus-"),
            ("GET", "/info"),
            ("GET", "/events"),
            ("POST", "/session"),
            ("POST", "/grpc"),
            ("POST", "/auth"),
            ("POST", "/swarm/init"),
            ("GET", "/plugins"),
            ("GET", "*"),
            ("GET", ""),
        ] {
            assert_eq!(found(method, path), None, "{method} {path}");
        }
    }
}
