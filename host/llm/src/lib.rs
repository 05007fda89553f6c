//! nexus-llm
