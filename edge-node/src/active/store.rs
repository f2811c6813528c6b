//! The last good state on disk.
//!
//! Content lies in files named by its digest, written once. One index names what holds; replacing it is the only step
//! that changes anything, so that a crash leaves the old state or the new one (Clause N-1). The proof of freshness
//! has a file of its own, since it changes every two seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use remit_common::bundle::HighWater;
use remit_common::crypto::digest::Digest;
use remit_common::id::{CredentialId, LogIndex, TenantId};
use remit_common::net::env::Disk;
use remit_common::time::Timestamp;
use remit_common::trust::freshness::StoredProof;
use serde::{Deserialize, Serialize};

use super::trial::Trial;

/// The version of the index and of the proof file.
const STORE_VERSION: u32 = 1;
/// Bytes of an index: a thousand shards take 200 KiB, and the batches of relations of a tenant at most 500.
const INDEX_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of the trials: a thousand tenants with as many as are remembered.
const TRIALS_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of any content file: the revocations of a full set are the largest.
const CONTENT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Content and when it was accepted. It is verified again on start, as of that moment: what has expired since is for
/// each decision to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    pub(super) accepted: Timestamp,
    pub(super) content: Digest,
}

/// One tenant's part of the index.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredTenant {
    pub(super) water: HighWater,
    pub(super) active: Option<StoredActivation>,
    /// Newest first, at most three: container digests.
    pub(super) bundles: Vec<Stored>,
    pub(super) shards: BTreeMap<CredentialId, Stored>,
    /// The highest version of each shard that was ever accepted, whether it still verifies or not.
    pub(super) shard_versions: BTreeMap<CredentialId, u64>,
    /// The batches of relations that are kept, in their order. An edge of an earlier version does not know them, and
    /// does not start where there are any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) relations: Vec<Stored>,
}

/// Which manifest is active and by which activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredActivation {
    pub(super) number: LogIndex,
    pub(super) manifest: Digest,
}

/// Names everything that holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Index {
    v: u32,
    /// The chain after the configured root, oldest first.
    pub(super) roots: Vec<Stored>,
    pub(super) directory: Option<Stored>,
    pub(super) tenants: BTreeMap<TenantId, StoredTenant>,
    pub(super) revocations: Option<Stored>,
}

impl Default for Index {
    fn default() -> Self {
        Self { v: STORE_VERSION, roots: Vec::new(), directory: None, tenants: BTreeMap::new(), revocations: None }
    }
}

impl Index {
    fn contents(&self) -> impl Iterator<Item = &Digest> {
        self.stored().map(|stored| &stored.content)
    }

    /// When each of what it names was accepted.
    pub(super) fn accepted(&self) -> impl Iterator<Item = Timestamp> {
        self.stored().map(|stored| stored.accepted)
    }

    fn stored(&self) -> impl Iterator<Item = &Stored> {
        let tenants = self
            .tenants
            .values()
            .flat_map(|tenant| tenant.bundles.iter().chain(tenant.shards.values()).chain(&tenant.relations));
        self.roots.iter().chain(&self.directory).chain(&self.revocations).chain(tenants)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProofFile {
    v: u32,
    proof: StoredProof,
}

/// Bundles on trial, and whether a process has them in its hands.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrialFile {
    v: u32,
    open: bool,
    trials: Vec<Trial>,
}

/// The disk failed, or what lies on it is not ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreFailed {
    /// Reading or writing failed. Nobody knows what is on the disk now.
    #[error("{doing} `{path}`")]
    Disk {
        /// What was being done.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// What the disk said.
        #[source]
        source: std::io::Error,
    },
    /// A file is not what its name or place promises. Remove the folder `state` to start from nothing.
    #[error("`{path}` {rule}; remove the folder it lies in to start from nothing")]
    Damaged {
        /// Where.
        path: PathBuf,
        /// What it should be.
        rule: &'static str,
    },
}

