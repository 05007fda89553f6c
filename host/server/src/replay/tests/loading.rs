//! What is refused before anything is replayed.

use serde_json::json;

use super::{
    super::{OperationSummary, Replay, ReplayError},
    Folder, coder_recording, recording, samples,
};

fn faults(folder: &Folder) -> Vec<String> {
    match folder.load() {
        Err(ReplayError::Recordings(faults)) => faults.iter().map(ToString::to_string).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn recordings_are_counted_by_origin() {
    let folder = Folder::new();
    let mut written = recording("nine", 9);
    written["origin"] = json!("written");
    folder.record(&[recording("seven", 7), recording("eight", 8), written]);
    folder.record_coder(&[coder_recording(1, "00")]);
    folder.put("recordings/desk/read.inputs.jsonl", "not read");
    let summary = folder.load().unwrap().summary().clone();
    let expected = OperationSummary { recorded: 2, written: 1, coder_written: 1, ..OperationSummary::default() };
    assert_eq!(summary.operations.into_iter().collect::<Vec<_>>(), [("desk/read".to_owned(), expected)]);
}

#[test]
fn faults_are_told_all_at_once_with_their_lines() {
    let folder = Folder::new();
    let mut elsewhere = recording("ten", 10);
    elsewhere["key"]["operation"] = json!("desk/write");
    let mut spelled = recording("seven", 7);
    spelled["note"] = json!("the same key");
    let mut bad_input = recording("x", 1);
    bad_input["key"]["input"] = json!({ "txet": "x" });
    let mut bad_answer = recording("y", 1);
    bad_answer["answer"] = json!({ "n": "one" });
    let mut coders = recording("z", 1);
    coders["prompt_sha256"] = json!("00");
    folder.record(&[recording("seven", 7), spelled, elsewhere, bad_input, bad_answer, coders]);
    folder.record_coder(&[coder_recording(1, "00"), coder_recording(1, "00")]);
    folder.put("recordings/desk/gone.jsonl", "");
    folder.put("recordings/desk/Not-a-name.jsonl", "");
    folder.put("recordings/nobody/read.jsonl", "");

    let faults = faults(&folder);
    for expected in [
        "desk/Not-a-name.jsonl: `Not-a-name` cannot be",
        "desk/gone.jsonl: there is no operation `desk/gone`",
        "desk/read.coder.jsonl:2: the same model and attempt",
        "desk/read.jsonl:2: the same model and input are in line 1",
        "desk/read.jsonl:3: the recording is of `desk/write`",
        "desk/read.jsonl:4: the input fails its schema",
        "desk/read.jsonl:5: the answer fails its schema at `/n`",
        "desk/read.jsonl:6: `prompt_sha256` belongs",
        "nobody: there is no such application",
    ] {
        assert!(faults.iter().any(|fault| fault.starts_with(expected)), "{expected}: {faults:#?}");
    }
    assert_eq!(faults.len(), 9, "{faults:#?}");
}

#[test]
fn two_inputs_with_one_prompt_need_one_answer() {
    let folder = Folder::new();
    let prompt = super::PROMPT.replace("{{ input.text }}", "{{ input.text | lower }}");
    folder.put("desk/prompts/read.prompt.yml", &prompt);
    folder.record(&[recording("seven", 7), recording("Seven", 7)]);
    folder.load().unwrap();
    folder.record(&[recording("seven", 7), recording("Seven", 8)]);
    assert!(faults(&folder)[0].contains(":2: another recording renders to the same messages"));
}

#[test]
fn a_folder_that_is_not_there_is_an_error() {
    let folder = Folder::new();
    assert!(matches!(folder.load(), Err(ReplayError::Folder { .. })));
    folder.put("desk/app.yaml", "kind: Nonsense");
    folder.record(&[recording("seven", 7)]);
    assert!(matches!(folder.load(), Err(ReplayError::App { .. })));
}

#[test]
fn the_samples_can_be_replayed() {
    let apps = samples();
    let replay = Replay::load(&apps, &apps.join("recordings")).unwrap_or_else(|error| panic!("{error}"));
    assert!(!replay.summary().operations.is_empty());
}
