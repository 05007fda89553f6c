//! Talks to a server.

use std::time::Duration;

use reqwest::{Method, Response, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};

use super::{args::Connection, failure::Failure};
use crate::{Problem, data_dir::ADMIN_KEY_FILE};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A server, and who asks it.
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    key: Option<String>,
}

impl Client {
    pub(crate) fn new(connection: &Connection) -> Result<Self, Failure> {
        let url = connection.url.trim_end_matches('/').to_owned();
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("nexus/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Failure::usage(error.to_string(), ""))?;
        let file = || std::fs::read_to_string(connection.data_dir.join(ADMIN_KEY_FILE)).ok();
        let key = connection.key.clone().or_else(file).map(|key| key.trim().to_owned());
        Ok(Self { http, url, key: key.filter(|key| !key.is_empty()) })
    }

    /// The URL of a path of the server.
    pub(crate) fn url_of(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// The key that is sent.
    pub(crate) fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// A request below the base, with the key.
    pub(crate) fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url));
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// Sends it; an answer that is an error becomes one here.
    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Result<Response, Failure> {
        let response = request.send().await.map_err(|source| self.failed(source))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = response.bytes().await.map_err(|source| self.failed(source))?;
        Err(match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Failure::Answer(Box::new(problem)),
            Err(_) => self.foreign(format!("HTTP {status}")),
        })
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.read(self.send(self.request(Method::GET, path)).await?).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        self.read(self.send(self.request(Method::POST, path).json(body)).await?).await
    }

    /// Changes what is there, under a condition as `If-Match: *`.
    pub(crate) async fn change<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        condition: (header::HeaderName, String),
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<T, Failure> {
        let request = self.request(method, path).header(condition.0, condition.1);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        self.read(self.send(request).await?).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<(), Failure> {
        let response = self.send(self.request(Method::DELETE, path)).await?;
        if response.status() == StatusCode::NO_CONTENT { Ok(()) } else { Err(self.foreign("an unexpected body")) }
    }

    /// Has something done whose answer says nothing more.
    pub(crate) async fn order(&self, path: &str) -> Result<(), Failure> {
        let response = self.send(self.request(Method::POST, path)).await?;
        if response.status() == StatusCode::NO_CONTENT { Ok(()) } else { Err(self.foreign("an unexpected body")) }
    }

    pub(crate) async fn read<T: DeserializeOwned>(&self, response: Response) -> Result<T, Failure> {
        let body = response.bytes().await.map_err(|source| self.failed(source))?;
        serde_json::from_slice(&body).map_err(|error| self.foreign(error.to_string()))
    }

    pub(crate) fn failed(&self, source: reqwest::Error) -> Failure {
        if source.is_builder() {
            return Failure::usage(
                format!("`{}` is not a URL of a server", self.url),
                "write it as http://127.0.0.1:7070",
            );
        }
        Failure::Unreachable { url: self.url.clone(), source: source.without_url() }
    }

    pub(crate) fn foreign(&self, reason: impl Into<String>) -> Failure {
        Failure::Foreign { url: self.url.clone(), reason: reason.into() }
    }
}

/// A name as one segment of a path.
pub(crate) fn segment(name: &str) -> String {
    use std::fmt::Write as _;
    name.bytes().fold(String::with_capacity(name.len()), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_name_stays_one_segment() {
        assert_eq!(super::segment("order-desk"), "order-desk");
        assert_eq!(super::segment("a/../b?ü"), "a%2F..%2Fb%3F%C3%BC");
    }
}
