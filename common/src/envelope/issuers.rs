//! The keys that may sign roots, as the directory lists them.

use std::collections::BTreeSet;

use crate::crypto::sign::PublicKey;
use crate::id::{KeyId, TenantId};
use crate::time::Timestamp;

/// One issuer: a voter's key for roots, and the tenants and times that the directory lists it for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issuer {
    /// SHA-256 of the key.
    pub kid: KeyId,
    /// The key.
    pub key: PublicKey,
    /// The tenants it may issue for. Empty is none.
    pub tenants: Vec<TenantId>,
    /// The first moment of issue that it may sign for.
    pub from: Timestamp,
    /// The first moment of issue that it may no longer sign for.
    pub until: Timestamp,
}

/// A list of issuers in which keys could be confused or counted twice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIssuers {
    /// The key id is not the key's.
    #[error("issuer `{kid}` is listed with another key")]
    WrongKid {
        /// The id.
        kid: KeyId,
    },
    /// Two issuers whose ids begin alike: signatures carry the first eight bytes only.
    #[error("issuer `{kid}` is listed twice, or begins like another")]
    Duplicate {
        /// The id.
        kid: KeyId,
    },
}

/// Every issuer of a directory, each key once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Issuers(Vec<Issuer>);

impl Issuers {
    /// Checks that no key is listed under a false id, or twice.
    ///
    /// # Errors
    /// [`InvalidIssuers`] names the id.
    pub fn new(issuers: Vec<Issuer>) -> Result<Self, InvalidIssuers> {
        let mut short = BTreeSet::new();
        for issuer in &issuers {
            if issuer.kid != issuer.key.id() {
                return Err(InvalidIssuers::WrongKid { kid: issuer.kid });
            }
            if !short.insert(issuer.kid.short()) {
                return Err(InvalidIssuers::Duplicate { kid: issuer.kid });
            }
        }
        Ok(Self(issuers))
    }

    /// Every issuer, in the order of the directory.
    pub fn iter(&self) -> impl Iterator<Item = &Issuer> {
        self.0.iter()
    }

    /// Those that may sign a root of this tenant issued at this moment.
    pub fn listed<'a>(&'a self, tenant: &'a TenantId, issued: Timestamp) -> impl Iterator<Item = &'a Issuer> {
        self.0
            .iter()
            .filter(move |issuer| issuer.from <= issued && issued < issuer.until && issuer.tenants.contains(tenant))
    }

    /// How many of them a root needs: more than half. `None` when none is listed.
    #[must_use]
    pub fn majority(&self, tenant: &TenantId, issued: Timestamp) -> Option<usize> {
        match self.listed(tenant, issued).count() {
            0 => None,
            listed => Some(listed / 2 + 1),
        }
    }
}
