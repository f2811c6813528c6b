//! The decision oracle: requests with the right answers, put to our engine and to stock Cedar alike.
//!
//! Both sides build each request from the parts of a case, in the cheapest way their interface knows: entity types
//! are parsed beforehand, and nothing passes through JSON.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use anyhow::{Context as _, Result, anyhow};
use cedar_policy::{
    Authorizer, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicySet, Request,
    RestrictedExpression,
};
use remit_common::policy::engines::cedar::{Answer, Ask, Attribute, CedarEngine, Context, Kind, Query, Subject};
use serde::Deserialize;

/// One of the oracle's sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Permits in the set; three forbids come on top.
    pub permits: usize,
    /// How many of its cases are permitted.
    pub permitted: usize,
    /// The policies.
    pub policies: Cow<'static, str>,
    pub(crate) cases: Cow<'static, str>,
}

/// The sets, smallest first.
pub const SETS: [Set; 3] = [
    Set {
        permits: 10,
        permitted: 431,
        policies: Cow::Borrowed(include_str!("../data/decision-oracle/policies-10.cedar")),
        cases: Cow::Borrowed(include_str!("../data/decision-oracle/cases-10.jsonl")),
    },
    Set {
        permits: 100,
        permitted: 409,
        policies: Cow::Borrowed(include_str!("../data/decision-oracle/policies-100.cedar")),
        cases: Cow::Borrowed(include_str!("../data/decision-oracle/cases-100.jsonl")),
    },
    Set {
        permits: 1_000,
        permitted: 386,
        policies: Cow::Borrowed(include_str!("../data/decision-oracle/policies-1000.cedar")),
        cases: Cow::Borrowed(include_str!("../data/decision-oracle/cases-1000.jsonl")),
    },
];

/// A request and its right answer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The request.
    pub request: CaseRequest,
    /// The right answer.
    pub expect: Expect,
}

/// The right answer to a case.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expect {
    /// Whether it is permitted.
    pub permit: bool,
    /// The permits that match, whatever the forbids say.
    pub permits: Vec<String>,
    /// The forbids that match.
    pub forbids: Vec<String>,
}

