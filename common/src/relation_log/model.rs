//! What a bundle says about relations: who writes them, which tuples have a place, and what is asked of them.

use super::batch::Writers;
use super::log::{Change, RelationLog};
use super::refused::BatchRefused;
use crate::policy::CompiledPolicy;
use crate::policy::relations::{Relations, TupleKey};

/// Tuples that may come and go before the table is built anew.
#[expect(dead_code, reason = "the engine is on its way")]
const LOOSE_MAX: usize = 4_096;

impl Writers {
    /// Whom a policy lets write; nobody where it has no model of relations.
    #[must_use]
    pub fn of(_policy: &CompiledPolicy) -> Self {
        Self::default()
    }
}

/// Whether a policy has a model of relations.
#[must_use]
pub fn has_model(_policy: &CompiledPolicy) -> bool {
    false
}

/// Whether the model of a policy has a place for these tuples.
///
/// # Errors
/// [`BatchRefused::Tuple`] names the first for which it has none.
pub fn check_tuples<'t>(
    _policy: &CompiledPolicy,
    tuples: impl IntoIterator<Item = &'t TupleKey>,
) -> Result<(), BatchRefused> {
    match tuples.into_iter().next() {
        Some(key) => {
            let fault = "the active bundle has no model of relations".to_owned();
            Err(BatchRefused::Tuple { tuple: key.to_string(), fault })
        }
        None => Ok(()),
    }
}

/// The tuples of a log, ready to be asked; none where the policy has no model.
#[must_use]
pub fn relations_of(_policy: &CompiledPolicy, _log: &RelationLog) -> Relations {
    Relations::none()
}

/// After a change, for the price of the change.
#[must_use]
pub fn relations_after(relations: &Relations, _revision: u64, _change: &Change) -> Relations {
    relations.clone()
}

/// The same in a tidy table, when there is something to tidy. Takes up to seconds: not for the way of a call.
#[must_use]
pub fn tidied(_relations: &Relations) -> Option<Relations> {
    None
}
