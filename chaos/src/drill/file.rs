//! A drill file, read and checked whole before anything is touched. Clauses U-5 to U-12, docs/PROTOCOL.md.
//!
//! The shape is Chaos Toolkit's experiment, so that whoever has written one can write these; the provider is our own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use remit_common::id::Region;

use super::backend::{BackendKind, Shape};
use super::complaint::{Book, Complaints};
use super::fields::{self, Fields};
use super::limit::Figure;
use super::outcome::{DrillCopy, Section};
use super::probe::{Probe, Tolerance};
use super::pulse::WINDOW_MAX;
use super::radius::Radius;
use super::read_step;
use super::select::{Selector, planned};
use super::step::{Does, Step};
use super::yaml::{self, Tree, Yaml};
use crate::invariant::{Invariant, Minimums};

pub use super::yaml::FILE_BYTES_MAX;

/// Steps of one section.
pub const STEPS_MAX: usize = 200;
const WINDOW: Duration = Duration::from_secs(10);
const LEAD_IN: Duration = Duration::from_secs(10);
const HEAL_WITHIN: Duration = Duration::from_secs(30);
/// One step without its pauses, with all that it may wait for.
const STEP_TAKES: Duration = Duration::from_secs(120);

/// A drill that can be played.
#[derive(Debug, Clone)]
pub struct Drill {
    /// As its author wrote it.
    pub copy: DrillCopy,
    /// The seed, where the file names one.
    pub seed: Option<u64>,
    /// When the steady state is asked.
    pub strategy: Strategy,
    /// What the steady state is called.
    pub steady: String,
    /// What it is.
    pub hypothesis: Vec<Hypothesis>,
    /// What is done.
    pub method: Vec<Step>,
    /// What is done at the end, whatever happened.
    pub rollbacks: Vec<Step>,
    /// The mesh that it is done to.
    pub shape: Shape,
    /// How far it may reach.
    pub radius: Radius,
    /// When it is broken off.
    pub abort_when: Vec<AbortWhen>,
    /// The invariants that it is about: those must have been measured.
    pub invariants: Vec<Invariant>,
    /// Invariants that it does not assert, with the reason.
    pub except: BTreeMap<Invariant, String>,
    /// The figures that it limits.
    pub limits: BTreeMap<Figure, f64>,
    /// Less than this proves nothing.
    pub expect: Minimums,
    /// Where it can be played.
    pub backends: Vec<BackendKind>,
    /// Work before the steady state is asked.
    pub lead_in: Duration,
    /// How long after the last fault everything must be well again.
    pub heal_within: Duration,
    /// What the reader of its report must not conclude.
    pub caveats: Vec<String>,
}

/// One probe of the steady state.
#[derive(Debug, Clone, PartialEq)]
pub struct Hypothesis {
    /// In a few words.
    pub name: String,
    /// What it asks.
    pub probe: Probe,
    /// Over how long.
    pub window: Duration,
    /// What the answer may be.
    pub tolerance: Tolerance,
}

/// When the steady state is asked; the words are Chaos Toolkit's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Before the method and after it.
    Default,
    /// Before it only.
    BeforeMethodOnly,
    /// After it only.
    AfterMethodOnly,
    /// Every second of it.
    DuringMethodOnly,
    /// Before, every second, and after.
    Continuously,
}

impl Strategy {
    const ALL: [(&str, Self); 5] = [
        ("default", Self::Default),
        ("before-method-only", Self::BeforeMethodOnly),
        ("after-method-only", Self::AfterMethodOnly),
        ("during-method-only", Self::DuringMethodOnly),
        ("continuously", Self::Continuously),
    ];

    /// Whether the steady state must hold before anything is touched.
    #[must_use]
    pub fn before(self) -> bool {
        matches!(self, Self::Default | Self::BeforeMethodOnly | Self::Continuously)
    }

    /// Whether it must hold all along.
    #[must_use]
    pub fn during(self) -> bool {
        matches!(self, Self::DuringMethodOnly | Self::Continuously)
    }

    /// Whether it must hold in the end.
    #[must_use]
    pub fn after(self) -> bool {
        matches!(self, Self::Default | Self::AfterMethodOnly | Self::Continuously)
    }
}

