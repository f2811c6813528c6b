//! The envelope's part of a call that an edge has nearly finished with: the chain is known, the channel is open.
//!
//! The steps and their order are those of an edge that is shown the reference form (clauses X-8, X-12, G-10, G-11), with
//! the functions that it calls and maps of the size of its own; its locks and counters of calls are not in it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use remit_common::crypto::digest::Digest;
use remit_common::envelope::{Effective, read_reference, reference};
use remit_common::id::{EdgeId, LinkId, LogIndex, Region, TenantId};
use remit_common::identity::SignedRequest;
use remit_common::proof::{
    Acceptor, Answering, ChannelId, EdgeKey, Exchange, Grade, HeldChannel, Opening, Proof, RawRequest, Target,
};
use remit_common::revocation::{Cut, CutKind, REVOCATIONS_PATH, Revocation, Revocations, Subject};
use remit_common::time::{BootTime, Now, Timestamp};
use zeroize::Zeroizing;

use crate::chain::{Fixture, ISSUED, key};

/// Ids that are cut, none of them this chain's.
const REVOKED: u32 = 100_000;
/// Chains and channels that the edge keeps besides.
const KEPT: u32 = 2_048;
const BODY: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"contracts.read","arguments":{"customer_id":"cust_acme_1042","contract_id":"contract_7781"},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"agent","version":"1"}}}}"#;

/// As an edge finds a chain again: tenant, presentation, directory.
type Known = (TenantId, Digest, Digest);

/// An edge that knows the chain, with an open channel for it, and a holder at the other end.
#[derive(Debug)]
pub struct Warm {
    fixture: Fixture,
    edge: EdgeId,
    region: Region,
    now: Now,
    chains: BTreeMap<Known, Arc<Effective>>,
    channels: BTreeMap<ChannelId, (LinkId, Known)>,
    revocations: Revocations,
    acceptor: Acceptor,
    held: HeldChannel,
    shown: Vec<u8>,
}

fn exchange() -> Exchange<'static> {
    let target = Target::Mcp { method: "tools/call", name: "contracts.read", definition: None };
    Exchange { target, body: BODY, idempotency_key: b"" }
}

fn numbered(number: u32) -> Digest {
    Digest::of(&[b"bench", &number.to_be_bytes()])
}

/// As many cuts as an edge may hold, three fifths of them links, the others holders. Their requests were verified
/// when they came, which is not what is measured.
fn revocations(fixture: &Fixture) -> Result<Revocations> {
    let tenant = TenantId::new("acme")?;
    let cut = |number: u32| {
        let kind = if number % 5 < 3 { CutKind::Link } else { CutKind::Holder };
        Cut { tenant: tenant.clone().into(), kind, id: numbered(number).to_string() }
    };
    let (created, body) = (ISSUED.as_secs(), cut(0).to_body());
    let request =
        SignedRequest::sign(&fixture.mesh, &key(9)?, "POST", REVOCATIONS_PATH, body, created, created + 60, [1; 16]);
    let mut set = Revocations::new();
    for number in 0..REVOKED {
        let cut = cut(number);
        set.cut(Revocation { until: Timestamp::MAX, cut, index: LogIndex(1), request: request.clone() })?;
    }
    Ok(set)
}