/// The folder.
#[derive(Clone)]
pub(super) struct Store {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.folder.display())
    }
}

impl Store {
    pub(super) fn open(disk: Arc<dyn Disk>, data_dir: &Path) -> Result<Self, StoreFailed> {
        let store = Self { disk, folder: data_dir.join("state") };
        for folder in [store.folder.clone(), store.folder.join("content")] {
            store.disk.create_dir(&folder).map_err(failed("making", &folder))?;
        }
        Ok(store)
    }

    fn index_path(&self) -> PathBuf {
        self.folder.join("index.json")
    }

    fn proof_path(&self) -> PathBuf {
        self.folder.join("proof.json")
    }

    fn content_path(&self, digest: &Digest) -> PathBuf {
        self.folder.join("content").join(digest.to_string())
    }

    /// The index; an empty one on a new disk.
    pub(super) fn index(&self) -> Result<Index, StoreFailed> {
        let path = self.index_path();
        let Some(bytes) = self.disk.read(&path, INDEX_BYTES_MAX).map_err(failed("reading", &path))? else {
            return Ok(Index::default());
        };
        match serde_json::from_slice::<Index>(&bytes) {
            Ok(index) if index.v == STORE_VERSION => Ok(index),
            Ok(_) => Err(StoreFailed::Damaged { path, rule: "is of a version that this edge does not know" }),
            Err(_) => Err(StoreFailed::Damaged { path, rule: "is not an index" }),
        }
    }

    /// The last proof of freshness. A damaged one is none: it only ever makes an edge refuse less.
    pub(super) fn proof(&self) -> Result<Option<StoredProof>, StoreFailed> {
        let path = self.proof_path();
        let bytes = self.disk.read(&path, INDEX_BYTES_MAX).map_err(failed("reading", &path))?;
        let file = bytes.and_then(|bytes| serde_json::from_slice::<ProofFile>(&bytes).ok());
        Ok(file.filter(|file| file.v == STORE_VERSION).map(|file| file.proof))
    }

    /// Stores index and proof once more. The process before may have ended before the disk knew their new places, and
    /// what this one shows of itself must outlast a power cut.
    pub(super) fn make_durable(&self, index: &Index) -> Result<(), StoreFailed> {
        let outcome = self.commit(index).and_then(|()| self.proof()?.map_or(Ok(()), |proof| self.put_proof(proof)));
        match outcome {
            // There is no room for a second copy. What is here is most likely on the disk, and reads can go on.
            Err(StoreFailed::Disk { source, .. }) if source.kind() == std::io::ErrorKind::StorageFull => Ok(()),
            done => done,
        }
    }

    pub(super) fn put_proof(&self, proof: StoredProof) -> Result<(), StoreFailed> {
        let path = self.proof_path();
        let bytes = json(&ProofFile { v: STORE_VERSION, proof }, &path)?;
        self.disk.replace(&path, &bytes).map_err(failed("writing", &path))
    }

    fn trials_path(&self) -> PathBuf {
        self.folder.join("trial.json")
    }

    /// The bundles on trial, and whether the process that wrote them did not say goodbye.
    pub(super) fn trials(&self) -> Result<(Vec<Trial>, bool), StoreFailed> {
        let path = self.trials_path();
        let Some(bytes) = self.disk.read(&path, TRIALS_BYTES_MAX).map_err(failed("reading", &path))? else {
            return Ok((Vec::new(), false));
        };
        match serde_json::from_slice::<TrialFile>(&bytes) {
            Ok(TrialFile { v: STORE_VERSION, open, trials }) => Ok((trials, open)),
            Ok(_) => Err(StoreFailed::Damaged { path, rule: "is of a version that this edge does not know" }),
            Err(_) => Err(StoreFailed::Damaged { path, rule: "does not say which bundles are on trial" }),
        }
    }

