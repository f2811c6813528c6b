//! Tool patterns: dotted segments, each a literal or `*`, with an optional `**` at the end.
//!
//! Nothing more general, because the meet of two such patterns is again one such pattern or nothing. A star inside
//! a segment would break that.

use std::fmt;
use std::str::FromStr;

use crate::id::ToolName;
use crate::limits::LINK_TEXT_BYTES_MAX;

/// Segments of one pattern. Tools are called `system.object.verb`; eight leaves room.
pub const TOOL_SEGMENTS_MAX: usize = 8;

/// Which tools: `contracts.read`, `crm.*`, `tickets.**`, `**`.
///
/// `*` stands for exactly one segment, a closing `**` for any number of them, none included.
// INVARIANT: the text is canonical; equal patterns have equal texts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ToolPattern(Box<str>);

/// A text is no tool pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{found}` is no tool pattern: up to {TOOL_SEGMENTS_MAX} dotted segments, each `*` or free of `*`; `**` only at the end, and not after a lone `*`"
)]
pub struct InvalidPattern {
    /// The text, cut to 64 characters, with control characters escaped.
    pub found: String,
}

impl ToolPattern {
    /// Checks the text and makes it a pattern.
    ///
    /// # Errors
    /// [`InvalidPattern`] for anything that the rules above do not allow.
    pub fn new(text: &str) -> Result<Self, InvalidPattern> {
        let segments = text.split('.').count();
        let printable = text.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
        let each = text.split('.').enumerate().all(|(at, segment)| match segment {
            "*" => true,
            // A name has a first segment, so `*.**` would be a second spelling of `**`.
            "**" => at + 1 == segments && text != "*.**",
            literal => !literal.is_empty() && !literal.contains('*'),
        });
        if printable && each && segments <= TOOL_SEGMENTS_MAX && text.len() <= LINK_TEXT_BYTES_MAX {
            Ok(Self(text.into()))
        } else {
            Err(InvalidPattern { found: text.chars().take(64).flat_map(char::escape_default).collect() })
        }
    }

    /// The pattern that matches this tool and no other.
    ///
    /// # Errors
    /// [`InvalidPattern`] when the name is one that no pattern can spell.
    pub fn exact(tool: &ToolName) -> Result<Self, InvalidPattern> {
        Self::new(tool.as_str()).and_then(|pattern| {
            if pattern.is_exact() { Ok(pattern) } else { Err(InvalidPattern { found: pattern.0.into() }) }
        })
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it names one tool.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        !self.0.contains('*')
    }

    /// Whether the tool is one of those meant.
    #[must_use]
    pub fn matches(&self, tool: &str) -> bool {
        let mut segments = tool.split('.');
        for mine in self.0.split('.') {
            match (mine, segments.next()) {
                ("**", _) => return true,
                ("*", Some(_)) => {}
                (literal, Some(theirs)) if literal == theirs => {}
                _ => return false,
            }
        }
        segments.next().is_none()
    }

    /// The pattern that matches what both match; `None` when there is no such tool.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Option<Self> {
        if self.is_exact() {
            return other.matches(&self.0).then(|| self.clone());
        }
        if other.is_exact() {
            return self.matches(&other.0).then(|| other.clone());
        }
        let (mut left, mut right) = (self.0.split('.'), other.0.split('.'));
        let mut out: Vec<&str> = Vec::with_capacity(TOOL_SEGMENTS_MAX);
        loop {
            match (left.next(), right.next()) {
                (None, None) => break,
                // `**` stands for whatever the other side still says, be it nothing.
                (Some("**"), rest) => {
                    out.extend(rest);
                    out.extend(right);
                    break;
                }
                (rest, Some("**")) => {
                    out.extend(rest);
                    out.extend(left);
                    break;
                }
                (Some("*"), Some(segment)) | (Some(segment), Some("*")) => out.push(segment),
                (Some(mine), Some(theirs)) if mine == theirs => out.push(mine),
                _ => return None,
            }
        }
        Some(Self(out.join(".").into()))
    }

    /// Whether `other` matches whatever this one matches. For leaving out what says nothing, and for diagnostics.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.meet(other).as_ref() == Some(self)
    }
}

