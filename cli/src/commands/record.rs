//! `remit record`: whether the records of what was decided are whole and unchanged.
//!
//! Nothing that a voter says is believed: the root is the one that this mesh was installed with, the directory has to
//! be signed under it, and from there on hashes and signatures decide. What was checked can be kept as a file that
//! anybody with the same root can check again, without a network (U-4).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use remit_common::id::{EdgeId, MeshId};
use remit_common::limits::DOCUMENT_BYTES_MAX;
use remit_common::record::{Audit, AuditFault, EdgeAudit, Record};
use remit_common::text;
use remit_common::time::Timestamp;
use remit_common::trust::directory::{Directory, SignedDirectory};
use remit_common::trust::root::SignedRoot;
use remit_control_plane::admin::model::StoredRecords;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use crate::admin::Admin;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::{files, trust};

/// Bytes of one file of records: some millions of them.
const FILE_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// Pages that one voter is asked for: a voter that never comes to an end is not waited for.
const PAGES_MAX: usize = 100_000;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  remit record verify --save records.jsonl
  remit record verify records.jsonl --root root.json")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Check chains, gaps and signatures: of the voters' stores, or of files that were kept
    Verify(VerifyArgs),
}

#[derive(Debug, clap::Args)]
struct VerifyArgs {
    /// Files that `--save` wrote; without any, every voter of the mesh is asked
    files: Vec<PathBuf>,
    /// Keep what the voters gave, for checking it again without them
    #[arg(long, value_name = "FILE", conflicts_with = "files")]
    save: Option<PathBuf>,
    /// The mesh's first root, from a source that is trusted [default: that of the mesh file]
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    match &args.verb {
        Verb::Verify(args) if args.files.is_empty() => of_mesh(args, context).await,
        Verb::Verify(args) => of_files(args, context),
    }
}

/// The first line of a file of records (U-4).
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header<'a> {
    v: u8,
    mesh_id: MeshId,
    saved: Timestamp,
    #[serde(borrow)]
    roots: Vec<&'a RawValue>,
    #[serde(borrow)]
    directory: &'a RawValue,
}

/// What is checked, and what stood in the way.
struct Checking {
    audit: Audit,
    directory: Directory,
    malformed: u64,
}

impl Checking {
    fn new(mesh: MeshId, directory: Directory) -> Self {
        Self { audit: Audit::new(mesh), directory, malformed: 0 }
    }

    fn take(&mut self, base64: &str) {
        let record = text::from_base64(base64).and_then(|bytes| Record::parse(&bytes).ok());
        let Some(record) = record else {
            self.malformed += 1;
            return;
        };
        let identity = self.directory.edge(&record.public().edge).map(|edge| edge.identity);
        self.audit.take(&record, identity.as_ref());
    }
}

async fn of_mesh(args: &VerifyArgs, context: &Context) -> Result<Exit, Failure> {
    let mesh = context.mesh()?;
    let admin = Admin::new(context, &mesh)?;
    let published = trust::published(&mesh).await?;
    let (_, directory) = trust::verified(context, &mesh, &published)?;
    let mut checking = Checking::new(mesh.mesh_id, directory);
    let mut kept = args.save.as_ref().map(|_| Vec::<String>::new());
    let progress = context.output.progress("reading records");
    let mut silent = Vec::new();
    for voter in &mesh.voters {
        let mut after = 0;
        for _ in 0..PAGES_MAX {
            let path = format!("/v1/records?after={after}&limit=200");
            let page = match admin.get_from::<StoredRecords>(&voter.admin, &path).await {
                Ok(page) => page,
                Err(failure) => {
                    silent.push(format!("voter {}: {}", voter.id, failure.message));
                    break;
                }
            };
            page.records.iter().for_each(|record| checking.take(record));
            kept.iter_mut().for_each(|kept| kept.extend_from_slice(&page.records));
            progress.set_message(format!("voter {}: {} records", voter.id, page.last));
            if page.records.is_empty() || page.last <= after {
                break;
            }
            after = page.last;
        }
    }
    progress.finish_and_clear();
    if silent.len() == mesh.voters.len() {
        let message = format!("no voter gives its records ({})", silent.join("; "));
        return Err(Failure::new(Exit::Unreachable, message).hint("`remit status` shows which voters run"));
    }
    if let (Some(path), Some(mut records)) = (&args.save, kept) {
        records.sort_unstable();
        records.dedup();
        save(context, path, mesh.mesh_id, &published, &records)?;
    }
    Ok(tell(context, checking, &silent))
}

fn save(context: &Context, path: &Path, mesh_id: MeshId, published: &[u8], records: &[String]) -> Result<(), Failure> {
    let malformed = |error: serde_json::Error| Failure::new(Exit::Failed, format!("the edge's directory: {error}"));
    let documents: trust::Published<'_> = serde_json::from_slice(published).map_err(malformed)?;
    let (roots, directory) = (documents.roots, documents.directory);
    let header = Header { v: 1, mesh_id, saved: context.now(), roots, directory };
    let mut file = serde_json::to_vec(&header).map_err(malformed)?;
    for record in records {
        file.push(b'\n');
        file.extend_from_slice(record.as_bytes());
    }
    file.push(b'\n');
    files::write(&context.env, path, &file)
}

