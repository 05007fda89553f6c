//! The files of the templates in `apps/templates`, as the program carries them.

/// A template: its name, its `template.json`, and its files by path.
type Template = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

macro_rules! template {
    ($name:literal: $($path:literal),+ $(,)?) => {
        (
            $name,
            include_str!(concat!("../../../../apps/templates/", $name, "/template.json")),
            &[$(($path, include_str!(concat!("../../../../apps/templates/", $name, "/files/", $path)))),+],
        )
    };
}

pub(super) const TEMPLATES: &[Template] = &[
    template!("classify": "app.yaml", "prompts/classify.prompt.yml", "schemas/label.json", "schemas/text.json"),
    template!("extract": "app.yaml", "prompts/extract.prompt.yml", "schemas/document.json", "schemas/fields.json"),
    template!("summarise": "app.yaml", "prompts/summarise.prompt.yml", "schemas/summary.json", "schemas/text.json"),
];
