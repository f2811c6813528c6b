//! Recorded decisions as requests.
//!
//! A record holds no arguments and no class of an agent. What policies look at is put together from what it does hold, and
//! the result counts only if the earlier bundle decides it as was recorded, by the same policies. Everything else is
//! counted as left out, by reason; nothing is guessed. Clause B-47.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::super::CompiledBundle;
use super::question::{Origin, Question, Request};
use super::scene::{OTHER, put, segments};
use crate::envelope::AgentRequest;
use crate::id::{AgentClass, DecisionId, ToolName};
use crate::policy::catalogue::Tool;
use crate::policy::engines::cedar::steer::{About, CLASS, Value as Known, Work};
use crate::policy::{Decision, Reason};
use crate::time::Timestamp;

/// Records that are looked at.
const RECORDS_MAX: usize = 100_000;
/// Classes of agents that are tried.
const CLASSES_MAX: usize = 64;
/// Steps for reading the policies about one tool.
const STEPS_MAX: u64 = 10_000_000;
/// The envelope of a record ended at a time that nobody wrote down; no policy that looks at it is replayed.
const LIFE: Duration = Duration::from_secs(3_600);

/// What recorded decisions come to.
#[derive(Debug, Clone, Default)]
pub struct Replay {
    /// The requests.
    pub questions: Vec<Question>,
    /// How many decisions are not among them, by reason.
    pub left_out: BTreeMap<&'static str, u64>,
}

/// One recorded decision, as far as it can be put to policy; the classes of its agents are open.
struct Facts {
    id: DecisionId,
    agents: Vec<String>,
    request: Request,
    reason: Reason,
    policies: BTreeSet<String>,
    classes: Arc<BTreeSet<String>>,
}

/// What the policies about one tool look at, in either bundle: the same for every record of it.
struct Looks {
    /// Why no record of it can be asked again.
    unrecorded: Option<LeftOut>,
    /// Whether they look at what a grant releases.
    released: bool,
    /// The classes of agents to try.
    classes: Arc<BTreeSet<String>>,
}

impl Looks {
    fn of(action: &ToolName, old: &CompiledBundle, new: &CompiledBundle) -> Self {
        let reads = |name: &str| [old, new].into_iter().any(|bundle| reads(bundle, action, name));
        let unrecorded = if reads("args") || requires_arguments(old, action) {
            Some("policies about its tool look at arguments, which are not recorded")
        } else if reads("expires_at") || reads("session") || reads("task") {
            Some("policies about its tool look at the envelope's end, session or task")
        } else if [old, new].into_iter().any(|bundle| bundle.policy().needs_relations(action)) {
            Some("policies about its tool look at relations, which are not recorded")
        } else {
            None
        };
        let released = reads("max_records") || reads("classes");
        Self { unrecorded, released, classes: classes_known(old, action).into() }
    }
}

type LeftOut = &'static str;

/// Turns records, as `remit decision` prints them, into requests. `old` is the bundle that decided.
#[must_use]
pub fn replay(records: &[Value], old: &CompiledBundle, new: &CompiledBundle) -> Replay {
    let mut replay = Replay::default();
    let is_decision = |record: &&Value| text(record, "/remit/kind") == Some("decision");
    let mut decisions: Vec<Facts> = Vec::new();
    let mut tools: BTreeMap<ToolName, Looks> = BTreeMap::new();
    for (number, record) in records.iter().filter(is_decision).enumerate() {
        let read =
            if number < RECORDS_MAX { facts(record, old, new, &mut tools) } else { Err("there are too many records") };
        match read {
            Ok(facts) => decisions.push(facts),
            Err(why) => replay.leave_out(why),
        }
    }
    // What one record shows of an agent's class helps with another, those of the chain's first agents first.
    decisions.sort_by_key(|facts| (facts.agents.len(), facts.id));
    let mut known: BTreeMap<String, Option<String>> = BTreeMap::new();
    for facts in &decisions {
        let Some((leaf, above)) = facts.agents.split_last() else { continue };
        if let [only] = facts.fitting(above, &known, old).as_slice() {
            let class = known.entry(leaf.clone()).or_insert_with(|| Some(only.0.clone()));
            if class.as_ref() != Some(&only.0) {
                *class = None;
            }
        }
    }
    for facts in &decisions {
        let Some((leaf, above)) = facts.agents.split_last() else { continue };
        let mut fitting = facts.fitting(above, &known, old);
        if fitting.is_empty() {
            replay.leave_out("the earlier bundle does not decide as was recorded, whatever the class of the agent");
            continue;
        }
        if fitting.len() > 1 {
            let class = known.get(leaf).cloned().flatten();
            fitting.retain(|(fits, _)| Some(fits) == class.as_ref());
        }
        match fitting.pop() {
            Some((_, question)) => replay.questions.push(question),
            None => replay.leave_out("of which class the agent was is not recorded"),
        }
    }
    replay
}

