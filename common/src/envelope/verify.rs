//! From shape to authority: signatures, structure, and the meet of all links.
//!
//! Structure is checked before signatures because it is cheap, meaning after them because nobody should act on the
//! meaning of bytes that nobody signed.

use std::sync::Arc;
use std::time::Duration;

use super::authority::{Authority, Effective, RootSigners};
use super::beginnings::{Beginnings, Watch, beginnings, root_signature};
use super::cose::{Header, LinkSignature};
use super::error::Unauthenticated;
use super::issuers::{Issuer, Issuers};
use super::link::{AgentIdentity, Link, RootContext};
use super::mint::RootSignature;
use super::presentation::{RawLink, RawPresentation};
use crate::crypto::sign::PublicKey;
use crate::id::{BundleVersion, LinkId, MeshId};
use crate::lattice::{Audience, Delegation, Demands, InvalidScope, PurposePath, Scope, Window};
use crate::text;
use crate::time::Timestamp;

/// One link of a verified chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedLink {
    /// Its id.
    pub id: LinkId,
    /// The key that may sign the next one.
    pub holder: PublicKey,
    /// The agent that its signer named.
    pub agent: AgentIdentity,
    /// When it holds, by its own words.
    pub window: Window,
    /// Where it holds, by its own words.
    pub audience: Audience,
    /// From issue to end, by its own words.
    pub life: Duration,
    /// What is left of handing on, up to and with this link.
    pub delegation: Delegation,
    /// What for, up to and with this link.
    pub purpose: PurposePath,
    /// The first moment at which some link, up to and with this one, has ended.
    pub expires: Timestamp,
}

/// A chain whose signatures and structure hold, and whose links have something in common.
// INVARIANT: built only by `RawPresentation::verify`; there is at least one link.
#[derive(Debug, Clone)]
pub struct VerifiedChain {
    effective: Effective,
}

impl VerifiedChain {
    /// What the chain leaves.
    #[must_use]
    pub fn effective(&self) -> Effective {
        self.effective.clone()
    }

    /// The links, root first.
    #[must_use]
    pub fn links(&self) -> &[VerifiedLink] {
        &self.effective.chain
    }

    /// The root's context.
    #[must_use]
    pub fn context(&self) -> &RootContext {
        &self.effective.context
    }
}

impl RawPresentation {
    /// Checks every signature and the structure of the chain. Consumes `self`: there is no second try with laxer
    /// issuers. Says nothing of time, see [`Effective::check_time`].
    ///
    /// # Errors
    /// [`Unauthenticated`] says which link and why.
    pub fn verify(self, mesh: &MeshId, issuers: &Issuers) -> Result<VerifiedChain, Unauthenticated> {
        self.verify_beyond(mesh, issuers, None)
    }

    /// As [`Self::verify`], without verifying once more what `known` has seen verified under the same mesh and issuers:
    /// so what is forged below a known beginning costs one verification, and what it is made of is learnt.
    ///
    /// # Errors
    /// [`Unauthenticated`], the same as without `known`.
    pub fn verify_beyond(
        self,
        mesh: &MeshId,
        issuers: &Issuers,
        known: Option<&dyn Beginnings>,
    ) -> Result<VerifiedChain, Unauthenticated> {
        let Self { links, countersignatures: _, tenant: _ } = self;
        let ids: Vec<LinkId> = links.iter().map(|raw| raw.sign1.id(mesh)).collect();
        check_structure(&links, &ids)?;
        match known {
            None => check_signatures(&links, &ids, 0, (mesh, issuers), None)?,
            Some(known) => {
                let beginnings = beginnings(&links, &ids, issuers);
                let seen = beginnings.iter().rposition(|beginning| known.knows(beginning));
                let first = seen.map_or(0, |last| last.saturating_add(1));
                check_signatures(&links, &ids, first, (mesh, issuers), Some((known, &beginnings)))?;
            }
        }
        let signers = root_signers(&links, issuers)?;
        let mut links: Vec<Link> = links.into_iter().map(|raw| raw.link).collect();
        // A meet takes what it can use; who needs to be told where a chain went wrong needs each link's own word.
        let audiences: Vec<Audience> = links.iter().map(|link| link.audience.clone()).collect();
        let met = meet(&mut links)?;
        let chain = links
            .iter()
            .zip(ids.iter().zip(&met.steps).zip(audiences))
            .map(|(link, ((id, step), audience))| VerifiedLink {
                id: *id,
                holder: link.holder,
                agent: link.agent.clone(),
                window: step.own,
                audience,
                life: Duration::from_secs(link.expires_secs.saturating_sub(link.issued_secs)),
                delegation: step.delegation,
                purpose: step.purpose,
                expires: step.expires,
            })
            .collect();
        Ok(VerifiedChain { effective: effective(links, ids, chain, met, signers)? })
    }
}

