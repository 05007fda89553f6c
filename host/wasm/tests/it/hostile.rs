//! Guests that try to take more than they may have.

use std::time::{Duration, Instant};

use nexus_model::{ComponentFault, ComponentHost, ComponentKind};

use crate::support::{Guest, PATIENCE, assemble, fault, fault_apart, guest, host, plugin, value};

/// Imports `wasi:clocks/monotonic-clock.subscribe-duration` and `wasi:io/poll`'s `pollable.block`.
const TIMER: &str = r#"
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $pollable (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $pollable))))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (export "pollable" (type $p (eq $pollable)))
    (export "subscribe-duration" (func (param "when" u64) (result (own $p))))))
  (core func $block (canon lower (func $poll "[method]pollable.block")))
  (core func $subscribe (canon lower (func $clock "subscribe-duration")))
  (core instance $wasi (export "block" (func $block)) (export "subscribe" (func $subscribe)))"#;

/// Imports `wasi:cli/stdout` and `wasi:io/streams`' `output-stream.write`.
const STDOUT: &str = r#"
  (import "wasi:io/error@0.2.0" (instance $error (export "error" (type (sub resource)))))
  (alias export $error "error" (type $error))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (export "output-stream" (type $stream (sub resource)))
    (export "error" (type $e (eq $error)))
    (type $failed (variant (case "last-operation-failed" (own $e)) (case "closed")))
    (export "stream-error" (type $stream-error (eq $failed)))
    (export "[method]output-stream.check-write"
      (func (param "self" (borrow $stream)) (result (result u64 (error $stream-error)))))
    (export "[method]output-stream.write"
      (func (param "self" (borrow $stream)) (param "contents" (list u8)) (result (result (error $stream-error)))))))
  (alias export $streams "output-stream" (type $stream))
  (import "wasi:cli/stdout@0.2.0" (instance $stdout
    (export "output-stream" (type $s (eq $stream)))
    (export "get-stdout" (func (result (own $s))))))
  (core func $get (canon lower (func $stdout "get-stdout")))
  (core func $check (canon lower (func $streams "[method]output-stream.check-write") (memory $mem)))
  (core func $write (canon lower (func $streams "[method]output-stream.write") (memory $mem)))
  (core instance $wasi (export "get" (func $get)) (export "check" (func $check)) (export "write" (func $write)))"#;

const WITH_WASI: &str = r#"(with "wasi" (instance $wasi))"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_loop_ends_at_its_deadline() {
    let host = host();
    let component = plugin(&host, &guest("(loop $l (br $l))")).await;
    let (deadline, start) = (Duration::from_millis(50), Instant::now());
    assert_eq!(fault_apart(component, deadline).await, ComponentFault::Deadline(deadline));
    assert!(start.elapsed() >= deadline);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_endless_loop_ends_by_its_fuel() {
    let component = host().load(ComponentKind::Generated, &guest("(loop $l (br $l))")).await.unwrap();
    assert_eq!(component.run("1", PATIENCE).await, Err(ComponentFault::Fuel));
    assert!(matches!(fault(&*component, 3).await, ComponentFault::Deadline(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_sleeps_in_the_host_is_cancelled() {
    let component = assemble(&Guest {
        outer: TIMER,
        with: WITH_WASI,
        imports: r#"(import "wasi" "block" (func $block (param i32)))
                    (import "wasi" "subscribe" (func $subscribe (param i64) (result i32)))"#,
        body: "(call $block (call $subscribe (i64.const 3600000000000)))",
        ..Guest::default()
    });
    let component = plugin(&host(), &component).await;
    let deadline = Duration::from_millis(50);
    assert_eq!(fault_apart(component, deadline).await, ComponentFault::Deadline(deadline));
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_stops_growing_at_the_cap() {
    // 1,024 pages are 64 MiB, 4 of which belong to the guest from the start.
    let body = "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
                (if (i32.ne (memory.size) (i32.const 1024)) (then unreachable))";
    assert_eq!(value(&*plugin(&host(), &guest(body)).await, "1").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_memories_share_the_cap() {
    let body = "(loop $l (br_if $l (i32.ne (memory.grow $other (i32.const 1)) (i32.const -1))))
                (if (i32.ne (memory.size $other) (i32.const 1020)) (then unreachable))";
    let component = assemble(&Guest { functions: "(memory $other 0)", body, ..Guest::default() });
    assert_eq!(value(&*plugin(&host(), &component).await, "1").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn deep_recursion_is_a_fault() {
    let component = assemble(&Guest {
        functions: "(func $deep (param i32) (result i32)
          (i32.add (call $deep (i32.add (local.get 0) (i32.const 1))) (local.get 0)))",
        body: "(local.set $n (call $deep (i32.const 0)))",
        ..Guest::default()
    });
    assert_eq!(fault(&*plugin(&host(), &component).await, 5_000).await, ComponentFault::Stack);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_long_an_answer_is_a_limit() {
    let body = "(drop (memory.grow (i32.const 600))) (local.set $input (i32.const 0))
                (local.set $length (i32.const 33554432))";
    assert!(matches!(fault(&*plugin(&host(), &guest(body)).await, 5_000).await, ComponentFault::Limit(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn hoarded_handles_are_a_limit() {
    let component = assemble(&Guest {
        outer: TIMER,
        with: WITH_WASI,
        imports: r#"(import "wasi" "subscribe" (func $subscribe (param i64) (result i32)))"#,
        body: "(loop $l (drop (call $subscribe (i64.const 1))) (br $l))",
        ..Guest::default()
    });
    let fault = fault(&*plugin(&host(), &component).await, 20_000).await;
    assert!(matches!(fault, ComponentFault::Limit(_)), "{fault:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn endless_output_is_dropped() {
    let write = |length: u32| {
        format!(
            "(local.set $n (call $get))
             (loop $l
               (call $check (local.get $n) (i32.const 32))
               (call $write (local.get $n) (i32.const 0) (i32.const {length}) (i32.const 32))
               (br $l))"
        )
    };
    for length in [60_000, 0] {
        let component = assemble(&Guest {
            outer: STDOUT,
            with: WITH_WASI,
            imports: r#"(import "wasi" "get" (func $get (result i32)))
                        (import "wasi" "check" (func $check (param i32 i32)))
                        (import "wasi" "write" (func $write (param i32 i32 i32 i32)))"#,
            body: &write(length),
            ..Guest::default()
        });
        let fault = fault(&*plugin(&host(), &component).await, 200).await;
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
