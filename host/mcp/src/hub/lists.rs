//! What a server offers, whole and within bounds.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{FutureExt, future::BoxFuture};
use rmcp::{model::PaginatedRequestParams, service::ServiceError};
use serde::Serialize;
use serde_json::Value;

use super::{
    connection::{Connection, Trouble},
    error::Fault,
    pins::Pins,
};

/// Pages of one list that are read.
const PAGES: usize = 64;
/// Entries of one list that are taken.
const ENTRIES: usize = 2_000;
/// Bytes of JSON that one list may have.
const BYTES: usize = 8 << 20;
/// How long a server may ask that its list be believed.
const LONGEST: Duration = Duration::from_hours(1);

/// The tools of a server at one time.
#[derive(Debug)]
pub(crate) struct Offered {
    pub(crate) tools: BTreeMap<String, Value>,
    pub(crate) pins: Pins,
    /// How often the server had said before that they change.
    changes: u64,
    until: Instant,
}

impl Offered {
    /// Whether the server has said that they are others, or they have not been looked at for long.
    pub(crate) fn is_stale(&self, connection: &Connection) -> bool {
        self.changes != connection.changes.count() || self.until <= Instant::now()
    }
}

/// The entries of a page, where the next one is, and for how many milliseconds it is good.
type Page<T> = Result<(Vec<T>, Option<String>, Option<u64>), ServiceError>;

/// All tools of a server, by name. They are believed for as long as the server says, but at least for `lists`: what is called
/// is what was approved, however old.
pub(crate) async fn tools(connection: Arc<Connection>, lists: Duration) -> Result<Offered, Trouble> {
    let changes = connection.changes.count();
    let mut ttl = None;
    let tools = pages("tools", &connection, |connection, page| {
        async move {
            let answer = connection.peer().list_tools(page).await?;
            Ok((answer.tools, answer.next_cursor, answer.ttl_ms))
        }
        .boxed()
    });
    let (tools, told) = tools.await?;
    if let Some(told) = told {
        ttl = Some(Duration::from_millis(told).min(LONGEST));
    }
    let until = Instant::now() + ttl.unwrap_or(lists).max(lists);
    let named = tools.into_iter().filter_map(|tool| Some((tool["name"].as_str()?.to_owned(), tool)));
    let tools: BTreeMap<_, _> = named.collect();
    let pins = Pins::of(&tools);
    Ok(Offered { tools, pins, changes, until })
}

/// All prompts of a server.
pub(crate) async fn prompts(connection: Arc<Connection>) -> Result<Vec<Value>, Trouble> {
    let prompts = pages("prompts", &connection, |connection, page| {
        async move {
            let answer = connection.peer().list_prompts(page).await?;
            Ok((answer.prompts, answer.next_cursor, None))
        }
        .boxed()
    });
    prompts.await.map(|(prompts, _)| prompts)
}

/// All resources of a server.
pub(crate) async fn resources(connection: Arc<Connection>) -> Result<Vec<Value>, Trouble> {
    let resources = pages("resources", &connection, |connection, page| {
        async move {
            let answer = connection.peer().list_resources(page).await?;
            Ok((answer.resources, answer.next_cursor, None))
        }
        .boxed()
    });
    resources.await.map(|(resources, _)| resources)
}

/// All templates of resources of a server.
pub(crate) async fn templates(connection: Arc<Connection>) -> Result<Vec<Value>, Trouble> {
    let templates = pages("templates", &connection, |connection, page| {
        async move {
            let answer = connection.peer().list_resource_templates(page).await?;
            Ok((answer.resource_templates, answer.next_cursor, None))
        }
        .boxed()
    });
    templates.await.map(|(templates, _)| templates)
}

/// All entries of a list, and the shortest time that a page of it is good for.
async fn pages<T: Serialize>(
    what: &'static str,
    connection: &Arc<Connection>,
    ask: impl Fn(Arc<Connection>, Option<PaginatedRequestParams>) -> BoxFuture<'static, Page<T>>,
) -> Result<(Vec<Value>, Option<u64>), Trouble> {
    let (mut entries, mut bytes, mut good_for) = (Vec::new(), 0, None::<u64>);
    let mut cursor = None;
    for _ in 0..PAGES {
        let page = cursor.take().map(|cursor| PaginatedRequestParams::default().with_cursor(Some(cursor)));
        let (page, next, ttl) = ask(Arc::clone(connection), page).await.map_err(|error| connection.trouble(&error))?;
        good_for = good_for.into_iter().chain(ttl).min();
        for entry in page {
            let entry = serde_json::to_value(entry).map_err(|error| Fault::Protocol(error.to_string()))?;
            bytes += entry.to_string().len();
            entries.push(entry);
            if entries.len() > ENTRIES || bytes > BYTES {
                return Err(Fault::ListTooLong(what).into());
            }
        }
        match next {
            Some(next) => cursor = Some(next),
            None => return Ok((entries, good_for)),
        }
    }
    Err(Fault::ListTooLong(what).into())
}
