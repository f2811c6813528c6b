//! A chain of links by a mesh of three issuers, as an edge sees it for the first time.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, anyhow};
use remit_common::crypto::digest::Digest;
use remit_common::crypto::sign::{PublicKey, Signature, SigningKey};
use remit_common::envelope::{
    AgentIdentity, Delegation, Effective, EvidenceKind, Issuer, Issuers, RawPresentation, Restriction, RootPayload,
    RootRequest, RootStamp, assemble_root, delegate, sign_root_part,
};
use remit_common::id::{
    AgentClass, AgentId, Delegator, DimensionName, MeshId, ResourceId, SessionId, TaskId, TenantId, ToolName,
};
use remit_common::lattice::{
    Audience, CallFacts, ClassSet, Demands, Effect, Effects, Grant, IdSet, PurposePath, SortedMap, ToolPattern,
};
use remit_common::time::Timestamp;

/// When the root of the fixture is issued.
pub(crate) const ISSUED: Timestamp = Timestamp::from_secs(1_800_000_000);

/// A presentation and what verifies it.
#[derive(Debug)]
pub struct Fixture {
    pub(crate) mesh: MeshId,
    issuers: Issuers,
    /// The last link's.
    pub(crate) holder: SigningKey,
    /// The bytes that an agent presents.
    pub presentation: Vec<u8>,
}

pub(crate) fn key(number: u8) -> Result<SigningKey> {
    Ok(SigningKey::from_seed([number; 32].into())?)
}

fn agent(name: &str) -> Result<AgentIdentity> {
    let id = AgentId::new(&format!("spiffe://acme.example/agent/{name}"))?;
    Ok(AgentIdentity { id, class: AgentClass::new(name)?, attestation: None })
}

fn grants() -> Result<Vec<Grant>> {
    let ids = |ids: &[&str]| -> Result<IdSet> {
        Ok(IdSet::In(ids.iter().map(|id| ResourceId::new(id)).collect::<Result<_, _>>()?))
    };
    let contract = (DimensionName::new("contract")?, ids(&["contract_7781", "contract_7790"])?);
    let customer = (DimensionName::new("customer")?, ids(&["cust_acme_1042"])?);
    Ok(vec![
        Grant {
            tools: vec![ToolPattern::new("contracts.read")?],
            ids: SortedMap::from([contract, customer.clone()]),
            maxima: SortedMap::from([(DimensionName::new("records")?, 25)]),
            classes: Some(ClassSet::from_iter([1, 2, 3])),
            effects: Some(Effects::from(Effect::Read)),
            ..Grant::default()
        },
        Grant {
            tools: vec![ToolPattern::new("tickets.create")?],
            ids: SortedMap::from([customer]),
            classes: Some(ClassSet::from_iter([3])),
            effects: Some(Effects::from(Effect::Irreversible)),
            ..Grant::default()
        },
    ])
}

impl Fixture {
    /// Mints a root, signed by two of three issuers, and hands it on until the chain has this many links.
    ///
    /// # Errors
    /// When the fixture is faulty.
    pub fn new(links: u8) -> Result<Self> {
        let narrowed =
            |(of, grant): (usize, Grant)| Ok(Grant { of: u16::try_from(of)?, ids: SortedMap::new(), ..grant });
        let hops: Vec<_> = grants()?.into_iter().enumerate().map(narrowed).collect::<Result<_>>()?;
        Self::with(links, grants()?, &hops)
    }

    /// The same with one grant, of which each hop narrows the tools and one dimension and says nothing of the others: what
    /// a task usually is.
    ///
    /// # Errors
    /// When the fixture is faulty.
    pub fn lean(links: u8) -> Result<Self> {
        let root: Vec<_> = grants()?.into_iter().take(1).collect();
        let narrowed = |grant: Grant| Grant { ids: SortedMap::new(), classes: None, effects: None, ..grant };
        let hops: Vec<_> = root.iter().cloned().map(narrowed).collect();
        Self::with(links, root, &hops)
    }

