//! What one instance may grow to.

use wasmtime::ResourceLimiter;

use crate::{
    config::GuestLimits,
    engine::{MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLES},
};

/// The limits of one store. Growing past them fails inside the guest: `memory.grow` answers −1.
#[derive(Debug)]
pub(crate) struct StoreLimits {
    /// Bytes that the memories of this store may still grow by, all together.
    memory_left: usize,
    table_elements: usize,
}

impl StoreLimits {
    pub(crate) fn new(limits: &GuestLimits) -> Self {
        Self { memory_left: limits.memory_bytes, table_elements: limits.table_elements }
    }
}

impl ResourceLimiter for StoreLimits {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let grown = desired.saturating_sub(current);
        let allowed = grown <= self.memory_left && maximum.is_none_or(|maximum| desired <= maximum);
        if allowed {
            self.memory_left -= grown;
        }
        Ok(allowed)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= self.table_elements && maximum.is_none_or(|maximum| desired <= maximum))
    }

    fn instances(&self) -> usize {
        MAX_CORE_INSTANCES as usize
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES as usize
    }

    fn tables(&self) -> usize {
        MAX_TABLES as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_share_one_budget() {
        let mut limits = StoreLimits::new(&GuestLimits { memory_bytes: 100, ..GuestLimits::default() });
        assert!(limits.memory_growing(0, 60, None).unwrap());
        assert!(!limits.memory_growing(0, 60, None).unwrap());
        assert!(limits.memory_growing(60, 100, None).unwrap());
        assert!(!limits.memory_growing(100, 101, None).unwrap());
    }

    #[test]
    fn tables_stop_at_the_limit() {
        let mut limits = StoreLimits::new(&GuestLimits { table_elements: 10, ..GuestLimits::default() });
        assert!(limits.table_growing(0, 10, None).unwrap());
        assert!(!limits.table_growing(0, 11, None).unwrap());
        assert!(!limits.table_growing(0, 9, Some(8)).unwrap());
    }
}
