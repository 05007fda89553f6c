//! What holds of an agent whatever a model says.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use nexus_model::{AnsweredBy, ChatMessage, ModelParameters, ModelTool, NanoUsd, Reply, ToolRequest, Usage};
use nexus_workflow::{AgentLimits, AgentStart, ErrorType, Moment, WorkflowError};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::plan::{Agent, Heard, Next};

const BEGUN: Moment = Moment(1_000_000);

fn start(limits: AgentLimits, context_tokens: u64) -> AgentStart {
    let tool = |name: &str| ModelTool { name: name.to_owned(), description: String::new(), input: json!({}) };
    AgentStart {
        model: "m".to_owned(),
        messages: vec![
            ChatMessage::System { content: "Be good.".to_owned() },
            ChatMessage::User { content: "Do it.".to_owned() },
        ],
        tools: BTreeMap::from([("app/a".to_owned(), tool("a")), ("app/b".to_owned(), tool("b"))]),
        parameters: ModelParameters::default(),
        output: None,
        limits,
        context_tokens,
    }
}

fn reply(content: &str, tool_calls: Vec<ToolRequest>, tokens: u64) -> Reply {
    let usage = Usage { input_tokens: tokens, output_tokens: tokens, cost: Some(NanoUsd(tokens)), ..Usage::NONE };
    let by = AnsweredBy { alias: "m".to_owned(), model: "m".to_owned() };
    Reply { content: content.to_owned(), value: None, tool_calls, usage, by }
}

fn wants(id: &str, name: &str, arguments: Value) -> ToolRequest {
    ToolRequest { id: id.to_owned(), name: name.to_owned(), arguments }
}

fn failing(status: u16) -> WorkflowError {
    WorkflowError::new(ErrorType::Communication, "no").with_status(status)
}

/// What the world does: a turn of the model, and what becomes of the tools that it wants.
#[derive(Debug, Clone)]
struct Said {
    turn: Result<Reply, WorkflowError>,
    tools: Vec<Result<Value, WorkflowError>>,
    takes_ms: i64,
}

fn said() -> impl Strategy<Value = Said> {
    let arguments = prop_oneof![Just(json!({})), Just(json!({"n": 1})), Just(json!("{n")), Just(json!([1]))];
    let call = ("[xy]{0,1}", prop::sample::select(vec!["a", "b", "c"]), arguments)
        .prop_map(|(id, name, arguments)| wants(&id, name, arguments));
    let calls = prop_oneof![4 => prop::collection::vec(call.clone(), 1..5), 1 => prop::collection::vec(call, 60..80)];
    let good = ("[a-z ]{0,300}", calls, 0_u64..3000).prop_map(|(text, calls, tokens)| Ok(reply(&text, calls, tokens)));
    let turn = prop_oneof![
        8 => good,
        1 => "[a-z]{0,2}".prop_map(|text| Ok(reply(&text, Vec::new(), 10))),
        2 => prop::sample::select(vec![400_u16, 429, 502, 503]).prop_map(|status| Err(failing(status))),
    ];
    let result = prop_oneof![
        2 => "[a-z]{0,2000}".prop_map(|text| Ok(json!(text))),
        1 => Just(Err(failing(500))),
    ];
    (turn, prop::collection::vec(result, 1..4), 0_i64..2000).prop_map(|(turn, tools, takes_ms)| Said {
        turn,
        tools,
        takes_ms,
    })
}

/// What is heard of `next` at last, or `None` at the end.
fn answer(next: &Next, said: &Said, clock: &mut Moment) -> Option<Heard> {
    clock.0 += said.takes_ms;
    Some(match next {
        Next::Turn { .. } => Heard::Turn(said.turn.clone()),
        Next::Summary(_) => Heard::Summary(said.turn.clone()),
        Next::Wait { until, .. } => {
            *clock = (*clock).max(*until);
            Heard::Waited
        }
        Next::Tools(uses) => {
            let results = said.tools.iter().cycle();
            Heard::Tools(uses.iter().zip(results).map(|((index, _), result)| (*index, result.clone())).collect())
        }
        Next::End(_) => return None,
    })
}

