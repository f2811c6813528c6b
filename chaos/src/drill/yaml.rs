//! A YAML file as a tree in which every key and every value knows where it stands.
//!
//! Reading into a tree first, and not into structs at once, finds every fault of a file in one go, and can point at keys
//! as well as at values.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

use super::complaint::{Book, Complaints};

/// Bytes of a drill file. The longest that we ship has 4 KiB.
pub const FILE_BYTES_MAX: usize = 256 * 1024;
/// Keys and values of a drill file: 200 steps of 20 each, several times over.
const NODES_MAX: usize = 20_000;
/// Nesting; a step's link quality is 5 deep.
const DEPTH_MAX: usize = 16;

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Yaml {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Tree>),
    Map(Vec<(Spanned<String>, Tree)>),
}

/// A value and where it stands.
pub(super) type Tree = Spanned<Yaml>;

impl Yaml {
    /// What it is, for complaints.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Number(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }

    /// As JSON, for the journal.
    pub(super) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(value) => (*value).into(),
            Self::Number(value) => whole(*value).map_or_else(|| (*value).into(), Into::into),
            Self::Text(text) => text.as_str().into(),
            Self::List(list) => list.iter().map(|item| item.value.to_json()).collect(),
            Self::Map(map) => map.iter().map(|(key, value)| (key.value.clone(), value.value.to_json())).collect(),
        }
    }
}

/// A number without a fraction, as such. Beyond 2^53 numbers of a file are not exact.
pub(super) fn whole(value: f64) -> Option<i64> {
    let is_whole = value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0;
    is_whole.then(|| format!("{value:.0}").parse().ok()).flatten()
}

impl<'de> Deserialize<'de> for Yaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Shape)
    }
}

struct Shape;

impl<'de> Visitor<'de> for Shape {
    type Value = Yaml;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Yaml, E> {
        Ok(Yaml::Null)
    }

    fn visit_none<E>(self) -> Result<Yaml, E> {
        Ok(Yaml::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Yaml, E> {
        Ok(Yaml::Bool(value))
    }

    #[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "numbers of a file count to thousands")]
    fn visit_i64<E>(self, value: i64) -> Result<Yaml, E> {
        Ok(Yaml::Number(value as f64))
    }

    #[expect(clippy::cast_precision_loss, clippy::as_conversions, reason = "numbers of a file count to thousands")]
    fn visit_u64<E>(self, value: u64) -> Result<Yaml, E> {
        Ok(Yaml::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Yaml, E> {
        Ok(Yaml::Number(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Yaml, E> {
        Ok(Yaml::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Yaml, E> {
        Ok(Yaml::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Yaml, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = access.next_element()? {
            list.push(item);
        }
        Ok(Yaml::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Yaml, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = access.next_entry()? {
            map.push(entry);
        }
        Ok(Yaml::Map(map))
    }
}

/// Reads one document.
pub(super) fn parse(file: &str, text: &str) -> Result<Tree, Complaints> {
    let mut book = Book::new(file, text);
    if text.len() > FILE_BYTES_MAX {
        let message = format!("the file has {} bytes; a drill file has at most {FILE_BYTES_MAX}", text.len());
        book.wrong(Location::UNKNOWN, message);
        return Err(book.end());
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_nodes: NODES_MAX,
            max_events: 4 * NODES_MAX,
            max_depth: DEPTH_MAX,
            max_aliases: 64,
            max_documents: 1,
        },
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let at = error.location().unwrap_or(Location::UNKNOWN);
        let whole = error.to_string();
        let message = whole.lines().next().unwrap_or("it is not YAML");
        // The parser names the place in words as well; we show it.
        let message = message.split(" at line ").next().unwrap_or(message).trim_start_matches("error: ");
        book.wrong_help(
            at,
            format!("this is not YAML that can be read: {message}"),
            "compare with a shipped drill: `remit drill ls`",
        );
        book.end()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_and_value_knows_its_place() {
        let tree = parse("f", "a:\n  - { b: 1, c: [x, 2.5] }\n  - yes it is\nd: ~\n").unwrap();
        let Yaml::Map(map) = &tree.value else { panic!("{tree:?}") };
        assert_eq!((map[0].0.referenced.line(), map[0].0.referenced.column()), (1, 1));
        let Yaml::List(list) = &map[0].1.value else { panic!("{map:?}") };
        let Yaml::Map(inner) = &list[0].value else { panic!("{list:?}") };
        assert_eq!((inner[1].0.referenced.line(), inner[1].0.referenced.column()), (2, 13));
        assert_eq!((inner[0].1.referenced.line(), inner[0].1.referenced.column()), (2, 10));
        let json = serde_json::json!({"a": [{"b": 1, "c": ["x", 2.5]}, "yes it is"], "d": null});
        assert_eq!(tree.value.to_json(), json);
    }

    #[test]
    fn what_is_not_yaml_is_shown_where_it_stands() {
        for text in ["a: [1, 2\nb: 3\n", "a: 1\na: 2\n", "a: {b: 1\n", "\"\u{0}", "a: 1\n---\nb: 2\n"] {
            let complaint = parse("drill.yaml", text).unwrap_err().to_string();
            assert!(complaint.starts_with("drill.yaml:") && complaint.contains("^\n  = "), "{complaint}");
        }
    }

    #[test]
    fn a_file_that_would_grow_is_refused() {
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
                    d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d]\n";
        let deep = "[".repeat(4000);
        let long = " ".repeat(FILE_BYTES_MAX + 1);
        for text in [bomb, &deep, &long] {
            let complaint = parse("f", text).unwrap_err().to_string();
            assert!(complaint.len() < 1_000, "{complaint}");
        }
    }
}
