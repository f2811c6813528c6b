//! Requests about one tool: what they are made of, and how one is put together.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Map, Value as JsonValue};

use super::super::CompiledBundle;
use super::question::{Expects, Origin, Question, Request};
use crate::envelope::AgentRequest;
use crate::id::{PolicyId, ToolName};
use crate::limits::CHAIN_LINKS_MAX;
use crate::policy::catalogue::Tool;
use crate::policy::engines::cedar::steer::{
    ABOVE, ABOVE_AGENT, AGENT, About, CLASS, DELEGATOR, Edit, Named, Pairing, Path, RESOURCE, RuleView, Steered, Value,
    Work,
};
use crate::policy::engines::cedar::{Kind, Shape};
use crate::time::Timestamp;

/// Classes that are tried one by one.
const CLASSES_MAX: usize = 24;
/// Entities of one kind that are tried, besides those that changed and those that policies name.
const ENTITIES_MAX: usize = 12;
/// What asking costs besides the policies: putting the request together, its grants and its facts.
const ASKING: usize = 64;
/// A name that no policy means.
pub(super) const OTHER: &str = "something-else";
/// Another one.
const ANOTHER: &str = "something-else-again";
const LIFE: Duration = Duration::from_secs(3_600);

/// A request while it is made up: a value for each path.
pub(super) type Draft = BTreeMap<Path, Value>;

/// One of the two bundles, as far as one tool is concerned.
pub(super) struct Side<'a> {
    pub(super) bundle: &'a CompiledBundle,
    /// The policies about the tool.
    pub(super) rules: Vec<RuleView>,
}

/// Everything that requests about one tool can be made of.
pub(super) struct Scene<'a> {
    pub(super) tool: ToolName,
    descriptor: &'a Tool,
    resource: &'a Kind,
    pub(super) sides: [Side<'a>; 2],
    purposes: Vec<String>,
    wants: Vec<(Path, Shape, bool)>,
    now: Timestamp,
    /// What each attribute is tried with.
    pub(super) values: BTreeMap<Path, BTreeSet<Value>>,
    /// A request with nothing in it that any policy would mind.
    pub(super) plain: Draft,
    /// Entities that are not what they were.
    pub(super) changed: &'a BTreeSet<Named>,
    pub(super) work: &'a Work,
    /// Steps that one request costs.
    pub(super) cost: usize,
    /// Types of entities that tuples may put somebody into.
    filled: BTreeSet<String>,
    steered: RefCell<BTreeMap<(usize, usize), Rc<Steered>>>,
}

/// Names of a request that are none of its context.
const WHO: [&str; 6] = [CLASS, AGENT, ABOVE, ABOVE_AGENT, RESOURCE, DELEGATOR];

fn path(name: &str) -> Path {
    vec![name.to_owned()]
}

