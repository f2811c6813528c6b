//! `remit bundle rollback`, and the names of bundles to go back to.

use std::path::Path;

use remit_common::bundle::BundleSource;
use remit_common::crypto::digest::Digest;
use remit_common::id::TenantId;
use remit_control_plane::admin::model::{BundlePublished, BundleStatus, Bundles};
use remit_control_plane::registry::{Operation, RollbackRequest};

use super::read_container;
use crate::admin::Admin;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::{local, trust};

/// Goes back, and says to what.
pub(super) async fn run(
    to: Option<u64>,
    tenant: Option<&TenantId>,
    reason: &str,
    context: &Context,
) -> Result<Exit, Failure> {
    let mesh = context.mesh()?;
    let admin = Admin::new(context, &mesh)?;
    let held: Bundles = admin.get("/v1/bundles").await?;
    let active = active_of(&held, tenant)?;
    let of_tenant = |bundle: &&BundleStatus| bundle.tenant == active.tenant;
    let to = match to {
        None => None,
        Some(version) => {
            let found = held.bundles.iter().filter(of_tenant).find(|bundle| bundle.version.0 == version);
            let missing = || {
                Failure::new(Exit::Failed, format!("no version {version} of tenant `{}` is held", active.tenant))
                    .hint("`remit bundle ls` lists what is")
            };
            Some(found.ok_or_else(missing)?.digest)
        }
    };
    let request = RollbackRequest { tenant: active.tenant.clone(), to, from: active.digest, reason: reason.to_owned() };
    let body = serde_json::to_vec(&request).map_err(|error| Failure::caused(Exit::Failed, &error))?;
    let back: BundlePublished = admin.post(Operation::RollBack.path(), body).await?;
    context.output.document(&back);
    let line = format!("{} version {} is active again as of entry {}", back.name, back.version, back.number);
    context.output.line(format!("{line}; `remit bundle watch` shows it at every edge"));
    Ok(Exit::Done)
}

/// The active bundle of a tenant, or of the only one that has any.
pub(super) fn active_of<'b>(held: &'b Bundles, tenant: Option<&TenantId>) -> Result<&'b BundleStatus, Failure> {
    let wanted = |bundle: &&BundleStatus| bundle.number.is_some() && tenant.is_none_or(|of| bundle.tenant == *of);
    match held.bundles.iter().filter(wanted).collect::<Vec<_>>().as_slice() {
        [one] => Ok(one),
        [] => Err(Failure::new(Exit::Failed, "no bundle is active")),
        _ => Err(Failure::new(Exit::Usage, "more than one tenant has a bundle").hint("say which with --tenant")),
    }
}

/// The manifest that somebody means by `active`, by a file, or by its digest.
///
/// # Errors
/// When it is none of these.
pub(super) async fn digest_of(named: &str, source: &BundleSource, context: &Context) -> Result<Digest, Failure> {
    if named == "active" {
        let mesh = context.mesh()?;
        let admin = Admin::new(context, &mesh)?;
        let held: Bundles = admin.get("/v1/bundles").await?;
        let text = source.files.get("bundle.toml").map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let table = text.and_then(|text| text.parse::<toml::Table>().ok()).unwrap_or_default();
        let tenant = table.get("tenant").and_then(toml::Value::as_str).and_then(|tenant| tenant.parse().ok());
        let active = active_of(&held, tenant.as_ref())?;
        // A voter says which is active; that its administrators signed it is verified here, and who builds sees which it is.
        let (root, _) = trust::directory(context, &mesh).await?;
        let verified = local::verified_policy(context, &admin, &mesh, (active, &root)).await?;
        let version = verified.manifest().version;
        context.output.line(format!("it may be taken back to version {version}, which the voter says is active"));
        return Ok(*verified.digest());
    }
    if let Ok(digest) = named.parse() {
        return Ok(digest);
    }
    Ok(read_container(context, Path::new(named))?.digest())
}
