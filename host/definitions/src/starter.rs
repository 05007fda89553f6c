//! Applications to start from: templates with parameters, rendered to files that pass every check.
//!
//! They are part of the program, so that one file is enough to begin. A template's own syntax is `<< … >>`, `<% … %>` and
//! `<# … #>`, which leaves prompts' `{{ … }}` alone.

mod files;

use std::sync::Arc;

use minijinja::{Environment, UndefinedBehavior, syntax::SyntaxConfig, value::Serde};
use nexus_model::{AppName, FileTree, InvalidName};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Violation,
    json_schema::{schema_validator, violations},
    template::reason,
};

/// The work that one file may take to render, in minijinja's fuel.
const FUEL: u64 = 500_000;

/// A template of an application.
#[derive(Debug, Clone, Serialize)]
pub struct StarterTemplate {
    /// Its name.
    pub name: &'static str,
    /// One line for people.
    pub description: String,
    /// JSON Schema 2020-12 of the parameters, with descriptions and defaults. `name` is always one of them.
    pub parameters: Value,
    #[serde(skip)]
    files: &'static [(&'static str, &'static str)],
}

/// Why a template became no application.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StarterError {
    /// The parameters break their schema, all ways told.
    #[error("the parameters do not satisfy the template's schema: {}", told(.0))]
    Parameters(Vec<Violation>),
    /// A file of the template cannot be rendered: the template's own mistake.
    #[error("`{file}` of the template cannot be rendered: {reason}")]
    Render {
        /// The file.
        file: String,
        /// Why, in at most 300 characters.
        reason: String,
    },
    /// No application can have this name.
    #[error(transparent)]
    Name(#[from] InvalidName),
}

