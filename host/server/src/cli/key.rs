//! `nexus key`.

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    args::Key,
    client::{Client, segment},
    failure::Failure,
    output::Output,
};
use crate::{CreatedKey, KeyList, KeyView, NewKeyBody, RotateKeyBody};

pub(super) async fn run(command: &Key, output: Output) -> Result<(), Failure> {
    match command {
        Key::Create { name, scopes, expires, per_minute, connection } => {
            let body = NewKeyBody {
                name: name.clone(),
                scopes: scopes.clone(),
                expires_in: expires.clone(),
                requests_per_minute: *per_minute,
            };
            show_once(&Client::new(connection)?.post("/v1/keys", &body).await?, output);
        }
        Key::Rotate { id, overlap, connection } => {
            let body = RotateKeyBody { overlap: overlap.clone() };
            let path = format!("/v1/keys/{}/rotate", segment(id));
            let rotated: CreatedKey = Client::new(connection)?.post(&path, &body).await?;
            show_once(&rotated, output);
            if let (false, Some(until)) = (output.json, rotated.info.overlap_until) {
                output.note(&format!("The old secret is good until {}", stamp(until)));
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

fn show_once(created: &CreatedKey, output: Output) {
    if output.json {
        output.value(created);
    } else {
        output.note("This key is shown once:");
        output.line(&created.key);
    }
}

/// A time as people and programs read it, to the second.
pub(super) fn stamp(time: OffsetDateTime) -> String {
    let whole = time.replace_nanosecond(0).unwrap_or(time);
    whole.format(&Rfc3339).unwrap_or_default()
}

fn show(list: &KeyList, output: Output) {
    let rows: Vec<_> = list
        .keys
        .iter()
        .map(|key| {
            let used = key.last_used_at.map_or_else(|| "never".to_owned(), stamp);
            let ends = key.expires_at.map_or_else(|| "-".to_owned(), stamp);
            vec![key.id.clone(), state(key).to_owned(), used, ends, key.scopes.join(" "), key.name.clone()]
        })
        .collect();
    output.table(&["ID", "STATE", "LAST USED", "ENDS", "SCOPES", "NAME"], &rows);
}

fn state(key: &KeyView) -> &'static str {
    if key.revoked_at.is_some() {
        "revoked"
    } else if key.expires_at.is_some_and(|end| end <= OffsetDateTime::now_utc()) {
        "expired"
    } else if key.overlap_until.is_some_and(|end| end > OffsetDateTime::now_utc()) {
        "rotating"
    } else {
        "good"
    }
}
