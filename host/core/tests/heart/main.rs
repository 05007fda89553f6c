//! The heart with in-memory twins of its ports: a model that answers by a rule, a coder that answers from a list, and
//! "components" that are Rust functions. What real components do is tested in `nexus-wasm` and end to end in `tests`.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod across;
mod events;
mod plugin_twins;
mod plugins;
mod twins;

use std::{sync::Arc, time::Duration};

use nexus_core::{CallErrorKind, OracleConfig, OracleError};
use nexus_model::{AnsweredBy, ExecutionId, FallbackReason, JitState, ServedBy};
use serde_json::{Value, json};

use crate::twins::{Bench, Coder, definition, files, good_code, n_of};

async fn profile(bench: &Bench, count: u64) {
    for n in 0..count {
        let answer = bench.call(n).await.unwrap();
        assert_eq!(answer.path, ServedBy::Model, "input {n}");
    }
}

#[tokio::test]
async fn code_takes_over_and_falls_back_within_the_request() {
    let bench = Bench::start(definition("auto", 150), Coder::answers([good_code("even")]), |_| {}).await;
    profile(&bench, 150).await;
    let status = bench.wait_for(JitState::Active).await;
    let evidence = status.record.evidence.unwrap();
    let gate = evidence.gate.unwrap();
    assert!(gate.n >= 20 && gate.agreed == gate.handled && gate.failed == 0, "{gate:?}");
    assert!(evidence.gate_agreement_lower_95 < 1.0, "thirty of thirty is not certainty");
    assert_eq!(evidence.attempts.len(), 1);
    assert_eq!(evidence.attempts[0].coder.as_ref().map(|by| by.alias.as_str()), Some("coder"));

    let answer = bench.call(1_000).await.unwrap();
    assert_eq!((answer.path, answer.fallback), (ServedBy::Component, None));
    assert_eq!(n_of(&answer.output), 2_000);
    let answer = bench.call(1_001).await.unwrap();
    assert_eq!((answer.path, answer.fallback), (ServedBy::Model, Some(FallbackReason::Abstain)));
    assert_eq!(n_of(&answer.output), 2_002);

    let execution = bench.execution(answer.execution).await.unwrap();
    assert_eq!((execution.path, execution.fallback), (ServedBy::Model, Some(FallbackReason::Abstain)));
    assert_eq!(execution.input, json!({"n": 1_001}));

    let files = bench.code_files("double/v1").await;
    assert_eq!(files.keys().collect::<Vec<_>>(), ["evidence.json", "source.js", "tests.json"]);
    bench.stop().await;
}

#[tokio::test]
async fn every_fault_of_code_is_answered_by_the_model() {
    for (source, reason) in [
        ("trap", FallbackReason::Trap),
        ("slow", FallbackReason::Deadline),
        ("limit", FallbackReason::Limit),
        ("failure", FallbackReason::Failure),
        ("breaks-schema", FallbackReason::OutputSchema),
    ] {
        // The code is good on everything it is checked on and turns bad above 900.
        let bench = Bench::start(definition("auto", 150), Coder::answers([good_code(source)]), |_| {}).await;
        profile(&bench, 150).await;
        bench.wait_for(JitState::Active).await;
        let answer = bench.call(950).await.unwrap();
        assert_eq!((answer.path, answer.fallback), (ServedBy::Model, Some(reason)), "{source}");
        assert_eq!(n_of(&answer.output), 1_900);
        bench.stop().await;
    }
}

#[tokio::test]
async fn a_wrong_candidate_is_mended_from_counterexamples() {
    let coder = Coder::answers([good_code("wrong"), good_code("even")]);
    let bench = Bench::start(definition("auto", 150), coder.clone(), |_| {}).await;
    profile(&bench, 150).await;
    let evidence = bench.wait_for(JitState::Active).await.record.evidence.unwrap();
    assert_eq!(evidence.attempts.len(), 2);
    assert_eq!(evidence.attempts[0].refused.as_ref().unwrap().reason, "agreement");
    let prompts = coder.prompts();
    assert!(prompts[0].starts_with("Operation: sums/double · Attempt: 1\n"), "{}", prompts[0]);
    assert!(prompts[1].starts_with("Operation: sums/double · Attempt: 2\n"));
    assert!(prompts[1].contains("Counterexamples"), "{}", prompts[1]);
    bench.stop().await;
}

#[tokio::test]
async fn no_coder_sees_the_sealed_set() {
    let coder = Coder::answers([good_code("wrong"), good_code("wrong"), good_code("wrong"), good_code("even")]);
    let bench = Bench::start(definition("auto", 150), coder.clone(), |_| {}).await;
    profile(&bench, 150).await;
    let evidence = bench.wait_for(JitState::Active).await.record.evidence.unwrap();
    let prompts = coder.prompts().concat();
    let shown = (0..150).filter(|n| prompts.contains(&format!("{{\"n\":{n}}} →"))).count() as u64;
    assert!(shown >= evidence.examples);
    assert!(shown + evidence.gate.unwrap().n <= 150, "{shown} inputs were shown");
    bench.stop().await;
}

