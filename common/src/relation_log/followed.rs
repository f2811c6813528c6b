//! What an edge keeps of a log: which batches there are, by whom, and not what they say.
//!
//! The batches lie on its disk, and the tuples in the table that decisions ask; a third copy would cost more memory than
//! the table. Clauses.

use super::batch::VerifiedBatch;
use super::log::{Head, RelationLog, check_follows, check_log_room};
use super::refused::BatchRefused;
use crate::policy::relations::RelationChange;

/// The batches of one tenant that an edge has taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FollowedLog {
    // INVARIANT: revisions follow each other; they are those that a `RelationLog` would keep.
    kept: Vec<Head>,
    bytes: usize,
}

impl FollowedLog {
    /// The newest batch.
    #[must_use]
    pub fn head(&self) -> Head {
        self.kept.last().copied().unwrap_or_default()
    }

    /// Whether exactly this batch is here. Of one that is not kept any more, or that a statement stepped over, nobody
    /// can say what it was: it proves nothing.
    #[must_use]
    pub fn has(&self, named: &Head) -> bool {
        if named.revision == 0 {
            return *named == Head::default() && self.kept.is_empty();
        }
        let at = self.kept.binary_search_by_key(&named.revision, |kept| kept.revision);
        at.ok().and_then(|at| self.kept.get(at)).is_some_and(|kept| kept == named)
    }

    /// Takes the next batch, or a later one that states the whole set. Whoever asks counts the tuples.
    ///
    /// # Errors
    /// [`BatchRefused`]; nothing has changed.
    pub fn catch_up(&mut self, batch: VerifiedBatch) -> Result<RelationChange, BatchRefused> {
        check_follows(&self.head(), batch.content())?;
        // What is reserved, and for whom, is for the voters to say.
        check_log_room(&batch, (self.kept.len(), self.bytes), (0, 0))?;
        let (content, digest, _, bytes) = batch.into_parts();
        if content.replace {
            *self = Self::default();
        }
        self.kept.push(Head { revision: content.revision, digest });
        self.bytes = self.bytes.saturating_add(bytes.len());
        let (revision, replace, add, remove) = (content.revision, content.replace, content.add, content.remove);
        Ok(RelationChange { revision, replace, add, remove })
    }
}

impl From<&RelationLog> for FollowedLog {
    fn from(log: &RelationLog) -> Self {
        Self { kept: log.kept().iter().map(|kept| kept.head).collect(), bytes: log.bytes() }
    }
}
