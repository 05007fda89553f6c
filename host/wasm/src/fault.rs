//! What a trap means.

use std::time::Duration;

use nexus_model::ComponentFault;
use wasmtime::{PoolConcurrencyLimitError, Trap, component::ResourceTableError};
use wasmtime_wasi_http::FieldMapError;

/// Longest text that a guest gets into an answer or a fault, in characters.
const MAX_TEXT: usize = 500;

/// wasmtime's error for too much data passed to the host has no public type.
const HOSTCALL_FUEL: &str = "fuel allocated for hostcalls has been exhausted";

/// What the failure of a call means. `deadline` is the call's own.
pub(crate) fn of(error: &wasmtime::Error, deadline: Duration) -> ComponentFault {
    if let Some(trap) = error.downcast_ref::<Trap>() {
        return match trap {
            Trap::Interrupt => ComponentFault::Deadline(deadline),
            Trap::OutOfFuel => ComponentFault::Fuel,
            Trap::StackOverflow => ComponentFault::Stack,
            trap => ComponentFault::Trap(trap.to_string()),
        };
    }
    if error.is::<PoolConcurrencyLimitError>() {
        return ComponentFault::Exhausted;
    }
    if let Some(ResourceTableError::Full) = error.downcast_ref() {
        return ComponentFault::Limit("too many host resources held at once".into());
    }
    if let Some(FieldMapError::TotalSizeTooBig | FieldMapError::TooManyFields) = error.downcast_ref() {
        return ComponentFault::Limit("too many fields of HTTP, or too long".into());
    }
    let root = error.root_cause().to_string();
    if root.contains(HOSTCALL_FUEL) {
        return ComponentFault::Limit("too much data passed to the host".into());
    }
    ComponentFault::Trap(first_line(&root))
}

/// The first line of `text`, at most 500 characters of it.
pub(crate) fn first_line(text: &str) -> String {
    cut(text.lines().next().unwrap_or_default().to_owned())
}

/// At most 500 characters of `text`.
pub(crate) fn cut(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAX_TEXT) {
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_millis(7);

    #[test]
    fn traps_have_their_own_fault() {
        let fault = |trap: Trap| of(&wasmtime::Error::from(trap).context("while calling"), DEADLINE);
        assert_eq!(fault(Trap::Interrupt), ComponentFault::Deadline(DEADLINE));
        assert_eq!(fault(Trap::OutOfFuel), ComponentFault::Fuel);
        assert_eq!(fault(Trap::StackOverflow), ComponentFault::Stack);
        assert!(matches!(fault(Trap::IntegerDivisionByZero), ComponentFault::Trap(text) if text.contains("divide")));
    }

    #[test]
    fn limits_of_the_host_are_limits() {
        let full = wasmtime::Error::from(ResourceTableError::Full);
        assert!(matches!(of(&full, DEADLINE), ComponentFault::Limit(_)));
        let data = wasmtime::Error::msg(format!("too much: {HOSTCALL_FUEL}"));
        assert!(matches!(of(&data, DEADLINE), ComponentFault::Limit(_)));
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!(cut("é".repeat(501)), "é".repeat(500));
        assert_eq!(first_line("one\ntwo"), "one");
    }
}
