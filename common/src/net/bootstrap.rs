//! A folder that stands in for the control plane: where in it is what.
//!
//! `bootstrap.json` ([`Bootstrap`]), `bundles/<manifest digest>` (containers), `relations/<tenant>.json` (the batches, in
//! their order), `shards/<edge>.json` (sealed credentials) and `offline/<tenant>.json` (an offline authorization). It may come from a disk, from object storage or
//! from somebody's pocket: nothing in it is believed. Clause D-15, docs/PROTOCOL.md.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::value::RawValue;

use super::env::Disk;
use crate::crypto::digest::Digest;
use crate::id::{EdgeId, TenantId};
use crate::limits::{
    BOOTSTRAP_BYTES_MAX, BUNDLE_BYTES_MAX, OFFLINE_AUTHORIZATION_BYTES_MAX, RELATION_BATCHES_MAX,
    RELATION_LOG_BYTES_MAX,
};
use crate::sync::bootstrap::{Bootstrap, BootstrapRefused};

/// Credentials that are sealed for one edge, and their bytes.
const EDGE_SHARDS_MAX: usize = 4_096;
const EDGE_SHARDS_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The folder.
#[derive(Clone)]
pub struct BootstrapFolder {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
}

/// A file of the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderUnusable {
    /// It is not there.
    #[error("there is no `{0}`")]
    Missing(PathBuf),
    /// The disk refuses.
    #[error("cannot {doing} `{path}`")]
    Disk {
        /// What was being done.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// What the disk says.
        #[source]
        source: io::Error,
    },
    /// It is not what its name promises.
    #[error("`{path}` is not usable")]
    Refused {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: BootstrapRefused,
    },
}

impl std::fmt::Debug for BootstrapFolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BootstrapFolder({})", self.folder.display())
    }
}

