//! The triggers that a workflow's `schedule` is.

use std::time::Duration;

use nexus_model::{EventFilter, MissedRuns, OperationName, Trigger, TriggerInput, TriggerOn};
use nexus_workflow::{Duration as Span, EventFilter as Wanted, Matching, Schedule, Strategy, Template};
use serde_json::Value;

use super::Read;
use crate::{
    fault::{FaultCode, Faults, Finding, quoted},
    triggers::cron_fault,
};

const AT: &str = "/schedule";
const ZONE: &str = "UTC";

/// The triggers that the schedules of workflows are, each beside those that the application has already.
pub(crate) fn triggers(workflows: &[Read], known: &[Trigger], faults: &mut Faults) -> Vec<Trigger> {
    let mut triggers: Vec<Trigger> = Vec::new();
    for read in workflows {
        let Some(schedule) = &read.workflow.schedule else { continue };
        let Some((on, input)) = (Reader { read, faults }).schedule(schedule) else { continue };
        let name = format!("{}-schedule", read.operation);
        let Ok(name) = name.parse::<OperationName>() else {
            let finding = Finding::new(FaultCode::BadName, format!("the trigger's name {} is too long", quoted(&name)));
            faults.add(read.document.fault_at_key(AT, finding.expected("a shorter name of the operation")));
            continue;
        };
        if known.iter().chain(&triggers).any(|trigger| trigger.name == name) {
            let message = format!("another trigger is named {}, as the schedule's is", quoted(name.as_str()));
            let finding = Finding::new(FaultCode::DuplicateKey, message).expected("another name of that one");
            faults.add(read.document.fault_at_key(AT, finding));
            continue;
        }
        triggers.push(Trigger { name, on, operation: read.operation.clone(), input });
    }
    triggers
}

struct Reader<'a> {
    read: &'a Read,
    faults: &'a mut Faults,
}

impl Reader<'_> {
    fn refuse<T>(&mut self, field: &str, message: &str, expected: &str) -> Option<T> {
        let finding = Finding::new(FaultCode::Unsupported, message).expected(expected);
        self.faults.add(self.read.document.fault_at_key(&format!("{AT}{field}"), finding));
        None
    }

    fn schedule(&mut self, schedule: &Schedule) -> Option<(TriggerOn, TriggerInput)> {
        let Schedule { every, cron, after, on } = schedule;
        if after.is_some() {
            let expected = "`cron`, or a task `wait` in a workflow that runs on";
            return self.refuse("/after", "a time after the last run is not supported", expected);
        }
        match (every, cron, on) {
            (Some(every), None, None) => {
                let cron = match every {
                    Span::Fixed(every) => as_cron(*every),
                    Span::Computed(_) => None,
                };
                match cron {
                    Some(cron) => Some((at_times(cron), TriggerInput::Data)),
                    None => self.refuse(
                        "/every",
                        "only times that come again at the same minutes are supported",
                        "minutes that divide an hour, hours that divide a day, a day, or a `cron`",
                    ),
                }
            }
            (None, Some(cron), None) => match cron_fault(cron, ZONE) {
                None => Some((at_times(cron.clone()), TriggerInput::Data)),
                Some((_, finding)) => {
                    self.faults.add(self.read.document.fault_at_value(&format!("{AT}/cron"), finding));
                    None
                }
            },
            (None, None, Some(on)) => {
                let filter = self.strategy(on)?;
                Some((TriggerOn::Event { app: None, filter }, TriggerInput::Events))
            }
            _ => self.refuse("", "a workflow has one schedule", "`cron`, `every` or `on`; others in `spec.triggers`"),
        }
    }

    fn strategy(&mut self, on: &Strategy) -> Option<EventFilter> {
        match on {
            Strategy::One(wanted) => self.filter("/on/one", wanted),
            Strategy::All(all) => match all.as_slice() {
                [only] => self.filter("/on/all/0", only),
                _ => self.refuse(
                    "/on/all",
                    "events that must all come are not supported: each run begins with one event",
                    "`one` or `any`, and a task `listen` for the others",
                ),
            },
            Strategy::Any(_, Some(_)) => self.refuse(
                "/on/until",
                "`until` is not supported: each run begins with one event",
                "a task `listen` with `until`",
            ),
            Strategy::Any(any, None) if any.is_empty() => {
                self.refuse("/on/any", "any event at all would be those of the workflow too", "at least one filter")
            }
            Strategy::Any(any, None) => {
                let filters = any.iter().enumerate();
                let filters = filters.map(|(number, wanted)| self.filter(&format!("/on/any/{number}"), wanted));
                filters.collect::<Option<_>>().map(EventFilter::Any)
            }
        }
    }

    fn filter(&mut self, at: &str, wanted: &Wanted) -> Option<EventFilter> {
        if !wanted.correlate.is_empty() {
            let message = "there are no other events to correlate with";
            return self.refuse(&format!("{at}/correlate"), message, "`correlate` in a task `listen`");
        }
        let mut filters = Vec::new();
        for (attribute, matching) in &wanted.with {
            let filter = match matching {
                _ if attribute == "data" => None,
                Matching::Text(text, _) => of_text(attribute, text),
                Matching::Value(Template::Plain(value @ (Value::Bool(_) | Value::Number(_)))) => {
                    Some(EventFilter::Exact { attribute: attribute.clone(), value: value.to_string() })
                }
                Matching::Value(_) | Matching::Holds(_) => None,
            };
            let Some(filter) = filter else {
                return self.refuse(
                    &format!("{at}/with/{attribute}"),
                    "a schedule compares attributes with texts, whole, or with `.*` at one end",
                    "such a text, or an `if` at the first task",
                );
            };
            filters.push(filter);
        }
        Some(EventFilter::All(filters))
    }
}