fn told(violations: &[Violation]) -> String {
    let one = |violation: &Violation| {
        let path = if violation.path.is_empty() { "/" } else { &violation.path };
        format!("{path}: {}", violation.message)
    };
    violations.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// All templates, by name.
pub fn starters() -> Vec<StarterTemplate> {
    files::TEMPLATES.iter().filter_map(|(name, about, files)| read(name, about, files)).collect()
}

/// The template of this name.
pub fn starter(name: &str) -> Option<StarterTemplate> {
    starters().into_iter().find(|template| template.name == name)
}

#[derive(Deserialize)]
struct About {
    description: String,
    parameters: Value,
}

fn read(name: &'static str, about: &str, files: &'static [(&'static str, &'static str)]) -> Option<StarterTemplate> {
    let About { description, parameters } = serde_json::from_str(about).ok()?;
    Some(StarterTemplate { name, description, parameters, files })
}

impl StarterTemplate {
    /// The application's name and files, for these parameters; what is not given has its default. Whoever uses them has
    /// them checked like any other definition.
    pub fn render(&self, given: &Map<String, Value>) -> Result<(AppName, FileTree), StarterError> {
        let parameters = self.complete(given)?;
        let name = parameters.get("name").and_then(Value::as_str).unwrap_or_default().parse()?;
        let environment = environment();
        let context = minijinja::Value::from(Serde(&parameters));
        let files = self.files.iter().map(|(path, source)| {
            let rendered = environment.render_str(source, context.clone());
            let failed = |error| StarterError::Render { file: (*path).to_owned(), reason: reason(&error) };
            rendered.map(|text| ((*path).to_owned(), Arc::from(text.into_bytes()))).map_err(failed)
        });
        Ok((name, files.collect::<Result<_, _>>()?))
    }

    /// The parameters with their defaults, if they satisfy the schema.
    fn complete(&self, given: &Map<String, Value>) -> Result<Value, StarterError> {
        let mut parameters = given.clone();
        for (name, schema) in self.parameters["properties"].as_object().into_iter().flatten() {
            if let (false, Some(default)) = (parameters.contains_key(name), schema.get("default")) {
                parameters.insert(name.clone(), default.clone());
            }
        }
        let parameters = Value::Object(parameters);
        let broken = |message: String| StarterError::Parameters(vec![Violation { path: String::new(), message }]);
        let validator = schema_validator(&self.parameters).map_err(|error| broken(error.to_string()))?;
        let wrong = violations(&validator, &parameters);
        if wrong.is_empty() { Ok(parameters) } else { Err(StarterError::Parameters(wrong)) }
    }
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .block_delimiters("<%", "%>")
        .variable_delimiters("<<", ">>")
        .comment_delimiters("<#", "#>")
        .keep_trailing_newline(true)
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    // Delimiters that cannot be told apart would be a mistake of this function, and every template's test would say so.
    if let Ok(syntax) = syntax {
        environment.set_syntax(syntax);
    }
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use nexus_model::{AppName, Implementation};
    use serde_json::{Map, Value, json};

    use super::{StarterError, files::TEMPLATES, starter, starters};
    use crate::{Surroundings, document::Format, load_with, schema_validator};

    fn given(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn checked(template: &str, parameters: &Value) -> nexus_model::App {
        let (name, files) = starter(template).unwrap().render(&given(parameters)).unwrap();
        let models = ["small".to_owned()];
        load_with(&files, Surroundings { folder: Some(&name), models: Some(&models), apps: None })
            .unwrap_or_else(|faults| panic!("{template}: {faults:#?}"))
    }

    #[test]
    fn every_template_passes_the_check_with_its_defaults() {
        assert_eq!(starters().len(), TEMPLATES.len(), "every template can be read");
        for template in starters() {
            let app = checked(template.name, &json!({}));
            assert_eq!(app.name.as_str(), template.name);
            for operation in app.operations.values() {
                let Implementation::Prompt(prompt) = &operation.implementation else { continue };
                let samples = samples(&template, &prompt.path);
                assert!(samples.len() >= 2, "{}: sample inputs", template.name);
                let validator = schema_validator(&operation.input).unwrap();
                for sample in samples {
                    assert!(validator.is_valid(&sample), "{}: {sample}", template.name);
                    crate::render(prompt, &sample).unwrap();
                }
            }
        }
    }

    /// The `testData` of a prompt.
    fn samples(template: &super::StarterTemplate, path: &str) -> Vec<Value> {
        let (_, files) = template.render(&Map::new()).unwrap();
        let mut faults = crate::fault::Faults::default();
        let document = crate::document::Document::open(&files, path, Format::Yaml, &mut faults).unwrap();
        document.value["testData"].as_array().cloned().unwrap_or_default()
    }

    #[test]
    fn parameters_decide_and_cannot_break_out() {
        let labels = json!([
            { "name": "null", "means": "it's \"nothing\": # no comment, 'quotes' & <tags>" },
            { "name": "true", "means": "- a dash, [brackets] and a colon:" },
        ]);
        let app =
            checked("classify", &json!({ "name": "true", "texts": "mails: \"all\" # of them", "labels": labels }));
        assert_eq!(app.name, "true".parse::<AppName>().unwrap());
        let output = &app.operations.values().next().unwrap().output;
        assert_eq!(output["properties"]["label"]["enum"], json!(["null", "true", "other"]));
        let one = json!([{ "name": "sum", "kind": "number", "means": "the \"sum\"" }]);
        let app = checked("extract", &json!({ "fields": one }));
        assert_eq!(app.operations.values().next().unwrap().output["required"], json!(["sum"]));
        checked("summarise", &json!({ "language": "plain English", "points": 3 }));
    }

    #[test]
    fn wrong_parameters_are_all_told() {
        let wrong = json!({ "name": "No Name", "labels": [], "texts": "{{ input }}", "labls": 1 });
        let outcome = starter("classify").unwrap().render(&given(&wrong));
        let Err(StarterError::Parameters(violations)) = outcome else { panic!("{outcome:?}") };
        let paths: Vec<_> = violations.iter().map(|violation| violation.path.as_str()).collect();
        for path in ["/name", "/labels", "/texts", ""] {
            assert!(paths.contains(&path), "{path}: {violations:?}");
        }
        assert!(starter("nothing").is_none());
    }

    #[test]
    fn the_program_has_every_file_of_the_folder() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../apps/templates");
        let mut folder = Vec::new();
        collect(&root, &root, &mut folder);
        let mut known: Vec<String> = TEMPLATES
            .iter()
            .flat_map(|(name, _, files)| {
                let files = files.iter().map(move |(path, _)| format!("{name}/files/{path}"));
                std::iter::once(format!("{name}/template.json")).chain(files)
            })
            .collect();
        folder.sort();
        known.sort();
        assert_eq!(folder, known);
    }

    fn collect(root: &Path, folder: &Path, into: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(root, &path, into);
            } else {
                into.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
}
