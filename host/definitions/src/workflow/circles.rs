//! Operations that call each other in a circle.

use std::collections::{BTreeMap, BTreeSet};

use nexus_model::OperationName;

use super::Read;
use crate::fault::{FaultCode, Faults, Finding, quoted};

/// The operations that an operation calls, and where its workflow says so first.
pub(super) type Calls = BTreeMap<OperationName, BTreeMap<OperationName, String>>;

/// Each circle is a fault, once: at the first call of the operation that comes first by name.
pub(super) fn check(calls: &Calls, workflows: &[Read], faults: &mut Faults) {
    for read in workflows {
        let Some(circle) = shortest(calls, &read.operation) else { continue };
        if circle.iter().any(|(operation, _)| *operation < &read.operation) {
            continue;
        }
        let names = circle.iter().map(|(operation, _)| *operation).chain([&read.operation]);
        let names: Vec<String> = names.map(|name| quoted(name.as_str())).collect();
        let message = format!("the operations call each other in a circle: {}", names.join(" → "));
        let finding = Finding::new(FaultCode::BadValue, message).expected("workflows that end");
        let pointer = circle.first().map_or("", |(_, pointer)| pointer);
        faults.add(read.document.fault_at_value(pointer, finding));
    }
}

/// The shortest way from an operation back to itself: each operation on it, and where it calls the next.
fn shortest<'c>(calls: &'c Calls, start: &'c OperationName) -> Option<Vec<(&'c OperationName, &'c str)>> {
    let mut ways = vec![(start, Vec::new())];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for (operation, way) in ways {
            for (called, pointer) in calls.get(operation).into_iter().flatten() {
                if called != start && !seen.insert(called) {
                    continue;
                }
                let mut way = way.clone();
                way.push((operation, pointer.as_str()));
                if called == start {
                    return Some(way);
                }
                longer.push((called, way));
            }
        }
        ways = longer;
    }
    None
}
