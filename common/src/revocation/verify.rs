//! Who may cut what, by what was signed: asked by the voter that takes a request, by every voter that applies it, and
//! by every edge that loads the entry, of the request itself, whoever delivers it. Clauses T-43 and T-50 to T-53.

use super::ask::{Asked, Shown};
use super::kind::{AFTERLIFE, BRAKE_LIFE, LONG_LIFE};
use super::{Cut, CutKind, REVOCATIONS_PATH, Reach, Revocation, RevocationRefused};
use crate::envelope::{Issuers, RawPresentation};
use crate::id::{LogIndex, MeshId};
use crate::identity::{Administrators, NotPermitted, SignedRequest, Verb};
use crate::limits::ADMIN_SIGNATURE_LIFE_MAX;
use crate::time::Timestamp;

/// Whose word counts besides the holders': those whom a directory lists.
#[derive(Debug, Clone, Copy)]
pub struct Authorities<'a> {
    /// The mesh.
    pub mesh: &'a MeshId,
    /// May cut in their tenants.
    pub administrators: &'a Administrators,
    /// May cut what they signed; and without them no chain says whose it is.
    pub issuers: &'a Issuers,
}

impl Revocation {
    /// Makes the entry for a request that arrived as log entry `index`; checks everything that [`Self::verify`] does.
    ///
    /// # Errors
    /// [`RevocationRefused`].
    pub fn from_request(
        index: LogIndex,
        request: SignedRequest,
        authorities: &Authorities<'_>,
    ) -> Result<Self, RevocationRefused> {
        let asked = Asked::from_body(&request.body)?;
        let until = check(&request, &asked, authorities)?;
        Ok(Self { cut: asked.cut, until, index, request })
    }

    /// Whether somebody who may asked for exactly this, whoever delivers it. Not a question of the present time: the
    /// request was in its window when the log took it, and whoever has left the directory is still listed, with the
    /// time of leaving, for as long as what they cut is.
    ///
    /// # Errors
    /// [`RevocationRefused`].
    pub fn verify(&self, authorities: &Authorities<'_>) -> Result<(), RevocationRefused> {
        let Self { cut, until, index: _, request } = self;
        let asked = Asked::from_body(&request.body)?;
        if asked.cut != *cut {
            return Err(RevocationRefused::Differs);
        }
        if check(request, &asked, authorities)? != *until {
            return Err(RevocationRefused::Differs);
        }
        Ok(())
    }
}

/// Who asks may ask for it, and signed it. Gives the moment at which the cut ends.
fn check(
    request: &SignedRequest,
    asked: &Asked,
    authorities: &Authorities<'_>,
) -> Result<Timestamp, RevocationRefused> {
    if request.method != "POST" || request.path != REVOCATIONS_PATH {
        return Err(RevocationRefused::Malformed { rule: "the request is not a POST to /v1/revocations" });
    }
    let created = Timestamp::from_secs(request.created);
    if let Some((_, before)) = asked.cut.issued_before()
        && Timestamp::from_secs(before) > created.plus(ADMIN_SIGNATURE_LIFE_MAX)
    {
        // What is signed later has a life of its own, which the cut would not cover.
        return Err(RevocationRefused::Malformed { rule: "an issuer is cut for what it signed, not for what it will" });
    }
    match (&asked.shown, &asked.with) {
        (Some(shown), _) => check_holder(request, &asked.cut, shown, authorities),
        (None, Some(first)) => check_joined(request, &asked.cut, first, authorities),
        (None, None) => check_listed(request, &asked.cut, authorities),
    }
}

/// An administrator with the verb in the tenant, or an issuer of it, for what issuers sign.
fn check_listed(
    request: &SignedRequest,
    cut: &Cut,
    authorities: &Authorities<'_>,
) -> Result<Timestamp, RevocationRefused> {
    let Authorities { mesh, administrators, issuers } = authorities;
    let created = Timestamp::from_secs(request.created);
    let Reach::Tenant(tenant) = &cut.tenant else {
        return Err(RevocationRefused::NotJoined { rule: "the whole mesh is cut by two administrators, not by one" });
    };
    if let Some(administrator) = administrators.get(&request.key) {
        administrator.check(Verb::Revoke, tenant, created)?;
        request.verify(mesh, &administrator.key)?;
        return Ok(cut.until(created));
    }
    let unknown = NotPermitted::Unknown { key: request.key };
    let issuer = issuers.listed(tenant, created).find(|issuer| issuer.kid == request.key).ok_or(unknown)?;
    let is_theirs = match cut.kind {
        CutKind::Link => true,
        CutKind::Issuer => cut.issued_before().is_some_and(|(key, _)| key == request.key),
        _ => false,
    };
    if !is_theirs {
        return Err(RevocationRefused::NotTheirs { rule: "an issuer cuts links, and what it signed itself" });
    }
    request.verify(mesh, &issuer.key)?;
    Ok(cut.until(created))
}

