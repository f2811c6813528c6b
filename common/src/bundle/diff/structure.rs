//! What the sources of two bundles say differently, before anybody is asked anything.
//!
//! A policy is the same if its effect, scope and conditions are; its text and place do not matter. What is wider by
//! itself, whatever policies say (a longer bound on staleness, a lower grade of proof, a trust domain more), is said
//! here, because no request would show it. Clause B-36.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::{CompiledBundle, Manifest};
use super::place::Place;
use crate::lattice::Effect;
use crate::policy::catalogue::HttpCall;
use crate::policy::catalogue::Tool;
use crate::policy::compile::{ENTITIES_FILE, SCHEMA_FILE};
use crate::policy::engines::cedar::steer::RuleView;
use crate::policy::taxonomy::{CLASSES_FILE, PURPOSES_FILE};
use crate::policy::trust_domains::TRUST_DOMAINS_FILE;
use crate::policy::{CompiledPolicy, DELEGATE_ACTION};

/// What a change is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A policy.
    Policy,
    /// A descriptor of the catalogue.
    Tool,
    /// An upstream of the catalogue.
    Upstream,
    /// A file that every policy is read with: schema, entities, taxonomy, trust domains, relation schema.
    File,
    /// An entity of the bundle.
    Entity,
    /// What the manifest says: bounds, limits.
    Manifest,
}

/// How something changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// It is new.
    Added,
    /// It is different.
    Changed,
    /// It is gone.
    Removed,
}

/// One thing that the sources say differently.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// What it is about.
    pub subject: Subject,
    /// Its name.
    pub name: String,
    /// How it changed.
    pub how: How,
    /// Where the policy stood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Place>,
    /// Where the policy stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Place>,
    /// Why it is wider by itself, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loosens: Option<String>,
}

impl Change {
    fn new(subject: Subject, name: impl Into<String>, how: How) -> Self {
        Self { subject, name: name.into(), how, old: None, new: None, loosens: None }
    }

    fn loosening(self, why: Option<String>) -> Self {
        Self { loosens: why, ..self }
    }

    /// Adds a reason why it is wider by itself, or has to be taken for it.
    pub(super) fn loosen(&mut self, why: String) {
        let known = self.loosens.take().map(|known| format!("{known}; {why}"));
        self.loosens = Some(known.unwrap_or(why));
    }
}

fn place(rule: RuleView) -> Place {
    Place { policy: rule.id, file: rule.file, start: rule.start, end: rule.end }
}

/// Everything that is different, sorted.
pub(super) fn changes(old: &CompiledBundle, new: &CompiledBundle) -> Vec<Change> {
    let mut changes = policies(old.policy(), new.policy());
    changes.extend(tools(old.policy(), new.policy()));
    changes.extend(upstreams(old.policy(), new.policy()));
    changes.extend(files(old, new));
    changes.extend(manifest(old.manifest(), new.manifest()));
    changes.extend(entities(old.policy(), new.policy()));
    changes.sort();
    changes
}

fn policies(old: &CompiledPolicy, new: &CompiledPolicy) -> Vec<Change> {
    let by_id = |policy: &CompiledPolicy| -> BTreeMap<_, RuleView> {
        policy.engine().rules().map(|rule| (rule.id.clone(), rule)).collect()
    };
    let (mut before, after) = (by_id(old), by_id(new));
    let mut changes = Vec::new();
    for (id, rule) in after {
        let was = before.remove(&id);
        let same = was.as_ref().is_some_and(|was| old.engine().says_the_same(was.number, new.engine(), rule.number));
        if same {
            continue;
        }
        let how = if was.is_some() { How::Changed } else { How::Added };
        let may_loosen = rule.permits || was.as_ref().is_some_and(|was| !was.permits);
        let unasked = unasked(new, &rule).or_else(|| was.as_ref().and_then(|was| unasked(old, was)));
        let why = unasked.filter(|_| may_loosen);
        let why = why.map(|what| format!("`{id}` decides {what}, and no request is made up for that"));
        let change = Change::new(Subject::Policy, id.to_string(), how).loosening(why);
        changes.push(Change { old: was.map(place), new: Some(place(rule)), ..change });
    }
    for (id, rule) in before {
        let why = unasked(old, &rule).filter(|_| !rule.permits);
        let why = why.map(|what| format!("`{id}` no longer forbids anything of {what}"));
        let change = Change::new(Subject::Policy, id.to_string(), How::Removed).loosening(why);
        changes.push(Change { old: Some(place(rule)), ..change });
    }
    changes
}

/// What this policy decides that is no call, so that no request that is made up shows it.
fn unasked(policy: &CompiledPolicy, rule: &RuleView) -> Option<&'static str> {
    let speaks_of = |action: &str| {
        let action = policy.engine().subject(&policy.kinds().action, action);
        policy.engine().speaks_of(rule.number, &action)
    };
    if policy.delegation().is_some() && speaks_of(DELEGATE_ACTION) {
        return Some("who may hand on");
    }
    policy.advised().any(|action| speaks_of(action.as_str())).then_some("what is asked without an envelope")
}

