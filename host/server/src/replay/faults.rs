//! Faults on purpose. Pure.

use std::{fmt, str::FromStr};

/// What a stand-in can do wrong when it is told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// HTTP 429 with `Retry-After: 1`.
    RateLimit,
    /// HTTP 500.
    ServerError,
    /// The connection ends in the middle of the answer.
    Truncate,
    /// The answer stops in the middle and the connection stays open.
    Stall,
    /// The answer is prose, and so are the arguments of tools.
    NotJson,
    /// The answer, or the arguments of each tool, is JSON that fails most schemas.
    BadSchema,
}

impl FaultKind {
    const ALL: [Self; 6] =
        [Self::RateLimit, Self::ServerError, Self::Truncate, Self::Stall, Self::NotJson, Self::BadSchema];

    /// The word used in `--faults` and in the counts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RateLimit => "429",
            Self::ServerError => "500",
            Self::Truncate => "truncate",
            Self::Stall => "stall",
            Self::NotJson => "not_json",
            Self::BadSchema => "bad_schema",
        }
    }
}

/// How often each fault happens, written `429=0.01,truncate=0.005`: shares of the requests, together at most 1.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Faults(Vec<(FaultKind, f64)>);

/// Why a list of faults was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum InvalidFaults {
    /// No such fault.
    #[error("`{0}` is no fault: use 429, 500, truncate, stall, not_json or bad_schema, as in `429=0.01,stall=0.005`")]
    Unknown(String),
    /// Named twice.
    #[error("`{0}` is there twice")]
    Twice(&'static str),
    /// Its share is no number from 0 to 1.
    #[error("the share of `{0}` must be a number from 0 to 1")]
    Share(&'static str),
    /// Too much.
    #[error("the shares add up to {0}, which is more than 1")]
    Sum(f64),
}

impl Faults {
    /// The fault for a draw from 0 up to 1, if any.
    pub(super) fn pick(&self, draw: f64) -> Option<FaultKind> {
        let mut end = 0.0;
        self.0.iter().find_map(|&(kind, share)| {
            end += share;
            (draw < end).then_some(kind)
        })
    }
}

impl FromStr for Faults {
    type Err = InvalidFaults;

    fn from_str(text: &str) -> Result<Self, InvalidFaults> {
        let mut faults: Vec<(FaultKind, f64)> = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, share) = part.split_once('=').unwrap_or((part, ""));
            let known = FaultKind::ALL.into_iter().find(|kind| kind.as_str() == name.trim());
            let kind = known.ok_or_else(|| InvalidFaults::Unknown(name.trim().to_owned()))?;
            if faults.iter().any(|&(other, _)| other == kind) {
                return Err(InvalidFaults::Twice(kind.as_str()));
            }
            let share: f64 = share.trim().parse().map_err(|_| InvalidFaults::Share(kind.as_str()))?;
            if !(0.0..=1.0).contains(&share) {
                return Err(InvalidFaults::Share(kind.as_str()));
            }
            faults.push((kind, share));
        }
        let sum: f64 = faults.iter().map(|&(_, share)| share).sum();
        if sum > 1.0 + 1e-9 { Err(InvalidFaults::Sum(sum)) } else { Ok(Self(faults)) }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (kind, share)) in self.0.iter().enumerate() {
            write!(f, "{}{}={share}", if n == 0 { "" } else { "," }, kind.as_str())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{FaultKind, Faults, InvalidFaults};

    #[test]
    fn shares_decide() {
        let faults: Faults = "429=0.1, stall=0.2".parse().unwrap();
        assert_eq!(faults.pick(0.05), Some(FaultKind::RateLimit));
        assert_eq!(faults.pick(0.25), Some(FaultKind::Stall));
        assert_eq!(faults.pick(0.31), None);
        assert_eq!(faults.to_string(), "429=0.1,stall=0.2");
        assert_eq!("".parse(), Ok(Faults::default()));
        assert_eq!(Faults::default().pick(0.0), None);
        assert_eq!("500=1".parse::<Faults>().unwrap().pick(0.999_999), Some(FaultKind::ServerError));
    }

    #[test]
    fn mistakes_are_refused() {
        assert_eq!("418=0.1".parse::<Faults>(), Err(InvalidFaults::Unknown("418".into())));
        assert_eq!("429=0.1,429=0.1".parse::<Faults>(), Err(InvalidFaults::Twice("429")));
        for text in ["429", "429=x", "429=2", "429=-1", "429=NaN"] {
            assert_eq!(text.parse::<Faults>(), Err(InvalidFaults::Share("429")), "{text}");
        }
        assert!(matches!("429=0.6,500=0.6".parse::<Faults>(), Err(InvalidFaults::Sum(_))));
    }
}
