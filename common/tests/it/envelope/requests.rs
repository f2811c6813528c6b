//! Requests as people write them, and what becomes of them.

use std::time::Duration;

use remit_common::crypto::digest::Digest;
use remit_common::envelope::{
    CannotDelegate, CannotMint, InvalidRequest, RawPresentation, Restriction, RestrictionRequest, RootPayload,
    RootSignature, TaskRequest, Unauthenticated, WrongAudience, assemble_root, delegate, leaf_holder, sign_root_part,
};
use remit_common::id::ToolName;
use remit_common::lattice::{
    ClassSet, Demands, Grade, Log, Names, NoNames, PathPrefix, Pin, PurposePath, Redact, Said, Scalar,
};
use remit_common::time::Timestamp;

use super::fixture::*;

const TASK: &str = r#"
tenant = "acme"
delegator = "maya@acme.example"
session = "sess-4711"
task = "renewal-risk-acme"
purpose = "review.renewal_risk"
lifetime_secs = 3600
intent = "Is Acme about to leave?"

[agent]
id = "spiffe://acme.example/agent/renewal-assistant"
class = "renewal-assistant"

[delegation]
depth = 3

[[grant]]
tools = ["contracts.read", "crm.read"]
effects = ["read"]
classes = ["contract_metadata", "renewal_terms"]
ids = { customer = ["cust_acme_1042"], contract = ["contract_7781", "contract_7782"] }
maxima = { records = 25 }

[[grant]]
tools = ["tickets.create"]
effects = ["write", "irreversible"]
classes = []
ids = { customer = ["cust_acme_1042"] }
"#;

const CHILD: &str = r#"
subtask = "classify the clauses"
lifetime_secs = 600

[agent]
id = "spiffe://acme.example/agent/clause-classifier"
class = "clause-classifier"

[delegation]
depth = 2
fanout = 1
offline = true

[[grant]]
of = 0
tools = ["contracts.*"]
ids = { contract = ["contract_7781"] }
"#;

struct Taxonomy;

impl Names for Taxonomy {
    fn purpose(&self, dotted: &str) -> Option<PurposePath> {
        (dotted == "review.renewal_risk").then(|| PurposePath::new(&[1, 4]).ok())?
    }

    fn class(&self, name: &str) -> Option<ClassSet> {
        match name {
            "contract_metadata" => Some(ClassSet::from_iter([1])),
            // Renewal terms lie above class 2.
            "renewal_terms" => Some(ClassSet::from_iter([5, 2])),
            _ => None,
        }
    }
}

fn task(change: impl FnOnce(String) -> String) -> Result<TaskRequest, InvalidRequest> {
    TaskRequest::parse_toml(&change(TASK.to_owned()))
}

#[test]
fn a_task_becomes_the_root_of_the_fixture() -> anyhow::Result<()> {
    let request = task(|text| text)?.resolve(&Taxonomy)?;
    let payload = RootPayload::build(&request, key(HOLDERS[0]).public(), &stamp())?;
    let expected = RootPayload::build(&root_request(), key(HOLDERS[0]).public(), &stamp())?;
    assert_eq!(payload, expected);
    Ok(())
}

#[test]
fn a_child_becomes_the_hop_of_the_fixture() -> anyhow::Result<()> {
    assert_eq!(Restriction::parse_toml(CHILD, &NoNames)?, restriction());
    Ok(())
}

#[test]
fn numbers_stand_in_for_names() -> anyhow::Result<()> {
    let named = task(|text| text)?.resolve(&Taxonomy)?;
    let numbered = task(|text| {
        text.replace("\"review.renewal_risk\"", "[1, 4]")
            .replace("[\"contract_metadata\", \"renewal_terms\"]", "[1, 2, 5]")
    })?;
    assert_eq!(numbered.resolve(&NoNames)?, named);
    Ok(())
}

