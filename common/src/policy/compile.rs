//! From the sources of a bundle to something that can decide.
//!
//! Everything is checked against everything else, because what does not fit would otherwise be found out by a call
//! that is refused, or worse, by one that is not: descriptors against the taxonomy, the schema against descriptors,
//! policies and entities against the schema. A rule that can never match is a fault.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::advice::{AdvicePlan, AdvisedActions};
use super::arguments::{self, Readable};
use super::catalogue::{self, Catalogue, ReadCatalogue};
use super::delegating::{DELEGATE_ACTION, DelegationPlan};
use super::engines::cedar::{CedarEngine, CedarSchema, Kind, Questions, Shape, Subject};
use super::fault::{PolicyFault, Source, nearest};
use super::model::{Kinds, Plan, action_of};
use super::relating;
use super::relations::{MODEL_FILE, RELATIONS_FILE, RelationRules};
use super::taxonomy::{CLASSES_FILE, PURPOSES_FILE, Taxonomy};
use super::trust_domains::{TRUST_DOMAINS_FILE, TrustDomains};
use crate::id::{ActionName, ToolName};

/// What a bundle says about itself: a source of the manifest, and no file of the bundle that is made of it.
pub const BUNDLE_FILE: &str = "bundle.toml";
/// Where the schema stands.
pub const SCHEMA_FILE: &str = "schema.cedarschema";
/// Where entities stand that policies may rely on.
pub const ENTITIES_FILE: &str = "entities.json";
/// The folder of policies.
pub const POLICIES_FOLDER: &str = "policies/";
/// The folder of the catalogue.
pub const CATALOGUE_FOLDER: &str = "catalogue/";

/// A bundle's policy, ready to decide. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CompiledPolicy(Arc<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    taxonomy: Taxonomy,
    catalogue: Catalogue,
    engine: Arc<CedarEngine>,
    kinds: Kinds,
    plans: BTreeMap<ToolName, Plan>,
    delegation: Option<DelegationPlan>,
    advice: BTreeMap<ActionName, AdvicePlan>,
    trust_domains: TrustDomains,
    relations: Option<RelationRules>,
    schema: CedarSchema,
}

impl CompiledPolicy {
    /// Compiles the files of a bundle, by path. Files that are not policy (`bundle.toml`, canaries, texts for
    /// people) are left to others.
    ///
    /// # Errors
    /// Every fault that was found, sorted by file and line.
    pub fn compile(files: &BTreeMap<String, Vec<u8>>) -> Result<Self, Vec<PolicyFault>> {
        Self::compile_with(files, &AdvisedActions::new())
    }

    /// The same, of a bundle whose manifest lets enforcement points ask about these actions without an envelope.
    ///
    /// # Errors
    /// As [`Self::compile`].
    pub fn compile_with(files: &BTreeMap<String, Vec<u8>>, advised: &AdvisedActions) -> Result<Self, Vec<PolicyFault>> {
        compile(files, advised).map(|inner| Self(Arc::new(inner))).map_err(|mut faults| {
            faults.sort();
            faults.dedup();
            faults
        })
    }

