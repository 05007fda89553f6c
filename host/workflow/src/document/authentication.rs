//! Authentication policies.

use std::sync::Arc;

use super::{
    Components, Sealing, SecretReference,
    node::{Node, Position},
    places::{self, Place},
    reader::Reader,
    sealing,
};
use crate::fault::{Fault, FaultKind};

/// How a request is authenticated.
#[derive(Debug, Clone, PartialEq)]
pub struct Authentication {
    /// `basic`, `bearer`, `digest`, `oauth2` or `oidc`.
    pub scheme: &'static str,
    /// The fields of the policy, or one secret that has them all.
    pub settings: Sealing,
}

const SCHEMES: [(&str, &Place, &[&str]); 5] = [
    ("basic", &places::AUTH_BASIC, &["username", "password"]),
    ("bearer", &places::AUTH_BEARER, &["token"]),
    ("digest", &places::AUTH_BASIC, &["username", "password"]),
    ("oauth2", &places::AUTH_OAUTH2, &["authority", "grant"]),
    ("oidc", &places::AUTH_OIDC, &["authority", "grant"]),
];

const GRANTS: [&str; 5] = [
    "authorization_code",
    "client_credentials",
    "password",
    "refresh_token",
    "urn:ietf:params:oauth:grant-type:token-exchange",
];
const CLIENT: [&str; 5] = ["client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "none"];

/// A policy, or the name of one of `use.authentications`.
pub(super) fn referable(
    reader: &mut Reader,
    node: Option<Node<'_>>,
    components: &Components,
) -> Option<Arc<Authentication>> {
    let node = node?;
    if let Some(used) = node.get("use") {
        reader.object(&node, &places::AUTHENTICATION);
        let name = reader.text(&used)?;
        reader.named(&used, "authentications", name);
        return components.authentications.get(name).cloned();
    }
    read(reader, &node, components).map(Arc::new)
}

pub(super) fn read(reader: &mut Reader, node: &Node<'_>, _: &Components) -> Option<Authentication> {
    if !reader.object(node, &places::AUTHENTICATION) {
        return None;
    }
    let mut policies = SCHEMES.into_iter().filter_map(|scheme| node.get(scheme.0).map(|node| (scheme, node)));
    let (Some(((scheme, place, required), policy)), None) = (policies.next(), policies.next()) else {
        let fault = Fault::new(FaultKind::BadValue, &node.at, "a policy has one scheme");
        reader.fault(fault.expected("`basic`, `bearer`, `digest`, `oauth2` or `oidc`"));
        return None;
    };
    if !reader.object(&policy, place) {
        return None;
    }
    if let Some(used) = policy.get("use") {
        let name = reader.text(&used)?;
        reader.named(&used, "secrets", name);
        if policy.fields().count() > 1 {
            reader.wrong(&policy, FaultKind::BadValue, "a secret stands for the whole policy", "`use` alone");
        }
        let secret = SecretReference { name: name.to_owned(), path: Vec::new() };
        return Some(Authentication { scheme, settings: Sealing::Secret(secret) });
    }
    for field in required {
        if policy.get(field).is_none() {
            let fault = Fault::new(FaultKind::MissingField, &policy.at, format!("`{field}` is missing"));
            reader.fault(fault.expected(format!("`{field}`, or `use` with the name of a secret")));
        }
    }
    parts(reader, &policy);
    Some(Authentication { scheme, settings: sealing::read(reader, &policy, Position::Within) })
}

/// The parts of `oauth2` and `oidc`.
fn parts(reader: &mut Reader, policy: &Node<'_>) {
    if let Some(grant) = policy.get("grant") {
        reader.one_of(&grant, &GRANTS);
    }
    if let Some(client) = policy.get("client")
        && reader.object(&client, &places::AUTH_CLIENT)
        && let Some(method) = client.get("authentication")
    {
        reader.one_of(&method, &CLIENT);
    }
    if let Some(request) = policy.get("request")
        && reader.object(&request, &places::AUTH_REQUEST)
        && let Some(encoding) = request.get("encoding")
    {
        reader.one_of(&encoding, &["application/x-www-form-urlencoded", "application/json"]);
    }
    if let Some(endpoints) = policy.get("endpoints") {
        reader.object(&endpoints, &places::AUTH_ENDPOINTS);
    }
    for field in ["issuers", "scopes", "audiences"] {
        if let Some(list) = policy.get(field) {
            reader.is_list(&list);
        }
    }
    for field in ["subject", "actor"] {
        if let Some(token) = policy.get(field) {
            reader.object(&token, &places::AUTH_TOKEN);
        }
    }
}
