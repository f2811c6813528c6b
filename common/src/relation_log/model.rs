//! What a bundle says about relations: who writes them, which tuples have a place, and what is asked of them.

use super::batch::Writers;
use super::refused::BatchRefused;
use crate::policy::CompiledPolicy;
use crate::policy::relations::{Relations, Tuple, TupleKey};

/// Tuples that may come and go before the table is built anew.
const LOOSE_MAX: usize = 4_096;

impl Writers {
    /// Whom a policy lets write; nobody where it has no model of relations.
    #[must_use]
    pub fn of(policy: &CompiledPolicy) -> Self {
        let keys: Vec<_> = policy
            .relation_rules()
            .map(|rules| rules.writers().iter().map(|writer| writer.key).collect())
            .unwrap_or_default();
        // A list that breaks a rule does not compile; should one come to, it lets nobody write.
        Self::new(&keys).unwrap_or_default()
    }
}

/// Whether a policy has a model of relations.
#[must_use]
pub fn has_model(policy: &CompiledPolicy) -> bool {
    policy.relation_rules().is_some()
}

/// Whether the model of a policy has a place for these tuples.
///
/// # Errors
/// [`BatchRefused::Tuple`] names the first for which it has none.
pub fn check_tuples<'t>(
    policy: &CompiledPolicy,
    tuples: impl IntoIterator<Item = &'t TupleKey>,
) -> Result<(), BatchRefused> {
    let rules = policy.relation_rules();
    tuples.into_iter().try_for_each(|key| {
        let fault = match rules {
            Some(rules) => rules.schema().check(key).err().map(|unfit| unfit.to_string()),
            None => Some("the active bundle has no model of relations".to_owned()),
        };
        fault.map_or(Ok(()), |fault| Err(BatchRefused::Tuple { tuple: key.to_string(), fault }))
    })
}

/// Tuples of one revision, ready to be asked; none where the policy has no model, or has no place for one of them. To
/// leave a tuple out could permit what it excludes.
#[must_use]
pub fn relations_of(policy: &CompiledPolicy, revision: u64, tuples: Vec<Tuple>) -> Relations {
    match policy.relation_rules() {
        Some(rules) if check_tuples(policy, tuples.iter().map(|tuple| &tuple.key)).is_ok() => {
            Relations::new(rules.schema().clone(), revision, tuples)
        }
        _ => Relations::none(),
    }
}

/// Whether so much has come and gone that [`Relations::compacted`] is worth its time.
#[must_use]
pub fn is_untidy(relations: &Relations) -> bool {
    relations.loose() > LOOSE_MAX
}