    /// Puts the bundles on trial on the disk, in the hands of this process or, at its end, in nobody's.
    pub(super) fn put_trials(&self, trials: &[Trial], open: bool) -> Result<(), StoreFailed> {
        let path = self.trials_path();
        let bytes = json(&TrialFile { v: STORE_VERSION, open, trials: trials.to_vec() }, &path)?;
        self.disk.replace(&path, &bytes).map_err(failed("writing", &path))
    }

    /// The content of this digest.
    pub(super) fn content(&self, stored: &Stored) -> Result<Vec<u8>, StoreFailed> {
        let path = self.content_path(&stored.content);
        let bytes = self.disk.read(&path, CONTENT_BYTES_MAX).map_err(failed("reading", &path))?;
        match bytes {
            Some(bytes) if Digest::of(&[&bytes]) == stored.content => Ok(bytes),
            Some(_) => Err(StoreFailed::Damaged { path, rule: "does not have the digest that is its name" }),
            None => Err(StoreFailed::Damaged { path, rule: "is missing" }),
        }
    }

    /// Writes content; it counts once an index names it.
    pub(super) fn put_content(&self, bytes: &[u8], accepted: Timestamp) -> Result<Stored, StoreFailed> {
        let stored = Stored { accepted, content: Digest::of(&[bytes]) };
        let path = self.content_path(&stored.content);
        self.disk.replace(&path, bytes).map_err(failed("writing", &path))?;
        Ok(stored)
    }

    /// Makes `index` the state, then removes what it no longer names.
    pub(super) fn commit(&self, index: &Index) -> Result<(), StoreFailed> {
        let path = self.index_path();
        self.disk.replace(&path, &json(index, &path)?).map_err(failed("writing", &path))?;
        let named: BTreeSet<String> = index.contents().map(ToString::to_string).collect();
        let folder = self.folder.join("content");
        // The index holds already; what cannot be removed now is tried again with the next one.
        for name in self.disk.list(&folder).unwrap_or_default() {
            if !named.contains(&name) {
                let _ = self.disk.remove(&folder.join(&name));
            }
        }
        Ok(())
    }
}

/// A process ends as it was asked to: what it has in its hands did not end it (Clause B-31).
///
/// # Errors
/// [`StoreFailed`]; the next start takes this end for a death then.
pub(crate) fn end_trials_well(disk: Arc<dyn Disk>, data_dir: &Path) -> Result<(), StoreFailed> {
    let store = Store::open(disk, data_dir)?;
    match store.trials()? {
        (trials, true) => store.put_trials(&trials, false),
        (_, false) => Ok(()),
    }
}

