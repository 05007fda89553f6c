//! Components in other languages, made by the languages' own tools from WIT that knows nothing of Nexus, and the plugins that
//! come with it. They are apart from the other tests because they are large, and some of those measure memory.

#![expect(clippy::unwrap_used, reason = "what a test needs and does not get ends the test")]

#[expect(dead_code, reason = "the other tests need more of it")]
#[path = "it/services.rs"]
mod services;
#[expect(dead_code, reason = "the other tests need more of it")]
#[path = "it/support.rs"]
mod support;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use nexus_model::{Grants, LinkedPlugin, PluginFacts, PluginHost, ToolOutcome};
use nexus_wasm::{WasmHost, with_docs};
use serde_json::{Value, json};

use self::{
    services::Desk,
    support::{PATIENCE, built, host},
};

/// A component in another language, of `tests/components`, and the folder of its WIT.
fn foreign(language: &str) -> (Vec<u8>, PathBuf) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/components");
    let component = std::fs::read(folder.join("dist").join(language).with_extension("wasm"));
    let component =
        component.unwrap_or_else(|_| panic!("the component in {language} is missing: run `cargo xtask setup`"));
    (component, folder.join(language).join("wit"))
}

/// A plugin that is granted nothing.
struct Plugin(Arc<dyn LinkedPlugin>);

impl Plugin {
    async fn new(host: &WasmHost, component: &[u8], wit: &Path) -> (PluginFacts, Self) {
        let component = with_docs(component, wit).unwrap_or_else(|error| panic!("{error}"));
        let facts = host.inspect(&component).await.unwrap();
        let linked = host.link(&component, &Grants::default()).await.unwrap();
        (Arc::unwrap_or_clone(facts), Self(linked))
    }

    async fn call(&self, tool: &str, arguments: Value) -> ToolOutcome {
        self.0.call(tool, &arguments, Arc::new(Desk::default()), PATIENCE).await.unwrap()
    }

    async fn value(&self, tool: &str, arguments: Value) -> Value {
        match self.call(tool, arguments).await {
            ToolOutcome::Value(value) => value,
            ToolOutcome::Error(error) => panic!("{tool}: {error}"),
        }
    }

    async fn error(&self, tool: &str, arguments: Value) -> Value {
        match self.call(tool, arguments).await {
            ToolOutcome::Error(error) => error,
            ToolOutcome::Value(value) => panic!("{tool}: {value}"),
        }
    }
}

/// The tools and what they say about themselves.
fn described(facts: &PluginFacts) -> Vec<(&str, &str)> {
    facts.tools.iter().map(|tool| (tool.name.as_str(), tool.description.as_deref().unwrap_or_default())).collect()
}

#[tokio::test]
async fn python() {
    let host = host();
    let (component, wit) = foreign("python");
    let (facts, plugin) = Plugin::new(&host, &component, &wit).await;
    let tools = [
        ("stock.find", "The first article that is tagged so."),
        ("stock.take", "Takes some of an article out and says what is left of all."),
        ("total", "The sum of all quantities."),
    ];
    assert_eq!(described(&facts), tools);
    assert!(facts.grants.is_empty() && facts.left_out.is_empty(), "{facts:?}");
    for line in ["/// The sum of all quantities.", "record shortage {", "/// The first article that is tagged so."] {
        assert!(facts.wit.contains(line), "{line}: {}", facts.wit);
    }

    let oak = json!({ "sku": "oak", "title": null, "unit": "piece", "quantity": 3.5, "tags": ["wood", "süß"] });
    let oil = json!({ "sku": "oil", "title": "Oil", "unit": "litre", "quantity": 1.0, "tags": [] });
    let articles = json!([oak, oil]);
    let take = |sku: &str, quantity: f64| json!({ "articles": articles, "sku": sku, "quantity": quantity });
    let mut less = articles.clone();
    less[0]["quantity"] = json!(1.5);
    assert_eq!(plugin.value("stock.take", take("oak", 2.0)).await, less);
    assert_eq!(plugin.error("stock.take", take("elm", 2.0)).await, json!({ "unknown": "elm" }));
    let short = json!({ "short": { "wanted": 9.0, "present": 1.0 } });
    assert_eq!(plugin.error("stock.take", take("oil", 9.0)).await, short);
    assert_eq!(plugin.error("stock.take", take("oak", 0.0)).await, json!("nothing"));

    let find = |tag: &str| json!({ "articles": articles, "tag": tag });
    assert_eq!(plugin.value("stock.find", find("süß")).await, oak);
    assert_eq!(plugin.value("stock.find", find("sweet")).await, Value::Null);
    let total = plugin.value("total", json!({ "articles": [["a", 1.25], ["b", -0.25]] })).await;
    assert_eq!(total, json!(1.0));
}

