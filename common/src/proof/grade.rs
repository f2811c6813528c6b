//! How much a caller has proven: that it has the envelope's key, and not only the envelope.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Grades of proof that the caller holds the envelope's key, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum Grade {
    /// None: the envelope is a bearer.
    #[default]
    #[serde(rename = "none")]
    None,
    /// The connection is the holder's. Nothing makes this grade yet.
    P0,
    /// A tag with a key that the holder and one edge have agreed on; good for that edge alone.
    P1,
    /// A signature by the holder's key; anybody can check it.
    P2,
}

impl Grade {
    const ALL: [(Self, &'static str); 4] = [(Self::None, "none"), (Self::P0, "P0"), (Self::P1, "P1"), (Self::P2, "P2")];

    /// The grade as descriptors and configurations spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.into_iter().find(|(grade, _)| *grade == self).map_or("none", |(_, text)| text)
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
        Self::ALL.into_iter().find(|(_, name)| *name == text).map(|(grade, _)| grade).ok_or(UnknownGrade)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_proof_is_more() {
        assert!(Grade::None < Grade::P0 && Grade::P0 < Grade::P1 && Grade::P1 < Grade::P2);
        for (grade, text) in Grade::ALL {
            assert_eq!((text.parse(), grade.to_string().as_str()), (Ok(grade), text));
        }
        assert_eq!("p1".parse::<Grade>(), Err(UnknownGrade));
        assert_eq!(Grade::default(), Grade::None);
    }
}
