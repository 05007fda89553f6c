//! Images of containers, and the sandboxes that work for an application.

use std::time::Duration;

use nexus_model::SandboxPool;
use serde_json::Value;

use crate::{
    document::Document,
    duration,
    fault::{FaultCode, Faults, Finding, quoted},
};

const AT: &str = "/spec/sandbox";
/// How long a sandbox waits for work, if the definition does not say.
const IDLE: Duration = Duration::from_mins(1);

/// What speaks against a text naming one image for ever.
pub(crate) fn image_fault(image: &str) -> Option<Finding> {
    let digest = image.rsplit_once('@').map_or(image, |(_, digest)| digest);
    let hex = digest.strip_prefix("sha256:").filter(|hex| hex.len() == 64);
    if hex.is_some_and(|hex| hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))) {
        return None;
    }
    let finding = Finding::new(FaultCode::BadValue, format!("{} may be another image tomorrow", quoted(image)));
    Some(finding.expected("an image by its digest, as `name@sha256:…`, or its id, as `sha256:…`"))
}

/// The sandboxes of the application, if it has any and they can be read.
pub(crate) fn pool(document: &Document, faults: &mut Faults) -> Option<SandboxPool> {
    let given = document.value.pointer(AT)?;
    let text = |name: &str| given.get(name).and_then(Value::as_str);
    let number = |name: &str, absent: u64| given.get(name).map_or(Some(absent), Value::as_u64);
    let count = |name: &str, absent: u64| number(name, absent).and_then(|number| usize::try_from(number).ok());
    let image = text("image")?;
    let idle = text("idle").map_or(Some(Ok(IDLE)), duration::parse)?;
    let mut fault = |at: &str, finding| faults.add(document.fault_at_value(&format!("{AT}/{at}"), finding));
    if let Some(finding) = image_fault(image) {
        fault("image", finding);
    }
    let command = given.get("command").map_or(Some(Vec::new()), |value| serde_json::from_value(value.clone()).ok())?;
    let (min, max, warm) = (count("min", 0)?, count("max", 4)?, count("warm", 0)?);
    for (name, value) in [("min", min), ("warm", warm)] {
        if value > max {
            let finding = Finding::new(FaultCode::OutOfRange, format!("`{name}` is more than `max`, which is {max}"));
            fault(name, finding.expected(format!("at most {max}")));
        }
    }
    let idle = idle.map_err(|finding| fault("idle", finding)).ok()?;
    Some(SandboxPool {
        image: image.to_owned(),
        command,
        min,
        max,
        warm,
        per_sandbox: count("per_sandbox", 16)?,
        idle,
        memory_mib: number("memory_mib", 256)?,
    })
}

#[cfg(test)]
mod tests {
    use super::image_fault;

    #[test]
    fn an_image_is_named_by_what_it_is() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for good in [digest.clone(), format!("weather@{digest}"), format!("registry.example:5000/a/weather@{digest}")] {
            assert!(image_fault(&good).is_none(), "{good}");
        }
        for bad in ["", "weather", "weather:latest", "weather@sha256:00", &digest.to_uppercase(), &format!("{digest}0")]
        {
            assert!(image_fault(bad).is_some(), "{bad}");
        }
    }
}