impl Warm {
    /// Opens a channel for the last holder of a chain of four links.
    ///
    /// # Errors
    /// When the fixture is faulty.
    pub fn new() -> Result<Self> {
        let fixture = Fixture::new(4)?;
        let effective = Arc::new(fixture.verify_cold()?);
        let leaf = effective.leaf().context("a chain has a last link")?;
        let edge = EdgeId::new("eu-west-1")?;
        let now = Now { wall: ISSUED.plus(Duration::from_secs(5)), boot: BootTime::from_millis(1_000) };
        let identity = key(31)?;
        let to = EdgeKey { mesh: fixture.mesh, edge: edge.clone(), key: *identity.public() };
        let opening = Opening::new(to, leaf, &fixture.holder, now, (&Zeroizing::new([1; 32]), [2; 16]))?;
        let with = Answering {
            key: &identity,
            channel: ChannelId([5; 16]),
            ephemeral: &Zeroizing::new([3; 32]),
            nonce: [4; 16],
            base: 0,
            life: Duration::from_secs(600),
        };
        let request = RawRequest::parse(opening.body())?.verify(&leaf, fixture.holder.public())?;
        let (acceptor, answer) = request.answer(&with, now)?;
        let held = opening.finish(&answer)?;
        let known = (effective.tenant.clone(), fixture.known_as()?, Digest([6; 32]));
        let mut chains = BTreeMap::from([(known.clone(), Arc::clone(&effective))]);
        let mut channels = BTreeMap::from([(acceptor.id(), (leaf, known))]);
        for number in 0..KEPT {
            let other = (effective.tenant.clone(), numbered(number), Digest([6; 32]));
            chains.insert(other.clone(), Arc::clone(&effective));
            let mut id = [0; 16];
            id.iter_mut().zip(numbered(number).0).for_each(|(to, from)| *to = from);
            channels.insert(ChannelId(id), (LinkId(numbered(number)), other));
        }
        let revocations = revocations(&fixture)?;
        ensure!(revocations.len() == usize::try_from(REVOKED)?, "every cut is another one");
        let (region, shown) = (Region::new("eu-west")?, reference(&leaf));
        Ok(Self { fixture, edge, region, now, chains, channels, revocations, acceptor, held, shown })
    }

    /// Headers of so many proofs of the same request, each good once.
    pub fn headers(&mut self, grade: Grade, count: usize) -> Vec<String> {
        let (exchange, boot) = (exchange(), self.now.boot);
        (0..count).map(|_| self.held.prove(grade, &self.fixture.holder, &exchange, boot, [6; 16])).collect()
    }

    /// From the two headers of a request to what its caller may do and has proven.
    ///
    /// # Errors
    /// When the edge would refuse the caller.
    pub fn step(&mut self, header: &str) -> Result<(Arc<Effective>, Grade)> {
        let proof = Proof::parse(header.as_bytes())?;
        let leaf = read_reference(&self.shown).context("a reference")?;
        let (of, known) = self.channels.get(&proof.channel).context("an open channel")?;
        ensure!(*of == leaf, "the channel is another envelope's");
        let effective = Arc::clone(self.chains.get(known).context("a known chain")?);
        self.standing(&effective)?;
        ensure!(effective.leaf() == Some(leaf), "the channel is another envelope's");
        let grade = self.acceptor.accept(&proof, &exchange(), self.now.boot)?;
        Ok((effective, grade))
    }

    /// The same for a chain that the edge has never seen, shown in full.
    ///
    /// # Errors
    /// When the edge would refuse the caller.
    pub fn step_cold(&mut self, header: &str) -> Result<(Effective, Grade)> {
        let proof = Proof::parse(header.as_bytes())?;
        let effective = self.fixture.verify_cold()?;
        self.standing(&effective)?;
        let grade = self.acceptor.accept(&proof, &exchange(), self.now.boot)?;
        Ok((effective, grade))
    }

    /// Time, place and cuts.
    fn standing(&self, effective: &Effective) -> Result<()> {
        effective.check_time(self.now.wall)?;
        effective.check_audience(&self.region, &self.edge)?;
        let links = effective.links().iter().map(Subject::Link);
        let holders = effective.holders().iter().map(Subject::Holder);
        let agents = effective.chain_agents.iter().map(|agent| Subject::Agent(&agent.id));
        let others = [
            Subject::Delegator(&effective.delegator),
            Subject::Session(&effective.session),
            Subject::Task(&effective.task),
            Subject::Edge(&self.edge),
        ];
        self.revocations.check(&effective.tenant, links.chain(holders).chain(agents).chain(others))?;
        Ok(())
    }
}