impl fmt::Display for ToolPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ToolPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ToolPattern({})", self.0)
    }
}

impl FromStr for ToolPattern {
    type Err = InvalidPattern;
    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every text of up to `depth` segments over the alphabet.
    fn words(alphabet: &[&str], depth: usize) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        let mut last = vec![String::new()];
        for _ in 0..depth {
            last = last
                .iter()
                .flat_map(|head| alphabet.iter().map(move |tail| format!("{head}.{tail}")))
                .map(|word| word.trim_start_matches('.').to_owned())
                .collect();
            all.extend(last.clone());
        }
        all
    }

    fn patterns() -> Vec<ToolPattern> {
        let heads = words(&["a", "b", "*"], 3);
        let open = heads.iter().map(|head| format!("{head}.**")).chain(["**".to_owned()]);
        heads.iter().cloned().chain(open).filter_map(|text| ToolPattern::new(&text).ok()).collect()
    }

    /// Clauses L-1 and L-3: 78 patterns, each with each, on every tool name of up to five segments.
    #[test]
    fn the_meet_is_exact() {
        let (all, tools) = (patterns(), words(&["a", "b", "c"], 5));
        assert_eq!((all.len(), tools.len()), (78, 363));
        for a in &all {
            for b in &all {
                let meet = a.meet(b);
                assert_eq!(meet, b.meet(a), "{a} ∧ {b}");
                if let Some(meet) = &meet {
                    assert_eq!(ToolPattern::new(meet.as_str()).as_ref(), Ok(meet), "the meet of patterns is one");
                }
                for tool in &tools {
                    let both = a.matches(tool) && b.matches(tool);
                    assert_eq!(meet.as_ref().is_some_and(|meet| meet.matches(tool)), both, "{a} ∧ {b} on {tool}");
                }
            }
        }
    }

    #[test]
    fn the_meet_is_associative_and_idempotent() {
        let all = patterns();
        let meet = |a: &Option<ToolPattern>, b: &ToolPattern| a.as_ref().and_then(|a| a.meet(b));
        for a in &all {
            assert_eq!(a.meet(a).as_ref(), Some(a));
            for b in &all {
                for c in &all {
                    let left = meet(&a.meet(b), c);
                    let right = b.meet(c).and_then(|right| a.meet(&right));
                    assert_eq!(left, right, "{a}, {b}, {c}");
                }
            }
        }
    }

    /// The order that the meet defines is inclusion of what is matched.
    #[test]
    fn within_is_inclusion() {
        let (all, tools) = (patterns(), words(&["a", "b", "c"], 5));
        for a in &all {
            for b in &all {
                let included = tools.iter().filter(|tool| a.matches(tool)).all(|tool| b.matches(tool));
                assert_eq!(a.is_within(b), included, "{a} within {b}");
            }
        }
    }

    #[test]
    fn texts_that_are_no_patterns_are_refused() {
        let long = format!("a.{}", "b".repeat(LINK_TEXT_BYTES_MAX - 1));
        for bad in
            ["", ".", "a.", ".a", "a..b", "a*", "*a", "a.b*c", "***", "*.**", "**.a", "a.**.b", "a b", "ä", &long]
        {
            assert!(ToolPattern::new(bad).is_err(), "{bad}");
        }
        assert!(ToolPattern::new("a.b.c.d.e.f.g.h.i").is_err());
        assert!(ToolPattern::new("a.b.c.d.e.f.g.**").is_ok());
        for name in ["*", "a.**", "a..b", "a*b"] {
            assert!(ToolName::new(name).is_ok_and(|name| ToolPattern::exact(&name).is_err()), "{name}");
        }
    }
}
