//! From `*.cedar` and a schema to rules.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use cedar_policy_core::ast::{
    ActionConstraint, AnyId, Effect, EntityType, EntityUID, Expr, ExprKind, Literal, Policy, PolicyID, PolicySet,
    PrincipalOrResourceConstraint,
};
use cedar_policy_core::extensions::Extensions;
use cedar_policy_core::parser::parse_policyset;
use cedar_policy_core::validator::json_schema::Fragment;
use cedar_policy_core::validator::types::Type;
use cedar_policy_core::validator::{CedarSchemaError, ValidationMode, Validator, ValidatorSchema};

use super::faults::labelled;
use super::index::chain;
use super::store::Store;
use super::{Kind, Member, Shape, Subject, generated, nesting};
use crate::id::PolicyId;
use crate::policy::fault::{PolicyFault, Source};

/// A schema, parsed. Cheap to clone.
#[derive(Clone)]
pub struct CedarSchema(pub(super) Arc<ValidatorSchema>, Arc<Generated>);

/// What was added to a schema as it was written.
struct Generated {
    /// The schema in force, in Cedar's syntax.
    text: String,
    /// The tools whose `args` were added.
    tools: BTreeSet<String>,
}

/// Types that a schema may mean by these names, unless it has entity types of the same.
const BUILT_IN: [&str; 3] = ["String", "Long", "Bool"];

/// The arguments of tools, by name.
type Arguments<'a> = BTreeMap<&'a str, Vec<Member>>;

/// The last schema that held, with what it was made of: most bundles bring the one of the bundle before, and reading
/// it is the longest part of compiling them.
static LAST: Mutex<Option<(Arc<str>, CedarSchema)>> = Mutex::new(None);

/// One policy, ready to be evaluated.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) id: PolicyId,
    /// Where it stands.
    pub(super) file: String,
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) policy: Policy,
    pub(super) effect: Effect,
    /// Scope and conditions in one, as Cedar's own evaluator would build it.
    pub(super) condition: Expr,
    pub(super) action: ActionConstraint,
    /// The entity that principals have to be, or be in.
    pub(super) principal: Option<Arc<EntityUID>>,
    /// The entity that resources have to be, or be in.
    pub(super) resource: Option<Arc<EntityUID>>,
    /// Known entities that the condition names.
    pub(super) mentions: Vec<EntityUID>,
}

