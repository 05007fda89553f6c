//! The grant, read.

use http::{HeaderName, HeaderValue, header};
use nexus_model::{HttpGrant, LoadError, SecretName, WebOrigin};
use wasmtime_wasi_http::DEFAULT_FORBIDDEN_HEADERS;

/// An origin that may be asked.
#[derive(Debug)]
pub(crate) struct AllowedOrigin {
    pub(super) origin: WebOrigin,
    pub(super) credential: Option<Credential>,
}

/// What the host adds to each request.
#[derive(Debug)]
pub(super) struct Credential {
    pub(super) header: HeaderName,
    pub(super) prefix: String,
    pub(super) secret: SecretName,
}

/// Reads the grants for `wasi:http`.
pub(crate) fn read(grants: &[HttpGrant]) -> Result<Vec<AllowedOrigin>, LoadError> {
    grants.iter().map(|grant| allowed(grant).map_err(|why| LoadError::Grant(format!("http: {why}")))).collect()
}

fn allowed(grant: &HttpGrant) -> Result<AllowedOrigin, String> {
    let origin = grant.origin.parse::<WebOrigin>().map_err(|error| error.to_string())?;
    let credential = grant.credential.as_ref().map(credential).transpose()?;
    Ok(AllowedOrigin { origin, credential })
}

fn credential(credential: &nexus_model::Credential) -> Result<Credential, String> {
    let name = &credential.header;
    let header = HeaderName::try_from(name).map_err(|_| format!("`{name}` cannot be the name of a field"))?;
    if DEFAULT_FORBIDDEN_HEADERS.contains(&header) || header == header::CONTENT_LENGTH {
        return Err(format!("`{name}` belongs to the connection: no credential goes there"));
    }
    let prefix = match &credential.prefix {
        Some(prefix) => prefix.clone(),
        None if header == header::AUTHORIZATION => "Bearer ".to_owned(),
        None => String::new(),
    };
    if HeaderValue::try_from(&prefix).is_err() {
        return Err("the prefix of a credential has characters that a field cannot have".to_owned());
    }
    Ok(Credential { header, prefix, secret: credential.secret.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(header: &str, prefix: Option<&str>) -> HttpGrant {
        let credential = nexus_model::Credential {
            header: header.to_owned(),
            prefix: prefix.map(ToOwned::to_owned),
            secret: "token".parse().unwrap(),
        };
        HttpGrant { origin: "https://api.example.com".to_owned(), credential: Some(credential) }
    }

    fn prefix(header: &str, prefix: Option<&str>) -> String {
        let allowed = read(&[grant(header, prefix)]).unwrap().remove(0);
        allowed.credential.unwrap().prefix
    }

    #[test]
    fn a_token_is_a_bearers_where_nothing_else_is_said() {
        assert_eq!(prefix("Authorization", None), "Bearer ");
        assert_eq!(prefix("authorization", Some("Basic ")), "Basic ");
        assert_eq!(prefix("x-api-key", None), "");
    }

    #[test]
    fn what_cannot_be_sent_is_refused_before() {
        for header in ["host", "Transfer-Encoding", "content-length", "a b", ""] {
            assert!(read(&[grant(header, None)]).is_err(), "{header}");
        }
        assert!(read(&[grant("authorization", Some("x\r\n"))]).is_err());
        let path = HttpGrant { origin: "https://h/path".to_owned(), credential: None };
        assert!(matches!(read(&[path]), Err(LoadError::Grant(why)) if why.contains("https://h/path")));
    }
}
