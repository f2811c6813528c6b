//! What is on record of a call: its denial, its end, and what they say about the caller.

use std::time::Duration;

use remit_common::id::{TenantId, ToolName};
use remit_common::lattice::{Effects, Log};
use remit_common::policy::decision::{Denied, Permitted, Reason};
use remit_common::policy::relations::Relations;
use remit_common::policy::response::{self, Filtered};
use remit_common::policy::stage::Stage;
use remit_common::record::{Detail, RecordKind, ResultFigures};

use super::{Gateway, Journey, NoResult};
use crate::active::ActiveBundle;
use crate::pdp::{Basis, Refusal};
use crate::pep;
use crate::report::{Draft, Durability, Weight};
use crate::telemetry::bounded;

/// What a record has of a permit, besides what is known of the caller.
pub(super) fn permitted(permitted: &Permitted, known: Detail) -> Detail {
    Detail {
        resources: permitted.resources.clone(),
        ids: permitted.facts.ids.iter().map(|(name, ids)| (name.clone(), ids.iter().cloned().collect())).collect(),
        amounts: permitted.facts.amounts.iter().map(|(name, amount)| (name.clone(), *amount)).collect(),
        grant: Some(permitted.grant),
        policies: permitted.policies.clone(),
        policies_total: permitted.policies_total,
        max_records: permitted.obligations.max_records,
        classes: Some(permitted.obligations.classes),
        stage: Some(Stage::Verdict),
        ..known
    }
}

/// What a record has of a denial.
pub(super) fn denied(refusal: &Refusal, known: Detail) -> Detail {
    let Denied { reason: _, stage, dimension, hop, policies, policies_total, resources, detail, absent } =
        refusal.denied.clone();
    Detail {
        dimension,
        hop,
        policies,
        policies_total,
        resources,
        stage: Some(stage),
        absent,
        note: Some(bounded(detail)).filter(|note| !note.is_empty()),
        ..known
    }
}

impl Gateway {
    pub(super) fn record_outcome(
        &self,
        journey: &Journey,
        effects: Effects,
        log: Log,
        released: &Result<(Filtered, &'static str), (&'static str, Box<Refusal>)>,
    ) {
        let (word, result, note) = match released {
            Ok((filtered, word)) => {
                let response::ResultFigures { records_before, records_released, fields_dropped, bytes } =
                    filtered.figures;
                let figures = ResultFigures { records_before, records_released, fields_dropped, bytes };
                (*word, Some(figures), None)
            }
            Err((word, refusal)) => (*word, None, Some(refusal.denied.detail.clone())),
        };
        let detail = Detail { result, note, salt: self.env.random(), tool: journey.tool.clone(), ..Detail::default() };
        let draft = Draft { at: self.env.now(), ..self.draft(journey, RecordKind::Outcome, effects, word, detail) };
        let weight = match pep::durability(effects, log) {
            Durability::Soon => Weight::Read,
            Durability::First => Weight::Beyond,
        };
        self.reporter.soon(draft, weight);
    }

    /// Records a denial.
    pub(super) fn denied(&self, journey: &Journey, refusal: Box<Refusal>) -> NoResult {
        self.deny(journey, &refusal);
        NoResult::Refused(refusal)
    }

    pub(super) fn deny(&self, journey: &Journey, refusal: &Refusal) {
        let reason = refusal.denied.reason;
        let detail = denied(refusal, journey.detail());
        let effects = self.effects_of(journey);
        let draft = self.draft(journey, RecordKind::Decision, effects, reason.as_str(), detail);
        self.metrics.decided(reason, self.took(journey));
        // An envelope that does not stand is a pen for whoever finds it: such refusals are capped like a stranger's.
        if journey.envelope.is_some() && !refusal.challenge {
            self.reporter.soon(draft, Weight::Refusal);
        } else {
            self.reporter.refused_caller(draft);
        }
    }

    /// Records that a request was refused before it had an envelope that could be judged.
    pub(crate) fn refuse_request(&self, journey: &Journey, reason: Reason, detail: impl Into<String>) -> Box<Refusal> {
        let refusal = Refusal::of_envelope(Denied::new(reason, detail));
        self.deny(journey, &refusal);
        refusal
    }

    /// Records that a request with a good envelope was refused for its shape.
    pub(crate) fn refuse_call(&self, journey: &Journey, denied: Denied) {
        self.deny(journey, &Refusal::of_call(denied));
    }

    /// What the call would have done, as far as the catalogue knows the tool.
    pub(super) fn effects_of(&self, journey: &Journey) -> Effects {
        let Some((envelope, tool)) = journey.envelope.as_ref().zip(journey.tool.as_ref()) else {
            return Effects::default();
        };
        let active = journey.view.bundles.get(&envelope.tenant);
        let tool = active.and_then(|active| active.bundle.policy().catalogue().tools.get(tool));
        tool.map(|tool| tool.effects).unwrap_or_default()
    }

    pub(super) fn draft(
        &self,
        journey: &Journey,
        kind: RecordKind,
        effects: Effects,
        reason: &'static str,
        detail: Detail,
    ) -> Draft {
        let tenant: Option<&TenantId> = journey.envelope.as_ref().map(|envelope| &envelope.tenant);
        Draft {
            at: journey.arrived,
            kind,
            decision: journey.decision,
            tenant: tenant.cloned(),
            effects,
            reason,
            basis: Basis::of(&journey.view, tenant, journey.arrived),
            detail,
        }
    }

    pub(super) fn took(&self, journey: &Journey) -> Duration {
        self.env.now().boot.since(journey.arrived.boot)
    }
}

impl Journey {
    /// What is known of the caller and the call.
    pub(super) fn detail(&self) -> Detail {
        let Some(envelope) = &self.envelope else {
            let (tool, arguments) = (self.tool.clone(), self.arguments);
            return Detail { salt: self.salt, tool, arguments, ..Detail::default() };
        };
        let active = self.view.bundles.get(&envelope.tenant);
        let purpose = active.and_then(|active| active.bundle.policy().taxonomy().purpose_name(&envelope.purpose));
        let asks = |(active, tool): (&ActiveBundle, &ToolName)| active.bundle.policy().needs_relations(tool);
        let relations = self.view.relations.get(&envelope.tenant).map(|known| &known.relations);
        let relations = relations.filter(|known| !known.is_none() && active.zip(self.tool.as_ref()).is_some_and(asks));
        Detail {
            salt: self.salt,
            delegator: Some(envelope.delegator.clone()),
            session: Some(envelope.session.clone()),
            task: Some(envelope.task.clone()),
            purpose: purpose.map(str::to_owned),
            links: envelope.links().to_vec(),
            class: Some(envelope.class.clone()),
            agents: envelope.chain_agents.iter().map(|agent| agent.id.clone()).collect(),
            tool: self.tool.clone(),
            arguments: self.arguments,
            relations: relations.map(Relations::revision),
            offline: self.view.offline_in_use(&envelope.tenant, self.arrived).map(|offline| *offline.digest()),
            ..Detail::default()
        }
    }
}
