//! Files, clocks and chance.

use std::{fs, os::unix::fs::symlink, path::Path, sync::Arc};

use nexus_model::{Access, ComponentFault, Grants, LinkedPlugin, ToolFault};
use nexus_wasm::FolderLimits;
use serde_json::{Value, json};

use super::{Desk, call, host, linked};
use crate::support::PATIENCE;

const MOST: FolderLimits = FolderLimits { bytes: 1 << 20, entries: 20 };

async fn walker(grants: Grants) -> Arc<dyn LinkedPlugin> {
    linked(&host(|config| config.folder = MOST), "folder.wasm", &grants).await
}

async fn with_folder(access: Access, folder: &Path) -> (Arc<dyn LinkedPlugin>, Arc<Desk>) {
    let grants = Grants { folder: Some(access), ..Grants::default() };
    (walker(grants).await, Arc::new(Desk { folder: Some(folder.to_owned()), ..Desk::default() }))
}

fn at(path: &str) -> Value {
    json!({ "path": path })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_folder_is_open_at_the_root() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), "one").unwrap();
    let (walker, desk) = with_folder(Access::ReadWrite, folder.path()).await;
    assert_eq!(call(&walker, &desk, "files.read", at("/a")).await, Ok(json!("one")));
    call(&walker, &desk, "files.make-folder", at("/in")).await.unwrap();
    call(&walker, &desk, "files.write", json!({ "path": "/in/b", "text": "two" })).await.unwrap();
    assert_eq!(call(&walker, &desk, "files.names", at("/")).await, Ok(json!(["a", "in"])));
    assert_eq!(fs::read_to_string(folder.path().join("in/b")).unwrap(), "two");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_grant_no_folder_is_there() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), "one").unwrap();
    let walker = walker(Grants::default()).await;
    let desk = Arc::new(Desk { folder: Some(folder.path().to_owned()), ..Desk::default() });
    assert!(call(&walker, &desk, "files.read", at("/a")).await.is_err());
    assert!(call(&walker, &desk, "files.names", at("/")).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn to_read_is_not_to_write() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), "one").unwrap();
    let (walker, desk) = with_folder(Access::Read, folder.path()).await;
    assert_eq!(call(&walker, &desk, "files.read", at("/a")).await, Ok(json!("one")));
    for (tool, arguments) in [
        ("files.write", json!({ "path": "/a", "text": "two" })),
        ("files.write", json!({ "path": "/b", "text": "two" })),
        ("files.make-folder", at("/in")),
        ("files.link", json!({ "target": "a", "path": "/l" })),
        ("files.grow", json!({ "path": "/a", "bytes": 100 })),
    ] {
        assert!(call(&walker, &desk, tool, arguments).await.is_err(), "{tool}");
    }
    assert_eq!(fs::read_to_string(folder.path().join("a")).unwrap(), "one");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_path_leads_out() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "word").unwrap();
    let folder = outside.path().join("folder");
    fs::create_dir(&folder).unwrap();
    symlink(outside.path(), folder.join("absolute")).unwrap();
    symlink("..", folder.join("relative")).unwrap();
    symlink("../secret", folder.join("file")).unwrap();
    symlink("/proc/self", folder.join("process")).unwrap();
    let (walker, desk) = with_folder(Access::ReadWrite, &folder).await;
    let path = outside.path().join("secret");
    for path in [
        "/../secret",
        "../secret",
        "/absolute/secret",
        "/relative/secret",
        "/relative/folder/../secret",
        "/file",
        "/process/environ",
        path.to_str().unwrap(),
    ] {
        let read = call(&walker, &desk, "files.read", at(path)).await;
        assert!(read.is_err(), "{path}: {read:?}");
        let written = call(&walker, &desk, "files.write", json!({ "path": path, "text": "gone" })).await;
        assert!(written.is_err(), "{path}: {written:?}");
    }
    // Nor through a link that the component makes itself.
    let link = |target: &str, path: &str| json!({ "target": target, "path": path });
    assert!(call(&walker, &desk, "files.link", link(outside.path().to_str().unwrap(), "/mine")).await.is_err());
    drop(call(&walker, &desk, "files.link", link("..", "/up")).await);
    assert!(call(&walker, &desk, "files.read", at("/up/secret")).await.is_err());
    assert_eq!(fs::read_to_string(outside.path().join("secret")).unwrap(), "word");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_holds_so_many_bytes() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("before"), vec![1; 600_000]).unwrap();
    let (walker, desk) = with_folder(Access::ReadWrite, folder.path()).await;
    for bytes in [100, 10_000] {
        let filled = call(&walker, &desk, "files.fill", json!({ "path": "/a", "bytes": bytes })).await.unwrap();
        let written = filled[0].as_u64().unwrap();
        assert!(written > 300_000 && written < MOST.bytes - 600_000, "{bytes}: {filled}");
        assert_eq!(fs::metadata(folder.path().join("a")).unwrap().len(), written);
        fs::remove_file(folder.path().join("a")).unwrap();
    }
    let grow = |bytes: u64| json!({ "path": "/before", "bytes": bytes });
    assert!(call(&walker, &desk, "files.grow", grow(MOST.bytes)).await.is_ok());
    assert_eq!(call(&walker, &desk, "files.grow", grow(1 << 60)).await, Err(json!("FileTooLarge")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_holds_so_many_files() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("before"), "").unwrap();
    let (walker, desk) = with_folder(Access::ReadWrite, folder.path()).await;
    let filled = call(&walker, &desk, "files.fill-with-files", at("")).await;
    assert_eq!(filled, Ok(json!([19, "StorageFull"])));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 20);
    assert_eq!(call(&walker, &desk, "files.make-folder", at("/in")).await, Err(json!("StorageFull")));
    let link = json!({ "target": "before", "path": "/l" });
    assert_eq!(call(&walker, &desk, "files.link", link).await, Err(json!("StorageFull")));
}

