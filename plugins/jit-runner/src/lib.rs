//! jit-runner
