//! What was recorded is answered.

use std::time::{Duration, Instant};

use nexus_model::{Message, Role};
use secrecy::SecretString;
use serde_json::json;

use super::{
    super::{Latency, Options, prompt_sha256},
    Folder, StandIn, at_once, coder_prompt, coder_recording, prompt, recording,
};

#[tokio::test]
async fn a_recorded_answer_is_streamed() {
    let folder = Folder::new();
    folder.record(&[recording("seven", 7), recording("twelve million", 12_000_000)]);
    let stand_in = StandIn::start(folder.load().unwrap(), at_once()).await;

    let (result, pieces) = stand_in.ask(prompt("twelve million")).await;
    let generation = result.unwrap();
    assert_eq!(generation.value, json!({ "n": 12_000_000 }));
    assert_eq!((generation.usage.input_tokens, generation.usage.output_tokens), (12, 5));
    assert!(!generation.repaired);
    assert!(pieces.len() > 1, "{pieces:?}");
    assert_eq!(pieces.concat(), r#"{"n":12000000}"#);

    let stats = stand_in.stats().await;
    assert_eq!((&stats["requests"], &stats["answered"]), (&json!(1), &json!(1)));
    assert_eq!(stats["operations"], json!({ "desk/read": 1 }));
}

#[tokio::test]
async fn a_recorded_answer_comes_at_once_if_asked_so() {
    let folder = Folder::new();
    folder.record(&[recording("seven", 7)]);
    let stand_in = StandIn::start(folder.load().unwrap(), at_once()).await;
    let (status, answer) = stand_in.post(&json!({ "model": "small-1", "messages": prompt("seven") })).await;
    assert_eq!(status, 200);
    assert_eq!(answer["choices"][0]["message"]["content"], r#"{"n":7}"#);
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(answer["usage"], json!({ "prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17 }));

    let parts = json!([{ "role": "system", "content": "You read numbers." },
        { "role": "user", "content": [{ "type": "text", "text": "Text: " }, { "type": "text", "text": "seven" }] }]);
    assert_eq!(stand_in.post(&json!({ "model": "small-1", "messages": parts })).await.0, 200);
}

#[tokio::test]
async fn it_says_what_it_is() {
    let folder = Folder::new();
    folder.record(&[recording("seven", 7)]);
    let stand_in = StandIn::start(folder.load().unwrap(), at_once()).await;
    for path in ["/healthz", "/stats", "/v1/models"] {
        assert!(stand_in.get(path).await.to_string().contains("a stand-in for a language model"), "{path}");
    }
    assert_eq!(stand_in.get("/v1/models").await["data"][0]["id"], "small-1");
    let body = json!({ "model": "small-1", "messages": prompt("seven") });
    let response = super::client().post(stand_in.url("/v1/chat/completions")).json(&body).send().await.unwrap();
    assert!(response.headers()["x-nexus-replay"].to_str().unwrap().contains("stand-in"));
}

#[tokio::test]
async fn a_coder_is_answered_by_operation_and_attempt() {
    let folder = Folder::new();
    folder.record_coder(&[
        coder_recording(1, &prompt_sha256(&coder_prompt(1))),
        coder_recording(2, &prompt_sha256(&coder_prompt(1))),
    ]);
    let stand_in = StandIn::start(folder.load().unwrap(), at_once()).await;
    assert_eq!(stand_in.ask(coder_prompt(1)).await.0.unwrap().value, json!({ "n": 1 }));
    assert_eq!(stand_in.stats().await["other_prompt"], 0);
    assert_eq!(stand_in.ask(coder_prompt(2)).await.0.unwrap().value, json!({ "n": 2 }));
    let stats = stand_in.stats().await;
    assert_eq!((&stats["other_prompt"], &stats["answered"]), (&json!(1), &json!(2)));
    assert_eq!(stats["operations"], json!({ "desk/read (coder)": 2 }));

    let error = stand_in.ask(coder_prompt(3)).await.0.unwrap_err();
    assert!(error.detail.contains("no recording for this request of `desk/read`"), "{error}");
}

#[tokio::test]
async fn a_repair_is_another_request() {
    let folder = Folder::new();
    folder.record_coder(&[coder_recording(1, &prompt_sha256(&coder_prompt(1)))]);
    folder.record(&[recording("seven", 7)]);
    let stand_in = StandIn::start(folder.load().unwrap(), at_once()).await;
    for mut messages in [coder_prompt(1), prompt("seven")] {
        messages.push(Message { role: Role::Assistant, content: "no".to_owned() });
        messages.push(Message { role: Role::User, content: "That is not JSON".to_owned() });
        assert!(stand_in.ask(messages).await.0.is_err());
    }
    assert_eq!(stand_in.stats().await["without_recording"], 2);
}

#[tokio::test]
async fn answers_take_their_time() {
    let folder = Folder::new();
    folder.record(&[recording("seven", 7)]);
    let took = async |latency| {
        let stand_in = StandIn::start(folder.load().unwrap(), Options { latency, ..Options::default() }).await;
        let started = Instant::now();
        stand_in.ask(prompt("seven")).await.0.unwrap();
        started.elapsed()
    };
    let mut recorded = std::pin::pin!(took(Latency::Recorded));
    let shorter = Duration::from_millis(40);
    tokio::select! {
        biased;
        fixed = took(Latency::Fixed(shorter)) => assert!(fixed >= shorter, "{fixed:?}"),
        early = &mut recorded => panic!("the recorded answer came after {early:?}, before the one with {shorter:?}"),
    }
    let recorded = recorded.await;
    assert!(recorded >= Duration::from_millis(240), "{recorded:?}");
}

#[tokio::test]
async fn a_key_is_asked_for() {
    let folder = Folder::new();
    folder.record(&[recording("seven", 7)]);
    for (key, allowed) in [("sk-test", true), ("sk-other", false)] {
        let options = Options { key: Some(SecretString::from(key)), ..at_once() };
        let stand_in = StandIn::start(folder.load().unwrap(), options).await;
        let result = stand_in.ask(prompt("seven")).await.0;
        assert_eq!(result.is_ok(), allowed);
        if let Err(error) = result {
            assert_eq!(error.kind.code(), "unauthorized");
        }
        assert_eq!(stand_in.post(&json!({ "model": "small-1", "messages": [] })).await.0, 401);
    }
}

#[tokio::test]
async fn stopping_ends_what_is_on_its_way() {
    let folder = Folder::new();
    folder.record(&[recording("seven", 7)]);
    let options = Options { latency: Latency::Fixed(Duration::from_mins(1)), ..Options::default() };
    let stand_in = StandIn::start(folder.load().unwrap(), options).await;
    let stop = stand_in.stop.clone();
    let (result, ()) = tokio::join!(stand_in.ask(prompt("seven")), async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        stop.cancel();
    });
    assert_eq!(result.0.unwrap_err().kind.code(), "provider_failed");
}
