//! From a text to what can be evaluated, with what jq has and Nexus allows.

use std::fmt;

use jaq_core::{
    Compiler, Filter,
    compile::Undefined,
    data::JustLut,
    load::{self, Arena, File, Loader, parse::Def},
};
use jaq_json::Val;

use super::{ExpressionProblem, terms};
use crate::fault::cut;

/// Filters of jq that say something else each time, or reach out of the expression, and why they are refused.
const REFUSED: [(&str, &str); 13] = [
    ("env", "the environment is not shown to workflows"),
    (
        "now",
        "it is another each time, and an execution must be repeatable: use `$workflow.startedAt` or `$task.startedAt`",
    ),
    ("localtime", "it depends on where it runs: use `gmtime`"),
    ("strflocaltime", "it depends on where it runs: use `strftime`"),
    ("input", "there is one input only, which is `.`"),
    ("inputs", "there is one input only, which is `.`"),
    ("debug", "an expression cannot write messages"),
    ("stderr", "an expression cannot write messages"),
    ("debug_empty", "an expression cannot write messages"),
    ("stderr_empty", "an expression cannot write messages"),
    ("halt", "an expression cannot end the program: use the task `raise`"),
    ("halt_error", "an expression cannot end the program: use the task `raise`"),
    ("input_line_number", "there is one input only, which is `.`"),
];

/// The functions of jq that are defined in jq, read once: to read many expressions.
pub struct Library {
    definitions: Vec<Def<&'static str>>,
}

impl Default for Library {
    fn default() -> Self {
        let definitions = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
        Self { definitions: definitions.filter(|definition| allowed(definition.name)).collect() }
    }
}

impl fmt::Debug for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Library")
    }
}

fn allowed(name: &str) -> bool {
    !REFUSED.iter().any(|(refused, _)| *refused == name)
}

/// Compiles a text that may use these variables.
pub(super) fn compile(
    library: &Library,
    text: &str,
    variables: &[String],
) -> Result<Filter<JustLut<Val>>, ExpressionProblem> {
    let functions = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs()).filter(|(name, ..)| allowed(name));
    // A text that does not parse needs no definitions to be refused.
    let mut definitions = Vec::new();
    if let Some(term) = load::parse(text, |parser| parser.term()) {
        if let Some(name) = terms::calls_itself(&term) {
            let message = format!("the function `{name}` calls itself: use `recurse`, `until`, `while` or `reduce`");
            return Err(ExpressionProblem::new(message));
        }
        definitions = terms::needed(&term, &library.definitions);
    }
    let arena = Arena::default();
    let modules = Loader::new(definitions).load(&arena, File { code: text, path: () }).map_err(|errors| {
        let error = errors.into_iter().map(|(_, error)| error).next();
        ExpressionProblem::new(error.map_or_else(|| "it does not parse".to_owned(), |error| unreadable(text, error)))
    })?;
    let globals: Vec<String> = variables.iter().map(|name| format!("${name}")).collect();
    Compiler::default()
        .with_funs(functions)
        .with_global_vars(globals.iter().map(String::as_str))
        .compile(modules)
        .map_err(|errors| {
            errors.into_iter().flat_map(|(_, errors)| errors).next().map_or_else(
                || ExpressionProblem::new("it does not compile"),
                |(name, undefined)| unknown(name, &undefined),
            )
        })
}

fn unreadable(text: &str, error: load::Error<&str>) -> String {
    let (expected, found) = match error {
        load::Error::Io(_) => return "modules cannot be imported".to_owned(),
        load::Error::Lex(errors) => match errors.into_iter().next() {
            Some((expected, found)) => (expected.as_str().to_owned(), found),
            None => return "it does not parse".to_owned(),
        },
        load::Error::Parse(errors) => match errors.into_iter().next() {
            Some((expected, found)) => (expected.as_str().to_owned(), found),
            None => return "it does not parse".to_owned(),
        },
    };
    if found.is_empty() {
        return format!("the expression ends where {expected} is expected");
    }
    let at = text.len().saturating_sub(found.len()).min(load::span(text, found).start);
    format!("{expected} is expected instead of `{}` at byte {at} of the expression", cut(found, 40))
}

fn unknown(name: &str, undefined: &Undefined) -> ExpressionProblem {
    let bare = name.trim_start_matches('$').to_owned();
    let message = match (undefined, REFUSED.iter().find(|(refused, _)| *refused == name)) {
        (Undefined::Filter(_), Some((_, why))) => format!("`{}` is refused: {why}", cut(name, 60)),
        (Undefined::Var, _) if name == "$ENV" => {
            "`$ENV` is refused: the environment is not shown to workflows".to_owned()
        }
        (Undefined::Var, _) if name == "$__prog_args" => "`$__prog_args` is refused: there are no arguments".to_owned(),
        (Undefined::Var, _) if name == "$secrets" => {
            "`$secrets` is refused: a secret is only ever a reference, `${ $secrets.name }` and nothing else, in \
             `authentication` or as the value of a header"
                .to_owned()
        }
        (Undefined::Var, _) if name == "$authorization" => {
            "`$authorization` is refused: workflows are not shown what they are authorised with".to_owned()
        }
        (Undefined::Filter(arity), None) => {
            let arity = format!("{arity:?}");
            format!("there is no function `{}` with {arity} arguments", cut(name, 60))
        }
        (undefined, _) => format!("there is no {} `{}` here", undefined.as_str(), cut(name, 60)),
    };
    ExpressionProblem { message, unknown: Some(bare) }
}
