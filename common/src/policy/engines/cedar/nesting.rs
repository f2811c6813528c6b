//! How deep policies and schemas may be nested. Cedar's parser, and every walk over what it makes, goes as deep as the
//! text does; without a bound, a file of a few kilobytes ends the process that reads it. Clause P-53.

use crate::policy::fault::{PolicyFault, Source};

/// Brackets inside brackets.
const BRACKETS_MAX: usize = 64;
/// Operators of one policy or declaration: a chain of them is as deep as it is long.
const OPERATORS_MAX: usize = 1_024;

/// What one policy or declaration has so far.
#[derive(Default)]
struct Depth {
    brackets: usize,
    operators: usize,
}

/// Looks at the text before anything parses it. Strings and comments count for nothing.
///
/// # Errors
/// The place at which it becomes too deep.
pub(super) fn check(source: &Source<'_>) -> Result<(), PolicyFault> {
    let bytes = source.text.as_bytes();
    let (mut depth, mut at) = (Depth::default(), 0usize);
    while let Some(byte) = bytes.get(at) {
        let after = bytes.get(at.saturating_add(1));
        let mut next = at.saturating_add(1);
        match byte {
            b'"' => next = end_of_string(bytes, next),
            b'/' if after == Some(&b'/') => next = end_of_line(bytes, next),
            b'(' | b'[' | b'{' => depth.brackets = depth.brackets.saturating_add(1),
            b')' | b']' | b'}' => depth.brackets = depth.brackets.saturating_sub(1),
            b';' if depth.brackets == 0 => depth = Depth::default(),
            b'&' | b'|' | b'!' | b'+' | b'-' | b'*' | b'.' | b'<' | b'>' => {
                depth.operators = depth.operators.saturating_add(1);
                // `&&`, `||`, `<=`: one.
                if after.is_some_and(|after| after == byte && b"&|".contains(after)) {
                    next = next.saturating_add(1);
                }
            }
            b'i' if is_word(bytes, at, b"if") => depth.operators = depth.operators.saturating_add(1),
            _ => {}
        }
        if depth.brackets > BRACKETS_MAX {
            let help = "name parts of the condition in policies of their own";
            return Err(source.advise(
                &(at..next),
                format!("more than {BRACKETS_MAX} brackets inside each other"),
                help,
            ));
        }
        if depth.operators > OPERATORS_MAX {
            let help = "split it into several policies: each permits or forbids by itself";
            return Err(source.advise(
                &(at..next),
                format!("more than {OPERATORS_MAX} operators in one policy or declaration"),
                help,
            ));
        }
        at = next;
    }
    Ok(())
}

fn end_of_string(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at.saturating_add(1),
            b'\\' => at = at.saturating_add(2),
            _ => at = at.saturating_add(1),
        }
    }
    bytes.len()
}

fn end_of_line(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    rest.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |length| from.saturating_add(length))
}

fn is_word(bytes: &[u8], at: usize, word: &[u8]) -> bool {
    let is_letter = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let end = at.saturating_add(word.len());
    let before = at.checked_sub(1).and_then(|at| bytes.get(at));
    bytes.get(at..end) == Some(word) && !is_letter(before) && !is_letter(bytes.get(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Option<String> {
        check(&Source { file: "policies/deep.cedar", text }).err().map(|fault| fault.to_string())
    }

    fn condition(inside: &str) -> String {
        format!("permit (principal, action, resource) when {{ {inside} }};")
    }

    #[test]
    fn brackets_are_counted_where_they_nest_and_nowhere_else() {
        let deep = |count: usize| condition(&format!("{}true{}", "(".repeat(count), ")".repeat(count)));
        assert_eq!(fault(&deep(BRACKETS_MAX - 1)), None);
        assert!(fault(&deep(BRACKETS_MAX)).is_some_and(|fault| fault.contains("more than 64 brackets")));
        assert_eq!(fault(&deep(20).repeat(100)), None);
        assert_eq!(fault(&condition(&format!("context.a == \"\\\"{}\"", "(".repeat(100)))), None);
        assert_eq!(fault(&format!("// {}\n{}", "(".repeat(100), condition("true"))), None);
        assert!(fault(&"Set<".repeat(2_000)).is_some());
    }

    #[test]
    fn operators_are_counted_for_each_policy() {
        let chain = |count: usize| condition(&vec!["true"; count].join(" && "));
        assert_eq!(fault(&chain(OPERATORS_MAX)), None);
        assert!(fault(&chain(OPERATORS_MAX + 2)).is_some_and(|fault| fault.contains("more than 1024 operators")));
        assert_eq!(fault(&chain(500).repeat(50)), None);
        for deep in [format!("{}true", "!".repeat(2_000)), format!("context{}", ".a".repeat(2_000))] {
            assert!(fault(&condition(&deep)).is_some());
        }
        let choice = format!("{}true", "if true then true else ".repeat(1_025));
        assert!(fault(&condition(&choice)).is_some());
        assert_eq!(fault(&condition(&vec!["iffy"; 2_000].join(", "))), None);
    }
}
