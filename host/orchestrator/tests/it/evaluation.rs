//! Expressions of strangers, in processes that can be killed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use nexus_orchestrator::{EvaluationLimits, Evaluators, ProcessEvaluator};
use nexus_workflow::{Evaluate, Evaluation, Expression};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_orchestrator");

fn evaluator(limits: EvaluationLimits) -> ProcessEvaluator {
    ProcessEvaluator { evaluators: Arc::new(Evaluators::new(PROGRAM, limits)), output_bytes: 1 << 16 }
}

async fn evaluate(evaluator: &ProcessEvaluator, text: &str, input: &Value) -> Result<Value, String> {
    let expression = Arc::new(Expression::read(text, []).map_err(|problem| problem.message)?);
    evaluator.evaluate(Evaluation { expression: &expression, input, variables: &[] }).await
}

/// It fails for this reason, and the next expression is evaluated all the same.
async fn fails(text: &str, why: &str) {
    let evaluator = evaluator(EvaluationLimits { longest: Duration::from_secs(20), ..EvaluationLimits::default() });
    let said = evaluate(&evaluator, text, &Value::Null).await.unwrap_err();
    assert!(said.contains(why), "{text}: {said}");
    assert_eq!(evaluate(&evaluator, ". + 1", &json!(1)).await, Ok(json!(2)));
}

#[tokio::test]
async fn a_child_evaluates_with_variables_and_says_what_is_wrong() {
    let evaluator = evaluator(EvaluationLimits::default());
    let expression = Arc::new(Expression::read("$a + .b", ["a"]).unwrap());
    let (input, variables) = (json!({"b": "\u{0}ü\n"}), [json!("x")]);
    let said = evaluator.evaluate(Evaluation { expression: &expression, input: &input, variables: &variables }).await;
    assert_eq!(said, Ok(json!("x\u{0}ü\n")));
    assert!(evaluate(&evaluator, ".a", &json!(1)).await.is_err());
    assert!(evaluate(&evaluator, ".[]", &json!([1, 2])).await.unwrap_err().contains("several outputs"));
}

#[tokio::test]
async fn what_fills_the_memory_is_ended() {
    fails("reduce range(40) as $i ([0, 0, 0, 0]; . + .) | length", "128 MiB").await;
}

#[tokio::test]
async fn a_text_that_doubles_is_ended() {
    fails("reduce range(40) as $i (\"xxxxxxxx\"; . + .) | length", "128 MiB").await;
}

#[tokio::test]
async fn what_nests_too_deep_is_ended() {
    fails("reduce range(300000) as $i (null; [.]) | length", "").await;
    fails("reduce range(1000) as $i (null; [.])", "deep").await;
}

#[tokio::test]
async fn a_huge_output_is_an_error() {
    fails("[range(100000)]", "65536 bytes").await;
    fails("\"x\" * 100000", "65536 bytes").await;
}

#[tokio::test]
async fn an_endless_loop_is_ended_and_holds_up_nobody_for_long() {
    let longest = Duration::from_secs(3);
    let evaluator = evaluator(EvaluationLimits { longest, ..EvaluationLimits::default() });
    let begun = Instant::now();
    let endless = async {
        let said = evaluate(&evaluator, "last(range(0; infinite))", &Value::Null).await;
        (said, begun.elapsed())
    };
    let others = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        for n in 0..5 {
            assert_eq!(evaluate(&evaluator, ". + 1", &json!(n)).await, Ok(json!(n + 1)));
        }
        begun.elapsed()
    };
    let ((said, ended), others) = tokio::join!(endless, others);
    assert_eq!(said, Err("it takes longer than 3000 ms".to_owned()));
    assert!(ended >= longest, "{ended:?}");
    assert!(others < ended, "the others waited for the loop: {others:?}");
}

#[tokio::test]
async fn endless_loops_have_no_more_children_than_there_may_be() {
    let longest = Duration::from_millis(500);
    let limits =
        EvaluationLimits { longest, children: 2, alone_after: Duration::from_millis(20), ..Default::default() };
    let evaluator = evaluator(limits);
    let begun = Instant::now();
    let endless = (0..4).map(|_| evaluate(&evaluator, "last(repeat(1))", &Value::Null));
    let all = futures::future::join_all(endless);
    let counted = async {
        let mut most = 0;
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(40)).await;
            most = most.max(children());
        }
        most
    };
    let (said, most) = tokio::join!(all, counted);
    assert!(said.iter().all(|said| said.as_ref().is_err_and(|why| why.contains("longer"))), "{said:?}");
    assert!(begun.elapsed() >= longest * 2, "four loops by two children take two turns");
    assert!((1..=3).contains(&most), "{most} children at one time");
    assert_eq!(evaluate(&evaluator, "1", &Value::Null).await, Ok(json!(1)));
}

/// Children of this thread that are alive.
fn children() -> usize {
    let listed = std::fs::read_to_string("/proc/thread-self/children").expect("Linux lists children");
    listed.split_whitespace().count()
}

#[tokio::test]
async fn an_evaluation_that_nobody_waits_for_is_ended() {
    let evaluator = evaluator(EvaluationLimits::default());
    let expression = "last(range(0; infinite))";
    let left = tokio::time::timeout(Duration::from_millis(300), evaluate(&evaluator, expression, &Value::Null)).await;
    assert!(left.is_err());
    assert_eq!(evaluate(&evaluator, "1", &Value::Null).await, Ok(json!(1)));
}

#[tokio::test]
async fn a_small_evaluation_is_quick() {
    let evaluator = evaluator(EvaluationLimits::default());
    let expression = Arc::new(Expression::read(".a + 1", []).unwrap());
    let input = json!({"a": 1, "b": "some text", "c": [1, 2, 3]});
    let mut took = Vec::new();
    for _ in 0..2000 {
        let begun = Instant::now();
        let said = evaluator.evaluate(Evaluation { expression: &expression, input: &input, variables: &[] }).await;
        took.push(begun.elapsed());
        assert_eq!(said, Ok(json!(2)));
    }
    took.sort_unstable();
    println!("a small evaluation: half within {:?}, 99 of 100 within {:?}", took[1000], took[1980]);
    assert!(took[1000] < Duration::from_millis(5), "{:?}", took[1000]);
}
