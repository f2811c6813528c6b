//! What two bundles answer differently.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::CompiledBundle;
use super::place::Place;
use super::question::{Origin, Question, Request};
use super::witness::Seen;
use crate::id::{AgentClass, PolicyId, ToolName};
use crate::policy::{Decision, Reason};

/// The class of agents that a finding is about: policies hang on it.
pub type Role = AgentClass;

/// What kind of difference it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Denied before, permitted now.
    NewlyPermitted,
    /// Permitted by both, and the later one releases more of the result.
    MoreReleased,
    /// Permitted before, denied now.
    NewlyDenied,
    /// Permitted by both, and the later one releases less of the result.
    LessReleased,
}

impl Kind {
    /// Whether an administrator has to approve of it.
    #[must_use]
    pub fn widens(self) -> bool {
        matches!(self, Self::NewlyPermitted | Self::MoreReleased)
    }

    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::NewlyPermitted => "newly permitted",
            Self::MoreReleased => "more released",
            Self::NewlyDenied => "newly denied",
            Self::LessReleased => "less released",
        }
    }
}

/// What one bundle says to a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// `permit`, or why not; `None` where the request cannot be put to this bundle.
    pub reason: Option<Reason>,
    /// The policies that decide, and where they stand.
    pub policies: Vec<Place>,
    /// What an operator wants to know of a denial.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// How many records may be released, and of which classes, when it is permitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub released: Option<Released>,
}

/// What of a result may be released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Released {
    /// Records; `None` is as many as there are.
    pub records: Option<u64>,
    /// Classes of fields.
    pub classes: Vec<String>,
    /// Whether fields without a class are released, too.
    pub unclassified: bool,
}

/// A request, and what both bundles say to it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Exemplar {
    /// Where the request comes from.
    #[serde(flatten)]
    pub origin: Origin,
    /// The request.
    pub request: Request,
    /// What the earlier bundle says.
    pub old: Verdict,
    /// What the later bundle says.
    pub new: Verdict,
}

/// Requests that are answered differently in the same way.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// In which way.
    pub kind: Kind,
    /// The tool.
    pub action: ToolName,
    /// The class of the agent.
    pub role: Role,
    /// How many of the requests that were asked.
    pub count: u64,
    /// The first of them.
    pub exemplars: Vec<Exemplar>,
}

/// Findings, while requests are asked.
pub(super) struct Findings {
    exemplars: usize,
    found: BTreeMap<(Kind, ToolName, Role), Finding>,
    /// What the policies were seen to do, whether or not it differs.
    seen: Seen,
}

pub(super) type Answer = Result<Decision, String>;

pub(super) fn is_permit(answer: &Answer) -> bool {
    matches!(answer, Ok(Decision::Permit(_)))
}

impl Findings {
    pub(super) fn new(exemplars: usize) -> Self {
        Self { exemplars, found: BTreeMap::new(), seen: Seen::default() }
    }

    /// Asks both, and notes a difference.
    pub(super) fn ask(&mut self, question: &Question, old: &CompiledBundle, new: &CompiledBundle) {
        let (before, after) = (question.ask(old), question.ask(new));
        self.seen.note(&question.origin, &before, &after);
        let kind = match (is_permit(&before), is_permit(&after)) {
            (false, true) => Kind::NewlyPermitted,
            (true, false) => Kind::NewlyDenied,
            (false, false) => return,
            (true, true) => match released(&before, old).zip(released(&after, new)) {
                Some((before, after)) if !after.is_within(&before) => Kind::MoreReleased,
                Some((before, after)) if !before.is_within(&after) => Kind::LessReleased,
                _ => return,
            },
        };
        let request = question.request();
        let role = question.canary.agent.class.clone();
        let finding = self.found.entry((kind, request.action.clone(), role.clone())).or_insert_with(|| Finding {
            kind,
            action: request.action.clone(),
            role,
            count: 0,
            exemplars: Vec::new(),
        });
        finding.count = finding.count.saturating_add(1);
        if finding.exemplars.len() < self.exemplars {
            finding.exemplars.push(Exemplar {
                origin: question.origin.clone(),
                request,
                old: verdict(&before, old),
                new: verdict(&after, new),
            });
        }
    }

    pub(super) fn finish(self) -> (Vec<Finding>, Seen) {
        (self.found.into_values().collect(), self.seen)
    }
}

fn verdict(answer: &Answer, bundle: &CompiledBundle) -> Verdict {
    let (reason, policies, detail): (_, &[PolicyId], _) = match answer {
        Ok(decision) => (Some(decision.reason()), decision.policies(), decision.detail().to_owned()),
        Err(why) => (None, &[], why.clone()),
    };
    Verdict { reason, policies: Place::of(bundle, policies), detail, released: released(answer, bundle) }
}

/// What the edge would let through of the result, by the obligations and the tool's descriptor.
fn released(answer: &Answer, bundle: &CompiledBundle) -> Option<Released> {
    let Ok(Decision::Permit(permitted)) = answer else { return None };
    let (tool, taxonomy) = (&permitted.tool, bundle.policy().taxonomy());
    let granted = taxonomy.closed(permitted.obligations.classes);
    let mapped = tool.classes.iter().map(|(_, class)| *class).filter(|class| granted.contains(*class));
    let mut classes: Vec<String> = mapped.filter_map(|class| taxonomy.class_name(class)).map(str::to_owned).collect();
    classes.sort();
    classes.dedup();
    let records = tool.records.as_ref().map(|_| permitted.obligations.max_records.unwrap_or(0));
    Some(Released { records, classes, unclassified: !tool.is_strict() })
}

impl Released {
    fn is_within(&self, other: &Self) -> bool {
        let records = match (self.records, other.records) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(ours), Some(theirs)) => ours <= theirs,
        };
        let classes = self.classes.iter().all(|class| other.classes.contains(class));
        records && (classes || other.unclassified) && (!self.unclassified || other.unclassified)
    }
}
