//! `nexus check`.

use std::{collections::BTreeMap, fmt, path::Path};

use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};
use nexus_definitions::{Fault, Surroundings, load_with};
use nexus_model::{AppName, FileTree};
use nexus_state::folder::read_apps;
use serde::Serialize;

use super::{args::Check, failure::Failure, output::Output};
use crate::{FaultView, environment::Environment, settings::Sources};

/// A fault, and where it is seen from here.
#[derive(Serialize)]
pub(super) struct Listed {
    app: String,
    /// The file's path as it can be opened from here.
    location: String,
    #[serde(flatten)]
    fault: FaultView,
}

pub(super) fn run(check: &Check, output: Output, environment: &Environment) -> Result<(), Failure> {
    let models = match &check.config {
        Some(file) => {
            let sources = Sources { file: Some(file.clone()), flags: Vec::new() };
            Some(sources.load(environment)?.0.models.into_keys().collect::<Vec<_>>())
        }
        None => None,
    };
    let mut listed = Vec::new();
    let mut operations = 0;
    let mut checked = 0;
    for dir in &check.dirs {
        let files = read_apps(dir)?;
        if files.is_empty() {
            let message = format!("`{}` holds no application", dir.display());
            return Err(Failure::usage(message, "an application is a folder with an `app.yaml`"));
        }
        checked += files.len();
        // One application alone may name others that are not here.
        let known: Option<Vec<_>> = (!dir.join("app.yaml").is_file()).then(|| files.keys().cloned().collect());
        let mut faults = BTreeMap::new();
        for (name, tree) in &files {
            match load_with(
                tree,
                Surroundings { folder: Some(name), models: models.as_deref(), apps: known.as_deref() },
            ) {
                Ok(app) => operations += app.operations.len(),
                Err(found) => {
                    faults.insert(name.clone(), found);
                }
            }
        }
        if !output.json {
            show_faults(output, dir, &faults, &files);
        }
        listed.extend(list(dir, &faults));
    }
    if output.json {
        output.value(&listed);
    } else {
        output.line(&summary(checked, operations, listed.len()));
    }
    if listed.is_empty() { Ok(()) } else { Err(Failure::Faults) }
}

fn summary(apps: usize, operations: usize, faults: usize) -> String {
    let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    if faults == 0 {
        format!("{}, {}, no faults", plural(apps, "application"), plural(operations, "operation"))
    } else {
        format!("{}, {}", plural(apps, "application"), plural(faults, "fault"))
    }
}

/// Every fault, for scripts.
pub(super) fn list(dir: &Path, faults: &BTreeMap<AppName, Vec<Fault>>) -> Vec<Listed> {
    let all = faults.iter().flat_map(|(app, faults)| faults.iter().map(move |fault| (app, fault)));
    all.map(|(app, fault)| Listed {
        app: app.to_string(),
        location: location(dir, app, &fault.file),
        fault: fault.clone().into(),
    })
    .collect()
}

/// Where a file of an application is, seen from here.
fn location(dir: &Path, app: &AppName, file: &str) -> String {
    let folder = if dir.join("app.yaml").is_file() { dir.to_owned() } else { dir.join(app.as_str()) };
    folder.join(file).display().to_string()
}

/// Shows every fault at its place in its file.
pub(super) fn show_faults(
    output: Output,
    dir: &Path,
    faults: &BTreeMap<AppName, Vec<Fault>>,
    files: &BTreeMap<AppName, FileTree>,
) {
    for (app, faults) in faults {
        for fault in faults {
            let bytes = files.get(app).and_then(|tree| tree.get(&fault.file));
            let text = bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
            let source = NamedSource::new(location(dir, app, &fault.file), text);
            output.report(&Report { fault, source });
        }
    }
}

#[derive(Debug)]
struct Report<'a> {
    fault: &'a Fault,
    source: NamedSource<String>,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fault.message)
    }
}

impl std::error::Error for Report<'_> {}

impl Diagnostic for Report<'_> {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.fault.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let nearest = self.fault.nearest.as_ref().map(|nearest| format!("did you mean `{nearest}`?"));
        let expected = (!self.fault.expected.is_empty()).then(|| format!("expected {}", self.fault.expected));
        let parts: Vec<_> = [nearest, expected].into_iter().flatten().collect();
        (!parts.is_empty()).then(|| Box::new(parts.join(" ")) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        (!self.source.inner().is_empty()).then_some(&self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let length = self.source.inner().len();
        let offset = self.fault.offset.min(length);
        let span = (offset, self.fault.length.min(length - offset));
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(Some("here".to_owned()), span))))
    }
}