impl CedarSchema {
    /// Parses a schema in Cedar's syntax.
    ///
    /// # Errors
    /// The faults that Cedar finds.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<PolicyFault>> {
        Self::of_tools(file, text, &Arguments::new())
    }

    /// The same, with the arguments of these tools in the context of their actions where it declares none. Clause P-51.
    ///
    /// # Errors
    /// The faults that Cedar finds.
    pub(crate) fn of_tools(file: &str, text: &str, arguments: &Arguments<'_>) -> Result<Self, Vec<PolicyFault>> {
        let made_of = format!("{text}\0{arguments:?}");
        let last = || LAST.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, schema)) = last().as_ref().filter(|(known, _)| **known == *made_of) {
            return Ok(schema.clone());
        }
        let schema = Self::parse_anew(&Source { file, text }, arguments)?;
        *last() = Some((made_of.into(), schema.clone()));
        Ok(schema)
    }

    fn parse_anew(source: &Source<'_>, arguments: &Arguments<'_>) -> Result<Self, Vec<PolicyFault>> {
        nesting::check(source).map_err(|fault| vec![fault])?;
        let (mut fragment, warnings) = Fragment::from_cedarschema_str(source.text, Extensions::all_available())
            .map(|(fragment, warnings)| (fragment, warnings.map(|warning| labelled(source, &warning)).collect()))
            .map_err(|error| match error {
                CedarSchemaError::Parsing(error) => vec![labelled(source, &error)],
                CedarSchemaError::Schema(error) => vec![labelled(source, &error)],
                CedarSchemaError::IO(error) => vec![source.fault(0, error.to_string())],
            })?;
        let warnings: Vec<PolicyFault> = warnings;
        if !warnings.is_empty() {
            return Err(warnings);
        }
        let tools =
            generated::add(&mut fragment, arguments).map_err(|error| vec![source.fault(0, error.to_string())])?;
        // Text for people; what policies are checked against is the schema itself.
        let mut text = fragment.to_cedarschema().unwrap_or_else(|_| source.text.to_owned());
        let mut kinds = fragment.0.values().flat_map(|of| of.entity_types.keys());
        if !kinds.any(|kind| BUILT_IN.contains(&kind.to_string().as_str())) {
            text = text.replace("__cedar::", "");
        }
        let schema = ValidatorSchema::try_from(fragment).map_err(|error| vec![labelled(source, &error)])?;
        Ok(Self(Arc::new(schema), Arc::new(Generated { text, tools })))
    }

    /// The schema in force, in Cedar's syntax, without what administrators remarked.
    pub(crate) fn text(&self) -> &str {
        &self.1.text
    }

    /// Whether the arguments of this tool come from its catalogue entry.
    pub(crate) fn is_generated(&self, tool: &str) -> bool {
        self.1.tools.contains(tool)
    }

    /// Whether the schema declares this action.
    pub(crate) fn has_action(&self, action: &Kind, id: &str) -> bool {
        self.0.get_action_id(&action.uid(id)).is_some()
    }

    /// Whether this action can be done by, or to, entities of this type.
    pub(crate) fn applies(&self, action: &Kind, id: &str, principal: &Kind, resource: &Kind) -> bool {
        self.0.get_action_id(&action.uid(id)).is_some_and(|action| {
            action.is_applicable_principal_type(&principal.0) && action.is_applicable_resource_type(&resource.0)
        })
    }

    /// The entity types by which this action can be done, and those to which it can be, in the order of their names.
    pub(crate) fn appliers(&self, action: &Kind, id: &str) -> (Vec<Kind>, Vec<Kind>) {
        let Some(action) = self.0.get_action_id(&action.uid(id)) else { return Default::default() };
        let sorted = |kinds: BTreeSet<&EntityType>| kinds.into_iter().cloned().map(Kind).collect();
        (sorted(action.principals().collect()), sorted(action.resources().collect()))
    }

    /// The attributes of entities of this type: names, whether they are required, and what their values look like.
    pub(crate) fn attributes(&self, kind: &Kind) -> Vec<(String, bool, Option<Shape>)> {
        let Some(entity) = self.0.get_entity_type(&kind.0) else { return Vec::new() };
        let attributes = entity.attributes().iter();
        attributes.map(|(name, ty)| (name.to_string(), ty.is_required(), Shape::of(&ty.attr_type))).collect()
    }

    /// Whether the schema declares this entity type.
    pub(crate) fn has_kind(&self, kind: &Kind) -> bool {
        self.0.get_entity_type(&kind.0).is_some()
    }

    /// Whether entities of the one type can be in entities of the other.
    pub(crate) fn is_below(&self, kind: &Kind, above: &Kind) -> bool {
        self.0.get_entity_type(&above.0).is_some_and(|above| above.descendants.contains(&kind.0))
    }

    /// The names of the entity types.
    pub(crate) fn kinds(&self) -> Vec<String> {
        self.0.entity_types().map(|kind| kind.name().to_string()).collect()
    }

    /// The context of this action: names, whether they are required, and what their values look like.
    pub(crate) fn context(&self, action: &Kind, id: &str) -> Vec<(String, bool, Option<Shape>)> {
        let context = self.0.context_type(&action.uid(id));
        let Some(Type::Record { attrs, .. }) = context else { return Vec::new() };
        attrs.iter().map(|(name, ty)| (name.to_string(), ty.is_required(), Shape::of(&ty.attr_type))).collect()
    }
}

#[cfg(test)]
impl CedarSchema {
    /// Whether Cedar itself finds that a question is one that the schema allows.
    pub(crate) fn validates(&self, query: &super::Query<'_>) -> Result<(), String> {
        let uid = |subject: &super::Subject| ((*subject.uid).clone(), None);
        cedar_policy_core::ast::Request::new(
            uid(query.principal),
            uid(query.action),
            uid(query.resource),
            query.context.to_cedar(),
            Some(&*self.0),
            Extensions::all_available(),
        )
        .map(|_| ())
        .map_err(|error| error.to_string())
    }
}

impl std::fmt::Debug for CedarSchema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CedarSchema(..)")
    }
}

