//! `remit trust init` and `rotate`: a root from a description.

use std::path::{Path, PathBuf};

use remit_common::id::MeshId;
use remit_common::trust::ceremony::{Content, Draft};
use remit_common::trust::root::Root;

use super::documents::{self, Standing};
use super::{changes, description::RootDescription, sign};
use crate::context::Context;
use crate::failure::{Exit, Failure};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: mesh.toml
  expires_days = 365                    # at most 366
  dev = false                           # true allows a threshold of one
  [root]
  threshold = 3
  keys = [\"64 hex digits\", \"...\"]       # what `remit trust key` prints as `key`
  [directory]
  threshold = 2
  keys = [\"...\"]
  [policy.acme]                         # one table for each tenant
  threshold = 2
  keys = [\"...\"]
  [bounds_max]                          # optional, seconds
  read = 3600
Example:
  remit trust init mesh.toml --out 1.root.json --key root-1.key")]
pub(super) struct Init {
    /// What the root is to say
    description: PathBuf,
    /// Where the root goes
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Sign it with this root key at once; may be given more than once
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: two root keys are replaced; 3 of the old five sign, and 3 of the new five
  remit trust rotate 1.root.json mesh.toml --out 2.root.json
  remit trust sign 2.root.json --previous 1.root.json --key root-1.key")]
pub(super) struct Rotate {
    /// The newest root
    old: PathBuf,
    /// What the next one is to say
    description: PathBuf,
    /// Where it goes
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Sign it with this key, of the old root or of the new, at once; may be given more than once
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
}

pub(super) fn init(args: &Init, context: &Context) -> Result<Exit, Failure> {
    let description = RootDescription::read(context, &args.description)?;
    let mesh = description.mesh_id.unwrap_or_else(|| MeshId(context.env.random()));
    let draft =
        Draft::root(&description.content(mesh, 1, context.now())).map_err(|error| documents::refused(&error))?;
    finish(draft, None, &args.key, &args.out, context)
}

pub(super) fn rotate(args: &Rotate, context: &Context) -> Result<Exit, Failure> {
    let old = documents::read_root(context, &args.old)?;
    let description = RootDescription::read(context, &args.description)?;
    let mesh = *old.mesh_id();
    if description.mesh_id.is_some_and(|described| described != mesh) {
        let message = format!("the description is of another mesh than `{}`, which is of {mesh}", args.old.display());
        return Err(Failure::new(Exit::Failed, message).reason("wrong_mesh"));
    }
    let version = old.version().saturating_add(1);
    let content = description.content(mesh, version, context.now());
    let draft = Draft::root(&content).map_err(|error| documents::refused(&error))?;
    finish(draft, Some((&args.old, &old)), &args.key, &args.out, context)
}

fn finish(
    mut draft: Draft,
    old: Option<(&Path, &Root)>,
    keys: &[PathBuf],
    out: &Path,
    context: &Context,
) -> Result<Exit, Failure> {
    let under = old.map(|(_, root)| root);
    draft.check(under, context.now()).map_err(|error| documents::refused(&error))?;
    let before = under.map(|root| Content::Root(Box::new(root.content().clone())));
    let changes = changes::between(before.as_ref(), draft.content())?;
    sign::with_keys(&mut draft, keys, under, context)?;
    documents::write_new(context, out, &draft.to_bytes())?;
    let standing = Standing::of(out, &draft, under, changes, context.now());
    context.output.document(&standing);
    standing.print(context);
    let option = old.map_or_else(String::new, |(path, _)| format!("--previous {} ", path.display()));
    context.output.line(standing.next(&option));
    Ok(Exit::Done)
}