fn at_times(cron: String) -> TriggerOn {
    TriggerOn::Cron { cron, time_zone: ZONE.to_owned(), missed: MissedRuns::Skip }
}

/// The cron expression that comes as often, if there is one.
fn as_cron(every: Duration) -> Option<String> {
    const HOUR: u64 = 60;
    const DAY: u64 = 24;
    if every.subsec_nanos() != 0 || !every.as_secs().is_multiple_of(60) {
        return None;
    }
    let minutes = every.as_secs() / 60;
    match (minutes, minutes / HOUR) {
        (0, _) => None,
        (1, _) => Some("* * * * *".to_owned()),
        (minutes, 0) => HOUR.is_multiple_of(minutes).then(|| format!("*/{minutes} * * * *")),
        (minutes, _) if !minutes.is_multiple_of(HOUR) => None,
        (_, 1) => Some("0 * * * *".to_owned()),
        (_, DAY) => Some("0 0 * * *".to_owned()),
        (_, hours) => (hours < DAY && DAY.is_multiple_of(hours)).then(|| format!("0 */{hours} * * *")),
    }
}

/// A text of the language, which may be a regular expression, as a filter.
fn of_text(attribute: &str, text: &str) -> Option<EventFilter> {
    let attribute = attribute.to_owned();
    if let Some(value) = plain(text) {
        return Some(EventFilter::Exact { attribute, value });
    }
    if let Some(value) = text.strip_suffix(".*").and_then(plain).filter(|begin| !begin.is_empty()) {
        return Some(EventFilter::Prefix { attribute, value });
    }
    let value = text.strip_prefix(".*").and_then(plain).filter(|end| !end.is_empty())?;
    Some(EventFilter::Suffix { attribute, value })
}

/// The text that a regular expression stands for. A dot is read as what it looks like.
fn plain(pattern: &str) -> Option<String> {
    let mut text = String::new();
    let mut characters = pattern.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => text.push(characters.next().filter(char::is_ascii_punctuation)?),
            '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '|' | '^' | '$' => return None,
            other => text.push(other),
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_that_come_again_at_the_same_minutes_are_cron_expressions() {
        for (minutes, cron) in [
            (1, Some("* * * * *")),
            (15, Some("*/15 * * * *")),
            (7, None),
            (60, Some("0 * * * *")),
            (90, None),
            (360, Some("0 */6 * * *")),
            (300, None),
            (1440, Some("0 0 * * *")),
            (2880, None),
        ] {
            assert_eq!(as_cron(Duration::from_mins(minutes)).as_deref(), cron, "{minutes}");
        }
        assert_eq!(as_cron(Duration::from_secs(90)), None);
        assert_eq!(as_cron(Duration::ZERO), None);
    }

    #[test]
    fn texts_are_filters_where_they_are_simple() {
        let is = |text: &str, wanted: Option<EventFilter>| assert_eq!(of_text("type", text), wanted, "{text}");
        let (attribute, value) = (|| "type".to_owned(), |text: &str| text.to_owned());
        is("order.placed", Some(EventFilter::Exact { attribute: attribute(), value: value("order.placed") }));
        is(r"order\.placed", Some(EventFilter::Exact { attribute: attribute(), value: value("order.placed") }));
        is(r"order\..*", Some(EventFilter::Prefix { attribute: attribute(), value: value("order.") }));
        is(".*.placed", Some(EventFilter::Suffix { attribute: attribute(), value: value(".placed") }));
        for other in [".*", "order.(a|b)", r"\d", "order.*.placed", "[a]"] {
            is(other, None);
        }
    }
}
