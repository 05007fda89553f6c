//! nexus-guest
