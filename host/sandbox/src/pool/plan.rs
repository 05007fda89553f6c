//! What a pool should do next: a pure function of what it has.

use std::time::Duration;

use super::PoolSettings;

/// A sandbox of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Its number in the pool.
    pub id: u64,
    /// How far it is.
    pub phase: Phase,
    /// Slots of it that are taken.
    pub load: usize,
}

/// How far a sandbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It has been started, and serves nobody yet.
    Starting,
    /// It serves. With no load, it has been idle since this time.
    Ready {
        /// Since when, as time since the pool began.
        idle_since: Duration,
    },
    /// It gets no new work, and ends.
    Ending,
}

/// All that a plan looks at. Times are since the pool began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolState {
    /// The sandboxes.
    pub members: Vec<Member>,
    /// How many wait for a slot.
    pub waiting: usize,
    /// Since when the first of them waits.
    pub waiting_since: Option<Duration>,
    /// Before this time nothing is started: starts have failed.
    pub not_before: Duration,
}

/// A step of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Start another sandbox.
    Start,
    /// End this one, which has no load.
    Stop(u64),
}

/// What to do now. Never are more sandboxes started than `max` allows, counting those that end; never is one stopped that has
/// load, nor one that `min` or `spare` needs. A plan that was carried out is followed by an empty one.
pub fn plan(now: Duration, state: &PoolState, settings: &PoolSettings) -> Vec<Action> {
    let starts = starts(now, state, settings);
    if starts > 0 {
        return vec![Action::Start; starts];
    }
    stops(now, state, settings).map(Action::Stop).collect()
}

fn starts(now: Duration, state: &PoolState, settings: &PoolSettings) -> usize {
    if now < state.not_before {
        return 0;
    }
    let count = |wanted: fn(&Member) -> bool| state.members.iter().filter(|member| wanted(member)).count();
    let serving = count(|member| member.phase != Phase::Ending);
    let starting = count(|member| member.phase == Phase::Starting);
    let free = count(|member| member.phase != Phase::Ending && member.load == 0);
    // Nobody is made to wait for a queue to become long when nothing could ever serve it.
    let late = state.waiting_since.is_some_and(|since| serving == 0 || now.saturating_sub(since) >= settings.queue);
    let for_queue = if late { state.waiting.div_ceil(settings.per_sandbox.max(1)).saturating_sub(starting) } else { 0 };
    let wanted = for_queue.max(settings.spare.saturating_sub(free)).max(settings.min.saturating_sub(serving));
    wanted.min(settings.max.saturating_sub(state.members.len()))
}

/// Those that have been idle longest go first.
fn stops(now: Duration, state: &PoolState, settings: &PoolSettings) -> impl Iterator<Item = u64> {
    let serving = state.members.iter().filter(|member| member.phase != Phase::Ending).count();
    let free = state.members.iter().filter(|member| member.phase != Phase::Ending && member.load == 0).count();
    let needed = settings.min.min(settings.max);
    let over = serving.saturating_sub(settings.max);
    let mut idle: Vec<_> =
        state.members.iter().filter_map(|member| idle(member).map(|since| (since, member.id))).collect();
    idle.sort_unstable();
    let most = if state.waiting > 0 {
        over
    } else {
        serving.saturating_sub(needed).min(free.saturating_sub(settings.spare)).max(over)
    };
    let long_enough =
        move |(place, since): (usize, Duration), limit: Duration| place < over || now.saturating_sub(since) >= limit;
    let limit = settings.idle;
    let chosen = idle.into_iter().take(most).enumerate();
    chosen.filter(move |(place, (since, _))| long_enough((*place, *since), limit)).map(|(_, (_, id))| id)
}

