//! Relation tuples as text: `contract:7781#account_owner@user:maya@customer-success.example`.
//!
//! One text means one tuple: what does not read back as it was written is refused. Clauses.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Bytes of the id of an object, as of every other resource.
pub(super) const OBJECT_ID_BYTES_MAX: usize = 128;
/// Bytes of the name of a type or a relation.
pub(super) const RELATION_NAME_BYTES_MAX: usize = 64;
/// The id that stands for every object of a type.
const EVERYONE: &str = "*";
/// What stands before an expiry.
const UNTIL: &str = " until ";
/// The first expiry that a graph cannot hold, in the year 2106.
pub(super) const NEVER: u32 = u32::MAX;

/// Something of a type: `contract:7781`, split at the first colon.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Object {
    /// The relation type.
    pub kind: String,
    /// The id, in which `:` and `@` may stand.
    pub id: String,
}

/// Who or what stands in a relation to an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// One object: `user:maya`.
    Object(Object),
    /// Everybody who stands in a relation to an object: `group:eng#member`.
    Userset(Object, String),
    /// Every object of a type: `user:*`.
    Everyone(String),
}

/// A tuple without its expiry: what is added, removed and asked about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TupleKey {
    /// To what.
    pub object: Object,
    /// In which relation.
    pub relation: String,
    /// Who.
    pub subject: Subject,
}

/// A tuple: `contract:7781#participant@user:otto until 1800000000`, the expiry in seconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tuple {
    /// What it says.
    pub key: TupleKey,
    /// From this second on it says nothing more.
    pub expires: Option<u32>,
}

/// A text is not a tuple, or not a part of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct MalformedTuple {
    /// The text, or its beginning.
    pub text: String,
    /// What should stand there.
    pub expected: &'static str,
}

const RULE_OBJECT: &str = "an object, `type:id`, the id 1 to 128 printable ASCII characters without `#`";
const RULE_SUBJECT: &str = "a subject: `type:id`, `type:id#relation` or `type:*`";
const RULE_TUPLE: &str = "a tuple, `type:id#relation@subject`";
const RULE_EXPIRY: &str = "an expiry, seconds since the Unix epoch before the year 2106";

fn malformed(text: &str, expected: &'static str) -> MalformedTuple {
    MalformedTuple { text: text.chars().take(OBJECT_ID_BYTES_MAX).collect(), expected }
}

/// Whether a text may be the name of a type or a relation.
pub(super) fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/');
    (1..=RELATION_NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

/// Whether a text may be the id of one object.
pub(super) fn is_id(text: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, 0x21..=0x7e) && byte != b'#';
    (1..=OBJECT_ID_BYTES_MAX).contains(&text.len()) && text != EVERYONE && text.bytes().all(allowed)
}

impl Object {
    /// An object of these parts.
    ///
    /// # Errors
    /// [`MalformedTuple`] when one of them is outside its alphabet.
    pub fn new(kind: &str, id: &str) -> Result<Self, MalformedTuple> {
        let is_object = is_name(kind) && is_id(id);
        let object = is_object.then(|| Self { kind: kind.to_owned(), id: id.to_owned() });
        object.ok_or_else(|| malformed(&format!("{kind}:{id}"), RULE_OBJECT))
    }
}

impl FromStr for Object {
    type Err = MalformedTuple;
    fn from_str(text: &str) -> Result<Self, MalformedTuple> {
        let (kind, id) = text.split_once(':').ok_or_else(|| malformed(text, RULE_OBJECT))?;
        Self::new(kind, id)
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind, self.id)
    }
}

impl Subject {
    /// The type whose objects it names or holds for.
    #[must_use]
    pub fn kind(&self) -> &str {
        match self {
            Self::Object(object) | Self::Userset(object, _) => &object.kind,
            Self::Everyone(kind) => kind,
        }
    }
}