    /// The tools, and where they live.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.0.catalogue
    }

    /// The purposes and classes, with their numbers.
    #[must_use]
    pub fn taxonomy(&self) -> &Taxonomy {
        &self.0.taxonomy
    }

    /// How many policies there are.
    #[must_use]
    pub fn policies(&self) -> usize {
        self.0.engine.len()
    }

    /// The schema that policies are checked against, in Cedar's syntax: the one of the bundle, with the arguments of each
    /// tool as its catalogue entry describes them. Clause P-51.
    #[must_use]
    pub fn schema_text(&self) -> &str {
        self.0.schema.text()
    }

    pub(super) fn schema(&self) -> &CedarSchema {
        &self.0.schema
    }

    /// The trust domains whose agents it knows.
    #[must_use]
    pub fn trust_domains(&self) -> &TrustDomains {
        &self.0.trust_domains
    }

    /// What it says about relations: the model, and whose tuples count; `None` if it knows of none.
    #[must_use]
    pub fn relation_rules(&self) -> Option<&RelationRules> {
        self.0.relations.as_ref()
    }

    /// Entity types that tuples may put somebody into, as far as policies about a tool ask.
    pub(crate) fn filled_by_tuples(&self, tool: &ToolName) -> BTreeSet<String> {
        let plan = self.plan(tool);
        plan.into_iter().flat_map(|plan| plan.relations.filled()).map(str::to_owned).collect()
    }

    /// Whether a call of this tool cannot be decided without relations.
    #[must_use]
    pub fn needs_relations(&self, tool: &ToolName) -> bool {
        self.plan(tool).is_some_and(|plan| !plan.relations.is_empty())
    }

    pub(crate) fn engine(&self) -> &CedarEngine {
        &self.0.engine
    }

    /// The same policy with other rules, for whoever asks what a mistake in one would change.
    pub(super) fn with_engine(&self, engine: CedarEngine) -> Self {
        Self(Arc::new(Inner { engine: engine.into(), ..(*self.0).clone() }))
    }

    pub(crate) fn kinds(&self) -> &Kinds {
        &self.0.kinds
    }

    pub(crate) fn delegation(&self) -> Option<&DelegationPlan> {
        self.0.delegation.as_ref()
    }

    /// The actions that may be asked about without an envelope.
    pub(crate) fn advised(&self) -> impl Iterator<Item = &ActionName> {
        self.0.advice.keys()
    }

    pub(super) fn advice(&self, action: &ActionName) -> Option<&AdvicePlan> {
        self.0.advice.get(action)
    }

    pub(crate) fn plan(&self, tool: &ToolName) -> Option<&Plan> {
        self.0.plans.get(tool)
    }
}

