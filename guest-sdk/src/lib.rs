//! What the author of a component for Nexus depends on: a crate that is a `cdylib`, built for `wasm32-wasip2`.
//!
//! # Operations
//!
//! An operation is one function of its input. It answers, or it abstains and the model answers instead:
//!
//! ```
//! use nexus_guest::Abstain;
//!
//! #[derive(serde::Deserialize)]
//! struct Input {
//!     celsius: f64,
//! }
//!
//! #[derive(serde::Serialize)]
//! struct Output {
//!     fahrenheit: f64,
//! }
//!
//! fn run(input: Input) -> Result<Output, Abstain> {
//!     if input.celsius < -273.15 {
//!         return Err(Abstain::because("colder than physics allows"));
//!     }
//!     Ok(Output { fahrenheit: input.celsius * 1.8 + 32.0 })
//! }
//!
//! nexus_guest::operation!(run);
//! # fn main() {}
//! ```
//!
//! What it reads and writes is the JSON that the operation's schemas describe: whatever serde derives has to agree with
//! them.
//!
//! # Plugins
//!
//! A plugin is any component; the functions that it exports are tools. [`plugin!`] makes Rust of the WIT that says what they
//! are; [`host`] is what Nexus itself offers to it, and [`mcp`] what it can say to MCP clients alone.

mod answer;

pub mod bindings;
pub mod host;
pub mod mcp;
mod plugin;

use std::borrow::Cow;

#[doc(hidden)]
pub use answer::answer;
#[doc(hidden)]
pub use wit_bindgen;

/// The operation will not answer this input. The host asks the model instead, within the same request.
///
/// Abstaining is a right answer: it costs a model call, where a wrong answer costs trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abstain {
    reason: Cow<'static, str>,
}

impl Abstain {
    /// Abstains for `reason`, which ends up in the operation's statistics: say the kind of input, not the input.
    pub fn because(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: reason.into() }
    }

    /// Why the operation abstained.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// Exports `run`, a `fn(Input) -> Result<Output, Abstain>`, as the component's operation. Once per component.
///
/// `Input` is anything that serde deserialises and `Output` anything that it serialises. An input that is not an `Input`
/// is a failure of the component: the host has checked it against the operation's input schema before.
#[macro_export]
macro_rules! operation {
    ($run:path) => {
        const _: () = {
            struct Operation;

            impl $crate::bindings::exports::nexus::operation::handler::Guest for Operation {
                fn run(input: ::std::string::String) -> $crate::bindings::exports::nexus::operation::handler::Outcome {
                    $crate::answer($run, &input)
                }
            }

            // Elsewhere the names of a component's exports mean nothing, and linkers stumble over them.
            #[cfg(target_arch = "wasm32")]
            $crate::bindings::export!(Operation);
        };
    };
}
