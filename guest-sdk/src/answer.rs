//! JSON in, JSON out: the glue between an author's typed function and the component's export.

use serde::{Serialize, de::DeserializeOwned};

use crate::{Abstain, bindings::exports::nexus::operation::handler::Outcome};

/// Answers one call with `run`. What the author's types cannot read or write is a failure that names the place.
pub fn answer<I, O>(run: impl FnOnce(I) -> Result<O, Abstain>, input: &str) -> Outcome
where
    I: DeserializeOwned,
    O: Serialize,
{
    let input = match serde_json::from_str(input) {
        Ok(input) => input,
        Err(error) => return Outcome::Failure(format!("the input does not fit the component's type: {error}")),
    };
    let output = match run(input) {
        Ok(output) => output,
        Err(abstain) => return Outcome::Abstain(abstain.reason().to_owned()),
    };
    match serde_json::to_string(&output) {
        Ok(output) => Outcome::Value(output),
        Err(error) => Outcome::Failure(format!("the output cannot be written as JSON: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn half(number: u32) -> Result<u32, Abstain> {
        if number.is_multiple_of(2) { Ok(number / 2) } else { Err(Abstain::because("odd")) }
    }

    #[test]
    fn an_answer_is_json() {
        assert!(matches!(answer(half, " 42 "), Outcome::Value(value) if value == "21"));
    }

    #[test]
    fn abstaining_keeps_the_reason() {
        assert!(matches!(answer(half, "41"), Outcome::Abstain(reason) if reason == "odd"));
    }

    #[test]
    fn an_input_of_another_shape_is_a_failure() {
        for input in ["", "\"42\"", "-1", "42 43"] {
            assert!(matches!(answer(half, input), Outcome::Failure(why) if why.contains("line 1")), "{input}");
        }
    }

    #[test]
    fn an_output_that_json_cannot_say_is_a_failure() {
        let run = |(): ()| Ok(BTreeMap::from([((1, 2), 3)]));
        assert!(matches!(answer(run, "null"), Outcome::Failure(why) if why.contains("key must be a string")));
    }
}
