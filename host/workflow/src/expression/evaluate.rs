//! The port through which expressions are evaluated, and the evaluator without a guard.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::Expression;

/// One evaluation.
#[derive(Debug, Clone, Copy)]
pub struct Evaluation<'a> {
    /// What to evaluate. The same document gives the same `Arc` each time.
    pub expression: &'a Arc<Expression>,
    /// What it is evaluated on: `.`
    pub input: &'a Value,
    /// The values of [`Expression::variables`], in that order.
    pub variables: &'a [Value],
}

/// Evaluates expressions: here, or in a process that can be killed.
#[async_trait]
pub trait Evaluate: Send + Sync {
    /// The output.
    ///
    /// # Errors
    /// Why there is none, in words. It becomes an error of the type `expression`, which a workflow may catch.
    async fn evaluate(&self, evaluation: Evaluation<'_>) -> Result<Value, String>;
}

/// Evaluates in the thread that asks. Nothing ends an expression that loops, so this is for expressions that are
/// trusted, and for the inside of a worker process.
#[derive(Debug, Clone, Copy)]
pub struct DirectEvaluator {
    /// Bytes of JSON of an output.
    pub output_bytes: usize,
}

impl Default for DirectEvaluator {
    fn default() -> Self {
        Self { output_bytes: 4 << 20 }
    }
}

#[async_trait]
impl Evaluate for DirectEvaluator {
    async fn evaluate(&self, evaluation: Evaluation<'_>) -> Result<Value, String> {
        evaluation.expression.evaluate_here(evaluation.input, evaluation.variables, self.output_bytes)
    }
}