impl<'a> Scene<'a> {
    /// `None` for a tool that neither bundle has.
    pub(super) fn new(
        old: &'a CompiledBundle,
        new: &'a CompiledBundle,
        tool: &ToolName,
        now: Timestamp,
        (changed, work): (&'a BTreeSet<Named>, &'a Work),
    ) -> Option<Self> {
        let home = [new, old].into_iter().find(|bundle| bundle.policy().plan(tool).is_some())?;
        let descriptor = home.policy().catalogue().tools.get(tool)?;
        let plan = home.policy().plan(tool)?;
        let side = |bundle: &'a CompiledBundle| {
            let engine = bundle.policy().engine();
            let action = engine.subject(&bundle.policy().kinds().action, tool.as_str());
            let rules: Vec<RuleView> = engine.rules().filter(|rule| engine.speaks_of(rule.number, &action)).collect();
            Side { bundle, rules }
        };
        let sides = [side(old), side(new)];
        let sizes =
            sides.iter().flat_map(|side| side.rules.iter().map(|rule| side.bundle.policy().engine().size(rule.number)));
        let cost = sizes.fold(ASKING, usize::saturating_add);
        let mut purposes: BTreeSet<String> = BTreeSet::new();
        for bundle in [old, new] {
            purposes.extend(bundle.policy().taxonomy().purposes().map(|(name, _)| name.to_owned()));
        }
        let mut scene = Self {
            tool: tool.clone(),
            descriptor,
            resource: &plan.resource,
            sides,
            purposes: purposes.into_iter().collect(),
            wants: plan.may_want(),
            now,
            values: BTreeMap::new(),
            plain: Draft::new(),
            changed,
            work,
            cost,
            filled: [old, new].into_iter().flat_map(|bundle| bundle.policy().filled_by_tuples(tool)).collect(),
            steered: RefCell::default(),
        };
        if !work.spend(cost) {
            return None;
        }
        scene.values = scene.collect_values();
        scene.plain = scene.put_plain();
        Some(scene)
    }

    fn about(&self) -> About<'_> {
        let (changed, filled, work) = (self.changed, &self.filled, self.work);
        About { resource: self.resource, purposes: &self.purposes, changed, filled, work }
    }

    /// How a policy of one side is made to hold, or not.
    pub(super) fn steered(&self, side: usize, rule: &RuleView) -> Rc<Steered> {
        let known = self.steered.borrow().get(&(side, rule.number)).cloned();
        known.unwrap_or_else(|| {
            let engine = self.sides.get(side).map(|side| side.bundle.policy().engine());
            let steered = Rc::new(engine.map(|engine| engine.steered(rule.number, &self.about())).unwrap_or_default());
            self.steered.borrow_mut().insert((side, rule.number), steered.clone());
            steered
        })
    }

    /// The values around the constants of a policy of one side, where they can stand in a request.
    pub(super) fn boundaries(&self, side: usize, rule: &RuleView) -> BTreeSet<(Path, Value)> {
        let Some(side) = self.sides.get(side) else { return BTreeSet::new() };
        let found = side.bundle.policy().engine().boundaries(rule.number, &self.about());
        found.into_iter().filter(|(path, value)| self.fits(path, value)).collect()
    }

    /// Where a request names entities of a kind.
    pub(super) fn paths_of(&self, kind: &str) -> Vec<Path> {
        match kind {
            "AgentClass" => vec![path(CLASS), path(ABOVE)],
            "Agent" => vec![path(AGENT), path(ABOVE_AGENT)],
            "User" => vec![path(DELEGATOR)],
            kind if kind == self.resource_kind() => vec![path(RESOURCE)],
            _ => Vec::new(),
        }
    }

    fn shape(&self, path: &Path) -> Option<&Shape> {
        self.wants.iter().find(|(known, ..)| known == path).map(|(_, shape, _)| shape)
    }

    /// Whether a value can stand at a path.
    fn fits(&self, path: &Path, value: &Value) -> bool {
        match (path.as_slice(), value) {
            ([name], Value::Text(text)) if name == "purpose" => self.purposes.contains(text),
            ([name], Value::Text(_)) if WHO.contains(&name.as_str()) => true,
            ([name], _) if name == "purpose" || WHO.contains(&name.as_str()) => false,
            _ => match (self.shape(path), value) {
                (Some(Shape::Text), Value::Text(_))
                | (Some(Shape::Long), Value::Long(_))
                | (Some(Shape::Bool), Value::Bool(_)) => true,
                (Some(shape), Value::Texts(_)) => shape.is_texts(),
                _ => false,
            },
        }
    }

    fn collect_values(&self) -> BTreeMap<Path, BTreeSet<Value>> {
        let mut values: BTreeMap<Path, BTreeSet<Value>> = BTreeMap::new();
        let mut add = |path: Path, value: Value| {
            if self.fits(&path, &value) {
                values.entry(path).or_default().insert(value);
            }
        };
        for side in &self.sides {
            for rule in &side.rules {
                for (path, value) in side.bundle.policy().engine().boundaries(rule.number, &self.about()) {
                    add(path, value);
                }
            }
        }
        let kind = self.resource_kind();
        let places = [
            (CLASS, "AgentClass"),
            (ABOVE, "AgentClass"),
            (AGENT, "Agent"),
            (ABOVE_AGENT, "Agent"),
            (DELEGATOR, "User"),
            (RESOURCE, kind.as_str()),
        ];
        for (place, kind) in places {
            for side in &self.sides {
                let mut ids = side.bundle.policy().engine().entities_of(kind);
                ids.sort_by_key(|id| !self.changed.contains(&(kind.to_owned(), id.clone())));
                self.work.keep(&mut ids, ENTITIES_MAX);
                ids.into_iter().for_each(|id| add(path(place), Value::Text(id)));
            }
            add(path(place), Value::Text(OTHER.to_owned()));
        }
        for purpose in &self.purposes {
            add(path("purpose"), Value::Text(purpose.clone()));
        }
        let deepest = self.sides.iter().map(|side| side.bundle.manifest().limits.chain_links).max().unwrap_or(1);
        for depth in 1..=i64::from(deepest.saturating_add(1)) {
            values.entry(path("chain_depth")).or_default().insert(Value::Long(depth));
        }
        let mut classes = BTreeSet::new();
        for side in &self.sides {
            classes.extend(side.bundle.policy().taxonomy().classes().map(|(name, _)| name.to_owned()));
        }
        let known = values.entry(path("classes")).or_default();
        self.work.leave(classes.len().saturating_sub(CLASSES_MAX));
        known.extend(classes.iter().take(CLASSES_MAX).map(|class| Value::Texts(BTreeSet::from([class.clone()]))));
        known.extend([Value::Texts(classes.clone()), Value::Texts(BTreeSet::new())]);
        known.retain(|value| matches!(value, Value::Texts(texts) if texts.is_subset(&classes)));
        values
    }

    fn resource_kind(&self) -> String {
        self.descriptor.resource.as_ref().map(|rule| rule.kind.clone()).unwrap_or_default()
    }

    fn put_plain(&self) -> Draft {
        let mut draft = Draft::new();
        for (path, shape, required) in &self.wants {
            let value = match shape {
                _ if !required => continue,
                Shape::Text => Value::Text(OTHER.to_owned()),
                Shape::Long => Value::Long(1),
                Shape::Bool => Value::Bool(false),
                Shape::Set(_) if path.first().is_some_and(|name| name == "classes") => Value::Texts(BTreeSet::new()),
                Shape::Set(_) => Value::Texts(BTreeSet::from([OTHER.to_owned()])),
                Shape::Record(_) => continue,
            };
            draft.insert(path.clone(), value);
        }
        let entity = |kind: &str| {
            let ids = self
                .sides
                .iter()
                .rev()
                .flat_map(|side| side.bundle.policy().engine().entities_of(kind).into_iter().next());
            Value::Text(ids.into_iter().next().unwrap_or_else(|| OTHER.to_owned()))
        };
        draft.insert(path(DELEGATOR), entity("User"));
        draft.insert(path(RESOURCE), entity(&self.resource_kind()));
        draft.insert(path(CLASS), Value::Text(OTHER.to_owned()));
        draft.insert(path(AGENT), Value::Text("agent-1".to_owned()));
        draft.insert(path("chain_depth"), Value::Long(1));
        draft.insert(path("now"), Value::Long(seconds(self.now)));
        draft.insert(path("expires_at"), Value::Long(seconds(self.now.plus(LIFE))));
        let serves = self.purposes.iter().find(|name| {
            let taxonomies = self.sides.iter().map(|side| side.bundle.policy().taxonomy());
            taxonomies.filter_map(|taxonomy| taxonomy.purpose(name)).any(|purpose| self.descriptor.serves(&purpose))
        });
        draft.extend(serves.map(|name| (path("purpose"), Value::Text(name.clone()))));
        draft
    }

    /// What stands somewhere when nothing else is asked for.
    fn default_at(&self, path: &Path) -> Option<Value> {
        Some(match self.shape(path)? {
            Shape::Text => Value::Text(OTHER.to_owned()),
            Shape::Long => Value::Long(1),
            Shape::Bool => Value::Bool(false),
            Shape::Set(_) => Value::Texts(BTreeSet::from([OTHER.to_owned()])),
            Shape::Record(_) => return None,
        })
    }

    /// Follows edits, in their order. Says whether each could be followed.
    pub(super) fn edit(&self, draft: &mut Draft, edits: &[Edit]) -> bool {
        let mut all = true;
        for edit in edits {
            all &= match edit {
                Edit::Set(path, value) if self.fits(path, value) || path == &vec!["chain_depth".to_owned()] => {
                    draft.insert(path.clone(), value.clone());
                    true
                }
                // A purpose that neither bundle has is none of a request.
                Edit::Set(path, _) => path.as_slice() == ["purpose"],
                Edit::Include(path, text) => match draft.get_mut(path) {
                    Some(Value::Texts(texts)) => {
                        texts.insert(text.clone());
                        true
                    }
                    _ => {
                        draft.insert(path.clone(), Value::Texts(BTreeSet::from([text.clone()])));
                        self.shape(path).is_some_and(Shape::is_texts)
                    }
                },
                Edit::Exclude(path, text) => {
                    if let Some(Value::Texts(texts)) = draft.get_mut(path) {
                        texts.remove(text);
                    }
                    true
                }
                Edit::Keep(path) => self.put_there(draft, path),
                Edit::Drop(path) => {
                    draft.retain(|known, _| !known.starts_with(path));
                    // Every argument of a dimension is there.
                    path.first().is_none_or(|group| group != "dimensions")
                }
                Edit::Pair(left, right, pairing) => self.pair(draft, left, right, *pairing),
            };
        }
        all
    }

    /// Sees to it that something stands at a path: a value, or for a record all that is below it.
    fn put_there(&self, draft: &mut Draft, path: &Path) -> bool {
        let below = self.wants.iter().filter(|(known, ..)| known.starts_with(path));
        let missing: Vec<Path> = below.map(|(known, ..)| known.clone()).collect();
        for path in &missing {
            if let Some(value) = self.default_at(path).filter(|_| !draft.contains_key(path)) {
                draft.insert(path.clone(), value);
            }
        }
        !missing.is_empty()
    }

    /// Puts two values into a draft that stand so to each other.
    fn pair(&self, draft: &mut Draft, left: &Path, right: &Path, pairing: Pairing) -> bool {
        let value = |path: &Path| draft.get(path).cloned().or_else(|| self.default_at(path));
        let Some(one) = value(left) else { return false };
        let two = match (&one, pairing) {
            (_, Pairing::Equal) => one.clone(),
            (Value::Long(number), Pairing::Less | Pairing::Different) => Value::Long(number.saturating_add(1)),
            (Value::Long(number), Pairing::Greater) => Value::Long(number.saturating_sub(1)),
            (Value::Text(_), Pairing::Different) => Value::Text(ANOTHER.to_owned()),
            (Value::Bool(value), Pairing::Different) => Value::Bool(!value),
            _ => return false,
        };
        if self.fits(right, &two) {
            draft.insert(left.clone(), one);
            draft.insert(right.clone(), two);
            return true;
        }
        // The one on the right may be what cannot be chosen: a purpose.
        let Some(two) = value(right).filter(|two| pairing == Pairing::Equal && self.fits(left, two)) else {
            return false;
        };
        draft.insert(left.clone(), two.clone());
        draft.insert(right.clone(), two);
        true
    }

    /// The request that a draft describes; `None` where no request can be like that.
    pub(super) fn question(&self, draft: &Draft, about: Option<&PolicyId>, expects: Expects) -> Option<Question> {
        let text = |name: &str| match draft.get(&path(name)) {
            Some(Value::Text(text)) => Some(text.clone()),
            _ => None,
        };
        let long = |name: &str| match draft.get(&path(name)) {
            Some(Value::Long(number)) => Some(*number),
            _ => None,
        };
        let class = text(CLASS)?;
        let (above_class, above_agent) = (text(ABOVE), text(ABOVE_AGENT));
        let depth = long("chain_depth").unwrap_or(1);
        // Somebody above it is somebody in the chain.
        let least = if above_class.is_some() || above_agent.is_some() { 2 } else { 1 };
        let depth = usize::try_from(depth.max(least))
            .ok()
            .filter(|n| (1..=CHAIN_LINKS_MAX).contains(n) && long("chain_depth") != Some(0))?;
        let above = |number: usize| {
            let nearest = number.saturating_add(1) == depth;
            let id = above_agent.clone().filter(|_| nearest).unwrap_or_else(|| format!("agent-above-{number}"));
            let class = above_class.as_ref().filter(|_| nearest).unwrap_or(&class);
            Some(AgentRequest { id: id.parse().ok()?, class: class.parse().ok()? })
        };
        let chain = (1..depth).map(above).collect::<Option<Vec<_>>>()?;
        let moment = |name: &str| u64::try_from(long(name)?).ok().map(Timestamp::from_secs);
        let max_records = match long("max_records") {
            Some(max) => Some(u64::try_from(max).ok()?),
            None => None,
        };
        let classes = match draft.get(&path("classes")) {
            Some(Value::Texts(texts)) => texts.iter().cloned().collect(),
            _ => Vec::new(),
        };
        let request = Request {
            action: self.tool.clone(),
            agent: text(AGENT)?,
            class,
            delegator: text(DELEGATOR)?,
            purpose: text("purpose")?,
            chain_depth: depth,
            arguments: self.arguments(draft, &text(RESOURCE)?),
            max_records: max_records.filter(|_| self.limits_records()),
            classes,
            now: moment("now")?,
            expires: moment("expires_at")?,
        };
        Question::granted(&request, chain, Origin::Generated { about: about.cloned(), expects })
    }

    fn limits_records(&self) -> bool {
        self.descriptor.records.is_some() || self.wants.iter().any(|(path, ..)| path.as_slice() == ["max_records"])
    }

    fn arguments(&self, draft: &Draft, resource: &str) -> Map<String, JsonValue> {
        let mut root = JsonValue::Object(Map::new());
        let mut taken: BTreeSet<String> = BTreeSet::new();
        if let Some(rule) = &self.descriptor.resource {
            put(&mut root, &segments(&rule.id.to_string()), JsonValue::from(resource));
            taken.insert(rule.id.to_string());
        }
        let given = |group: &str, name: &str| draft.get(&vec![group.to_owned(), name.to_owned()]);
        for (name, pointer) in self.descriptor.dimensions.iter().chain(&self.descriptor.amounts) {
            if taken.insert(pointer.to_string()) {
                let amount = self.descriptor.amounts.iter().any(|(known, _)| known == name);
                let value = match given("dimensions", name.as_str()) {
                    Some(value) => json(value),
                    None if amount => JsonValue::from(1),
                    None => JsonValue::from(OTHER),
                };
                put(&mut root, &segments(&pointer.to_string()), value);
            }
        }
        for (path, value) in draft {
            if let [group, inner @ ..] = path.as_slice()
                && group == "args"
            {
                let pointer: String = inner.iter().map(|name| format!("/{}", escaped(name))).collect();
                if taken.insert(pointer) {
                    put(&mut root, inner, json(value));
                }
            }
        }
        match root {
            JsonValue::Object(arguments) => arguments,
            _ => Map::new(),
        }
    }
}

