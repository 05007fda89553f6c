//! Signed requests from outside.

use std::collections::BTreeMap;

use nexus_model::{CloudEvent, TriggerOn};
use secrecy::ExposeSecret as _;
use time::OffsetDateTime;

use super::{Events, PublishError, SignatureError, check_size, deliver::WEBHOOK_TYPE, effect, webhook};

/// A request to a webhook.
pub struct HookRequest<'a> {
    /// The application's name, as the caller wrote it.
    pub app: &'a str,
    /// The trigger's name, as the caller wrote it.
    pub trigger: &'a str,
    /// A header field by its name in lower case.
    pub header: &'a (dyn Fn(&str) -> Option<String> + Sync),
    /// The body as it came.
    pub body: &'a [u8],
}

/// Why a request to a webhook was not taken.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HookError {
    /// There is no such webhook.
    #[error("there is no such webhook")]
    Unknown,
    /// The secret that the definition names is not there.
    #[error("the secret of this webhook is not set")]
    NoSecret,
    /// The request is not genuine.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// The event that it became was not taken.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

impl Events {
    /// Takes a signed request: its event is durable when this returns. A request that is sent again has its effect once,
    /// for a week. Returns the event's id.
    pub async fn hook(&self, request: HookRequest<'_>) -> Result<String, HookError> {
        let application = self.parts.registry.application(request.app).ok_or(HookError::Unknown)?;
        let app = &application.app.name;
        let named = application.app.triggers.iter().find(|trigger| trigger.name.as_str() == request.trigger);
        let Some((trigger, TriggerOn::Webhook(verification))) = named.map(|trigger| (trigger, &trigger.on)) else {
            return Err(HookError::Unknown);
        };
        let secret = (self.parts.secrets)(app, &verification.secret).ok_or_else(|| {
            tracing::error!(%app, trigger = %trigger.name, secret = verification.secret, "the secret is not set");
            HookError::NoSecret
        })?;
        let now = OffsetDateTime::now_utc();
        let id = {
            let signed = webhook::Signed { header: request.header, body: request.body, now: now.unix_timestamp() };
            webhook::verify(&verification.scheme, secret.expose_secret().as_bytes(), &signed)?
        };
        let event = CloudEvent {
            id: id.clone(),
            source: format!("/v1/hooks/{app}/{}", trigger.name),
            kind: WEBHOOK_TYPE.to_owned(),
            subject: Some(trigger.name.to_string()),
            time: Some(now),
            datacontenttype: None,
            dataschema: None,
            extensions: BTreeMap::from([(
                // Requests come in no order that would have to be kept.
                "partitionkey".to_owned(),
                nexus_model::AttributeValue::Text(id.clone()),
            )]),
            data: effect::data_of_body(request.body),
        };
        check_size(&event)?;
        self.deliver(&Some(app.clone()), &event).await?;
        Ok(id)
    }
}
