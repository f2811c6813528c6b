//! `remit relation`: who stands in which relation to what, changed without a bundle.

mod check;
mod read;
mod write;

pub(in crate::commands) use read::batches;

use std::path::PathBuf;

use clap::Subcommand;
use remit_chaos::launcher::MeshFile;
use remit_common::policy::relations::{Tuple, TupleKey};
use remit_control_plane::admin::model::RelationsWritten;

use crate::context::Context;
use crate::failure::{Exit, Failure};

/// Writes the tuples that the story of this mesh begins with, if it has any.
pub(crate) async fn seed(context: &Context, mesh: &MeshFile) -> Result<(), Failure> {
    write::seed(context, mesh).await
}

/// Adds and takes away tuples, signed with this mesh's own key.
pub(crate) async fn write_tuples(
    context: &Context,
    mesh: &MeshFile,
    add: Vec<Tuple>,
    remove: Vec<TupleKey>,
) -> Result<RelationsWritten, Failure> {
    write::write_tuples(context, mesh, add, remove).await
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  remit relation add contract:contract_7781#assigned_manager@user:maya@customer-success.example
  remit relation check contract:contract_7781#assigned_manager@user:maya@customer-success.example
  remit relation ls --object contract:contract_7781
  remit relation rm contract:contract_7781#assigned_manager@user:maya@customer-success.example
  remit relation import tuples.txt

A tuple is `object#relation@subject`; the subject is `type:id`, `type:id#relation` or `type:*`. One with an end is
quoted: 'case:renewal-7781#participant@user:otto until 1800000000' (seconds since the Unix epoch). A write prints its
revision: a caller that asks an edge with `Remit-Relations-At-Least: REVISION` is judged by no older one.")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Add tuples; one that is there already has the new end
    Add {
        /// The tuples
        #[arg(required = true, value_name = "TUPLE")]
        tuples: Vec<Tuple>,
        #[command(flatten)]
        key: WriterKey,
    },
    /// Take tuples away
    Rm {
        /// The tuples, without their ends
        #[arg(required = true, value_name = "TUPLE")]
        tuples: Vec<TupleKey>,
        #[command(flatten)]
        key: WriterKey,
    },
    /// Ask whether somebody stands in a relation, by the model and tuples that edges use, and say why
    Check(check::Question),
    /// Show the tuples that hold
    Ls(read::Wanted),
    /// Add the tuples of a file: one a line, `#` at the beginning of a line for comments
    Import {
        /// The file
        file: PathBuf,
        /// Make these the whole set: every other tuple goes
        #[arg(long)]
        replace: bool,
        #[command(flatten)]
        key: WriterKey,
    },
    /// State the whole set anew, without what has expired, so that the batches before it need not be kept
    Compact {
        /// Take the voter's word for what holds: after a writer was dropped, nobody can prove it any more
        #[arg(long)]
        unproven: bool,
        #[command(flatten)]
        key: WriterKey,
    },
}

/// Who signs.
#[derive(Debug, clap::Args)]
struct WriterKey {
    /// A key that the active bundle's relations.toml names as a writer [default: the mesh's own]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    match &args.verb {
        Verb::Add { tuples, key } => write::change(context, key, tuples.clone(), Vec::new()).await,
        Verb::Rm { tuples, key } => write::change(context, key, Vec::new(), tuples.clone()).await,
        Verb::Check(question) => check::run(context, question).await,
        Verb::Ls(wanted) => read::list(context, wanted).await,
        Verb::Import { file, replace, key } => write::import(context, key, file, *replace).await,
        Verb::Compact { unproven, key } => write::compact(context, key, *unproven).await,
    }
}
