//! Files that are no components, or that ask for what there is no grant for, and a cache that somebody changes: rows 8 to
//! 10 of the table of hostile inputs.

use std::{fs, path::Path};

use nexus_model::{Grants, LoadError, PluginHost, ToolOutcome};
use nexus_wasm::WasmHost;
use serde_json::json;

use crate::{
    calls::{adder, call},
    support::PATIENCE,
};

const ASYNC: &str = r#"(component
  (core module $m (func (export "f"))) (core instance $i (instantiate $m))
  (func (export "f") async (canon lift (core func $i "f") async (callback (core func $i "f")))))"#;

fn strangers() -> Vec<Vec<u8>> {
    let whole = adder();
    let noise = (0_u32..4_096).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect::<Vec<u8>>();
    vec![
        wat::parse_str("(module (func (export \"f\")))").unwrap(),
        wat::parse_str("(component (import \"evil:host/everything@1.0.0\" (instance)))").unwrap(),
        wat::parse_str(ASYNC).unwrap(),
        whole[..whole.len() / 2].to_vec(),
        [&whole[..8], &noise].concat(),
        noise,
    ]
}

/// Each stranger is refused, and each forged file of the cache in `dir` is found and made again.
pub(crate) async fn visit(host: &WasmHost, dir: &Path, rounds: usize) {
    let before = host.cache_counters().forged;
    for round in 0..rounds {
        for stranger in strangers() {
            let refused = host.inspect(&stranger).await;
            let expected = |error: &LoadError| {
                matches!(error, LoadError::NotAComponent(_) | LoadError::ForeignImports(_) | LoadError::Compile(_))
            };
            assert!(refused.as_ref().is_err_and(expected), "{refused:?}");
        }
        host.link(&adder(), &Grants::default()).await.unwrap();
        forge(dir);
        let plugin = host.link(&adder(), &Grants::default()).await.unwrap();
        let sum = call(&*plugin, "add", &json!({ "a": round, "b": 2 }), PATIENCE).await;
        assert_eq!(sum, Ok(ToolOutcome::Value(json!(round + 2))));
    }
    let forged = host.cache_counters().forged - before;
    assert!(forged >= u64::try_from(rounds).unwrap(), "{forged} of {rounds}");
}

/// Changes a byte of each entry of the cache.
fn forge(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        fs::write(path, bytes).unwrap();
    }
}
