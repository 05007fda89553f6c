//! Whatever the bytes are, reading them ends soon, never panics, and every place lies within its file.

#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::{fmt::Write as _, sync::Arc};

use nexus_definitions::{Fault, limits, load};
use nexus_model::{App, FileTree};
use proptest::prelude::*;

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
    fn any_bytes_never_panic(file in 0..FILES.len(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let files = with(FILES[file].0, bytes);
        if let Err(faults) = load(&files) {
            check_places(&files, &faults);
        }
    }
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