#[tokio::test]
async fn what_does_not_hold_on_the_sealed_set_is_refused_and_needs_twice_the_evidence() {
    let cases = [
        ("wrong", "agreement"),
        ("abstains", "coverage"),
        ("breaks-early", "output_schema"),
        ("no-build", "build"),
        ("eval", "forbidden_name"),
        ("fails-own-tests", "own_tests"),
    ];
    for (source, reason) in cases {
        let coder = Coder::answers(std::iter::repeat_n(good_code(source), 4));
        let bench = Bench::start(definition("auto", 150), coder, |_| {}).await;
        profile(&bench, 150).await;
        let record = bench.wait_for(JitState::Refused).await.record;
        let evidence = record.evidence.unwrap();
        assert_eq!(evidence.refused.unwrap().reason, reason, "{source}");
        assert_eq!((evidence.attempts.len(), record.needed_inputs), (4, 300), "{source}");
        assert_eq!(bench.call(1_000).await.unwrap().path, ServedBy::Model);
        assert!(bench.code_files("double/v1").await.contains_key("evidence.json"));
        bench.stop().await;
    }
}

#[tokio::test]
async fn luck_with_the_sealed_set_does_not_make_up_for_what_went_wrong_in_the_open() {
    let coder = Coder::answers(std::iter::repeat_n(good_code("lucky"), 4));
    let bench = Bench::start(definition("auto", 150), coder, |_| {}).await;
    profile(&bench, 150).await;
    let evidence = bench.wait_for(JitState::Refused).await.record.evidence.unwrap();
    let gate = evidence.gate.unwrap();
    assert_eq!((gate.agreed, evidence.gate_agreement), (gate.n, 1.0));
    assert_eq!(evidence.refused.unwrap().reason, "agreement");
    bench.stop().await;
}

#[tokio::test]
async fn the_clock_of_a_busy_machine_does_not_judge_code() {
    let bench = Bench::start(definition("auto", 150), Coder::answers([good_code("held-up")]), |_| {}).await;
    profile(&bench, 150).await;
    bench.wait_for(JitState::Active).await;
    let answer = bench.call(1_000).await.unwrap();
    assert_eq!((answer.path, answer.fallback), (ServedBy::Model, Some(FallbackReason::Deadline)));
    bench.stop().await;
}

#[tokio::test]
async fn too_small_a_sealed_set_decides_nothing() {
    let bench = Bench::start(definition("recommend", 30), Coder::answers([good_code("even")]), |_| {}).await;
    profile(&bench, 30).await;
    bench.wait_for(JitState::Recommended).await;
    let status = bench.core.oracle.compile(&bench.operation).await.unwrap();
    assert_eq!(status.record.evidence.unwrap().refused.unwrap().reason, "gate_size");
    bench.stop().await;
}

#[tokio::test]
async fn by_hand_code_is_compiled_promoted_demoted_and_promoted_again() {
    let bench = Bench::start(definition("recommend", 150), Coder::answers([good_code("even")]), |_| {}).await;
    let oracle = &bench.core.oracle;
    assert!(matches!(oracle.promote(&bench.operation).await, Err(OracleError::NothingToPromote(_))));
    assert!(matches!(oracle.demote(&bench.operation).await, Err(OracleError::NotActive(_))));
    profile(&bench, 150).await;
    assert_eq!(oracle.compile(&bench.operation).await.unwrap().record.state, JitState::Ready);
    assert_eq!(bench.call(2).await.unwrap().path, ServedBy::Model);
    for _ in 0..2 {
        assert_eq!(oracle.promote(&bench.operation).await.unwrap().record.state, JitState::Active);
        assert_eq!(bench.call(2).await.unwrap().path, ServedBy::Component);
        assert_eq!(oracle.demote(&bench.operation).await.unwrap().record.state, JitState::Demoted);
        assert_eq!(bench.call(2).await.unwrap().path, ServedBy::Model);
    }
    bench.stop().await;
}

#[tokio::test]
async fn a_changed_prompt_invalidates_code_at_once_and_the_old_prompt_finds_it_again() {
    let bench = Bench::start(definition("auto", 150), Coder::answers([good_code("even")]), |_| {}).await;
    profile(&bench, 150).await;
    bench.wait_for(JitState::Active).await;
    let old = definition("auto", 150);
    let mut changed = old.clone();
    changed.insert("double.prompt.yml".to_owned(), files::prompt("Twice, please: {{ input.n }}"));
    bench.import(changed).await;
    assert_eq!(bench.call(2).await.unwrap().path, ServedBy::Model);
    assert_eq!(bench.status().await.record.state, JitState::Profiling);
    bench.stop().await;
}

#[tokio::test]
async fn active_code_survives_a_restart() {
    let bench = Bench::start(definition("auto", 150), Coder::answers([good_code("even")]), |_| {}).await;
    profile(&bench, 150).await;
    bench.wait_for(JitState::Active).await;
    let bench = bench.restart().await;
    assert_eq!(bench.call(2).await.unwrap().path, ServedBy::Component);
    assert_eq!(bench.status().await.distinct_inputs, 150);
    bench.stop().await;
}

