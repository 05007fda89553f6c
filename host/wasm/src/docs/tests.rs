use std::{fs, path::Path};

use tempfile::TempDir;
use wasm_encoder::{ComponentSection, CustomSection};
use wit_parser::PackageMetadata;

use super::{DocsError, MAX_SECTION_BYTES, Sections, read, with_docs, without_docs};

const WIT: &str = "
/// A shop.
package shop:desk@1.0.0;

/// What is ordered.
interface orders {
    /// A line of an order.
    record line {
        /// How many.
        quantity: u32,
    }

    /// Places an order.
    ///
    /// At once.
    place: func();
    cancel: func();
}

world desk {
    import ask: func();

    /// Says that it is there.
    export ping: func();
    export orders;
    export clock: interface {
        /// Winds the clock.
        wind: func();
    }
}

world other {
    /// Something else.
    export pong: func();
}
";

/// A component that exports functions, and interfaces with functions.
fn component(functions: &[&str], interfaces: &[(&str, &[&str])]) -> Vec<u8> {
    let of =
        |functions: &[&str]| functions.iter().map(|name| format!("(export \"{name}\" (func $f))")).collect::<Vec<_>>();
    let mut exports = of(functions);
    for (at, (name, functions)) in interfaces.iter().enumerate() {
        exports.push(format!("(instance $i{at} {})", of(functions).join(" ")));
        exports.push(format!("(export \"{name}\" (instance $i{at}))"));
    }
    let exports = exports.join("\n");
    let text = format!(
        "(component (core module $m (func (export \"f\"))) (core instance $c (instantiate $m))
           (func $f (canon lift (core func $c \"f\"))) {exports})"
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn desk() -> Vec<u8> {
    component(&["ping"], &[("shop:desk/orders@1.0.0", &["place", "cancel"]), ("clock", &["wind"])])
}

fn wit(text: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("shop.wit"), text).unwrap();
    folder
}

fn described(section: &[u8]) -> Vec<u8> {
    let mut component = desk();
    CustomSection { name: "package-docs".into(), data: section.into() }.append_to_component(&mut component);
    component
}

#[test]
fn functions_say_what_their_author_wrote() {
    let component = with_docs(&desk(), wit(WIT).path()).unwrap();
    let docs = read(&component);
    assert_eq!(docs.function(None, "ping"), Some("Says that it is there."));
    for interface in ["shop:desk/orders@1.0.0", "orders"] {
        assert_eq!(docs.function(Some(interface), "place"), Some("Places an order.\n\nAt once."), "{interface}");
        assert_eq!(docs.function(Some(interface), "cancel"), None);
    }
    assert_eq!(docs.function(Some("clock"), "wind"), Some("Winds the clock."));
    assert_eq!(docs.function(None, "pong"), None, "another world's");
    assert_eq!(docs.function(None, "place"), None);
    assert_eq!(docs.function(Some("nothing"), "place"), None);
    assert_eq!(read(&desk()), super::Docs::default());
}

#[test]
fn the_component_stays_as_it_is_but_for_the_docs() {
    let plain = desk();
    let once = with_docs(&plain, wit(WIT).path()).unwrap();
    assert_eq!(without_docs(&once), plain);
    assert_eq!(without_docs(&plain), plain);
    let other = wit(&WIT.replace("Says that it is there.", "Is there."));
    let twice = with_docs(&once, other.path()).unwrap();
    assert_eq!(read(&twice).function(None, "ping"), Some("Is there."), "the newest counts");
    assert_eq!(without_docs(&twice), plain, "and stands alone");
}

#[test]
fn the_section_is_the_one_that_tools_know() {
    let component = with_docs(&desk(), wit(WIT).path()).unwrap();
    let section = Sections::of(&component).find_map(|section| section.docs()).unwrap();
    PackageMetadata::decode(section).unwrap();
    let text = String::from_utf8_lossy(section);
    assert!(text.contains("How many.") && text.contains("What is ordered."), "{text}");
    let older = br#"_{"worlds": {"root": {"funcs": {"ping": "Pings."}}}, "interfaces": {"orders": {"funcs": {"place": "Places."}}}}"#;
    let mut older = older.to_vec();
    older[0] = 0;
    let docs = read(&described(&older));
    assert_eq!(
        (docs.function(None, "ping"), docs.function(Some("orders"), "place")),
        (Some("Pings."), Some("Places."))
    );
}

#[test]
fn what_is_exported_counts_where_an_import_has_the_same_name() {
    let text = "package shop:desk;
        world desk {
            /// Asked of the host.
            import ping: func();
            /// Answered here.
            export ping: func();
        }";
    let component = with_docs(&component(&["ping"], &[]), wit(text).path()).unwrap();
    assert_eq!(read(&component).function(None, "ping"), Some("Answered here."));
}

#[test]
fn the_world_with_the_most_of_the_exports_is_meant() {
    let text = "package shop:desk;
        world small { /// Of the small one.
            export ping: func(); }
        world large { /// Of the large one.
            export ping: func();
            export pong: func(); }";
    let text = wit(text);
    let said = |functions: &[&str]| {
        let component = with_docs(&component(functions, &[]), text.path()).unwrap();
        read(&component).function(None, "ping").map(str::to_owned)
    };
    assert_eq!(said(&["ping"]).as_deref(), Some("Of the small one."));
    assert_eq!(said(&["ping", "pong"]).as_deref(), Some("Of the large one."));
}

#[test]
fn packages_beside_it_are_found() {
    let folder = wit("package shop:desk; world desk { include base:worlds/ping; /// Mine.
        export mine: func(); }");
    let deps = folder.path().join("deps/base");
    fs::create_dir_all(&deps).unwrap();
    fs::write(deps.join("worlds.wit"), "package base:worlds; world ping { export ping: func(); }").unwrap();
    let component = with_docs(&component(&["ping", "mine"], &[]), folder.path()).unwrap();
    assert_eq!(read(&component).function(None, "mine"), Some("Mine."));
}

#[test]
fn what_cannot_be_described_is_told_with_the_mend() {
    let core = wat::parse_str("(module)").unwrap();
    let folder = wit(WIT);
    assert!(matches!(with_docs(&core, folder.path()), Err(DocsError::NotAComponent)));

    let error = with_docs(&component(&["pang"], &[]), folder.path()).unwrap_err().to_string();
    assert!(error.contains("pang") && error.contains(folder.path().to_str().unwrap()), "{error}");
    let error = with_docs(&component(&[], &[]), folder.path()).unwrap_err().to_string();
    assert!(error.contains("nothing"), "{error}");

    let error = with_docs(&desk(), wit("package shop:desk;\nworld desk { export ping: fun(); }").path()).unwrap_err();
    assert!(error.to_string().contains("shop.wit:2:"), "{error}");
    assert!(matches!(with_docs(&desk(), Path::new("/nowhere")), Err(DocsError::Wit(_))));

    let long = WIT.replace("Says that it is there.", &"la ".repeat(MAX_SECTION_BYTES / 3));
    assert!(matches!(with_docs(&desk(), wit(&long).path()), Err(DocsError::TooLong { .. })));
}

#[test]
fn hostile_docs_are_no_docs() {
    let long = format!("\x01{{\"docs\": \"{}\"}}", "a".repeat(MAX_SECTION_BYTES));
    let deep = format!("\x01{}", "[".repeat(100_000));
    let hostile: [&[u8]; 8] = [
        b"",
        b"\x01",
        b"\x02{}",
        b"\x01{\"worlds\": 1}",
        b"\x01{\"worlds\": {\"w\": {\"funcs\": {\"ping\": [\"Pings.\"]}}}}",
        b"\x01{\"docs\": \"\xff\"}",
        long.as_bytes(),
        deep.as_bytes(),
    ];
    for section in hostile {
        assert_eq!(
            read(&described(section)),
            super::Docs::default(),
            "{}",
            String::from_utf8_lossy(&section[..section.len().min(60)])
        );
    }
    let component = with_docs(&desk(), wit(WIT).path()).unwrap();
    for end in 0..component.len() {
        let cut = read(&component[..end]);
        assert_eq!(cut, super::Docs::default(), "{end}");
        assert_eq!(without_docs(&component[..end]), component[..end], "{end}");
    }
}

#[test]
fn a_section_within_a_part_says_nothing_of_the_whole() {
    let mut inner = wat::parse_str("(component)").unwrap();
    let section = br#"_{"worlds": {"root": {"funcs": {"ping": {"docs": "Inner."}}}}}"#
        .map(|byte| if byte == b'_' { 1 } else { byte });
    CustomSection { name: "package-docs".into(), data: (&section[..]).into() }.append_to_component(&mut inner);
    let mut outer = component(&["ping"], &[]);
    outer.push(4);
    outer.push(u8::try_from(inner.len()).unwrap());
    outer.extend(inner);
    assert_eq!(read(&outer).function(None, "ping"), None);
    CustomSection { name: "package-docs".into(), data: (&section[..]).into() }.append_to_component(&mut outer);
    assert_eq!(read(&outer).function(None, "ping"), Some("Inner."), "outside it counts");
}

#[test]
fn words_cannot_move_the_cursor() {
    let section = "_{\"worlds\": {\"root\": {\"funcs\": {\"ping\": {\"docs\": \" \\u001b[2JPings.\\n\\tTwice.\\u0000 \"}, \"pong\": {\"docs\": \"\\u0007\"}}}}}";
    let mut section = section.as_bytes().to_vec();
    section[0] = 1;
    let docs = read(&described(&section));
    assert_eq!(docs.function(None, "ping"), Some("[2JPings.\n\tTwice."));
    assert_eq!(docs.function(None, "pong"), None);
}
