//! What is cut in an emergency: by two administrators, everywhere, by a rule; and what lifts it. Clauses T-57 to T-61.

use std::collections::BTreeSet;

use super::tests::{CREATED, MESH, at, key, tenant};
use super::*;
use crate::envelope::{AgentIdentity, Issuers};
use crate::id::UpstreamName;
use crate::identity::{Administrator, Administrators, Verb};
use crate::lattice::{Effect, Effects};

const DAY: u64 = 86_400;

/// On call for acme: 1 and 2; for globex: 3. Of these 1 and 3 may cut everywhere, and 4, who has a second key of 1's.
fn administrators() -> Administrators {
    let administrator = |seed, name: &str, of: &str, everywhere: bool| {
        let verbs = [Verb::Revoke].into_iter().chain(everywhere.then_some(Verb::RevokeEverywhere));
        Administrator {
            name: name.to_owned(),
            key: *key(seed).public(),
            tenants: BTreeSet::from([tenant(of)]),
            verbs: verbs.collect(),
            expires: at(CREATED + 10 * DAY),
        }
    };
    [
        administrator(1, "ines", "acme", true),
        administrator(2, "tom", "acme", false),
        administrator(3, "ada", "globex", true),
        administrator(4, "ines", "acme", true),
    ]
    .into_iter()
    .map(|administrator| (administrator.key.id(), administrator))
    .collect()
}

fn with<T>(use_it: impl FnOnce(&Authorities<'_>) -> T) -> T {
    let (administrators, issuers) = (administrators(), Issuers::new(Vec::new()).unwrap());
    use_it(&Authorities { mesh: &MESH, administrators: &administrators, issuers: &issuers })
}

fn made(request: SignedRequest) -> Result<Revocation, RevocationRefused> {
    with(|authorities| Revocation::from_request(LogIndex(7), request, authorities))
}

fn signed(seed: u8, body: Vec<u8>, created: u64) -> SignedRequest {
    SignedRequest::sign(&MESH, &key(seed), "POST", REVOCATIONS_PATH, body, created, created + 60, [seed; 16])
}

fn in_acme(kind: CutKind, id: &str) -> Cut {
    Cut { tenant: tenant("acme").into(), kind, id: id.to_owned() }
}

fn everywhere(kind: CutKind, id: &str) -> Cut {
    Cut { tenant: Reach::Mesh, kind, id: id.to_owned() }
}

/// What `first` asks for, and `second` a time later.
fn joined(cut: &Cut, first: u8, second: u8, later: u64) -> Result<Revocation, RevocationRefused> {
    let first = signed(first, cut.to_body(), CREATED);
    made(signed(second, cut.to_body_with(first), CREATED + later))
}

fn code(refused: Result<Revocation, RevocationRefused>) -> &'static str {
    refused.unwrap_err().reason_code()
}

/// Clauses T-42 and T-59.
#[test]
fn a_brake_of_one_lapses_after_a_day_and_of_two_holds_on() {
    for (kind, id) in [(CutKind::Tool, "mail.send"), (CutKind::Tenant, "acme"), (CutKind::Forbid, "effect=spend")] {
        let cut = in_acme(kind, id);
        let alone = made(signed(1, cut.to_body(), CREATED)).unwrap();
        assert_eq!(alone.until, at(CREATED + DAY), "{kind}");
        let both = joined(&cut, 1, 2, DAY).unwrap();
        assert_eq!(both.until, at(CREATED + 90 * DAY), "{kind}");
        with(|authorities| assert_eq!(both.verify(authorities), Ok(())));
        // In the set the second takes the place of the first.
        let mut set = Revocations::new();
        set.cut(alone).unwrap();
        set.cut(both).unwrap();
        assert_eq!((set.len(), set.epoch().0), (1, 2), "{kind}");
    }
}

/// Of an identity nobody has to say twice that it is gone.
#[test]
fn a_cut_of_an_identity_lives_as_long_as_ever_whoever_joins_in() {
    let cut = in_acme(CutKind::Session, "session-1");
    let alone = made(signed(1, cut.to_body(), CREATED)).unwrap();
    assert_eq!(joined(&cut, 1, 2, 0).unwrap().until, alone.until);
}