/// A second administrator who joins in what a first one has asked for: what reaches the whole mesh counts from then on, a
/// tenant's brake no longer lapses after a day. Clauses T-59 and T-60.
fn check_joined(
    request: &SignedRequest,
    cut: &Cut,
    first: &SignedRequest,
    authorities: &Authorities<'_>,
) -> Result<Timestamp, RevocationRefused> {
    let not_joined = |rule| RevocationRefused::NotJoined { rule };
    if first.method != request.method || first.path != request.path {
        return Err(RevocationRefused::Malformed { rule: "`with` is a POST to /v1/revocations" });
    }
    let asked = Asked::from_body(&first.body)?;
    if asked.shown.is_some() || asked.with.is_some() || asked.cut != *cut {
        return Err(not_joined("`with` is one administrator's request for the same cut"));
    }
    let (created, before) = (Timestamp::from_secs(request.created), Timestamp::from_secs(first.created));
    if before > created.plus(ADMIN_SIGNATURE_LIFE_MAX) || created.since(before) > BRAKE_LIFE {
        return Err(not_joined("the request in which this one joins is older than a day, or younger than this one"));
    }
    let signer = |request: &SignedRequest| {
        let unknown = NotPermitted::Unknown { key: request.key };
        let administrator = authorities.administrators.get(&request.key).ok_or(unknown)?;
        let at = Timestamp::from_secs(request.created);
        match &cut.tenant {
            Reach::Tenant(tenant) => administrator.check(Verb::Revoke, tenant, at)?,
            Reach::Mesh => administrator.check_anywhere(Verb::RevokeEverywhere, at)?,
        }
        request.verify(authorities.mesh, &administrator.key)?;
        Ok::<_, RevocationRefused>(administrator)
    };
    let (second, first) = (signer(request)?, signer(first)?);
    if second.name == first.name || second.key == first.key {
        return Err(not_joined("two administrators have to ask for it, not one twice"));
    }
    Ok(match &cut.tenant {
        // From the earlier one: so long both are still listed (clause T-14).
        Reach::Tenant(_) if cut.kind.is_brake() => created.min(before).plus(LONG_LIFE),
        Reach::Tenant(_) | Reach::Mesh => cut.until(created),
    })
}

/// The holder of a link of the chain: its own link or one below, or its own key.
fn check_holder(
    request: &SignedRequest,
    cut: &Cut,
    shown: &Shown,
    authorities: &Authorities<'_>,
) -> Result<Timestamp, RevocationRefused> {
    let Authorities { mesh, administrators: _, issuers } = authorities;
    let raw = RawPresentation::parse(&shown.chain)?;
    if raw.countersignatures().next().is_some() {
        // Nothing hangs on them here, and their bytes would take the room of other holders' requests.
        return Err(RevocationRefused::Malformed { rule: "the chain is shown without countersignatures" });
    }
    let holder = raw.links().map(|link| link.holder).find(|holder| holder.id() == request.key);
    let holder = holder.ok_or(RevocationRefused::NotTheirs { rule: "the requester holds no link of the chain" })?;
    let is_theirs = match cut.kind {
        CutKind::Link => shown.links.last().is_some_and(|last| last.to_string() == cut.id),
        CutKind::Holder => request.key.to_string() == cut.id,
        _ => false,
    };
    if !is_theirs {
        let rule = "a holder cuts the last link of the chain that it shows, or its own key";
        return Err(RevocationRefused::NotTheirs { rule });
    }
    // One signature says whether the rest is worth anything.
    request.verify(mesh, &holder)?;
    let effective = raw.verify(mesh, issuers)?.effective();
    if cut.tenant.tenant() != Some(&effective.tenant) || effective.links() != shown.links {
        return Err(RevocationRefused::Differs);
    }
    let created = Timestamp::from_secs(request.created);
    if created >= effective.expires {
        return Err(RevocationRefused::Ended);
    }
    Ok(match cut.kind {
        CutKind::Link => effective.expires.plus(AFTERLIFE),
        // The key may hold other chains, which end later than this one.
        _ => cut.until(created),
    })
}
