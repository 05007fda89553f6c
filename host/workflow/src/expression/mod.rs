//! Expressions in jq: read once with the document, evaluated through a port.

mod compile;
mod evaluate;
mod fields;
mod levels;
mod template;
mod terms;
mod value;

use std::fmt;

use jaq_core::{Ctx, Filter, Vars, data::JustLut, unwrap_valr};
use jaq_json::Val;
use serde_json::Value;

pub use compile::Library;
pub use evaluate::{DirectEvaluator, Evaluate, Evaluation};
pub use template::Template;

use crate::fault::cut;
use compile::compile;
use fields::Fields;
use levels::LEVELS;

const LONGEST: usize = 16 << 10;

/// An expression that was read: it parses, and uses only what is there.
///
/// jq as jaq has it, without what is not repeatable (`now`, `env`, `input`, `localtime`, `debug`, `halt` and their like),
/// without modules, and without functions that call themselves (`recurse`, `until`, `while`, `repeat` and `reduce` are there).
pub struct Expression {
    text: String,
    variables: Vec<String>,
    fields: Option<Fields>,
    filter: Filter<JustLut<Val>>,
}

/// Why a text is not an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExpressionProblem {
    /// What is wrong.
    pub message: String,
    /// The name that is not known, if that is it.
    pub unknown: Option<String>,
}

impl ExpressionProblem {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), unknown: None }
    }
}

impl Expression {
    /// Reads an expression that may use the variables named (without `$`).
    pub fn read<'a>(text: &str, variables: impl IntoIterator<Item = &'a str>) -> Result<Self, ExpressionProblem> {
        Self::read_with(&Library::default(), text, variables)
    }

    /// The same, with definitions that were read before.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_with<'a>(
        library: &Library,
        text: &str,
        variables: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, ExpressionProblem> {
        bounded(text)?;
        let mut used: Vec<String> =
            variables.into_iter().filter(|name| mentions(text, name)).map(String::from).collect();
        used.sort_unstable();
        used.dedup();
        let filter = compile(library, text, &used)?;
        let fields = Fields::read(text, &used);
        Ok(Self { text: text.to_owned(), variables: used, fields, filter })
    }

    /// As it is written, without `${ }`.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The variables that it may use, without `$`: their values are what an evaluation needs.
    pub fn variables(&self) -> &[String] {
        &self.variables
    }

    /// What [`Self::evaluate_here`] says, if that is only a field of what is there (`.`, `.a.b`, `$x.a`): found without evaluating
    /// anything. Nothing where jq has to say it, or what is wrong.
    pub fn evaluate_at_once(&self, input: &Value, values: &[Value], bytes: usize) -> Option<Value> {
        self.fields.as_ref()?.find(input, values, bytes)
    }

    /// Evaluates it here and now. `values` are those of [`Self::variables`], in that order. Its one output, `null` if there
    /// is none; of at most `bytes` bytes of JSON.
    ///
    /// What it takes on the way is not bounded here: jq can loop, fill the memory, and nest a value so deep that to drop it
    /// uses up the stack, which ends the process. What a stranger wrote is evaluated in a process that can be killed.
    ///
    /// # Errors
    /// If it fails, has several outputs, or one that is larger, deeper or no JSON.
    pub fn evaluate_here(&self, input: &Value, values: &[Value], bytes: usize) -> Result<Value, String> {
        let variables = values.iter().map(value::to_jq).collect::<Result<Vec<_>, _>>()?;
        let context = Ctx::<JustLut<Val>>::new(&self.filter.lut, Vars::new(variables));
        let mut outputs = self.filter.id.run((context, value::to_jq(input)?)).map(unwrap_valr);
        let output = match outputs.next() {
            None => return Ok(Value::Null),
            Some(output) => output.map_err(|error| cut(&error.to_string(), 300))?,
        };
        match outputs.next() {
            None => value::from_jq(&output, bytes),
            Some(_) => Err("it has several outputs: collect them with [ ]".to_owned()),
        }
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.text).finish()
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.variables == other.variables
    }
}

/// The text inside `${ … }`, if it is an expression in strict mode.
pub(crate) fn enclosed(text: &str) -> Option<&str> {
    text.trim().strip_prefix("${")?.strip_suffix('}')
}

/// Whether the text may use the variable: says yes rather too often.
pub(crate) fn mentions(text: &str, name: &str) -> bool {
    text.match_indices('$').any(|(at, _)| {
        let rest = text.get(at + 1..).unwrap_or_default();
        rest.strip_prefix(name).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
    })
}

