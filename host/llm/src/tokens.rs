//! What answers used, as providers count. Pure.

/// What one message of a stream says; what it leaves out is not known yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reported {
    /// Tokens of the prompt that were not in the provider's cache.
    pub(crate) fresh: Option<u64>,
    /// Tokens of the prompt that were read from the cache.
    pub(crate) cache_read: Option<u64>,
    /// Tokens of the prompt that were written to the cache.
    pub(crate) cache_write: Option<u64>,
    /// Tokens of the answer.
    pub(crate) output: Option<u64>,
}

impl Reported {
    /// Takes over what a later message says; counts are cumulative.
    pub(crate) fn update(&mut self, later: Self) {
        self.fresh = later.fresh.or(self.fresh);
        self.cache_read = later.cache_read.or(self.cache_read);
        self.cache_write = later.cache_write.or(self.cache_write);
        self.output = later.output.or(self.output);
    }
}

/// What all answers to one request used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) fresh: u64,
    pub(crate) cache_read: u64,
    pub(crate) cache_write: u64,
    pub(crate) output: u64,
    /// Whether an answer was begun, or is still on its way, whose count was never told.
    pub(crate) incomplete: bool,
}

impl Tokens {
    /// All tokens of prompts, cached or not.
    pub(crate) fn input(&self) -> u64 {
        self.fresh.saturating_add(self.cache_read).saturating_add(self.cache_write)
    }

    /// Adds what one answer used.
    pub(crate) fn add(&mut self, answer: Reported) {
        let add = |sum: &mut u64, more: Option<u64>| *sum = sum.saturating_add(more.unwrap_or(0));
        add(&mut self.fresh, answer.fresh);
        add(&mut self.cache_read, answer.cache_read);
        add(&mut self.cache_write, answer.cache_write);
        add(&mut self.output, answer.output);
        self.incomplete |= answer.fresh.is_none() || answer.output.is_none();
    }
}

#[cfg(test)]
mod tests {
    use super::{Reported, Tokens};

    #[test]
    fn counts_are_cumulative_within_an_answer_and_added_over_answers() {
        let mut answer = Reported { fresh: Some(10), output: Some(1), ..Reported::default() };
        answer.update(Reported { output: Some(7), cache_read: Some(90), ..Reported::default() });
        let mut tokens = Tokens::default();
        tokens.add(answer);
        tokens.add(answer);
        assert_eq!((tokens.input(), tokens.output, tokens.incomplete), (200, 14, false));
        tokens.add(Reported { fresh: Some(1), ..Reported::default() });
        assert_eq!((tokens.input(), tokens.incomplete), (201, true));
    }
}
