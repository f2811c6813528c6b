//! The types that openraft is compiled against, and short names for its generic ones.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use openraft::RaftTypeConfig;
use remit_common::crypto::digest::Digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::runtime::HostRuntime;

/// Type configuration of our Raft.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Types;

impl RaftTypeConfig for Types {
    type D = EntryBytes;
    type R = Vec<u8>;
    type NodeId = u64;
    type Node = Addresses;
    type Entry = openraft::Entry<Self>;
    type SnapshotData = SnapshotBody;
    type AsyncRuntime = HostRuntime;
    type Responder = openraft::impls::OneshotResponder<Self>;
}

pub(crate) type Entry = openraft::Entry<Types>;
pub(crate) type EntryPayload = openraft::EntryPayload<Types>;
pub(crate) type LogId = openraft::LogId<u64>;
pub(crate) type Vote = openraft::Vote<u64>;
pub(crate) type Membership = openraft::Membership<u64, Addresses>;
pub(crate) type StoredMembership = openraft::StoredMembership<u64, Addresses>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<u64, Addresses>;
pub(crate) type Snapshot = openraft::Snapshot<Types>;
pub(crate) type StorageError = openraft::StorageError<u64>;

/// Where a member is that joined later. Those of the first voters stand in everybody's configuration; here they are
/// unknown, so that the first entry is the same whoever writes it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// Where other voters reach it.
    pub raft: Option<SocketAddr>,
    /// Where edges reach it.
    pub dist: Option<SocketAddr>,
}

/// A snapshot as Raft hands it around.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotBody {
    /// The digest of every entry that it replaces (C-10).
    pub(crate) applied: Option<Digest>,
    /// The state machine's bytes.
    pub(crate) payload: Bytes,
}

/// The bytes of one proposed entry. Cloning shares them; `Debug` prints how many there are.
#[derive(Clone, PartialEq, Eq)]
pub struct EntryBytes(pub Arc<[u8]>);

impl fmt::Debug for EntryBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryBytes({} bytes)", self.0.len())
    }
}

impl Serialize for EntryBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for EntryBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = EntryBytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<EntryBytes, E> {
                Ok(EntryBytes(bytes.into()))
            }

            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<EntryBytes, E> {
                Ok(EntryBytes(bytes.into()))
            }
        }

        deserializer.deserialize_byte_buf(Visitor)
    }
}