fn of_files(args: &VerifyArgs, context: &Context) -> Result<Exit, Failure> {
    let root = match &args.root {
        Some(path) => path.clone(),
        None => context.mesh().map_err(|failure| failure.hint("name the mesh's first root with --root FILE"))?.root,
    };
    let root = files::read(&context.env, &root, DOCUMENT_BYTES_MAX)?;
    let mut checking: Option<(MeshId, Checking)> = None;
    for path in &args.files {
        let file = files::read_text(&context.env, path, FILE_BYTES_MAX)?;
        let mut lines = file.lines();
        let refused = |why: String| Failure::new(Exit::Fault, format!("`{}` is not usable: {why}", path.display()));
        let header: Header<'_> = serde_json::from_str(lines.next().unwrap_or_default())
            .map_err(|error| refused(format!("its first line is not that of a file of records: {error}")))?;
        let directory = verify_header(&root, &header).map_err(refused)?;
        let (mesh, checking) =
            checking.get_or_insert_with(|| (header.mesh_id, Checking::new(header.mesh_id, directory.clone())));
        if *mesh != header.mesh_id {
            return Err(refused("it is of another mesh than the file before".to_owned()));
        }
        if directory.version() > checking.directory.version() {
            checking.directory = directory;
        }
        lines.filter(|line| !line.is_empty()).for_each(|line| checking.take(line));
    }
    let (_, checking) = checking.ok_or_else(|| Failure::new(Exit::Usage, "no file was named"))?;
    Ok(tell(context, checking, &[]))
}

/// The directory of a file, under the root that the caller trusts. The file says when it was made: who checks an old
/// one wants to know what held then.
fn verify_header(root: &[u8], header: &Header<'_>) -> Result<Directory, String> {
    if header.v != 1 {
        return Err(format!("version {} is not known to this version", header.v));
    }
    let why = |error: &dyn std::error::Error| error.to_string();
    let first = SignedRoot::parse(root).map_err(|error| why(&error))?;
    let pin = first.digest();
    let mut root = first.verify_pinned(&pin, &header.mesh_id).map_err(|error| why(&error))?;
    for next in &header.roots {
        let next = SignedRoot::parse(next.get().as_bytes()).map_err(|error| why(&error))?;
        if next.digest() != *root.digest() {
            root = next.verify_next(&root).map_err(|error| why(&error))?;
        }
    }
    let directory = SignedDirectory::parse(header.directory.get().as_bytes()).map_err(|error| why(&error))?;
    directory.verify(&root, header.saved).map_err(|error| why(&error))
}

/// Says what was found. A fault is exit 4, and so is a heap of nothing: it proves nothing.
fn tell(context: &Context, checking: Checking, silent: &[String]) -> Exit {
    let Checking { audit, malformed, directory: _ } = checking;
    let edges: BTreeMap<EdgeId, EdgeAudit> = audit.finish();
    let records: u64 = edges.values().map(|edge| edge.records).sum();
    let faults: usize = edges.values().map(|edge| edge.faults.len()).sum();
    let ok = faults == 0 && malformed == 0;
    context.output.document(&json!({
        "ok": ok, "records": records, "malformed": malformed, "edges": edges, "unreachable": silent,
    }));
    let output = &context.output;
    let row = |(id, edge): (&EdgeId, &EdgeAudit)| {
        let lost: u64 = edge.gaps.iter().filter_map(|gap| gap.records).sum();
        let state = if edge.faults.is_empty() { "whole".to_owned() } else { format!("{} faults", edge.faults.len()) };
        [
            id.to_string(),
            edge.records.to_string(),
            edge.boots.to_string(),
            edge.gaps.len().to_string(),
            lost.to_string(),
            state,
        ]
    };
    output.table(["edge", "records", "starts", "signed gaps", "lost", ""], edges.iter().map(row));
    for (id, edge) in &edges {
        for gap in &edge.gaps {
            let lost = gap.records.map_or_else(|| "nobody can tell how many".to_owned(), |records| records.to_string());
            output.line(format!(
                "{id}: record {} of boot {}: the edge has signed for a loss ({}): {lost}",
                gap.seq, gap.boot, gap.cause
            ));
        }
        for fault in &edge.faults {
            output.line(output.bad(&format!("{id}: {}", describe(fault))));
        }
    }
    if malformed > 0 {
        output.line(output.bad(&format!("{malformed} lines are no records")));
    }
    for voter in silent {
        output.line(format!("{} ({voter})", output.bad("not read")));
    }
    if records == 0 {
        output.line("there are no records: nothing was proven");
        return if ok { Exit::Vacuous } else { Exit::Fault };
    }
    if ok {
        output.line(
            output.good("nothing is missing, nothing was changed; what is missing at the end of a chain does not show"),
        );
        return Exit::Done;
    }
    Exit::Fault
}

fn describe(fault: &AuditFault) -> String {
    match fault {
        AuditFault::UnknownEdge => {
            "the directory does not list this edge, so its signatures cannot be checked".to_owned()
        }
        AuditFault::Missing { boot, from, to } if from == to => {
            format!("record {from} of boot {boot} is missing, and nobody has signed for that")
        }
        AuditFault::Missing { boot, from, to } => {
            format!("records {from} to {to} of boot {boot} are missing, and nobody has signed for that")
        }
        AuditFault::TwoStories { boot, seq } => format!("there are two records {seq} of boot {boot}"),
        AuditFault::BrokenLink { boot, seq } => {
            format!("record {seq} of boot {boot} does not name the one before it: one of the two was changed")
        }
        AuditFault::MissingBefore { boot, prev } => format!("boot {boot} continues record {prev}, which is missing"),
        AuditFault::Branch { boot, prev } => format!(
            "boot {boot} continues record {prev}, which something else continues, too: was the disk restored, or did the edge run twice?"
        ),
        AuditFault::UnsignedGap { boot, seq } => {
            format!("record {seq} of boot {boot} says that something was lost, and the edge has not signed it")
        }
        AuditFault::More => "there are more faults than are listed".to_owned(),
    }
}
