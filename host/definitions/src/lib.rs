//! nexus-definitions
