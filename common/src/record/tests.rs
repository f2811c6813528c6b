//! Golden bytes of records, and every way in which records are no chain.

use proptest::prelude::*;
use zeroize::Zeroizing;

use super::*;
use crate::text::{from_hex, hex};

type Fallible = Result<(), Box<dyn std::error::Error>>;

const MESH: MeshId = MeshId([0x11; 16]);
const BOOT: BootId = BootId([0xb0; 16]);
const NEXT_BOOT: BootId = BootId([0xb1; 16]);

fn key() -> SigningKey {
    SigningKey::from_seed(Zeroizing::new([3; 32])).unwrap()
}

fn edge() -> EdgeId {
    EdgeId::new("eu-1").unwrap()
}

fn public(boot: BootId, seq: u64, prev: Digest) -> Public {
    Public {
        edge: edge(),
        boot,
        seq,
        prev,
        wall: Timestamp::from_millis(1_800_000_000_000),
        mono: BootTime::from_millis(5_000),
        kind: RecordKind::Decision,
        decision: Some(DecisionId::from_bytes([0xdd; 16])),
        tenant: Some(TenantId::new("acme").unwrap()),
        effects: Effects::from_bits(0b101).unwrap(),
        reason: "out_of_scope".to_owned(),
        tick: LogIndex(70_000),
        epoch: RevocationEpoch(4),
        manifest: Some(Digest([0xee; 32])),
        age_millis: Some(1_200),
        gap: None,
    }
}

fn detail() -> Detail {
    let mut classes = ClassSet::default();
    classes.insert(3);
    Detail {
        salt: [0x5a; 16],
        delegator: Some(Delegator::new("maya@acme.example").unwrap()),
        session: Some(SessionId::new("s-1").unwrap()),
        task: Some(TaskId::new("renewal").unwrap()),
        purpose: Some("review.renewal_risk".to_owned()),
        links: vec![LinkId(Digest([1; 32])), LinkId(Digest([2; 32]))],
        agents: vec![AgentId::new("agent-a").unwrap(), AgentId::new("agent-b").unwrap()],
        tool: Some(ToolName::new("contracts.read").unwrap()),
        resources: vec!["Contract::contract_7781".to_owned()],
        ids: vec![(DimensionName::new("contract").unwrap(), vec![ResourceId::new("contract_7781").unwrap()])],
        amounts: vec![(DimensionName::new("amount").unwrap(), 25)],
        arguments: Some(salted(&[0x5a; 16], b"{}")),
        grant: Some(0),
        policies: vec![PolicyId::new("permit-renewal").unwrap()],
        policies_total: 1,
        dimension: Some(DimensionName::new("customer").unwrap()),
        hop: Some(1),
        max_records: Some(25),
        classes: Some(classes),
        result: Some(ResultFigures { records_before: 40, records_released: 25, fields_dropped: 25, bytes: 4_000 }),
        credential: Some(CredentialId::new("acme-api").unwrap()),
        credential_version: Some(2),
        note: Some("customer is outside".to_owned()),
        stage: None,
        class: None,
        relations: None,
        absent: Vec::new(),
        offline: None,
        asked_by: None,
        subject: None,
    }
}

fn decision(boot: BootId, seq: u64, prev: Digest) -> Record {
    Record::new(public(boot, seq, prev), detail()).unwrap()
}

fn gap(boot: BootId, seq: u64, prev: Digest, key: &SigningKey) -> Record {
    let lost = Gap { cause: GapCause::TornTail, boot: BOOT, after: 2, records: None };
    let public = Public {
        kind: RecordKind::Gap,
        decision: None,
        tenant: None,
        effects: Effects::from_bits(0).unwrap(),
        reason: "torn-tail".to_owned(),
        manifest: None,
        age_millis: None,
        gap: Some(lost),
        ..public(boot, seq, prev)
    };
    Record::new_gap(public, Detail { salt: [9; 16], ..Detail::default() }, &MESH, key).unwrap()
}

/// Two processes: records 1 and 2, then, after a torn tail, a gap and one more.
fn chain() -> Vec<Record> {
    let first = decision(BOOT, 1, Digest::default());
    let second = decision(BOOT, 2, first.hash(&MESH));
    let lost = gap(NEXT_BOOT, 1, second.hash(&MESH), &key());
    let last = decision(NEXT_BOOT, 2, lost.hash(&MESH));
    vec![first, second, lost, last]
}

fn verify(records: &[Record]) -> Result<Option<RecordHead>, ChainFault> {
    verify_chain(&MESH, &edge(), key().public(), None, records)
}

