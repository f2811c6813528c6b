//! Decisions and what is released, through the public interface, on the example that users copy.

mod advice;
mod arguments;
mod cedar;
mod compile;
mod decide;
mod diff;
mod explain;
mod openfga;
mod plain;
mod relating;
mod relations;
mod replay;
mod response;
mod terms;
mod widening;

use std::collections::{BTreeMap, BTreeSet};

use remit_common::envelope::{AgentIdentity, Authority};
use remit_common::id::{
    AgentClass, AgentId, BundleVersion, Delegator, DimensionName, ResourceId, SessionId, TaskId, TenantId, ToolName,
};
use remit_common::lattice::{
    Audience, ClassSet, Demands, Effect, Effects, Grant, IdSet, PurposePath, Scope, ToolPattern,
};
use remit_common::policy::json::{Mode, parse};
use remit_common::policy::{CompiledPolicy, ToolCall};
use remit_common::time::Timestamp;

pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

macro_rules! example_files {
    ($($path:literal),* $(,)?) => {
        BTreeMap::from([$((
            $path.to_owned(),
            include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/contract-renewal/bundle/", $path)).to_vec(),
        )),*])
    };
}

pub(crate) use example_files;

/// What edges read of the example's bundle.
pub(crate) fn example() -> BTreeMap<String, Vec<u8>> {
    example_files![
        "purposes.toml",
        "classes.toml",
        "schema.cedarschema",
        "entities.json",
        "policies/limits.cedar",
        "policies/renewal.cedar",
        "catalogue/acme.toml",
        "relations.fga",
        "relations.toml",
    ]
}

pub(crate) fn compiled(files: &BTreeMap<String, Vec<u8>>) -> CompiledPolicy {
    CompiledPolicy::compile(files).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

pub(crate) fn grant(tools: &[&str], effects: &[Effect], ids: &[(&str, &[&str])], records: Option<u64>) -> Grant {
    let set = |values: &[&str]| IdSet::In(values.iter().map(|id| ResourceId::new(id).expect("id")).collect());
    Grant {
        tools: tools.iter().map(|tool| ToolPattern::new(tool).expect("pattern")).collect(),
        ids: ids.iter().map(|(name, values)| (DimensionName::new(name).expect("name"), set(values))).collect(),
        maxima: records.map(|max| (DimensionName::new("records").expect("name"), max)).into_iter().collect(),
        classes: Some(ClassSet::from_iter([1, 2, 3])),
        effects: Some(effects.iter().copied().collect::<Effects>()),
        ..Grant::default()
    }
}

/// Maya's envelope, as `task.toml` asks for it.
pub(crate) fn maya(policy: &CompiledPolicy) -> Authority {
    let customer: (&str, &[&str]) = ("customer", &["cust_acme_1042"]);
    let grants = vec![
        grant(&["contracts.read"], &[Effect::Read], &[customer, ("contract", &["contract_7781"])], Some(25)),
        grant(&["crm.read"], &[Effect::Read], &[customer], Some(25)),
        grant(&["tickets.create"], &[Effect::Irreversible], &[customer], None),
    ];
    authority(policy, "renewal-analyst", "review.renewal_risk", grants)
}

pub(crate) fn authority(policy: &CompiledPolicy, class: &str, purpose: &str, grants: Vec<Grant>) -> Authority {
    let agent = AgentIdentity {
        id: AgentId::new(&format!("spiffe://customer-success.example/agent/{class}")).expect("id"),
        class: AgentClass::new(class).expect("class"),
        attestation: None,
    };
    Authority {
        tenant: TenantId::new("acme").expect("tenant"),
        delegator: Delegator::new("user:maya@customer-success.example").expect("delegator"),
        session: SessionId::new("session-maya-0711").expect("session"),
        task: TaskId::new("renewal-7781").expect("task"),
        agent: agent.id.clone(),
        class: agent.class.clone(),
        chain_agents: vec![agent],
        purpose: policy.taxonomy().purpose(purpose).unwrap_or(PurposePath::ROOT),
        not_before: Timestamp::from_secs(1_799_999_000),
        expires: Timestamp::from_secs(1_800_003_600),
        depth_left: 2,
        fanout_max: 8,
        offline: false,
        audience: Audience::EVERYWHERE,
        demands: Demands::NONE,
        chain_depth: 1,
        scope: Scope::root(grants).expect("scope"),
        min_bundle_version: BundleVersion(1),
        taxonomy_version: 1,
        catalogue_version: 1,
    }
}

pub(crate) fn call(tool: &str, arguments: &str) -> ToolCall {
    let arguments = parse(arguments.as_bytes(), Mode::Arguments).expect("arguments");
    ToolCall { tool: ToolName::new(tool).expect("tool"), arguments }
}

pub(crate) fn names(names: impl IntoIterator<Item = impl ToString>) -> BTreeSet<String> {
    names.into_iter().map(|name| name.to_string()).collect()
}
