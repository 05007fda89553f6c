//! nexus-state