#[test]
fn r_1_r_2_records_have_golden_bytes() {
    let golden: Vec<&str> = include_str!("golden.txt").lines().collect();
    // The first two are what was written before decisions had stages; they read as they always did.
    let staged = Detail { stage: Some(Stage::EnvelopeGate), ..detail() };
    let records = [
        decision(BOOT, 1, Digest::default()),
        gap(NEXT_BOOT, 1, Digest([7; 32]), &key()),
        Record::new(public(BOOT, 1, Digest::default()), staged).unwrap(),
    ];
    let found: Vec<String> = records
        .iter()
        .flat_map(|record| [record.to_bytes(), record.without_detail().to_bytes(), record.hash(&MESH).0.to_vec()])
        .map(|bytes| hex(&bytes))
        .collect();
    if golden != found {
        println!("{}", found.join("\n"));
    }
    assert_eq!(golden, found);
}

#[test]
fn r_10_every_stage_reads_back_and_no_other_number() -> Fallible {
    for stage in Stage::ALL {
        let staged = Detail { stage: Some(stage), ..detail() };
        let record = Record::new(public(BOOT, 1, Digest::default()), staged)?;
        assert_eq!(Record::parse(&record.to_bytes())?, record);
        assert_eq!(record.to_json(&MESH)["remit"]["stage"], stage.as_str());
    }
    assert!(decision(BOOT, 1, Digest::default()).to_json(&MESH)["remit"].get("stage").is_none());
    let absent = vec!["contract:7781#account_owner@user:maya".to_owned()];
    let classed = Detail { class: Some(AgentClass::new("renewal-agent")?), absent: absent.clone(), ..detail() };
    let record = Record::new(public(BOOT, 1, Digest::default()), classed)?;
    assert_eq!(Record::parse(&record.to_bytes())?, record);
    assert_eq!(record.to_json(&MESH)["input"]["class"], "renewal-agent");
    assert_eq!(record.to_json(&MESH)["remit"]["absent"], serde_json::json!(absent));
    let last = Record::new(public(BOOT, 1, Digest::default()), Detail { stage: Some(Stage::Verdict), ..detail() })?;
    let mut bytes = last.detail_bytes.clone().unwrap();
    assert!(bytes.ends_with(&[0x18, 24, 4]));
    *bytes.last_mut().unwrap() = 5;
    assert!(Detail::parse(&bytes).is_err(), "there is no sixth stage");
    Ok(())
}

/// Clause R-10.
#[test]
fn golden_bytes_of_the_offline_authorization_that_a_decision_rests_on() -> Fallible {
    let offline = Digest([0x5a; 32]);
    let detail = Detail { offline: Some(offline), ..detail() };
    let record = Record::new(public(BOOT, 1, Digest::default()), detail)?;
    assert_eq!(Record::parse(&record.to_bytes())?, record);
    assert_eq!(record.to_json(&MESH)["remit"]["offline_authorization"], offline.to_string());
    let bytes = record.detail_bytes.unwrap();
    assert!(bytes.ends_with(&[&[0x18, 28, 0x58, 32][..], &[0x5a; 32]].concat()), "{}", hex(&bytes));
    Ok(())
}

/// Clauses.
#[test]
fn golden_bytes_of_what_an_enforcement_point_was_told() -> Fallible {
    let asked_by = Some(crate::id::EnforcementPoint::new("gw")?);
    let detail = Detail { asked_by, subject: Some("user::\"a\"".to_owned()), ..detail() };
    let record = Record::new(Public { kind: RecordKind::Advice, ..public(BOOT, 1, Digest::default()) }, detail)?;
    assert_eq!(Record::parse(&record.to_bytes())?, record);
    let json = record.to_json(&MESH);
    assert_eq!(json["remit"]["kind"], "advice");
    assert_eq!((&json["remit"]["asked_by"], &json["input"]["subject"]), (&"gw".into(), &"user::\"a\"".into()));
    let bytes = record.detail_bytes.unwrap();
    let expected = [&[0x18, 29, 0x62][..], b"gw", &[0x18, 30, 0x69], b"user::\"a\""].concat();
    assert!(bytes.ends_with(&expected), "{}", hex(&bytes));
    Ok(())
}

/// Clause R-10.
#[test]
fn golden_bytes_of_the_relations_that_a_decision_was_judged_by() -> Fallible {
    let record = |relations| Record::new(public(BOOT, 1, Digest::default()), Detail { relations, ..detail() });
    let (with, without) = (record(Some(300))?, record(None)?);
    assert_eq!(Record::parse(&with.to_bytes())?, with);
    assert_eq!(with.to_json(&MESH)["remit"]["relations_revision"], 300);
    let (with, without) = (with.detail_bytes.unwrap(), without.detail_bytes.unwrap());
    assert!(with.ends_with(&[0x18, 26, 0x19, 0x01, 0x2c]), "{}", hex(&with));
    // One member more in the map, and nothing else is different.
    assert_eq!(with[2..with.len() - 5], without[1..]);
    assert_eq!((without[0], with[0], with[1]), (0xb7, 0xb8, 24));
    Ok(())
}

