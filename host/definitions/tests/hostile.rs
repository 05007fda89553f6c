//! Whatever the bytes are, reading them ends soon, never panics, and every place lies within its file.

#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::{fmt::Write as _, sync::Arc};

use nexus_definitions::{Fault, limits, load};
use nexus_model::{App, FileTree};
use proptest::prelude::*;
use serde_json::Value;

const FILES: [(&str, &str); 4] = [
    ("app.yaml", include_str!("valid/everything/app.yaml")),
    ("prompts/again.prompt.yml", include_str!("valid/everything/prompts/again.prompt.yml")),
    ("schemas/in.json", include_str!("valid/everything/schemas/in.json")),
    ("schemas/tree.json", include_str!("valid/everything/schemas/tree.json")),
];

fn good_files() -> FileTree {
    let mut files: FileTree =
        FILES.iter().map(|(name, text)| ((*name).to_owned(), Arc::from(text.as_bytes()))).collect();
    for (name, text) in [
        ("schemas/out.json", include_str!("valid/everything/schemas/out.json")),
        ("prompts/classify.prompt.yml", include_str!("valid/everything/prompts/classify.prompt.yml")),
    ] {
        files.insert(name.to_owned(), Arc::from(text.as_bytes()));
    }
    files.insert("plugins/x.wasm".to_owned(), Arc::from(*b"\0asm\x0d\0\x01\0"));
    files
}

fn with(name: &str, bytes: impl AsRef<[u8]>) -> FileTree {
    let mut files = good_files();
    files.insert(name.to_owned(), Arc::from(bytes.as_ref()));
    files
}

/// An application with workflows and all kinds of prompts.
const WORKFLOW_FILES: [(&str, &str); 9] = [
    ("workflows/desk.yaml", include_str!("valid/workflow/workflows/desk.yaml")),
    ("workflows/note.json", include_str!("valid/workflow/workflows/note.json")),
    ("prompts/classify.prompt.yml", include_str!("valid/workflow/prompts/classify.prompt.yml")),
    ("prompts/short.prompty", include_str!("valid/prompty/prompts/classify.prompty")),
    ("app.yaml", include_str!("valid/workflow/app.yaml")),
    ("prompts/sort.prompt.yml", include_str!("valid/workflow/prompts/sort.prompt.yml")),
    ("schemas/any.json", include_str!("valid/workflow/schemas/any.json")),
    ("schemas/text.json", include_str!("valid/workflow/schemas/text.json")),
    ("schemas/label.json", include_str!("valid/workflow/schemas/label.json")),
];

fn with_workflows(name: &str, bytes: impl AsRef<[u8]>) -> FileTree {
    let mut files: FileTree =
        WORKFLOW_FILES.iter().map(|(name, text)| ((*name).to_owned(), Arc::from(text.as_bytes()))).collect();
    files.insert(name.to_owned(), Arc::from(bytes.as_ref()));
    files
}

fn check_places(files: &FileTree, faults: &[Fault]) {
    assert!(!faults.is_empty() && faults.len() <= limits::FAULTS);
    assert!(faults.is_sorted());
    for fault in faults {
        let bytes = files.get(&fault.file).map_or(&[][..], |bytes| bytes);
        assert!(fault.offset + fault.length <= bytes.len(), "{fault:?}");
        let before = &bytes[..fault.offset];
        assert_eq!(fault.line, before.split(|b| *b == b'\n').count(), "{fault:?}");
        let line_start = before.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let column = std::str::from_utf8(&before[line_start..]).expect("a boundary of characters").chars().count() + 1;
        assert_eq!(fault.column, column, "{fault:?}");
        assert!(!bytes[fault.offset..fault.offset + fault.length].contains(&b'\n'), "{fault:?}");
        assert!(!fault.message.contains('\n'), "{fault:?}");
    }
}

#[test]
fn the_unchanged_files_load() {
    assert!(load(&good_files()).is_ok());
    let (name, text) = WORKFLOW_FILES[0];
    load(&with_workflows(name, text)).expect("no fault");
}

#[derive(Debug, Clone)]
enum Change {
    Set(usize, u8),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Repeat(usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let syntax = prop::sample::select(vec![
        &b": "[..],
        b"- ",
        b"\n",
        b"\n  ",
        b"{",
        b"}",
        b"[",
        b"]",
        b"\"",
        b"'",
        b"&a ",
        b"*a",
        b"|\n",
        b"{{",
        b"}}",
        b"{%",
        b"\t",
        b"\xff",
        b"\xef\xbb\xbf",
        b"\r\n",
        b"#",
        b"!!str ",
        b"<<: ",
        b"\\",
        b"---\n",
        b"\xc3\xa4",
        b"null",
        b"1e999",
    ]);
    prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (any::<usize>(), syntax).prop_map(|(at, bytes)| Change::Insert(at, bytes.to_vec())),
        (any::<usize>(), 1..40_usize).prop_map(|(at, count)| Change::Remove(at, count)),
        (any::<usize>(), 1..80_usize).prop_map(|(at, count)| Change::Repeat(at, count)),
    ]
}

