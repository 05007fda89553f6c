//! Reads the triggers of `app.yaml`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use nexus_model::{
    AppName, EventFilter, MissedRuns, Operation, OperationName, SignatureScheme, Trigger, TriggerInput, TriggerOn,
    Verification,
};
use serde_json::Value;

use crate::{
    Schedule, ScheduleError, Surroundings,
    document::Document,
    duration,
    fault::{FaultCode, Faults, Finding, quoted},
    json_schema::{schema_validator, violations},
    nearest::{listed, nearest},
};

/// How far a signed time may be from now where the definition does not say; what Stripe's own libraries take.
const TOLERANCE: Duration = Duration::from_mins(5);

type Operations = BTreeMap<OperationName, Operation>;

/// The triggers, as far as they can be read. Whatever has the wrong shape is a fault already.
pub(crate) fn read(
    document: &Document,
    surroundings: Surroundings<'_>,
    operations: Option<&Operations>,
    faults: &mut Faults,
) -> Vec<Trigger> {
    let count = document.value.pointer("/spec/triggers").and_then(Value::as_array).map_or(0, Vec::len);
    let mut names = BTreeSet::new();
    let mut triggers = Vec::new();
    for number in 0..count {
        let at = format!("/spec/triggers/{number}");
        let Some(trigger) = (Reader { document, surroundings, operations, faults }).trigger(&at) else { continue };
        if names.insert(trigger.name.clone()) {
            triggers.push(trigger);
        } else {
            let message = format!("a second trigger is named {}", quoted(trigger.name.as_str()));
            let finding = Finding::new(FaultCode::DuplicateKey, message).expected("a `name` of its own");
            let place = if document.value.pointer(&format!("{at}/name")).is_some() { "name" } else { "operation" };
            faults.add(document.fault_at_value(&format!("{at}/{place}"), finding));
        }
    }
    triggers
}

struct Reader<'a> {
    document: &'a Document,
    surroundings: Surroundings<'a>,
    /// `None` where they could not be read.
    operations: Option<&'a Operations>,
    faults: &'a mut Faults,
}