fn json<T: Serialize>(value: &T, path: &Path) -> Result<Vec<u8>, StoreFailed> {
    serde_json::to_vec(value).map_err(|error| StoreFailed::Disk {
        doing: "encoding",
        path: path.to_owned(),
        source: error.into(),
    })
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StoreFailed + use<> {
    let path = path.to_owned();
    move |source| StoreFailed::Disk { doing, path, source }
}

#[cfg(test)]
mod tests {
    use remit_common::bundle::HighManifest;
    use remit_common::id::{BundleVersion, RevocationEpoch};

    use super::*;

    fn stored(content: u8) -> Stored {
        Stored { accepted: Timestamp::from_millis(1_000), content: Digest([content; 32]) }
    }

    fn index() -> Index {
        let tenant = StoredTenant {
            water: HighWater {
                activation: LogIndex(7),
                high: Some(HighManifest {
                    version: BundleVersion(2),
                    digest: Digest([0xaa; 32]),
                    fallback: Vec::new(),
                }),
                floor: BundleVersion(1),
            },
            active: Some(StoredActivation { number: LogIndex(7), manifest: Digest([0xaa; 32]) }),
            bundles: vec![stored(0xbb)],
            shards: BTreeMap::from([(CredentialId::new("api").unwrap(), stored(0xcc))]),
            shard_versions: BTreeMap::from([(CredentialId::new("api").unwrap(), 3)]),
            relations: Vec::new(),
        };
        Index {
            directory: Some(stored(0xdd)),
            tenants: BTreeMap::from([(TenantId::new("acme").unwrap(), tenant)]),
            ..Index::default()
        }
    }

    /// Clauses N-1, N-5 and N-26.
    #[test]
    fn golden_files() -> anyhow::Result<()> {
        let of = |byte: &str| byte.repeat(32);
        let expected = [
            r#"{"v":1,"roots":[],"directory":{"accepted":1000,"content":""#,
            &of("dd"),
            r#""},"tenants":{"acme":{"water":{"activation":7,"high":{"version":2,"digest":""#,
            &of("aa"),
            r#"","fallback":[]},"floor":1},"active":{"number":7,"manifest":""#,
            &of("aa"),
            r#""},"bundles":[{"accepted":1000,"content":""#,
            &of("bb"),
            r#""}],"shards":{"api":{"accepted":1000,"content":""#,
            &of("cc"),
            r#""}},"shard_versions":{"api":3}}},"revocations":null}"#,
        ]
        .concat();
        assert_eq!(serde_json::to_string(&index())?, expected);
        assert_eq!(serde_json::from_str::<Index>(&expected)?, index());
        let proof = StoredProof {
            n: LogIndex(9),
            sent: Timestamp::from_millis(5),
            stored: Timestamp::from_millis(6),
            epoch: RevocationEpoch(4),
        };
        assert_eq!(
            serde_json::to_string(&ProofFile { v: STORE_VERSION, proof })?,
            r#"{"v":1,"proof":{"n":9,"sent":5,"stored":6,"epoch":4}}"#
        );
        let trial = Trial {
            tenant: TenantId::new("acme").unwrap(),
            number: LogIndex(7),
            manifest: Digest([0xaa; 32]),
            content: Digest([0xbb; 32]),
            deaths: 1,
            arriving: false,
        };
        let expected = [
            r#"{"v":1,"open":true,"trials":[{"tenant":"acme","number":7,"manifest":""#,
            &of("aa"),
            r#"","content":""#,
            &of("bb"),
            r#"","deaths":1,"arriving":false}]}"#,
        ]
        .concat();
        let file = TrialFile { v: STORE_VERSION, open: true, trials: vec![trial] };
        assert_eq!(serde_json::to_string(&file)?, expected);
        assert_eq!(serde_json::from_str::<TrialFile>(&expected)?.trials, file.trials);
        Ok(())
    }

    /// Without its state an edge could go back, so what is damaged is told, never guessed at.
    #[test]
    fn damaged_files_stop_the_start() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let disk = remit_common::net::real::real().disk;
        let store = Store::open(Arc::clone(&disk), folder.path())?;
        let kept = store.put_content(b"content", Timestamp::from_millis(1))?;
        store.commit(&Index { directory: Some(kept), ..Index::default() })?;
        assert_eq!(store.content(&kept)?, b"content");
        disk.replace(&store.content_path(&kept.content), b"exchanged")?;
        assert!(matches!(store.content(&kept), Err(StoreFailed::Damaged { .. })));
        disk.remove(&store.content_path(&kept.content))?;
        assert!(matches!(store.content(&kept), Err(StoreFailed::Damaged { .. })));
        for damaged in ["", "{", "{}", r#"{"v":2,"roots":[],"directory":null,"tenants":{},"revocations":null}"#] {
            disk.replace(&store.index_path(), damaged.as_bytes())?;
            assert!(matches!(store.index(), Err(StoreFailed::Damaged { .. })), "{damaged}");
        }
        for damaged in ["", "{}", r#"{"v":2,"open":true,"trials":[]}"#] {
            disk.replace(&store.trials_path(), damaged.as_bytes())?;
            assert!(matches!(store.trials(), Err(StoreFailed::Damaged { .. })), "{damaged}");
        }
        disk.replace(&store.proof_path(), b"{")?;
        assert_eq!(store.proof()?, None, "a proof only ever makes an edge refuse less");
        Ok(())
    }
}