fn changed(text: &str, changes: Vec<Change>) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for change in changes {
        let length = bytes.len();
        match change {
            _ if length == 0 => break,
            Change::Set(at, byte) => bytes[at % length] = byte,
            Change::Insert(at, inserted) => {
                bytes.splice(at % length..at % length, inserted);
            }
            Change::Remove(at, count) => {
                bytes.drain(at % length..(at % length + count).min(length));
            }
            Change::Repeat(at, count) => {
                let part = bytes[at % length..(at % length + count).min(length)].to_vec();
                bytes.splice(at % length..at % length, part);
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_bytes_never_panic(file in 0..FILES.len(), changes in prop::collection::vec(change(), 1..6)) {
        let (name, text) = FILES[file];
        let files = with(name, changed(text, changes));
        if let Err(faults) = load(&files) {
            check_places(&files, &faults);
        }
    }

    #[test]
    fn changed_workflows_never_panic(file in 0..5_usize, changes in prop::collection::vec(change(), 1..6)) {
        let (name, text) = WORKFLOW_FILES[file];
        let files = with_workflows(name, changed(text, changes));
        if let Err(faults) = load(&files) {
            check_places(&files, &faults);
        }
    }

    #[test]
    fn values_of_a_workflow_that_are_another_never_panic(at in any::<prop::sample::Index>(), other in other_value()) {
        let mut document: Value = serde_json::from_str(DESK).expect("JSON");
        let pointers = pointers(&document, "");
        let pointer = at.get(&pointers);
        *document.pointer_mut(pointer).expect("there") = other;
        let mut files = with_workflows("workflows/desk.json", document.to_string());
        let app = WORKFLOW_FILES[4].1.replace("desk.yaml", "desk.json");
        files.insert("app.yaml".to_owned(), Arc::from(app.as_bytes()));
        if let Err(faults) = load(&files) {
            check_places(&files, &faults);
        }
    }

    #[test]
    fn any_bytes_never_panic(file in 0..FILES.len(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let files = with(FILES[file].0, bytes);
        if let Err(faults) = load(&files) {
            check_places(&files, &faults);
        }
    }
}

/// The workflow of the desk, in short and as JSON.
const DESK: &str = r#"{
  "document": { "dsl": "1.0.3", "namespace": "shop", "name": "desk", "version": "1.0.0" },
  "use": { "secrets": ["token"], "functions": { "find": { "call": "tool", "with": { "tool": "crm.find" } } } },
  "schedule": { "on": { "any": [{ "with": { "type": "mail.*", "source": "/inbox" } }] } },
  "do": [
    { "sort": { "call": "prompt", "with": { "prompt": "prompts/sort.prompt.yml", "input": "${ . }", "model": "large",
      "output": { "type": "object" } } } },
    { "both": { "fork": { "branches": [{ "a": { "call": "find", "with": {} } }] } } },
    { "try": { "try": [{ "b": { "call": "operation", "with": { "operation": "classify", "input": {} } } }],
      "catch": { "do": [{ "c": { "run": { "workflow": { "namespace": "shop", "name": "note", "version": "latest" } } } }] } } },
    { "agent": { "call": "agent", "metadata": { "interrupted": "fail" }, "with": { "prompt": "prompts/short.prompty",
      "tools": ["crm.*", "classify"], "limits": { "steps": 5, "time": "1m", "cost_usd": 1 }, "memory": true,
      "context_tokens": 8000, "output": "schemas/label.json" } } },
    { "ask": { "call": "mcp", "with": { "method": "tools/call", "parameters": { "name": "find" },
      "transport": { "http": { "endpoint": "https://mcp.crm.example/mcp" } } } } },
    { "time": { "call": "mcp", "with": { "method": "tools/list",
      "transport": { "stdio": { "command": "clock", "arguments": ["--utc"] } } } } }
  ]
}"#;

#[test]
fn the_workflow_in_short_loads() {
    let mut files = with_workflows("workflows/desk.json", DESK);
    let app = WORKFLOW_FILES[4].1.replace("desk.yaml", "desk.json");
    files.insert("app.yaml".to_owned(), Arc::from(app.as_bytes()));
    load(&files).expect("no fault");
}

/// Where all values are.
fn pointers(value: &Value, at: &str) -> Vec<String> {
    let inner: Vec<(String, &Value)> = match value {
        Value::Array(items) => items.iter().enumerate().map(|(n, item)| (n.to_string(), item)).collect(),
        Value::Object(fields) => fields.iter().map(|(name, field)| (name.clone(), field)).collect(),
        _ => Vec::new(),
    };
    let inner = inner.into_iter().flat_map(|(name, value)| pointers(value, &format!("{at}/{name}")));
    [at.to_owned()].into_iter().chain(inner).collect()
}

fn other_value() -> impl Strategy<Value = Value> {
    let texts = [
        "",
        "${",
        "${ . }",
        "${ $secrets.token }",
        "classify",
        "desk",
        "../x",
        "*",
        "a.*",
        "latest",
        "…",
        "/",
        "~",
        "1h",
    ];
    prop_oneof![
        prop::sample::select(texts.to_vec()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        Just(Value::Null),
        Just(serde_json::json!([])),
        Just(serde_json::json!({})),
        Just(serde_json::json!(["${ . }", "crm.find", 1])),
        Just(serde_json::json!({ "call": "prompt", "with": { "prompt": "prompts/sort.prompt.yml" } })),
    ]
}

/// `name0: value, name1: value, …`; the number goes into the quotes.
fn many(name: &str, value: &str, count: usize) -> String {
    let quote = if name.ends_with('"') { "\"" } else { "" };
    let name = name.trim_end_matches('"');
    let entries: Vec<String> = (0..count).map(|n| format!("{name}{n}{quote}: {value}")).collect();
    entries.join(", ")
}

/// Processor time of this thread so far, in nanoseconds: what others do on the machine is not in it.
fn worked() -> u64 {
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat").expect("a kernel that counts");
    spent.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("nanoseconds")
}

/// What reading `files` costs; the least of three.
fn work(files: &FileTree, outcome: impl Fn(Result<App, Vec<Fault>>)) -> u64 {
    let once = || {
        let begun = worked();
        let loaded = load(files);
        let spent = worked() - begun;
        outcome(loaded);
        spent
    };
    (0..3).map(|_| once()).min().expect("three")
}

/// What a bomb may cost, in honest files.
const BOMB: u64 = 4;

/// A schema without a fault, with nearly as many values as a file may hold.
fn honest() -> String {
    let properties = many("\"a\"", r#"{"type": "string", "maxLength": 100}"#, 3_300);
    format!(r#"{{"type": "object", "properties": {{{properties}}}}}"#)
}

#[test]
fn a_bomb_costs_no_more_than_a_few_honest_files() {
    let mut lists = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let below = format!("*a{}, ", level - 1).repeat(10);
        writeln!(lists, "a{level}: &a{level} [{}]", below.trim_end_matches(", ")).expect("text");
    }
    let texts = format!("a: &a {}\nb: [{}]\n", "x".repeat(20_000), vec!["*a"; 50_000].join(", "));
    let bombs = [
        ("app.yaml", lists),
        ("app.yaml", texts),
        ("app.yaml", "[".repeat(10_000)),
        ("app.yaml", format!("a: {}{}", "{a: ".repeat(10_000), "}".repeat(10_000))),
        ("app.yaml", "- ".repeat(10_000)),
        ("app.yaml", "? ".repeat(10_000)),
        ("app.yaml", "a: 1\n".repeat(limits::FILE_BYTES / 5)),
        ("app.yaml", many("key", "1", 60_000).replace(", ", "\n")),
        ("app.yaml", "operations: &a { a: *a }\n".to_owned()),
        (
            "app.yaml",
            format!(
                "spec: {{ operations: {{ {} }} }}",
                many("a", "{ x1: , x2: , x3: , x4: , x5: , x6: , x7: }", 1_500)
            ),
        ),
        (
            "prompts/again.prompt.yml",
            format!("messages: [ {{ role: user, content: '{}' }} ]", "{{ a|b }}".repeat(50_000)),
        ),
        (
            "prompts/again.prompt.yml",
            format!("messages: [ {{ role: user, content: '{{{{ a{} }}}}' }} ]", ".a".repeat(400_000)),
        ),
        ("schemas/in.json", format!(r#"{{"properties": {{{}}}}}"#, many("\"a\"", r#"{"requried": 1}"#, 6_000))),
        ("schemas/in.json", "[".repeat(10_000)),
        ("schemas/in.json", format!("{}{}", r#"{"not":"#.repeat(10_000), "}".repeat(10_000))),
        ("schemas/in.json", format!("[{}0]", "0,".repeat(500_000))),
        ("schemas/in.json", "x".repeat(limits::FILE_BYTES + 1)),
    ];
    let honest = work(&with("schemas/in.json", honest()), |loaded| drop(loaded.expect("no fault")));
    let mut dear = Vec::new();
    for (name, bomb) in bombs {
        let files = with(name, &bomb);
        let spent = work(&files, |loaded| check_places(&files, &loaded.expect_err("a bomb")));
        if spent > BOMB * honest {
            let beginning: String = bomb.chars().take(60).collect();
            dear.push(format!("{} % for {name} beginning {beginning:?}", spent * 100 / honest));
        }
    }
    assert!(dear.is_empty(), "of what an honest file costs: {dear:#?}");
}

#[test]
fn the_deepest_schema_is_read() {
    let files = with("schemas/in.json", format!("{}true{}", r#"{"not":"#.repeat(126), "}".repeat(126)));
    assert!(load(&files).is_ok());
}