impl Replay {
    fn leave_out(&mut self, why: LeftOut) {
        let count = self.left_out.entry(why).or_default();
        *count = count.saturating_add(1);
    }
}

impl Facts {
    /// The classes with which the bundle that decided decides as was recorded.
    fn fitting(
        &self,
        above: &[String],
        known: &BTreeMap<String, Option<String>>,
        old: &CompiledBundle,
    ) -> Vec<(String, Question)> {
        let named = |agent: &String| {
            let class: AgentClass = known.get(agent).cloned().flatten()?.parse().ok()?;
            Some(AgentRequest { id: agent.parse().ok()?, class })
        };
        let Some(chain) = above.iter().map(named).collect::<Option<Vec<_>>>() else { return Vec::new() };
        let question = |class: &String| {
            let request = Request { class: class.clone(), ..self.request.clone() };
            let question = Question::granted(&request, chain.clone(), Origin::Recorded { id: self.id })?;
            self.is_answer(&question.ask(old)).then(|| (class.clone(), question))
        };
        self.classes.iter().filter_map(question).collect()
    }

    fn is_answer(&self, answer: &Result<Decision, String>) -> bool {
        let Ok(decision) = answer else { return false };
        let policies: BTreeSet<String> = decision.policies().iter().map(ToString::to_string).collect();
        decision.reason() == self.reason && policies == self.policies
    }
}

fn facts(
    record: &Value,
    old: &CompiledBundle,
    new: &CompiledBundle,
    tools: &mut BTreeMap<ToolName, Looks>,
) -> Result<Facts, LeftOut> {
    const MALFORMED: LeftOut = "it is no record of a decision";
    if record.get("input").is_none() {
        return Err("its detail was shed");
    }
    let reason: Reason = text(record, "/remit/reason").and_then(|reason| reason.parse().ok()).ok_or(MALFORMED)?;
    if !matches!(reason, Reason::Permit | Reason::Forbidden | Reason::NoMatchingPolicy) {
        return Err("policies did not decide it");
    }
    let id: DecisionId = text(record, "/decision_id").and_then(|id| id.parse().ok()).ok_or(MALFORMED)?;
    let action: ToolName = text(record, "/input/tool").and_then(|tool| tool.parse().ok()).ok_or(MALFORMED)?;
    let policy = old.policy();
    let tool = policy.catalogue().tools.get(&action).ok_or("the earlier bundle has no such tool")?;
    let looks = tools.entry(action.clone()).or_insert_with(|| Looks::of(&action, old, new));
    if let Some(why) = looks.unrecorded {
        return Err(why);
    }
    if reason != Reason::Permit && looks.released {
        return Err(
            "policies about its tool look at what a grant releases, which is recorded only for what is permitted",
        );
    }
    let agents = texts(record, "/input/agents");
    let numbers = record.pointer("/remit/classes").and_then(Value::as_array).into_iter().flatten();
    let numbers = numbers.filter_map(|number| u8::try_from(number.as_u64()?).ok());
    let classes = numbers.filter_map(|number| policy.taxonomy().class_name(number).map(str::to_owned)).collect();
    let now = moment(id);
    let request = Request {
        action: action.clone(),
        agent: agents.last().cloned().ok_or(MALFORMED)?,
        class: String::new(),
        delegator: text(record, "/input/delegator").ok_or(MALFORMED)?.to_owned(),
        purpose: text(record, "/input/purpose").ok_or(MALFORMED)?.to_owned(),
        chain_depth: agents.len(),
        arguments: arguments(record, tool)?,
        max_records: record.pointer("/remit/max_records").and_then(Value::as_u64),
        classes,
        now,
        expires: now.plus(LIFE),
    };
    let policies = texts(record, "/remit/policies").into_iter().collect();
    Ok(Facts { id, agents, request, reason, policies, classes: looks.classes.clone() })
}

