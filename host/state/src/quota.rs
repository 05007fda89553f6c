//! What an application may keep.

use std::{collections::HashMap, hash::Hash};

use nexus_model::{Quota, QuotaKind, StoreError};

/// Whose key it is and the length of its name, if it counts (see [`nexus_model::Key::counts`]).
pub(crate) fn counted(key: &str) -> Option<(&str, usize)> {
    let (owner, name) = key.strip_prefix("nexus:{")?.split_once("}:")?;
    (owner != "-" && name.starts_with("state:")).then_some((owner, name.len()))
}

/// What an application keeps.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) bytes: u64,
    pub(crate) keys: u64,
}

impl Usage {
    /// With a key of one size replaced by another; `None` where there is none.
    pub(crate) fn changed(self, before: Option<u64>, after: Option<u64>) -> Self {
        Self {
            bytes: (self.bytes + after.unwrap_or(0)).saturating_sub(before.unwrap_or(0)),
            keys: (self.keys + u64::from(after.is_some())).saturating_sub(u64::from(before.is_some())),
        }
    }
}

/// What a batch makes of an application's usage.
pub(crate) struct Outlook<K> {
    now: Usage,
    then: Usage,
    sizes: HashMap<K, Option<u64>>,
}

impl<K: Eq + Hash> Outlook<K> {
    pub(crate) fn new(now: Usage) -> Self {
        Self { now, then: now, sizes: HashMap::new() }
    }

    /// Takes one change in: `stored` is the key's size in the store, `after` its size after the change.
    pub(crate) fn change(&mut self, key: K, stored: impl FnOnce() -> Option<u64>, after: Option<u64>) {
        let before = self.sizes.get(&key).copied().unwrap_or_else(stored);
        self.then = self.then.changed(before, after);
        self.sizes.insert(key, after);
    }

    /// Refuses what grows beyond the quota. What shrinks passes, also where a quota was lowered.
    pub(crate) fn check(&self, owner: &str, quota: &Quota) -> Result<(), StoreError> {
        let refuse = |kind, limit| Err(StoreError::Quota { app: owner.to_owned(), kind, limit });
        if self.then.bytes > self.now.bytes.max(quota.bytes) {
            return refuse(QuotaKind::Bytes, quota.bytes);
        }
        if self.then.keys > self.now.keys.max(quota.keys) {
            return refuse(QuotaKind::Keys, quota.keys);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use nexus_model::{AppName, Key, Quota};

    use super::{Outlook, Usage, counted};

    #[test]
    fn only_what_applications_keep_counts() {
        let app: AppName = "shop".parse().unwrap();
        for key in [Key::of_state(&app, "cart:7"), Key::of_app(&app, "trace", "x"), Key::of_host("state", "x")] {
            let found = counted(&key.to_string()).map(|(owner, length)| (owner.to_owned(), length));
            assert_eq!(found, key.counts().then(|| ("shop".to_owned(), "state:cart:7".len())));
        }
    }

    #[test]
    fn growth_is_refused_and_shrinking_is_not() {
        let quota = Quota { bytes: 10, keys: 2 };
        let check = |now, changes: &[(u8, Option<u64>, Option<u64>)]| {
            let mut outlook = Outlook::new(now);
            for (key, stored, after) in changes {
                outlook.change(*key, || *stored, *after);
            }
            outlook.check("shop", &quota).is_ok()
        };
        let empty = Usage::default();
        assert!(check(empty, &[(1, None, Some(10))]));
        assert!(!check(empty, &[(1, None, Some(11))]));
        assert!(check(empty, &[(1, None, Some(11)), (1, None, Some(5)), (2, None, Some(5))]), "the last counts");
        assert!(!check(empty, &[(1, None, Some(1)), (2, None, Some(1)), (3, None, Some(1))]));
        assert!(check(empty, &[(1, None, Some(1)), (2, None, Some(1)), (1, None, None), (3, None, Some(1))]));
        let over = Usage { bytes: 20, keys: 5 };
        assert!(check(over, &[(1, Some(8), Some(7))]) && check(over, &[(1, Some(8), None)]));
        assert!(!check(over, &[(1, Some(8), Some(9))]) && !check(over, &[(9, None, Some(0))]));
    }
}
