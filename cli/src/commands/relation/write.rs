//! Batches, signed here and sent; when somebody else was quicker, read and signed again.

use std::path::Path;

use remit_chaos::launcher::MeshFile;
use remit_common::crypto::sign::SigningKey;
use remit_common::id::TenantId;
use remit_common::limits::{RELATION_BATCHES_MAX, RELATION_LOG_BYTES_MAX, RELATION_TUPLES_MAX};
use remit_common::policy::relations::{Tuple, TupleKey};
use remit_common::relation_log::{BatchContent, SignedBatch};
use remit_common::time::Timestamp;
use remit_control_plane::admin::model::{RelationList, RelationsWritten};
use serde_json::json;

use super::{WriterKey, read};
use crate::admin::Admin;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::{example, files};

/// Where relations are written and read.
const PATH: &str = "/v1/relations";
/// The reason of a batch that is not the next.
const CONFLICT: &str = "revision_conflict";
/// The reason of one for which the log has no room.
const FULL: &str = "relations_full";
/// How often somebody else may be quicker.
const ATTEMPTS: u32 = 8;
/// Tuples of one batch of an import: below the bound however long they are, and so that edges have them while the next one is signed.
const IMPORT_BATCH: usize = 4_000;
/// How long ago a tuple must have ended, by the clock here, to be left out of a statement.
const ENDED_FOR_SECS: u64 = 86_400;
/// Bytes of a file of tuples.
const FILE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Whoever writes.
struct Desk {
    admin: Admin,
    tenant: TenantId,
    key: SigningKey,
}

impl Desk {
    fn of(context: &Context, mesh: &MeshFile, key: &WriterKey) -> Result<Self, Failure> {
        let path = key.key.as_ref().or(mesh.keys.relations.as_ref()).ok_or_else(|| {
            Failure::new(Exit::Usage, "this mesh has no key for relations")
                .hint("name a key with --key FILE that `[[writer]]` in the bundle's relations.toml lists")
        })?;
        let key = files::read_key(&context.env, path)?;
        Ok(Self { admin: Admin::new(context, mesh)?, tenant: mesh.tenant.clone(), key })
    }

    /// Sends what `make` says to the newest revision, again as long as another writer is quicker.
    async fn write(
        &self,
        mut make: impl AsyncFnMut(&Self) -> Result<BatchContent, Failure>,
    ) -> Result<RelationsWritten, Failure> {
        let mut attempts = 1;
        loop {
            let signed = make(self).await?.sign(&self.key);
            let signed: SignedBatch =
                signed.map_err(|error| Failure::caused(Exit::Failed, &error).reason(error.reason_code()))?;
            match self.admin.post_as(&self.key, PATH, signed.bytes().to_vec()).await {
                Err(failure) if failure.reason.as_deref() == Some(CONFLICT) && attempts < ATTEMPTS => attempts += 1,
                done => return done,
            }
        }
    }

    fn change_after(&self, head: &RelationList, add: Vec<Tuple>, remove: Vec<TupleKey>) -> BatchContent {
        BatchContent::change(head.mesh_id, self.tenant.clone(), next(head), add, remove)
    }
}

fn next(head: &RelationList) -> (u64, remit_common::crypto::digest::Digest) {
    (head.revision.saturating_add(1), head.digest)
}

fn tell(context: &Context, written: &RelationsWritten) {
    context.output.document(written);
    let RelationsWritten { revision, added, removed, tuples, .. } = written;
    context.output.line(format!("revision {revision}: {added} added, {removed} removed, {tuples} tuples hold"));
}

pub(super) async fn change(
    context: &Context,
    key: &WriterKey,
    add: Vec<Tuple>,
    remove: Vec<TupleKey>,
) -> Result<Exit, Failure> {
    let mesh = context.mesh()?;
    let desk = Desk::of(context, &mesh, key)?;
    let written = match changed(&desk, &add, &remove).await {
        // Whoever filled the log keeps nobody from removing: the whole set, stated anew, lets go of what filled it.
        Err(failure) if failure.reason.as_deref() == Some(FULL) => {
            desk.state_anew(context, &mesh, false).await?;
            changed(&desk, &add, &remove).await?
        }
        written => written?,
    };
    tell(context, &written);
    desk.compact_if_full(context, &mesh).await;
    Ok(Exit::Done)
}