/// A condition under which a drill is broken off.
#[derive(Debug, Clone, PartialEq)]
pub struct AbortWhen {
    /// What is watched.
    pub probe: Probe,
    /// Over how long.
    pub window: Duration,
    /// Above this.
    pub above: Option<f64>,
    /// Or below this.
    pub below: Option<f64>,
    /// All the time for this long.
    pub lasts: Duration,
}

impl AbortWhen {
    /// Whether a value is what it says. What could not be measured is not.
    #[must_use]
    pub fn is_met(&self, value: Option<f64>) -> bool {
        value.is_some_and(|value| {
            self.above.is_some_and(|above| value > above) || self.below.is_some_and(|below| value < below)
        })
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let above = self.above.map(|above| format!("above {above}"));
        let below = self.below.map(|below| format!("below {below}"));
        let sides: Vec<String> = above.into_iter().chain(below).collect();
        format!("{} for {}", sides.join(" or "), fields::show(self.lasts))
    }
}

impl Drill {
    /// Reads and checks a file. `path` names it in complaints and reports.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place.
    pub fn read(path: &str, text: &str) -> Result<Self, Complaints> {
        let tree = yaml::parse(path, text)?;
        let mut book = Book::new(path, text);
        let drill = read(path, &tree, &mut book);
        match drill {
            Some(drill) if book.is_empty() => Ok(drill),
            _ => Err(book.end()),
        }
    }

    /// Every step in the order in which it is played.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.method.iter().chain(&self.rollbacks)
    }

    /// How long it takes at most, without building the mesh: each step may wait for a leader, insist on an answer, or
    /// take its own time.
    #[must_use]
    pub fn lasts_at_most(&self) -> Duration {
        self.steps().fold(self.lasts(), |sum, _| sum.saturating_add(STEP_TAKES))
    }

    /// How long it takes at least, without building the mesh.
    #[must_use]
    pub fn lasts(&self) -> Duration {
        let pauses: Duration = self.steps().map(|step| step.before + step.after).sum();
        self.lead_in + pauses + self.heal_within
    }
}

fn read(path: &str, tree: &Tree, book: &mut Book<'_>) -> Option<Drill> {
    let mut top = Fields::of(tree, book, "a drill")?;
    let title = top.require("title", book, "say in a few words what is rehearsed: `title: The leader is killed`");
    let title = title.and_then(|tree| fields::text(tree, book, "title")).unwrap_or_default().to_owned();
    let help = "say in a few sentences what is done and what should happen";
    let description = top.require("description", book, help);
    let description = description.and_then(|tree| fields::text(tree, book, "description")).unwrap_or_default();
    let tags = top.take("tags").map(|tree| fields::texts(tree, book, "tags", 32)).unwrap_or_default();
    let seed = top.take("configuration").and_then(|tree| read_seed(tree, book));
    let strategy = top.take("runtime").and_then(|tree| read_runtime(tree, book)).unwrap_or(Strategy::Default);
    let hypothesis = top.take("steady-state-hypothesis");
    let (steady, hypothesis) = hypothesis.and_then(|tree| read_hypothesis(tree, book)).unwrap_or_default();
    let help = "a drill has at least one step: `- { type: action, name: kill the leader, provider: { type: remit, fault: kill, target: leader } }`";
    let method = top.require("method", book, help);
    let rollbacks = top.take("rollbacks");
    let extension = top.take("x-remit");
    let own = read_extension(extension, book);
    top.end(book);

    let roster = planned(&own.shape);
    let method_at = method.map_or(tree.referenced, |tree| tree.referenced);
    let method = method.map(|tree| read_step::steps(tree, Section::Method, &roster, book)).unwrap_or_default();
    if method.is_empty() && book.is_empty() {
        book.wrong_help(method_at, "the method is empty", help);
    }
    let rollbacks = rollbacks.map(|tree| read_step::steps(tree, Section::Rollback, &roster, book)).unwrap_or_default();
    let radius = own.radius.map(|tree| Radius::read(tree, &roster, book)).unwrap_or_default();
    radius.check(method.iter().chain(&rollbacks), &roster, book);
    check_measured(&own, &method, &rollbacks, book);

    let name = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".yaml").trim_end_matches(".yml").to_owned();
    let copy = DrillCopy {
        name: name.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).take(64).collect(),
        path: path.to_owned(),
        title,
        description: description.trim().to_owned(),
        tags: tags.into_iter().map(|(_, tag)| tag.to_owned()).collect(),
        document: tree.value.to_json(),
    };
    let Extension {
        shape,
        backends,
        abort_when,
        invariants,
        except,
        limits,
        expect,
        lead_in,
        heal_within,
        caveats,
        ..
    } = own;
    let limits = limits.into_iter().map(|(figure, (limit, _))| (figure, limit)).collect();
    Some(Drill {
        copy,
        seed,
        strategy,
        steady,
        hypothesis,
        method,
        rollbacks,
        shape,
        radius,
        abort_when,
        invariants,
        except,
        limits,
        expect,
        backends,
        lead_in,
        heal_within,
        caveats,
    })
}