#[tokio::test]
async fn javascript() {
    let host = host();
    let (component, wit) = foreign("javascript");
    let (facts, plugin) = Plugin::new(&host, &component, &wit).await;
    let tools = [
        ("agenda", "One line for each appointment."),
        (
            "instant",
            "Milliseconds from the beginning of 1970 to the beginning of a day; none for a day that there is not.",
        ),
        ("touched", "The days of the week that an appointment touches, and how many days it lasts."),
    ];
    assert_eq!(described(&facts), tools);
    assert!(facts.grants.is_empty() && facts.left_out.is_empty(), "{facts:?}");

    let day = |year: i32, month: u8, day: u8| json!({ "year": year, "month": month, "day": day });
    let appointment = |title: &str, mark: &str, first: Value, last: Value| json!({ "title": title, "mark": mark, "when": { "first": first, "last": last } });
    let weekend = appointment("Fair", "🎪", day(2026, 4, 17), day(2026, 4, 19));
    let touched = plugin.value("touched", json!({ "appointment": weekend })).await;
    assert_eq!(touched, json!([["friday", "saturday", "sunday"], 3]));
    let year = appointment("Year", "y", day(2026, 1, 1), day(2026, 12, 31));
    let touched = plugin.value("touched", json!({ "appointment": year })).await;
    assert_eq!((touched[0].as_array().unwrap().len(), &touched[1]), (7, &json!(365)));
    let never = appointment("Never", "n", day(2026, 1, 2), day(2026, 1, 1));
    assert_eq!(plugin.value("touched", json!({ "appointment": never })).await, json!([[], 0]));

    assert_eq!(plugin.value("instant", json!({ "day": day(275_000, 1, 1) })).await, json!(8_615_994_624_000_000_u64));
    assert_eq!(plugin.value("instant", json!({ "day": day(2026, 2, 29) })).await, Value::Null);
    let agenda = plugin.value("agenda", json!({ "appointments": [weekend, year] })).await;
    assert_eq!(agenda, json!("🎪 Fair\ny Year"));
}

#[tokio::test]
async fn the_plugin_for_data() {
    let host = host();
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins/data/wit");
    let (facts, plugin) = Plugin::new(&host, &built("data.wasm"), &wit).await;
    assert!(facts.grants.is_empty() && facts.left_out.is_empty(), "{facts:?}");
    assert_eq!(facts.tools.iter().map(|tool| tool.name.as_str()).collect::<Vec<_>>(), ["convert", "query"]);
    assert!(facts.tools.iter().all(|tool| tool.description.is_some()));

    let text = "sku,quantity\noak,3\n";
    let yaml = plugin.value("convert", json!({ "text": text, "source": "csv", "target": "yaml" })).await;
    assert_eq!(yaml, json!("- sku: oak\n  quantity: \"3\"\n"));
    let found = plugin.value("query", json!({ "text": text, "source": "csv", "path": "$[*].sku" })).await;
    assert_eq!(found, json!([{ "path": "$[0]['sku']", "value": "\"oak\"" }]));
    let error = plugin.error("convert", json!({ "text": "{\"a\": }", "source": "json", "target": "toml" })).await;
    assert_eq!(error, json!({ "malformed": { "line": 1, "column": 7, "reason": "expected value" } }));
    let error = plugin.error("convert", json!({ "text": "[]", "source": "json", "target": "toml" })).await;
    assert_eq!(error, json!({ "inexpressible": "$: a TOML text is a table, which is an object" }));
}
