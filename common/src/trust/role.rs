//! A role: keys, and how many of them must sign.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::refused::TrustRefused;
use crate::crypto::sign::PublicKey;
use crate::id::KeyId;
use crate::limits::SIGNATURES_MAX;

/// A role as a root writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleContent {
    /// The keys.
    pub keys: Vec<PublicKey>,
    /// How many must sign.
    pub threshold: usize,
}

/// Distinct keys and a threshold that they can meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    // INVARIANT: 1 <= threshold <= keys.len() <= SIGNATURES_MAX; each key stands under its own id.
    keys: BTreeMap<KeyId, PublicKey>,
    threshold: usize,
}

impl Role {
    /// A role of these keys. `name` is for the error only.
    ///
    /// # Errors
    /// [`TrustRefused::BadRole`] when a key comes twice, or the threshold is zero or cannot be met.
    pub fn new(name: &str, content: &RoleContent) -> Result<Self, TrustRefused> {
        let bad = |rule| TrustRefused::BadRole { role: name.to_owned(), rule };
        if content.keys.len() > SIGNATURES_MAX {
            return Err(bad("at most 16 keys"));
        }
        let mut keys = BTreeMap::new();
        for key in &content.keys {
            if keys.insert(key.id(), *key).is_some() {
                return Err(bad("a key is listed twice"));
            }
        }
        let threshold = content.threshold;
        if threshold == 0 {
            return Err(bad("the threshold is zero"));
        }
        if threshold > keys.len() {
            return Err(bad("the threshold is higher than the number of keys"));
        }
        Ok(Self { keys, threshold })
    }

    /// The keys by id.
    #[must_use]
    pub fn keys(&self) -> &BTreeMap<KeyId, PublicKey> {
        &self.keys
    }

    /// How many must sign.
    #[must_use]
    pub fn threshold(&self) -> usize {
        self.threshold
    }
}