fn read_seed(tree: &Tree, book: &mut Book<'_>) -> Option<u64> {
    let mut map = Fields::of(tree, book, "`configuration`")?;
    let seed = map.take("seed").and_then(|tree| fields::count(tree, book, "seed", 0, u32::MAX)).map(u64::from);
    map.end(book);
    seed
}

fn read_runtime(tree: &Tree, book: &mut Book<'_>) -> Option<Strategy> {
    let mut map = Fields::of(tree, book, "`runtime`")?;
    let rollbacks = map.take("rollbacks");
    if let Some(mut rollbacks) = rollbacks.and_then(|tree| Fields::of(tree, book, "`rollbacks`")) {
        let strategy = rollbacks.take("strategy");
        if let Some((tree, word)) = strategy.and_then(|tree| Some((tree, fields::text(tree, book, "strategy")?)))
            && word != "always"
        {
            let help = "write `always`: what a drill did is undone however it ends";
            book.wrong_help(tree.referenced, "there is no other strategy of rollbacks", help);
        }
        rollbacks.end(book);
    }
    let hypothesis = map.take("hypothesis");
    let mut strategy = None;
    if let Some(mut hypothesis) = hypothesis.and_then(|tree| Fields::of(tree, book, "`hypothesis`")) {
        strategy = hypothesis.take("strategy").and_then(|tree| word(tree, book, "strategy", &Strategy::ALL));
        hypothesis.end(book);
    }
    map.end(book);
    strategy
}

/// One of a few words.
pub(super) fn word<T: Copy>(tree: &Tree, book: &mut Book<'_>, what: &str, words: &[(&str, T)]) -> Option<T> {
    let text = fields::text(tree, book, what)?;
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
    if found.is_none() {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        book.unknown(tree.referenced, what, text, &known);
    }
    found
}

fn read_hypothesis(tree: &Tree, book: &mut Book<'_>) -> Option<(String, Vec<Hypothesis>)> {
    let mut map = Fields::of(tree, book, "`steady-state-hypothesis`")?;
    let title = map.take("title").and_then(|tree| fields::text(tree, book, "title")).unwrap_or("Steady state");
    let probes = map.require("probes", book, "list what must hold before and after");
    let probes = probes.and_then(|tree| fields::list(tree, book, "probes", STEPS_MAX)).unwrap_or_default();
    let probes = probes.iter().filter_map(|tree| read_step::hypothesis(tree, book)).collect();
    map.end(book);
    Some((title.to_owned(), probes))
}

/// The block `x-remit`.
struct Extension<'t> {
    shape: Shape,
    radius: Option<&'t Tree>,
    backends: Vec<BackendKind>,
    abort_when: Vec<AbortWhen>,
    invariants: Vec<Invariant>,
    except: BTreeMap<Invariant, String>,
    limits: BTreeMap<Figure, (f64, serde_saphyr::Location)>,
    expect: Minimums,
    lead_in: Duration,
    heal_within: Duration,
    caveats: Vec<String>,
}

fn default_shape() -> Shape {
    let regions = ["eu-west", "us-east"].iter().filter_map(|name| Some((Region::new(name).ok()?, 2))).collect();
    Shape { voters: 3, regions, agents: 4, bundles: true, rollouts: true }
}