#[test]
fn decoding_undoes_encoding() -> Fallible {
    for record in chain() {
        assert_eq!(Record::parse(&record.to_bytes())?, record);
        let shed = record.without_detail();
        assert_eq!(Record::parse(&shed.to_bytes())?, shed);
        assert_eq!(shed.hash(&MESH), record.hash(&MESH), "R-3: shedding detail does not change the hash");
    }
    let bare = Record::new(public(BOOT, 1, Digest::default()), Detail { salt: [1; 16], ..Detail::default() })?;
    assert_eq!(Record::parse(&bare.to_bytes())?, bare);
    Ok(())
}

#[test]
fn r_4_a_chain_over_two_processes_and_a_signed_gap_holds() -> Fallible {
    let records = chain();
    assert_eq!(verify(&records)?, records.last().map(|record| record.head(&MESH)));
    let shed: Vec<_> = records.iter().map(Record::without_detail).collect();
    assert_eq!(verify(&shed)?, verify(&records)?);
    // From a head in the middle on.
    let head = records[1].head(&MESH);
    verify_chain(&MESH, &edge(), key().public(), Some(head), &records[2..])?;
    Ok(())
}

#[test]
fn r_4_the_newest_record_once_more_is_no_fault() -> Fallible {
    let records = chain();
    let mut chain = Chain::new(MESH, edge(), *key().public(), None);
    assert_eq!(chain.push(&records[0])?, Linked::Next);
    assert_eq!(chain.push(&records[0])?, Linked::Repeat);
    assert_eq!(chain.push(&records[0].without_detail())?, Linked::Repeat);
    assert_eq!(chain.push(&records[1])?, Linked::Next);
    Ok(())
}

#[test]
fn a_record_left_out_is_missing() {
    let records = chain();
    let fault = ChainFault::Missing { boot: NEXT_BOOT, after: 0, found: 2 };
    assert_eq!(verify(&[records[0].clone(), records[1].clone(), records[3].clone()]), Err(fault));
    let third = decision(BOOT, 3, records[1].hash(&MESH));
    let fault = ChainFault::Missing { boot: BOOT, after: 1, found: 3 };
    assert_eq!(verify(&[records[0].clone(), third]), Err(fault));
}

#[test]
fn a_whole_process_left_out_is_a_broken_link() {
    let records = chain();
    let fault = ChainFault::BrokenLink { boot: NEXT_BOOT, seq: 1 };
    assert_eq!(verify(&records[2..]), Err(fault.clone()));
    assert_eq!(verify(&[records[0].clone(), records[2].clone()]), Err(fault));
}

#[test]
fn a_record_written_anew_is_a_fork() {
    let records = chain();
    let other =
        Record::new(Public { reason: "permit".to_owned(), ..public(BOOT, 2, records[0].hash(&MESH)) }, detail());
    let fault = ChainFault::Fork { boot: BOOT, seq: 2, stored: records[1].hash(&MESH) };
    assert_eq!(verify(&[records[0].clone(), records[1].clone(), other.unwrap()]), Err(fault));
}

#[test]
fn an_edge_started_twice_from_one_image_is_a_fork() {
    let records = chain();
    let twin = gap(BootId([0xb2; 16]), 1, records[1].hash(&MESH), &key());
    let fault = ChainFault::Fork { boot: BootId([0xb2; 16]), seq: 1, stored: records[1].hash(&MESH) };
    assert_eq!(verify(&[records.as_slice(), &[twin]].concat()), Err(fault));
}

#[test]
fn a_changed_record_breaks_the_next_link() {
    let mut records = chain();
    let reason = Public { reason: "permit".to_owned(), ..records[0].public().clone() };
    records[0] = Record::new(reason, detail()).unwrap();
    assert_eq!(verify(&records), Err(ChainFault::BrokenLink { boot: BOOT, seq: 2 }));
    let mut records = chain();
    let note = Detail { note: Some("nothing to see".to_owned()), ..detail() };
    records[0] = Record::new(records[0].public().clone(), note).unwrap();
    assert_eq!(verify(&records), Err(ChainFault::BrokenLink { boot: BOOT, seq: 2 }));
}

#[test]
fn r_5_a_gap_that_somebody_else_signed_is_refused() {
    let stranger = SigningKey::from_seed(Zeroizing::new([4; 32])).unwrap();
    let mut records = chain();
    records[2] = gap(NEXT_BOOT, 1, records[1].hash(&MESH), &stranger);
    assert_eq!(verify(&records), Err(ChainFault::UnsignedGap { boot: NEXT_BOOT, seq: 1 }));
}

