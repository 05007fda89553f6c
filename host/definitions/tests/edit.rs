//! Plugins that are added to, changed in and removed from an `app.yaml` that its author has written as he likes.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use nexus_definitions::{EditError, remove_plugin, remove_server, set_plugin, set_server};
use nexus_model::Plugin;
use serde_json::{Value, json};

fn plugin(name: &str, grants: Value) -> Plugin {
    Plugin {
        name: name.parse().unwrap(),
        path: format!("plugins/{name}.wasm"),
        digest: "ab".repeat(32),
        source: None,
        grants: serde_json::from_value(grants).unwrap(),
    }
}

fn orders() -> Plugin {
    plugin("orders", json!({ "http": ["https://a.example"], "state": "read", "config": { "k": "v: #" } }))
}

const BLOCK: &str = "    orders:
      component: plugins/orders.wasm
      digest: \"sha256:abababababababababababababababababababababababababababababababab\"
      grants:
        http: [\"https://a.example\"]
        config:
          k: \"v: #\"
        state: read
";

#[test]
fn a_plugin_is_added_below_others_or_in_a_section_of_its_own() {
    let head = "# the shop\nspec:\n  operations: {} # none\n\n  # how much\n  limits: { timeout: 3s }  # short\n";
    let tail = "# the end\n";
    let edited = set_plugin(&format!("{head}{tail}"), &orders()).unwrap();
    assert_eq!(edited, format!("{head}  plugins:\n{BLOCK}{tail}"));

    let one = "    one:   # the first\n      component: x.wasm # here\n      # and no more\n";
    let both = format!("{head}  plugins:\n{one}  triggers: []\n");
    let edited = set_plugin(&both, &orders()).unwrap();
    let first = "    one:   # the first\n      component: x.wasm # here\n";
    assert_eq!(edited, format!("{head}  plugins:\n{first}{BLOCK}      # and no more\n  triggers: []\n"));
    assert_eq!(remove_plugin(&edited, &"orders".parse().unwrap()).unwrap(), both, "and taken out again");

    let empty = format!("{head}  plugins:\n{tail}");
    assert_eq!(set_plugin(&empty, &orders()).unwrap(), format!("{head}  plugins:\n{BLOCK}{tail}"));
    let no_end = "spec:\n  plugins:\n    a: { component: a.wasm }";
    assert_eq!(set_plugin(no_end, &orders()).unwrap(), format!("{no_end}\n{BLOCK}"));
}

#[test]
fn what_stands_in_braces_stays_in_braces() {
    let text = "spec: { limits: {}, plugins: { one: { component: x.wasm } } } # all\n";
    let edited = set_plugin(text, &plugin("two", json!({ "clocks": true }))).unwrap();
    let digest = "ab".repeat(32);
    let two =
        format!("two: {{ component: plugins/two.wasm, digest: \"sha256:{digest}\", grants: {{ clocks: true }} }}");
    assert_eq!(edited, format!("spec: {{ limits: {{}}, plugins: {{ one: {{ component: x.wasm }}, {two} }} }} # all\n"));
    assert_eq!(remove_plugin(&edited, &"two".parse().unwrap()).unwrap(), text);
    let left = remove_plugin(&edited, &"one".parse().unwrap()).unwrap();
    assert_eq!(left, format!("spec: {{ limits: {{}}, plugins: {{ {two} }} }} # all\n"));
    assert_eq!(remove_plugin(&left, &"two".parse().unwrap()), Err(EditError::Last));
    let more = left.replace("limits", "operations");
    assert_eq!(remove_plugin(&more, &"two".parse().unwrap()).unwrap(), "spec: { operations: {} } # all\n");
    for text in ["{\"spec\": {}}", "{\"spec\": {\"plugins\": {}}}", "spec: {plugins: null}", "spec: {a: 1,}"] {
        let edited = set_plugin(text, &orders()).unwrap();
        assert!(edited.contains("orders: { component:"), "{edited}");
    }
}

#[test]
fn a_change_touches_only_what_changes() {
    let old = "spec:
  plugins:
    # what the shop sells
    orders:
      digest: 'sha256:0000' # written by nexus
      component: plugins/orders.wasm   # built in CI
      source: oci.example/acme/orders:1
      grants:   # as few as can be
        state: read-write   # carts
        http:
          # the till
          - https://a.example
          - https://b.example
        logging: true
        config: { k: v }
    other: { component: o.wasm }
";
    let edited = set_plugin(old, &orders()).unwrap();
    let digest = "ab".repeat(32);
    assert_eq!(
        edited,
        format!(
            "spec:
  plugins:
    # what the shop sells
    orders:
      digest: \"sha256:{digest}\" # written by nexus
      component: plugins/orders.wasm   # built in CI
      grants:   # as few as can be
        state: read   # carts
        http: [\"https://a.example\"]
        config: {{ k: \"v: #\" }}
    other: {{ component: o.wasm }}
"
        )
    );
    assert_eq!(set_plugin(&edited, &orders()).unwrap(), edited, "nothing to change");
    let plain = set_plugin(&edited, &plugin("orders", json!({}))).unwrap();
    assert!(!plain.contains("grants") && plain.contains("# built in CI\n    other"), "{plain}");
}

#[test]
fn what_would_change_something_else_is_refused() {
    let alias = "x: &p { component: plugins/orders.wasm }\nspec:\n  plugins:\n    orders: *p\n";
    assert_eq!(set_plugin(alias, &orders()), Err(EditError::Form));
    assert_eq!(set_plugin("spec: 1\n", &orders()), Err(EditError::Form));
    assert_eq!(set_plugin("spec: [", &orders()), Err(EditError::Unreadable));
    assert_eq!(set_plugin("- a\n", &orders()), Err(EditError::Form));
    let literal = "spec:\n  plugins:\n    a:\n      component: a.wasm\n  note: |\n    text\n\n# end\n";
    let edited = set_plugin(literal, &orders()).unwrap();
    assert!(edited.ends_with("  note: |\n    text\n\n# end\n") && edited.contains(BLOCK), "{edited}");
    let last = "spec:\n  plugins:\n    a:\n      component: |-\n        a.wasm\n";
    assert_eq!(set_plugin(last, &orders()).unwrap(), format!("{last}{BLOCK}"));
}

#[test]
fn a_server_is_added_changed_and_taken_out_as_a_plugin_is() {
    let text = "spec: # all\n  operations: {}\n  tools: { allow: [] }\n";
    let entry = |value: Value| value.as_object().unwrap().clone();
    let clock = "clock".parse().unwrap();
    let first = json!({ "command": ["clock", "--utc"], "image": "sha256:00", "source": "npm:clock@1", "grants": { "volume": "/data" } });
    let edited = set_server(text, &clock, entry(first)).unwrap();
    let block = "  mcp:\n    clock:\n      image: \"sha256:00\"\n      source: \"npm:clock@1\"\n      command: [clock, \"--utc\"]\n      \
                 grants:\n        volume: \"/data\"\n";
    assert_eq!(edited, format!("{text}{block}"));
    let changed = set_server(&edited, &clock, entry(json!({ "url": "https://a.example/mcp" }))).unwrap();
    assert_eq!(changed, format!("{text}  mcp:\n    clock:\n      url: \"https://a.example/mcp\"\n"));
    assert_eq!(remove_server(&changed, &clock).unwrap(), text);
    let only = "spec:\n  mcp: { clock: { host: clock } }\n";
    assert!(matches!(remove_server(only, &clock), Err(EditError::Last)));
}
