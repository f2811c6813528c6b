//! The tuples that hold, as a voter has them.

use remit_chaos::launcher::MeshFile;
use remit_common::bundle::CompiledBundle;
use remit_common::id::TenantId;
use remit_common::policy::relations::{Tuple, TupleKey};
use remit_common::relation_log::{RelationLog, Writers};
use remit_control_plane::admin::model::{RelationBatches, RelationList};
use serde_json::json;
use serde_json::value::RawValue;

use crate::admin::Admin;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::{local, trust};

/// Tuples of one page; the most that a voter gives.
const PAGE: usize = 10_000;

#[derive(Debug, clap::Args)]
pub(super) struct Wanted {
    /// Only of this object, or of a type: `contract:`
    #[arg(long)]
    object: Option<String>,
    /// Only of this relation
    #[arg(long)]
    relation: Option<String>,
    /// Only of this subject, or of a type: `user:`
    #[arg(long)]
    subject: Option<String>,
    /// At most so many
    #[arg(short = 'n', default_value_t = 1_000)]
    limit: usize,
}

/// The newest revision, and no tuples to speak of.
pub(super) async fn head(admin: &Admin, tenant: &TenantId) -> Result<RelationList, Failure> {
    admin.get(&format!("/v1/relations?tenant={tenant}&limit=1")).await
}

/// Every tuple that holds, and the revision as of which they do.
pub(super) async fn all(admin: &Admin, tenant: &TenantId) -> Result<(RelationList, Vec<Tuple>), Failure> {
    let mut tuples = Vec::new();
    let mut after: Option<TupleKey> = None;
    let mut first: Option<RelationList> = None;
    loop {
        let mut page = page(admin, &format!("tenant={tenant}&limit={PAGE}"), after.as_ref()).await?;
        if first.as_ref().is_some_and(|first| first.revision != page.revision) {
            // Somebody wrote between two pages: what was read belongs to no one revision.
            (tuples, after, first) = (Vec::new(), None, None);
            continue;
        }
        tuples.append(&mut page.tuples);
        after = page.next.take();
        let first = first.get_or_insert(page);
        if after.is_none() {
            return Ok((first.clone(), tuples));
        }
    }
}

/// A tenant's relations as their writers signed them, and the bundle that says whose signatures count. Nothing of it is
/// the voter's word.
pub(super) struct Proven {
    pub(super) log: RelationLog,
    pub(super) bundle: CompiledBundle,
}

/// Reads every batch that is kept, and verifies them under the bundle that the tenant's administrators signed.
pub(super) async fn proven(context: &Context, admin: &Admin, mesh: &MeshFile) -> Result<Proven, Failure> {
    let (root, _) = trust::directory(context, mesh).await?;
    let bundle = local::active_policy(context, admin, mesh, &root).await?;
    let batches = batches(admin, &mesh.tenant).await?;
    let read = batches.iter().map(|batch| batch.get().as_bytes());
    let log = RelationLog::verify(mesh.mesh_id, mesh.tenant.clone(), read, &Writers::of(bundle.policy()));
    let log = log.map_err(|error| {
        let hint = "if a writer was dropped, look at what it left with `remit relation ls`, and state what is right with \
                    `remit relation compact --unproven` or `remit relation import FILE --replace`";
        Failure::caused(Exit::Failed, &error).reason(error.reason_code()).hint(hint)
    })?;
    Ok(Proven { log, bundle })
}

/// Every batch that is kept of a tenant's relations, as its writer signed it. Nothing is verified.
pub(in crate::commands) async fn batches(admin: &Admin, tenant: &TenantId) -> Result<Vec<Box<RawValue>>, Failure> {
    let mut batches: Vec<Box<RawValue>> = Vec::new();
    let mut last: Option<u64> = None;
    loop {
        let after = last.map_or_else(String::new, |last| format!("&after={last}"));
        let page: RelationBatches = admin.get(&format!("/v1/relations/batches?tenant={}{after}", tenant)).await?;
        if last.is_some_and(|last| page.first.is_some_and(|first| Some(first) != last.checked_add(1))) {
            // Somebody stated the whole set between two pages.
            (batches, last) = (Vec::new(), None);
            continue;
        }
        batches.extend(page.batches);
        last = page.next;
        if last.is_none() {
            break;
        }
    }
    Ok(batches)
}

async fn page(admin: &Admin, query: &str, after: Option<&TupleKey>) -> Result<RelationList, Failure> {
    let after = after.map_or_else(String::new, |after| format!("&after={}", quoted(&after.to_string())));
    admin.get(&format!("/v1/relations?{query}{after}")).await
}

/// A value of a query (RFC 3986): whatever is not unreserved is written as its bytes.
fn quoted(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out
    })
}

pub(super) async fn list(context: &Context, wanted: &Wanted) -> Result<Exit, Failure> {
    let mesh = context.mesh()?;
    let admin = Admin::new(context, &mesh)?;
    let mut query = format!("tenant={}", mesh.tenant);
    let filters = [("object", &wanted.object), ("relation", &wanted.relation), ("subject", &wanted.subject)];
    for (name, value) in filters {
        if let Some(value) = value {
            query.push_str(&format!("&{name}={}", quoted(value)));
        }
    }
    let (mut tuples, mut after): (Vec<Tuple>, _) = (Vec::new(), None);
    let list = loop {
        let left = wanted.limit.saturating_sub(tuples.len()).clamp(1, PAGE);
        let mut page = page(&admin, &format!("{query}&limit={left}"), after.as_ref()).await?;
        tuples.append(&mut page.tuples);
        after = page.next.take();
        if after.is_none() || tuples.len() >= wanted.limit {
            break page;
        }
    };
    let RelationList { tenant, revision, digest, count, batches, batch_bytes, unusable, .. } = &list;
    context.output.document(&json!({
        "tenant": tenant, "revision": revision, "digest": digest, "count": count, "batches": batches,
        "batch_bytes": batch_bytes, "unusable": unusable, "tuples": tuples, "more": after.is_some(),
    }));
    for tuple in &tuples {
        context.output.line(tuple.to_string());
    }
    if let Some(why) = unusable {
        context.output.line(context.output.bad(&format!("no edge uses these relations: {why}")));
    }
    let shown = if after.is_some() { format!("{} of them shown, ", tuples.len()) } else { String::new() };
    context.output.line(format!("{shown}{count} tuples in all, revision {revision}, {batches} batches kept"));
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tuple_in_a_query_is_read_as_it_was_meant() {
        assert_eq!(quoted("a:1#b@c:d&e=f%"), "a%3A1%23b%40c%3Ad%26e%3Df%25");
    }
}