#[tokio::test(flavor = "multi_thread")]
async fn open_files_have_a_bound() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), "one").unwrap();
    let (walker, desk) = with_folder(Access::Read, folder.path()).await;
    assert_eq!(call(&walker, &desk, "files.open", json!({ "path": "/a", "times": 30 })).await, Ok(json!(null)));
    let many = walker.call("files.open", &json!({ "path": "/a", "times": 40 }), desk, PATIENCE).await.unwrap_err();
    assert!(matches!(many, ToolFault::Component(ComponentFault::Limit(_))), "{many:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_and_chance_are_real_where_granted() {
    let desk = Arc::default();
    let alive = walker(Grants { clocks: true, random: true, ..Grants::default() }).await;
    let time = call(&alive, &desk, "world-outside.time", json!({ "sleep": 20 })).await.unwrap();
    assert!(time[0].as_u64().unwrap() > 1_700_000_000, "{time}");
    assert!(time[1].as_u64().unwrap() >= 20_000_000, "{time}");
    let first = call(&alive, &desk, "world-outside.chance", json!({})).await.unwrap();
    assert_ne!(first, call(&alive, &desk, "world-outside.chance", json!({})).await.unwrap());
    let inert = walker(Grants::default()).await;
    let time = call(&inert, &desk, "world-outside.time", json!({ "sleep": 0 })).await;
    assert_eq!(time, Ok(json!([946_684_800, 0])));
    let first = call(&inert, &desk, "world-outside.chance", json!({})).await.unwrap();
    assert_eq!(first, call(&inert, &desk, "world-outside.chance", json!({})).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sleep_by_the_real_clock_ends_at_the_deadline() {
    let alive = walker(Grants { clocks: true, ..Grants::default() }).await;
    let fault = super::fault(&alive, "world-outside.time", json!({ "sleep": 3_600_000 }), 50).await;
    assert!(matches!(fault, ToolFault::Component(ComponentFault::Deadline(_))), "{fault:?}");
}
