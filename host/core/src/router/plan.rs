//! Who is asked first: a decision on values alone.

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// The component that the definition names; nobody else.
    HandWritten,
    /// Code that Nexus wrote; the model where it does not answer.
    Code {
        /// Whether the model is asked again in the background.
        audit: bool,
    },
    /// The model.
    Model,
}

/// Plans one call. `draw` is uniform over 0 to 1; `audit_share` of the calls that go to code are audited. (The input
/// envelope and the canary's share will be further arguments of this function.)
pub(crate) fn plan(hand_written: bool, active: bool, draw: f64, audit_share: f64) -> Plan {
    match (hand_written, active) {
        (true, _) => Plan::HandWritten,
        (false, true) => Plan::Code { audit: draw < audit_share },
        (false, false) => Plan::Model,
    }
}

#[cfg(test)]
mod tests {
    use super::{Plan, plan};

    #[test]
    fn code_answers_once_it_is_active() {
        assert_eq!(plan(false, false, 0.0, 1.0), Plan::Model);
        assert_eq!(plan(false, true, 0.04, 0.05), Plan::Code { audit: true });
        assert_eq!(plan(false, true, 0.05, 0.05), Plan::Code { audit: false });
        assert_eq!(plan(false, true, 0.0, 0.0), Plan::Code { audit: false });
        assert_eq!(plan(true, true, 0.0, 1.0), Plan::HandWritten);
    }
}
