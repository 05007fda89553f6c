//! Whether a request comes from whom it should. A decision on values alone.
//!
//! GitHub: <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>. Stripe:
//! <https://docs.stripe.com/webhooks?verify=verify-manually>.

use std::time::Duration;

use hmac::{Hmac, Mac};
use nexus_model::{SignatureScheme, sha256_hex};
use serde_json::Value;
use sha2::Sha256;

/// The most signatures of one request that are looked at: while secrets are rotated there are two.
const MOST_SIGNATURES: usize = 8;
/// The longest name of a request that is taken from it.
const LONGEST_ID: usize = 200;

/// Why a request was not taken for genuine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// There is no signature, or it is not of the scheme's form.
    #[error("the signature is missing or malformed")]
    Malformed,
    /// The signature is not of this body and this secret.
    #[error("the signature does not match")]
    Mismatch,
    /// The signed time is too far from now.
    #[error("the signed time is too far from now")]
    Stale,
}

/// A request, as far as a signature is about it.
pub(crate) struct Signed<'a> {
    /// A header field by its name in lower case.
    pub(crate) header: &'a dyn Fn(&str) -> Option<String>,
    /// The body as it came.
    pub(crate) body: &'a [u8],
    /// Now, in seconds since 1970.
    pub(crate) now: i64,
}

/// Checks a request and gives it a name that is the same when it is sent again.
pub(crate) fn verify(scheme: &SignatureScheme, secret: &[u8], request: &Signed<'_>) -> Result<String, SignatureError> {
    let header = |name: &str| (request.header)(name).ok_or(SignatureError::Malformed);
    let body = [request.body];
    match scheme {
        SignatureScheme::GitHub => {
            check(&header("x-hub-signature-256")?, "sha256=", secret, &body)?;
            Ok(named(request, "x-github-delivery"))
        }
        SignatureScheme::HmacSha256 { header: field, prefix, id_header } => {
            check(&header(field)?, prefix, secret, &body)?;
            Ok(id_header.as_deref().map_or_else(|| sha256_hex(request.body), |field| named(request, field)))
        }
        SignatureScheme::Stripe { tolerance } => {
            stripe(&header("stripe-signature")?, *tolerance, secret, request)?;
            let body: Option<Value> = serde_json::from_slice(request.body).ok();
            let id = body.as_ref().and_then(|body| body.get("id")?.as_str()).filter(|id| is_name(id));
            Ok(id.map_or_else(|| sha256_hex(request.body), str::to_owned))
        }
    }
}

/// What a field calls the request; else what is in it names it.
fn named(request: &Signed<'_>, field: &str) -> String {
    (request.header)(field).filter(|id| is_name(id)).unwrap_or_else(|| sha256_hex(request.body))
}

