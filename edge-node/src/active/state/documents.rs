//! Root and directory: what everything else hangs on.

use std::sync::Arc;

use remit_common::time::Now;
use remit_common::trust::directory::SignedDirectory;
use remit_common::trust::root::SignedRoot;

use super::{Accepted, Refused, State};

/// Roots of one chain: one a year, and some for bad days.
const ROOTS_MAX: usize = 64;

/// The signed documents, for whoever wants to check what this edge trusts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Documents {
    /// From the installed root to the newest.
    pub(crate) roots: Vec<Vec<u8>>,
    /// The directory.
    pub(crate) directory: Option<Vec<u8>>,
}

impl State {
    /// A root document arrived.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed.
    pub(crate) fn accept_root(&mut self, bytes: &[u8], now: Now) -> Result<Accepted, Refused> {
        let signed = SignedRoot::parse(bytes)?;
        if signed.digest() == *self.root.digest() || self.index.roots.len() >= ROOTS_MAX {
            return Ok(Accepted::Nothing);
        }
        let root = signed.verify_next(&self.root)?;
        let mut index = self.index.clone();
        index.roots.push(self.store.put_content(bytes, now.wall)?);
        // The directory was signed under the old root; it stays only if the new one takes it, too.
        let directory = match &self.index.directory {
            Some(stored) => {
                SignedDirectory::parse(&self.store.content(stored)?)?.verify(&root, now.wall).ok().map(Arc::new)
            }
            None => None,
        };
        if directory.is_none() {
            index.directory = None;
        }
        self.commit(index)?;
        let documents = Arc::make_mut(&mut self.documents);
        documents.roots.push(bytes.to_vec());
        if directory.is_none() {
            documents.directory = None;
        }
        self.root = Arc::new(root);
        self.directory = directory;
        // A key that the new root does not list any more vouches for nothing from this moment on.
        self.load_tenants()?;
        self.recheck_offline(now);
        let _instead = self.retreat(now);
        self.show();
        Ok(Accepted::Changed)
    }

    /// A directory arrived.
    ///
    /// # Errors
    /// [`Refused`]; nothing has changed.
    pub(crate) fn accept_directory(&mut self, bytes: &[u8], now: Now) -> Result<Accepted, Refused> {
        let directory = SignedDirectory::parse(bytes)?.verify(&self.root, now.wall)?;
        if let Some(previous) = &self.directory {
            if previous.digest() == directory.digest() {
                return Ok(Accepted::Nothing);
            }
            directory.check_succeeds(previous)?;
        }
        let mut index = self.index.clone();
        index.directory = Some(self.store.put_content(bytes, now.wall)?);
        self.commit(index)?;
        Arc::make_mut(&mut self.documents).directory = Some(bytes.to_vec());
        self.directory = Some(Arc::new(directory));
        self.recheck_shards()?;
        self.show();
        Ok(Accepted::Changed)
    }
}
