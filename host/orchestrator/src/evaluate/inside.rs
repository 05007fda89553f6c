//! The inside of a child: it evaluates what it is asked until its input is closed.

use std::{
    collections::{HashMap, VecDeque},
    io::{self, BufRead, BufReader, Read, Write},
};

use nexus_workflow::{Expression, Library};
use rustix::process::{Resource, Rlimit, Signal, set_parent_process_death_signal, setrlimit};

use super::wire::{Answer, Asked, LONGEST};

/// Expressions that stay compiled.
const COMPILED: usize = 512;

/// Evaluates what comes on standard input until it is closed, within `memory` bytes of address space.
///
/// # Errors
/// If the bounds cannot be set, or a pipe breaks.
pub fn evaluate_for_parent(memory: u64) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    bound(Resource::As, memory)?;
    // What ends by a bound leaves no picture of its memory.
    bound(Resource::Core, 0)?;
    serve(BufReader::new(io::stdin().lock()), io::stdout().lock())
}

fn bound(resource: Resource, most: u64) -> io::Result<()> {
    Ok(setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?)
}

fn serve(mut input: impl BufRead, mut output: impl Write) -> io::Result<()> {
    let mut compiled = Compiled::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        input.by_ref().take(LONGEST as u64 + 1).read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Ok(());
        }
        let answer = match serde_json::from_slice(&line) {
            Ok(asked) => compiled.answer(asked),
            Err(error) => Answer::Problem(format!("its input cannot be read: {error}")),
        };
        // One write, so that the parent wakes once.
        let mut said = serde_json::to_vec(&answer)?;
        said.push(b'\n');
        output.write_all(&said)?;
        output.flush()?;
    }
}

/// What tells an expression from others: its text and the variables that it may use.
type Key = (String, Vec<String>);

/// Expressions that were compiled; the oldest goes.
#[derive(Default)]
struct Compiled {
    library: Library,
    expressions: HashMap<Key, Expression>,
    order: VecDeque<Key>,
}

impl Compiled {
    fn answer(&mut self, asked: Asked) -> Answer {
        let Asked { text, names, input, values, bytes } = asked;
        let key = (text, names);
        if !self.expressions.contains_key(&key) {
            let (text, names) = &key;
            match Expression::read_with(&self.library, text, names.iter().map(String::as_str)) {
                Ok(expression) => self.keep(key.clone(), expression),
                Err(problem) => return Answer::Problem(problem.message),
            }
        }
        let Some(expression) = self.expressions.get(&key) else {
            return Answer::Problem("it is not there".to_owned());
        };
        match expression.evaluate_here(&input, &values, bytes) {
            Ok(output) => Answer::Output(output),
            Err(why) => Answer::Problem(why),
        }
    }

    fn keep(&mut self, key: Key, expression: Expression) {
        if self.order.len() >= COMPILED
            && let Some(oldest) = self.order.pop_front()
        {
            self.expressions.remove(&oldest);
        }
        self.order.push_back(key.clone());
        self.expressions.insert(key, expression);
    }
}

#[cfg(test)]
mod tests {
    use super::serve;

    fn answers(lines: &str) -> Vec<serde_json::Value> {
        let mut output = Vec::new();
        serve(lines.as_bytes(), &mut output).unwrap();
        String::from_utf8(output).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn each_line_has_an_answer_and_a_broken_one_is_said_to_be() {
        let said = answers(concat!(
            r#"{"text":".a + $x","names":["x"],"input":{"a":1},"values":[2],"bytes":100}"#,
            "\n",
            r#"{"text":"nothing"}"#,
            "\n",
            r#"{"text":".a[","names":[],"input":1,"values":[],"bytes":100}"#,
            "\n",
        ));
        assert_eq!(said[0], serde_json::json!({"output": 3}));
        assert!(said[1]["problem"].as_str().unwrap().contains("cannot be read"), "{said:?}");
        assert!(said[2]["problem"].is_string(), "{said:?}");
    }

    #[test]
    fn more_expressions_than_stay_compiled_are_evaluated() {
        let line = |n| format!("{{\"text\":\"{n}\",\"names\":[],\"input\":null,\"values\":[],\"bytes\":9}}\n");
        let lines: Vec<String> = (0..1100).map(line).collect();
        assert_eq!(answers(&lines.concat())[1099], serde_json::json!({"output": 1099}));
    }

    #[test]
    fn a_line_without_an_end_ends_it() {
        assert!(answers("{\"text\"").is_empty());
    }
}
