//! One task's envelopes, and what the edge's decision says to calls under them.

use anyhow::Result;
use remit_common::envelope::Authority;
use remit_common::lattice::{Constraint, Grant, IdSet, Scalar, SortedMap};
use remit_common::policy::relations::Relations;
use remit_common::policy::{Decision, Denied, Permitted, ToolCall};

use super::rule::must_carry;
use super::setting::Setting;
use super::suite::Prompt;
use super::wish::{Constrain, Wish, approved, authority, issued};

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Played {
    /// The envelope admits it.
    Admitted,
    /// A human who is asked would have to say yes: the tool was asked for, and the prompt names nothing for its sinks.
    /// What the human is shown.
    Asked(Vec<String>),
    /// Nothing that a human could be asked admits it, and why.
    Refused(String),
}

/// A task whose envelopes are made.
#[derive(Debug)]
pub struct Player<'a> {
    setting: &'a Setting,
    task: String,
    wish: Wish,
    grants: Vec<Grant>,
    tools: Authority,
    sinks: Authority,
}

fn words(denied: &Denied) -> String {
    format!("{}, {}", denied.reason, denied.detail)
}

impl<'a> Player<'a> {
    /// Makes the envelopes of a task from what was asked.
    ///
    /// # Errors
    /// When no issuer would mint one of them.
    pub fn new(task: &str, prompt: &Prompt, setting: &'a Setting) -> Result<Self> {
        let wish = Wish::read(prompt, setting);
        let grants = wish.grants(setting, Constrain::Sinks)?;
        let tools = authority(task, wish.grants(setting, Constrain::Tools)?, setting)?;
        let sinks = authority(task, grants.clone(), setting)?;
        Ok(Self { setting, task: task.to_owned(), wish, grants, tools, sinks })
    }

    /// The envelope with sinks constrained.
    #[must_use]
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    fn decide(&self, authority: &Authority, call: &ToolCall) -> Decision {
        self.setting.bundle.decide(authority, call, &Relations::none(), issued(self.setting))
    }

    /// A call under the envelope that says which tools, and nothing else.
    #[must_use]
    pub fn with_tools(&self, call: &ToolCall) -> Played {
        match self.decide(&self.tools, call) {
            Decision::Permit(_) => Played::Admitted,
            Decision::Deny(denied) => Played::Refused(words(&denied)),
        }
    }

    /// A call under the envelope that constrains sinks; what it refuses, a human may be asked about.
    ///
    /// # Errors
    /// When the envelope would have no room for what the human approves.
    pub fn with_sinks(&self, call: &ToolCall) -> Result<Played> {
        let denied = match self.decide(&self.sinks, call) {
            Decision::Permit(_) => return Ok(Played::Admitted),
            Decision::Deny(denied) => denied,
        };
        // With every sink open, the decision itself says what the call's sinks are.
        let Decision::Permit(permitted) = self.decide(&self.tools, call) else {
            return Ok(Played::Refused(words(&denied)));
        };
        let Shown { values, grant } = match self.shown(&permitted, call)? {
            Ok(shown) => shown,
            Err(closed) => return Ok(Played::Refused(closed)),
        };
        let grants = self.grants.iter().cloned().chain([grant]).collect();
        let approved = authority(&self.task, grants, self.setting)?;
        Ok(match self.decide(&approved, call) {
            Decision::Permit(_) => Played::Asked(values),
            Decision::Deny(denied) => Played::Refused(words(&denied)),
        })
    }

    /// What a human is shown of the call's sinks, and what a yes adds to the envelope; or why nobody is asked.
    fn shown(&self, permitted: &Permitted, call: &ToolCall) -> Result<Result<Shown, String>> {
        let (rule, tool) = (&self.setting.rule, &permitted.tool);
        let (mut values, mut ids, mut args) = (Vec::new(), SortedMap::new(), SortedMap::new());
        let closed =
            |name: &str, value: &str| format!("`{name}` is `{value}`, and the prompt names another: nobody is asked");
        for (name, found) in &permitted.facts.ids {
            let may_lack = tool.dimensions.iter().any(|(own, pointer)| own == name && !must_carry(tool, pointer));
            let is_named = |kind| found.iter().all(|id| self.wish.names(kind, id.as_str()));
            if may_lack && !self.wish.speaks_of(name) && !rule.dimensions.get(name).copied().is_some_and(is_named) {
                return Ok(Err(format!(
                    "`{name}` may be left out, and the prompt does not speak of it: nobody is asked"
                )));
            }
            let kind = rule.dimensions.get(name);
            for id in found {
                let is_open = kind.is_some_and(|kind| self.wish.names(*kind, id.as_str()) || self.wish.may_ask(*kind));
                if !is_open {
                    return Ok(Err(closed(name.as_str(), id.as_str())));
                }
                values.push(format!("{name} `{id}`"));
            }
            ids.insert(name.clone(), IdSet::In(found.iter().cloned().collect()));
        }
        for (pointer, kind) in rule.arguments_of(&tool.name) {
            let name = pointer.as_str().trim_start_matches('/').to_owned();
            let Some(text) = call.arguments.get(&name).and_then(|value| value.as_text()) else { continue };
            if !self.wish.names(kind, text) && !self.wish.may_ask(kind) {
                return Ok(Err(closed(&name, text)));
            }
            values.push(format!("{name} `{text}`"));
            args.insert(pointer, Constraint::one_of([Scalar::from(text)]));
        }
        let grant = approved(tool, ids, args, self.setting)?;
        Ok(Ok(Shown { values, grant }))
    }
}

/// What a human is shown, and what a yes adds.
struct Shown {
    values: Vec<String>,
    grant: Grant,
}
