//! `nexus key`.

use super::{
    args::Key,
    client::{Client, segment},
    failure::Failure,
    output::Output,
};
use crate::{CreatedKey, KeyList, KeyView, NewKeyBody};

pub(super) async fn run(command: &Key, output: Output) -> Result<(), Failure> {
    match command {
        Key::Create { name, scopes, expires, connection } => {
            let body = NewKeyBody { name: name.clone(), scopes: scopes.clone(), expires_in: expires.clone() };
            let created: CreatedKey = Client::new(connection)?.post("/v1/keys", &body).await?;
            if output.json {
                output.value(&created);
            } else {
                output.note("This key is shown once:");
                output.line(&created.key);
            }
        }
        Key::List { connection } => {
            let list: KeyList = Client::new(connection)?.get("/v1/keys").await?;
            if output.json { output.value(&list) } else { show(&list, output) }
        }
        Key::Revoke { id, connection } => {
            Client::new(connection)?.delete(&format!("/v1/keys/{}", segment(id))).await?;
            if output.json {
                output.value(&serde_json::json!({ "id": id, "revoked": true }));
            } else {
                output.note(&format!("{id} opens nothing any more"));
            }
        }
    }
    Ok(())
}

fn show(list: &KeyList, output: Output) {
    let rows: Vec<_> = list
        .keys
        .iter()
        .map(|key| vec![key.id.clone(), state(key).to_owned(), key.scopes.join(" "), key.name.clone()])
        .collect();
    output.table(&["ID", "STATE", "SCOPES", "NAME"], &rows);
}

fn state(key: &KeyView) -> &'static str {
    if key.revoked_at.is_some() {
        "revoked"
    } else if key.expires_at.is_some_and(|end| end <= time::OffsetDateTime::now_utc()) {
        "expired"
    } else {
        "good"
    }
}
