//! Grants as they are given on the command line.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::super::failure::Failure;

const HELP: &str = "`nexus plugin add --help` lists the grants";

/// The grants of a file and those named one by one; `None` where neither is given.
pub(super) fn read(file: Option<&Path>, single: &[String]) -> Result<Option<Value>, Failure> {
    let mut grants = match file {
        Some(file) => of_file(file)?,
        None if single.is_empty() => return Ok(None),
        None => Map::new(),
    };
    for grant in single {
        add(&mut grants, grant)?;
    }
    Ok(Some(Value::Object(grants)))
}

/// A mapping of grants, with or without `grants:` above it.
fn of_file(file: &Path) -> Result<Map<String, Value>, Failure> {
    let text = std::fs::read_to_string(file).map_err(|source| Failure::Unreadable { path: file.to_owned(), source })?;
    let wrong = |why: String| Failure::usage(format!("`{}` holds no grants: {why}", file.display()), HELP);
    let value: Value = serde_saphyr::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    let value = match value.get("grants") {
        Some(grants) => grants.clone(),
        None => value,
    };
    match value {
        Value::Object(grants) => Ok(grants),
        Value::Null => Ok(Map::new()),
        _ => Err(wrong("it is no mapping".to_owned())),
    }
}

fn add(grants: &mut Map<String, Value>, grant: &str) -> Result<(), Failure> {
    let (name, value) = grant.split_once('=').map_or((grant, None), |(name, value)| (name, Some(value)));
    let wrong = || Failure::usage(format!("`{grant}` is no grant"), HELP);
    match (name, value) {
        ("logging" | "clocks" | "random" | "caller", None | Some("true")) => {
            drop(grants.insert(name.to_owned(), json!(true)));
        }
        ("state" | "folder", Some(access)) => drop(grants.insert(name.to_owned(), json!(access))),
        ("http" | "tools" | "events" | "models", Some(item)) => {
            let list = grants.entry(name).or_insert_with(|| json!([]));
            list.as_array_mut().ok_or_else(wrong)?.push(json!(item));
        }
        ("config", None) => drop(grants.entry("config").or_insert_with(|| json!({}))),
        _ => {
            let (key, value) = name.strip_prefix("config.").zip(value).ok_or_else(wrong)?;
            let config = grants.entry("config").or_insert_with(|| json!({}));
            config.as_object_mut().ok_or_else(wrong)?.insert(key.to_owned(), json!(value));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::read;

    fn single(grants: &[&str]) -> Option<serde_json::Value> {
        let grants: Vec<_> = grants.iter().map(ToString::to_string).collect();
        read(None, &grants).ok().flatten()
    }

    #[test]
    fn grants_are_named_one_by_one() {
        let given = single(&[
            "http=https://a.example",
            "http=https://b.example?x=y",
            "state=read",
            "logging",
            "config.a=b=c",
            "tools=p.*",
        ]);
        let expected = json!({
            "http": ["https://a.example", "https://b.example?x=y"], "state": "read", "logging": true,
            "config": { "a": "b=c" }, "tools": ["p.*"],
        });
        assert_eq!(given, Some(expected));
        assert_eq!(single(&["config"]), Some(json!({ "config": {} })));
        assert_eq!(single(&[]), None);
        for bad in ["state", "htp=x", "logging=maybe", "http", "config.a"] {
            assert_eq!(single(&[bad]), None, "{bad}");
        }
    }

    #[test]
    fn a_file_may_say_grants_above_them() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("grants.yaml");
        for text in ["grants:\n  state: read\n", "state: read\n", "{\"state\": \"read\"}"] {
            std::fs::write(&file, text).unwrap();
            let both = read(Some(&file), &["clocks".to_owned()]).ok().flatten();
            assert_eq!(both, Some(json!({ "state": "read", "clocks": true })), "{text}");
        }
        std::fs::write(&file, "- a\n").unwrap();
        assert!(read(Some(&file), &[]).is_err());
    }
}
