//! The body of the engine's `POST /volumes/create`.

use serde_json::{Map, Value};

use super::{
    json::{Field, is_text, needed, optional, parse_object, sift},
    refusal::Refusal,
    route::is_volume,
};
use crate::docker::VOLUME;

const FIELDS: &[Field] = &[
    needed("Name", |value| value.as_str().is_some_and(is_volume), "a name that begins with `nexus-`"),
    optional("Driver", |value| *value == "local", "`local`"),
    optional("DriverOpts", is_size, "a size"),
    needed("Labels", |value| of_volume(value).is_some(), "the label `nexus.volume` with the name"),
];

/// Looks at every key, and gives what is sent on.
pub(super) fn check(bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
    let body = sift(FIELDS, parse_object(bytes)?, "")?;
    if body.get("Name").and_then(Value::as_str) != body.get("Labels").and_then(of_volume) {
        return Err(Refusal::forbidden("`Labels` has to name the volume itself as `nexus.volume`"));
    }
    Ok(Value::Object(body).to_string().into_bytes())
}

/// Whether the engine's description of a volume is one that was made here.
pub(super) fn is_own(described: &Value, name: &str) -> bool {
    described.get("Labels").and_then(|labels| labels.get(VOLUME)).and_then(Value::as_str) == Some(name)
}

/// The local driver would mount anything with other options.
fn is_size(value: &Value) -> bool {
    let plain = |value: &Value| {
        let text = value.as_str().unwrap_or_default();
        !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit())
    };
    let Some(options) = value.as_object() else { return false };
    options.iter().all(|(name, value)| name == "size" && plain(value))
}

fn of_volume(labels: &Value) -> Option<&str> {
    let labels: &Map<String, Value> = labels.as_object().filter(|labels| labels.len() == 1)?;
    labels.get(VOLUME).filter(|value| is_text(value))?.as_str()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body() -> Value {
        let labels = json!({ "nexus.volume": "nexus-a" });
        json!({ "Name": "nexus-a", "Driver": "local", "DriverOpts": { "size": "8" }, "Labels": labels })
    }

    fn checked(change: impl Fn(&mut Value)) -> Result<Vec<u8>, Refusal> {
        let mut body = body();
        change(&mut body);
        check(body.to_string().as_bytes())
    }

    #[test]
    fn a_volume_of_nexus_may_be_made() {
        assert_eq!(serde_json::from_slice::<Value>(&checked(|_| {}).unwrap()).unwrap(), body());
        assert!(checked(|body| body["DriverOpts"] = Value::Null).is_ok());
    }

    #[test]
    fn a_volume_is_no_way_to_the_files_of_the_machine() {
        let bind = json!({ "type": "none", "o": "bind", "device": "/" });
        assert!(checked(|body| body["DriverOpts"] = bind.clone()).is_err());
        assert!(checked(|body| body["DriverOpts"]["size"] = json!("1,device=/")).is_err());
        assert!(checked(|body| body["Driver"] = json!("rclone")).is_err());
        assert!(checked(|body| body["Name"] = json!("redis")).is_err());
        assert!(checked(|body| body["Labels"] = json!({ "nexus.volume": "nexus-b" })).is_err());
        assert!(checked(|body| body["Labels"]["com.docker.compose.project"] = json!("nexus")).is_err());
        assert!(checked(|body| body["ClusterVolumeSpec"] = json!({ "Group": "a" })).is_err());
    }
}