fn compile(files: &BTreeMap<String, Vec<u8>>, advised: &AdvisedActions) -> Result<Inner, Vec<PolicyFault>> {
    let mut faults = unexpected(files);
    let mut missing = |file: &str, help: &str| {
        let source = Source { file, text: "" };
        faults.push(source.advise(&(0..0), "this file is missing", help));
    };
    for (file, help) in [
        (PURPOSES_FILE, "it declares purposes and their numbers"),
        (CLASSES_FILE, "it declares data classes and their numbers"),
        (SCHEMA_FILE, "it declares the entity types, and the tools as actions"),
    ] {
        if !files.contains_key(file) {
            missing(file, help);
        }
    }
    let policies = texts_in(files, POLICIES_FOLDER, ".cedar", &mut faults);
    let is_policy = |path: &String| path.starts_with(POLICIES_FOLDER) && path.ends_with(".cedar");
    if !files.keys().any(is_policy) {
        let help = "a bundle that denies everything says so: `@id(\"none\") forbid(principal, action, resource);`";
        faults.push(Source { file: POLICIES_FOLDER, text: "" }.advise(&(0..0), "there is no policy", help));
    }
    let schema_text = text_of(files, SCHEMA_FILE, &mut faults);
    let entities = text_of(files, ENTITIES_FILE, &mut faults).map(|text| (ENTITIES_FILE, text));
    let (Some(purposes), Some(classes), Some(schema_text)) =
        (files.get(PURPOSES_FILE), files.get(CLASSES_FILE), schema_text)
    else {
        return Err(faults);
    };
    let trust_domains = files.get(TRUST_DOMAINS_FILE).map(|file| TrustDomains::parse(file));
    let trust_domains = trust_domains.and_then(|parsed| collect(parsed, &mut faults)).unwrap_or_default();
    let taxonomy = collect(Taxonomy::parse(purposes, classes), &mut faults);
    let read = taxonomy.as_ref().and_then(|taxonomy| {
        let folder = files.iter().filter(|(path, _)| path.starts_with(CATALOGUE_FOLDER));
        let folder: Vec<(&str, &[u8])> = folder.map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
        collect(catalogue::read(&folder, taxonomy), &mut faults)
    });
    let tools = read.iter().flat_map(|read| read.catalogue.tools.values());
    let tools: BTreeMap<&str, _> =
        tools.filter_map(|tool| Some((tool.name.as_str(), arguments::members(tool)?))).collect();
    let schema = collect(CedarSchema::of_tools(SCHEMA_FILE, schema_text, &tools), &mut faults);
    let engine = schema.as_ref().and_then(|schema| {
        let compiled = CedarEngine::compile(&policies, Some(schema), entities);
        let Some(ReadCatalogue { catalogue, .. }) = &read else {
            // Without a catalogue nobody knows which arguments there are: only what is said of other things is told.
            let found = compiled.err().unwrap_or_default();
            faults.extend(found.into_iter().filter(|fault| !fault.message.contains("args")));
            return None;
        };
        let compiled = compiled.map_err(|found| named(found, &policies, schema, catalogue));
        collect(compiled, &mut faults)
    });
    let (Some(taxonomy), Some(schema), Some(engine), Some(ReadCatalogue { catalogue, places })) =
        (taxonomy, schema, engine, read)
    else {
        return Err(faults);
    };
    let relations = relation_rules(files, &schema, &mut faults);
    if relations.is_none() && files.contains_key(RELATIONS_FILE) {
        return Err(faults);
    }
    let kinds =
        Kinds::new().map_err(|error| vec![Source { file: SCHEMA_FILE, text: "" }.fault(0, error.to_string())])?;
    let schema_source = Source { file: SCHEMA_FILE, text: schema_text };
    let mut plans = BTreeMap::new();
    for (name, tool) in &catalogue.tools {
        match Plan::new(tool, &kinds, &schema, &engine, (&catalogue, relations.as_ref())) {
            Ok(plan) => _ = plans.insert(name.clone(), plan),
            Err(found) => faults.extend(found.into_iter().map(|found| {
                let in_schema = schema_text.find(&action_of(name)).map(|at| schema_source.fault(at, ""));
                let place = in_schema.or_else(|| places.get(name).cloned());
                let place = place.unwrap_or_else(|| schema_source.fault(0, ""));
                PolicyFault { message: found.message, help: found.help, ..place }
            })),
        }
    }
    let delegation = DelegationPlan::new(&kinds, &schema, &engine, &catalogue).unwrap_or_else(|found| {
        let action = format!("\"{DELEGATE_ACTION}\"");
        let at = schema_text.find(&action).unwrap_or(0);
        faults.extend(found.into_iter().map(|found| {
            let place = schema_source.fault(at, "");
            PolicyFault { message: found.message, help: found.help, ..place }
        }));
        None
    });
    let advice = advice_plans(advised, &catalogue, (&kinds, &schema, &engine)).unwrap_or_else(|found| {
        faults.extend(found);
        BTreeMap::new()
    });
    if let Some(rules) = &relations {
        if let Some(plan) = &delegation {
            let user = plan.asks_user().then_some("User");
            let acting: BTreeSet<String> = ["Agent"].into_iter().chain(user).map(str::to_owned).collect();
            let instead = "hops are judged without relations; judge the calls that the hop makes";
            faults.extend(unasked(rules, (DELEGATE_ACTION, plan.action(), instead), &acting, &schema, &engine, files));
        }
        for (name, plan) in &advice {
            let parties = plan.pairs().flat_map(|(subject, resource)| [subject.name(), resource.name()]).collect();
            let instead = "what is asked without an envelope is judged without relations";
            faults.extend(unasked(rules, (name.as_str(), plan.action(), instead), &parties, &schema, &engine, files));
        }
    }
    if let Some(rules) = &relations {
        let asked =
            plans.values().flat_map(|plan| relating::distant((&plan.action, &plan.resource), rules, &schema, &engine));
        faults.extend(asked.map(|(member, what)| {
            let bytes = files.get(&member.file).map(Vec::as_slice).unwrap_or_default();
            let source = Source::new(&member.file, bytes).unwrap_or(Source { file: &member.file, text: "" });
            let help = "by relation only the principal and the resource are in something; ask for the relation in the \
                        context: `context.relations`";
            source.advise(&(member.start..member.start), what, help)
        }));
    }
    faults.extend(arguments::unreadable(&engine, &readable(&engine, &schema, &catalogue)));
    let mut questions = Questions::default();
    if let Some(plan) = &delegation {
        let action = (&kinds.action, DELEGATE_ACTION);
        questions.add(&kinds.agent, action, &kinds.agent, true);
        if plan.asks_user() {
            questions.add(&kinds.user, action, &kinds.agent, false);
        }
    }
    for (name, plan) in &advice {
        for (subject, resource) in plan.pairs() {
            questions.add(subject, (&kinds.action, name.as_str()), resource, true);
        }
    }
    for (name, plan) in &plans {
        let action = (&kinds.action, name.as_str());
        questions.add(&kinds.agent, action, &plan.resource, true);
        if plan.asks_user {
            questions.add(&kinds.user, action, &plan.resource, false);
        }
    }
    if faults.is_empty() {
        faults.extend(engine.idle(&schema, &questions, &policies));
    }
    if faults.is_empty() {
        let engine = engine.into();
        Ok(Inner { taxonomy, catalogue, engine, kinds, plans, delegation, advice, trust_domains, relations, schema })
    } else {
        Err(faults)
    }
}

