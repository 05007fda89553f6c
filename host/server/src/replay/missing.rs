//! Requests without a recording, written down so that somebody can record them.

use std::{
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use nexus_model::{ChatMessage, OperationRef};
use serde_json::json;

use super::{
    conversation::{questions, text},
    prompt_sha256,
};

/// How many requests are written down at most.
const MOST: usize = 10_000;

/// A folder of requests: `<sha256>.json` for programs and `<sha256>.txt` for people.
#[derive(Debug)]
pub(super) struct Missing {
    folder: PathBuf,
    written: AtomicUsize,
}

impl Missing {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, written: AtomicUsize::new(0) }
    }

    /// Writes a request down unless it is there; at most 10,000 in all. A file is there whole or not at all.
    pub(super) async fn write(
        &self,
        sha256: &str,
        model: &str,
        messages: &[ChatMessage],
        operation: Option<&OperationRef>,
    ) -> io::Result<()> {
        let json_path = self.folder.join(format!("{sha256}.json"));
        if tokio::fs::try_exists(&json_path).await? || self.written.fetch_add(1, Ordering::Relaxed) >= MOST {
            return Ok(());
        }
        tokio::fs::create_dir_all(&self.folder).await?;
        let questions = questions(messages);
        let request = json!({
            "model": model,
            "operation": operation.map(ToString::to_string),
            "prompt_sha256": prompt_sha256(messages),
            "messages": messages,
            "questions": questions.iter().map(|(said, results)| json!({ "said": said, "results": results })).collect::<Vec<_>>(),
        });
        put(&self.folder.join(format!("{sha256}.txt")), &plain(model, messages, operation)).await?;
        put(&json_path, &format!("{request:#}\n")).await
    }
}

async fn put(path: &Path, text: &str) -> io::Result<()> {
    let mut unfinished = path.to_owned().into_os_string();
    unfinished.push(".part");
    tokio::fs::write(&unfinished, text).await?;
    tokio::fs::rename(&unfinished, path).await
}

fn plain(model: &str, messages: &[ChatMessage], operation: Option<&OperationRef>) -> String {
    let mut plain = format!("Model: {model}\n");
    if let Some(operation) = operation {
        // Writing to a String does not fail.
        let _ = writeln!(plain, "For: {operation}");
    }
    for message in messages {
        let _ = write!(plain, "\n----- {} -----\n{}\n", speaker(message), text(message));
    }
    plain
}

fn speaker(message: &ChatMessage) -> &'static str {
    match message {
        ChatMessage::System { .. } => "System",
        ChatMessage::User { .. } => "User",
        ChatMessage::Assistant { .. } => "Assistant",
        ChatMessage::Tool { .. } => "Tool",
    }
}