/// The parser and the compiler recurse: what would take them deep is refused before.
fn bounded(text: &str) -> Result<(), ExpressionProblem> {
    if text.len() > LONGEST {
        return Err(ExpressionProblem::new(format!("an expression has at most {LONGEST} bytes")));
    }
    if levels::levels(text) > LEVELS {
        let most = format!("at most {LEVELS} brackets and operators that lead on from each other");
        return Err(ExpressionProblem::new(format!("the expression is too complicated: it may have {most}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Expression, enclosed, mentions};

    fn evaluate(text: &str, input: &Value) -> Result<Value, String> {
        Expression::read(text, []).map_err(|problem| problem.message)?.evaluate_here(input, &[], 1 << 16)
    }

    #[test]
    fn expressions_are_jq() {
        for (text, wanted) in [
            ("map(. + 1) | add", json!(5)),
            ("[.[] | select(. > 1)]", json!([2])),
            ("@base64 \"a\\(.[0])\"", json!("aMQ==")),
            ("[\"a\" | test(\"A\"; \"i\")]", json!([true])),
            ("map({(tostring): .}) | add", json!({"1": 1, "2": 2})),
            ("with_entries(.value += 1) | type", json!("object")),
            ("[paths] | length", json!(2)),
            ("@json", json!("[1,2]")),
            ("[.[] as $x | $x * 2]", json!([2, 4])),
            ("[recurse] | length", json!(3)),
            ("first(range(5; 10))", json!(5)),
            ("\"2015-03-05T23:51:47Z\" | fromdate | todate", json!("2015-03-05T23:51:47Z")),
            ("group_by(. > 1) | length", json!(2)),
            ("to_entries | map(.key)", json!([0, 1])),
            ("walk(.)", json!([1, 2])),
            ("try error(\"x\") catch .", json!("x")),
        ] {
            let found = evaluate(text, &json!([1, 2]));
            assert_eq!(found, Ok(wanted), "{text}");
        }
        assert_eq!(evaluate(".colors + [\"red\"]", &json!({})), Ok(json!(["red"])));
        assert_eq!(evaluate(".[0].id | . / 2", &json!([{"id": 4}])), Ok(json!(2)));
        assert_eq!(evaluate("empty", &Value::Null), Ok(Value::Null));
        assert_eq!(evaluate("[limit(3; repeat(1))] | add", &Value::Null), Ok(json!(3)));
        assert!(evaluate(".[]", &json!([1, 2])).unwrap_err().contains("several"));
        assert!(evaluate(".a", &json!([1])).is_err());
    }

    #[test]
    fn variables_are_those_that_are_given() {
        let expression = Expression::read("$b + $a", ["a", "b", "c"]).unwrap();
        assert_eq!(expression.variables(), ["a", "b"]);
        assert_eq!(expression.evaluate_here(&Value::Null, &[json!(1), json!(2)], 100), Ok(json!(3)));
        assert_eq!(Expression::read("$inputt", ["input"]).unwrap_err().unknown.as_deref(), Some("inputt"));
        assert!(mentions("$item.a", "item") && !mentions("$items", "item") && !mentions("item", "item"));
    }

    #[test]
    fn what_cannot_be_repeated_is_refused_by_name() {
        for text in [
            "now",
            "env",
            "$ENV",
            "input",
            "inputs",
            "[inputs]",
            "debug",
            "debug(1)",
            "stderr",
            "halt",
            "halt_error",
            "localtime",
            "strflocaltime(\"%Y\")",
            "$__prog_args",
            "$secrets.a",
            "$authorization",
            "input_line_number",
            "import \"a\" as a; .",
            "include \"a\"; .",
        ] {
            let problem = Expression::read(text, ["input"]).expect_err(text).message;
            assert!(problem.contains("refused") || problem.contains("module"), "{text}: {problem}");
        }
    }

    #[test]
    fn functions_that_call_themselves_are_refused() {
        assert!(evaluate("def f: 1 + f; f", &Value::Null).unwrap_err().contains("calls itself"));
        assert!(evaluate("[1] | map(def g($n): [g(1)]; g(2))", &Value::Null).unwrap_err().contains("calls itself"));
        assert_eq!(evaluate("def f($n): $n + 1; f(f(1))", &Value::Null), Ok(json!(3)));
    }

    #[test]
    fn results_are_bounded() {
        let expression = Expression::read("[range(1000)]", []).unwrap();
        assert!(expression.evaluate_here(&Value::Null, &[], 100).unwrap_err().contains("100 bytes"));
        let deep = evaluate("reduce range(500) as $i (null; [.])", &Value::Null);
        assert!(deep.unwrap_err().contains("deep"));
    }

    #[test]
    fn what_would_take_the_parser_deep_is_refused() {
        let units = [
            ("-", "1", ""),
            (".|", ".", ""),
            (".a//", ".", ""),
            ("1+", "1", ""),
            (".a,", ".", ""),
            ("not|", ".", ""),
            ("1 as $x|", ".", ""),
            ("(", "1", ")"),
            ("[", "1", "]"),
            ("{a:", "1", "}"),
            ("try ", ".", ""),
            ("if . then ", "1", " else 2 end"),
            ("map(", ".", ")"),
            ("\"\\(", "1", ")\""),
            (". and ", ".", ""),
            ("reduce . as $x (1; ", ".", ")"),
            ("label $x|", ".", ""),
            (".[", "0", "]"),
            ("1==(", "1", ")"),
        ];
        for (unit, middle, end) in units {
            for count in [10, 20, 30, 60, 64, 100, 1000] {
                let text = unit.repeat(count) + middle + &end.repeat(count);
                let read = evaluate(&text, &Value::Null);
                if count > 64 {
                    assert!(read.unwrap_err().contains("at most"), "{unit}");
                }
            }
        }
        let wide = format!("{{{}}}", (0..300).map(|n| format!("a{n}: .a + 1")).collect::<Vec<_>>().join(", "));
        assert!(evaluate(&wide, &json!({})).is_ok());
    }

    #[test]
    fn problems_say_where() {
        assert!(Expression::read(".a + ", []).unwrap_err().message.contains("ends where"));
        assert!(Expression::read(".a ] b", []).unwrap_err().message.contains("byte 3"));
        assert!(Expression::read("fooo(1)", []).unwrap_err().message.contains("no function `fooo`"));
    }

    #[test]
    fn strict_expressions_are_enclosed() {
        assert_eq!(enclosed(" ${ .a } "), Some(" .a "));
        assert_eq!(enclosed("${.a} b"), None);
        assert_eq!(enclosed(".a"), None);
    }
}