/// Parses every file, and validates it where there is a schema.
pub(super) fn rules(
    files: &[(&str, &str)],
    schema: Option<&CedarSchema>,
    store: &Store,
) -> Result<Vec<Rule>, Vec<PolicyFault>> {
    let (mut rules, mut faults) = (Vec::new(), Vec::new());
    let mut seen: BTreeMap<PolicyId, PolicyFault> = BTreeMap::new();
    let validator = schema.map(|schema| Validator::new((*schema.0).clone()));
    for (file, text) in files {
        let source = Source { file, text };
        if let Err(fault) = nesting::check(&source) {
            faults.push(fault);
            continue;
        }
        let set = match parse_policyset(text) {
            Ok(set) => set,
            Err(errors) => {
                faults.extend(errors.iter().map(|error| labelled(&source, error)));
                continue;
            }
        };
        for template in set.templates() {
            let message = "a template; every policy names whom it is for";
            faults.push(source.fault(template.loc().map_or(0, |loc| loc.start()), message));
        }
        let mut named = PolicySet::new();
        let mut policies: Vec<&Policy> = set.policies().collect();
        policies.sort_by_key(|policy| start(policy));
        for policy in policies {
            let id = match public_id(policy) {
                Ok(id) => id,
                Err(message) => {
                    let help = "write `@id(\"…\")` in front of it: the name that decisions and records give it";
                    faults.push(source.advise(&(start(policy)..start(policy)), message, help));
                    continue;
                }
            };
            let place = source.fault(start(policy), "");
            if let Some(first) = seen.insert(id.clone(), place.clone()) {
                let message = format!("`{id}` is the name of the policy at {}:{}, too", first.file, first.line);
                faults.push(PolicyFault { message, ..place });
                continue;
            }
            let policy = policy.new_id(PolicyID::from_string(id.as_str()));
            rules.push(Rule::new(id, file, &policy, store));
            // INVARIANT: ids are distinct; were they not, the set would refuse the second.
            if let Err(error) = named.add(policy) {
                faults.push(source.fault(0, error.to_string()));
            }
        }
        if let Some(validator) = &validator {
            let result = validator.validate(&named, ValidationMode::Strict);
            faults.extend(result.validation_errors().map(|error| labelled(&source, error)));
            faults.extend(result.validation_warnings().map(|warning| labelled(&source, warning)));
        }
    }
    if faults.is_empty() { Ok(rules) } else { Err(faults) }
}

fn start(policy: &Policy) -> usize {
    policy.loc().map_or(0, |loc| loc.start())
}

fn public_id(policy: &Policy) -> Result<PolicyId, String> {
    let key: Option<AnyId> = "id".parse().ok();
    let id = key.and_then(|key| policy.annotation(&key).map(|id| id.as_ref().to_owned()));
    let id = id.ok_or_else(|| "a policy without a name".to_owned())?;
    PolicyId::new(&id).map_err(|error| error.to_string())
}

impl Rule {
    /// An annotation's text.
    pub(super) fn annotation(&self, name: &str) -> Option<String> {
        let key: AnyId = name.parse().ok()?;
        self.policy.annotation(&key).map(|text| text.as_ref().to_owned())
    }

    /// Whether the rule's scope takes in this action.
    pub(super) fn is_about(&self, action: &Subject) -> bool {
        let is = |uid: &EntityUID| chain(action).any(|known| known == uid);
        match &self.action {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(uid) => is(uid),
            ActionConstraint::In(uids) => uids.iter().any(|uid| is(uid)),
        }
    }

    pub(super) fn new(id: PolicyId, file: &str, policy: &Policy, store: &Store) -> Self {
        let condition = policy.condition();
        let conditions = policy.non_scope_constraints();
        let literals =
            conditions.into_iter().flat_map(Expr::subexpressions).filter_map(|expr| match expr.expr_kind() {
                ExprKind::Lit(Literal::EntityUID(uid)) => Some((**uid).clone()),
                _ => None,
            });
        let mut mentions: Vec<EntityUID> = literals.filter(|uid| store.get(uid).is_some()).collect();
        mentions.sort();
        mentions.dedup();
        Self {
            id,
            file: file.to_owned(),
            start: start(policy),
            end: policy.loc().map_or_else(|| start(policy), |loc| loc.end()),
            policy: policy.clone(),
            effect: policy.effect(),
            condition,
            action: policy.action_constraint().clone(),
            principal: anchor(policy.principal_constraint().as_inner()),
            resource: anchor(policy.resource_constraint().as_inner()),
            mentions,
        }
    }
}

fn anchor(constraint: &PrincipalOrResourceConstraint) -> Option<Arc<EntityUID>> {
    constraint.get_euid().cloned()
}