/// Clause T-60.
#[test]
fn one_administrator_cuts_no_other_tenant_and_two_the_whole_mesh() {
    let cut = everywhere(CutKind::Tool, "mail.send");
    assert_eq!(code(made(signed(1, cut.to_body(), CREATED))), "not_joined");
    let both = joined(&cut, 1, 3, 30).unwrap();
    assert_eq!(both.until, at(CREATED + 30 + DAY), "what reaches every tenant lapses all the same");
    let mut set = Revocations::new();
    set.cut(both).unwrap();
    let name = "mail.send".parse().unwrap();
    for of in ["acme", "globex", "one-that-comes-later"] {
        assert!(set.check(&tenant(of), [Subject::Tool(&name)]).is_err(), "{of}");
    }
    let other = "crm.read".parse().unwrap();
    assert_eq!(set.check(&tenant("acme"), [Subject::Tool(&other)]), Ok(()));
    let mut all = Revocations::new();
    all.cut(joined(&everywhere(CutKind::Tenant, "*"), 3, 1, 0).unwrap()).unwrap();
    assert!(all.check(&tenant("globex"), [Subject::Tool(&other)]).is_err());
}

/// Attacks on the second signature, by name.
#[test]
fn a_second_signature_that_is_none_counts_for_nothing() {
    let cut = everywhere(CutKind::Tool, "mail.send");
    let first = || signed(1, cut.to_body(), CREATED);
    let refused = |name: &str, code: &str, request: SignedRequest| {
        assert_eq!(made(request).unwrap_err().reason_code(), code, "{name}");
    };
    refused("the same key twice", "not_joined", signed(1, cut.to_body_with(first()), CREATED + 1));
    refused("two keys of one administrator", "not_joined", signed(4, cut.to_body_with(first()), CREATED + 1));
    refused("one who may cut only in a tenant", "verb_not_permitted", signed(2, cut.to_body_with(first()), CREATED));
    let by_two = signed(2, cut.to_body(), CREATED);
    refused("the first may cut only in a tenant", "verb_not_permitted", signed(1, cut.to_body_with(by_two), CREATED));
    let stranger = signed(9, cut.to_body(), CREATED);
    refused("a stranger", "unknown_administrator", signed(1, cut.to_body_with(stranger), CREATED));
    let another = signed(1, everywhere(CutKind::Tool, "crm.read").to_body(), CREATED);
    refused("of another cut", "not_joined", signed(3, cut.to_body_with(another), CREATED + 1));
    let in_one = signed(1, in_acme(CutKind::Tool, "mail.send").to_body(), CREATED);
    refused("of one tenant", "not_joined", signed(3, cut.to_body_with(in_one), CREATED + 1));
    refused("of two days ago", "not_joined", signed(3, cut.to_body_with(first()), CREATED + DAY + 1));
    refused("of the future", "not_joined", signed(3, cut.to_body_with(first()), CREATED - 301));
    let mut forged = first();
    forged.signature.0[0] ^= 1;
    refused("forged", "bad_signature", signed(3, cut.to_body_with(forged), CREATED + 1));
    let mut elsewhere = first();
    elsewhere.path = "/v1/rollbacks".to_owned();
    refused("a request for something else", "malformed", signed(3, cut.to_body_with(elsewhere), CREATED + 1));
    let nested = signed(3, cut.to_body_with(first()), CREATED);
    refused("one inside another", "not_joined", signed(1, cut.to_body_with(nested), CREATED + 1));
}

/// Whoever brings an entry cannot make it live longer than its requesters said.
#[test]
fn a_brake_of_one_shown_as_that_of_two_is_refused() {
    let cut = in_acme(CutKind::Tool, "mail.send");
    let longer = Revocation { until: at(CREATED + 90 * DAY), ..made(signed(1, cut.to_body(), CREATED)).unwrap() };
    with(|authorities| assert_eq!(longer.verify(authorities), Err(RevocationRefused::Differs)));
}

fn agents(class: &str) -> Vec<AgentIdentity> {
    vec![AgentIdentity { id: "agent:a".parse().unwrap(), class: class.parse().unwrap(), attestation: None }]
}

/// Clause T-58.
#[test]
fn a_rule_has_one_spelling_and_says_something() {
    for good in [
        "effect=external-send",
        "class=analyst",
        "tool=mail.**",
        "upstream=acme",
        "class=analyst effect=read tool=crm.* upstream=acme",
    ] {
        assert_eq!(Forbid::parse(good).unwrap().to_string(), good);
    }
    for bad in [
        "",
        " ",
        "effect",
        "effect=",
        "effect=everything",
        "effect=read ",
        "effect=read  tool=crm.read",
        "tool=crm.read effect=read",
        "effect=read effect=read",
        "effect=read effect=write",
        "delegator=user:maya",
        "effect=delegate",
        "tool=crm.re*",
        "permit=true",
    ] {
        assert_eq!(Forbid::parse(bad), None, "{bad:?}");
        assert!(in_acme(CutKind::Forbid, bad).check().is_err(), "{bad:?}");
    }
    assert_eq!(Forbid::parse(&format!("class={}", "x".repeat(400))), None);
}

