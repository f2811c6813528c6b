//! Tool patterns: dotted segments, each a literal or `*`, with an optional `**` at the end.
//!
//! Nothing more general, because the meet of two such patterns is again one such pattern or nothing. A star inside
//! a segment would break that. A pattern keeps its text in itself, so that a meet asks for no memory.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use crate::id::ToolName;
use crate::limits::LINK_TEXT_BYTES_MAX;

/// Segments of one pattern. Tools are called `system.object.verb`; eight leaves room.
pub const TOOL_SEGMENTS_MAX: usize = 8;

/// Bytes of the longest pattern that matches any name: each segment of it stands for at least as many bytes of the
/// name, which has at most 128, and only `.**` can stand for none.
const BYTES_MAX: usize = LINK_TEXT_BYTES_MAX + OPEN_END.len();
/// What makes a pattern open at its end, behind other segments.
const OPEN_END: &[u8] = b".**";

/// Which tools: `contracts.read`, `crm.*`, `tickets.**`, `**`.
///
/// `*` stands for exactly one segment, a closing `**` for any number of them, none included.
// INVARIANT: the text is canonical; equal patterns have equal texts. Bytes behind it are zero.
#[derive(Clone)]
pub struct ToolPattern {
    bytes: [u8; BYTES_MAX],
    len: u8,
}

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
        let invalid = || InvalidPattern { found: text.chars().take(64).flat_map(char::escape_default).collect() };
        if printable && each && segments <= TOOL_SEGMENTS_MAX && text.len() <= LINK_TEXT_BYTES_MAX {
            let mut pattern = Self::EMPTY;
            pattern.push(text.as_bytes()).ok_or_else(invalid)?;
            Ok(pattern)
        } else {
            Err(invalid())
        }
    }

    /// The pattern that matches this tool and no other.
    ///
    /// # Errors
    /// [`InvalidPattern`] when the name is one that no pattern can spell.
    pub fn exact(tool: &ToolName) -> Result<Self, InvalidPattern> {
        Self::new(tool.as_str()).and_then(|pattern| {
            if pattern.is_exact() { Ok(pattern) } else { Err(InvalidPattern { found: pattern.to_string() }) }
        })
    }

    const EMPTY: Self = Self { bytes: [0; BYTES_MAX], len: 0 };

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // INVARIANT: `new` takes ASCII only, and a meet copies whole segments.
        std::str::from_utf8(self.text()).unwrap_or_default()
    }

    fn text(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    fn segments(&self) -> impl Iterator<Item = &[u8]> {
        self.text().split(|byte| *byte == b'.')
    }

    /// Puts bytes behind the text; `None` when there is no room.
    fn push(&mut self, bytes: &[u8]) -> Option<()> {
        let (from, to) = (usize::from(self.len), usize::from(self.len).checked_add(bytes.len())?);
        self.bytes.get_mut(from..to)?.copy_from_slice(bytes);
        self.len = u8::try_from(to).ok()?;
        Some(())
    }

    /// Puts a segment behind the text; `None` when the pattern would match no name that there can be.
    fn push_segment(&mut self, segment: &[u8]) -> Option<()> {
        if self.len > 0 {
            self.push(b".")?;
        }
        self.push(segment)?;
        (segment == b"**" || usize::from(self.len) <= LINK_TEXT_BYTES_MAX).then_some(())
    }

    /// Whether it names one tool.
    #[must_use]
    pub fn is_exact(&self) -> bool {
        !self.text().contains(&b'*')
    }

    /// Whether the tool is one of those meant. The name of a tool has at most 128 bytes.
    #[must_use]
    pub fn matches(&self, tool: &str) -> bool {
        self.matches_bytes(tool.as_bytes())
    }

    fn matches_bytes(&self, tool: &[u8]) -> bool {
        let mut theirs = tool.split(|byte| *byte == b'.');
        for mine in self.segments() {
            match (mine, theirs.next()) {
                (b"**", _) => return true,
                (b"*", Some(_)) => {}
                (literal, Some(segment)) if literal == segment => {}
                _ => return false,
            }
        }
        theirs.next().is_none()
    }

    /// The pattern that matches what both match; `None` when there is no such tool.
    #[must_use]
    pub fn meet(&self, other: &Self) -> Option<Self> {
        if self.is_exact() {
            return other.matches_bytes(self.text()).then(|| self.clone());
        }
        if other.is_exact() {
            return self.matches_bytes(other.text()).then(|| other.clone());
        }
        let (mut left, mut right) = (self.segments(), other.segments());
        let mut met = Self::EMPTY;
        loop {
            match (left.next(), right.next()) {
                (None, None) => break,
                // `**` stands for whatever the other side still says, be it nothing.
                (Some(b"**"), rest) => {
                    rest.into_iter().chain(right).try_for_each(|segment| met.push_segment(segment))?;
                    break;
                }
                (rest, Some(b"**")) => {
                    rest.into_iter().chain(left).try_for_each(|segment| met.push_segment(segment))?;
                    break;
                }
                (Some(b"*"), Some(segment)) | (Some(segment), Some(b"*")) => met.push_segment(segment)?,
                (Some(mine), Some(theirs)) if mine == theirs => met.push_segment(mine)?,
                _ => return None,
            }
        }
        Some(met)
    }

    /// Whether `other` matches whatever this one matches. For leaving out what says nothing, and for diagnostics.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.meet(other).as_ref() == Some(self)
    }
}

impl PartialEq for ToolPattern {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for ToolPattern {}

impl PartialOrd for ToolPattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ToolPattern {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text().cmp(other.text())
    }
}

impl Hash for ToolPattern {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text().hash(state);
    }
}

impl fmt::Display for ToolPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ToolPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ToolPattern({})", self.as_str())
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

    /// A meet whose every match would be longer than a name can be is nothing; one that fits is kept to the last byte.
    #[test]
    fn the_meet_of_long_patterns_is_exact() {
        let pattern = |text: String| ToolPattern::new(&text).expect("a pattern");
        let left = |bytes: usize| pattern(format!("{}.*.**", "a".repeat(bytes)));
        let right = |bytes: usize| pattern(format!("*.{}", "b".repeat(bytes)));
        let longest = format!("{}.{}", "a".repeat(100), "b".repeat(27));
        assert_eq!(longest.len(), LINK_TEXT_BYTES_MAX);
        let open = pattern(format!("*.{}.**", "b".repeat(27)));
        let met = left(100).meet(&open).expect("a name fits");
        assert_eq!(met.as_str(), format!("{longest}.**"));
        assert!(met.matches(&longest) && left(100).matches(&longest) && open.matches(&longest));
        assert_eq!(left(100).meet(&right(27)).map(|met| met.to_string()), Some(longest));
        assert_eq!(left(100).meet(&right(28)), None);
        assert_eq!(left(101).meet(&open), None);
        assert_eq!(left(120).meet(&right(126)), None);
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