#[test]
fn requests_are_json_too() -> anyhow::Result<()> {
    let request = task(|text| text.replace("records = 25", "records = \"any\""))?;
    let json = serde_json::to_string(&request)?;
    assert_eq!(serde_json::from_str::<TaskRequest>(&json)?, request);
    let child = RestrictionRequest::parse_toml(CHILD)?;
    assert_eq!(serde_json::from_str::<RestrictionRequest>(&serde_json::to_string(&child)?)?, child);
    let resolved = request.resolve(&Taxonomy)?;
    assert_eq!(resolved.grants[0].maxima.get("records"), Some(&u64::MAX));
    Ok(())
}

#[test]
fn requests_that_name_what_there_is_not_are_refused() -> anyhow::Result<()> {
    let check = |from: &str, to: &str, expected: &str| {
        let found = task(|text| text.replace(from, to)).and_then(|task| task.resolve(&Taxonomy));
        let found = found.map(drop).map_err(|error| error.to_string());
        assert_eq!(found, Err(expected.to_owned()), "{to}");
    };
    check("review.renewal_risk", "review.other", "the taxonomy at hand has no purpose `review.other`");
    check("renewal_terms", "billing", "the taxonomy at hand has no class `billing`");
    check("\"crm.read\"", "\"crm.r*\"", "grant 0");
    check("classes = []", "", "grant 1 of a root needs `classes`");
    check("effects = [\"read\"]", "", "grant 0 of a root needs `effects`");
    check("task = ", "taks = ", "the request is not of the expected shape");
    check("records = 25", "records = -1", "the request is not of the expected shape");
    check("\"read\"", "\"Read\"", "the request is not of the expected shape");
    check("[\"cust_acme_1042\"]", "\"all\"", "the request is not of the expected shape");
    Ok(())
}

#[test]
fn patterns_of_a_root_are_expanded_or_refused() -> anyhow::Result<()> {
    let catalogue: Vec<ToolName> =
        ["crm.read", "crm.delete", "contracts.read"].iter().filter_map(|name| name.parse().ok()).collect();
    let mut request = task(|text| text.replace("\"crm.read\"", "\"crm.*\""))?;
    let unexpanded = RootPayload::build(&request.resolve(&Taxonomy)?, key(1).public(), &stamp());
    assert_eq!(unexpanded, Err(CannotMint::Wildcard { pattern: "crm.*".to_owned() }));
    request.expand_tools(&catalogue)?;
    assert_eq!(request.grants[0].tools, ["contracts.read", "crm.delete", "crm.read"]);
    assert!(RootPayload::build(&request.resolve(&Taxonomy)?, key(1).public(), &stamp()).is_ok());

    let mut nothing = task(|text| text.replace("\"crm.read\"", "\"billing.**\""))?;
    let found = nothing.expand_tools(&catalogue).map_err(|error| error.to_string());
    assert_eq!(found, Err("no tool of the catalogue matches `billing.**`".to_owned()));
    Ok(())
}

/// A grant for tools to come keeps its patterns, and says so.
#[test]
fn patterns_stay_where_a_grant_is_for_tools_to_come() -> anyhow::Result<()> {
    let catalogue: Vec<ToolName> = ["crm.read", "contracts.read"].iter().filter_map(|name| name.parse().ok()).collect();
    let mut request =
        task(|text| text.replace("\"crm.read\"]\neffects", "\"crm.*\", \"soon.**\"]\nfuture = true\neffects"))?;
    request.expand_tools(&catalogue)?;
    assert_eq!(request.grants[0].tools, ["contracts.read", "crm.*", "soon.**"]);
    assert!(request.grants[0].future);
    let payload = RootPayload::build(&request.resolve(&Taxonomy)?, key(1).public(), &stamp())?;
    let parts = ISSUERS[..2].iter().map(|seed| sign_root_part(&MESH, &payload, &key(*seed))).collect();
    let effective = verify(&assemble_root(&payload, parts)?)?.effective();
    assert_eq!(
        effective.scope.grants().map(|(_, grant)| grant.map(|grant| grant.future)).collect::<Vec<_>>(),
        [Some(true), Some(false)]
    );
    Ok(())
}

