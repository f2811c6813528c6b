//! Room that the tenants of an edge share, such that none can take what belongs to the others.
//!
//! Half of it is divided: each tenant has an equal part for itself, which stays free until that tenant uses it. The
//! other half goes to whoever comes first. So a tenant that takes all it can leaves every other one its part, and an
//! edge with one tenant gives it everything. How many tenants there are says the edge's configuration. Clause E-38.

use std::collections::BTreeMap;

use remit_common::id::TenantId;

/// A tenant has used its own part, and what all share is taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tenant `{tenant}` has {taken} here, more than its own part of {own}, and what tenants share is taken")]
pub(crate) struct TenantFull {
    tenant: TenantId,
    taken: usize,
    own: usize,
}

/// How much is taken, and by which tenant.
// INVARIANT: no tenant that has nothing is in `taken`; `total` is the sum of it, `beyond` of what each has above `own`.
#[derive(Debug)]
pub(crate) struct Room {
    all: usize,
    own: usize,
    shared: usize,
    taken: BTreeMap<TenantId, usize>,
    total: usize,
    beyond: usize,
}

impl Room {
    /// Room for `all`, of which `tenants` tenants have a part each.
    pub(crate) fn new(all: usize, tenants: usize) -> Self {
        let tenants = tenants.max(1);
        let own = (all / 2).checked_div(tenants).unwrap_or_default();
        let shared = all.saturating_sub(own.saturating_mul(tenants));
        Self { all, own, shared, taken: BTreeMap::new(), total: 0, beyond: 0 }
    }

    /// Whether a tenant may take one more.
    ///
    /// # Errors
    /// [`TenantFull`].
    pub(crate) fn check(&self, tenant: &TenantId) -> Result<(), TenantFull> {
        let taken = self.taken.get(tenant).copied().unwrap_or_default();
        if taken < self.own || self.beyond < self.shared {
            return Ok(());
        }
        Err(TenantFull { tenant: tenant.clone(), taken, own: self.own })
    }

    /// Whether nobody may take one more.
    pub(crate) fn is_full(&self) -> bool {
        self.total >= self.all
    }

    /// Takes one more.
    ///
    /// # Errors
    /// [`TenantFull`].
    pub(crate) fn take(&mut self, tenant: &TenantId) -> Result<(), TenantFull> {
        self.check(tenant)?;
        let taken = self.taken.entry(tenant.clone()).or_default();
        self.beyond = self.beyond.saturating_add(usize::from(*taken >= self.own));
        *taken = taken.saturating_add(1);
        self.total = self.total.saturating_add(1);
        Ok(())
    }

    /// Gives one back.
    pub(crate) fn give_back(&mut self, tenant: &TenantId) {
        let Some(taken) = self.taken.get_mut(tenant) else { return };
        self.beyond = self.beyond.saturating_sub(usize::from(*taken > self.own));
        self.total = self.total.saturating_sub(1);
        *taken = taken.saturating_sub(1);
        if *taken == 0 {
            self.taken.remove(tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tenant(number: usize) -> TenantId {
        TenantId::new(&format!("tenant-{number}")).unwrap()
    }

    fn fill(room: &mut Room, tenant: &TenantId) -> usize {
        (0..).take_while(|_| room.take(tenant).is_ok()).count()
    }

    #[test]
    fn a_tenant_that_takes_all_it_can_leaves_each_other_one_its_part() {
        let mut room = Room::new(1_000, 5);
        assert_eq!(fill(&mut room, &tenant(0)), 600);
        for other in 1..5 {
            assert_eq!(fill(&mut room, &tenant(other)), 100);
        }
        let refused = room.check(&tenant(0)).unwrap_err().to_string();
        assert!(refused.contains("`tenant-0` has 600"), "{refused}");
        assert_eq!(fill(&mut Room::new(1_000, 1), &tenant(0)), 1_000, "whoever is alone has everything");
        assert_eq!(fill(&mut Room::new(7, 64), &tenant(0)), 7, "too little to divide");
    }

    proptest! {
        /// Whatever was taken and given back before: all is never exceeded, and a tenant's own part is always there.
        #[test]
        fn a_part_is_kept_through_every_order(
            all in 1_usize..200,
            tenants in 1_usize..6,
            steps in prop::collection::vec((0_usize..6, prop::bool::weighted(0.7)), 0..600),
        ) {
            let mut room = Room::new(all, tenants);
            let mut taken = vec![0_usize; tenants];
            for (who, takes) in steps {
                let who = who % tenants;
                if takes {
                    let own = all / 2 / tenants;
                    let is_taken = room.take(&tenant(who)).is_ok();
                    prop_assert!(is_taken || taken[who] >= own);
                    taken[who] += usize::from(is_taken);
                } else {
                    room.give_back(&tenant(who));
                    taken[who] = taken[who].saturating_sub(1);
                }
                prop_assert!(taken.iter().sum::<usize>() <= all);
            }
            let left: usize = (0..tenants).map(|who| fill(&mut room, &tenant(who))).sum();
            prop_assert!(room.is_full());
            prop_assert_eq!(left + taken.iter().sum::<usize>(), all, "nothing is lost");
        }
    }
}
