//! JSON pointers (RFC 6901) in which a segment `*` stands for every element or member.

use std::fmt;
use std::str::FromStr;

use super::Json;

/// A pointer into arguments or a result. `/items/*/id` reaches the id of every item; the empty one the whole value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pointer(Vec<Segment>);

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Named(String),
    Any,
}

/// One step from a value to a value inside it, as a walk takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'a> {
    /// Into the member of an object.
    Key(&'a str),
    /// Into the member of an object whose names are data, too: `*` does not stand for it.
    Field(&'a str),
    /// Into the element of an array.
    Index(usize),
}

/// A text is not a pointer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a JSON pointer: it is empty or starts with `/`, and `~` is written `~0`, `/` inside a name `~1`")]
pub struct InvalidPointer(pub String);

impl Segment {
    fn matches(&self, step: Step<'_>) -> bool {
        match (self, step) {
            (Self::Any, Step::Field(_)) => false,
            (Self::Any, Step::Key(_) | Step::Index(_)) => true,
            (Self::Named(name), Step::Key(key) | Step::Field(key)) => name == key,
            (Self::Named(name), Step::Index(index)) => *name == index.to_string(),
        }
    }
}

impl Pointer {
    /// Segments of the pointer.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it points at the whole value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it reaches exactly what this path leads to.
    #[must_use]
    pub fn is_at(&self, path: &[Step<'_>]) -> bool {
        self.len() == path.len() && self.is_above(path)
    }

    /// Whether it reaches what this path leads to, or something that contains it.
    #[must_use]
    pub fn is_above(&self, path: &[Step<'_>]) -> bool {
        self.len() <= path.len() && self.agrees(path)
    }

    /// Whether it may reach something inside of what this path leads to.
    #[must_use]
    pub fn is_below(&self, path: &[Step<'_>]) -> bool {
        self.len() > path.len() && self.agrees(path)
    }

    /// Whether it reaches what this path leads to once arrays at its end are taken apart: a pointer to an array of
    /// ids yields the ids.
    #[must_use]
    pub fn yields(&self, path: &[Step<'_>]) -> bool {
        self.is_above(path) && path.iter().skip(self.len()).all(|step| matches!(step, Step::Index(_)))
    }

    /// Whether some value could be reached by both, or lie below one and be reached by the other.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).all(|pair| match pair {
            (Segment::Named(left), Segment::Named(right)) => left == right,
            _ => true,
        })
    }

    /// Everything it reaches in `json`, arrays at its end taken apart. `None` if it reaches nothing at all.
    #[must_use]
    pub fn values<'a>(&self, json: &'a Json) -> Option<Vec<&'a Json>> {
        let mut reached = Vec::new();
        reach(&self.0, json, &mut reached);
        if reached.is_empty() {
            return None;
        }
        let mut values = Vec::new();
        for value in reached {
            take_apart(value, &mut values);
        }
        Some(values)
    }

    /// The name at its start, if it has one; arguments are declared by it.
    #[must_use]
    pub fn first_name(&self) -> Option<&str> {
        match self.0.first() {
            Some(Segment::Named(name)) => Some(name),
            _ => None,
        }
    }

    fn agrees(&self, path: &[Step<'_>]) -> bool {
        self.0.iter().zip(path).all(|(segment, step)| segment.matches(*step))
    }
}

fn reach<'a>(segments: &[Segment], json: &'a Json, out: &mut Vec<&'a Json>) {
    let Some((first, rest)) = segments.split_first() else {
        out.push(json);
        return;
    };
    match json {
        Json::Object(members) => {
            for (_, value) in members.iter().filter(|(key, _)| first.matches(Step::Key(key))) {
                reach(rest, value, out);
            }
        }
        Json::Array(elements) => {
            for (_, value) in elements.iter().enumerate().filter(|(index, _)| first.matches(Step::Index(*index))) {
                reach(rest, value, out);
            }
        }
        _ => {}
    }
}

fn take_apart<'a>(value: &'a Json, out: &mut Vec<&'a Json>) {
    match value {
        Json::Array(elements) => elements.iter().for_each(|element| take_apart(element, out)),
        other => out.push(other),
    }
}

/// A path as RFC 6901 writes it, for people, cut to 256 bytes.
pub(crate) fn path_text(path: &[Step<'_>]) -> String {
    let mut out = String::new();
    for step in path {
        out.push('/');
        match step {
            Step::Key(key) | Step::Field(key) => out.push_str(&escaped(key)),
            Step::Index(index) => out.push_str(&index.to_string()),
        }
    }
    let end = (0..=out.len().min(256)).rev().find(|end| out.is_char_boundary(*end)).unwrap_or(0);
    out.truncate(end);
    out
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

impl FromStr for Pointer {
    type Err = InvalidPointer;
    fn from_str(text: &str) -> Result<Self, InvalidPointer> {
        let invalid = || InvalidPointer(text.chars().take(128).collect());
        let Some(rest) = text.strip_prefix('/') else {
            return if text.is_empty() { Ok(Self(Vec::new())) } else { Err(invalid()) };
        };
        let segment = |part: &str| match part {
            "*" => Some(Segment::Any),
            _ => {
                let mut name = String::new();
                let mut chars = part.chars();
                while let Some(c) = chars.next() {
                    name.push(match c {
                        '~' => match chars.next() {
                            Some('0') => '~',
                            Some('1') => '/',
                            _ => return None,
                        },
                        other => other,
                    });
                }
                Some(Segment::Named(name))
            }
        };
        rest.split('/').map(segment).collect::<Option<_>>().map(Self).ok_or_else(invalid)
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|segment| match segment {
            Segment::Named(name) => write!(f, "/{}", escaped(name)),
            Segment::Any => f.write_str("/*"),
        })
    }
}

impl fmt::Debug for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pointer({self})")
    }
}