/// Where it holds, what it demands, which definitions and arguments: as people write them.
#[test]
fn terms_are_written_by_name() -> anyhow::Result<()> {
    let text = CHILD
        .replace("ids = { contract", "pins = { \"contracts.read\" = \"PIN\" }\nids = { contract")
        .replace("PIN", &"0a".repeat(32))
        + r#"
[grant.args]
"/priority" = { one_of = ["low", "normal", 3, true] }
"/number" = { within = [-1, 5] }
"/file" = { below = "/srv/" }
"/title" = { length_max = 80 }
"/mode" = { is = "dry" }

[audience]
regions = ["eu-west"]
edges = ["eu-west-1", "eu-west-2"]

[obligations]
min_pop = "P1"
redact_unclassified = true
record_first = true
"#;
    let request = RestrictionRequest::parse_toml(&text)?;
    assert_eq!(serde_json::from_str::<RestrictionRequest>(&serde_json::to_string(&request)?)?, request);
    let restriction = request.resolve(&NoNames)?;
    let now = Timestamp::from_secs(ISSUED + 1);
    let child = delegate(&root(), &key(1), &MESH, &restriction, key(2).public(), now, [1; 16])?;
    let parsed = RawPresentation::parse(&child)?;
    let link = parsed.links().last().expect("a hop");
    assert_eq!(
        (&link.grants, &link.audience, link.demands),
        (&restriction.grants, &restriction.audience, restriction.demands)
    );
    let grant = &link.grants[0];
    assert_eq!(grant.pins.get("contracts.read"), Some(&Pin::Is(Digest([0x0a; 32]))));
    let said = |at: &str| grant.args.get(&at.parse().expect("a pointer")).expect("constrained").said();
    assert!(matches!(said("/priority"), Said::OneOf(values) if values.len() == 4));
    assert_eq!(said("/number"), Said::Within(-1, 5));
    assert_eq!(said("/file"), Said::Below(&PathPrefix::new("/srv/")?));
    assert_eq!(said("/title"), Said::LengthMax(80));
    assert_eq!(said("/mode"), Said::Is(&Scalar::from("dry")));
    assert_eq!(link.demands, Demands { min_pop: Grade::P1, redact: Redact { unclassified: true }, log: Log::First });
    let effective = verify(&child)?.effective();
    let at =
        |region: &str, edge: &str| Ok::<_, anyhow::Error>(effective.check_audience(&region.parse()?, &edge.parse()?));
    assert_eq!(at("eu-west", "eu-west-2")?, Ok(()));
    assert_eq!(at("eu-west", "eu-west-3")?, Err(WrongAudience { hop: 1 }));
    assert_eq!(at("us-east", "eu-west-1")?, Err(WrongAudience { hop: 1 }));

    let wrong = |from: &str, to: &str| {
        let found = Restriction::parse_toml(&text.replace(from, to), &NoNames).map_err(|error| error.to_string());
        assert!(
            found.as_ref().is_err_and(|error| error.contains("grant 0") || error.contains("shape")),
            "{to}: {found:?}"
        );
    };
    wrong("\"/srv/\"", "\"/srv/../etc\"");
    wrong("\"/mode\"", "\"mode\"");
    wrong("[\"low\", \"normal\", 3, true]", "[]");
    wrong("length_max", "at_most");
    wrong("\"P1\"", "\"P3\"");
    Ok(())
}

#[test]
fn what_no_edge_would_accept_is_not_minted() -> anyhow::Result<()> {
    let build = |request: &_| RootPayload::build(request, key(1).public(), &stamp()).map(drop);
    let mut long = root_request();
    long.life = Duration::from_secs(3_601);
    assert!(matches!(build(&long), Err(CannotMint::Invalid(_))));
    let mut large = root_request();
    large.intent = Some("x".repeat(129));
    assert!(matches!(build(&large), Err(CannotMint::Invalid(_))));
    assert_eq!(build(&root_request()), Ok(()));
    Ok(())
}

