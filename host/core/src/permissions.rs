//! Whether one application may call another: a decision on values alone.

use nexus_model::{AppName, Security};
use nexus_signals::DeliveryRefusal;

/// Why an application may not call another.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallRefused {
    /// The caller's definition does not say that it calls the other.
    #[error("`{caller}` may not call `{callee}`: its `security.may_call` does not name it")]
    NotDeclared {
        /// Who calls.
        caller: AppName,
        /// Who is called.
        callee: AppName,
    },
    /// The other's definition does not let the caller in.
    #[error("`{caller}` may not call `{callee}`: the `security.callable_by` of `{callee}` does not name it")]
    NotAdmitted {
        /// Who calls.
        caller: AppName,
        /// Who is called.
        callee: AppName,
    },
}

impl CallRefused {
    /// What is to be changed, and where.
    pub fn mend(&self) -> String {
        match self {
            Self::NotDeclared { caller, callee } => {
                format!("add `{callee}` to `security.may_call` in the `app.yaml` of `{caller}`")
            }
            Self::NotAdmitted { caller, callee } => {
                format!("add `{caller}` to `security.callable_by` in the `app.yaml` of `{callee}`")
            }
        }
    }

    /// How it is counted.
    pub(crate) fn reason(&self) -> DeliveryRefusal {
        match self {
            Self::NotDeclared { .. } => DeliveryRefusal::NotDeclared,
            Self::NotAdmitted { .. } => DeliveryRefusal::NotAdmitted,
        }
    }
}

/// Whether `caller` may call `target`, or take what it emits: both definitions must say so. An application may always call
/// itself. What is not said is not allowed.
pub fn may_call((caller, from): (&AppName, &Security), (target, to): (&AppName, &Security)) -> Result<(), CallRefused> {
    if caller == target {
        return Ok(());
    }
    if !from.may_call.contains(target) {
        Err(CallRefused::NotDeclared { caller: caller.clone(), callee: target.clone() })
    } else if !to.callable_by.contains(caller) {
        Err(CallRefused::NotAdmitted { caller: caller.clone(), callee: target.clone() })
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> AppName {
        name.parse().unwrap()
    }

    fn security(may_call: &[&str], callable_by: &[&str]) -> Security {
        let names = |list: &[&str]| list.iter().map(|app| name(app)).collect();
        Security { may_call: names(may_call), callable_by: names(callable_by) }
    }

    #[test]
    fn both_sides_must_say_so() {
        let (shop, crm) = (name("shop"), name("crm"));
        let nothing = Security::default();
        for (from, to, allowed) in [
            (security(&["crm"], &[]), security(&[], &["shop"]), true),
            (security(&["crm", "erp"], &[]), security(&["shop"], &["desk", "shop"]), true),
            (security(&["crm"], &[]), nothing.clone(), false),
            (nothing.clone(), security(&[], &["shop"]), false),
            (nothing.clone(), nothing.clone(), false),
            (security(&["erp"], &[]), security(&[], &["shop"]), false),
            (security(&["crm"], &[]), security(&[], &["desk"]), false),
            // The permission is not one of the other direction.
            (security(&[], &["crm"]), security(&["shop"], &[]), false),
        ] {
            assert_eq!(may_call((&shop, &from), (&crm, &to)).is_ok(), allowed, "{from:?} {to:?}");
        }
        assert_eq!(may_call((&shop, &nothing), (&shop, &nothing)), Ok(()));
    }

    #[test]
    fn the_refusal_says_whose_definition_is_to_be_changed() {
        let (shop, crm) = (name("shop"), name("crm"));
        let refused = may_call((&shop, &Security::default()), (&crm, &Security::default())).unwrap_err();
        assert_eq!(refused.to_string(), "`shop` may not call `crm`: its `security.may_call` does not name it");
        assert_eq!(refused.mend(), "add `crm` to `security.may_call` in the `app.yaml` of `shop`");
        let refused = may_call((&shop, &security(&["crm"], &[])), (&crm, &Security::default())).unwrap_err();
        assert!(refused.to_string().contains("`security.callable_by` of `crm`"), "{refused}");
        assert_eq!(refused.mend(), "add `shop` to `security.callable_by` in the `app.yaml` of `crm`");
    }
}
