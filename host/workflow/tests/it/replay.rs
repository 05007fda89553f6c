//! An execution that is interrupted anywhere and run again ends as if it had not been.

use std::collections::BTreeSet;

use nexus_workflow::{Effect, StepId, Workflow};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{Journal, World, document, read, run_in};

const EVERYTHING: &str = "
use:
  functions:
    ask: {do: [{call: {call: tool, with: {tool: ask, arguments: {n: '${ .n }'}}}}, {pause: {wait: PT1S}}]}
do:
  - begin: {call: http, with: {method: get, endpoint: 'https://a/{id}'}, export: {as: '{id: $input.id}'}}
  - count: {call: tool, with: {tool: count, arguments: {n: '${ ($context.n // 0) + 1 }'}}, export: {as: '$context + {n: $output.arguments.n}'}}
  - again: {switch: [{more: {when: '$context.n < 3', then: count}}]}
  - loop:
      for: {each: n, in: '[1, 2]'}
      do: [{x: {call: ask, with: {n: '${ $n }'}}}, {y: {emit: {event: {with: {source: 'https://a/b', type: t, data: '${ $n }'}}}}}]
  - parallel:
      fork:
        branches:
          - a: {do: [{a1: {wait: PT2S}}, {a2: {call: tool, with: {tool: a}}}]}
          - b: {do: [{b1: {call: tool, with: {tool: b}}}, {b2: {wait: PT3S}}]}
  - race:
      fork:
        compete: true
        branches:
          - slow: {do: [{s1: {call: tool, with: {tool: slow}}}, {s2: {wait: PT9S}}]}
          - fast: {do: [{f1: {wait: PT1S}}, {f2: {call: tool, with: {tool: fast}}}]}
  - try:
      try: [{t: {call: http, with: {method: get, endpoint: 'https://status.test/503'}}}]
      catch: {retry: {delay: PT1S, jitter: {from: PT0S, to: PT1S}, limit: {attempt: {count: 2}}}, do: [{c: {call: tool, with: {tool: gave-up}}}]}
  - join:
      try:
        - j:
            fork:
              branches:
                - waits: {do: [{w1: {call: tool, with: {tool: w}}}, {w2: {wait: PT5S}}]}
                - fails: {do: [{f1: {call: tool, with: {tool: f}}}, {f2: {raise: {error: {type: 'https://a/b', status: 500}}}}]}
      catch: {}
  - late: {try: [{l: {wait: PT1H, timeout: {after: PT1M}}}], catch: {do: [{m: {set: {late: '${ $error.status }'}}}]}}
  - events: {listen: {to: {any: [], until: '(. | length) == 2'}}, foreach: {do: [{e: {call: tool, with: {tool: event}}}]}}
  - sub: {run: {workflow: {namespace: a, name: b, version: latest, input: {n: '${ length }'}}}}
";

fn world() -> World {
    let event =
        |n: u8| json!({"specversion": "1.0", "id": n.to_string(), "source": "https://a/b", "type": "t", "data": n});
    World::new().with_events((0..3).map(event).collect())
}

fn whole(workflow: &Workflow) -> (Value, Journal, Vec<(StepId, Effect)>) {
    let world = world();
    let finished = run_in(&world, workflow, json!({"id": 7})).expect("it ends");
    (json!({"result": finished.result.unwrap(), "at": finished.at}), world.journal(), world.begun())
}

#[test]
fn an_execution_can_move_between_threads() {
    fn moves<T: Send>(_: &T) {}
    fn is_shared<T: Send + Sync>(_: &T) {}
    let (world, workflow) = (world(), read(&document(EVERYTHING)));
    let start = nexus_workflow::Start::new("e", crate::support::BEGIN, json!({}));
    let evaluator = nexus_workflow::DirectEvaluator::default();
    moves(&nexus_workflow::run(&workflow, &start, &world, &evaluator));
    is_shared(&workflow);
}