impl Reader<'_> {
    fn trigger(&mut self, at: &str) -> Option<Trigger> {
        let on = self.on(&format!("{at}/on"));
        let operation = self.operation(&format!("{at}/operation"));
        let input = self.input(&format!("{at}/input"), operation.as_ref());
        let name = self.text(&format!("{at}/name")).map_or_else(|| operation.clone(), |name| name.parse().ok());
        Some(Trigger { name: name?, on: on?, operation: operation?, input: input? })
    }

    fn value(&self, pointer: &str) -> Option<&Value> {
        self.document.value.pointer(pointer)
    }

    fn text(&self, pointer: &str) -> Option<String> {
        self.value(pointer)?.as_str().map(str::to_owned)
    }

    fn fault_at_value(&mut self, pointer: &str, finding: Finding) {
        self.faults.add(self.document.fault_at_value(pointer, finding));
    }

    fn fault_at_key(&mut self, pointer: &str, finding: Finding) {
        self.faults.add(self.document.fault_at_key(pointer, finding));
    }

    fn operation(&mut self, at: &str) -> Option<OperationName> {
        let name: OperationName = self.text(at)?.parse().ok()?;
        let Some(names) = self.value("/spec/operations").and_then(Value::as_object) else { return Some(name) };
        if !names.contains_key(name.as_str()) {
            let message = format!("the application has no operation {}", quoted(name.as_str()));
            let finding = Finding::new(FaultCode::UnknownOperation, message)
                .expected(listed(names.keys().map(String::as_str)))
                .nearest(nearest(name.as_str(), names.keys().map(String::as_str)));
            self.fault_at_value(at, finding);
        }
        Some(name)
    }

    fn on(&mut self, at: &str) -> Option<TriggerOn> {
        const KINDS: [&str; 3] = ["event", "cron", "webhook"];
        const COMPANIONS: [(&str, &str); 4] =
            [("app", "event"), ("filter", "event"), ("time_zone", "cron"), ("missed", "cron")];
        let fields = self.value(at)?.as_object()?;
        let given: Vec<&str> = KINDS.into_iter().filter(|kind| fields.contains_key(*kind)).collect();
        let meant = fields.keys().any(|field| nearest(field, KINDS).is_some());
        let lonely = COMPANIONS.into_iter().filter(|(field, kind)| fields.contains_key(*field) && given != [*kind]);
        for (field, kind) in lonely.collect::<Vec<_>>() {
            let message = format!("{} goes with {}", quoted(field), quoted(kind));
            self.fault_at_key(&format!("{at}/{field}"), Finding::new(FaultCode::BadValue, message));
        }
        match given.as_slice() {
            ["event"] => {
                let app = self.emitter(&format!("{at}/app"));
                Some(TriggerOn::Event { app, filter: self.event(at)? })
            }
            ["cron"] => self.cron(at),
            ["webhook"] => Some(TriggerOn::Webhook(self.verification(&format!("{at}/webhook/verify"))?)),
            [] if meant => None,
            [] => {
                let finding = Finding::new(FaultCode::MissingField, "the trigger waits for nothing");
                self.fault_at_key(at, finding.expected(listed(KINDS)));
                None
            }
            _ => {
                let message = format!("{} exclude each other", listed(given.iter().copied()).replace(" or ", " and "));
                self.fault_at_key(at, Finding::new(FaultCode::BadValue, message).expected("one of them"));
                None
            }
        }
    }

    /// Whose events are meant; `None` for the application's own, also where it is named. That nobody knows the other is
    /// a fault, what it permits is not: that is asked when an event comes.
    fn emitter(&mut self, at: &str) -> Option<AppName> {
        let name: AppName = self.text(at)?.parse().ok()?;
        if self.text("/metadata/name").is_some_and(|own| own == name.as_str()) {
            return None;
        }
        if let Some(finding) = self.surroundings.unknown_app(&name) {
            self.fault_at_value(at, finding);
        }
        Some(name)
    }

    fn event(&self, at: &str) -> Option<EventFilter> {
        let kind = self.text(&format!("{at}/event"))?;
        let attribute = "type".to_owned();
        let of_type = match kind.strip_suffix('*') {
            Some(prefix) => EventFilter::Prefix { attribute, value: prefix.to_owned() },
            None => EventFilter::Exact { attribute, value: kind },
        };
        match self.value(&format!("{at}/filter")) {
            None => Some(of_type),
            Some(filter) => Some(EventFilter::All(vec![of_type, read_filter(filter)?])),
        }
    }

    fn cron(&mut self, at: &str) -> Option<TriggerOn> {
        let cron = self.text(&format!("{at}/cron"))?;
        let time_zone = self.text(&format!("{at}/time_zone")).unwrap_or_else(|| "UTC".to_owned());
        let missed = match self.text(&format!("{at}/missed")).as_deref() {
            Some("run_once") => MissedRuns::RunOnce,
            _ => MissedRuns::Skip,
        };
        let Some((place, finding)) = cron_fault(&cron, &time_zone) else {
            return Some(TriggerOn::Cron { cron, time_zone, missed });
        };
        self.fault_at_value(&format!("{at}/{place}"), finding);
        None
    }

    fn verification(&mut self, at: &str) -> Option<Verification> {
        let scheme = self.text(&format!("{at}/scheme"))?;
        let secret = self.text(&format!("{at}/secret"))?;
        let takes: &[&str] = match scheme.as_str() {
            "hmac_sha256" => &["header", "prefix", "id_header"],
            "stripe" => &["tolerance"],
            _ => &[],
        };
        for field in ["header", "prefix", "id_header", "tolerance"] {
            if !takes.contains(&field) && self.value(&format!("{at}/{field}")).is_some() {
                let message = format!("{} does not go with the scheme {}", quoted(field), quoted(&scheme));
                self.fault_at_key(&format!("{at}/{field}"), Finding::new(FaultCode::BadValue, message));
            }
        }
        let lower = |text: String| text.to_ascii_lowercase();
        let scheme = match scheme.as_str() {
            "github" => SignatureScheme::GitHub,
            "stripe" => SignatureScheme::Stripe { tolerance: self.tolerance(&format!("{at}/tolerance"))? },
            "hmac_sha256" => {
                let Some(header) = self.text(&format!("{at}/header")).map(lower) else {
                    let finding = Finding::new(FaultCode::MissingField, "the field `header` is missing");
                    self.fault_at_value(at, finding.expected("`header`: the header field that holds the signature"));
                    return None;
                };
                let prefix = self.text(&format!("{at}/prefix")).unwrap_or_default();
                SignatureScheme::HmacSha256 {
                    header,
                    prefix,
                    id_header: self.text(&format!("{at}/id_header")).map(lower),
                }
            }
            _ => return None,
        };
        Some(Verification { scheme, secret })
    }

    fn tolerance(&mut self, at: &str) -> Option<Duration> {
        match self.text(at).map(|text| duration::parse(&text)) {
            None => Some(TOLERANCE),
            Some(read) => match read? {
                Ok(tolerance) => Some(tolerance),
                Err(finding) => {
                    self.fault_at_value(at, finding);
                    None
                }
            },
        }
    }

    fn input(&mut self, at: &str, operation: Option<&OperationName>) -> Option<TriggerInput> {
        let value = match self.value(at) {
            None => return Some(TriggerInput::Data),
            Some(Value::String(word)) if word == "data" => return Some(TriggerInput::Data),
            Some(Value::String(word)) if word == "event" => return Some(TriggerInput::Event),
            Some(given) => given.get("value")?.clone(),
        };
        let operation = operation.and_then(|name| self.operations?.get(name));
        let wrong = operation
            .and_then(|operation| schema_validator(&operation.input).ok())
            .map_or_else(Vec::new, |schema| violations(&schema, &value));
        for violation in &wrong {
            let message = format!("the input breaks the operation's schema: {}", violation.message);
            self.fault_at_value(&format!("{at}/value{}", violation.path), Finding::new(FaultCode::BadValue, message));
        }
        Some(TriggerInput::Value(value))
    }
}

