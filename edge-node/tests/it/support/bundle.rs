//! The bundle of the tests: a tool of each effect, and a tool for each way to be refused.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use remit_common::bundle::{BuildOverrides, BundleSource, SignedBundle};
use remit_common::crypto::digest::Digest;
use remit_common::id::TenantId;
use remit_common::policy::CompiledPolicy;
use remit_common::time::Timestamp;

use super::keys::{self, MESH};

const PURPOSES: &str = r#"
version = 1
[[purpose]]
number = 1
name = "review"
description = "Looking at a customer relationship"
[[purpose]]
number = 2
name = "review.renewal_risk"
description = "Will this contract be renewed?"
[[purpose]]
number = 3
name = "bill"
description = "Changing what a customer pays"
"#;

const CLASSES: &str = r#"
version = 1
[[class]]
number = 1
name = "contract_metadata"
description = "Which document it is"
[[class]]
number = 2
name = "renewal_terms"
description = "How a contract goes on"
[[class]]
number = 3
name = "billing"
description = "Bank details"
"#;

const POLICIES: &str = r#"
@id("renewal.read")
permit (principal in AgentClass::"analyst", action == Action::"contracts.read", resource);
@id("renewal.write")
permit (
    principal in AgentClass::"analyst",
    action in [Action::"notes.write", Action::"tickets.create"],
    resource
);
@id("bill")
permit (principal in AgentClass::"analyst", action == Action::"billing.update", resource);
@id("frozen.permit")
permit (principal in AgentClass::"analyst", action == Action::"frozen.read", resource);
@id("frozen.forbid")
forbid (principal, action == Action::"frozen.read", resource);
@id("fragile.permit")
permit (principal in AgentClass::"analyst", action == Action::"fragile.read", resource);
@id("fragile.forbid")
forbid (principal, action == Action::"fragile.read", resource)
when { context.now + 9223372036854775807 > 0 };
@id("plain.permit")
permit (principal in AgentClass::"analyst", action == Action::"plain.read", resource);
@id("unread.clerk")
permit (principal in AgentClass::"clerk", action == Action::"unread.read", resource);
"#;

/// Tools of one dimension: name, effects, purposes, credential.
const TOOLS: [(&str, &str, &str, bool); 7] = [
    ("notes.write", "write", "review", true),
    ("tickets.create", "irreversible", "review", true),
    ("billing.update", "write", "bill", true),
    ("frozen.read", "read", "review", true),
    ("fragile.read", "read", "review", true),
    ("unread.read", "read", "review", true),
    ("plain.read", "read", "review", false),
];

/// What a test may change.
#[derive(Debug, Clone)]
pub(crate) struct Variant {
    pub(crate) version: u64,
    pub(crate) upstream: String,
    /// Tools of the same kind as `plain.read`, so that a list has pages.
    pub(crate) more_tools: usize,
    /// A further policy.
    pub(crate) policy: &'static str,
    /// Policies about handing on; the action is declared if there are any.
    pub(crate) delegation: &'static str,
    /// The trust domains whose agents it knows, if any.
    pub(crate) trust_domains: String,
    /// The grade that `plain.read` asks for, where it is not the usual one.
    pub(crate) plain_min_pop: Option<&'static str>,
    /// The digest that `plain.read` pins.
    pub(crate) plain_definition: Option<&'static str>,
    /// Who may write relations; `owned.read` hangs on them, where there are any.
    pub(crate) relations: Option<Vec<u8>>,
    /// What it may be taken back to, besides.
    pub(crate) fallback: Option<Digest>,
    /// The brake that it lifts.
    pub(crate) lifts: Option<Digest>,
    /// Tools that are plain HTTP, about customers.
    pub(crate) plain_http: &'static str,
}

impl Variant {
    pub(crate) fn new(version: u64, upstream: &str) -> Self {
        Self {
            version,
            upstream: upstream.to_owned(),
            more_tools: 0,
            policy: "",
            delegation: "",
            trust_domains: String::new(),
            plain_min_pop: None,
            plain_definition: None,
            relations: None,
            fallback: None,
            lifts: None,
            plain_http: "",
        }
    }
}

/// The names of [`Variant::more_tools`].
pub(crate) fn more_tool(number: usize) -> String {
    format!("more.t{number:03}")
}

