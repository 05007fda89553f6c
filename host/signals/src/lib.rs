//! nexus-signals