fn is_name(id: &str) -> bool {
    (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

fn check(signature: &str, prefix: &str, secret: &[u8], parts: &[&[u8]]) -> Result<(), SignatureError> {
    let digits = signature.trim().strip_prefix(prefix).ok_or(SignatureError::Malformed)?;
    let claimed = hex::decode(digits).map_err(|_| SignatureError::Malformed)?;
    // A key of any length; comparing takes the same time wherever the two differ.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).map_err(|_| SignatureError::Mismatch)?;
    for part in parts {
        mac.update(part);
    }
    mac.verify_slice(&claimed).map_err(|_| SignatureError::Mismatch)
}

/// `t=…,v1=…[,v1=…]`: one of the signatures is of the time, a full stop and the body.
fn stripe(field: &str, tolerance: Duration, secret: &[u8], request: &Signed<'_>) -> Result<(), SignatureError> {
    let parts = || field.split(',').filter_map(|part| part.trim().split_once('='));
    let stamp = parts().find(|(name, _)| *name == "t").map(|(_, stamp)| stamp).ok_or(SignatureError::Malformed)?;
    let signed_at: i64 = stamp.parse().map_err(|_| SignatureError::Malformed)?;
    let mut outcome = Err(SignatureError::Malformed);
    for (_, signature) in parts().filter(|(name, _)| *name == "v1").take(MOST_SIGNATURES) {
        outcome = check(signature, "", secret, &[stamp.as_bytes(), b".", request.body]);
        if outcome.is_ok() {
            break;
        }
    }
    outcome?;
    if request.now.abs_diff(signed_at) > tolerance.as_secs() {
        return Err(SignatureError::Stale);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{SignatureError, SignatureScheme, Signed, check, verify};

    const NOW: i64 = 1_614_556_800;

    fn ask(
        scheme: &SignatureScheme,
        secret: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> Result<String, SignatureError> {
        let header = |name: &str| fields.iter().find(|(field, _)| *field == name).map(|(_, value)| (*value).to_owned());
        verify(scheme, secret.as_bytes(), &Signed { header: &header, body, now: NOW })
    }

    /// The values for testing of GitHub's documentation.
    const GITHUB: (&str, &[u8], &str) = (
        "It's a Secret to Everybody",
        b"Hello, World!",
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
    );

    #[test]
    fn github_as_documented() {
        let (secret, body, signature) = GITHUB;
        let fields = [("x-hub-signature-256", signature), ("x-github-delivery", "72d3162e")];
        assert_eq!(ask(&SignatureScheme::GitHub, secret, &fields, body).as_deref(), Ok("72d3162e"));
        let unnamed = ask(&SignatureScheme::GitHub, secret, &fields[..1], body).unwrap();
        assert_eq!(unnamed.len(), 64, "the body's hash names it");
        let mismatch = Err(SignatureError::Mismatch);
        assert_eq!(ask(&SignatureScheme::GitHub, "another", &fields, body), mismatch);
        assert_eq!(ask(&SignatureScheme::GitHub, secret, &fields, b"Hello, World?"), mismatch);
        for bad in ["", "sha1=757107", "757107ea", "sha256=xyz", "sha256="] {
            let refused = ask(&SignatureScheme::GitHub, secret, &[("x-hub-signature-256", bad)], body);
            assert!(refused.is_err(), "{bad}");
        }
        assert_eq!(ask(&SignatureScheme::GitHub, secret, &[], body), Err(SignatureError::Malformed));
    }

    #[test]
    fn a_header_of_ones_own() {
        let (secret, body, signature) = GITHUB;
        let scheme = SignatureScheme::HmacSha256 {
            header: "x-signature".to_owned(),
            prefix: "sha256=".to_owned(),
            id_header: Some("x-request-id".to_owned()),
        };
        let fields = [("x-signature", signature), ("x-request-id", "r-1")];
        assert_eq!(ask(&scheme, secret, &fields, body).as_deref(), Ok("r-1"));
    }

    #[test]
    fn the_mac_is_that_of_the_standard() {
        // RFC 4231, test case 2.
        let tag = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(check(tag, "", b"Jefe", &[b"what do ya want ", b"for nothing?"]), Ok(()));
    }

    /// Stripe documents the form and the calculation, but no secret with its signature: this one is of `openssl dgst
    /// -sha256 -hmac whsec_test_secret` over `1614556800.{"id":"evt_1","object":"event"}`.
    #[test]
    fn stripe_as_documented() {
        const BODY: &[u8] = br#"{"id":"evt_1","object":"event"}"#;
        const SIGNATURE: &str = "7a0685c65fcda9f1dd585b6eaa74ead6d954e5895ecc08263afbd424c5661b46";
        let stripe = SignatureScheme::Stripe { tolerance: Duration::from_mins(5) };
        let asked = |field: &str, body: &[u8]| ask(&stripe, "whsec_test_secret", &[("stripe-signature", field)], body);
        let other = "0".repeat(64);
        assert_eq!(asked(&format!("t={NOW},v1={SIGNATURE},v0={other}"), BODY).as_deref(), Ok("evt_1"));
        assert_eq!(asked(&format!("t={NOW},v1={other},v1={SIGNATURE}"), BODY).as_deref(), Ok("evt_1"), "rotation");
        assert_eq!(asked(&format!("t={NOW},v0={SIGNATURE}"), BODY), Err(SignatureError::Malformed), "no downgrade");
        assert_eq!(asked(&format!("t={},v1={SIGNATURE}", NOW + 1), BODY), Err(SignatureError::Mismatch));
        assert_eq!(asked(&format!("v1={SIGNATURE}"), BODY), Err(SignatureError::Malformed));
        for (now, outcome) in [(NOW + 300, true), (NOW + 301, false), (NOW - 300, true), (NOW - 301, false)] {
            let field = format!("t={NOW},v1={SIGNATURE}");
            let header = |name: &str| (name == "stripe-signature").then(|| field.clone());
            let asked = verify(&stripe, b"whsec_test_secret", &Signed { header: &header, body: BODY, now });
            assert_eq!(asked.is_ok(), outcome, "{now}");
        }
    }
}
