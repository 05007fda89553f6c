//! `nexus secret`. A value never stands on the command line: other users of a machine see that.

use std::io::{IsTerminal, Read, stdin};

use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};

use super::{
    args::Secret,
    client::{Client, segment},
    failure::Failure,
    output::Output,
};
use crate::{SecretBody, SecretList};

/// The longest value, in bytes; the server takes no longer one.
const MAX_BYTES: u64 = 64 << 10;

pub(super) async fn run(command: &Secret, output: Output) -> Result<(), Failure> {
    match command {
        Secret::Set { name, app, connection } => {
            let client = Client::new(connection)?;
            let value = value(output, name)?;
            let body = SecretBody { value: value.expose_secret().to_owned() };
            let request = client.request(Method::PUT, &path(app.as_deref(), Some(name))).json(&body);
            client.send(request).await?;
            told(output, name, "set");
        }
        Secret::List { app, connection } => {
            let list: SecretList = Client::new(connection)?.get(&path(app.as_deref(), None)).await?;
            if output.json {
                output.value(&list);
            } else {
                let rows: Vec<_> =
                    list.secrets.iter().map(|secret| vec![secret.name.clone(), secret.source.clone()]).collect();
                output.table(&["NAME", "SOURCE"], &rows);
            }
        }
        Secret::Delete { name, app, connection } => {
            Client::new(connection)?.delete(&path(app.as_deref(), Some(name))).await?;
            told(output, name, "deleted");
        }
    }
    Ok(())
}

fn told(output: Output, name: &str, what: &str) {
    if output.json {
        output.value(&serde_json::json!({ "name": name, what: true }));
    } else {
        output.note(&format!("{name} is {what}"));
    }
}

fn path(app: Option<&str>, name: Option<&str>) -> String {
    let below = app.map(|app| format!("/apps/{}", segment(app))).unwrap_or_default();
    let name = name.map(|name| format!("/{}", segment(name))).unwrap_or_default();
    format!("/v1{below}/secrets{name}")
}

/// The value: asked for without an echo on a terminal, otherwise all of standard input but one line end.
fn value(output: Output, name: &str) -> Result<SecretString, Failure> {
    let unreadable = |source| Failure::Unreadable { path: "standard input".into(), source };
    if stdin().is_terminal() {
        output.note(&format!("The value of {name} (it is not shown):"));
        return rpassword::read_password().map(SecretString::from).map_err(unreadable);
    }
    let mut text = String::new();
    stdin().lock().take(MAX_BYTES + 2).read_to_string(&mut text).map_err(unreadable)?;
    let value = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    Ok(SecretString::from(value))
}

#[cfg(test)]
mod tests {
    use super::path;

    #[test]
    fn a_secret_is_the_hosts_or_an_applications() {
        assert_eq!(path(None, None), "/v1/secrets");
        assert_eq!(path(Some("a"), Some("b/c")), "/v1/apps/a/secrets/b%2Fc");
    }
}
