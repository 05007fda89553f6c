//! What a component gets from WASI: nothing.

use crate::support::{Guest, assemble, host, plugin, value};

/// Runs `body` with the functions of `outer`'s instance `$wasi`; `body` traps when it finds something.
async fn finds_nothing(outer: &str, imports: &str, body: &str) {
    let component = assemble(&Guest { outer, with: r#"(with "wasi" (instance $wasi))"#, imports, body, functions: "" });
    assert_eq!(value(&*plugin(&host(), &component).await, "1").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_and_the_arguments_are_empty() {
    finds_nothing(
        r#"(import "wasi:cli/environment@0.2.0" (instance $environment
             (export "get-environment" (func (result (list (tuple string string)))))
             (export "get-arguments" (func (result (list string))))))
           (core func $env (canon lower (func $environment "get-environment") (memory $mem) (realloc $realloc)))
           (core func $args (canon lower (func $environment "get-arguments") (memory $mem) (realloc $realloc)))
           (core instance $wasi (export "env" (func $env)) (export "args" (func $args)))"#,
        r#"(import "wasi" "env" (func $env (param i32))) (import "wasi" "args" (func $args (param i32)))"#,
        "(call $env (i32.const 32)) (if (i32.load (i32.const 36)) (then unreachable))
         (call $args (i32.const 32)) (if (i32.load (i32.const 36)) (then unreachable))",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_folder_is_open() {
    finds_nothing(
        r#"(import "wasi:filesystem/types@0.2.0" (instance $types (export "descriptor" (type (sub resource)))))
           (alias export $types "descriptor" (type $descriptor))
           (import "wasi:filesystem/preopens@0.2.0" (instance $preopens
             (export "descriptor" (type $d (eq $descriptor)))
             (export "get-directories" (func (result (list (tuple (own $d) string)))))))
           (core func $get (canon lower (func $preopens "get-directories") (memory $mem) (realloc $realloc)))
           (core instance $wasi (export "get" (func $get)))"#,
        r#"(import "wasi" "get" (func $get (param i32)))"#,
        "(call $get (i32.const 32)) (if (i32.load (i32.const 36)) (then unreachable))",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_stand_still_and_random_repeats() {
    finds_nothing(
        r#"(import "wasi:clocks/wall-clock@0.2.0" (instance $wall
             (type $record (record (field "seconds" u64) (field "nanoseconds" u32)))
             (export "datetime" (type $datetime (eq $record)))
             (export "now" (func (result $datetime)))))
           (import "wasi:clocks/monotonic-clock@0.2.0" (instance $monotonic (export "now" (func (result u64)))))
           (import "wasi:random/random@0.2.0" (instance $random (export "get-random-u64" (func (result u64)))))
           (core func $date (canon lower (func $wall "now") (memory $mem)))
           (core func $time (canon lower (func $monotonic "now")))
           (core func $dice (canon lower (func $random "get-random-u64")))
           (core instance $wasi
             (export "date" (func $date)) (export "time" (func $time)) (export "dice" (func $dice)))"#,
        r#"(import "wasi" "date" (func $date (param i32)))
           (import "wasi" "time" (func $time (result i64)))
           (import "wasi" "dice" (func $dice (result i64)))"#,
        "(call $date (i32.const 32))
         (if (i64.ne (i64.load (i32.const 32)) (i64.const 946684800)) (then unreachable))
         (if (i64.ne (call $time) (call $time)) (then unreachable))
         (if (i64.ne (call $dice) (i64.const 0x243f6a8885a308d3)) (then unreachable))",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_are_denied() {
    finds_nothing(
        r#"(import "wasi:sockets/network@0.2.0" (instance $network
             (type $codes (enum "unknown" "access-denied" "not-supported" "invalid-argument" "out-of-memory" "timeout"
               "concurrency-conflict" "not-in-progress" "would-block" "invalid-state" "new-socket-limit"
               "address-not-bindable" "address-in-use" "remote-unreachable" "connection-refused" "connection-reset"
               "connection-aborted" "datagram-too-large" "name-unresolvable" "temporary-resolver-failure"
               "permanent-resolver-failure"))
             (export "error-code" (type (eq $codes)))
             (type $families (enum "ipv4" "ipv6"))
             (export "ip-address-family" (type (eq $families)))))
           (alias export $network "error-code" (type $error-code))
           (alias export $network "ip-address-family" (type $family))
           (import "wasi:sockets/tcp@0.2.0" (instance $tcp (export "tcp-socket" (type (sub resource)))))
           (alias export $tcp "tcp-socket" (type $tcp-socket))
           (import "wasi:sockets/tcp-create-socket@0.2.0" (instance $create
             (export "ip-address-family" (type $f (eq $family)))
             (export "tcp-socket" (type $s (eq $tcp-socket)))
             (export "error-code" (type $e (eq $error-code)))
             (export "create-tcp-socket"
               (func (param "address-family" $f) (result (result (own $s) (error $e)))))))
           (core func $open (canon lower (func $create "create-tcp-socket") (memory $mem)))
           (core instance $wasi (export "open" (func $open)))"#,
        r#"(import "wasi" "open" (func $open (param i32 i32)))"#,
        "(call $open (i32.const 0) (i32.const 32))
         (if (i32.ne (i32.load8_u (i32.const 32)) (i32.const 1)) (then unreachable))
         (if (i32.ne (i32.load8_u (i32.const 36)) (i32.const 1)) (then unreachable))",
    )
    .await;
}
