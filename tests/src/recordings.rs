//! The recordings that stand behind the replay.

use std::{
    fs::{read_dir, read_to_string},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::Value;

/// The inputs of one operation, in the order in which they are sent.
#[derive(Debug, Clone)]
pub struct OperationInputs {
    /// The application.
    pub app: String,
    /// The operation.
    pub operation: String,
    /// The inputs.
    pub inputs: Vec<Value>,
}

/// Answers by where they came from.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Given by a language model to the prompt that Nexus sends.
    pub recorded: usize,
    /// Written by people, or by a stated rule.
    pub written: usize,
}

/// Reads `<app>/<operation>.inputs.jsonl` of all applications below `folder`, in the order of their names.
pub fn inputs(folder: &Path) -> Result<Vec<OperationInputs>> {
    let mut all = Vec::new();
    for (app, path) in files(folder)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(operation) = name.strip_suffix(".inputs.jsonl") {
            all.push(OperationInputs { app, operation: operation.to_owned(), inputs: lines(&path)? });
        }
    }
    Ok(all)
}

/// Counts the answers of all recordings below `folder`.
pub fn count(folder: &Path) -> Result<Counts> {
    let mut counts = Counts::default();
    for (_, path) in files(folder)? {
        for line in lines(&path)? {
            match line["origin"].as_str() {
                Some("recorded") => counts.recorded += 1,
                Some("written") => counts.written += 1,
                _ => {}
            }
        }
    }
    Ok(counts)
}

/// The files of JSON lines below `folder`, each with its application.
fn files(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for app in entries(folder)?.into_iter().filter(|path| path.is_dir()) {
        let name = app.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let lines = entries(&app)?.into_iter().filter(|path| path.extension().is_some_and(|end| end == "jsonl"));
        files.extend(lines.map(|path| (name.clone(), path)));
    }
    Ok(files)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let listed = read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let mut paths = listed.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn lines(path: &Path) -> Result<Vec<Value>> {
    let text = read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let parse = |(number, line): (usize, &str)| {
        serde_json::from_str(line).with_context(|| format!("{}:{} is no JSON", path.display(), number + 1))
    };
    text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).map(parse).collect()
}
