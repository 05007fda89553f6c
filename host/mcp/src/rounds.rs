//! The rounds of a request that needs answers first, from 2026-07-28 on: the server keeps nothing between them. What was
//! answered so far goes along with the caller, sealed.

use std::time::Duration;

use nexus_model::{ToolCatalogue, canonical_json, sha256_hex};
use rmcp::{
    ErrorData,
    model::{InputResponses, RequestStateCodec, SealOptions},
};
use serde_json::{Value, json};

/// How long the caller has for one round.
const ROUND: Duration = Duration::from_mins(10);
/// The most that may have been answered so far, in bytes of JSON.
const MAX_ANSWERED: usize = 256 << 10;

/// Seals and opens what was answered. Replicas of one key understand each other.
pub(crate) struct Rounds(RequestStateCodec);

/// One request in all its rounds: who asks for what. Nothing that was sealed for one opens for another.
pub(crate) struct Asked(Vec<u8>);

impl Asked {
    pub(crate) fn new(catalogue: &dyn ToolCatalogue, method: &str, name: &str, arguments: &Value) -> Self {
        let arguments = sha256_hex(canonical_json(arguments));
        Self(canonical_json(&json!([catalogue.about().name, catalogue.owner(), method, name, arguments])).into())
    }
}

impl Rounds {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        // The key is as long as the codec asks for.
        Self(RequestStateCodec::new_unchecked(key))
    }

    /// All that the caller has answered: in earlier rounds, and in this one. Where there are no rounds nothing is `asked`.
    ///
    /// # Errors
    /// The state is not one that was given for this request, or not any more.
    pub(crate) fn open(
        &self,
        asked: Option<&Asked>,
        state: Option<&str>,
        responses: Option<InputResponses>,
    ) -> Result<InputResponses, ErrorData> {
        let wrong = |why: String| ErrorData::invalid_params(format!("requestState: {why}"), None);
        let mut answers: InputResponses = match (state, asked) {
            (Some(state), Some(asked)) => {
                self.0.open_json_with(state, &asked.0).map_err(|error| wrong(error.to_string()))?
            }
            (Some(_), None) => return Err(wrong("a session has no rounds".to_owned())),
            (None, _) => InputResponses::default(),
        };
        answers.extend(responses.unwrap_or_default());
        Ok(answers)
    }

    /// What the caller has to send along with the next round.
    pub(crate) fn seal(&self, asked: &Asked, answers: &InputResponses) -> Result<String, ErrorData> {
        if canonical_json(&json!(answers)).len() > MAX_ANSWERED {
            let why = format!("the answers so far have more than {MAX_ANSWERED} bytes");
            return Err(ErrorData::invalid_params(why, None));
        }
        let options = SealOptions::new().associated_data(&asked.0).ttl(ROUND);
        let sealed = self.0.seal_json_with(answers, &options);
        sealed.map_err(|error| ErrorData::internal_error(error.to_string(), None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(owner: &str) -> Asked {
        Asked(owner.as_bytes().to_vec())
    }

    #[test]
    fn what_was_answered_is_the_callers_own_and_for_this_request() {
        let rounds = Rounds::new([7; 32]);
        let answers = InputResponses::from([("name".to_owned(), json!({ "action": "accept" }))]);
        let sealed = rounds.seal(&asked("a"), &answers).unwrap();
        let more = InputResponses::from([("colour".to_owned(), json!(1))]);
        let opened = rounds.open(Some(&asked("a")), Some(&sealed), Some(more)).unwrap();
        assert_eq!(opened.keys().collect::<Vec<_>>(), ["colour", "name"]);
        for (rounds, asked, state) in [
            (&rounds, None, sealed.clone()),
            (&rounds, Some(asked("b")), sealed.clone()),
            (&rounds, Some(asked("a")), format!("{sealed}x")),
            (&Rounds::new([8; 32]), Some(asked("a")), sealed),
        ] {
            let error = rounds.open(asked.as_ref(), Some(&state), None).unwrap_err();
            assert_eq!(error.code, rmcp::model::ErrorCode::INVALID_PARAMS);
        }
    }

    #[test]
    fn what_was_answered_has_a_bound() {
        let answers = InputResponses::from([("name".to_owned(), json!("x".repeat(MAX_ANSWERED)))]);
        assert!(Rounds::new([7; 32]).seal(&asked("a"), &answers).is_err());
    }
}