fn effective(
    links: Vec<Link>,
    link_ids: Vec<LinkId>,
    chain: Arc<[VerifiedLink]>,
    met: Met,
    signers: RootSigners,
) -> Result<Effective, Unauthenticated> {
    let chain_depth = u8::try_from(links.len()).unwrap_or(u8::MAX);
    let holders = links.iter().map(|link| link.holder.id()).collect();
    let mut links = links.into_iter();
    let no_root = Unauthenticated::WrongParent { hop: 0 };
    let Some(Link { context: Some(context), agent, .. }) = links.next() else { return Err(no_root) };
    let authority = Authority {
        tenant: context.tenant.clone(),
        delegator: context.delegator.clone(),
        session: context.session.clone(),
        task: context.task.clone(),
        agent: agent.id.clone(),
        class: agent.class.clone(),
        chain_agents: std::iter::once(agent).chain(links.map(|link| link.agent)).collect(),
        purpose: met.purpose,
        not_before: met.window.not_before(),
        expires: met.window.expires(),
        depth_left: met.delegation.depth_left,
        fanout_max: met.delegation.fanout_max,
        offline: met.delegation.offline,
        chain_depth,
        audience: met.audience,
        demands: met.demands,
        scope: met.scope,
        min_bundle_version: BundleVersion(context.min_bundle_version),
        taxonomy_version: context.taxonomy_version,
        catalogue_version: context.catalogue_version,
    };
    Ok(Effective { authority, chain, link_ids, holders, context: Arc::new(context), signers })
}

/// Each hop names its parent, and the algorithm and key of its parent's holder (clauses E-11 to E-13).
fn check_structure(links: &[RawLink], ids: &[LinkId]) -> Result<(), Unauthenticated> {
    let parents = links.iter().zip(ids);
    for ((hop, child), (parent, parent_id)) in (1u8..).zip(links.iter().skip(1)).zip(parents) {
        if child.link.parent != *parent_id {
            return Err(Unauthenticated::WrongParent { hop });
        }
        match (child.sign1.header, Header::of_hop(&parent.link.holder)) {
            (found, expected) if found == expected => {}
            (Header::Holder { alg, .. }, Header::Holder { alg: expected, .. }) if alg == expected => {
                return Err(Unauthenticated::WrongSigner { hop });
            }
            _ => return Err(Unauthenticated::WrongAlgorithm { hop }),
        }
    }
    Ok(())
}

/// Verifies the links from `first` on, root first, and has learnt which is good as soon as it is.
fn check_signatures(
    links: &[RawLink],
    ids: &[LinkId],
    first: usize,
    (mesh, issuers): (&MeshId, &Issuers),
    watch: Watch<'_>,
) -> Result<(), Unauthenticated> {
    let mut holder = first.checked_sub(1).and_then(|above| links.get(above)).map(|raw| raw.link.holder);
    for ((hop, at), (raw, id)) in (0u8..).zip(0..).zip(links.iter().zip(ids)).skip(first) {
        match (&raw.sign1.signature, holder, &raw.link.context) {
            (LinkSignature::Quorum(_), None, Some(context)) => {
                check_root((raw, id), context, (mesh, issuers), watch)?;
            }
            (LinkSignature::Holder(signature), Some(key), None) => {
                if let Some((known, _)) = watch {
                    known.verifying();
                }
                key.verify(&raw.sign1.signed(mesh), signature)
                    .map_err(|source| Unauthenticated::Signature { hop, source })?;
            }
            _ => return Err(Unauthenticated::WrongAlgorithm { hop }),
        }
        holder = Some(raw.link.holder);
        if let Some((known, beginnings)) = watch
            && let Some(beginning) = beginnings.get(at)
        {
            known.learn(*beginning);
        }
    }
    Ok(())
}

/// Signatures of a root, and who made them.
pub(super) type Counted<'r> = Vec<(&'r RootSignature, &'r Issuer)>;

/// The signatures of a root that count, and how many it needs: more than half of the tenant's issuers, as listed at the
/// moment of issue (clause E-10).
pub(super) fn counted<'r>(
    raw: &'r RawLink,
    context: &'r RootContext,
    issuers: &'r Issuers,
) -> Result<(Counted<'r>, usize), Unauthenticated> {
    let LinkSignature::Quorum(signatures) = &raw.sign1.signature else {
        return Err(Unauthenticated::WrongAlgorithm { hop: 0 });
    };
    let issued = Timestamp::from_secs(raw.link.issued_secs);
    let Some(needed) = issuers.majority(&context.tenant, issued) else {
        return Err(Unauthenticated::NoIssuers { tenant: context.tenant.clone() });
    };
    // A key that the directory does not list, or no longer, counts for nothing and against nothing.
    let listed = |kid| issuers.listed(&context.tenant, issued).find(|issuer| issuer.kid.short() == kid);
    let counted: Vec<_> = signatures.iter().filter_map(|part| Some((part, listed(part.kid)?))).collect();
    if counted.len() < needed {
        let listed = issuers.listed(&context.tenant, issued).count();
        return Err(Unauthenticated::Minority { found: counted.len(), listed });
    }
    Ok((counted, needed))
}

