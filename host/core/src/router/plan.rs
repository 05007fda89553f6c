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
    /// A program in a sandbox; nobody else.
    Sandbox,
}

/// Who answers an operation by its definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Defined {
    Prompt,
    Component,
    Worker,
}

/// Plans one call. `draw` is uniform over 0 to 1; `audit_share` of the calls that go to code are audited. (The input
/// envelope and the canary's share will be further arguments of this function.)
pub(crate) fn plan(defined: Defined, active: bool, draw: f64, audit_share: f64) -> Plan {
    match (defined, active) {
        (Defined::Component, _) => Plan::HandWritten,
        (Defined::Worker, _) => Plan::Sandbox,
        (Defined::Prompt, true) => Plan::Code { audit: draw < audit_share },
        (Defined::Prompt, false) => Plan::Model,
    }
}

#[cfg(test)]
mod tests {
    use super::{Defined, Plan, plan};

    #[test]
    fn code_answers_once_it_is_active() {
        let plan = |active, draw, share| plan(Defined::Prompt, active, draw, share);
        assert_eq!(plan(false, 0.0, 1.0), Plan::Model);
        assert_eq!(plan(true, 0.04, 0.05), Plan::Code { audit: true });
        assert_eq!(plan(true, 0.05, 0.05), Plan::Code { audit: false });
        assert_eq!(plan(true, 0.0, 0.0), Plan::Code { audit: false });
    }

    #[test]
    fn what_no_prompt_answers_is_never_code_of_the_oracle() {
        for active in [false, true] {
            assert_eq!(plan(Defined::Component, active, 0.0, 1.0), Plan::HandWritten);
            assert_eq!(plan(Defined::Worker, active, 0.0, 1.0), Plan::Sandbox);
        }
    }
}
