//! Names and numbers of the mesh, one type each.
//!
//! Text ids are bounded and printable, so that they can stand in a log line, a header or a path segment without
//! escaping. Construction is the only check; a value that exists is valid.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text;

/// A text is not a valid id of the kind that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a valid {kind}: {rule}")]
pub struct InvalidId {
    /// What the text should have been.
    pub kind: &'static str,
    /// The text, cut to 64 characters, with control characters escaped.
    pub found: String,
    /// What a valid one looks like.
    pub rule: &'static str,
}

impl InvalidId {
    fn new(kind: &'static str, found: &str, rule: &'static str) -> Self {
        let found = found.chars().take(64).flat_map(char::escape_default).collect();
        Self { kind, found, rule }
    }
}

const RULE_NAME: &str = "1 to 64 of a-z, 0-9, `-`, `_` and `.`, starting with a letter or digit";
const RULE_TEXT: &str = "1 to 128 printable ASCII characters without spaces";

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=64).contains(&bytes.len())
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(b))
}

fn is_text(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| (0x21..=0x7e).contains(&b))
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $check:ident, $rule:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks the text and makes it an id.
            ///
            /// # Errors
            /// [`InvalidId`] when the text is outside the rule of this kind.
            pub fn new(text: &str) -> Result<Self, InvalidId> {
                if $check(text) { Ok(Self(text.into())) } else { Err(InvalidId::new($kind, text, $rule)) }
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<Self, InvalidId> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.into()
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                Self::new(text)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text_id!(
    /// One customer of a mesh. Every registry and cache key starts with it, so that tenants never meet.
    TenantId, "tenant", is_name, RULE_NAME
);
text_id!(
    /// An edge node, unique in its mesh.
    EdgeId, "edge id", is_name, RULE_NAME
);
text_id!(
    /// Something that can be done, as a policy's action names it, and that is no tool.
    ActionName, "action", is_text, RULE_TEXT
);
text_id!(
    /// A platform that guards something of its own and asks an edge what policy says.
    EnforcementPoint, "enforcement point", is_name, RULE_NAME
);
text_id!(
    /// Where an edge is.
    Region, "region", is_name, RULE_NAME
);
text_id!(
    /// The name of an end-service credential within its tenant.
    CredentialId, "credential name", is_name, RULE_NAME
);
text_id!(
    /// A tool as envelopes and policies call it: dotted segments, `contracts.read`.
    ToolName, "tool name", is_text, RULE_TEXT
);
text_id!(
    /// A server that offers tools, as the bundle names it.
    UpstreamName, "upstream name", is_name, RULE_NAME
);
text_id!(
    /// A dimension of a scope: `customer`, `contract`, `records`.
    DimensionName, "dimension", is_name, RULE_NAME
);
text_id!(
    /// A resource id inside a dimension: `cust_acme_1042`.
    ResourceId, "resource id", is_text, RULE_TEXT
);
text_id!(
    /// The SPIFFE ID of an agent, or another name an issuer gave it.
    AgentId, "agent id", is_text, RULE_TEXT
);
text_id!(
    /// The kind of an agent, on which ceilings and policies hang.
    AgentClass, "agent class", is_text, RULE_TEXT
);
text_id!(
    /// The human on whose behalf a chain acts.
    Delegator, "delegator", is_text, RULE_TEXT
);
text_id!(
    /// The human's session.
    SessionId, "session id", is_text, RULE_TEXT
);
text_id!(
    /// The task inside a session.
    TaskId, "task id", is_text, RULE_TEXT
);
text_id!(
    /// The public id of a policy: Cedar's `@id`.
    PolicyId, "policy id", is_text, RULE_TEXT
);
text_id!(
    /// The name of a bundle.
    BundleName, "bundle name", is_name, RULE_NAME
);

macro_rules! number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number!(
    /// A Raft member that votes. Bound to its disk's identity.
    VoterId
);
number!(
    /// The monotonic number of a bundle; only rises, per tenant.
    BundleVersion
);
number!(
    /// The monotonic number of the set of revocations.
    RevocationEpoch
);
number!(
    /// The index of a Raft entry.
    LogIndex
);

macro_rules! bytes16 {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&text::hex(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(hex: &str) -> Result<Self, InvalidId> {
                text::from_hex(hex)
                    .and_then(|bytes| <[u8; 16]>::try_from(bytes).ok())
                    .map(Self)
                    .ok_or_else(|| InvalidId::new($kind, hex, "32 lower-case hex digits"))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(hex: String) -> Result<Self, InvalidId> {
                hex.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    };
}

bytes16!(
    /// The random name of a mesh; every signature of ours covers it.
    MeshId, "mesh id"
);
bytes16!(
    /// Random per start of an edge process; with the sequence number it names a record.
    BootId, "boot id"
);

/// Names one decision: 48 bits of milliseconds and 80 random bits, printed as a ULID (26 characters, Crockford
/// base 32), so that ids sort by time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DecisionId(u128);

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl DecisionId {
    /// Makes an id from the wall clock and ten random bytes.
    #[must_use]
    pub fn new(now: crate::time::Timestamp, random: [u8; 10]) -> Self {
        let tail = random.iter().fold(0u128, |acc, b| (acc << 8) | u128::from(*b));
        Self((u128::from(now.as_millis() & 0xffff_ffff_ffff) << 80) | tail)
    }

    /// The sixteen bytes, big-endian.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The id that these bytes are.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for position in (0..26u32).rev() {
            let digit = usize::try_from((self.0 >> (position * 5)) & 31).unwrap_or_default();
            f.write_char(char::from(CROCKFORD.get(digit).copied().unwrap_or(b'0')))?;
        }
        Ok(())
    }
}

impl fmt::Debug for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DecisionId({self})")
    }
}