pub(super) async fn write_tuples(
    context: &Context,
    mesh: &MeshFile,
    add: Vec<Tuple>,
    remove: Vec<TupleKey>,
) -> Result<RelationsWritten, Failure> {
    changed(&Desk::of(context, mesh, &WriterKey { key: None })?, &add, &remove).await
}

async fn changed(desk: &Desk, add: &[Tuple], remove: &[TupleKey]) -> Result<RelationsWritten, Failure> {
    let written = desk.write(async |desk| {
        let head = read::head(&desk.admin, &desk.tenant).await?;
        Ok(desk.change_after(&head, add.to_vec(), remove.to_vec()))
    });
    written.await
}

pub(super) async fn seed(context: &Context, mesh: &MeshFile) -> Result<(), Failure> {
    let Some(text) = example::tuples(&context.env, &mesh.example)? else { return Ok(()) };
    let tuples = tuples_of(&text, "tuples.txt")?;
    write_tuples(context, mesh, tuples, Vec::new()).await.map(drop)
}

pub(super) async fn import(context: &Context, key: &WriterKey, file: &Path, replace: bool) -> Result<Exit, Failure> {
    let tuples = tuples_of(&read_text(context, file)?, &file.display().to_string())?;
    let mesh = context.mesh()?;
    let desk = Desk::of(context, &mesh, key)?;
    let bar = context.output.progress("importing");
    if replace {
        let written = desk
            .write(async |desk| {
                let head = read::head(&desk.admin, &desk.tenant).await?;
                Ok(BatchContent::statement(head.mesh_id, desk.tenant.clone(), next(&head), tuples.clone()))
            })
            .await?;
        bar.finish_and_clear();
        tell(context, &written);
        return Ok(Exit::Done);
    }
    let (mut done, mut last) = (0usize, None);
    for chunk in tuples.chunks(IMPORT_BATCH) {
        let written = desk
            .write(async |desk| {
                let head = read::head(&desk.admin, &desk.tenant).await?;
                Ok(desk.change_after(&head, chunk.to_vec(), Vec::new()))
            })
            .await
            .map_err(|failure| {
                let hint = format!("{done} of {} tuples were taken before; a second import states them again, also what was removed since", tuples.len());
                failure.hint(hint)
            })?;
        done += chunk.len();
        desk.compact_if_full(context, &mesh).await;
        bar.set_message(format!("importing: {done} of {} tuples", tuples.len()));
        last = Some(written);
    }
    bar.finish_and_clear();
    let written = last.ok_or_else(|| Failure::new(Exit::Failed, format!("`{}` has no tuples", file.display())))?;
    context.output.document(&json!({ "imported": done, "revision": written.revision, "tuples": written.tuples }));
    context.output.line(format!("{done} tuples imported, revision {}", written.revision));
    Ok(Exit::Done)
}

/// What is signed here is what the writers signed: a voter that adds a tuple of its own does not get it vouched for.
pub(super) async fn compact(context: &Context, key: &WriterKey, unproven: bool) -> Result<Exit, Failure> {
    let mesh = context.mesh()?;
    let desk = Desk::of(context, &mesh, key)?;
    let bar = context.output.progress("stating the whole set anew");
    let written = desk.state_anew(context, &mesh, unproven).await?;
    bar.finish_and_clear();
    tell(context, &written);
    Ok(Exit::Done)
}

