//! Strict JSON: the one reading of what an agent or a tool wrote.
//!
//! Two parsers that disagree about the same bytes are two policies. So a document is read once, by rules that leave
//! no second reading: no duplicate keys, no keys that differ only in case, `-` or `_`, no lone surrogates, no U+0000,
//! no number that another reader would round, no depth that another reader would cut. What goes on to a tool is
//! [`encode`]d anew from the value that was judged, never copied from the bytes that arrived. Clauses P-1 to P-4.

mod check;
mod number;
mod parse;
mod pointer;
#[cfg(test)]
mod tests;

pub use check::check;
pub use parse::parse;
pub(crate) use pointer::path_text;
pub use pointer::{InvalidPointer, Pointer, Step};

/// One JSON value. Objects keep the order in which their members arrived.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number written without fraction and exponent, within ±(2^53 - 1).
    Int(i64),
    /// A number written with a fraction or an exponent that an IEEE 754 double holds without loss.
    Float(f64),
    /// Any other number, as it was written. It is judged nowhere and accepted only where a descriptor frees it.
    Number(Box<str>),
    /// A string.
    Text(String),
    /// An array.
    Array(Vec<Json>),
    /// An object; its keys are distinct.
    Object(Vec<(String, Json)>),
}

/// Which rules a document has to satisfy besides those that always hold (syntax, size, depth, duplicate keys,
/// surrogates, U+0000).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A JSON-RPC message: no folded duplicates and no lossy numbers, except inside `params.arguments` and
    /// `result.structuredContent`, which [`check`] judges once the tool, and with it what is free, is known.
    Protocol,
    /// What holds always and nothing more (P-1), for documents of which only declared members are ever read.
    Document,
    /// Arguments of a call or structured content of a result: no folded duplicates, no lossy numbers, and keys of
    /// `A-Z a-z 0-9 _ . $ -` only.
    Arguments,
}

/// A document that strict JSON refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{fault} at {place}")]
pub struct MalformedJson {
    /// What is wrong.
    pub fault: JsonFault,
    /// Where it is.
    pub place: Place,
}

/// Where in a document a fault is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Offset of a byte.
    Byte(usize),
    /// JSON pointer of a value, cut to 256 bytes.
    Pointer(String),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Byte(offset) => write!(f, "byte {offset}"),
            Self::Pointer(pointer) => write!(f, "`{pointer}`"),
        }
    }
}

/// What strict JSON refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonFault {
    /// The bytes are not UTF-8.
    #[error("bytes that are not UTF-8")]
    NotUtf8,
    /// The bytes end inside a value.
    #[error("an early end")]
    Truncated,
    /// A byte that the grammar does not allow here.
    #[error("a syntax error")]
    Syntax,
    /// Something follows the document.
    #[error("bytes after the end")]
    TrailingBytes,
    /// An object names a key twice.
    #[error("a duplicate key")]
    DuplicateKey,
    /// Two keys of an object are equal after folding case and dropping `-` and `_`.
    #[error("two keys that differ only in case, `-` or `_`")]
    FoldedKey,
    /// A key of arguments or structured content outside its alphabet.
    #[error("a key outside A-Z a-z 0-9 _ . $ -")]
    KeyAlphabet,
    /// An escape that is half a surrogate pair.
    #[error("a lone surrogate")]
    LoneSurrogate,
    /// U+0000 in a string.
    #[error("a NUL character")]
    NulCharacter,
    /// A number beyond ±(2^53 - 1), or one that a double rounds.
    #[error("a number that does not survive a double")]
    LossyNumber,
    /// Deeper than [`crate::limits::JSON_DEPTH_MAX`].
    #[error("too many levels")]
    TooDeep,
    /// More values than [`crate::limits::JSON_VALUES_MAX`].
    #[error("too many values")]
    TooManyValues,
}

impl Json {
    /// The member of an object; `None` for anything else.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Json> {
        match self {
            Self::Object(members) => members.iter().find(|(name, _)| name == key).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The text of a string.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value of an integer.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            _ => None,
        }
    }

    /// The value of a boolean.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The elements of an array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Json]> {
        match self {
            Self::Array(elements) => Some(elements),
            _ => None,
        }
    }

    /// The members of an object, in their order.
    #[must_use]
    pub fn as_object(&self) -> Option<&[(String, Json)]> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    /// An object from its members; the caller gives distinct keys.
    #[must_use]
    pub fn object<const N: usize>(members: [(&str, Json); N]) -> Self {
        Self::Object(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// A string.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }
}

impl From<&Json> for serde_json::Value {
    /// For documents that are ours to write; a number that was kept as text becomes the nearest double, or null.
    fn from(json: &Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Int(value) => Self::from(*value),
            Json::Float(value) => Self::from(*value),
            Json::Number(text) => text.parse::<f64>().map_or(Self::Null, Self::from),
            Json::Text(text) => Self::String(text.clone()),
            Json::Array(elements) => Self::Array(elements.iter().map(Self::from).collect()),
            Json::Object(members) => {
                Self::Object(members.iter().map(|(key, value)| (key.clone(), Self::from(value))).collect())
            }
        }
    }
}

/// Writes a value without white space, members in their order. `parse` reads the same value back.
#[must_use]
pub fn encode(json: &Json) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    write(json, &mut out);
    out
}

/// [`encode`], as text.
#[must_use]
pub fn encode_text(json: &Json) -> String {
    String::from_utf8(encode(json)).unwrap_or_default() // INVARIANT: strings are UTF-8, and all else is ASCII
}

fn write(json: &Json, out: &mut Vec<u8>) {
    match json {
        Json::Null => out.extend_from_slice(b"null"),
        Json::Bool(true) => out.extend_from_slice(b"true"),
        Json::Bool(false) => out.extend_from_slice(b"false"),
        Json::Int(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Json::Float(value) => out.extend_from_slice(number::float_text(*value).as_bytes()),
        Json::Number(text) => out.extend_from_slice(text.as_bytes()),
        Json::Text(text) => write_text(text, out),
        Json::Array(elements) => {
            out.push(b'[');
            for (position, element) in elements.iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                write(element, out);
            }
            out.push(b']');
        }
        Json::Object(members) => {
            out.push(b'{');
            for (position, (key, value)) in members.iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                write_text(key, out);
                out.push(b':');
                write(value, out);
            }
            out.push(b'}');
        }
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}