fn read_extension<'t>(tree: Option<&'t Tree>, book: &mut Book<'_>) -> Extension<'t> {
    let mut own = Extension {
        shape: default_shape(),
        radius: None,
        backends: vec![BackendKind::Sim, BackendKind::Netns],
        abort_when: Vec::new(),
        invariants: Vec::new(),
        except: BTreeMap::new(),
        limits: BTreeMap::new(),
        expect: Minimums::default(),
        lead_in: LEAD_IN,
        heal_within: HEAL_WITHIN,
        caveats: Vec::new(),
    };
    let Some(mut map) = tree.and_then(|tree| Fields::of(tree, book, "`x-remit`")) else { return own };
    if let Some(shape) = map.take("mesh").and_then(|tree| read_shape(tree, book)) {
        own.shape = shape;
    }
    own.radius = map.take("blast-radius");
    if let Some(backends) = map.take("backend").map(|tree| read_backends(tree, book)) {
        own.backends = backends;
    }
    let abort = map.take("abort-when").and_then(|tree| fields::list(tree, book, "abort-when", 32)).unwrap_or_default();
    own.abort_when = abort.iter().filter_map(|tree| read_abort(tree, book)).collect();
    for (at, name) in map.take("invariants").map(|tree| fields::texts(tree, book, "invariants", 32)).unwrap_or_default()
    {
        own.invariants.extend(invariant(at, name, book));
    }
    let except = map.take("not-asserted").and_then(|tree| Fields::of(tree, book, "`not-asserted`"));
    for (key, tree) in except.map(Fields::rest).unwrap_or_default() {
        if let (Some(id), Some(reason)) =
            (invariant(key.referenced, &key.value, book), fields::text(tree, book, &key.value))
        {
            if own.invariants.contains(&id) {
                book.wrong(key.referenced, format!("`{id}` cannot be asserted and not asserted"));
            }
            own.except.insert(id, reason.to_owned());
        }
    }
    let bounds = map.take("bounds").and_then(|tree| Fields::of(tree, book, "`bounds`"));
    for (key, tree) in bounds.map(Fields::rest).unwrap_or_default() {
        let limit = fields::number(tree, book, &key.value, 0.0, f64::INFINITY);
        match (Figure::of(&key.value), limit) {
            (Some(figure), Some(limit)) => {
                own.limits.insert(figure, (limit, key.referenced));
            }
            (None, _) => {
                book.unknown(key.referenced, "figure that a run measures called", &key.value, &Figure::names())
            }
            (Some(_), None) => {}
        }
    }
    if let Some(tree) = map.take("expect") {
        own.expect = read_minimums(tree, book);
    }
    for (key, slot) in [("lead-in", &mut own.lead_in), ("heal-within", &mut own.heal_within)] {
        if let Some(duration) = map.take(key).and_then(|tree| fields::duration(tree, book, key)) {
            *slot = duration;
        }
    }
    let caveats = map.take("caveats").map(|tree| fields::texts(tree, book, "caveats", 16)).unwrap_or_default();
    own.caveats = caveats.into_iter().map(|(_, text)| text.trim().to_owned()).collect();
    map.end(book);
    own
}

fn invariant(at: serde_saphyr::Location, name: &str, book: &mut Book<'_>) -> Option<Invariant> {
    let found = name.parse().ok();
    if found.is_none() {
        let known: Vec<&str> = Invariant::ALL.iter().map(|id| id.as_str()).collect();
        book.unknown(at, "invariant", name, &known);
    }
    found
}

fn read_shape(tree: &Tree, book: &mut Book<'_>) -> Option<Shape> {
    let mut map = Fields::of(tree, book, "`mesh`")?;
    let mut shape = default_shape();
    if let Some(voters) = map.take("voters") {
        let count = fields::count(voters, book, "voters", 3, 5)?;
        if count == 4 {
            let message = "`voters` is 4; it must be 3 or 5";
            book.wrong_help(voters.referenced, message, "four voters can lose as many as three, with one more to fail");
        }
        shape.voters = u64::from(count);
    }
    if let Some(agents) = map.take("agents").and_then(|tree| fields::count(tree, book, "agents", 1, 64)) {
        shape.agents = agents;
    }
    if let Some(bundles) = map.take("bundles").and_then(|tree| fields::flag(tree, book, "bundles")) {
        shape.bundles = bundles;
    }
    if let Some(rollouts) = map.take("rollouts").and_then(|tree| fields::flag(tree, book, "rollouts")) {
        shape.rollouts = rollouts;
    }
    if let Some(regions) = map.take("regions").and_then(|tree| Fields::of(tree, book, "`regions`")) {
        shape.regions = BTreeMap::new();
        for (key, tree) in regions.rest() {
            match (Region::new(&key.value), fields::count(tree, book, &key.value, 1, 20)) {
                (Ok(region), Some(count)) => drop(shape.regions.insert(region, count)),
                (Err(fault), _) => book.wrong(key.referenced, fault.to_string()),
                (Ok(_), None) => {}
            }
        }
        if shape.regions.is_empty() || shape.regions.len() > 8 {
            book.wrong(tree.referenced, "a mesh has 1 to 8 regions");
        }
    }
    map.end(book);
    Some(shape)
}

