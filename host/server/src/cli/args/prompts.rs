//! `nexus prompt`: what prompts say, and how their answers fare.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::models::at_one_time;

#[derive(Debug, Subcommand)]
pub(crate) enum Prompt {
    /// Ask prompts what their test data says, and look at the answers as their evaluators say.
    Test(PromptTest),
    /// Show the messages that a prompt would send. No model is asked.
    Render(PromptRender),
}

/// Ask prompts what their test data says, and look at the answers as their evaluators say.
///
/// Each case of `testData` is rendered, asked of the prompt's model, without fall-backs, and answered by the operation's output
/// schema; steps of workflows are tested too. The answer is given to each of the `evaluators`; where there are none, it has to
/// equal `expected`. `llm` evaluators ask the model that they name. The calls are real. Exits with 1 if a case fails.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nexus prompt test apps/support\n  nexus prompt test apps --operation classify --times 5\n  nexus prompt test apps/support --prompt prompts/classify.prompt.yml --model large --json\n\nIn a prompt's file:\n  testData:\n    - input: { text: I was charged twice. }\n      expected: { category: billing, urgent: true }\n  evaluators:\n    - { name: category, json: { at: /category, equals: \"{{ expected.category }}\" } }"
)]
pub(crate) struct PromptTest {
    /// An application's folder, or a folder of them.
    #[arg(value_name = "DIR", default_value = "apps")]
    pub(crate) dir: PathBuf,
    /// Only the prompt of this operation; a step of a workflow is `OPERATION-STEP`.
    #[arg(long, value_name = "NAME")]
    pub(crate) operation: Option<String>,
    /// Only this prompt: its path in the application's folder.
    #[arg(long, value_name = "PATH")]
    pub(crate) prompt: Option<String>,
    /// Ask the model of this alias instead of the one that the prompt names. Judges stay who they are.
    #[arg(long, value_name = "ALIAS")]
    pub(crate) model: Option<String>,
    /// How often each case is asked, 1 to 100.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(crate) times: u8,
    /// How many are asked at one time, 1 to 64.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = at_one_time)]
    pub(crate) parallel: usize,
    /// The settings with the models; otherwise `$NEXUS_CONFIG`, otherwise `nexus.yaml` if it is there.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Show the messages that a prompt would send. No model is asked.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  nexus prompt render apps/support --prompt prompts/classify.prompt.yml --input '{\"text\": \"I was charged twice.\"}'\n  nexus prompt render apps/support --prompt prompts/classify.prompt.yml --input @mail.json --json"
)]
pub(crate) struct PromptRender {
    /// An application's folder, or a folder of them.
    #[arg(value_name = "DIR", default_value = "apps")]
    pub(crate) dir: PathBuf,
    /// The prompt: its path in the application's folder.
    #[arg(long, value_name = "PATH")]
    pub(crate) prompt: String,
    /// The input: JSON, `@` and a file, or `-` for standard input.
    #[arg(long, short, value_name = "JSON", default_value = "-")]
    pub(crate) input: String,
}
