//! `remit trust sign` and `merge`: one signature more, and signatures of copies put together.

use std::path::{Path, PathBuf};

use remit_common::trust::ceremony::{Content, Draft, NotSigned};
use remit_common::trust::root::Root;

use super::changes;
use super::documents::{self, Standing};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::files;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  remit trust sign 1.root.json --key root-1.key
  remit trust sign 2.root.json --previous 1.root.json --key root-1.key
  remit trust sign directory.json --root 2.root.json --previous old/directory.json --key directory-1.key")]
pub(super) struct Sign {
    /// The root or directory; the signature is written into it
    file: PathBuf,
    /// The signer's key; may be given more than once
    #[arg(long, value_name = "FILE", required = true)]
    key: Vec<PathBuf>,
    /// The document before it: shows what changes, and of a root, tells the keys that have to let go
    #[arg(long, value_name = "FILE")]
    previous: Option<PathBuf>,
    /// For a directory: the newest root, which says who signs directories
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: two people signed a copy each
  remit trust merge maya/1.root.json omar/1.root.json --out 1.root.json")]
pub(super) struct Merge {
    /// Copies of one document, each with signatures of its own
    #[arg(required = true, num_args = 2..)]
    files: Vec<PathBuf>,
    /// Where the document with all of them goes
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// The root before it, or for a directory the newest root: to say what is still missing
    #[arg(long, value_name = "FILE", visible_alias = "previous")]
    root: Option<PathBuf>,
}

pub(super) fn run(args: &Sign, context: &Context) -> Result<Exit, Failure> {
    let mut draft = documents::read_draft(context, &args.file)?;
    let is_root = matches!(draft.content(), Content::Root(_));
    let under_path = match (is_root, &args.root, &args.previous) {
        (true, Some(_), _) => {
            return Err(Failure::new(Exit::Usage, "`--root` is for directories")
                .hint("name the root before this one with `--previous FILE`"));
        }
        (true, None, previous) => previous.as_deref(),
        (false, Some(root), _) => Some(root.as_path()),
        (false, None, _) => {
            return Err(Failure::new(Exit::Usage, "who signs a directory stands in the root")
                .hint("name the newest root with `--root FILE`"));
        }
    };
    let under = under_path.map(|path| documents::read_root(context, path)).transpose()?;
    let before = args.previous.as_deref().map(|path| documents::read_draft(context, path)).transpose()?;
    if let Some(before) = &before {
        follows(before, &draft)?;
    }
    let changes = changes::between(before.as_ref().map(Draft::content), draft.content())?;
    // What is signed is said before it is signed, also where signing is then refused.
    let now = context.now();
    let is_first = draft.content().version() == 1;
    Standing::of(&args.file, &draft, under.as_ref(), changes.clone(), now).print(context);
    with_keys(&mut draft, &args.key, under.as_ref(), context).map_err(|failure| {
        if is_root && !is_first && under.is_none() && failure.reason.as_deref() == Some("no_part") {
            return failure.hint("a key of the root before this one signs with `--previous FILE`");
        }
        failure
    })?;
    files::write(&context.env, &args.file, &draft.to_bytes())?;
    let standing = Standing::of(&args.file, &draft, under.as_ref(), changes, now);
    context.output.document(&standing);
    context.output.line("\nsigned; now:");
    standing.print(context);
    let option = match (is_root, under_path) {
        (_, None) => String::new(),
        (true, Some(path)) => format!("--previous {} ", path.display()),
        (false, Some(path)) => format!("--root {} ", path.display()),
    };
    context.output.line(standing.next(&option));
    Ok(Exit::Done)
}

/// A document is compared with an earlier one of its kind and mesh, and with nothing else.
fn follows(before: &Draft, after: &Draft) -> Result<(), Failure> {
    let (before, after) = (before.content(), after.content());
    let refuse = |reason: &str, message: String| Err(Failure::new(Exit::Failed, message).reason(reason));
    if before.kind() != after.kind() {
        return refuse("wrong_type", format!("`--previous` is a {}, and this is a {}", before.kind(), after.kind()));
    }
    if before.mesh_id() != after.mesh_id() {
        return refuse("wrong_mesh", "`--previous` is of another mesh".to_owned());
    }
    if before.version() >= after.version() {
        let (have, offered) = (before.version(), after.version());
        return refuse("rollback", format!("version {offered} does not come after version {have} of `--previous`"));
    }
    Ok(())
}

/// Adds the signatures of these keys.
pub(super) fn with_keys(
    draft: &mut Draft,
    keys: &[PathBuf],
    under: Option<&Root>,
    context: &Context,
) -> Result<(), Failure> {
    for path in keys {
        let key = files::read_key(&context.env, path)?;
        draft.sign(&key, under, context.now()).map_err(|error| match &error {
            NotSigned::NoPart { .. } | NotSigned::Already { .. } => {
                Failure::new(Exit::Failed, format!("`{}`: {error}", path.display())).reason(error.reason_code())
            }
            _ => documents::not_signed(&error),
        })?;
    }
    Ok(())
}

pub(super) fn merge(args: &Merge, context: &Context) -> Result<Exit, Failure> {
    let mut merged: Option<Draft> = None;
    for path in &args.files {
        let copy = documents::read_draft(context, path)?;
        match &mut merged {
            None => merged = Some(copy),
            Some(merged) => {
                merged.merge(&copy).map_err(|error| documents::not_signed(&error))?;
            }
        }
    }
    let Some(merged) = merged else { return Err(Failure::new(Exit::Usage, "there is nothing to merge")) };
    let under = args.root.as_deref().map(|path: &Path| documents::read_root(context, path)).transpose()?;
    documents::write_new(context, &args.out, &merged.to_bytes())?;
    let standing = Standing::of(&args.out, &merged, under.as_ref(), Vec::new(), context.now());
    context.output.document(&standing);
    standing.print(context);
    Ok(Exit::Done)
}