/// What is wrong with a cron expression in a time zone, and with which of the two.
pub(crate) fn cron_fault(cron: &str, time_zone: &str) -> Option<(&'static str, Finding)> {
    match Schedule::parse(cron, time_zone) {
        Ok(_) => None,
        Err(ScheduleError::TimeZone { name, nearest }) => {
            let message = format!("there is no time zone {}", quoted(&name));
            let finding = Finding::new(FaultCode::BadSchedule, message);
            let expected = "a name of the IANA database, as `Europe/Berlin`";
            Some(("time_zone", finding.expected(expected).nearest(nearest)))
        }
        Err(error) => {
            let message = format!("{} is not a time: {error}", quoted(cron));
            let expected = "minute, hour, day of month, month, day of week, as `0 8 * * 1-5`";
            Some(("cron", Finding::new(FaultCode::BadSchedule, message).expected(expected)))
        }
    }
}

/// A filter; `None` where its shape is a fault already.
fn read_filter(value: &Value) -> Option<EventFilter> {
    let mut filters = Vec::new();
    for (dialect, of) in value.as_object()? {
        let many = |value: &Value| value.as_array()?.iter().map(read_filter).collect::<Option<Vec<_>>>();
        match dialect.as_str() {
            "all" => filters.push(EventFilter::All(many(of)?)),
            "any" => filters.push(EventFilter::Any(many(of)?)),
            "not" => filters.push(EventFilter::Not(Box::new(read_filter(of)?))),
            dialect => {
                for (attribute, text) in of.as_object()? {
                    filters.push(comparison(dialect, attribute.clone(), text.as_str()?.to_owned())?);
                }
            }
        }
    }
    match filters.len() {
        0 | 1 => filters.pop(),
        _ => Some(EventFilter::All(filters)),
    }
}

fn comparison(dialect: &str, attribute: String, value: String) -> Option<EventFilter> {
    match dialect {
        "exact" => Some(EventFilter::Exact { attribute, value }),
        "prefix" => Some(EventFilter::Prefix { attribute, value }),
        "suffix" => Some(EventFilter::Suffix { attribute, value }),
        _ => None,
    }
}