/// A conversation as providers demand it: after a message that wants tools come the results of just these.
fn check(messages: &[ChatMessage]) {
    let (mut open, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for message in messages {
        match message {
            ChatMessage::Tool { id, .. } => assert!(open.remove(id), "a result without its call"),
            _ => assert!(open.is_empty(), "a call without its result"),
        }
        if let ChatMessage::Assistant { tool_calls, .. } = message {
            for call in tool_calls {
                assert!(!call.id.is_empty() && seen.insert(call.id.clone()), "an id twice");
                open.insert(call.id.clone());
            }
        }
    }
    assert!(open.is_empty(), "a call without its result");
}

/// All that is done until the end, and what was heard of it.
fn walk(start: &AgentStart, world: &[Said], heard: &[(Moment, Heard)]) -> (Vec<Next>, Vec<(Moment, Heard)>) {
    let mut agent = Agent::new(start.clone(), BEGUN);
    let (mut done, mut all, mut clock) = (Vec::new(), Vec::new(), BEGUN);
    let turns = start.limits.steps as usize;
    for said in world.iter().cycle() {
        let next = agent.next();
        if let Next::Turn { turn, .. } = &next {
            check(&turn.messages);
            assert_eq!(turn.messages[..2], start.messages[..]);
        }
        if let Next::Tools(uses) = &next {
            assert!(uses.len() <= 64);
        }
        assert!(agent.turn() <= start.limits.steps);
        done.push(next.clone());
        assert!(done.len() <= turns * 9 + 1, "it goes on and on");
        // What is written down is what is heard.
        let next = match heard.get(all.len()) {
            Some((at, heard)) => {
                clock = *at;
                Some(heard.clone())
            }
            None => answer(&next, said, &mut clock),
        };
        let Some(heard) = next else { break };
        all.push((clock, heard.clone()));
        agent.hear(clock, heard);
    }
    (done, all)
}

fn limits() -> impl Strategy<Value = AgentLimits> {
    let some = |range: std::ops::Range<u64>| prop::option::of(range);
    (0_u32..8, some(0..20_000), some(0..20_000), some(0..20_000)).prop_map(|(steps, tokens, cost, time_ms)| {
        AgentLimits { steps, tokens, cost: cost.map(NanoUsd), time_ms, parallel: 2 }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_ends_orphans_nothing_and_goes_the_same_way_again(
        limits in limits(), context in prop_oneof![0_u64..50, 100_u64..5000], world in prop::collection::vec(said(), 1..20),
        at in any::<prop::sample::Index>(),
    ) {
        let start = start(limits, context);
        let (done, heard) = walk(&start, &world, &[]);
        let cut = at.index(heard.len() + 1);
        let (again, heard_again) = walk(&start, &world, &heard[..cut]);
        prop_assert_eq!(&done, &again);
        prop_assert_eq!(heard.len(), heard_again.len());
    }

    #[test]
    fn no_turn_begins_when_a_limit_is_reached(limits in limits(), world in prop::collection::vec(said(), 1..20)) {
        let start = start(limits, 1000);
        let (done, heard) = walk(&start, &world, &[]);
        let (mut used, mut cost) = (0, NanoUsd(0));
        for (next, (at, heard)) in done.iter().zip(&heard) {
            if let Next::Turn { attempt: 0, .. } | Next::Summary(_) = next {
                prop_assert!(limits.tokens.is_none_or(|most| used < most));
                prop_assert!(limits.cost.is_none_or(|most| cost < most));
            }
            if let Heard::Turn(Ok(reply)) | Heard::Summary(Ok(reply)) = heard {
                used += reply.usage.input_tokens + reply.usage.output_tokens;
                cost = cost + reply.usage.cost.unwrap_or_default();
            }
            prop_assert!(*at >= BEGUN);
        }
    }
}

/// Says one thing after the other; the agent's requests.
fn script(agent: &mut Agent, said: impl IntoIterator<Item = Heard>) -> Vec<Next> {
    let mut clock = BEGUN;
    let mut done = vec![agent.next()];
    for heard in said {
        clock = clock.plus(Duration::from_millis(10));
        agent.hear(clock, heard);
        done.push(agent.next());
    }
    done
}

fn steps(steps: u32) -> AgentLimits {
    AgentLimits { steps, ..AgentLimits::default() }
}

#[test]
fn it_uses_tools_and_answers() {
    let mut agent = Agent::new(start(steps(5), 1000), BEGUN);
    let calls = vec![wants("1", "a", json!({"n": 1})), wants("2", "zzz", json!({})), wants("3", "b", json!("{"))];
    let done = script(
        &mut agent,
        [
            Heard::Turn(Ok(reply("", calls, 10))),
            Heard::Tools(vec![(0, Ok(json!({"sum": 2})))]),
            Heard::Turn(Ok(reply("two", Vec::new(), 10))),
        ],
    );
    assert_eq!(done[1], Next::Tools(vec![(0, json!({"tool": "app/a", "arguments": {"n": 1}}))]));
    let Next::Turn { turn, .. } = &done[2] else { panic!("{done:?}") };
    let shown = turn.messages[3..].iter().map(|message| match message {
        ChatMessage::Tool { content, failed, .. } => (content.as_str(), *failed),
        other => panic!("{other:?}"),
    });
    let results: Vec<_> = shown.collect();
    assert_eq!(results[0], (r#"{"sum":2}"#, false));
    assert!(results[1].1 && results[1].0.contains("no tool `zzz`"));
    assert!(results[2].1 && results[2].0.contains("no JSON"));
    assert_eq!(done[3], Next::End(Ok(json!("two"))));
}

#[test]
fn the_last_turn_has_no_tools_and_is_said_to_be_the_last() {
    let mut agent = Agent::new(start(steps(2), 1000), BEGUN);
    let call = || vec![wants("1", "a", json!({}))];
    let done = script(&mut agent, [Heard::Turn(Ok(reply("", call(), 10))), Heard::Tools(vec![(0, Ok(json!(1)))])]);
    let Next::Turn { turn, .. } = &done[2] else { panic!("{done:?}") };
    assert!(turn.tools.is_empty());
    assert!(matches!(turn.messages.last(), Some(ChatMessage::User { content }) if content.contains("last turn")));
    agent.hear(BEGUN, Heard::Turn(Ok(reply("", call(), 10))));
    let Next::End(Err(error)) = agent.next() else { panic!("{:?}", agent.next()) };
    assert_eq!(error.status, 429);
    assert!(error.kind.ends_with("/runtime") && error.detail.unwrap().contains("2 turns"));
}

#[test]
fn each_limit_is_named() {
    let limited = [
        (AgentLimits { tokens: Some(15), ..steps(9) }, "15 tokens"),
        (AgentLimits { cost: Some(NanoUsd(5)), ..steps(9) }, "cost"),
        (AgentLimits { time_ms: Some(15), ..steps(9) }, "15 ms"),
    ];
    for (limits, named) in limited {
        let mut agent = Agent::new(start(limits, 1000), BEGUN);
        let turn = reply("", vec![wants("1", "a", json!({}))], 10);
        let done = script(&mut agent, [Heard::Turn(Ok(turn)), Heard::Tools(vec![(0, Ok(json!(1)))])]);
        let Some(Next::End(Err(error))) = done.last() else { panic!("{done:?}") };
        assert_eq!(error.status, 429);
        assert!(error.detail.as_deref().unwrap().contains(named), "{error}");
    }
}

#[test]
fn costs_that_are_not_known_are_not_taken_for_nothing() {
    let mut agent = Agent::new(start(AgentLimits { cost: Some(NanoUsd(5)), ..steps(9) }, 1000), BEGUN);
    let mut turn = reply("", vec![wants("1", "a", json!({}))], 10);
    turn.usage.cost = None;
    let done = script(&mut agent, [Heard::Turn(Ok(turn)), Heard::Tools(vec![(0, Ok(json!(1)))])]);
    assert!(
        matches!(done.last(), Some(Next::End(Err(error))) if error.detail.as_deref().unwrap().contains("not known"))
    );
}

#[test]
fn a_turn_that_fails_for_the_moment_is_made_again_later_each_time() {
    let mut agent = Agent::new(start(steps(5), 1000), BEGUN);
    let broken = || Heard::Turn(Err(failing(503)));
    let done =
        script(&mut agent, [broken(), Heard::Waited, broken(), Heard::Waited, broken(), Heard::Waited, broken()]);
    let waited = done.iter().filter_map(|next| match next {
        Next::Wait { attempt, until } => Some((*attempt, until.0 - BEGUN.0)),
        _ => None,
    });
    let waits: Vec<_> = waited.collect();
    assert_eq!(waits, [(1, 1010), (2, 4030), (3, 16_050)]);
    assert!(matches!(done.last(), Some(Next::End(Err(error))) if error.status == 503));
    // What will not pass is told at once, as it is.
    let mut agent = Agent::new(start(steps(5), 1000), BEGUN);
    let done = script(&mut agent, [Heard::Turn(Err(failing(402)))]);
    assert_eq!(done[1], Next::End(Err(failing(402))));
}

#[test]
fn a_long_conversation_is_summarised_once_before_the_turn() {
    let mut agent = Agent::new(start(steps(9), 600), BEGUN);
    let turn = |n: usize| Heard::Turn(Ok(reply("", vec![wants(&n.to_string(), "a", json!({"n": n}))], 0)));
    let tool = || Heard::Tools(vec![(0, Ok(json!("x".repeat(1100))))]);
    let done = script(&mut agent, [turn(0), tool(), turn(1), tool(), turn(2), tool()]);
    let Some(Next::Summary(asked)) = done.last() else { panic!("{done:?}") };
    assert!(asked.tools.is_empty());
    agent.hear(BEGUN, Heard::Summary(Ok(reply("it was x", Vec::new(), 5))));
    let Next::Turn { turn, .. } = agent.next() else { panic!("{:?}", agent.next()) };
    assert!(matches!(&turn.messages[2], ChatMessage::User { content } if content.ends_with("it was x")));
    check(&turn.messages);
}