fn check_root(
    (raw, id): (&RawLink, &LinkId),
    context: &RootContext,
    (mesh, issuers): (&MeshId, &Issuers),
    watch: Watch<'_>,
) -> Result<(), Unauthenticated> {
    let (counted, _) = counted(raw, context, issuers)?;
    let message = raw.sign1.signed(mesh);
    for (part, issuer) in counted {
        let seen = watch.map(|(known, _)| (known, root_signature(id, part)));
        if seen.is_some_and(|(known, digest)| known.knows(&digest)) {
            continue;
        }
        if let Some((known, _)) = seen {
            known.verifying();
        }
        issuer
            .key
            .verify(&message, &part.signature)
            .map_err(|source| Unauthenticated::RootSignature { kid: text::hex(&part.kid), source })?;
        if let Some((known, digest)) = seen {
            known.learn(digest);
        }
    }
    Ok(())
}

/// Who signed the root of a chain whose signatures are good, now or when it was seen before.
fn root_signers(links: &[RawLink], issuers: &Issuers) -> Result<RootSigners, Unauthenticated> {
    let root = links.first().and_then(|raw| Some((raw, raw.link.context.as_ref()?)));
    let (raw, context) = root.ok_or(Unauthenticated::WrongParent { hop: 0 })?;
    let (counted, needed) = counted(raw, context, issuers)?;
    let kids = counted.iter().map(|(part, _)| part.kid).collect();
    Ok(RootSigners { kids, needed, issued_secs: raw.link.issued_secs })
}

/// What all links have in common.
pub(super) struct Met {
    pub(super) purpose: PurposePath,
    pub(super) window: Window,
    pub(super) steps: Vec<Step>,
    pub(super) delegation: Delegation,
    pub(super) audience: Audience,
    pub(super) demands: Demands,
    pub(super) scope: Scope,
}

/// What the links up to and with one of them have in common, and that link's own window.
pub(super) struct Step {
    own: Window,
    delegation: Delegation,
    purpose: PurposePath,
    expires: Timestamp,
}

/// The meet of a chain (clauses E-15 to E-18), link by link. Grants and audiences are taken, not copied.
pub(super) fn meet(links: &mut [Link]) -> Result<Met, Unauthenticated> {
    let mut met: Option<Met> = None;
    for (hop, link) in (0u8..).zip(links) {
        met = Some(match met {
            None => meet_root(link)?,
            Some(above) => meet_hop(above, link, hop)?,
        });
    }
    met.ok_or(Unauthenticated::NeverValid { hop: 0 })
}

/// Absent is not at all, in a root and in a hop (clause E-18).
fn delegation(link: &Link) -> Delegation {
    link.delegation.unwrap_or(Delegation::NOT)
}

fn window(link: &Link, hop: u8) -> Result<Window, Unauthenticated> {
    Window::new(Timestamp::from_secs(link.not_before_secs), Timestamp::from_secs(link.expires_secs))
        .ok_or(Unauthenticated::NeverValid { hop })
}

fn meet_root(link: &mut Link) -> Result<Met, Unauthenticated> {
    let grants = |source: InvalidScope| Unauthenticated::Grants { hop: 0, source };
    let window = window(link, 0)?;
    // A root without a purpose does not parse; the narrowest reading of one would still be none.
    let purpose = link.purpose.ok_or(Unauthenticated::PurposeMismatch { hop: 0 })?;
    let delegation = delegation(link);
    Ok(Met {
        purpose,
        window,
        steps: vec![Step { own: window, delegation, purpose, expires: window.expires() }],
        delegation,
        audience: std::mem::take(&mut link.audience),
        demands: link.demands,
        scope: Scope::root(std::mem::take(&mut link.grants)).map_err(grants)?,
    })
}

fn meet_hop(above: Met, link: &mut Link, hop: u8) -> Result<Met, Unauthenticated> {
    let own = window(link, hop)?;
    let mut audience = above.audience;
    audience.meet(std::mem::take(&mut link.audience));
    let grants = std::mem::take(&mut link.grants);
    let delegation = above.delegation.hop(delegation(link)).ok_or(Unauthenticated::DepthExhausted { hop })?;
    let purpose = match &link.purpose {
        Some(purpose) => above.purpose.meet(purpose).ok_or(Unauthenticated::PurposeMismatch { hop })?,
        None => above.purpose,
    };
    let window = above.window.meet(&own).ok_or(Unauthenticated::NeverValid { hop })?;
    let mut steps = above.steps;
    steps.push(Step { own, delegation, purpose, expires: window.expires() });
    Ok(Met {
        delegation,
        audience,
        demands: above.demands.meet(link.demands),
        purpose,
        window,
        steps,
        scope: above.scope.narrow(grants).map_err(|source| Unauthenticated::Grants { hop, source })?,
    })
}
