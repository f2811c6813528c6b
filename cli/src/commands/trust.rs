//! `remit trust`: what a mesh hangs on, made and signed by people at their own machines.
//!
//! Root and directory go from hand to hand as files, each signer adding one signature with a key that stays where it
//! is. No mesh is needed for any of it but `push`. Clauses T-15 to T-19 and U-15 to U-18, docs/PROTOCOL.md.

mod authority;
mod changes;
mod description;
mod directory;
mod documents;
mod make;
mod offline;
mod push;
mod show;
mod sign;

use std::path::{Path, PathBuf};

use clap::Subcommand;
use remit_common::crypto::key_file;
use remit_common::crypto::sign::SigningKey;
use remit_common::text;
use serde_json::json;
use zeroize::Zeroizing;

use crate::context::Context;
use crate::failure::{Exit, Failure};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example: a new mesh, five people with a root key each
  remit trust key root-1.key                                     # each at their own machine; hand on what it prints
  remit trust init mesh.toml --out 1.root.json                   # one of them writes the first root
  remit trust sign 1.root.json --key root-1.key                  # then it goes from hand to hand
  remit trust directory rows.toml --root 1.root.json --out directory.json
  remit trust sign directory.json --root 1.root.json --key directory-1.key
  remit trust show 1.root.json directory.json --pin DIGEST
Example: two of the five leave
  remit trust rotate 1.root.json mesh.toml --out 2.root.json
  remit trust sign 2.root.json --previous 1.root.json --key root-1.key
  remit trust push 2.root.json directory.json")]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a signing key, and print what others are told of it
    Key {
        /// Where it goes; nothing that is there is overwritten
        file: PathBuf,
    },
    /// Make the first root of a mesh from a description
    Init(make::Init),
    /// Make the next root: one version higher, same mesh
    Rotate(make::Rotate),
    /// Make a directory, or the next one
    Directory(directory::Args),
    /// Add one signature, after saying what is signed
    Sign(sign::Sign),
    /// Put signatures together that were made on copies
    Merge(sign::Merge),
    /// Verify roots and directories from the first root on, and say what is missing or ends soon
    Show(show::Args),
    /// Let calls go on at edges that no voter can reach, for so long
    Offline(offline::Args),
    /// Make the authority that admits connections of voters or of edges
    Authority(authority::Authority),
    /// Issue a voter's certificate, or that of an edge that does not join by a token
    Certificate(authority::Certificate),
    /// Install roots and a directory at the control plane
    Push(push::Args),
}

pub(super) async fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    match &args.verb {
        Verb::Key { file } => key(file, context),
        Verb::Init(args) => make::init(args, context),
        Verb::Rotate(args) => make::rotate(args, context),
        Verb::Directory(args) => directory::run(args, context),
        Verb::Sign(args) => sign::run(args, context),
        Verb::Merge(args) => sign::merge(args, context),
        Verb::Show(args) => show::run(args, context),
        Verb::Offline(args) => offline::run(args, context),
        Verb::Authority(args) => authority::authority(args, context),
        Verb::Certificate(args) => authority::certificate(args, context),
        Verb::Push(args) => push::run(args, context).await,
    }
}

fn key(file: &Path, context: &Context) -> Result<Exit, Failure> {
    let key = SigningKey::from_seed(Zeroizing::new(context.env.random()))
        .map_err(|fault| Failure::caused(Exit::Failed, &fault))?;
    documents::write_new(context, file, key_file::encode_signing(&key).as_bytes())?;
    let (public, id) = (key.public(), key.public().id());
    context.output.document(&json!({ "file": file, "key": public, "key_id": id }));
    context.output.line(format!("made {}, which stays on this machine", file.display()));
    context.output.line(format!("key     {}", text::hex(public.as_bytes())));
    context.output.line(format!("key id  {id}"));
    Ok(Exit::Done)
}
