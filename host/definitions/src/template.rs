//! Prompt templates: minijinja over `input`, and over its fields where a template names them.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
};

use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, value::Serde};
use nexus_model::{Message, Prompt, PromptExample, Role};
use serde_json::Value;

use crate::{json_schema::cut, limits, template_tags::excess};

/// The work one message may take to render, in minijinja's fuel: about as many instructions, or 64 bytes each; so it
/// bounds memory too, at 13 MB.
const FUEL: u64 = 200_000;

/// The variable that has the whole input.
pub(crate) const INPUT: &str = "input";

/// A prompt that could not be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// A template does not compile.
    #[error("message {message} of the prompt is not a valid template: {reason}")]
    Compile {
        /// The message, from 0.
        message: usize,
        /// Why, in at most 300 characters.
        reason: String,
    },
    /// A template failed on this input: it uses a field that the input does not have, or an operation that does not fit.
    #[error("message {message} of the prompt cannot be rendered: {reason}")]
    Input {
        /// The message, from 0.
        message: usize,
        /// Why, in at most 300 characters.
        reason: String,
    },
    /// Rendering took more work or more memory than allowed.
    #[error("message {message} of the prompt takes too much work to render")]
    Fuel {
        /// The message, from 0.
        message: usize,
    },
    /// The prompt became longer than [`limits::RENDERED_BYTES`].
    #[error("the prompt renders to more than {} bytes", limits::RENDERED_BYTES)]
    TooLong,
}

/// A prompt's templates, compiled.
///
/// An input is data: whatever its texts hold, they are never read as template syntax. Nothing is escaped. `input` is the
/// whole input; its other fields are there by their names too, as far as a template names them, so that no field of an input can
/// stand in for a function of the templates.
#[derive(Debug, Clone)]
pub struct PromptTemplate {
    environment: Environment<'static>,
    messages: Vec<(Role, String)>,
    /// The fields of the input that templates name.
    named: BTreeSet<String>,
    examples: Vec<PromptExample>,
    /// Before which message the examples are.
    last_of_user: Option<usize>,
}

impl PromptTemplate {
    /// Compiles the templates of a prompt.
    ///
    /// # Errors
    /// [`RenderError::Compile`].
    pub fn compile(prompt: &Prompt) -> Result<Self, RenderError> {
        let mut environment = environment();
        let mut messages = Vec::with_capacity(prompt.messages.len());
        let mut named = BTreeSet::new();
        for (number, message) in prompt.messages.iter().enumerate() {
            let name = number.to_string();
            if let Some((_, reason)) = excess(&message.content) {
                return Err(RenderError::Compile { message: number, reason });
            }
            let broken = |error: minijinja::Error| RenderError::Compile { message: number, reason: reason(&error) };
            environment.add_template_owned(name.clone(), message.content.clone()).map_err(broken)?;
            let template = environment.get_template(&name).map_err(broken)?;
            named.extend(fields(&environment, template.undeclared_variables(false)));
            messages.push((message.role, name));
        }
        let last_of_user = prompt.messages.iter().rposition(|message| message.role == Role::User);
        Ok(Self { environment, messages, named, examples: prompt.examples.clone(), last_of_user })
    }

    /// Renders the messages for one input. Undefined variables are errors; the work is bounded. The answers of examples are
    /// their JSON, as answers of models are.
    ///
    /// # Errors
    /// [`RenderError::Input`], [`RenderError::Fuel`] or [`RenderError::TooLong`].
    pub fn render(&self, input: &Value) -> Result<Vec<Message>, RenderError> {
        let variables = variables(input, &self.named);
        let mut left = limits::RENDERED_BYTES;
        let mut rendered = Vec::with_capacity(self.messages.len() + 2 * self.examples.len());
        for (number, (role, name)) in self.messages.iter().enumerate() {
            if Some(number) == self.last_of_user {
                for example in &self.examples {
                    let content =
                        self.message(number, name, &self::variables(&example.input, &self.named), &mut left)?;
                    rendered.push(Message { role: Role::User, content });
                    let content = example.output.to_string();
                    left = left.checked_sub(content.len()).ok_or(RenderError::TooLong)?;
                    rendered.push(Message { role: Role::Assistant, content });
                }
            }
            rendered.push(Message { role: *role, content: self.message(number, name, &variables, &mut left)? });
        }
        Ok(rendered)
    }

    fn message(
        &self,
        number: usize,
        name: &str,
        variables: &minijinja::Value,
        left: &mut usize,
    ) -> Result<String, RenderError> {
        let mut output = Bounded { text: Vec::new(), left: *left, full: false };
        let outcome = self
            .environment
            .get_template(name)
            .and_then(|template| template.render_captured_to(variables.clone(), &mut output).map(|_| ()));
        if output.full {
            return Err(RenderError::TooLong);
        }
        outcome.map_err(|error| failure(number, &error))?;
        *left = output.left;
        Ok(String::from_utf8_lossy(&output.text).into_owned())
    }
}

/// The variables that are neither `input` nor there without it.
fn fields(environment: &Environment<'_>, named: impl IntoIterator<Item = String>) -> impl Iterator<Item = String> {
    let globals: BTreeSet<String> = environment.globals().map(|(name, _)| name.to_owned()).collect();
    named.into_iter().filter(move |name| name != INPUT && !globals.contains(name))
}

/// What a template is rendered with: the input, and those of its fields that are named.
fn variables(input: &Value, named: &BTreeSet<String>) -> minijinja::Value {
    let fields = named.iter().filter_map(|name| Some((name.clone(), minijinja::Value::from(Serde(input.get(name)?)))));
    let whole = (INPUT.to_owned(), minijinja::Value::from(Serde(input)));
    minijinja::Value::from(fields.chain([whole]).collect::<BTreeMap<_, _>>())
}

/// Compiles and renders a prompt once. Whoever renders it often keeps a [`PromptTemplate`].
///
/// # Errors
/// As [`PromptTemplate::compile`] and [`PromptTemplate::render`].
pub fn render(prompt: &Prompt, input: &Value) -> Result<Vec<Message>, RenderError> {
    PromptTemplate::compile(prompt)?.render(input)
}

/// One template, filled in; the error says why not, in at most 300 characters.
pub(crate) fn filled(
    environment: &Environment<'_>,
    content: &str,
    variables: &minijinja::Value,
) -> Result<String, String> {
    if let Some((_, why)) = excess(content) {
        return Err(why);
    }
    let mut output = Bounded { text: Vec::new(), left: limits::RENDERED_BYTES, full: false };
    let template = environment.template_from_str(content).map_err(|error| reason(&error))?;
    template.render_captured_to(variables.clone(), &mut output).map_err(|error| reason(&error))?;
    Ok(String::from_utf8_lossy(&output.text).into_owned())
}

/// What every template is compiled and rendered with.
pub(crate) fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(50);
    environment.remove_global("debug");
    environment
}

fn failure(message: usize, error: &minijinja::Error) -> RenderError {
    match error.kind() {
        ErrorKind::OutOfFuel => RenderError::Fuel { message },
        _ => RenderError::Input { message, reason: reason(error) },
    }
}

/// What minijinja says, without the name of the template.
pub(crate) fn reason(error: &minijinja::Error) -> String {
    let detail = error.detail().map_or_else(|| error.kind().to_string(), |d| format!("{}: {d}", error.kind()));
    cut(&detail, 300)
}

struct Bounded {
    text: Vec<u8>,
    left: usize,
    full: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(left) = self.left.checked_sub(bytes.len()) else {
            self.full = true;
            return Err(io::Error::other("the prompt is too long"));
        };
        self.left = left;
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
