//! `nexus health`.

use std::time::Duration;

use reqwest::Method;

use super::{args::Connection, client::Client, failure::Failure, output::Output};
use crate::http::Health;

/// How long the server may take to say that it is ready.
const DEADLINE: Duration = Duration::from_secs(5);

/// Asks `/readyz`. Any other answer than "ready", and none, is [`Failure::NotReady`].
pub(super) async fn run(connection: &Connection, output: Output) -> Result<(), Failure> {
    let health = ask(&Client::new(connection)?).await.map_err(|failure| Failure::NotReady(Box::new(failure)))?;
    if output.json {
        output.value(&health);
    } else {
        output.line(&health.status);
    }
    Ok(())
}

async fn ask(client: &Client) -> Result<Health, Failure> {
    let request = client.request(Method::GET, "/readyz").timeout(DEADLINE);
    client.read(client.send(request).await?).await
}
