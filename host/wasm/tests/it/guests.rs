//! Guests that try to take more than they may have. Each exports an operation, which is the tool `handler.run` too.

use super::support::{Guest, assemble, guest};

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

pub(crate) fn endless_loop() -> Vec<u8> {
    guest("(loop $l (br $l))")
}

/// Waits an hour in the host.
pub(crate) fn sleeper() -> Vec<u8> {
    assemble(&Guest {
        outer: TIMER,
        with: WITH_WASI,
        imports: r#"(import "wasi" "block" (func $block (param i32)))
                    (import "wasi" "subscribe" (func $subscribe (param i64) (result i32)))"#,
        body: "(call $block (call $subscribe (i64.const 3600000000000)))",
        ..Guest::default()
    })
}

/// Grows its memory to the end and answers if that is the cap: 1,024 pages are 64 MiB.
pub(crate) fn memory_grower() -> Vec<u8> {
    guest(
        "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
         (if (i32.ne (memory.size) (i32.const 1024)) (then unreachable))",
    )
}

/// As [`memory_grower`], with a second memory: 4 pages belong to the first from the start.
pub(crate) fn memories_grower() -> Vec<u8> {
    let body = "(loop $l (br_if $l (i32.ne (memory.grow $other (i32.const 1)) (i32.const -1))))
                (if (i32.ne (memory.size $other) (i32.const 1020)) (then unreachable))";
    assemble(&Guest { functions: "(memory $other 0)", body, ..Guest::default() })
}

pub(crate) fn deep_recursion() -> Vec<u8> {
    assemble(&Guest {
        functions: "(func $deep (param i32) (result i32)
          (i32.add (call $deep (i32.add (local.get 0) (i32.const 1))) (local.get 0)))",
        body: "(local.set $n (call $deep (i32.const 0)))",
        ..Guest::default()
    })
}

/// Answers with a string of 32 MiB.
pub(crate) fn long_answer() -> Vec<u8> {
    guest(
        "(drop (memory.grow (i32.const 600))) (local.set $input (i32.const 0))
         (local.set $length (i32.const 33554432))",
    )
}

/// Takes one host resource after the other.
pub(crate) fn hoarder() -> Vec<u8> {
    assemble(&Guest {
        outer: TIMER,
        with: WITH_WASI,
        imports: r#"(import "wasi" "subscribe" (func $subscribe (param i64) (result i32)))"#,
        body: "(loop $l (drop (call $subscribe (i64.const 1))) (br $l))",
        ..Guest::default()
    })
}

/// Writes so many bytes to standard output, over and over.
pub(crate) fn endless_output(length: u32) -> Vec<u8> {
    let body = format!(
        "(local.set $n (call $get))
         (loop $l
           (call $check (local.get $n) (i32.const 32))
           (call $write (local.get $n) (i32.const 0) (i32.const {length}) (i32.const 32))
           (br $l))"
    );
    assemble(&Guest {
        outer: STDOUT,
        with: WITH_WASI,
        imports: r#"(import "wasi" "get" (func $get (result i32)))
                    (import "wasi" "check" (func $check (param i32 i32)))
                    (import "wasi" "write" (func $write (param i32 i32 i32 i32)))"#,
        body: &body,
        ..Guest::default()
    })
}

/// Hands the host a list of 10,000 fields whose values are one and the same MiB, by its tool `go`.
pub(crate) fn aliases() -> Vec<u8> {
    wat::parse_str(ALIASES).unwrap()
}

const ALIASES: &str = r#"(component
  (import "wasi:http/types@0.2.0" (instance $http
    (export "fields" (type $fields (sub resource)))
    (type $why (variant (case "invalid-syntax") (case "forbidden") (case "immutable")))
    (export "header-error" (type $error (eq $why)))
    (export "[static]fields.from-list"
      (func (param "entries" (list (tuple string (list u8)))) (result (result (own $fields) (error $error)))))))
  (core module $memory
    (memory (export "memory") 32)
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable))
  (core instance $memory (instantiate $memory))
  (alias core export $memory "memory" (core memory $mem))
  (alias core export $memory "realloc" (core func $realloc))
  (core func $from-list (canon lower (func $http "[static]fields.from-list") (memory $mem) (realloc $realloc)))
  (core module $code
    (import "memory" "memory" (memory 32))
    (import "http" "from-list" (func $from-list (param i32 i32 i32)))
    (func (export "go")
      (local $at i32)
      (i32.store8 (i32.const 0) (i32.const 120))
      (memory.fill (i32.const 1048576) (i32.const 121) (i32.const 1048576))
      (local.set $at (i32.const 1024))
      (loop $l
        (i32.store (local.get $at) (i32.const 0))
        (i32.store (i32.add (local.get $at) (i32.const 4)) (i32.const 1))
        (i32.store (i32.add (local.get $at) (i32.const 8)) (i32.const 1048576))
        (i32.store (i32.add (local.get $at) (i32.const 12)) (i32.const 1048576))
        (local.set $at (i32.add (local.get $at) (i32.const 16)))
        (br_if $l (i32.lt_u (local.get $at) (i32.const 161024))))
      (call $from-list (i32.const 1024) (i32.const 10000) (i32.const 16))))
  (core instance $http (export "from-list" (func $from-list)))
  (core instance $code (instantiate $code (with "memory" (instance $memory)) (with "http" (instance $http))))
  (func (export "go") (canon lift (core func $code "go"))))"#;
