//! A chain, drawn: who handed what to whom, what each hop asked for and what is left of it, and who has registered it.

use remit_common::envelope::{Countersignature, Link, RawPresentation};
use remit_common::id::{LinkId, MeshId};
use remit_common::lattice::{Beyond, Grant, Scope, beyond};
use remit_common::time::Timestamp;
use serde_json::{Value, json};

use super::show::{grant_text, grant_to_json, link_to_json, print_terms, purpose_text};
use crate::context::Context;

/// A chain as it says it is. No signature was checked.
pub(super) struct Chain {
    pub(super) steps: Vec<Step>,
    /// Why the links leave nothing, if they do not fit together.
    broken: Option<String>,
}

/// One link, and what the chain is after it.
pub(super) struct Step {
    id: LinkId,
    /// What is left of each grant; a tombstone where nothing is.
    left: Vec<Option<Grant>>,
    /// What it asks for and its parent does not hold.
    not_held: Vec<Beyond>,
    /// The first moment at which some link so far has ended.
    expires: Timestamp,
    registered: Option<Countersignature>,
}

impl Chain {
    pub(super) fn read(presentation: &RawPresentation, mesh: &MeshId) -> Self {
        let scope = presentation.unverified_scope();
        let broken = scope.as_ref().err().map(ToString::to_string);
        let mut scopes: Vec<Scope> = scope
            .ok()
            .map(|scope| std::iter::successors(Some(scope), |scope| scope.parent().cloned()).collect())
            .unwrap_or_default();
        scopes.reverse();
        let mut expires = Timestamp::MAX;
        let links = presentation.links().zip(presentation.link_ids(mesh));
        let steps = links.enumerate().map(|(hop, (link, id))| {
            expires = expires.min(Timestamp::from_secs(link.expires_secs));
            let left = scopes.get(hop).map(|scope| scope.grants().map(|(_, grant)| grant.cloned()).collect());
            let above = hop.checked_sub(1).and_then(|above| scopes.get(above));
            let said = u8::try_from(hop).ok().and_then(|hop| presentation.countersignature(hop));
            Step {
                id,
                left: left.unwrap_or_default(),
                not_held: above.map(|above| beyond(above, &link.grants)).unwrap_or_default(),
                expires,
                registered: said.map(|raw| raw.said().clone()),
            }
        });
        Self { steps: steps.collect(), broken }
    }

    /// Draws it, root first, each hop below the one that made it.
    pub(super) fn draw(&self, context: &Context, presentation: &RawPresentation) {
        let output = &context.output;
        for (hop, (link, step)) in presentation.links().zip(&self.steps).enumerate() {
            if let Some(root) = &link.context {
                output.line(output.strong(&format!("{} in tenant {}", root.delegator, root.tenant)));
                output.line(format!("session {}, task {}", root.session, root.task));
            }
            let indent = "   ".repeat(hop);
            let title = if hop == 0 { "root".to_owned() } else { format!("hop {hop}") };
            let agent = format!("{} ({})", link.agent.id, link.agent.class);
            output.line(format!("{indent}└─ {} to {agent}", output.strong(&title)));
            let line = |text: String| output.line(format!("{indent}   {text}"));
            line(format!("link        {}", step.id));
            if let Some(words) = link.intent.as_ref().or(link.subtask.as_ref()) {
                line(format!("in words    {words}"));
            }
            if let Some(purpose) = &link.purpose {
                line(format!("purpose     {}", purpose_text(purpose)));
            }
            line(format!("expires     {}", step.expires));
            line(format!("registered  {}", step.registration(hop, link)));
            if let Some(deleg) = link.delegation {
                let offline = if deleg.offline { ", also unregistered" } else { "" };
                let (depth, fanout) = (deleg.depth_left, deleg.fanout_max);
                line(format!("handing on  {depth} deep, to {fanout} at a time{offline}"));
            }
            print_terms(context, &link.audience, link.demands);
            for grant in &link.grants {
                let of = if hop == 0 { String::new() } else { format!(" of {}", grant.of) };
                line(format!("asks for    grant{of}: {}", grant_text(grant)));
            }
            for Beyond { grant, dimension, asked, held } in &step.not_held {
                line(output.faint(&format!("not held    grant {grant}: {dimension} {asked} (held: {held})")));
            }
            if hop > 0 {
                for left in &step.left {
                    let text = left.as_ref().map_or_else(|| "nothing".to_owned(), grant_text);
                    line(format!("is left     {text}"));
                }
            }
        }
        if let Some(why) = &self.broken {
            output.line(output.bad(&format!("the links leave nothing: {why}")));
        }
    }
}

impl Step {
    fn registration(&self, hop: usize, link: &Link) -> String {
        match &self.registered {
            _ if hop == 0 => "by being issued".to_owned(),
            Some(said) => {
                let Countersignature { edge, region, time, expires, decision, .. } = said;
                format!("by {edge} ({region}) at {time}, until {expires}, decision {decision}")
            }
            None => {
                let life = link.expires_secs.saturating_sub(link.issued_secs);
                format!("no; {life} s: counts only below links that say `offline`, and for 300 s at most")
            }
        }
    }

    pub(super) fn to_json(&self, link: &Link) -> Value {
        let registered = self.registered.as_ref().map(|said| {
            json!({ "edge": said.edge, "region": said.region, "time": said.time.to_string(),
                    "expires": said.expires.to_string(), "decision_id": said.decision })
        });
        let left: Vec<_> = self.left.iter().map(|grant| grant.as_ref().map(grant_to_json)).collect();
        let not_held: Vec<_> = self
            .not_held
            .iter()
            .map(|Beyond { grant, dimension, asked, held }| {
                json!({ "grant": grant, "dimension": dimension, "asked": asked, "held": held })
            })
            .collect();
        let mut json = link_to_json(link);
        if let Value::Object(members) = &mut json {
            members.insert("link".to_owned(), json!(self.id.to_string()));
            members.insert("registered".to_owned(), json!(registered));
            members.insert("left".to_owned(), json!(left));
            members.insert("not_held".to_owned(), json!(not_held));
            members.insert("ends".to_owned(), json!(self.expires.to_string()));
        }
        json
    }
}
