//! The newest batch of every tenant, as one tree whose root voters sign with each tick. Clause F-22.

use std::collections::BTreeMap;

use super::log::Head;
use crate::crypto::digest::Digest;
use crate::id::TenantId;
use crate::trust::merkle::{InclusionPath, MerkleTree};
use crate::trust::root::Root;

/// The newest batch of relations of each tenant that the root knows, or that has any, as one tree (F-22).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationHeads {
    // INVARIANT: sorted by tenant, each once, and the tree is over them.
    heads: Vec<(TenantId, Head)>,
    tree: MerkleTree,
}

fn head_leaf(tenant: &TenantId, head: &Head) -> Vec<u8> {
    // The id has no fixed length, but what follows it does, so that no two pairs share a leaf.
    [tenant.as_str().as_bytes(), &head.revision.to_be_bytes(), &head.digest.0].concat()
}

impl RelationHeads {
    /// Tenants of the root without relations are in it, too, with revision 0: so that there is a path for them.
    #[must_use]
    pub fn new(root: &Root, heads: &BTreeMap<TenantId, Head>) -> Self {
        let none = root.content().policy.keys().map(|tenant| (tenant.clone(), Head::default()));
        let all: BTreeMap<TenantId, Head> = none.chain(heads.iter().map(|(of, head)| (of.clone(), *head))).collect();
        let heads: Vec<_> = all.into_iter().collect();
        let tree = MerkleTree::new(heads.iter().map(|(tenant, head)| head_leaf(tenant, head)));
        Self { heads, tree }
    }

    /// What somebody has who knows the signed root and none of the heads below it.
    #[must_use]
    pub fn unknown(root: Digest) -> Self {
        Self { heads: Vec::new(), tree: MerkleTree::of_root(root) }
    }

    /// The root that is signed.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.tree.root()
    }

    /// The newest batch of every tenant.
    pub fn iter(&self) -> impl Iterator<Item = (&TenantId, &Head)> {
        self.heads.iter().map(|(tenant, head)| (tenant, head))
    }

    /// A tenant's newest batch, and how it is in the tree.
    #[must_use]
    pub fn path(&self, tenant: &TenantId) -> Option<(Head, InclusionPath)> {
        let place = self.heads.binary_search_by(|(id, _)| id.cmp(tenant)).ok()?;
        let (_, head) = self.heads.get(place)?;
        Some((*head, self.tree.path(place)?))
    }
}

/// Whether the path leads from this tenant's head to the signed root.
#[must_use]
pub fn names_head(relations: &Digest, tenant: &TenantId, head: &Head, path: &InclusionPath) -> bool {
    path.root(&head_leaf(tenant, head)).is_some_and(|root| root == *relations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::fixture::root;

    #[test]
    fn a_tenants_newest_batch_is_shown_and_no_other() {
        // Clause F-22.
        let tenant = |name: &str| name.parse::<TenantId>().unwrap();
        let head = |revision| Head { revision, digest: Digest::of(&[&[7]]) };
        let heads = BTreeMap::from([(tenant("acme"), head(3)), (tenant("zeta"), head(9))]);
        let tree = RelationHeads::new(&root(), &heads);
        let (found, path) = tree.path(&tenant("acme")).unwrap();
        assert_eq!(found, head(3));
        assert!(names_head(&tree.root(), &tenant("acme"), &head(3), &path));
        assert!(!names_head(&tree.root(), &tenant("acme"), &head(2), &path), "an older batch");
        assert!(!names_head(&tree.root(), &tenant("zeta"), &head(3), &path), "another tenant's");
        assert_eq!(tree.path(&tenant("nobody")), None);
        // A tenant of the root without relations has its place, too: that there are none is shown.
        let none = RelationHeads::new(&root(), &BTreeMap::new());
        let (found, path) = none.path(&tenant("acme")).unwrap();
        assert_eq!(found, Head::default());
        assert!(names_head(&none.root(), &tenant("acme"), &Head::default(), &path));
    }
}