/// How questions without an envelope are put. None of them is about a tool: that is called with an envelope or not at all.
fn advice_plans(
    advised: &AdvisedActions,
    catalogue: &Catalogue,
    (kinds, schema, engine): (&Kinds, &CedarSchema, &CedarEngine),
) -> Result<BTreeMap<ActionName, AdvicePlan>, Vec<PolicyFault>> {
    let source = Source { file: BUNDLE_FILE, text: "" };
    let (mut plans, mut faults) = (BTreeMap::new(), Vec::new());
    for name in advised {
        if catalogue.tools.contains_key(name.as_str()) || name.as_str() == DELEGATE_ACTION {
            let message =
                format!("`authzen_without_envelope` names `{name}`, which is done with an envelope or not at all");
            let help = "name actions that enforcement points guard themselves";
            faults.push(source.advise(&(0..0), message, help));
            continue;
        }
        match AdvicePlan::new(name.as_str(), kinds, schema, engine) {
            Ok(plan) => _ = plans.insert(name.clone(), plan),
            Err(found) => faults.extend(found.into_iter().map(|found| {
                let place = source.fault(0, "");
                PolicyFault { message: found.message, help: found.help, ..place }
            })),
        }
    }
    if faults.is_empty() { Ok(plans) } else { Err(faults) }
}

/// The tools as rules ask about them.
fn readable<'a>(engine: &CedarEngine, schema: &CedarSchema, catalogue: &'a Catalogue) -> Vec<Readable<'a>> {
    let Ok(kinds) = Kinds::new() else { return Vec::new() };
    let tools = catalogue.tools.values().map(|tool| {
        let shown =
            schema.context(&kinds.action, tool.name.as_str()).into_iter().find_map(|(name, _, shape)| match shape {
                Some(Shape::Record(members)) if name == "args" => Some(members),
                _ => None,
            });
        let action = engine.subject(&kinds.action, tool.name.as_str());
        Readable { tool, action, shown: shown.unwrap_or_default() }
    });
    tools.collect()
}

/// Cedar's faults, with our words for arguments that a tool does not have.
fn named(
    found: Vec<PolicyFault>,
    policies: &[(&str, &str)],
    schema: &CedarSchema,
    catalogue: &Catalogue,
) -> Vec<PolicyFault> {
    let Ok(engine) = CedarEngine::compile(policies, None, None) else { return found };
    let ours = arguments::unreadable(&engine, &readable(&engine, schema, catalogue));
    let is_same = |one: &PolicyFault, other: &PolicyFault| (&one.file, one.line) == (&other.file, other.line);
    let mut faults: Vec<PolicyFault> =
        found.into_iter().filter(|fault| !ours.iter().any(|named| is_same(named, fault))).collect();
    faults.extend(ours);
    faults
}

fn collect<T>(result: Result<T, Vec<PolicyFault>>, faults: &mut Vec<PolicyFault>) -> Option<T> {
    result.map_err(|found| faults.extend(found)).ok()
}

pub(super) fn text_of<'f>(
    files: &'f BTreeMap<String, Vec<u8>>,
    file: &str,
    faults: &mut Vec<PolicyFault>,
) -> Option<&'f str> {
    let (path, bytes) = files.get_key_value(file)?;
    Source::new(path, bytes).map(|source| source.text).map_err(|fault| faults.push(fault)).ok()
}

pub(super) fn texts_in<'f>(
    files: &'f BTreeMap<String, Vec<u8>>,
    folder: &str,
    ending: &str,
    faults: &mut Vec<PolicyFault>,
) -> Vec<(&'f str, &'f str)> {
    let mut texts = Vec::new();
    for (path, bytes) in files.iter().filter(|(path, _)| path.starts_with(folder) && path.ends_with(ending)) {
        match Source::new(path, bytes) {
            Ok(source) => texts.push((path.as_str(), source.text)),
            Err(fault) => faults.push(fault),
        }
    }
    texts
}

