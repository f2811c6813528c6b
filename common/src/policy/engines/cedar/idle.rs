//! Policies that no call will ever ask.
//!
//! Cedar's validator finds policies that are false for everything the schema allows. Calls put fewer questions than
//! that: only about tools of the catalogue, with the resource their descriptor names, permits only for agents. A
//! policy that speaks of none of these would sit in a bundle and be believed in.

use std::collections::HashSet;

use cedar_policy_core::ast::{Effect, EntityType, EntityUID};
use cedar_policy_core::validator::ValidationMode;
use cedar_policy_core::validator::typecheck::{PolicyCheck, Typechecker};
use cedar_policy_core::validator::types::RequestEnv;

use super::{CedarEngine, CedarSchema, Kind};
use crate::policy::fault::{PolicyFault, Source};

/// The kinds of questions that calls put.
#[derive(Debug, Default)]
pub(crate) struct Questions(HashSet<(Effect, EntityType, EntityUID, EntityType)>);

impl Questions {
    /// Forbids are asked about this; permits, too, if `permits`.
    pub(crate) fn add(&mut self, principal: &Kind, action: (&Kind, &str), resource: &Kind, permits: bool) {
        let action = action.0.uid(action.1);
        for effect in [Some(Effect::Forbid), permits.then_some(Effect::Permit)].into_iter().flatten() {
            self.0.insert((effect, principal.0.clone(), action.clone(), resource.0.clone()));
        }
    }
}

impl CedarEngine {
    /// A fault for every policy that none of these questions could ever match.
    pub(crate) fn idle(
        &self,
        schema: &CedarSchema,
        questions: &Questions,
        sources: &[(&str, &str)],
    ) -> Vec<PolicyFault> {
        let typechecker = Typechecker::new(&schema.0, ValidationMode::Strict);
        let mut faults = Vec::new();
        for rule in &self.rules {
            let mut checks = typechecker.typecheck_by_request_env(rule.policy.template());
            let mut instead = None;
            let is_put = checks.any(|(env, check)| {
                let RequestEnv::DeclaredAction { principal, action, resource, .. } = env else { return false };
                if matches!(check, PolicyCheck::Irrelevant(..)) {
                    return false;
                }
                let asked = (rule.effect, principal.clone(), action.clone(), resource.clone());
                let put = questions.0.contains(&asked);
                instead.get_or_insert(asked);
                put
            });
            if is_put {
                continue;
            }
            let help = match instead {
                Some((Effect::Permit, principal, action, resource)) => format!(
                    "it speaks of {action} by {principal} on {resource}; permits are asked for the `Agent` that acts, \
                     about tools of the catalogue and the resource their descriptors name"
                ),
                Some((Effect::Forbid, principal, action, resource)) => format!(
                    "it speaks of {action} by {principal} on {resource}; forbids are asked for agents and users, about \
                     tools of the catalogue and the resource their descriptors name"
                ),
                None => "nothing satisfies it".to_owned(),
            };
            let text = sources.iter().find(|(file, _)| *file == rule.file).map_or("", |(_, text)| text);
            let source = Source { file: &rule.file, text };
            let message = format!("policy `{}` can never match: no call asks it", rule.id);
            faults.push(source.advise(&(rule.start..rule.start), message, help));
        }
        faults
    }
}
