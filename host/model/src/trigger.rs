//! What calls an operation without a caller: events, the clock, and requests from outside.

use std::time::Duration;

use serde_json::Value;

use crate::{AppName, EventFilter, OperationName};

/// A trigger of an application: when something happens, an operation is called.
#[derive(Debug, Clone, PartialEq)]
pub struct Trigger {
    /// Its name within the application; the operation's where none is given.
    pub name: OperationName,
    /// What it waits for.
    pub on: TriggerOn,
    /// What is called.
    pub operation: OperationName,
    /// What it is called with.
    pub input: TriggerInput,
}

/// What a trigger waits for.
#[derive(Debug, Clone, PartialEq)]
pub enum TriggerOn {
    /// An event.
    Event {
        /// The application whose events these are, never the trigger's own; the trigger's own where `None`.
        app: Option<AppName>,
        /// Which of them.
        filter: EventFilter,
    },
    /// A time of the day.
    Cron {
        /// Five fields as cron has them.
        cron: String,
        /// A zone of the IANA time zone database.
        time_zone: String,
        /// What happens to times that passed while nobody looked.
        missed: MissedRuns,
    },
    /// A signed request to `POST /v1/hooks/{app}/{name}`.
    Webhook(Verification),
}

impl TriggerOn {
    /// The word used in JSON.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Event { .. } => "event",
            Self::Cron { .. } => "cron",
            Self::Webhook(_) => "webhook",
        }
    }
}

/// What happens to times that passed while nobody looked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissedRuns {
    /// Nothing.
    #[default]
    Skip,
    /// The last of them is made up for.
    RunOnce,
}

/// How it is shown that a request comes from whom it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verification {
    /// Who signs, and how.
    pub scheme: SignatureScheme,
    /// The name of the secret that both sides know.
    pub secret: String,
}

/// How a request is signed. All are HMAC-SHA256 over the body as it came, in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignatureScheme {
    /// The signature stands in a header field, after `prefix`.
    HmacSha256 {
        /// The field's name, in lower case.
        header: String,
        /// What stands before the signature.
        prefix: String,
        /// The field that names the request, so that one sent again is known; else the body does.
        id_header: Option<String>,
    },
    /// As GitHub does: `X-Hub-Signature-256: sha256=…`.
    GitHub,
    /// As Stripe does: `Stripe-Signature: t=…,v1=…`, the time signed with the body.
    Stripe {
        /// How far the time may be from now.
        tolerance: Duration,
    },
}

/// What an operation is called with.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum TriggerInput {
    /// The event's data.
    #[default]
    Data,
    /// The whole event in the JSON format of `CloudEvents`.
    Event,
    /// A list with the whole event in it, as the workflow language has it.
    Events,
    /// The same value each time.
    Value(Value),
}
