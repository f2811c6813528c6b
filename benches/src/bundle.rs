//! A bundle of any size, an authority and calls: the whole way of a decision, as an edge takes it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Result, anyhow};
use remit_common::bundle::{BuildOverrides, BundleSource, CompiledBundle};
use remit_common::envelope::{AgentIdentity, Authority};
use remit_common::id::{
    AgentClass, AgentId, BundleVersion, Delegator, DimensionName, MeshId, ResourceId, SessionId, TaskId, TenantId,
    ToolName,
};
use remit_common::lattice::{
    Audience, ClassSet, Demands, Effects, Grant, IdSet, Scope, SortedMap, SortedSet, ToolPattern,
};
use remit_common::policy::json::Json;
use remit_common::policy::{CompiledPolicy, ToolCall};
use remit_common::time::Timestamp;

/// When the calls of this fixture are made.
pub const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);
/// Records that entities and calls speak of.
const RECORDS: usize = 200;
/// Kinds of agents.
const CLASSES: usize = 20;

/// A compiled bundle, whose agents hold an envelope, and calls that they make.
#[derive(Debug)]
pub struct Fixture {
    /// The policy.
    pub policy: CompiledPolicy,
    /// Agents' authority, one per class.
    pub authorities: Vec<Authority>,
    /// Calls, each with the number of the authority under which it is made.
    pub calls: Vec<(usize, ToolCall)>,
}

/// A bundle with this many permits of records up to a most, three of them per tool, and three forbids, as a voter has it.
///
/// # Errors
/// When the fixture is faulty.
pub fn compiled(permits: usize, version: u64, most: &str) -> Result<CompiledBundle> {
    let mut files = sources(permits);
    let policies = files.remove("policies/all.cedar").unwrap_or_default();
    let policies = String::from_utf8(policies)?.replace("context.max_records <= 25", most);
    files.insert("policies/all.cedar".to_owned(), policies.into_bytes());
    files.insert("bundle.toml".to_owned(), BUNDLE_TOML.into());
    let overrides = BuildOverrides {
        mesh_id: Some(MeshId([7; 16])),
        created: Some(NOW),
        version: Some(version),
        ..BuildOverrides::default()
    };
    let built = BundleSource { files }.build(&overrides).map_err(|faults| anyhow!("{faults:?}"))?;
    Ok(built.check()?)
}

pub(crate) const BUNDLE_TOML: &str = "name = \"big\"\ntenant = \"acme\"\nlife_days = 90\n[bounds]\nread = 300\nwrite = 60\n\
                           irreversible = 10\nexternal-send = 10\nspend = 10\ndelegate = 60\n[limits]\nchain_links = 5\n";

/// The sources of a bundle with this many permits, three of them per tool, and three forbids.
#[must_use]
pub fn sources(permits: usize) -> BTreeMap<String, Vec<u8>> {
    let tools = permits.div_ceil(3);
    let mut policies = String::from(
        "@id(\"f_depth\") forbid(principal, action, resource) when { context.chain_depth > 4 };\n\
         @id(\"f_tenant\") forbid(principal is Agent, action, resource) when { resource.blocked };\n\
         @id(\"f_exp\") forbid(principal, action, resource) when { context.now >= context.expires_at };\n",
    );
    let (mut schema, mut catalogue) = (String::new(), String::new());
    schema.push_str(
        "entity AgentClass; entity Agent in [AgentClass]; entity User; entity Collection;\n\
         entity Record in [Collection] = { blocked: Bool, kind: String };\n\
         type Call = { delegator: String, session: String, task: String, purpose: String, chain_depth: Long,\n\
           now: Long, expires_at: Long, max_records: Long, classes: Set<String>,\n\
           dimensions: { record?: Set<String> }, args: { urgent?: Bool } };\n",
    );
    catalogue.push_str("[[upstream]]\nname = \"acme\"\nurl = \"http://127.0.0.1:7701/mcp\"\n");
    for tool in 0..tools {
        _ = writeln!(
            schema,
            "action \"tool{tool}.read\" appliesTo {{ principal: [Agent, User], resource: [Record], context: Call }};"
        );
        _ = write!(
            catalogue,
            "[[tool]]\nname = \"tool{tool}.read\"\nupstream = \"acme\"\neffects = [\"read\"]\npurposes = [\"review\"]\n\
             resource = {{ type = \"Record\", id = \"/record_id\" }}\ndimensions = {{ record = \"/record_id\" }}\n\
             records = \"/rows\"\nclasses = {{ \"/rows/*\" = \"metadata\" }}\nfree = [\"/urgent\"]\n"
        );
    }
    for permit in 0..permits {
        _ = writeln!(
            policies,
            "@id(\"p{permit}\") permit(principal in AgentClass::\"class{class}\", action == Action::\"tool{tool}.read\", \
             resource in Collection::\"coll{collection}\") when {{ context.purpose == \"review.renewal\" \
             && context.classes.contains(\"metadata\") && context.max_records <= 25 }} \
             unless {{ context.args has urgent && context.args.urgent }};",
            class = permit % CLASSES,
            tool = permit / 3,
            collection = permit % 10,
        );
    }
    let entities: Vec<String> = (0..RECORDS)
        .map(|record| {
            let blocked = record % 17 == 0;
            let collection = record % 10;
            format!(
                r#"{{"uid":{{"type":"Record","id":"r{record}"}},"attrs":{{"blocked":{blocked},"kind":"k"}},"parents":[{{"type":"Collection","id":"coll{collection}"}}]}}"#
            )
        })
        .collect();
    let purposes =
        "version = 1\n[[purpose]]\nnumber = 1\nname = \"review\"\n[[purpose]]\nnumber = 2\nname = \"review.renewal\"\n";
    let classes =
        "version = 1\n[[class]]\nnumber = 0\nname = \"metadata\"\n[[class]]\nnumber = 1\nname = \"billing\"\n";
    BTreeMap::from([
        ("purposes.toml".to_owned(), purposes.into()),
        ("classes.toml".to_owned(), classes.into()),
        ("schema.cedarschema".to_owned(), schema.into_bytes()),
        ("policies/all.cedar".to_owned(), policies.into_bytes()),
        ("catalogue/acme.toml".to_owned(), catalogue.into_bytes()),
        ("entities.json".to_owned(), format!("[{}]", entities.join(",\n")).into_bytes()),
    ])
}

