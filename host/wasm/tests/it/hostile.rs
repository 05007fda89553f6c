//! Guests that try to take more than they may have.

use std::time::{Duration, Instant};

use nexus_model::{ComponentFault, ComponentHost, ComponentKind};

use crate::{
    guests,
    support::{PATIENCE, fault, fault_apart, guest, host, plugin, value},
};

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_loop_ends_at_its_deadline() {
    let host = host();
    let component = plugin(&host, &guests::endless_loop()).await;
    let (deadline, start) = (Duration::from_millis(50), Instant::now());
    assert_eq!(fault_apart(component, deadline).await, ComponentFault::Deadline(deadline));
    assert!(start.elapsed() >= deadline);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_endless_loop_ends_by_its_fuel() {
    let component = host().load(ComponentKind::Generated, &guests::endless_loop()).await.unwrap();
    assert_eq!(component.run("1", PATIENCE).await, Err(ComponentFault::Fuel));
    assert!(matches!(fault(&*component, 3).await, ComponentFault::Deadline(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_sleeps_in_the_host_is_cancelled() {
    let component = plugin(&host(), &guests::sleeper()).await;
    let deadline = Duration::from_millis(50);
    assert_eq!(fault_apart(component, deadline).await, ComponentFault::Deadline(deadline));
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stops_growing_at_the_cap() {
    assert_eq!(value(&*plugin(&host(), &guests::memory_grower()).await, "1").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_memories_share_the_cap() {
    assert_eq!(value(&*plugin(&host(), &guests::memories_grower()).await, "1").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn deep_recursion_is_a_fault() {
    assert_eq!(fault(&*plugin(&host(), &guests::deep_recursion()).await, 5_000).await, ComponentFault::Stack);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_long_an_answer_is_a_limit() {
    assert!(matches!(fault(&*plugin(&host(), &guests::long_answer()).await, 5_000).await, ComponentFault::Limit(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn hoarded_handles_are_a_limit() {
    let fault = fault(&*plugin(&host(), &guests::hoarder()).await, 20_000).await;
    assert!(matches!(fault, ComponentFault::Limit(_)), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_output_is_dropped() {
    for length in [60_000, 0] {
        let fault = fault(&*plugin(&host(), &guests::endless_output(length)).await, 200).await;
        assert!(matches!(fault, ComponentFault::Deadline(_)), "{length}: {fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_traps_say_what_they_are() {
    let trap = fault(&*plugin(&host(), &guest("unreachable")).await, 5_000).await;
    assert!(matches!(&trap, ComponentFault::Trap(text) if text.contains("unreachable")), "{trap:?}");
    let trap = fault(&*plugin(&host(), &guest("(i32.store (i32.const -4) (i32.const 1))")).await, 5_000).await;
    assert!(matches!(&trap, ComponentFault::Trap(text) if text.contains("out of bounds")), "{trap:?}");
    let lie = fault(&*plugin(&host(), &guest("(local.set $length (i32.const 1000000))")).await, 5_000).await;
    assert!(matches!(&lie, ComponentFault::Trap(_)), "{lie:?}");
}
