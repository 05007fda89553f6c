//! The parameters of the engine's `POST /build`.

use serde_json::{Map, Value};

use super::{
    json::parse_object,
    query::Query,
    refusal::{Refusal, excerpt},
};

/// The label of every image that was built through a guard. A name that another image has stays that image's.
pub(super) const BUILT: &str = "nexus.built";

/// The longest context of a build.
pub(super) const MAX_CONTEXT: usize = 64 << 20;

/// A build that may be sent on.
#[derive(Debug)]
pub(super) struct Checked {
    /// The name of the image.
    pub(super) name: String,
    /// The parameters, with [`BUILT`] among the labels.
    pub(super) query: String,
}

/// Looks at every parameter.
pub(super) fn check(mut query: Query, most_memory: u64) -> Result<Checked, Refusal> {
    for (name, value) in query.iter() {
        let right = match name {
            "t" => is_name(value),
            "dockerfile" => value == "Dockerfile",
            "q" | "nocache" | "rm" | "forcerm" => ["true", "false"].contains(&value),
            "memory" | "memswap" => bytes(value).is_some_and(|bytes| bytes > 0 && bytes <= most_memory),
            "buildargs" | "labels" => texts(value).is_ok(),
            "networkmode" => ["none", "default"].contains(&value),
            "platform" | "target" => value.is_empty(),
            "version" => value == "1",
            _ => {
                let name = excerpt(name);
                return Err(Refusal::forbidden(format!("a build with the parameter `{name}` is not made by Nexus")));
            }
        };
        if !right {
            let value = excerpt(value);
            return Err(Refusal::forbidden(format!(
                "a build whose parameter `{name}` is `{value}` is not made by Nexus"
            )));
        }
    }
    let needed = |name: &str| {
        let missing = || Refusal::forbidden(format!("a build needs the parameter `{name}`"));
        query.get(name).map(str::to_owned).ok_or_else(missing)
    };
    let (name, memory) = (needed("t")?, needed("memory")?);
    // The engine would take the network of its own choice.
    needed("networkmode")?;
    if memory != needed("memswap")? {
        return Err(Refusal::forbidden("`memswap` has to be what `memory` is: there is no swap"));
    }
    let mut labels = query.get("labels").map_or_else(|| Ok(Map::new()), texts)?;
    labels.insert(BUILT.to_owned(), "guard".into());
    query.set("labels", Value::Object(labels).to_string());
    Ok(Checked { name, query: query.write() })
}

/// Whether the engine's description of an image is one of an image that was built through a guard.
pub(super) fn is_own(described: &Value) -> bool {
    described.get("Config").and_then(|config| config.get("Labels")).and_then(|labels| labels.get(BUILT)).is_some()
}

/// `nexus-…` or `nexus/…`: never the name of the host's own image, which the next start of Compose would run.
fn is_name(text: &str) -> bool {
    let (name, tag) = text.rsplit_once(':').unwrap_or((text, "latest"));
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    let part = |part: &str| part.starts_with(|c: char| c.is_ascii_alphanumeric()) && part.chars().all(plain);
    let is_tag = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let under = name.strip_prefix("nexus-").or_else(|| name.strip_prefix("nexus/"));
    text.len() <= 255
        && under.is_some_and(|rest| !rest.is_empty())
        && name.split('/').all(part)
        && !tag.is_empty()
        && tag.chars().all(is_tag)
}

fn bytes(text: &str) -> Option<u64> {
    text.bytes().all(|digit| digit.is_ascii_digit()).then(|| text.parse().ok())?
}

/// An object of texts. No label of it is one of Docker's, or pretends that a guard has seen it.
fn texts(text: &str) -> Result<Map<String, Value>, Refusal> {
    let read = parse_object(text.as_bytes())?;
    let right =
        |(name, value): (&String, &Value)| value.is_string() && name != BUILT && !name.starts_with("com.docker.");
    if read.iter().all(right) {
        Ok(read)
    } else {
        Err(Refusal::forbidden("there is a label that is not Nexus' to set"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "dockerfile=Dockerfile&t=nexus-test/a:12&q=false&rm=true&memory=67108864&memswap=67108864&\
                        networkmode=none&platform=&target=&version=1&labels=%7B%22nexus.content%22%3A%22x%22%7D";

    fn checked(query: &str) -> Result<Checked, Refusal> {
        check(Query::read(query)?, 1 << 30)
    }

    #[test]
    fn a_build_of_nexus_goes_on_with_a_label_more() {
        let built = checked(GOOD).unwrap();
        assert_eq!(built.name, "nexus-test/a:12");
        let labels = Query::read(&built.query).unwrap().get("labels").unwrap().to_owned();
        assert_eq!(labels, r#"{"nexus.built":"guard","nexus.content":"x"}"#);
    }

    #[test]
    fn other_builds_are_refused() {
        for (from, to) in [
            ("networkmode=none", "networkmode=host"),
            ("networkmode=none", "networkmode=container:x"),
            ("&networkmode=none", ""),
            ("&memory=67108864", ""),
            ("memory=67108864", "memory=0"),
            ("memswap=67108864", "memswap=-1"),
            ("memory=67108864&memswap=67108864", "memory=2147483648&memswap=2147483648"),
            ("version=1", "version=2"),
            ("dockerfile=Dockerfile", "dockerfile=/etc/passwd"),
            ("&t=nexus-test/a:12", ""),
            ("nexus-test/a:12", "nexus"),
            ("nexus-test/a:12", "nexus:latest"),
            ("nexus-test/a:12", "nexus-"),
            ("nexus-test/a:12", "redis:7-bookworm"),
            ("nexus-test/a:12", "nexus-a/../b"),
            ("nexus-test/a:12", "nexus-a:1:2"),
            ("nexus.content", "com.docker.compose.project"),
            ("nexus.content", "nexus.built"),
            ("q=false", "q=false&q=false"),
            ("q=false", "extrahosts=a:1.2.3.4"),
            ("q=false", "remote=https://example.com"),
            ("q=false", "cachefrom=[]"),
            ("q=false", "securityopt=[]"),
            ("q=false", "cgroupparent=x"),
            ("q=false", "session=x"),
            ("q=false", "outputs=x"),
            ("q=false", "ulimits=x"),
        ] {
            let bad = GOOD.replacen(from, to, 1);
            assert!(bad != GOOD && checked(&bad).is_err(), "{bad}");
        }
    }
}