#[test]
fn records_of_another_edge_or_mesh_do_not_belong() {
    let records = chain();
    let other = EdgeId::new("eu-2").unwrap();
    assert_eq!(
        verify_chain(&MESH, &other, key().public(), None, &records),
        Err(ChainFault::OtherEdge { found: edge() })
    );
    assert!(verify_chain(&MeshId([0x12; 16]), &edge(), key().public(), None, &records).is_err());
}

#[test]
fn what_writers_may_not_say_is_not_written() {
    let plain = |change: fn(&mut Public)| {
        let mut public = public(BOOT, 1, Digest::default());
        change(&mut public);
        Record::new(public, detail())
    };
    assert!(plain(|_| {}).is_ok());
    assert!(plain(|public| public.seq = 0).is_err());
    assert!(plain(|public| public.reason = "Free Text".to_owned()).is_err());
    assert!(plain(|public| public.reason = String::new()).is_err());
    assert!(plain(|public| public.decision = None).is_err());
    assert!(plain(|public| public.kind = RecordKind::Gap).is_err(), "a gap is signed");
    let long = Detail { note: Some("x".repeat(RECORD_BYTES_MAX)), ..detail() };
    let public = public(BOOT, 1, Digest::default());
    assert!(matches!(Record::new(public, long), Err(CannotRecord::TooLong { .. })));
}

#[test]
fn r_1_another_encoding_of_the_same_record_is_refused() -> Fallible {
    let bytes = hex(&decision(BOOT, 1, Digest::default()).to_bytes());
    let check = |from: &str, to: &str| {
        assert!(bytes.contains(from), "{from}");
        let changed = from_hex(&bytes.replacen(from, to, 1)).unwrap();
        assert!(Record::parse(&changed).is_err(), "{from} -> {to}");
    };
    // The array of four with an indefinite length; the sequence number in two bytes; a detail that is not the hashed one.
    check("8458", "9f58");
    check(&hex(b"renewal_risk"), &hex(b"renewal_Risk"));
    check("0301045820", "031801045820");
    assert!(Record::parse(&from_hex(&format!("{bytes}00")).unwrap()).is_err(), "bytes behind the end");
    assert!(Record::parse(&vec![0x80; RECORD_BYTES_MAX + 1]).is_err());
    Ok(())
}

#[test]
fn the_view_has_opas_names_and_survives_shedding() -> Fallible {
    let record = decision(BOOT, 1, Digest::default());
    let view = record.to_json(&MESH);
    assert_eq!(view["decision_id"], record.public().decision.unwrap().to_string());
    assert_eq!(view["timestamp"], "2027-01-15T08:00:00.000Z");
    assert_eq!(view["labels"]["tenant"], "acme");
    assert_eq!(view["input"]["tool"], "contracts.read");
    assert_eq!(view["input"]["ids"]["contract"][0], "contract_7781");
    assert_eq!(view["result"]["allow"], false);
    assert_eq!(view["result"]["reason"], "out_of_scope");
    assert_eq!(view["remit"]["policies"][0], "permit-renewal");
    assert_eq!(view["remit"]["hash"], record.hash(&MESH).to_string());
    let shed = record.without_detail().to_json(&MESH);
    assert!(shed.get("input").is_none() && shed["remit"]["policies"].is_null());
    assert_eq!(shed["remit"]["has_detail"], false);
    let lost = gap(NEXT_BOOT, 1, Digest([7; 32]), &key()).to_json(&MESH);
    assert_eq!(lost["remit"]["gap"]["cause"], "torn-tail");
    assert!(lost.get("result").is_none());
    Ok(())
}

#[test]
fn r_7_a_digest_cannot_be_guessed_without_its_salt() {
    assert_ne!(salted(&[1; 16], b"cust_acme_1042"), salted(&[2; 16], b"cust_acme_1042"));
    // Empty details of two records differ by their salt alone, and so do their digests.
    let bare = |salt| Record::new(public(BOOT, 1, Digest::default()), Detail { salt, ..Detail::default() }).unwrap();
    assert_ne!(bare([1; 16]).hash(&MESH), bare([2; 16]).hash(&MESH));
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = Record::parse(&bytes);
    }

    #[test]
    fn a_mutated_record_is_refused_or_reads_back(
        which in 0usize..4,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = chain()[which].to_bytes();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(record) = Record::parse(&bytes) {
            prop_assert_eq!(record.to_bytes(), bytes);
            let _ = record.to_json(&MESH);
        }
    }
}
