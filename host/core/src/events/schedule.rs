//! Times of the day become events.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use nexus_definitions::Schedule;
use nexus_model::{AppName, AttributeValue, CloudEvent, EventData, Key, MissedRuns, Trigger, TriggerOn, sha256_hex};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio_util::sync::CancellationToken;

use super::{
    Events, PublishError,
    cron::{Due, due},
    deliver::CRON_TYPE,
};

/// Time between two looks at the clock.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The schedules of one application. Only who holds the application's lease runs them.
pub(super) struct Clock {
    events: Arc<Events>,
    app: AppName,
    timed: Vec<Timed>,
}

struct Timed {
    trigger: Trigger,
    schedule: Schedule,
    missed: MissedRuns,
    /// The mark of the last time that was dealt with; another for another schedule.
    mark: Key,
}

impl Clock {
    pub(super) fn new(events: Arc<Events>, app: &AppName, triggers: &[Trigger]) -> Self {
        let timed = triggers.iter().filter_map(|trigger| {
            let TriggerOn::Cron { cron, time_zone, missed } = &trigger.on else { return None };
            // Was checked when the definition was loaded.
            let schedule = Schedule::parse(cron, time_zone).ok()?;
            let hash = sha256_hex(format!("{cron}\n{time_zone}"));
            let mark = Key::of_app(app, "cron", format!("{}:{}", trigger.name, &hash[..16]));
            Some(Timed { trigger: trigger.clone(), schedule, missed: *missed, mark })
        });
        Self { timed: timed.collect(), app: app.clone(), events }
    }

    /// Looks at the clock until it is stopped.
    pub(super) async fn run(self, stop: CancellationToken) {
        while !self.timed.is_empty() {
            for timed in &self.timed {
                if let Err(error) = self.look(timed, OffsetDateTime::now_utc()).await {
                    tracing::warn!(app = %self.app, trigger = %timed.trigger.name, %error, "a time waits for the store");
                }
            }
            if !crate::start::wait(LOOK_EVERY, &stop).await {
                return;
            }
        }
    }

    /// Publishes the time that is due, then marks it. Ends the host in between, the time is published again with the same
    /// id, and has its effect once.
    async fn look(&self, timed: &Timed, now: OffsetDateTime) -> Result<(), PublishError> {
        let runtime = &self.events.parts.runtime;
        let stored = runtime.get(&timed.mark).await?;
        let Some(done) = stored.as_deref().and_then(read_mark) else {
            // Seen for the first time: what came before does not count.
            runtime.compare_and_set(&timed.mark, stored.as_deref(), mark(now), None).await?;
            return Ok(());
        };
        let time = match due(timed.schedule.latest_until(now), done, now, timed.missed) {
            Due::Nothing => return Ok(()),
            Due::Run(time) => {
                self.events.deliver(&Some(self.app.clone()), &event(&self.app, &timed.trigger, time)).await?;
                time
            }
            Due::Missed(time) => {
                tracing::warn!(app = %self.app, trigger = %timed.trigger.name, %time, "a time was missed");
                time
            }
        };
        runtime.compare_and_set(&timed.mark, stored.as_deref(), mark(time), None).await?;
        Ok(())
    }
}

fn mark(time: OffsetDateTime) -> Vec<u8> {
    time.unix_timestamp().to_string().into_bytes()
}

fn read_mark(mark: &[u8]) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(std::str::from_utf8(mark).ok()?.parse().ok()?).ok()
}

fn event(app: &AppName, trigger: &Trigger, time: OffsetDateTime) -> CloudEvent {
    let due = time.format(&Rfc3339).unwrap_or_else(|_| time.unix_timestamp().to_string());
    CloudEvent {
        id: due.clone(),
        source: format!("/v1/apps/{app}/triggers/{}", trigger.name),
        kind: CRON_TYPE.to_owned(),
        subject: Some(trigger.name.to_string()),
        time: Some(time),
        datacontenttype: Some("application/json".to_owned()),
        dataschema: None,
        extensions: BTreeMap::from([("partitionkey".to_owned(), AttributeValue::Text(trigger.name.to_string()))]),
        data: EventData::Json(serde_json::json!({ "due": due })),
    }
}