#[test]
fn a_root_takes_one_to_five_signatures_of_different_keys() -> anyhow::Result<()> {
    let payload = RootPayload::build(&root_request(), key(1).public(), &stamp())?;
    let part = |seed| sign_root_part(&MESH, &payload, &key(seed));
    assert_eq!(part(101).verify(&MESH, &payload, key(101).public()), Ok(()));
    assert!(part(101).verify(&MESH, &payload, key(102).public()).is_err());
    let assemble = |parts: Vec<RootSignature>| assemble_root(&payload, parts).map(|bytes| bytes.len());
    assert_eq!(assemble(Vec::new()), Err(CannotMint::Signatures));
    assert_eq!(assemble(vec![part(101), part(101)]), Err(CannotMint::Signatures));
    assert_eq!(assemble((1..=6).map(part).collect()), Err(CannotMint::Signatures));
    // The order in which signatures arrive does not matter.
    let [ab, ba] = [[101, 102], [102, 101]].map(|seeds| assemble_root(&payload, seeds.map(part).to_vec()));
    assert_eq!(ab, ba);
    Ok(())
}

#[test]
fn a_holder_hands_on_without_a_server() -> anyhow::Result<()> {
    let now = Timestamp::from_secs(ISSUED + 1);
    let child = delegate(&root(), &key(1), &MESH, &restriction(), key(2).public(), now, [1; 16])?;
    assert_eq!(leaf_holder(&RawPresentation::parse(&child)?), Some(*key(2).public()));
    let hand_on = |restriction: &Restriction, holder, now| {
        delegate(&root(), &key(holder), &MESH, restriction, key(2).public(), Timestamp::from_secs(now), [1; 16])
    };
    assert_eq!(hand_on(&restriction(), 2, ISSUED), Err(CannotDelegate::NotTheHolder));
    assert_eq!(hand_on(&restriction(), 1, ISSUED + 3_600), Err(CannotDelegate::ParentExpired));
    let beside = Restriction { purpose: Some(PurposePath::new(&[2])?), ..restriction() };
    let refused = CannotDelegate::Refused(Unauthenticated::PurposeMismatch { hop: 1 });
    assert_eq!(hand_on(&beside, 1, ISSUED), Err(refused));
    let long = Restriction { life: Duration::from_secs(901), ..restriction() };
    assert!(matches!(hand_on(&long, 1, ISSUED), Err(CannotDelegate::Invalid(_))));
    let garbage = delegate(b"?", &key(1), &MESH, &restriction(), key(2).public(), now, [1; 16]);
    assert!(matches!(garbage, Err(CannotDelegate::Parent(_))));
    Ok(())
}

#[test]
fn a_hop_ends_with_its_parent() -> anyhow::Result<()> {
    let now = Timestamp::from_secs(ISSUED + 3_500);
    let child = delegate(&root(), &key(1), &MESH, &restriction(), key(2).public(), now, [1; 16])?;
    assert_eq!(verify(&child)?.effective().expires.as_secs(), ISSUED + 3_600);
    Ok(())
}

/// Clause E-20: the end is strict to the millisecond, the beginning has thirty seconds of grace.
#[test]
fn time_is_checked_link_by_link() -> anyhow::Result<()> {
    use remit_common::envelope::TimeDenied::{Expired, NotYetValid};
    let effective = verify(&chain(2))?.effective();
    let check = |millis: u64, expected| assert_eq!(effective.check_time(Timestamp::from_millis(millis)), expected);
    let (root_from, hop_from, hop_until) = (ISSUED * 1_000, (ISSUED + 1) * 1_000, (ISSUED + 601) * 1_000);
    check(root_from - 30_001, Err(NotYetValid { hop: 0 }));
    check(hop_from - 30_001, Err(NotYetValid { hop: 1 }));
    check(hop_from - 30_000, Ok(()));
    check(hop_until - 1, Ok(()));
    check(hop_until, Err(Expired { hop: 1 }));
    check(root_from + 3_600_000, Err(Expired { hop: 0 }));
    Ok(())
}