#[tokio::test]
async fn component_answers_are_asked_again_in_the_background() {
    let audit_all = |config: &mut OracleConfig| config.audit_share = 1.0;
    let bench = Bench::start(definition("auto", 150), Coder::answers([good_code("wrong-later")]), audit_all).await;
    profile(&bench, 150).await;
    bench.wait_for(JitState::Active).await;
    for n in [2, 4, 902] {
        assert_eq!(bench.call(n).await.unwrap().path, ServedBy::Component);
        // At most four audits run at one time; more would be left out.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let live = bench.status().await.record.live;
    assert_eq!((live.handled, live.agreed), (3, 2));
    bench.stop().await;
}

#[tokio::test]
async fn what_a_fall_back_model_says_teaches_nothing() {
    let bench = Bench::start(definition("auto", 150), Coder::answers([]), |_| {}).await;
    profile(&bench, 3).await;
    let answer = bench.call(88_888).await.unwrap();
    assert_eq!((answer.path, n_of(&answer.output)), (ServedBy::Model, 1));
    let by = AnsweredBy { alias: "other".to_owned(), model: "other".to_owned() };
    assert_eq!(answer.model.as_ref(), Some(&by));
    assert_eq!(bench.execution(answer.execution).await.unwrap().model, Some(by));
    assert_eq!(bench.status().await.distinct_inputs, 3, "an answer under another model's name is no trace");
    bench.stop().await;
}

#[tokio::test]
async fn no_fall_back_model_judges_code() {
    let audit_all = |config: &mut OracleConfig| config.audit_share = 1.0;
    let bench = Bench::start(definition("auto", 150), Coder::answers([good_code("even")]), audit_all).await;
    profile(&bench, 150).await;
    bench.wait_for(JitState::Active).await;
    for n in [88_888, 2] {
        assert_eq!(bench.call(n).await.unwrap().path, ServedBy::Component);
        // At most four audits run at one time; more would be left out.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let live = bench.status().await.record.live;
    assert_eq!((live.handled, live.agreed), (1, 1));
    bench.stop().await;
}

#[tokio::test]
async fn wrong_calls_are_told_what_is_wrong() {
    let bench = Bench::start(definition("auto", 150), Coder::answers([]), |_| {}).await;
    let kind = |app: &'static str, operation: &'static str, body: &'static str| {
        let bench = &bench;
        async move { bench.raw(app, operation, body.as_bytes()).await.unwrap_err().kind }
    };
    assert!(
        matches!(kind("sum", "double", "{}").await, CallErrorKind::UnknownApp { nearest: Some(n), .. } if n == "sums")
    );
    assert!(matches!(kind("Ü", "double", "{}").await, CallErrorKind::UnknownApp { nearest: None, .. }));
    assert!(
        matches!(kind("sums", "duoble", "{}").await, CallErrorKind::UnknownOperation { nearest: Some(n), .. } if n == "double")
    );
    assert!(matches!(kind("sums", "double", "{\"n\":").await, CallErrorKind::InvalidJson { .. }));
    let CallErrorKind::InvalidInput { violations } = kind("sums", "double", "{\"n\": \"two\"}").await else {
        panic!("a text is no number");
    };
    assert_eq!(violations[0].path, "/n");
    let error = bench.raw("sums", "double", b"{\"n\": 77777}").await.unwrap_err();
    assert_eq!(error.kind.code(), "provider_failed");
    assert_eq!(bench.execution(error.execution.unwrap()).await.unwrap().error.as_deref(), Some("provider_failed"));
    assert!(bench.execution(ExecutionId(uuid::Uuid::nil())).await.is_none());
    bench.stop().await;
}

#[tokio::test]
async fn an_application_has_its_share_of_concurrency() {
    let bench = Arc::new(Bench::start(definition("off", 150), Coder::answers([]), |_| {}).await);
    // The twin of the model takes its time over 66666; the application may have two calls at one time.
    let slow = |bench: &Arc<Bench>| {
        let bench = Arc::clone(bench);
        async move { bench.call(66_666).await.map(|_| ()).map_err(|error| error.kind.code()) }
    };
    let (one, two, three) = tokio::join!(slow(&bench), slow(&bench), async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        slow(&bench).await
    });
    assert_eq!((one, two, three), (Ok(()), Ok(()), Err("busy")));
    assert!(bench.call(1).await.is_ok());
}

#[tokio::test]
async fn a_definition_with_faults_changes_nothing() {
    let bench = Bench::start(definition("auto", 150), Coder::answers([]), |_| {}).await;
    let mut broken = definition("auto", 150);
    broken.insert("double.prompt.yml".to_owned(), files::prompt("{{ input.m }}"));
    let before = bench.core.registry.app("sums").unwrap().summary.revision;
    assert!(bench.try_import(broken).await.is_err());
    assert_eq!(bench.core.registry.app("sums").unwrap().summary.revision, before);
    let detail: Value = serde_json::to_value(bench.core.registry.app("sums").unwrap()).unwrap();
    assert_eq!((&detail["status"], &detail["operations"]), (&json!("active"), &json!(["double"])));
    assert!(bench.call(1).await.is_ok());
    bench.stop().await;
}