/// The files of the bundle.
pub(crate) fn source(tenant: &TenantId, variant: &Variant, now: Timestamp) -> BundleSource {
    let mut tools: Vec<(String, &str, &str, bool)> = TOOLS
        .iter()
        .map(|(name, effects, purposes, credential)| ((*name).to_owned(), *effects, *purposes, *credential))
        .collect();
    tools.extend((0..variant.more_tools).map(|number| (more_tool(number), "read", "review", false)));
    let mut schema = r#"
entity AgentClass;
entity Agent in [AgentClass];
entity User;
entity Contract;
entity Customer;
type Call = { delegator: String, purpose: String, chain_depth: Long, expires_at: Long, now: Long };
action "contracts.read" appliesTo { principal: [Agent, User], resource: [Contract], context: Call };
"#
    .to_owned();
    let mut catalogue = format!(
        r#"
[[upstream]]
name = "acme"
url = "{}"
inject = {{ header = "authorization", format = "Bearer {{}}" }}

[[tool]]
name = "contracts.read"
description = "The documents of one contract."
upstream = "acme"
effects = ["read"]
purposes = ["review"]
credential = "acme-contracts-api"
resource = {{ type = "Contract", id = "/contract_id" }}
dimensions = {{ customer = "/customer_id", contract = "/contract_id" }}
free = ["/include_terms"]
records = "/contracts"
[tool.classes]
"/contracts/*/contract_id" = "contract_metadata"
"/contracts/*/document_id" = "contract_metadata"
"/contracts/*/terms" = "renewal_terms"
"/contracts/*/billing" = "billing"
[tool.input_schema]
type = "object"
[tool.input_schema.properties]
customer_id = {{ type = "string", x-mcp-header = "Customer" }}
contract_id = {{ type = "string" }}
include_terms = {{ type = "boolean" }}
"#,
        variant.upstream
    );
    for (name, effects, purposes, has_credential) in &tools {
        let min_pop = variant.plain_min_pop.filter(|_| name == "plain.read");
        let min_pop = min_pop.map(|grade| format!("min_pop = \"{grade}\"")).unwrap_or_default();
        let definition = variant.plain_definition.filter(|_| name == "plain.read");
        let definition = definition.map(|digest| format!("definition = \"sha256:{digest}\"")).unwrap_or_default();
        let credential = if *has_credential { "credential = \"acme-contracts-api\"" } else { "" };
        writeln!(
            schema,
            "action \"{name}\" appliesTo {{ principal: [Agent, User], resource: [Customer], context: Call }};"
        )
        .unwrap();
        write!(
            catalogue,
            r#"
[[tool]]
name = "{name}"
description = "A tool of the tests."
upstream = "acme"
effects = ["{effects}"]
purposes = ["{purposes}"]
{credential}
{min_pop}
{definition}
resource = {{ type = "Customer", id = "/customer_id" }}
dimensions = {{ customer = "/customer_id" }}
free = ["/text"]
[tool.classes]
"/note/note_id" = "contract_metadata"
"/ticket/ticket_id" = "contract_metadata"
[tool.input_schema]
type = "object"
[tool.input_schema.properties]
customer_id = {{ type = "string" }}
text = {{ type = "string" }}
"#
        )
        .unwrap();
    }
    if !variant.delegation.is_empty() {
        schema.push_str(
            "type Handing = { purpose: String, chain_depth: Long, expires_at: Long, registered: Bool };\n\
             action \"remit:delegate\" appliesTo { principal: [Agent, User], resource: [Agent], context: Handing };\n",
        );
    }
    let rules = variant.relations.as_ref().map(|writers| relation_rules(writers));
    if rules.is_some() {
        schema.push_str(OWNED_SCHEMA);
        catalogue.push_str(OWNED_TOOL);
    }
    let mut policies = format!("{POLICIES}\n{}\n{}\n", variant.policy, variant.delegation);
    if rules.is_some() {
        policies.push_str(OWNED_POLICY);
    }
    if !variant.plain_http.is_empty() {
        catalogue.push_str(variant.plain_http);
        schema.push_str(PLAIN_SCHEMA);
        policies.push_str(PLAIN_POLICY);
    }
    if variant.more_tools > 0 {
        let actions: Vec<String> =
            (0..variant.more_tools).map(|number| format!("Action::\"{}\"", more_tool(number))).collect();
        let actions = actions.join(", ");
        write!(
            policies,
            "@id(\"more\") permit (principal in AgentClass::\"analyst\", action in [{actions}], resource);"
        )
        .unwrap();
    }
    let entities = r#"[
  {"uid": {"type": "AgentClass", "id": "analyst"}, "attrs": {}, "parents": []},
  {"uid": {"type": "AgentClass", "id": "clerk"}, "attrs": {}, "parents": []}
]"#;
    let mut bundle = bundle_toml(tenant, variant.version, now);
    if let Some(name) = variant.lifts {
        writeln!(bundle, "lifts = [\"{name}\"]").unwrap();
    }
    if variant.plain_min_pop == Some("none") {
        bundle.push_str("allow_bearer = true\n");
    }
    let mut files = vec![
        ("bundle.toml", bundle.as_str()),
        ("purposes.toml", PURPOSES),
        ("classes.toml", CLASSES),
        ("schema.cedarschema", &schema),
        ("entities.json", entities),
        ("policies/all.cedar", &policies),
        ("catalogue/acme.toml", &catalogue),
    ];
    if let Some(rules) = &rules {
        files.extend([("relations.toml", rules.as_str()), ("relations.fga", OWNED_MODEL)]);
    }
    if !variant.trust_domains.is_empty() {
        files.push(("trust-domains.toml", variant.trust_domains.as_str()));
    }
    let files = files.into_iter().map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
    BundleSource { files: files.collect::<BTreeMap<_, _>>() }
}