fn read_backends(tree: &Tree, book: &mut Book<'_>) -> Vec<BackendKind> {
    const KNOWN: [(&str, BackendKind); 2] = [("sim", BackendKind::Sim), ("netns", BackendKind::Netns)];
    let mut found = BTreeSet::new();
    let mut backends = Vec::new();
    for (at, name) in fields::texts(tree, book, "backend", 4) {
        match KNOWN.iter().find(|(known, _)| *known == name) {
            Some((_, kind)) if found.insert(name) => backends.push(*kind),
            Some(_) => book.wrong(at, format!("`{name}` stands there twice")),
            None => book.unknown(at, "backend", name, &["sim", "netns"]),
        }
    }
    backends
}

fn read_abort(tree: &Tree, book: &mut Book<'_>) -> Option<AbortWhen> {
    let mut map = Fields::of(tree, book, "an abort condition")?;
    let probe = map.require("probe", book, "say what is watched: `{ probe: p99-call-ms, above: 500, for: 5s }`");
    let probe = probe.and_then(|tree| read_step::probe(tree, book));
    let window = read_step::window(&mut map, book).unwrap_or(WINDOW);
    let mut side =
        |key| map.take(key).and_then(|tree| fields::number(tree, book, key, f64::NEG_INFINITY, f64::INFINITY));
    let (above, below) = (side("above"), side("below"));
    let lasts = map.take("for").and_then(|tree| fields::duration(tree, book, "for")).unwrap_or_default();
    if above.is_none() && below.is_none() {
        book.wrong_help(map.at(), "the condition has no limit", "add `above:` or `below:` with a number");
    }
    map.end(book);
    Some(AbortWhen { probe: probe?, window, above, below, lasts })
}

fn read_minimums(tree: &Tree, book: &mut Book<'_>) -> Minimums {
    let known = serde_json::to_value(Minimums::default()).unwrap_or_default();
    let names: Vec<&str> = known.as_object().map(|map| map.keys().map(String::as_str).collect()).unwrap_or_default();
    let mut given = serde_json::Map::new();
    for (key, tree) in Fields::of(tree, book, "`expect`").map(Fields::rest).unwrap_or_default() {
        if !names.contains(&key.value.as_str()) {
            book.unknown(key.referenced, "minimum", &key.value, &names);
        } else if let Some(count) = fields::count(tree, book, &key.value, 0, u32::MAX) {
            given.insert(key.value.clone(), count.into());
        }
    }
    serde_json::from_value(serde_json::Value::Object(given)).unwrap_or_default()
}

/// A limit on what this drill gives no occasion to measure would never be exceeded.
fn check_measured(own: &Extension<'_>, method: &[Step], rollbacks: &[Step], book: &mut Book<'_>) {
    let faults = || {
        method.iter().chain(rollbacks).filter_map(|step| match &step.does {
            Does::Fault(plan) => Some(plan),
            _ => None,
        })
    };
    let names: BTreeSet<&str> = faults().map(super::step::FaultPlan::name).collect();
    for (figure, (_, at)) in &own.limits {
        let missing = match figure.needs() {
            Some(needs) => !needs.iter().any(|name| names.contains(name)),
            None => *figure == Figure::WriteGapMs && names.is_empty(),
        };
        if missing {
            let message = format!("nothing in this drill measures `{}`", figure.name());
            let help = match figure.needs() {
                Some(needs) => format!("it needs a step with one of {}", super::complaint::listed(needs)),
                None => "it needs a step with a fault".to_owned(),
            };
            book.wrong_help(*at, message, help);
        }
    }
}

impl Hypothesis {
    pub(super) const fn window_default() -> Duration {
        WINDOW
    }

    pub(super) const fn window_max() -> Duration {
        WINDOW_MAX
    }
}

/// Whether any selector of these needs to be known only when the step begins.
#[must_use]
pub fn is_moving(selectors: &[Selector]) -> bool {
    selectors.iter().any(|selector| selector.needs_leader() || *selector == Selector::Hit)
}

/// Whether a tree is nothing at all.
pub(super) fn is_nothing(tree: &Tree) -> bool {
    tree.value == Yaml::Null
}