fn tools(old: &CompiledPolicy, new: &CompiledPolicy) -> Vec<Change> {
    let (before, after) = (&old.catalogue().tools, &new.catalogue().tools);
    let mut changes = Vec::new();
    for (name, tool) in after {
        match before.get(name) {
            None => changes.push(Change::new(Subject::Tool, name.to_string(), How::Added)),
            Some(was) if was == tool => {}
            // What agents are told about a tool decides nothing.
            Some(was) if same_but_for_texts(was, tool) => {
                changes.push(Change::new(Subject::Tool, name.to_string(), How::Changed));
            }
            Some(was) => {
                let why = loosened(was, tool);
                changes.push(Change::new(Subject::Tool, name.to_string(), How::Changed).loosening(why));
            }
        }
    }
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    changes.extend(gone.map(|name| Change::new(Subject::Tool, name.to_string(), How::Removed)));
    changes
}

fn same_but_for_texts(one: &Tool, two: &Tool) -> bool {
    let (title, description) = (two.title.clone(), two.description.clone());
    // Of a plain tool it says how values are read from a request.
    let input_schema = if two.http.is_none() { two.input_schema.clone() } else { one.input_schema.clone() };
    Tool { title, description, input_schema, ..one.clone() } == *two
}

/// What a descriptor lets through that it did not, whatever policies say. Answers to calls are compared by asking.
fn loosened(old: &Tool, new: &Tool) -> Option<String> {
    let name = &new.name;
    let mut why = Vec::new();
    if new.min_pop < old.min_pop {
        why.push(format!("`{name}` asks for less proof: {:?} instead of {:?}", new.min_pop, old.min_pop));
    }
    if new.upstream != old.upstream || new.upstream_tool != old.upstream_tool {
        why.push(format!("calls of `{name}` go to `{}` instead of `{}`", new.upstream, old.upstream));
    }
    if new.http != old.http {
        let line =
            |http: Option<&HttpCall>| http.map_or("MCP".to_owned(), |http| format!("{} {}", http.method, http.path));
        let (is, was) = (line(new.http.as_ref()), line(old.http.as_ref()));
        why.push(format!("calls of `{name}` are other requests: `{is}` instead of `{was}`"));
    } else if new.http.is_some() && new.input_schema != old.input_schema {
        why.push(format!("what a request of `{name}` says is read in other types"));
    }
    if new.credential.is_some() && new.credential != old.credential {
        why.push(format!("`{name}` is called with another credential"));
    }
    if !new.effects.is_within(old.effects) || !old.effects.is_within(new.effects) {
        why.push(format!("`{name}` has other effects"));
    }
    if old.definition.is_some() && new.definition != old.definition {
        why.push(format!("`{name}` is pinned to another definition"));
    }
    if new.since < old.since {
        why.push(format!("`{name}` counts as older: envelopes reach it that did not"));
    }
    for pointer in new.free.iter().filter(|pointer| !old.free.contains(pointer)) {
        why.push(format!("`{name}` takes whatever stands at `{pointer}`, which needed a rule"));
    }
    if old.records.is_some() && new.records != old.records {
        why.push(format!("the records of what `{name}` answers are counted elsewhere"));
    }
    if (&old.dimensions, &old.amounts) != (&new.dimensions, &new.amounts) || old.resource != new.resource {
        why.push(format!("envelopes and policies bind other arguments of `{name}`"));
    }
    if old.classes != new.classes && old.is_classified() {
        why.push(format!("other parts of what `{name}` answers belong to the classes"));
    }
    (!why.is_empty()).then(|| why.join("; "))
}

fn upstreams(old: &CompiledPolicy, new: &CompiledPolicy) -> Vec<Change> {
    let (before, after) = (&old.catalogue().upstreams, &new.catalogue().upstreams);
    let mut changes = Vec::new();
    for (name, upstream) in after {
        match before.get(name) {
            None => changes.push(Change::new(Subject::Upstream, name.to_string(), How::Added)),
            Some(was) if was == upstream => {}
            Some(_) => {
                let why = Some(format!("calls to upstream `{name}` go another way"));
                changes.push(Change::new(Subject::Upstream, name.to_string(), How::Changed).loosening(why));
            }
        }
    }
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    changes.extend(gone.map(|name| Change::new(Subject::Upstream, name.to_string(), How::Removed)));
    changes
}