impl BootstrapFolder {
    /// The folder at this place, which need not be there yet.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, folder: &Path) -> Self {
        Self { disk, folder: folder.to_owned() }
    }

    /// Where the index lies.
    #[must_use]
    pub fn index_path(&self) -> PathBuf {
        self.folder.join("bootstrap.json")
    }

    /// Where a tenant's offline authorization lies.
    #[must_use]
    pub fn authorization_path(&self, tenant: &TenantId) -> PathBuf {
        self.folder.join("offline").join(format!("{tenant}.json"))
    }

    fn bundle_path(&self, manifest: &Digest) -> PathBuf {
        self.folder.join("bundles").join(manifest.to_string())
    }

    fn relations_path(&self, tenant: &TenantId) -> PathBuf {
        self.folder.join("relations").join(format!("{tenant}.json"))
    }

    fn shards_path(&self, edge: &EdgeId) -> PathBuf {
        self.folder.join("shards").join(format!("{edge}.json"))
    }

    /// What belongs together. Nothing is verified.
    ///
    /// # Errors
    /// [`FolderUnusable`].
    pub fn index(&self) -> Result<Bootstrap, FolderUnusable> {
        let path = self.index_path();
        let bytes = self.read(&path, BOOTSTRAP_BYTES_MAX)?;
        Bootstrap::parse(&bytes).map_err(|source| FolderUnusable::Refused { path, source })
    }

    /// The container of a bundle.
    ///
    /// # Errors
    /// [`FolderUnusable`].
    pub fn bundle(&self, manifest: &Digest) -> Result<Vec<u8>, FolderUnusable> {
        self.read(&self.bundle_path(manifest), BUNDLE_BYTES_MAX)
    }

    /// The batches of a tenant's relations, in their order.
    ///
    /// # Errors
    /// [`FolderUnusable`].
    pub fn relations(&self, tenant: &TenantId) -> Result<Vec<Vec<u8>>, FolderUnusable> {
        self.list(self.relations_path(tenant), RELATION_LOG_BYTES_MAX, RELATION_BATCHES_MAX)
    }

    /// The credentials that are sealed for an edge.
    ///
    /// # Errors
    /// [`FolderUnusable`].
    pub fn shards(&self, edge: &EdgeId) -> Result<Vec<Vec<u8>>, FolderUnusable> {
        self.list(self.shards_path(edge), EDGE_SHARDS_BYTES_MAX, EDGE_SHARDS_MAX)
    }

    /// A file that is a list of signed documents, each with the bytes that it has there.
    fn list(&self, path: PathBuf, bytes_max: usize, count_max: usize) -> Result<Vec<Vec<u8>>, FolderUnusable> {
        // The brackets, and a comma each.
        let bytes = self.read(&path, bytes_max.saturating_add(count_max).saturating_add(2))?;
        let listed: Result<Vec<&RawValue>, String> = serde_json::from_slice(&bytes).map_err(|error| error.to_string());
        match listed {
            Ok(listed) if listed.len() <= count_max => {
                Ok(listed.into_iter().map(|one| one.get().as_bytes().to_vec()).collect())
            }
            Ok(_) => {
                let source = BootstrapRefused::Malformed("it lists more than there can be".to_owned());
                Err(FolderUnusable::Refused { path, source })
            }
            Err(why) => Err(FolderUnusable::Refused { path, source: BootstrapRefused::Malformed(why) }),
        }
    }

    /// A tenant's offline authorization, if there is one.
    ///
    /// # Errors
    /// [`FolderUnusable`].
    pub fn authorization(&self, tenant: &TenantId) -> Result<Option<Vec<u8>>, FolderUnusable> {
        let path = self.authorization_path(tenant);
        match self.read(&path, OFFLINE_AUTHORIZATION_BYTES_MAX) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(FolderUnusable::Missing(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the index. It goes last: what it names is there by then.
    ///
    /// # Errors
    /// [`FolderUnusable::Disk`].
    pub fn write_index(&self, bytes: &[u8]) -> Result<(), FolderUnusable> {
        self.write(&self.index_path(), bytes)
    }

    /// Writes a bundle.
    ///
    /// # Errors
    /// [`FolderUnusable::Disk`].
    pub fn write_bundle(&self, manifest: &Digest, container: &[u8]) -> Result<(), FolderUnusable> {
        self.write(&self.bundle_path(manifest), container)
    }

    /// Writes a tenant's batches, which are JSON.
    ///
    /// # Errors
    /// [`FolderUnusable::Disk`].
    pub fn write_relations(&self, tenant: &TenantId, batches: &[Box<RawValue>]) -> Result<(), FolderUnusable> {
        self.write_list(&self.relations_path(tenant), batches)
    }

    /// Writes the credentials that are sealed for an edge, which are JSON.
    ///
    /// # Errors
    /// [`FolderUnusable::Disk`].
    pub fn write_shards(&self, edge: &EdgeId, shards: &[Box<RawValue>]) -> Result<(), FolderUnusable> {
        self.write_list(&self.shards_path(edge), shards)
    }

    fn write_list(&self, path: &Path, documents: &[Box<RawValue>]) -> Result<(), FolderUnusable> {
        let texts: Vec<&str> = documents.iter().map(|one| one.get()).collect();
        self.write(path, format!("[{}]", texts.join(",")).as_bytes())
    }

    /// Removes bundles that an earlier index named, and this one does not.
    ///
    /// # Errors
    /// [`FolderUnusable::Disk`].
    pub fn keep_bundles(&self, named: &BTreeSet<Digest>) -> Result<(), FolderUnusable> {
        let folder = self.folder.join("bundles");
        let failed = |source| FolderUnusable::Disk { doing: "tidy", path: folder.clone(), source };
        for name in self.disk.list(&folder).map_err(failed)? {
            if name.parse::<Digest>().is_ok_and(|digest| !named.contains(&digest)) {
                self.disk.remove(&folder.join(&name)).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Writes a tenant's offline authorization.
    ///
    /// # Errors
    /// [`FolderUnusable::Disk`].
    pub fn write_authorization(&self, tenant: &TenantId, bytes: &[u8]) -> Result<(), FolderUnusable> {
        self.write(&self.authorization_path(tenant), bytes)
    }

    fn read(&self, path: &Path, bytes_max: usize) -> Result<Vec<u8>, FolderUnusable> {
        let read = self.disk.read(path, bytes_max);
        let read = read.map_err(|source| FolderUnusable::Disk { doing: "read", path: path.to_owned(), source })?;
        read.ok_or_else(|| FolderUnusable::Missing(path.to_owned()))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), FolderUnusable> {
        let folder = path.parent().unwrap_or(&self.folder);
        let written = self.disk.create_dir(folder).and_then(|()| self.disk.replace(path, bytes));
        written.map_err(|source| FolderUnusable::Disk { doing: "write", path: path.to_owned(), source })
    }
}
