//! Grades of proof that a caller has the envelope's key, and not only the envelope.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How much a caller has proven, weakest first. The positions stand in links and are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum Grade {
    /// Nothing: the envelope is a bearer.
    #[default]
    #[serde(rename = "none")]
    None,
    /// The connection is the holder's.
    P0,
    /// A tag with a key that the holder and one edge have agreed on.
    P1,
    /// A signature by the holder's key.
    P2,
}

impl Grade {
    /// Every grade; its number in a link is its place here.
    pub const ALL: [Self; 4] = [Self::None, Self::P0, Self::P1, Self::P2];

    /// The grade as descriptors, requests and configurations spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::P0 => "P0",
            Self::P1 => "P1",
            Self::P2 => "P2",
        }
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text is not a grade.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a grade is `none`, `P0`, `P1` or `P2`")]
pub struct UnknownGrade;

impl FromStr for Grade {
    type Err = UnknownGrade;
    fn from_str(text: &str) -> Result<Self, UnknownGrade> {
        Self::ALL.into_iter().find(|grade| grade.as_str() == text).ok_or(UnknownGrade)
    }
}