#[test]
fn a_rule_forbids_the_calls_that_fit_all_of_it_and_no_others() {
    let (tool, other) = ("mail.send".parse().unwrap(), "mail.read".parse().unwrap());
    let (here, there) = (UpstreamName::new("acme").unwrap(), UpstreamName::new("partner").unwrap());
    let agents = agents("analyst");
    let both = Effects::from_iter([Effect::Read, Effect::ExternalSend]);
    let called = Called { agents: &agents, effects: both, tool: &tool, upstream: Some(&here) };
    let mut set = Revocations::new();
    let rule = "class=analyst effect=external-send tool=mail.send upstream=acme";
    set.cut(made(signed(1, in_acme(CutKind::Forbid, rule).to_body(), CREATED)).unwrap()).unwrap();
    let check = |called| set.check(&tenant("acme"), [Subject::Call(called)]);
    assert_eq!(check(called).unwrap_err().cut.id, rule);
    let stranger = self::agents("clerk");
    for (what, called) in [
        ("class", Called { agents: &stranger, ..called }),
        ("effect", Called { effects: Effects::from_iter([Effect::Read]), ..called }),
        ("tool", Called { tool: &other, ..called }),
        ("upstream", Called { upstream: Some(&there), ..called }),
    ] {
        assert_eq!(check(called), Ok(()), "another {what}");
    }
    assert_eq!(set.check(&tenant("globex"), [Subject::Call(called)]), Ok(()));
}

#[test]
fn there_are_so_many_rules_and_no_more_in_a_set_and_in_an_update() {
    let rule = |n: usize| in_acme(CutKind::Forbid, &format!("class=c{n}"));
    let entry = |n| made(signed(1, rule(n).to_body(), CREATED)).unwrap();
    let mut set = Revocations::new();
    for n in 0..FORBIDS_MAX {
        set.cut(entry(n)).unwrap();
    }
    assert_eq!(set.cut(entry(FORBIDS_MAX)), Err(RevocationRefused::ForbidsFull { max: FORBIDS_MAX }));
    // One that is there already may be asked for again, for longer.
    set.cut(joined(&rule(0), 1, 2, 1).unwrap()).unwrap();
    let mut whole = set.update_from(None);
    whole.added.push(entry(FORBIDS_MAX));
    let taken = with(|authorities| Revocations::new().updated(whole, authorities, at(CREATED)));
    assert_eq!(taken, Err(RevocationRefused::ForbidsFull { max: FORBIDS_MAX }));
}

/// Clause T-61.
#[test]
fn a_bundle_lifts_the_brake_that_it_names_and_nothing_else() {
    let tool = "mail.send".parse().unwrap();
    let session = "session-1".parse().unwrap();
    let brake = made(signed(1, in_acme(CutKind::Tool, "mail.send").to_body(), CREATED)).unwrap();
    let cut = made(signed(1, in_acme(CutKind::Session, "session-1").to_body(), CREATED)).unwrap();
    let lifted = BTreeSet::from([brake.name(), cut.name()]);
    let mut set = Revocations::new();
    set.cut(brake.clone()).unwrap();
    set.cut(cut).unwrap();
    let check = |set: &Revocations, subject| set.check_unless_lifted(&tenant("acme"), &lifted, [subject]);
    assert_eq!(check(&set, Subject::Tool(&tool)), Ok(()));
    assert!(set.check(&tenant("acme"), [Subject::Tool(&tool)]).is_err(), "where no bundle lifts it");
    assert!(check(&set, Subject::Session(&session)).is_err(), "nothing lifts the cut of an identity");
    // The same asked for again has another name.
    set.cut(made(signed(1, brake.cut.to_body(), CREATED + 60)).unwrap()).unwrap();
    assert!(check(&set, Subject::Tool(&tool)).is_err());
    // One that is lifted does not hide another that is not.
    let mut both = Revocations::new();
    both.cut(brake).unwrap();
    both.cut(joined(&everywhere(CutKind::Tool, "mail.send"), 1, 3, 0).unwrap()).unwrap();
    assert!(check(&both, Subject::Tool(&tool)).is_err());
}
