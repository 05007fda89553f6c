//! `nexus new` and `nexus templates`.

use std::{collections::BTreeMap, path::Path};

use nexus_definitions::{StarterError, StarterTemplate, Surroundings, load_with, nearest, starter, starters};
use nexus_model::{AppName, FileTree};
use serde_json::{Map, Value, json};

use super::{args::New, check, definitions::write_folder, failure::Failure, output::Output};
use crate::{TemplateList, TemplateView};

pub(super) fn list(name: Option<&str>, output: Output) -> Result<(), Failure> {
    let chosen = match name {
        Some(name) => vec![find(name)?],
        None => starters(),
    };
    if output.json {
        output.value(&TemplateList { templates: chosen.into_iter().map(TemplateView::from).collect() });
    } else if name.is_some() {
        for template in &chosen {
            show(template, output);
        }
    } else {
        let rows: Vec<_> = chosen.iter().map(|one| vec![one.name.to_owned(), one.description.clone()]).collect();
        output.table(&["NAME", "DESCRIPTION"], &rows);
    }
    Ok(())
}

fn find(name: &str) -> Result<StarterTemplate, Failure> {
    starter(name).ok_or_else(|| {
        let all = starters();
        let near = nearest(name, all.iter().map(|template| template.name));
        let help = near.map_or_else(
            || "`nexus templates` lists what there is".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        Failure::usage(format!("there is no template `{name}`"), &help)
    })
}

fn show(template: &StarterTemplate, output: Output) {
    output.line(&format!("{}\n", template.description));
    let parameters = template.parameters["properties"].as_object().into_iter().flatten();
    let rows: Vec<_> = parameters
        .map(|(name, schema)| {
            let text = |field: &str| schema[field].as_str().unwrap_or_default().to_owned();
            let default = schema.get("default").map(brief).unwrap_or_default();
            vec![name.clone(), text("type"), default, text("description")]
        })
        .collect();
    output.table(&["PARAMETER", "TYPE", "DEFAULT", "DESCRIPTION"], &rows);
}

/// A default as it fits a table: of a list only the names.
fn brief(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let named = |item: &Value| item["name"].as_str().map_or_else(|| item.to_string(), str::to_owned);
            items.iter().map(named).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

pub(super) fn new(new: &New, output: Output) -> Result<(), Failure> {
    let template = find(&new.template)?;
    let (name, files) = template.render(&parameters(&new.set)).map_err(|error| refused(&template, error))?;
    let dir = new.dir.clone().unwrap_or_else(|| name.as_str().into());
    check_files(&name, &files, &dir, output)?;
    let contents: BTreeMap<_, _> = files.iter().map(|(path, bytes)| (path.clone(), bytes.to_vec())).collect();
    write_folder(&dir, &contents)?;
    if output.json {
        output.value(&json!({ "app": name, "dir": dir, "files": files.keys().collect::<Vec<_>>() }));
        return Ok(());
    }
    output.line(&format!("{name}: {} files in {}", files.len(), dir.display()));
    output.note(&format!("next: nexus apps import {}", dir.display()));
    Ok(())
}

/// Values are YAML, as in the server's `--set`; what is none is text.
fn parameters(set: &[(String, String)]) -> Map<String, Value> {
    let typed = |value: &str| serde_saphyr::from_str(value).unwrap_or_else(|_| Value::from(value));
    set.iter().map(|(name, value)| (name.clone(), typed(value))).collect()
}

fn refused(template: &StarterTemplate, error: StarterError) -> Failure {
    let help = format!("`nexus templates {}` shows what can be set", template.name);
    let message = match error {
        StarterError::Parameters(violations) => {
            let lines = violations.iter().map(|violation| format!("\n{}: {}", violation.path, violation.message));
            format!("the parameters do not satisfy the template's schema{}", lines.collect::<String>())
        }
        error => error.to_string(),
    };
    Failure::usage(message, &help)
}

fn check_files(name: &AppName, files: &FileTree, dir: &Path, output: Output) -> Result<(), Failure> {
    match load_with(files, Surroundings { folder: Some(name), ..Surroundings::default() }) {
        Ok(_) => Ok(()),
        Err(faults) => {
            let faults = BTreeMap::from([(name.clone(), faults)]);
            if output.json {
                output.value(&check::list(dir, &faults));
            } else {
                check::show_faults(output, dir, &faults, &BTreeMap::from([(name.clone(), files.clone())]));
            }
            Err(Failure::Faults)
        }
    }
}