/// The request of a case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseRequest {
    pub(crate) principal: Principal,
    pub(crate) action: String,
    pub(crate) resource: Resource,
    pub(crate) context: Circumstances,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Principal {
    pub(crate) id: String,
    pub(crate) tenant: String,
    pub(crate) roles: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resource {
    pub(crate) id: String,
    pub(crate) tenant: String,
    pub(crate) data_class: String,
    pub(crate) collections: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Circumstances {
    pub(crate) delegator: String,
    pub(crate) purpose: String,
    pub(crate) task: String,
    pub(crate) data_classes: Vec<String>,
    pub(crate) max_records: i64,
    pub(crate) requested: i64,
    pub(crate) chain_depth: i64,
    pub(crate) risk: i64,
    pub(crate) expires_at: i64,
    pub(crate) now: i64,
}

impl Set {
    /// Reads the cases.
    ///
    /// # Errors
    /// When a line is not a case.
    pub fn cases(&self) -> Result<Vec<Case>> {
        self.cases.lines().map(|line| serde_json::from_str(line).context("a case of the oracle")).collect()
    }
}

/// Our engine with a set's policies.
#[derive(Debug)]
pub struct Ours {
    engine: CedarEngine,
    agent: Kind,
    role: Kind,
    record: Kind,
    collection: Kind,
    action: Kind,
}

impl Ours {
    /// Compiles a set.
    ///
    /// # Errors
    /// When its policies do not compile.
    pub fn new(set: &Set) -> Result<Self> {
        let engine = CedarEngine::compile(&[("policies.cedar", &set.policies)], None, None)
            .map_err(|faults| anyhow!("{faults:?}"))?;
        Ok(Self {
            engine,
            agent: Kind::new("Agent")?,
            role: Kind::new("Role")?,
            record: Kind::new("Record")?,
            collection: Kind::new("Collection")?,
            action: Kind::new("Action")?,
        })
    }

    /// Builds the request and answers it.
    #[must_use]
    pub fn answer(&self, request: &CaseRequest, ask: Ask) -> Answer {
        let CaseRequest { principal, action, resource, context } = request;
        let principal = Subject::new(
            &self.agent,
            &principal.id,
            [("tenant", Attribute::text(&principal.tenant))],
            principal.roles.iter().map(|role| Subject::named(&self.role, role)),
        );
        let resource = Subject::new(
            &self.record,
            &resource.id,
            [("tenant", Attribute::text(&resource.tenant)), ("data_class", Attribute::text(&resource.data_class))],
            resource.collections.iter().map(|collection| Subject::named(&self.collection, collection)),
        );
        let context = Context::new([
            ("delegator", Attribute::text(&context.delegator)),
            ("purpose", Attribute::text(&context.purpose)),
            ("task", Attribute::text(&context.task)),
            ("data_classes", Attribute::texts(context.data_classes.iter().map(String::as_str))),
            ("max_records", Attribute::long(context.max_records)),
            ("requested", Attribute::long(context.requested)),
            ("chain_depth", Attribute::long(context.chain_depth)),
            ("risk", Attribute::long(context.risk)),
            ("expires_at", Attribute::long(context.expires_at)),
            ("now", Attribute::long(context.now)),
        ]);
        let action = Subject::named(&self.action, action);
        let query = Query { principal: &principal, action: &action, resource: &resource, context: &context };
        self.engine.answer(&query, ask)
    }
}

/// What our engine says, in the oracle's words. With [`Ask::Everything`] both lists are complete.
#[must_use]
pub fn in_words(answer: &Answer) -> Expect {
    let names = |matched: &remit_common::policy::engines::cedar::Matched| {
        let mut names: Vec<String> = matched.first.iter().map(ToString::to_string).collect();
        names.sort();
        names
    };
    let refused = !answer.forbids.is_empty() || !answer.failed_forbids.is_empty();
    Expect {
        permit: !refused && !answer.permits.is_empty(),
        permits: names(&answer.permits),
        forbids: names(&answer.forbids),
    }
}

/// Stock Cedar with a set's policies.
#[derive(Debug)]
pub struct Stock {
    authorizer: Authorizer,
    policies: PolicySet,
    agent: EntityTypeName,
    role: EntityTypeName,
    record: EntityTypeName,
    collection: EntityTypeName,
    action: EntityTypeName,
}

impl Stock {
    /// Parses a set.
    ///
    /// # Errors
    /// When its policies do not parse.
    pub fn new(set: &Set) -> Result<Self> {
        Ok(Self {
            authorizer: Authorizer::new(),
            policies: set.policies.parse()?,
            agent: "Agent".parse()?,
            role: "Role".parse()?,
            record: "Record".parse()?,
            collection: "Collection".parse()?,
            action: "Action".parse()?,
        })
    }

    /// Builds the request and answers it: permitted or not, and the policies that decided.
    ///
    /// # Errors
    /// When Cedar refuses the request.
    pub fn answer(&self, request: &CaseRequest) -> Result<cedar_policy::Response> {
        let CaseRequest { principal, action, resource, context } = request;
        let uid = |kind: &EntityTypeName, id: &str| EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id));
        let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
        let agent = uid(&self.agent, &principal.id);
        let record = uid(&self.record, &resource.id);
        let roles: HashSet<EntityUid> = principal.roles.iter().map(|role| uid(&self.role, role)).collect();
        let collections = resource.collections.iter().map(|collection| uid(&self.collection, collection)).collect();
        let attributes = HashMap::from([("tenant".to_owned(), text(&principal.tenant))]);
        let about = HashMap::from([
            ("tenant".to_owned(), text(&resource.tenant)),
            ("data_class".to_owned(), text(&resource.data_class)),
        ]);
        let entities =
            [Entity::new(agent.clone(), attributes, roles)?, Entity::new(record.clone(), about, collections)?];
        let entities = Entities::from_entities(entities, None)?;
        let classes = RestrictedExpression::new_set(context.data_classes.iter().map(|class| text(class)));
        let pairs = [
            ("delegator".to_owned(), text(&context.delegator)),
            ("purpose".to_owned(), text(&context.purpose)),
            ("task".to_owned(), text(&context.task)),
            ("data_classes".to_owned(), classes),
            ("max_records".to_owned(), RestrictedExpression::new_long(context.max_records)),
            ("requested".to_owned(), RestrictedExpression::new_long(context.requested)),
            ("chain_depth".to_owned(), RestrictedExpression::new_long(context.chain_depth)),
            ("risk".to_owned(), RestrictedExpression::new_long(context.risk)),
            ("expires_at".to_owned(), RestrictedExpression::new_long(context.expires_at)),
            ("now".to_owned(), RestrictedExpression::new_long(context.now)),
        ];
        let context = cedar_policy::Context::from_pairs(pairs)?;
        let request = Request::new(agent, uid(&self.action, action), record, context, None)?;
        Ok(self.authorizer.is_authorized(&request, &self.policies, &entities))
    }

    /// What stock Cedar says: permitted or not, and the public names of the policies that decided.
    ///
    /// # Errors
    /// When Cedar refuses the request.
    pub fn verdict(&self, request: &CaseRequest) -> Result<(bool, Vec<String>)> {
        let response = self.answer(request)?;
        let reasons = response.diagnostics().reason();
        let mut names: Vec<String> = reasons
            .filter_map(|id| self.policies.policy(id).and_then(|policy| policy.annotation("id")))
            .map(str::to_owned)
            .collect();
        names.sort();
        Ok((response.decision() == Decision::Allow, names))
    }
}
