//! What a prompt is tested with, and how its answers are judged.

use serde_json::{Map, Value};

/// The tests of a prompt. They are no part of an operation's version: what a model is asked does not depend on them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PromptTests {
    /// What the prompt is asked.
    pub cases: Vec<TestCase>,
    /// What is looked at in each answer.
    pub evaluators: Vec<Evaluator>,
}

/// One input, and what is known about its answer.
#[derive(Debug, Clone, PartialEq)]
pub struct TestCase {
    /// The operation's input.
    pub input: Value,
    /// What the answer should be, or be like.
    pub expected: Option<Value>,
    /// All fields as they were written, which templates of evaluators have by their names.
    pub fields: Map<String, Value>,
}

/// Something that is looked at in an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluator {
    /// What people call it.
    pub name: String,
    /// What is looked at.
    pub check: AnswerCheck,
}

/// What is looked at in an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum AnswerCheck {
    /// The answer as a text: itself if it is one, otherwise its JSON.
    Text(TextCheck),
    /// The answer as a value.
    Json(JsonCheck),
    /// A model says what it thinks of it.
    Judge(JudgeCheck),
}

/// What a text must be like; the text is a template over the test case. Only `Equals` tells small letters from capitals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextCheck {
    /// The text itself.
    Equals(String),
    /// It is in the text.
    Contains(String),
    /// The text begins with it.
    StartsWith(String),
    /// The text ends with it.
    EndsWith(String),
}

/// What a value must be.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonCheck {
    /// What of the answer is looked at, as a JSON Pointer; empty for the whole.
    pub at: String,
    /// What it must be. Texts in it are templates over the test case; one that is a single `{{ … }}` stands for the value.
    pub wanted: Value,
    /// Whether more may be there: other fields of objects, other items of lists.
    pub partly: bool,
}

/// How a model judges an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct JudgeCheck {
    /// The alias of the model.
    pub model: String,
    /// Its instructions.
    pub instructions: Option<String>,
    /// What it is asked: a template over the test case and `completion`, the answer as a text.
    pub prompt: String,
    /// What it may say, and what that is worth. The first that its reply contains counts; the answer passes above 0.
    pub choices: Vec<(String, f64)>,
}