impl Desk {
    async fn state_anew(
        &self,
        context: &Context,
        mesh: &MeshFile,
        unproven: bool,
    ) -> Result<RelationsWritten, Failure> {
        // A clock that is ahead must not take away what still holds.
        let now = Timestamp::from_secs(context.now().as_secs().saturating_sub(ENDED_FOR_SECS));
        self.write(async |desk| {
            let (next, tuples) = if unproven {
                let (head, tuples) = read::all(&desk.admin, &desk.tenant).await?;
                (next(&head), tuples)
            } else {
                let log = read::proven(context, &desk.admin, mesh).await?.log;
                ((log.head().revision.saturating_add(1), log.head().digest), log.live().to_tuples())
            };
            let live = tuples.into_iter().filter(|tuple| tuple.is_live(now)).collect();
            Ok(BatchContent::statement(mesh.mesh_id, desk.tenant.clone(), next, live))
        })
        .await
    }

    /// States the whole set anew when the log is three quarters full, so that writing never comes to a halt. What was
    /// written holds, whatever becomes of this.
    async fn compact_if_full(&self, context: &Context, mesh: &MeshFile) {
        let is_full = async {
            let head = read::head(&self.admin, &self.tenant).await?;
            let reaches = |used: u64, max: usize| used >= u64::try_from(max / 4 * 3).unwrap_or(u64::MAX);
            Ok::<_, Failure>(
                reaches(head.batches, RELATION_BATCHES_MAX) || reaches(head.batch_bytes, RELATION_LOG_BYTES_MAX),
            )
        };
        let stated = match is_full.await {
            Ok(false) => return,
            Ok(true) => self.state_anew(context, mesh, false).await,
            Err(failure) => Err(failure),
        };
        match stated {
            Ok(written) => {
                let RelationsWritten { revision, tuples, .. } = written;
                context
                    .output
                    .line(format!("revision {revision}: the log was nearly full; {tuples} tuples stated anew"));
            }
            Err(failure) => {
                tracing::warn!(error = %failure.message, "the log is nearly full and could not be compacted")
            }
        }
    }
}

fn read_text(context: &Context, file: &Path) -> Result<String, Failure> {
    let shown = file.display();
    let read = context.env.disk.read(file, FILE_BYTES_MAX);
    let bytes = read
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot read `{shown}`: {error}")))?
        .ok_or_else(|| Failure::new(Exit::Failed, format!("there is no file `{shown}`")))?;
    String::from_utf8(bytes).map_err(|_| Failure::new(Exit::Failed, format!("`{shown}` is not text")))
}

/// One tuple a line; empty lines, and lines that begin with `#`, say nothing.
fn tuples_of(text: &str, name: &str) -> Result<Vec<Tuple>, Failure> {
    let mut tuples: std::collections::BTreeMap<TupleKey, Tuple> = std::collections::BTreeMap::new();
    for (number, line) in (1u32..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let tuple: Tuple =
            line.parse().map_err(|error| Failure::new(Exit::Failed, format!("{name}:{number}: {error}")))?;
        if tuples.insert(tuple.key.clone(), tuple).is_some() {
            return Err(Failure::new(Exit::Failed, format!("{name}:{number}: the tuple stands in the file twice")));
        }
        if tuples.len() > RELATION_TUPLES_MAX {
            return Err(Failure::new(
                Exit::Failed,
                format!("{name}: a tenant has at most {RELATION_TUPLES_MAX} tuples"),
            ));
        }
    }
    Ok(tuples.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_tuples_is_read_line_by_line_and_says_where_it_is_wrong() {
        let text = "# owners\n\ncontract:1#account_owner@user:a\n  contract:2#account_owner@user:b until 7\n";
        let tuples = tuples_of(text, "t").unwrap();
        assert_eq!(tuples.len(), 2);
        assert_eq!(tuples.iter().filter(|tuple| tuple.expires.is_some()).count(), 1);
        for (text, at) in [("\nnothing", "t:2:"), ("a:1#b@c:d\na:1#b@c:d", "t:2:")] {
            assert!(tuples_of(text, "t").unwrap_err().message.starts_with(at), "{text}");
        }
    }
}
