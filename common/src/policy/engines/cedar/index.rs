//! Which policies could match: buckets by action and by the principal a policy names.
//!
//! A policy is left out only where its scope rules it out for certain. What is not left out is judged by Cedar's
//! evaluator, scope and all, so that an index that knows too little costs time and never changes an answer.

use std::collections::HashMap;

use cedar_policy_core::ast::{ActionConstraint, Entity, EntityUID};

use super::parse::Rule;
use super::{Query, Subject};

/// Buckets of rule numbers.
#[derive(Debug, Default)]
pub(super) struct Index {
    by_action: HashMap<EntityUID, Bucket>,
    any_action: Bucket,
}

#[derive(Debug, Default)]
struct Bucket {
    /// Rules whose scope names the principal, or a group.
    by_principal: HashMap<EntityUID, Vec<usize>>,
    /// Rules that name none.
    any_principal: Vec<usize>,
}

impl Index {
    pub(super) fn build(rules: &[Rule]) -> Self {
        let mut index = Self::default();
        for (number, rule) in rules.iter().enumerate() {
            match &rule.action {
                ActionConstraint::Any => index.any_action.add(number, rule),
                ActionConstraint::Eq(action) => index.bucket(action).add(number, rule),
                ActionConstraint::In(actions) => {
                    actions.iter().for_each(|action| index.bucket(action).add(number, rule));
                }
            }
        }
        index
    }

    fn bucket(&mut self, action: &EntityUID) -> &mut Bucket {
        self.by_action.entry(action.clone()).or_default()
    }

    /// Numbers of the rules that could match, rising, each once.
    pub(super) fn candidates(&self, query: &Query<'_>, rules: &[Rule]) -> Vec<usize> {
        let mut candidates = Vec::new();
        self.any_action.collect(query.principal, &mut candidates);
        for action in chain(query.action) {
            if let Some(bucket) = self.by_action.get(action) {
                bucket.collect(query.principal, &mut candidates);
            }
        }
        candidates.retain(|number| rules.get(*number).is_some_and(|rule| reaches(rule, query.resource)));
        candidates.sort_unstable();
        candidates.dedup();
        candidates
    }
}

impl Bucket {
    fn add(&mut self, number: usize, rule: &Rule) {
        match &rule.principal {
            Some(anchor) => self.by_principal.entry((**anchor).clone()).or_default().push(number),
            None => self.any_principal.push(number),
        }
    }

    fn collect(&self, principal: &Subject, out: &mut Vec<usize>) {
        out.extend(&self.any_principal);
        if !self.by_principal.is_empty() {
            for name in chain(principal) {
                out.extend(self.by_principal.get(name).into_iter().flatten());
            }
        }
    }
}

/// The subject itself and everything above it.
pub(super) fn chain(subject: &Subject) -> impl Iterator<Item = &EntityUID> {
    std::iter::once(&*subject.uid).chain(subject.entity.iter().flat_map(|entity| Entity::ancestors(entity)))
}

fn reaches(rule: &Rule, resource: &Subject) -> bool {
    rule.resource.as_deref().is_none_or(|anchor| {
        *anchor == *resource.uid || resource.entity.as_ref().is_some_and(|entity| entity.is_descendant_of(anchor))
    })
}