fn seconds(at: Timestamp) -> i64 {
    i64::try_from(at.as_secs()).unwrap_or(i64::MAX)
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

pub(super) fn segments(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|segment| segment.replace("~1", "/").replace("~0", "~")).collect()
}

fn json(value: &Value) -> JsonValue {
    match value {
        Value::Bool(value) => JsonValue::from(*value),
        Value::Long(number) => JsonValue::from(*number),
        Value::Text(text) => JsonValue::from(text.as_str()),
        Value::Texts(texts) => match texts.iter().collect::<Vec<_>>().as_slice() {
            [one] => JsonValue::from(one.as_str()),
            many => many.iter().map(|text| JsonValue::from(text.as_str())).collect(),
        },
    }
}

/// Writes a value where a pointer leads; `*` is the one element of an array.
pub(super) fn put(root: &mut JsonValue, path: &[String], value: JsonValue) {
    let Some((first, rest)) = path.split_first() else {
        *root = value;
        return;
    };
    if first == "*" {
        if !root.is_array() {
            *root = JsonValue::Array(vec![JsonValue::Null]);
        }
        if let Some(element) = root.as_array_mut().and_then(|elements| elements.first_mut()) {
            put(element, rest, value);
        }
        return;
    }
    if !root.is_object() {
        *root = JsonValue::Object(Map::new());
    }
    if let Some(members) = root.as_object_mut() {
        put(members.entry(first.clone()).or_insert(JsonValue::Null), rest, value);
    }
}
