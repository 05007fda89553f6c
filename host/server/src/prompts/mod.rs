//! Testing prompts: what their authors wrote down to ask, and what is looked at in the answers.

mod find;
mod report;
mod trial;

pub(crate) use find::{Found, Wanted, find};
pub(crate) use report::{Report, rounded};
pub(crate) use trial::{Outcome, Trial, judges};