/// Files that look like policy and would silently do nothing.
fn unexpected(files: &BTreeMap<String, Vec<u8>>) -> Vec<PolicyFault> {
    let in_folder = |path: &str, folder: &str, ending: &str| {
        path.strip_prefix(folder).map(|name| name.ends_with(ending) && !name.contains('/'))
    };
    let surprising = files.keys().filter(|path| {
        let policy = in_folder(path, POLICIES_FOLDER, ".cedar");
        let entry = in_folder(path, CATALOGUE_FOLDER, ".toml");
        policy.or(entry) == Some(false)
            || path.ends_with(".fga") && path.as_str() != MODEL_FILE
            || path.ends_with(".cedar") && policy.is_none()
    });
    let help = "policies are `policies/*.cedar`, descriptors are `catalogue/*.toml`, the relation model is `relations.fga`; Rego and \
         Polar come later";
    let fault = |path: &String| Source { file: path, text: "" }.advise(&(0..0), "nothing would read this file", help);
    surprising.map(fault).collect()
}

/// Both files of the relations, or neither; and every entity type that they name is one of the schema.
fn relation_rules(
    files: &BTreeMap<String, Vec<u8>>,
    schema: &CedarSchema,
    faults: &mut Vec<PolicyFault>,
) -> Option<RelationRules> {
    let (rules, model) = (files.get(RELATIONS_FILE), files.get(MODEL_FILE));
    for (file, is_missing, help) in [
        (
            RELATIONS_FILE,
            rules.is_none() && model.is_some(),
            "it says who writes tuples, and what Cedar calls the types",
        ),
        (MODEL_FILE, rules.is_some() && model.is_none(), "it is the relation model, in OpenFGA's language"),
    ] {
        if is_missing {
            faults.push(Source { file, text: "" }.advise(&(0..0), "this file is missing", help));
        }
    }
    let (bytes, model) = rules.zip(model)?;
    let rules = collect(RelationRules::parse(bytes, model), faults)?;
    let source = Source::new(RELATIONS_FILE, bytes).ok()?;
    for (entity, mapped) in &rules.entities {
        if Kind::new(entity).is_ok_and(|kind| schema.has_kind(&kind)) {
            continue;
        }
        let names = schema.kinds();
        let near = nearest(entity, names.iter().map(String::as_str)).map(|near| format!("did you mean `{near}`?"));
        let message = format!("the schema has no entity type `{entity}`");
        let help = near.unwrap_or_else(|| format!("declare it in {SCHEMA_FILE}"));
        faults.push(source.advise(&mapped.at, message, help));
    }
    for ancestor in &rules.ancestors {
        if relating::below(&rules, schema, &ancestor.entity).is_empty() {
            let entity = &ancestor.entity;
            let message = format!("nothing can be in a `{entity}`");
            let help =
                format!("declare it in {SCHEMA_FILE}: `entity User in [{entity}];`, with `User` under `[entities]`");
            faults.push(source.advise(&ancestor.at, message, help));
        }
        if let Some(message) = relating::indirect(&rules, schema, &ancestor.entity) {
            let help = "by relation one is in something by one step: let the relation itself lead on, in relations.fga";
            faults.push(source.advise(&ancestor.at, message, help));
        }
    }
    Some(rules)
}

/// Some questions are judged without relations, so a policy about them must not ask which of these types are in what by
/// relation.
fn unasked(
    rules: &RelationRules,
    (name, action, instead): (&str, &Subject, &str),
    parties: &BTreeSet<String>,
    schema: &CedarSchema,
    engine: &CedarEngine,
    files: &BTreeMap<String, Vec<u8>>,
) -> Vec<PolicyFault> {
    let source = files.get(RELATIONS_FILE).and_then(|bytes| Source::new(RELATIONS_FILE, bytes).ok());
    let source = source.unwrap_or(Source { file: RELATIONS_FILE, text: "" });
    let asked = rules.ancestors.iter().filter(|ancestor| {
        let below = relating::below(rules, schema, &ancestor.entity);
        let is_asked = below.iter().any(|of| parties.contains(&**of));
        is_asked && Kind::new(&ancestor.entity).is_ok_and(|kind| !engine.named(action, &kind).is_empty())
    });
    let fault = |ancestor: &super::relations::rules::Ancestor| {
        let message = format!("a policy about `{name}` asks who is in a `{}` by relation", ancestor.entity);
        source.advise(&ancestor.at, message, instead)
    };
    asked.map(fault).collect()
}