    fn with(links: u8, grants: Vec<Grant>, hops: &[Grant]) -> Result<Self> {
        let mesh = MeshId([7; 16]);
        let tenant = TenantId::new("acme")?;
        let delegation = |depth_left| Some(Delegation { depth_left, fanout_max: 8, offline: false });
        let request = RootRequest {
            tenant: tenant.clone(),
            delegator: Delegator::new("user:maya@acme.example")?,
            session: SessionId::new("session-1")?,
            task: TaskId::new("renewal-7781")?,
            agent: agent("analyst")?,
            purpose: PurposePath::new(&[1, 2])?,
            grants,
            life: Duration::from_secs(3_600),
            delegation: delegation(links),
            audience: Audience::EVERYWHERE,
            demands: Demands::NONE,
            intent: None,
        };
        let stamp = RootStamp {
            issued: ISSUED,
            nonce: [9; 16],
            evidence_kind: EvidenceKind::Admin,
            evidence: Digest([1; 32]),
            catalogue_version: 1,
            taxonomy_version: 1,
            min_bundle_version: 1,
        };
        let issuer_keys = [key(1)?, key(2)?, key(3)?];
        let listed = issuer_keys.iter().map(|issuer| Issuer {
            kid: issuer.public().id(),
            key: *issuer.public(),
            tenants: vec![tenant.clone()],
            from: Timestamp::from_secs(0),
            until: Timestamp::MAX,
        });
        let issuers = Issuers::new(listed.collect())?;
        let mut holder = key(10)?;
        let payload = RootPayload::build(&request, holder.public(), &stamp)?;
        let signatures = issuer_keys.iter().take(2).map(|issuer| sign_root_part(&mesh, &payload, issuer)).collect();
        let mut presentation = assemble_root(&payload, signatures)?;
        for hop in 1..links {
            let next = key(10 + hop)?;
            let restriction = Restriction {
                agent: agent("helper")?,
                purpose: None,
                subtask: None,
                grants: hops.to_vec(),
                life: Duration::from_secs(600),
                delegation: delegation(links - hop),
                audience: Audience::EVERYWHERE,
                demands: Demands::NONE,
                intent: None,
            };
            presentation = delegate(&presentation, &holder, &mesh, &restriction, next.public(), ISSUED, [hop; 16])?;
            holder = next;
        }
        Ok(Self { mesh, issuers, holder, presentation })
    }

    /// From bytes to authority, with nothing remembered.
    ///
    /// # Errors
    /// When the chain does not verify.
    pub fn verify_cold(&self) -> Result<Effective> {
        let raw = RawPresentation::parse(&self.presentation).map_err(|error| anyhow!(error))?;
        Ok(raw.verify(&self.mesh, &self.issuers)?.effective())
    }

    /// What the edge knows the chain by.
    pub(crate) fn known_as(&self) -> Result<Digest> {
        let raw = RawPresentation::parse(&self.presentation).map_err(|error| anyhow!(error))?;
        Ok(raw.known_as(&self.mesh, &self.issuers))
    }

    /// As [`Self::verify_cold`], and whether what is left admits a read of this contract.
    ///
    /// # Errors
    /// When the chain does not verify.
    pub fn admits_cold(&self, contract: &str) -> Result<bool> {
        let effective = self.verify_cold()?;
        let name = |name: &str| DimensionName::new(name);
        let ids = [(name("contract")?, contract), (name("customer")?, "cust_acme_1042")];
        let ids = ids.into_iter().map(|(name, id)| Ok((name, BTreeSet::from([ResourceId::new(id)?]))));
        let call = CallFacts {
            ids: ids.collect::<Result<_>>()?,
            result_maxima: BTreeSet::from([name("records")?]),
            ..CallFacts::of_tool(ToolName::new("contracts.read")?, Effects::from(Effect::Read))
        };
        Ok(effective.scope.admits_any(&call).is_ok())
    }

    /// The part of it that looks at shape only.
    ///
    /// # Errors
    /// When the bytes are no presentation.
    pub fn parse(&self) -> Result<RawPresentation> {
        RawPresentation::parse(&self.presentation).map_err(|error| anyhow!(error))
    }
}

/// One signature of 500 bytes, and what verifies it: what the chain's figures are made of.
#[derive(Debug)]
pub struct OneSignature {
    key: PublicKey,
    message: [u8; 500],
    signature: Signature,
}

impl OneSignature {
    /// Signs.
    ///
    /// # Errors
    /// When the fixture is faulty.
    pub fn new() -> Result<Self> {
        let (key, message) = (key(1)?, [3; 500]);
        Ok(Self { key: *key.public(), message, signature: key.sign(&message) })
    }

    /// Verifies.
    ///
    /// # Errors
    /// Never, unless the fixture is faulty.
    pub fn verify(&self) -> Result<()> {
        Ok(self.key.verify(&self.message, &self.signature)?)
    }
}
