//! What is wrong with a policy source, and where.

use std::fmt;
use std::ops::Range;

/// A fault of a bundle's sources, for the person who wrote them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyFault {
    /// Path inside the bundle.
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// What is wrong: a lower-case fragment.
    pub message: String,
    /// What would help, where we know.
    pub help: Option<String>,
}

impl fmt::Display for PolicyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, " (help: {help})"))
    }
}

impl std::error::Error for PolicyFault {}

/// One file of the sources, while it is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) file: &'a str,
    pub(crate) text: &'a str,
}

impl<'a> Source<'a> {
    /// # Errors
    /// A fault when the bytes are not UTF-8.
    pub(crate) fn new(file: &'a str, bytes: &'a [u8]) -> Result<Self, PolicyFault> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Self { file, text }),
            Err(error) => {
                let text =
                    std::str::from_utf8(bytes.get(..error.valid_up_to()).unwrap_or_default()).unwrap_or_default();
                Err(Self { file, text }.fault(text.len(), "not UTF-8"))
            }
        }
    }

    /// A fault at a byte offset.
    pub(crate) fn fault(&self, offset: usize, message: impl Into<String>) -> PolicyFault {
        let end = (0..=offset.min(self.text.len())).rev().find(|end| self.text.is_char_boundary(*end)).unwrap_or(0);
        let before = self.text.get(..end).unwrap_or_default();
        let line = before.matches('\n').count().saturating_add(1);
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count().saturating_add(1);
        PolicyFault {
            file: self.file.to_owned(),
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
            message: message.into(),
            help: None,
        }
    }

    /// A fault at a span, with advice.
    pub(crate) fn advise(
        &self,
        span: &Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> PolicyFault {
        PolicyFault { help: Some(help.into()), ..self.fault(span.start, message) }
    }

    /// Reads the file as TOML into `T`.
    ///
    /// # Errors
    /// A fault where the file leaves the grammar, or the shape of `T`.
    pub(crate) fn read_toml<T: serde::de::DeserializeOwned>(&self) -> Result<T, PolicyFault> {
        toml::from_str(self.text).map_err(|error| {
            let message = error.message().lines().collect::<Vec<_>>().join("; ");
            self.fault(error.span().map_or(0, |span| span.start), message)
        })
    }
}

/// "did you mean": the name nearest to `wrong`, if one is near.
pub(crate) fn nearest<'n>(wrong: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let within = (wrong.chars().count() / 3).max(1);
    names
        .map(|name| (distance(wrong, name), name))
        .filter(|(distance, _)| *distance <= within)
        .min()
        .map(|(_, name)| name)
}

/// Levenshtein distance.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (position, l) in left.chars().enumerate() {
        let mut diagonal = position;
        let mut last = position + 1;
        let mut next = Vec::with_capacity(row.len());
        next.push(last);
        for (r, above) in right.iter().zip(row.iter().skip(1)) {
            last = (diagonal + usize::from(l != *r)).min(above + 1).min(last + 1);
            diagonal = *above;
            next.push(last);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_counts_lines_and_characters() {
        let source = Source { file: "a.toml", text: "x = 1\nä = \"ö\"\n" };
        let fault = source.fault(13, "odd");
        assert_eq!((fault.line, fault.column), (2, 6));
        assert_eq!(fault.to_string(), "a.toml:2:6: odd");
        assert_eq!((source.fault(usize::MAX, "").line, source.fault(7, "").column), (3, 1));
    }

    #[test]
    fn the_nearest_name_is_near() {
        let names = ["review", "renew", "billing"];
        assert_eq!(nearest("reviw", names.into_iter()), Some("review"));
        assert_eq!(nearest("biling", names.into_iter()), Some("billing"));
        assert_eq!(nearest("contracts", names.into_iter()), None);
    }
}