/// A decision's id begins with the wall clock in milliseconds.
fn moment(id: DecisionId) -> Timestamp {
    let [a, b, c, d, e, f, ..] = id.to_bytes();
    Timestamp::from_millis(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
}

/// Arguments that yield the recorded ids and amounts, and the resources.
fn arguments(record: &Value, tool: &Tool) -> Result<Map<String, Value>, LeftOut> {
    let mut root = Value::Object(Map::new());
    let mut taken = BTreeSet::new();
    let mut place = |pointer: String, value: Option<Value>| -> Result<(), LeftOut> {
        let path = segments(&pointer);
        if path.iter().any(|segment| segment == "*") {
            return Err("its ids stood in lists of arguments");
        }
        if taken.insert(pointer) {
            put(&mut root, &path, value.ok_or("ids of its arguments are not recorded")?);
        }
        Ok(())
    };
    let recorded = |group: &str, name: &str| record.get("input")?.get(group)?.get(name);
    for (name, pointer) in &tool.dimensions {
        let ids = recorded("ids", name.as_str()).and_then(Value::as_array);
        place(pointer.to_string(), ids.and_then(|ids| one_or_all(ids)))?;
    }
    for (name, pointer) in &tool.amounts {
        place(pointer.to_string(), recorded("amounts", name.as_str()).cloned())?;
    }
    if let Some(rule) = &tool.resource {
        // `Contract::"7781"`, as policies write it; an id with a quotation mark in it is left alone.
        let id = |name: &String| {
            let id = name.strip_prefix(rule.kind.as_str())?.strip_prefix("::\"")?.strip_suffix('"')?;
            (!id.contains(['"', '\\'])).then(|| Value::from(id))
        };
        let ids = texts(record, "/input/resources").iter().map(id).collect::<Option<Vec<_>>>();
        place(rule.id.to_string(), ids.and_then(|ids| one_or_all(&ids)))?;
    }
    match root {
        Value::Object(arguments) => Ok(arguments),
        _ => Ok(Map::new()),
    }
}

fn one_or_all(ids: &[Value]) -> Option<Value> {
    match ids {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(Value::Array(many.to_vec())),
    }
}

/// Whether a policy about a tool looks at an attribute of this name.
fn reads(bundle: &CompiledBundle, tool: &ToolName, name: &str) -> bool {
    let engine = bundle.policy().engine();
    let action = engine.subject(&bundle.policy().kinds().action, tool.as_str());
    engine.rules().any(|rule| engine.speaks_of(rule.number, &action) && engine.reads(rule.number, name))
}

fn requires_arguments(bundle: &CompiledBundle, tool: &ToolName) -> bool {
    let wants = bundle.policy().plan(tool).map(|plan| plan.wants()).unwrap_or_default();
    wants.iter().any(|(path, _, required)| *required && path.first().is_some_and(|name| name == "args"))
}

/// The classes of agents that a bundle's policies about a tool name, and one that they do not.
fn classes_known(bundle: &CompiledBundle, tool: &ToolName) -> BTreeSet<String> {
    let policy = bundle.policy();
    let mut classes: BTreeSet<String> = BTreeSet::from([OTHER.to_owned()]);
    let Some(plan) = policy.plan(tool) else { return classes };
    let (work, changed, filled) = (Work::new(STEPS_MAX), BTreeSet::new(), BTreeSet::new());
    let about = About { resource: &plan.resource, purposes: &[], changed: &changed, filled: &filled, work: &work };
    let rules = policy.engine().rules().flat_map(|rule| policy.engine().boundaries(rule.number, &about));
    classes.extend(rules.filter(|(path, _)| path.as_slice() == [CLASS]).filter_map(|(_, value)| match value {
        Known::Text(class) => Some(class),
        Known::Bool(_) | Known::Long(_) | Known::Texts(_) => None,
    }));
    classes.extend(policy.engine().entities_of("AgentClass"));
    classes.into_iter().take(CLASSES_MAX).collect()
}

fn text<'r>(record: &'r Value, path: &str) -> Option<&'r str> {
    record.pointer(path).and_then(Value::as_str)
}

fn texts(record: &Value, path: &str) -> Vec<String> {
    let items = record.pointer(path).and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}
