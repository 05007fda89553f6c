//! What to do next about one operation: a decision on values alone.

use nexus_model::{JitRecord, JitState, Optimize, OptimizeMode};

/// What the oracle does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing.
    Wait,
    /// Tell that code would be worth writing.
    Recommend,
    /// Write code.
    Compile,
}

/// Decides. `distinct` counts the distinct inputs known of the version. (The payback rule and labelled metrics will be
/// further arguments of this function.)
pub(crate) fn decide(record: &JitRecord, optimize: Optimize, distinct: u64) -> Step {
    let waiting = matches!(record.state, JitState::Profiling | JitState::Refused);
    match optimize.mode {
        OptimizeMode::Auto
            if distinct >= record.needed_inputs && (waiting || record.state == JitState::Recommended) =>
        {
            Step::Compile
        }
        OptimizeMode::Recommend if waiting && distinct >= record.needed_inputs => Step::Recommend,
        _ => Step::Wait,
    }
}

/// Distinct inputs that the first try needs: what the operation asks for, at least 30.
pub(crate) fn first_need(optimize: Optimize) -> u64 {
    optimize.min_inputs.max(30) as u64
}

#[cfg(test)]
mod tests {
    use nexus_model::{Agreement, VersionHash};
    use time::OffsetDateTime;

    use super::*;

    fn record(state: JitState, needed_inputs: u64) -> JitRecord {
        JitRecord {
            version: VersionHash::from(String::new()),
            state,
            needed_inputs,
            code: 0,
            component: None,
            evidence: None,
            live: Agreement::default(),
            changed_at: OffsetDateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn code_is_written_once_there_is_enough_to_go_by() {
        let auto = Optimize { mode: OptimizeMode::Auto, ..Optimize::default() };
        let recommend = Optimize { mode: OptimizeMode::Recommend, ..auto };
        let off = Optimize { mode: OptimizeMode::Off, ..auto };
        assert_eq!(decide(&record(JitState::Profiling, 30), auto, 29), Step::Wait);
        assert_eq!(decide(&record(JitState::Profiling, 30), auto, 30), Step::Compile);
        assert_eq!(decide(&record(JitState::Refused, 60), auto, 59), Step::Wait);
        assert_eq!(decide(&record(JitState::Refused, 60), auto, 60), Step::Compile);
        assert_eq!(decide(&record(JitState::Profiling, 30), recommend, 30), Step::Recommend);
        assert_eq!(decide(&record(JitState::Recommended, 30), recommend, 90), Step::Wait);
        assert_eq!(decide(&record(JitState::Recommended, 30), auto, 90), Step::Compile);
        assert_eq!(decide(&record(JitState::Profiling, 30), off, 90), Step::Wait);
        for state in [JitState::Active, JitState::Compiling, JitState::Demoted, JitState::Ready, JitState::Off] {
            assert_eq!(decide(&record(state, 30), auto, 1_000), Step::Wait, "{state:?}");
        }
    }
}
