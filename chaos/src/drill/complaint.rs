//! What is wrong with a drill file: where, what, and what its author may have meant.

use std::fmt;

use serde::Serialize;
use serde_saphyr::Location;

/// Characters of the line that are shown; a file may be one long line.
const SHOWN_MAX: usize = 120;
/// How much of it stands before the caret when the line is cut.
const BEFORE_CARET: usize = 60;

/// One thing that is wrong, with the line in which it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Complaint {
    /// The file, as it was named.
    pub file: String,
    /// From 1; 0 when it is the file as a whole.
    pub line: u64,
    /// In characters, from 1.
    pub column: u64,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// The line, without what terminals would act on.
    pub source: Option<String>,
    /// Where in `source` the caret stands.
    caret: usize,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}", self.message)?;
        if let Some(source) = &self.source {
            write!(f, "\n  | {source}\n  | {}^", " ".repeat(self.caret))?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  = {help}")?;
        }
        Ok(())
    }
}

/// Everything that is wrong with one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Complaints(pub Vec<Complaint>);

impl std::error::Error for Complaints {}

impl fmt::Display for Complaints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, complaint) in self.0.iter().enumerate() {
            let gap = if number == 0 { "" } else { "\n\n" };
            write!(f, "{gap}{complaint}")?;
        }
        Ok(())
    }
}

/// Collects complaints while a file is read.
pub(super) struct Book<'a> {
    file: &'a str,
    text: &'a str,
    complaints: Vec<Complaint>,
}

impl<'a> Book<'a> {
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text, complaints: Vec::new() }
    }

    /// Something is wrong there.
    pub(super) fn wrong(&mut self, at: Location, message: impl Into<String>) {
        self.push(at, message.into(), None);
    }

    /// Something is wrong there, and this is what to do.
    pub(super) fn wrong_help(&mut self, at: Location, message: impl Into<String>, help: impl Into<String>) {
        self.push(at, message.into(), Some(help.into()));
    }

    /// A name that nobody knows, and those that are known.
    pub(super) fn unknown(&mut self, at: Location, what: &str, found: &str, known: &[&str]) {
        let help = nearest(found, known)
            .map_or_else(|| format!("there are {}", listed(known)), |near| format!("did you mean `{near}`?"));
        self.push(at, format!("there is no {what} `{}`", printable(found)), Some(help));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.complaints.is_empty()
    }

    pub(super) fn end(mut self) -> Complaints {
        self.complaints.sort_by_key(|complaint| (complaint.line, complaint.column));
        self.complaints.dedup();
        Complaints(self.complaints)
    }

    fn push(&mut self, at: Location, message: String, help: Option<String>) {
        let (line, column) = (at.line(), at.column());
        let index = usize::try_from(line).ok().and_then(|line| line.checked_sub(1));
        let source = index.and_then(|index| self.text.lines().nth(index));
        let (source, caret) = match source {
            Some(source) => window(source, usize::try_from(column).unwrap_or(1).saturating_sub(1)),
            None => (None, 0),
        };
        self.complaints.push(Complaint { file: self.file.to_owned(), line, column, message, help, source, caret });
    }
}

/// The part of a line around a column, and where the column is in it.
fn window(line: &str, column: usize) -> (Option<String>, usize) {
    let skip = if line.chars().count() <= SHOWN_MAX { 0 } else { column.saturating_sub(BEFORE_CARET) };
    let shown: String = printable(&line.chars().skip(skip).take(SHOWN_MAX).collect::<String>());
    (Some(shown.trim_end().to_owned()), column - skip)
}

/// Without what a terminal would act on; as many characters as before.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c == '\t' {
                ' '
            } else if c.is_control() {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// The known name that somebody may have meant.
pub(super) fn nearest<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    let close = known.iter().map(|name| (strsim::jaro_winkler(found, name), *name));
    // Of equally near ones the first.
    let best = close.min_by(|(one, _), (other, _)| other.total_cmp(one))?;
    let part =
        || known.iter().find(|name| found.len() > 3 && (name.contains(found) || found.contains(**name))).copied();
    if best.0 >= 0.82 { Some(best.1) } else { part() }
}

/// `a`, `b` and `c`.
pub(super) fn listed(names: &[&str]) -> String {
    match names {
        [] => "none".to_owned(),
        [one] => format!("`{one}`"),
        [most @ .., last] => {
            let most: Vec<String> = most.iter().map(|name| format!("`{name}`")).collect();
            format!("{} and `{last}`", most.join(", "))
        }
    }
}
