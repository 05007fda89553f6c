//! Prompt templates: minijinja over one variable, `input`.

use std::io::{self, Write};

use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, value::Serde};
use nexus_model::{Message, Prompt, Role};
use serde_json::Value;

use crate::{json_schema::cut, limits, template_tags::excess};

/// The work one message may take to render, in minijinja's fuel: about as many instructions, or 64 bytes each; so it
/// bounds memory too, at 13 MB.
const FUEL: u64 = 200_000;

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
/// An input is data: whatever its texts hold, they are never read as template syntax. Nothing is escaped.
#[derive(Debug, Clone)]
pub struct PromptTemplate {
    environment: Environment<'static>,
    messages: Vec<(Role, String)>,
}

impl PromptTemplate {
    /// Compiles the templates of a prompt.
    ///
    /// # Errors
    /// [`RenderError::Compile`].
    pub fn compile(prompt: &Prompt) -> Result<Self, RenderError> {
        let mut environment = environment();
        let mut messages = Vec::with_capacity(prompt.messages.len());
        for (number, message) in prompt.messages.iter().enumerate() {
            let name = number.to_string();
            if let Some((_, reason)) = excess(&message.content) {
                return Err(RenderError::Compile { message: number, reason });
            }
            environment
                .add_template_owned(name.clone(), message.content.clone())
                .map_err(|error| RenderError::Compile { message: number, reason: reason(&error) })?;
            messages.push((message.role, name));
        }
        Ok(Self { environment, messages })
    }

    /// Renders the messages for one input. Undefined variables are errors; the work is bounded.
    ///
    /// # Errors
    /// [`RenderError::Input`], [`RenderError::Fuel`] or [`RenderError::TooLong`].
    pub fn render(&self, input: &Value) -> Result<Vec<Message>, RenderError> {
        let context = minijinja::context! { input => Serde(input) };
        let mut left = limits::RENDERED_BYTES;
        let mut rendered = Vec::with_capacity(self.messages.len());
        for (number, (role, name)) in self.messages.iter().enumerate() {
            let mut output = Bounded { text: Vec::new(), left, full: false };
            let outcome = self
                .environment
                .get_template(name)
                .and_then(|template| template.render_captured_to(context.clone(), &mut output).map(|_| ()));
            if output.full {
                return Err(RenderError::TooLong);
            }
            outcome.map_err(|error| failure(number, &error))?;
            left = output.left;
            rendered.push(Message { role: *role, content: String::from_utf8_lossy(&output.text).into_owned() });
        }
        Ok(rendered)
    }
}

/// Compiles and renders a prompt once. Whoever renders it often keeps a [`PromptTemplate`].
///
/// # Errors
/// As [`PromptTemplate::compile`] and [`PromptTemplate::render`].
pub fn render(prompt: &Prompt, input: &Value) -> Result<Vec<Message>, RenderError> {
    PromptTemplate::compile(prompt)?.render(input)
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