#[test]
fn every_effect_has_a_name_of_its_own() {
    let (_, journal, begun) = whole(&read(&document(EVERYTHING)));
    let names: BTreeSet<&StepId> = begun.iter().map(|(at, _)| at).collect();
    assert_eq!(names.len(), begun.len());
    let keys: BTreeSet<String> = names.iter().map(|at| at.idempotency_key("e")).collect();
    assert_eq!(keys.len(), begun.len());
    assert!(journal.outcomes.len() > 25, "{}", journal.outcomes.len());
}

#[test]
fn a_replay_of_a_whole_journal_does_nothing() {
    let workflow = read(&document(EVERYTHING));
    let (end, journal, _) = whole(&workflow);
    let again = world().with_journal(journal.clone());
    let finished = run_in(&again, &workflow, json!({"id": 7})).unwrap();
    assert_eq!(json!({"result": finished.result.unwrap(), "at": finished.at}), end);
    assert_eq!((again.begun(), again.journal()), (vec![], journal));
}

#[test]
fn an_execution_cut_at_any_effect_goes_on_as_if_it_had_not_been() {
    let workflow = read(&document(EVERYTHING));
    let (end, _, begun) = whole(&workflow);
    // What a branch that loses had begun depends on when the race was decided.
    let wanted = begun
        .iter()
        .map(|(at, _)| at.clone())
        .filter(|at| !at.as_str().contains("/race/") && !at.as_str().contains("/waits/"));
    let wanted: BTreeSet<StepId> = wanted.collect();
    for cut in 0..begun.len() {
        let broken = world().breaking_after(cut);
        assert_eq!(run_in(&broken, &workflow, json!({"id": 7})), None, "cut at {cut}");
        let again = world().with_journal(broken.journal());
        let finished = run_in(&again, &workflow, json!({"id": 7})).unwrap();
        assert_eq!(
            json!({"result": finished.result.unwrap(), "at": finished.at})["result"],
            end["result"],
            "cut at {cut}"
        );
        let all: Vec<StepId> = broken.begun().into_iter().chain(again.begun()).map(|(at, _)| at).collect();
        let once: BTreeSet<StepId> = all.iter().cloned().collect();
        assert_eq!(once.len(), all.len(), "an effect was had twice, cut at {cut}");
        assert!(wanted.is_subset(&once), "an effect is missing, cut at {cut}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_replay_goes_the_same_way_in_whatever_order_answers_come(seeds in prop::array::uniform2(any::<u64>())) {
        let workflow = read(&document(EVERYTHING));
        let first = world().with_seed(seeds[0]);
        let end = run_in(&first, &workflow, json!({"id": 7})).unwrap();
        let again = world().with_seed(seeds[1]).with_journal(first.journal());
        prop_assert_eq!(run_in(&again, &workflow, json!({"id": 7})).unwrap(), end);
        prop_assert_eq!(again.begun(), vec![]);
        let at_once = world().with_journal(first.journal());
        run_in(&at_once, &workflow, json!({"id": 7})).unwrap();
        prop_assert_eq!(at_once.begun(), vec![]);
    }

    #[test]
    fn an_execution_cut_several_times_has_each_effect_once(
        mut cuts in prop::collection::vec(1_usize..8, 1..6),
        seed in any::<u64>(),
    ) {
        let workflow = read(&document(EVERYTHING));
        let (end, _, _) = whole(&workflow);
        let mut journal = Journal::default();
        let mut begun = Vec::new();
        let mut result = None;
        cuts.push(usize::MAX);
        for (seed, cut) in (seed..=u64::MAX).zip(cuts) {
            let world = world().with_seed(seed).with_journal(journal).breaking_after(cut);
            result = run_in(&world, &workflow, json!({"id": 7}));
            begun.extend(world.begun().into_iter().map(|(at, _)| at));
            journal = world.journal();
        }
        let finished = result.unwrap();
        prop_assert_eq!(&finished.result.unwrap(), &end["result"]);
        let once: BTreeSet<&StepId> = begun.iter().collect();
        prop_assert_eq!(once.len(), begun.len());
    }
}
