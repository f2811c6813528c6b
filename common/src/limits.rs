//! Every bound on what somebody else can make us hold, in one place, with its reason.
//!
//! A length is compared with its bound before memory is spent on it.

use std::time::Duration;

/// Links of one chain. Eight hops are deeper than any organisation; the default policy says four.
pub const CHAIN_LINKS_MAX: usize = 8;
/// Bytes of one link. A root with sixteen full grants stays below it.
pub const LINK_BYTES_MAX: usize = 4 * 1024;
/// Bytes of one presentation: the links, and the array around them.
pub const PRESENTATION_BYTES_MAX: usize = CHAIN_LINKS_MAX * LINK_BYTES_MAX + 64;
/// Grants of one link.
pub const GRANTS_MAX: usize = 16;
/// Tool patterns of one grant.
pub const PATTERNS_MAX: usize = 64;
/// Tool patterns of one link, all grants together: what a hop can make a verifier compare stays below 2^14 pairs.
pub const LINK_PATTERNS_MAX: usize = 256;
/// Ids of one id set.
pub const IDS_MAX: usize = 256;
/// Dimensions of one grant.
pub const DIMENSIONS_MAX: usize = 32;
/// Bytes of one text inside a link.
pub const LINK_TEXT_BYTES_MAX: usize = 128;
/// Bytes of the extension map of a link.
pub const LINK_EXT_BYTES_MAX: usize = 512;
/// Signatures of one root.
pub const ROOT_SIGNATURES_MAX: usize = 5;
/// The longest life of a root.
pub const ROOT_LIFE_MAX: Duration = Duration::from_secs(3_600);
/// The longest life of a hop.
pub const HOP_LIFE_MAX: Duration = Duration::from_secs(900);

/// Bytes of one countersignature: ids of an edge and a region, two digests, a signature.
pub const COUNTERSIGNATURE_BYTES_MAX: usize = 512;
/// The longest life of a hop that nobody registered.
pub const OFFLINE_LIFE_MAX: Duration = Duration::from_secs(300);
/// Children that one link may have at an edge at a time, whatever it says.
pub const FANOUT_MAX: u16 = 64;
/// Links below one root that an edge takes while the root lasts: what a swarm can make it verify and keep.
pub const ROOT_LINKS_MAX: usize = 1_024;

/// Counters of one channel that may overtake each other.
pub const PROOF_WINDOW: u64 = 1_024;
/// Bytes of a proof as its header carries it, before base64url: the longest has a signature and a digest.
pub const PROOF_BYTES_MAX: usize = 256;
/// Bytes of a request for a channel, and of its answer.
pub const CHANNEL_BYTES_MAX: usize = 512;
/// Bytes of an identity that is shown at the opening of a channel.
pub const CREDENTIAL_SHOWN_BYTES_MAX: usize = 2 * 1024;
/// Bytes of a request for a channel that shows one.
pub const CHANNEL_REQUEST_BYTES_MAX: usize = CHANNEL_BYTES_MAX + CREDENTIAL_SHOWN_BYTES_MAX;
/// The longest life of a channel.
pub const CHANNEL_LIFE_MAX: Duration = Duration::from_secs(600);
/// How far apart the clocks of a holder and an edge may be when it opens a channel, and how much later than it was
/// made a proof may come.
pub const PROOF_CLOCKS_APART_MAX: Duration = Duration::from_secs(30);
/// Bytes of an idempotency key.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;

/// Bytes of a bundle container. Ten thousand policies of 300 bytes are 3 MiB.
pub const BUNDLE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Files of a bundle.
pub const BUNDLE_FILES_MAX: usize = 512;
/// Fallbacks that a manifest names: its predecessor, and a few for long waves.
pub const FALLBACKS_MAX: usize = 8;
/// Bytes of one file of a bundle.
pub const BUNDLE_FILE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of a signed document (root, manifest) in its DSSE envelope.
pub const DOCUMENT_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a directory in its DSSE envelope. It lists every edge, and an edge takes 2.4 KB of it: 1 624 characters are its
/// sealing key, and the envelope makes four of three. So there is room for 2 800 edges with long names. One entry of the log
/// has to hold it, and the voters to agree on that within their deadlines: with a root it is as long as a bundle may be.
pub const DIRECTORY_BYTES_MAX: usize = 7 * 1024 * 1024;
/// Signatures of one DSSE envelope.
pub const SIGNATURES_MAX: usize = 16;
/// Voters of a mesh. Raft needs three or five; more cost without helping.
pub const VOTERS_MAX: usize = 9;
/// Tenants of one root document.
pub const TENANTS_MAX: usize = 1_000;
/// The longest life of a root document: a year and a day of slack.
pub const ROOT_DOCUMENT_DAYS_MAX: u64 = 366;
/// The longest life of a directory.
pub const DIRECTORY_DAYS_MAX: u64 = 30;
/// Bytes of an offline authorization in its DSSE envelope: a few numbers, and sixteen signatures.
pub const OFFLINE_AUTHORIZATION_BYTES_MAX: usize = 16 * 1024;
/// The longest life of an offline authorization: long enough to build voters anew, too short to be forgotten.
pub const OFFLINE_AUTHORIZATION_DAYS_MAX: u32 = 7;
/// Bytes of a bootstrap: the directory, every revocation, and the sealed credentials of a few thousand edges.
pub const BOOTSTRAP_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How far a directory's version may rise at once: seconds since 1970 fit, and so stolen keys do not use up the numbers.
pub const DIRECTORY_STEP_MAX: u64 = 1 << 32;
/// The longest life of a bundle.
pub const BUNDLE_DAYS_MAX: u64 = 90;
/// How far ahead of ours the clock of whoever made a document may be.
pub const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(300);
/// Bytes of one sealed shard in its DSSE envelope.
pub const SHARD_BYTES_MAX: usize = 32 * 1024;
/// Bytes of one credential before sealing.
pub const CREDENTIAL_BYTES_MAX: usize = 8 * 1024;