impl Fixture {
    /// Compiles a bundle with this many permits and makes calls, most of which some permit speaks of.
    ///
    /// # Errors
    /// When the fixture is faulty.
    pub fn new(permits: usize) -> Result<Self> {
        let policy = CompiledPolicy::compile(&sources(permits)).map_err(|faults| anyhow!("{faults:#?}"))?;
        let purpose = policy.taxonomy().purpose("review.renewal").ok_or_else(|| anyhow!("no purpose"))?;
        let mut authorities = Vec::new();
        for class in 0..CLASSES {
            let agent = AgentIdentity {
                id: AgentId::new(&format!("spiffe://acme/agent/{class}"))?,
                class: AgentClass::new(&format!("class{class}"))?,
                attestation: None,
            };
            authorities.push(Authority {
                tenant: TenantId::new("acme")?,
                delegator: Delegator::new("maya@acme.example")?,
                session: SessionId::new("session-1")?,
                task: TaskId::new("renewal-7781")?,
                agent: agent.id.clone(),
                class: agent.class.clone(),
                chain_agents: vec![agent],
                purpose,
                not_before: Timestamp::from_secs(0),
                expires: Timestamp::from_secs(1_800_003_600),
                depth_left: 3,
                fanout_max: 8,
                offline: false,
                audience: Audience::EVERYWHERE,
                demands: Demands::NONE,
                chain_depth: 1,
                scope: scope()?,
                min_bundle_version: BundleVersion(1),
                taxonomy_version: 1,
                catalogue_version: 1,
            });
        }
        let mut calls = Vec::new();
        for number in 0..1_000usize {
            let permit = number * 7 % permits.max(1);
            let record = (number * 13 % 20) * 10 + permit % 10;
            let tool = ToolName::new(&format!("tool{}.read", permit / 3))?;
            let mut arguments = vec![("record_id".to_owned(), Json::text(format!("r{record}")))];
            if number % 5 == 0 {
                arguments.push(("urgent".to_owned(), Json::Bool(number % 10 == 0)));
            }
            let class = if number % 4 == 0 { number } else { permit } % CLASSES;
            calls.push((class, ToolCall { tool, arguments: Json::Object(arguments) }));
        }
        Ok(Self { policy, authorities, calls })
    }
}

fn scope() -> Result<Scope> {
    let grant = |ids: SortedSet<ResourceId>| -> Result<Grant> {
        Ok(Grant {
            tools: vec![ToolPattern::new("*.read")?],
            ids: SortedMap::from([(DimensionName::new("record")?, IdSet::In(ids))]),
            maxima: SortedMap::from([(DimensionName::new("records")?, 25)]),
            classes: Some(ClassSet::from_iter([0])),
            effects: Some(Effects::from(remit_common::lattice::Effect::Read)),
            ..Grant::default()
        })
    };
    let ids = (0..RECORDS).map(|record| ResourceId::new(&format!("r{record}"))).collect::<Result<_, _>>()?;
    Ok(Scope::root(vec![grant(ids)?])?)
}