impl FromStr for DecisionId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId::new("decision id", text, "26 characters of Crockford base 32");
        if text.len() != 26 || !text.starts_with(|c| ('0'..='7').contains(&c)) {
            return Err(invalid());
        }
        let mut value = 0u128;
        for byte in text.bytes() {
            let digit = CROCKFORD.iter().position(|c| *c == byte).ok_or_else(invalid)?;
            value = (value << 5) | u128::try_from(digit).unwrap_or_default();
        }
        Ok(Self(value))
    }
}

impl TryFrom<String> for DecisionId {
    type Error = InvalidId;
    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl From<DecisionId> for String {
    fn from(id: DecisionId) -> String {
        id.to_string()
    }
}

/// A SHA-256 with a meaning that its place gives it. Printed, and in JSON, as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Digest(pub [u8; 32]);

/// A text is not 64 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 lower-case hex digits")]
pub struct InvalidDigest;

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::hex(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;
    fn from_str(hex: &str) -> Result<Self, InvalidDigest> {
        text::from_hex(hex).and_then(|bytes| bytes.try_into().ok()).map(Self).ok_or(InvalidDigest)
    }
}

impl Serialize for Digest {
    /// Hex for people, 32 bytes on the wire.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
        } else {
            <[u8; 32]>::deserialize(deserializer).map(Self)
        }
    }
}

/// Names a link of a delegation chain: a hash of the signed bytes, never of the signature, so that a malleable
/// signature cannot change an id that revocation depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LinkId(pub Digest);

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names a key: SHA-256 of its public bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KeyId(pub Digest);

impl KeyId {
    /// The first eight bytes, as links and quorum signatures carry them.
    #[must_use]
    pub fn short(&self) -> [u8; 8] {
        let [a, b, c, d, e, f, g, h, ..] = self.0.0;
        [a, b, c, d, e, f, g, h]
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for KeyId {
    type Err = InvalidId;
    fn from_str(hex: &str) -> Result<Self, InvalidId> {
        hex.parse().map(Self).map_err(|_| InvalidId::new("key id", hex, "64 lower-case hex digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    #[test]
    fn a_decision_id_reads_back_and_sorts_by_time() {
        let early = DecisionId::new(Timestamp::from_millis(1_000), [0xff; 10]);
        let late = DecisionId::new(Timestamp::from_millis(1_001), [0; 10]);
        assert!(early < late && early.to_string() < late.to_string());
        for id in [early, late] {
            assert_eq!(id.to_string().parse(), Ok(id));
            assert_eq!(DecisionId::from_bytes(id.to_bytes()), id);
        }
    }

    #[test]
    fn ids_outside_their_alphabet_are_refused() {
        for bad in ["", "Upper", "a b", "-x", "ünicode", &"a".repeat(65), "a/b", "a\0"] {
            assert!(TenantId::new(bad).is_err(), "{bad:?}");
        }
        assert!(TenantId::new("acme").is_ok());
        assert!(ResourceId::new("with space").is_err() && ResourceId::new("a\u{7f}").is_err());
        assert!("0123".parse::<MeshId>().is_err());
        assert!("81J00000000000000000000000".parse::<DecisionId>().is_err());
    }
}
