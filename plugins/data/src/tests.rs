use crate::{Data, Fault, Format, Guest, MAX_ANSWER, Match};

fn convert(text: &str, source: Format, target: Format) -> Result<String, Fault> {
    Data::convert(text.to_owned(), source, target)
}

fn query(text: &str, source: Format, path: &str) -> Result<Vec<(String, String)>, Fault> {
    let found = Data::query(text.to_owned(), source, path.to_owned())?;
    Ok(found.into_iter().map(|Match { path, value }| (path, value)).collect())
}

fn place(answer: Result<String, Fault>) -> (u32, u32, String) {
    match answer {
        Err(Fault::Malformed(mistake)) => (mistake.line, mistake.column, mistake.reason),
        other => panic!("{other:?}"),
    }
}

fn inexpressible(answer: Result<String, Fault>) -> String {
    match answer {
        Err(Fault::Inexpressible(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

const JSON: &str = r#"{
  "name": "Zoë \"Z\", Inc.\n2",
  "open": true,
  "since": "1999-12-31",
  "share": 0.25,
  "lines": [
    {
      "sku": "oak",
      "quantity": 3
    },
    {
      "sku": "",
      "quantity": -1
    }
  ]
}
"#;

#[test]
fn trees_survive_every_way_there_and_back() {
    for format in [Format::Json, Format::Toml, Format::Yaml] {
        let there = convert(JSON, Format::Json, format).unwrap();
        assert_eq!(convert(&there, format, Format::Json).unwrap(), JSON, "{there}");
    }
}

#[test]
fn tables_survive_every_way_there_and_back() {
    let table = "sku,what\noak,\"a table, \"\"large\"\"\"\npin,\n,\"two\nlines\"\n";
    for format in [Format::Json, Format::Yaml] {
        let there = convert(table, Format::Csv, format).unwrap();
        assert_eq!(convert(&there, format, Format::Csv).unwrap(), table, "{there}");
    }
    assert_eq!(convert("", Format::Csv, Format::Json).unwrap(), "[]\n");
    assert_eq!(convert("[]", Format::Json, Format::Csv).unwrap(), "");
}

#[test]
fn columns_are_all_names_in_their_order() {
    let rows = r#"[{"b": 1, "a": true}, {"c": null, "a": 1.5}, {}]"#;
    assert_eq!(convert(rows, Format::Json, Format::Csv).unwrap(), "b,a,c\n1,true,\n,1.5,\n,,\n");
}

#[test]
fn times_become_texts() {
    let text = "at = 2026-04-14T09:30:00Z\nday = 2026-04-14\n";
    let json = convert(text, Format::Toml, Format::Json).unwrap();
    assert_eq!(json, "{\n  \"at\": \"2026-04-14T09:30:00Z\",\n  \"day\": \"2026-04-14\"\n}\n");
}

#[test]
fn what_cannot_be_read_is_told_with_its_place() {
    let (line, column, reason) = place(convert("{\n  \"a\": x\n}", Format::Json, Format::Yaml));
    assert_eq!((line, column, reason.as_str()), (2, 8, "expected value"));
    let (line, column, reason) = place(convert("a = 1\nb = ä\n", Format::Toml, Format::Json));
    assert_eq!((line, column), (2, 5), "{reason}");
    let (line, _, reason) = place(convert("a: 1\nb: [1,\n", Format::Yaml, Format::Json));
    assert!(line >= 2, "{line}: {reason}");
    let (line, _, reason) = place(convert("a,b\n1,2\n3\n", Format::Csv, Format::Json));
    assert_eq!((line, reason.as_str()), (3, "the row has 1 cells, and there are 2 columns"));
    let (line, _, reason) = place(convert("a,b,a\n", Format::Csv, Format::Json));
    assert_eq!((line, reason.as_str()), (1, "two columns have the name `a`"));
}

#[test]
fn what_a_format_cannot_say_is_told_with_its_place() {
    let told = |json: &str, target| inexpressible(convert(json, Format::Json, target));
    assert!(told(r#"{"a": [{"b": null}]}"#, Format::Toml).starts_with("$.a[0].b: "));
    assert!(told("[1]", Format::Toml).starts_with("$: "));
    assert!(told(r#"{"a": 18446744073709551615}"#, Format::Toml).starts_with("$.a: "));
    assert!(told(r#"{"a": 1}"#, Format::Csv).starts_with("$: "));
    assert!(told(r#"[{"a": 1}, 2]"#, Format::Csv).starts_with("$[1]: "));
    assert!(told(r#"[{"a": 1}, {"b": [1]}]"#, Format::Csv).starts_with("$[1].b: "));
    assert!(inexpressible(convert("a = [nan]", Format::Toml, Format::Json)).starts_with("$.a[0]: "));
}

#[test]
fn a_path_leads_to_places_and_values() {
    let found = query(JSON, Format::Json, "$.lines[?@.quantity > 1].sku").unwrap();
    assert_eq!(found, [("$['lines'][0]['sku']".to_owned(), "\"oak\"".to_owned())]);
    let found = query("a,b\n1,x\n2,y\n", Format::Csv, "$[*].b").unwrap();
    assert_eq!(found.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>(), ["\"x\"", "\"y\""]);
    assert_eq!(query("a: {b: [1, 2]}", Format::Yaml, "$..b[1]").unwrap()[0].1, "2");
    assert_eq!(query("{}", Format::Json, "$.nothing").unwrap(), []);
}

#[test]
fn what_is_no_path_is_told() {
    for path in ["", "lines", "$.", "$[", "$[?(@.a ==)]", &"(".repeat(10_000)] {
        assert!(matches!(query(JSON, Format::Json, path), Err(Fault::Path(_))), "{path}");
    }
}

#[test]
fn answers_are_bounded() {
    let large = format!("[\"{}\"]", "a".repeat(MAX_ANSWER));
    assert_eq!(convert(&large, Format::Json, Format::Yaml), Err(Fault::TooLarge(1 << 20)));
    assert!(matches!(query(&large, Format::Json, "$[0]"), Err(Fault::TooLarge(_))));
    let sparse: Vec<_> = (0..2000).map(|row| format!("{{\"{row}\": 1}}")).collect();
    let sparse = format!("[{}]", sparse.join(","));
    assert_eq!(convert(&sparse, Format::Json, Format::Csv), Err(Fault::TooLarge(1 << 20)));
}

#[test]
fn bombs_are_malformed() {
    let deep = "[".repeat(100_000);
    for format in [Format::Json, Format::Yaml] {
        assert!(matches!(convert(&deep, format, Format::Json), Err(Fault::Malformed(_))), "{format:?}");
    }
    let deep = format!("a = {}", "[".repeat(100_000));
    assert!(matches!(convert(&deep, Format::Toml, Format::Json), Err(Fault::Malformed(_))));
    let mut aliases = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let last = level - 1;
        aliases += &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{last}"); 10].join(", "));
    }
    assert!(matches!(convert(&aliases, Format::Yaml, Format::Json), Err(Fault::Malformed(_))));
}
