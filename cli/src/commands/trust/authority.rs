//! `remit trust authority` and `certificate`: who admits connections in a mesh, and the certificates of voters and of edges
//! that do not join by a token. A certificate admits a connection; what its key may do stands in the directory (T-33).

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use remit_common::crypto::sign::PublicKey;
use remit_common::id::{EdgeId, Region, VoterId};
use remit_common::identity::certificate::BACKDATED;
use remit_common::identity::{NodeKind, NodeRole, SpiffeId, Validity, issue_ca, issue_node, svid_from_pem, to_pem};
use remit_common::limits::DOCUMENT_BYTES_MAX;
use remit_common::text;
use remit_common::time::Timestamp;
use serde_json::json;

use super::documents;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::files;

const DAY: Duration = Duration::from_secs(86_400);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: one authority for voters, whose key stays in a drawer, and one for edges, which the voters hold
  remit trust key voters-ca.key
  remit trust authority --of voters --root 1.root.json --key voters-ca.key --out voters-ca.pem
  remit trust key edges-ca.key
  remit trust authority --of edges --root 1.root.json --key edges-ca.key --out edges-ca.pem")]
pub(super) struct Authority {
    /// Whose connections it admits
    #[arg(long, value_enum)]
    of: Kind,
    /// A root of the mesh
    #[arg(long, value_name = "FILE")]
    root: PathBuf,
    /// Its key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Days for which it counts
    #[arg(long, default_value_t = 3650)]
    days: u32,
    /// Where it goes, PEM
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// Members of the control plane
    Voters,
    /// Edges
    Edges,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: voter 1; its identity is what `remit trust key` printed at its machine
  remit trust certificate --authority voters-ca.pem --key voters-ca.key --root 1.root.json --voter 1 \\
      --identity KEY --out voter-1.pem
Edges usually join by a token (`remit edge token`), and need none of this.")]
pub(super) struct Certificate {
    /// The authority, PEM
    #[arg(long, value_name = "FILE")]
    authority: PathBuf,
    /// Its key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// A root of the mesh
    #[arg(long, value_name = "FILE")]
    root: PathBuf,
    /// The voter that it names
    #[arg(long, value_name = "N", conflicts_with_all = ["edge", "region"], required_unless_present = "edge")]
    voter: Option<u64>,
    /// The edge that it names
    #[arg(long, value_name = "ID", requires = "region")]
    edge: Option<EdgeId>,
    /// The edge's region
    #[arg(long, value_name = "REGION", requires = "edge")]
    region: Option<Region>,
    /// The node's identity key: 64 hex digits
    #[arg(long, value_name = "KEY", value_parser = public_key)]
    identity: PublicKey,
    /// Days for which it counts
    #[arg(long, default_value_t = 90)]
    days: u32,
    /// Where it goes, PEM
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

fn public_key(text: &str) -> Result<PublicKey, String> {
    let bytes = text::from_hex(text).ok_or("64 hex digits, as `remit trust key` prints them")?;
    PublicKey::from_bytes(&bytes).map_err(|error| error.to_string())
}

pub(super) fn authority(args: &Authority, context: &Context) -> Result<Exit, Failure> {
    let root = documents::read_root(context, &args.root)?;
    let key = files::read_key(&context.env, &args.key)?;
    let kind = match args.of {
        Kind::Voters => NodeKind::Voter,
        Kind::Edges => NodeKind::Edge,
    };
    let validity = validity(context, args.days);
    let issued = issue_ca(&key, root.mesh_id(), kind, serial(context), validity);
    let certificate = issued.map_err(|error| Failure::caused(Exit::Failed, &error))?;
    written(context, &args.out, &to_pem(&certificate), &format!("the {kind} authority"), validity.not_after)
}

pub(super) fn certificate(args: &Certificate, context: &Context) -> Result<Exit, Failure> {
    let root = documents::read_root(context, &args.root)?;
    let key = files::read_key(&context.env, &args.key)?;
    let pem = files::read(&context.env, &args.authority, DOCUMENT_BYTES_MAX)?;
    let authority = svid_from_pem(&pem)
        .ok_or_else(|| Failure::new(Exit::Usage, format!("`{}` is no certificate in PEM", args.authority.display())))?;
    let role = match (args.voter, &args.edge, &args.region) {
        (Some(voter), ..) => NodeRole::Voter(VoterId(voter)),
        (None, Some(edge), Some(region)) => NodeRole::Edge { region: region.clone(), edge: edge.clone() },
        _ => return Err(Failure::new(Exit::Usage, "name a --voter, or an --edge and its --region".to_owned())),
    };
    let id = SpiffeId { mesh: *root.mesh_id(), role };
    let validity = validity(context, args.days);
    let issued = issue_node(&authority.as_slice().into(), &key, &id, &args.identity, serial(context), validity);
    let certificate = issued.map_err(|error| {
        Failure::caused(Exit::Failed, &error).hint("the authority and its key have to belong together")
    })?;
    written(context, &args.out, &to_pem(&certificate), &id.to_string(), validity.not_after)
}

fn validity(context: &Context, days: u32) -> Validity {
    let now = context.now();
    Validity { not_before: now.minus(BACKDATED), not_after: now.plus(DAY.saturating_mul(days)) }
}

/// Random, positive, and not zero.
fn serial(context: &Context) -> u64 {
    (u64::from_be_bytes(context.env.random()) >> 1).max(1)
}

fn written(context: &Context, out: &Path, pem: &str, what: &str, until: Timestamp) -> Result<Exit, Failure> {
    documents::write_new(context, out, pem.as_bytes())?;
    context.output.document(&json!({ "file": out, "of": what, "until": until.to_string() }));
    context.output.line(format!("made {}: {what}, until {until}", out.display()));
    Ok(Exit::Done)
}