/// Files that are read with every policy. Policies and descriptors are compared one by one.
fn files(old: &CompiledBundle, new: &CompiledBundle) -> Vec<Change> {
    let shared = |bundle: &CompiledBundle| -> BTreeMap<String, _> {
        let one_by_one = |path: &str| path.starts_with("policies/") || path.starts_with("catalogue/");
        let entries = bundle.manifest().files.iter().filter(|entry| !one_by_one(&entry.path));
        entries.map(|entry| (entry.path.clone(), entry.sha256)).collect()
    };
    let (before, after) = (shared(old), shared(new));
    let mut changes = Vec::new();
    for (path, digest) in &after {
        let how = match before.get(path) {
            Some(was) if was == digest => continue,
            Some(_) => How::Changed,
            None => How::Added,
        };
        let asked = [SCHEMA_FILE, ENTITIES_FILE, PURPOSES_FILE, CLASSES_FILE].contains(&path.as_str());
        let of_advice = [SCHEMA_FILE, ENTITIES_FILE].contains(&path.as_str());
        let why = match path.as_str() {
            // Types and entities decide there, and no request is made up.
            _ if of_advice && new.policy().advised().next().is_some() => {
                Some(format!("`{path}` says who may do what without an envelope, and no request shows what it changes"))
            }
            TRUST_DOMAINS_FILE => Some("agents may prove themselves in other ways, or as other classes".to_owned()),
            _ if asked => None,
            other => Some(format!("`{other}` is read with every policy, and no request shows what it changes")),
        };
        changes.push(Change::new(Subject::File, path.clone(), how).loosening(why));
    }
    for path in before.keys().filter(|path| !after.contains_key(*path)) {
        let asked =
            [SCHEMA_FILE, ENTITIES_FILE, PURPOSES_FILE, CLASSES_FILE, TRUST_DOMAINS_FILE].contains(&path.as_str());
        let of_advice = path == ENTITIES_FILE && new.policy().advised().next().is_some();
        let why = (!asked || of_advice)
            .then(|| format!("`{path}` was read with every policy, and no request shows what it changed"));
        changes.push(Change::new(Subject::File, path.clone(), How::Removed).loosening(why));
    }
    changes
}

/// What an entity is called, as Cedar writes it.
pub(super) fn entity_name(kind: &str, id: &str) -> String {
    format!("{kind}::{id:?}")
}

fn entities(old: &CompiledPolicy, new: &CompiledPolicy) -> Vec<Change> {
    let holds = |policy: &CompiledPolicy, kind: &str, id: &str| policy.engine().knows(kind, id);
    let differ = old.engine().entities_that_differ(new.engine()).into_iter();
    differ
        .map(|(kind, id)| {
            let how = match (holds(old, &kind, &id), holds(new, &kind, &id)) {
                (false, _) => How::Added,
                (_, false) => How::Removed,
                _ => How::Changed,
            };
            Change::new(Subject::Entity, entity_name(&kind, &id), how)
        })
        .collect()
}

fn manifest(old: &Manifest, new: &Manifest) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut note = |name: &str, why: Option<String>| {
        changes.push(Change::new(Subject::Manifest, name, How::Changed).loosening(why));
    };
    for effect in Effect::ALL {
        let (before, after) = (old.bounds.of(effect).as_secs(), new.bounds.of(effect).as_secs());
        if before != after {
            let why =
                format!("an edge may permit `{}` on knowledge of {after} s instead of {before} s", effect.as_str());
            note(&format!("bounds.{}", effect.as_str()), (after > before).then_some(why));
        }
    }
    if old.bounds.unseal != new.bounds.unseal {
        let (before, after) = (old.bounds.unseal, new.bounds.unseal);
        let why = format!("a credential may be opened on knowledge of {after} s instead of {before} s");
        note("bounds.unseal", (after > before).then_some(why));
    }
    if old.limits.chain_links != new.limits.chain_links {
        let (before, after) = (old.limits.chain_links, new.limits.chain_links);
        let why = format!("a chain may have {after} links instead of {before}");
        note("limits.chain_links", (after > before).then_some(why));
    }
    if old.allow_bearer != new.allow_bearer {
        let why = new.allow_bearer.then(|| "an envelope may be used by whoever has a copy of it".to_owned());
        note("allow_bearer", why);
    }
    if old.lifts != new.lifts {
        let more = new.lifts.difference(&old.lifts).count();
        let why = (more > 0).then(|| format!("brakes that administrators on call have put on no longer hold: {more}"));
        note("lifts", why);
    }
    if old.authzen_without_envelope != new.authzen_without_envelope {
        let more: Vec<_> = new.authzen_without_envelope.difference(&old.authzen_without_envelope).collect();
        let named = || more.iter().map(|action| format!("`{action}`")).collect::<Vec<_>>().join(", ");
        let why = (!more.is_empty()).then(|| format!("these may be asked about without an envelope: {}", named()));
        note("authzen_without_envelope", why);
    }
    if old.combination != new.combination {
        note("combination", Some("the answers of engines are combined in another way".to_owned()));
    }
    changes
}

/// What changed and is asked by no request, in words.
pub(super) fn not_asked(changes: &[Change]) -> Vec<String> {
    changes.iter().filter_map(|change| change.loosens.as_ref()).map(|why| format!("read, not asked: {why}")).collect()
}