impl FromStr for Subject {
    type Err = MalformedTuple;
    fn from_str(text: &str) -> Result<Self, MalformedTuple> {
        let wrong = || malformed(text, RULE_SUBJECT);
        if let Some((object, relation)) = text.split_once('#') {
            let object = object.parse().map_err(|_| wrong())?;
            return if is_name(relation) { Ok(Self::Userset(object, relation.to_owned())) } else { Err(wrong()) };
        }
        match text.split_once(':') {
            Some((kind, EVERYONE)) if is_name(kind) => Ok(Self::Everyone(kind.to_owned())),
            _ => text.parse().map(Self::Object).map_err(|_| wrong()),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(object) => object.fmt(f),
            Self::Userset(object, relation) => write!(f, "{object}#{relation}"),
            Self::Everyone(kind) => write!(f, "{kind}:{EVERYONE}"),
        }
    }
}

impl FromStr for TupleKey {
    type Err = MalformedTuple;
    fn from_str(text: &str) -> Result<Self, MalformedTuple> {
        let wrong = || malformed(text, RULE_TUPLE);
        let (object, rest) = text.split_once('#').ok_or_else(wrong)?;
        let (relation, subject) = rest.split_once('@').ok_or_else(wrong)?;
        if !is_name(relation) {
            return Err(wrong());
        }
        Ok(Self { object: object.parse()?, relation: relation.to_owned(), subject: subject.parse()? })
    }
}

impl fmt::Display for TupleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}@{}", self.object, self.relation, self.subject)
    }
}

impl Tuple {
    /// Whether it still says something.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| now.as_secs() < u64::from(expires))
    }
}

impl From<TupleKey> for Tuple {
    fn from(key: TupleKey) -> Self {
        Self { key, expires: None }
    }
}

impl FromStr for Tuple {
    type Err = MalformedTuple;
    fn from_str(text: &str) -> Result<Self, MalformedTuple> {
        let Some((key, until)) = text.split_once(UNTIL) else { return Ok(Self::from(text.parse::<TupleKey>()?)) };
        let expires = until.parse().ok().filter(|expires: &u32| *expires < NEVER && expires.to_string() == until);
        let expires = expires.ok_or_else(|| malformed(until, RULE_EXPIRY))?;
        Ok(Self { key: key.parse()?, expires: Some(expires) })
    }
}

impl fmt::Display for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.key.fmt(f)?;
        self.expires.map_or(Ok(()), |expires| write!(f, "{UNTIL}{expires}"))
    }
}

macro_rules! as_text {
    ($name:ident) => {
        impl TryFrom<String> for $name {
            type Error = MalformedTuple;
            fn try_from(text: String) -> Result<Self, MalformedTuple> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(tuple: $name) -> Self {
                tuple.to_string()
            }
        }
    };
}

as_text!(TupleKey);
as_text!(Tuple);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tuple_reads_back_as_it_was_written() {
        for text in [
            "contract:7781#account_owner@user:maya@customer-success.example",
            "contract:contract_7781#account_owner@user:user:maya@x.example",
            "group:eng#member@group:all@x#member",
            "doc:a#viewer@user:*",
            "doc:a#viewer@agent:spiffe://x.example/agent/clerk until 1800000000",
        ] {
            assert_eq!(text.parse::<Tuple>().map(|tuple| tuple.to_string()), Ok(text.to_owned()));
        }
        let tuple: Tuple = "a:b@c:d#r@user:x:y@z until 7".parse().unwrap();
        assert_eq!((tuple.key.object.id.as_str(), tuple.key.subject.to_string().as_str()), ("b@c:d", "user:x:y@z"));
        assert!(tuple.is_live(Timestamp::from_secs(6)) && !tuple.is_live(Timestamp::from_secs(7)));
    }

    #[test]
    fn what_is_no_tuple_is_refused() {
        for text in [
            "",
            "contract:7781",
            "contract:7781#owner",
            "contract:7781#owner@",
            "contract#owner@user:a",
            "contract:*#owner@user:a",
            ":7781#owner@user:a",
            "contract:#owner@user:a",
            "contract:1#@user:a",
            "contract:1#owner@user:*#member",
            "contract:1#owner@user:a#member#member",
            "contract:ä#owner@user:a",
            "contract:1 2#owner@user:a",
            "contract:1#owner@user:a until",
            "contract:1#owner@user:a until 07",
            "contract:1#owner@user:a until 4294967295",
            "contract:1#owner@user:a until 1 until 2",
        ] {
            assert!(text.parse::<Tuple>().is_err(), "{text}");
        }
    }
}
