//! Reading the members of a map: each is asked for by name, and what nobody asked for is a fault of the file.

use std::time::Duration;

use serde_saphyr::{Location, Spanned};

use super::complaint::{Book, printable};
use super::yaml::{Tree, Yaml, whole};

/// The longest single wait or window of a drill.
pub(super) const DURATION_MAX: Duration = Duration::from_secs(3_600);
/// Characters of one text.
const TEXT_MAX: usize = 4_000;

/// A map of the file, member by member.
pub(super) struct Fields<'t> {
    at: Location,
    left: Vec<(&'t Spanned<String>, &'t Tree)>,
    asked: Vec<&'static str>,
}

impl<'t> Fields<'t> {
    /// `tree` as a map; `what` names it in complaints.
    pub(super) fn of(tree: &'t Tree, book: &mut Book<'_>, what: &str) -> Option<Self> {
        match &tree.value {
            Yaml::Map(map) => Some(Self {
                at: tree.referenced,
                left: map.iter().map(|(key, value)| (key, value)).collect(),
                asked: Vec::new(),
            }),
            other => {
                book.wrong(tree.referenced, format!("{what} is {}; it must be a map", other.kind()));
                None
            }
        }
    }

    /// Where the map stands.
    pub(super) fn at(&self) -> Location {
        self.at
    }

    /// A member that may be absent.
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'t Tree> {
        self.asked.push(key);
        let place = self.left.iter().position(|(name, _)| name.value == key)?;
        Some(self.left.swap_remove(place).1)
    }

    /// A member that must be there.
    pub(super) fn require(&mut self, key: &'static str, book: &mut Book<'_>, help: &str) -> Option<&'t Tree> {
        let found = self.take(key);
        if found.is_none() {
            book.wrong_help(self.at, format!("`{key}` is missing"), help);
        }
        found
    }

    /// Members that nobody has asked for are unknown.
    pub(super) fn end(self, book: &mut Book<'_>) {
        for (key, _) in &self.left {
            book.unknown(key.referenced, "key", &key.value, &self.asked);
        }
    }

    /// The members with names that the file chooses.
    pub(super) fn rest(self) -> Vec<(&'t Spanned<String>, &'t Tree)> {
        self.left
    }
}

/// Text.
pub(super) fn text<'t>(tree: &'t Tree, book: &mut Book<'_>, what: &str) -> Option<&'t str> {
    match &tree.value {
        Yaml::Text(text) if text.chars().count() <= TEXT_MAX => Some(text),
        Yaml::Text(_) => {
            book.wrong(tree.referenced, format!("`{what}` has more than {TEXT_MAX} characters"));
            None
        }
        other => {
            book.wrong(tree.referenced, format!("`{what}` is {}; it must be text", other.kind()));
            None
        }
    }
}

/// True or false.
pub(super) fn flag(tree: &Tree, book: &mut Book<'_>, what: &str) -> Option<bool> {
    if let Yaml::Bool(value) = tree.value {
        return Some(value);
    }
    book.wrong(tree.referenced, format!("`{what}` is {}; it must be true or false", tree.value.kind()));
    None
}

/// A number of this range.
pub(super) fn number(tree: &Tree, book: &mut Book<'_>, what: &str, least: f64, most: f64) -> Option<f64> {
    let found = match &tree.value {
        Yaml::Number(value) if (least..=most).contains(value) => return Some(*value),
        Yaml::Number(value) => format!("{value}"),
        other => other.kind().to_owned(),
    };
    let range = match (least.is_finite(), most.is_finite()) {
        (true, true) => format!("a number from {least} to {most}"),
        (true, false) => format!("a number from {least}"),
        _ => "a number".to_owned(),
    };
    book.wrong(tree.referenced, format!("`{what}` is {found}; it must be {range}"));
    None
}

/// A whole number of this range.
pub(super) fn count(tree: &Tree, book: &mut Book<'_>, what: &str, least: u32, most: u32) -> Option<u32> {
    let value = number(tree, book, what, f64::from(least), f64::from(most))?;
    let count = whole(value).and_then(|count| u32::try_from(count).ok());
    if count.is_none() {
        book.wrong(tree.referenced, format!("`{what}` is {value}; it must be a whole number"));
    }
    count
}