const PLAIN_SCHEMA: &str = r#"
entity Tool;
action "notes.list", "notes.add", "notes.more" appliesTo { principal: [Agent, User], resource: [Customer], context: Call };
action "secret.read", "pages.read", "pages.drop", "pages.search" appliesTo { principal: [Agent, User], resource: [Tool], context: Call };
"#;

const PLAIN_POLICY: &str = r#"
@id("plain.notes")
permit (
    principal in AgentClass::"analyst",
    action in [Action::"notes.list", Action::"notes.add", Action::"notes.more"],
    resource
);
@id("plain.secret")
permit (principal in AgentClass::"analyst", action == Action::"secret.read", resource);
@id("plain.pages")
permit (
    principal in AgentClass::"analyst",
    action in [Action::"pages.read", Action::"pages.drop", Action::"pages.search"],
    resource
);
"#;

const OWNED_MODEL: &str =
    "model\n  schema 1.1\n\ntype user\n\ntype contract\n  relations\n    define account_owner: [user]\n";

const OWNED_SCHEMA: &str = r#"
type Owned = { delegator: String, purpose: String, chain_depth: Long, expires_at: Long, now: Long,
               relations: { account_owner: Bool } };
action "owned.read" appliesTo { principal: [Agent, User], resource: [Contract], context: Owned };
"#;

const OWNED_POLICY: &str = r#"
@id("owned.read")
permit (principal in AgentClass::"analyst", action == Action::"owned.read", resource)
when { context.relations.account_owner };
"#;

const OWNED_TOOL: &str = r#"
[[tool]]
name = "owned.read"
description = "What only the owner of an account may see."
upstream = "acme"
effects = ["read"]
purposes = ["review"]
credential = "acme-contracts-api"
resource = { type = "Contract", id = "/contract_id" }
dimensions = { customer = "/customer_id", contract = "/contract_id" }
[tool.classes]
"/contracts/*/contract_id" = "contract_metadata"
"/note/note_id" = "contract_metadata"
[tool.input_schema]
type = "object"
[tool.input_schema.properties]
customer_id = { type = "string" }
contract_id = { type = "string" }
"#;

fn relation_rules(writers: &[u8]) -> String {
    let mut rules = String::new();
    for seed in writers {
        let key = remit_common::text::hex(keys::key(*seed).public().as_bytes());
        writeln!(rules, "[[writer]]\nname = \"desk-{seed}\"\nkey = \"{key}\"").unwrap();
    }
    rules + "[entities]\nContract = \"contract\"\nUser = { type = \"user\", prefix = \"user:\" }\n"
}

fn bundle_toml(tenant: &TenantId, version: u64, now: Timestamp) -> String {
    let created = now.minus(super::keys::DAY);
    format!(
        "name = \"tests\"\ntenant = \"{tenant}\"\nmesh_id = \"{MESH}\"\nversion = {version}\ncreated = {created}\nlife_days = 30\n"
    )
}

/// The bundle, signed by these of the tenant's three administrators.
pub(crate) fn signed(tenant: &TenantId, variant: &Variant, now: Timestamp, signers: &[usize]) -> SignedBundle {
    let built =
        source(tenant, variant, now).build(&BuildOverrides { fallback: variant.fallback, ..BuildOverrides::default() });
    let mut bundle = built.unwrap_or_else(|faults| panic!("{faults:#?}")).into_container();
    let administrators = keys::policy_keys(tenant);
    for signer in signers {
        bundle.add_signature(&keys::key(administrators[*signer]));
    }
    bundle
}

/// What the bundle compiles to, for names and profiles.
pub(crate) fn compiled(tenant: &TenantId, variant: &Variant, now: Timestamp) -> CompiledPolicy {
    CompiledPolicy::compile(&source(tenant, variant, now).files).unwrap_or_else(|faults| panic!("{faults:#?}"))
}