/// Bytes of one frame body on a mesh stream: one 256 KiB chunk and its headers.
pub const FRAME_BYTES_MAX: usize = 288 * 1024;
/// Bytes of one chunk of an object.
pub const CHUNK_BYTES_MAX: usize = 256 * 1024;

/// Bytes of one HTTP request body from an agent.
pub const AGENT_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of one HTTP response body from a tool.
pub const TOOL_BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Depth of JSON from an agent or a tool.
pub const JSON_DEPTH_MAX: usize = 32;
/// Values of one JSON document. Eight mebibytes of `[0,0,…` would otherwise become a quarter of a gibibyte.
pub const JSON_VALUES_MAX: usize = 1_000_000;
/// Bytes of one admin request body: a bundle and its approval, or a directory and a root; base64 does not come into it.
pub const ADMIN_BODY_BYTES_MAX: usize = BUNDLE_BYTES_MAX + 64 * 1024;
/// Bytes of the approval that comes with a bundle: 64 names of tools, a reason, some digests.
pub const APPROVAL_BYTES_MAX: usize = 32 * 1024;
/// Actions that an approval counts one by one.
pub const APPROVAL_ACTIONS_MAX: usize = 64;
/// Bytes of the reason of an approval.
pub const APPROVAL_REASON_BYTES_MAX: usize = 512;
/// Longest life of an administrator's signature.
pub const ADMIN_SIGNATURE_LIFE_MAX: Duration = Duration::from_secs(300);

/// Revocations that live at the same time.
pub const REVOCATIONS_MAX: usize = 100_000;
/// More of them that administrators alone may add, so that nobody else can use up their room.
pub const REVOCATIONS_RESERVE: usize = REVOCATIONS_MAX / 10;
/// Revocations that holders asked for: half of all, so that administrators always have room, whatever holders do.
pub const HOLDER_REVOCATIONS_MAX: usize = REVOCATIONS_MAX / 2;
/// Bytes of the requests of all of them, chains included: with everything else they still fit one update.
pub const HOLDER_REVOCATIONS_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Revocations that holders asked for under one root; half as many with every link further down.
pub const HOLDER_REVOCATIONS_PER_ROOT_MAX: usize = 64;
/// From so many on, what the cut of a link further up covers is not kept besides.
pub const REVOCATIONS_FOLD_AT: usize = REVOCATIONS_MAX / 10 * 8;
/// Relation tuples of one tenant.
pub const RELATION_TUPLES_MAX: usize = 100_000;
/// Bytes of one change of relation tuples in its signature.
pub const RELATION_BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Bytes of a statement of a tenant's whole set in its signature: what an administrator's request can carry. A hundred
/// thousand tuples that name two random UUIDs each take 6 MiB, packed.
pub const RELATION_SIGNED_BYTES_MAX: usize = BUNDLE_BYTES_MAX;
/// Bytes of a statement of a tenant's whole set, unpacked: a hundred thousand tuples of the usual length, twice.
pub const RELATION_STATEMENT_BYTES_MAX: usize = 24 * 1024 * 1024;
/// Bytes of the batches that are kept of one tenant.
pub const RELATION_LOG_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Batches that are kept of one tenant: an edge names each of them in its index.
pub const RELATION_BATCHES_MAX: usize = 4_096;
/// Of both, what only batches that add nothing may take: whoever fills a log cannot keep others from removing.
pub const RELATION_BATCHES_RESERVED: usize = RELATION_BATCHES_MAX / 8;
/// See [`RELATION_BATCHES_RESERVED`].
pub const RELATION_LOG_BYTES_RESERVED: usize = RELATION_LOG_BYTES_MAX / 8;
/// Bytes of the batches that a mesh keeps of all tenants: they stand in every snapshot of the registry.
pub const RELATIONS_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Of these, what only batches that add nothing may take.
pub const RELATIONS_BYTES_RESERVED: usize = RELATION_LOG_BYTES_MAX;
/// Bytes of one decision record.
pub const RECORD_BYTES_MAX: usize = 16 * 1024;
/// Bytes of one batch of records before compression: it fits a frame even if it does not compress.
pub const RECORD_BATCH_BYTES_MAX: usize = CHUNK_BYTES_MAX;
/// Bytes of a configuration or mesh file.
pub const CONFIG_BYTES_MAX: usize = 1024 * 1024;
