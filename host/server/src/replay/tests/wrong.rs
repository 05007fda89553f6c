//! What was not recorded, and faults on purpose.

use std::{collections::BTreeMap, fs};

use nexus_model::ModelErrorKind;
use serde_json::{Value, json};

use super::{
    super::{Options, prompt_sha256},
    Folder, StandIn, at_once, coder_prompt, coder_recording, prompt, recording,
};

#[tokio::test]
async fn what_was_not_recorded_is_an_error_of_its_own() {
    let folder = Folder::new();
    folder.record(&[recording("seven", 7)]);
    let missing = folder.path().join("missing");
    let options = Options { missing: Some(missing.clone()), ..at_once() };
    let stand_in = StandIn::start(folder.load().unwrap(), options).await;

    let (status, body) = stand_in.post(&json!({ "model": "small-1", "messages": prompt("eight") })).await;
    assert_eq!(status, 404);
    assert_eq!(body["error"]["type"], "no_recording");
    let error = stand_in.ask(prompt("eight")).await.0.unwrap_err();
    assert_eq!(error.kind, ModelErrorKind::Rejected { status: 404 });
    assert!(error.detail.contains("no recording for this request of `desk/read`"), "{error}");
    assert_eq!(stand_in.post(&json!({ "model": "other", "messages": prompt("seven") })).await.0, 404);
    assert_eq!(stand_in.stats().await["without_recording"], 3);

    let mut files: Vec<_> = fs::read_dir(&missing).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 4, "{files:?}");
    let eight =
        files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "json")).find_map(|path| {
            let request: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
            (request["model"] == "small-1").then_some((path, request))
        });
    let (path, request) = eight.unwrap();
    assert_eq!(request["operation"], "desk/read");
    assert_eq!(request["messages"], json!(prompt("eight")));
    assert_eq!(request["prompt_sha256"], prompt_sha256(&prompt("eight")));
    assert!(fs::read_to_string(path.with_extension("txt")).unwrap().contains("Text: eight"));
}

#[tokio::test]
async fn a_changed_prompt_has_no_recordings() {
    let folder = Folder::new();
    folder.record(&[recording("seven", 7)]);
    let changed = super::PROMPT.replace("You read numbers.", "You read numbers well.");
    folder.put("desk/prompts/read.prompt.yml", &changed);
    let stand_in = StandIn::start(folder.load().unwrap(), at_once()).await;
    // The recording now answers the new prompt only: who still sends the old one gets nothing.
    assert!(stand_in.ask(prompt("seven")).await.0.is_err());
}

#[tokio::test]
async fn a_strict_coder_must_ask_as_recorded() {
    let folder = Folder::new();
    folder.record_coder(&[coder_recording(1, "0000")]);
    let options = Options { strict_coder: true, ..at_once() };
    let stand_in = StandIn::start(folder.load().unwrap(), options).await;
    let (status, body) = stand_in.post(&json!({ "model": "small-1", "messages": coder_prompt(1) })).await;
    assert_eq!((status, &body["error"]["type"]), (404, &json!("other_prompt")));
    assert_eq!(stand_in.stats().await["other_prompt"], 1);
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let stand_in = StandIn::start(super::Replay::default(), at_once()).await;
    for body in
        [json!({}), json!({ "model": "m" }), json!({ "model": "m", "messages": [{ "role": "tool", "content": "" }] })]
    {
        let (status, answer) = stand_in.post(&body).await;
        assert_eq!((status, &answer["error"]["type"]), (400, &json!("invalid_request_error")), "{body}");
    }
}

#[tokio::test]
async fn every_fault_is_met() {
    let folder = Folder::new();
    folder.record(&[recording("seven", 7)]);
    for (fault, expected) in [
        ("429", "rate_limited"),
        ("500", "provider_failed"),
        ("truncate", "truncated"),
        ("stall", "timeout"),
        // The repair round has no recording.
        ("not_json", "rejected"),
        ("bad_schema", "rejected"),
    ] {
        let options = Options { faults: format!("{fault}=1").parse().unwrap(), ..at_once() };
        let stand_in = StandIn::start(folder.load().unwrap(), options).await;
        let (result, pieces) = stand_in.ask(prompt("seven")).await;
        let error = result.unwrap_err();
        assert_eq!(error.kind.code(), expected, "{fault}: {error}");
        assert_eq!(stand_in.stats().await["faults"], json!({ fault: 1 }));
        assert_eq!(pieces.contains(&"<restart>".to_owned()), expected == "rejected", "{fault}: {pieces:?}");
        if let ModelErrorKind::RateLimited { retry_after } = error.kind {
            assert_eq!(retry_after.unwrap().as_secs(), 1);
        }
    }
}

#[tokio::test]
async fn a_fault_also_cuts_an_answer_that_is_not_streamed() {
    let folder = Folder::new();
    folder.record(&[recording("seven", 7)]);
    let options = Options { faults: "truncate=1".parse().unwrap(), ..at_once() };
    let stand_in = StandIn::start(folder.load().unwrap(), options).await;
    let body = json!({ "model": "small-1", "messages": prompt("seven") });
    let response = super::client().post(stand_in.url("/v1/chat/completions")).json(&body).send().await.unwrap();
    assert!(response.text().await.is_err());
}

#[tokio::test]
async fn chance_repeats_itself() {
    let folder = Folder::new();
    folder.record(&[recording("seven", 7), recording("eight", 8)]);
    let mut seen = BTreeMap::new();
    for seed in [1, 1, 2] {
        let options = Options { seed, faults: "429=0.3,500=0.3".parse().unwrap(), ..at_once() };
        let stand_in = StandIn::start(folder.load().unwrap(), options).await;
        let mut statuses = Vec::new();
        for _ in 0..20 {
            for text in ["seven", "eight"] {
                let body = json!({ "model": "small-1", "messages": prompt(text) });
                statuses.push(stand_in.post(&body).await.0);
            }
        }
        assert!([200, 429, 500].iter().all(|status| statuses.contains(status)), "{statuses:?}");
        if let Some(before) = seen.insert(seed, statuses.clone()) {
            assert_eq!(before, statuses);
        }
    }
    assert_ne!(seen[&1], seen[&2]);
}