/// A list.
pub(super) fn list<'t>(tree: &'t Tree, book: &mut Book<'_>, what: &str, most: usize) -> Option<&'t [Tree]> {
    match &tree.value {
        Yaml::List(list) if list.len() <= most => Some(list),
        Yaml::List(list) => {
            book.wrong(tree.referenced, format!("`{what}` has {} members; it has at most {most}", list.len()));
            None
        }
        other => {
            book.wrong(tree.referenced, format!("`{what}` is {}; it must be a list", other.kind()));
            None
        }
    }
}

/// A list of texts, or one text.
pub(super) fn texts<'t>(tree: &'t Tree, book: &mut Book<'_>, what: &str, most: usize) -> Vec<(Location, &'t str)> {
    if let Yaml::Text(text) = &tree.value {
        return vec![(tree.referenced, text)];
    }
    let items = list(tree, book, what, most).unwrap_or_default();
    items.iter().filter_map(|item| text(item, book, what).map(|text| (item.referenced, text))).collect()
}

/// A length of time: `5s`, `250ms`, `2m`, `1h`, or a number of seconds.
pub(super) fn duration(tree: &Tree, book: &mut Book<'_>, what: &str) -> Option<Duration> {
    let parsed = match &tree.value {
        Yaml::Number(secs) => millis(*secs, 1_000.0),
        Yaml::Text(text) => parse_millis(text),
        _ => None,
    };
    let found = match &tree.value {
        Yaml::Text(text) => format!("`{}`", printable(text)),
        Yaml::Number(value) => format!("{value}"),
        other => other.kind().to_owned(),
    };
    let duration = parsed.and_then(|millis| u64::try_from(millis).ok()).map(Duration::from_millis);
    match duration {
        Some(duration) if duration <= DURATION_MAX => Some(duration),
        Some(_) => {
            book.wrong(tree.referenced, format!("`{what}` is {found}; it is at most 1h"));
            None
        }
        None => {
            let help = "write `5s`, `250ms`, `2m`, `1h`, or a number of seconds";
            book.wrong_help(tree.referenced, format!("`{what}` is {found}; that is no length of time"), help);
            None
        }
    }
}

/// A length of time with a sign, in milliseconds: `+1h`, `-30s`.
pub(super) fn signed_millis(tree: &Tree, book: &mut Book<'_>, what: &str) -> Option<i64> {
    let parsed = match &tree.value {
        Yaml::Number(secs) => millis(*secs, 1_000.0),
        Yaml::Text(text) => parse_millis(text),
        _ => None,
    };
    let most = i64::try_from(DURATION_MAX.as_millis()).unwrap_or(i64::MAX);
    match parsed {
        Some(by) if by != 0 && by.abs() <= most * 24 * 365 => Some(by),
        _ => {
            let message = format!("`{what}` is no jump of a clock");
            book.wrong_help(tree.referenced, message, "write `+1h`, `-30s`: at most a year, not zero");
            None
        }
    }
}

fn millis(value: f64, unit: f64) -> Option<i64> {
    whole((value * unit).round()).filter(|_| value.is_finite())
}

fn parse_millis(text: &str) -> Option<i64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_lowercase());
    let unit = match text.strip_prefix(digits)? {
        "ms" => 1.0,
        "s" => 1_000.0,
        "m" => 60_000.0,
        "h" => 3_600_000.0,
        _ => return None,
    };
    let is_number = digits.trim_start_matches(['+', '-']).bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if !is_number {
        return None;
    }
    millis(digits.parse().ok()?, unit)
}

/// As drill files write it: `5s`, `250ms`.
pub(super) fn show(duration: Duration) -> String {
    let millis = duration.as_millis();
    match millis {
        0 => "0s".to_owned(),
        _ if millis.is_multiple_of(3_600_000) => format!("{}h", millis / 3_600_000),
        _ if millis.is_multiple_of(60_000) => format!("{}m", millis / 60_000),
        _ if millis.is_multiple_of(1_000) => format!("{}s", millis / 1_000),
        _ => format!("{millis}ms"),
    }
}