fn idle(member: &Member) -> Option<Duration> {
    match member.phase {
        Phase::Ready { idle_since } if member.load == 0 => Some(idle_since),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings() -> impl Strategy<Value = PoolSettings> {
        (0_usize..6, 0_usize..8, 0_usize..4, 1_usize..5, 0_u64..20, 0_u64..20).prop_map(
            |(min, max, spare, per_sandbox, queue, idle)| PoolSettings {
                min,
                max,
                spare,
                per_sandbox,
                queue: Duration::from_secs(queue),
                idle: Duration::from_secs(idle),
                ..PoolSettings::default()
            },
        )
    }

    fn state() -> impl Strategy<Value = PoolState> {
        let phase = prop_oneof![
            Just(Phase::Starting),
            Just(Phase::Ending),
            (0_u64..60).prop_map(|idle| Phase::Ready { idle_since: Duration::from_secs(idle) }),
        ];
        let members = prop::collection::vec((phase, 0_usize..4), 0..10);
        (members, 0_usize..12, 0_u64..60, 0_u64..80).prop_map(|(members, waiting, since, not_before)| PoolState {
            members: (0..)
                .zip(members)
                .map(|(id, (phase, load))| Member { id, phase, load: if phase == Phase::Starting { 0 } else { load } })
                .collect(),
            waiting,
            waiting_since: (waiting > 0).then_some(Duration::from_secs(since)),
            not_before: Duration::from_secs(not_before),
        })
    }

    /// What a pool has when it has carried out a plan.
    fn carried_out(state: &PoolState, actions: &[Action]) -> PoolState {
        let mut after = state.clone();
        for (id, action) in (100..).zip(actions) {
            match action {
                Action::Start => after.members.push(Member { id, phase: Phase::Starting, load: 0 }),
                Action::Stop(stopped) => {
                    after.members.iter_mut().filter(|member| member.id == *stopped).for_each(|member| {
                        member.phase = Phase::Ending;
                    });
                }
            }
        }
        after
    }

    fn serving(state: &PoolState) -> usize {
        state.members.iter().filter(|member| member.phase != Phase::Ending).count()
    }

    fn free(state: &PoolState) -> usize {
        state.members.iter().filter(|member| member.phase != Phase::Ending && member.load == 0).count()
    }

    const NOW: Duration = Duration::from_mins(1);

    proptest! {
        #[test]
        fn a_plan_keeps_the_bounds(state in state(), settings in settings()) {
            let actions = plan(NOW, &state, &settings);
            let after = carried_out(&state, &actions);
            let starts = actions.iter().filter(|action| **action == Action::Start).count();
            prop_assert!(starts == 0 || after.members.len() <= settings.max);
            prop_assert!(starts == 0 || starts == actions.len(), "starts and stops at once");
            prop_assert!(starts == 0 || NOW >= state.not_before);
            for action in &actions {
                if let Action::Stop(id) = action {
                    let member = state.members.iter().find(|member| member.id == *id).unwrap();
                    prop_assert!(member.load == 0 && matches!(member.phase, Phase::Ready { .. }), "{member:?}");
                }
            }
            if starts < actions.len() {
                prop_assert!(serving(&after) >= settings.min.min(settings.max));
                // Only what is over the bound may take from the spares, or go while somebody waits.
                prop_assert!(serving(&after) >= settings.max || (free(&after) >= settings.spare && state.waiting == 0));
            }
        }

        #[test]
        fn a_plan_that_was_carried_out_leaves_nothing_to_do(state in state(), settings in settings()) {
            let after = carried_out(&state, &plan(NOW, &state, &settings));
            // What was started may allow what is idle to be stopped, as long as nothing is started for it again.
            let next = plan(NOW, &after, &settings);
            let last = carried_out(&after, &next);
            prop_assert!(!next.contains(&Action::Start), "{next:?}");
            prop_assert_eq!(plan(NOW, &last, &settings), Vec::new());
        }

        #[test]
        fn who_waits_too_long_gets_a_sandbox_if_one_may_be_started(state in state(), settings in settings()) {
            let late = state.waiting_since.is_some_and(|since| NOW.saturating_sub(since) >= settings.queue);
            let starting = state.members.iter().any(|member| member.phase == Phase::Starting);
            if late && !starting && state.members.len() < settings.max && NOW >= state.not_before {
                prop_assert!(plan(NOW, &state, &settings).contains(&Action::Start));
            }
        }

        #[test]
        fn spares_and_the_least_number_are_kept_where_they_may_be(state in state(), settings in settings()) {
            let after = carried_out(&state, &plan(NOW, &state, &settings));
            if NOW >= state.not_before && after.members.len() < settings.max {
                prop_assert!(free(&after) >= settings.spare && serving(&after) >= settings.min);
            }
        }
    }

    #[test]
    fn an_empty_pool_starts_for_the_first_who_waits() {
        let state = PoolState { waiting: 1, waiting_since: Some(NOW), ..PoolState::default() };
        let settings = PoolSettings { min: 0, spare: 0, ..PoolSettings::default() };
        assert_eq!(plan(NOW, &state, &settings), [Action::Start]);
    }
}
