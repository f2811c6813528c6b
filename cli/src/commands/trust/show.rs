//! `remit trust show`: a chain of roots and a directory, verified as voters and edges would.

use std::path::{Path, PathBuf};

use remit_common::crypto::digest::Digest;
use remit_common::limits::DIRECTORY_BYTES_MAX;
use remit_common::trust::TrustRefused;
use remit_common::trust::ceremony::{Content, Draft};
use remit_common::trust::directory::{Directory, SignedDirectory};
use remit_common::trust::root::{Root, SignedRoot};
use serde::Serialize;

use super::changes;
use super::documents::{self, Standing};
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::files;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  remit trust show 1.root.json 2.root.json directory.json --pin DIGEST
  remit trust show 2.root.json --json | jq '.documents[].quorums'
Exit code 4: something does not hold, or is not signed by enough.")]
pub(super) struct Args {
    /// Roots and directories, in any order
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// The digest of the first root, as the mesh was installed with it; without it the first root is taken at its word
    #[arg(long, value_name = "DIGEST")]
    pin: Option<Digest>,
}

#[derive(Serialize)]
struct Answer {
    ok: bool,
    /// Whether the first root was held against a digest from elsewhere.
    pinned: bool,
    documents: Vec<Shown>,
}

#[derive(Serialize)]
struct Shown {
    #[serde(flatten)]
    standing: Standing,
    /// Why it does not hold.
    refused: Option<Fault>,
}

#[derive(Serialize)]
struct Fault {
    reason: &'static str,
    message: String,
}

/// What the documents so far have led to.
#[derive(Default)]
struct Way {
    root: Option<Root>,
    /// Whether there was a first root, be it that it held or not.
    begun: bool,
    directory: Option<Directory>,
    last: Option<Content>,
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    let mut drafts = Vec::with_capacity(args.files.len());
    for path in &args.files {
        let bytes = files::read(&context.env, path, DIRECTORY_BYTES_MAX)?;
        let draft = Draft::parse(&bytes).map_err(|error| {
            let failure = documents::refused_in(path, &error);
            Failure { exit: Exit::Fault, ..failure }
        })?;
        drafts.push((path, bytes, draft));
    }
    drafts.sort_by_key(|(_, _, draft)| (draft.content().kind() == "directory", draft.content().version()));
    let newest = drafts.iter().rposition(|(_, _, draft)| draft.content().kind() == "root");
    let mut way = Way::default();
    let mut shown = Vec::with_capacity(drafts.len());
    for (index, (path, bytes, draft)) in drafts.iter().enumerate() {
        shown.push(way.take(path, bytes, draft, args.pin.as_ref(), newest == Some(index), context)?);
    }
    let ok = shown.iter().all(|shown| shown.refused.is_none());
    let answer = Answer { ok, pinned: args.pin.is_some(), documents: shown };
    context.output.document(&answer);
    print(context, &answer);
    Ok(if ok { Exit::Done } else { Exit::Fault })
}

impl Way {
    /// Judges one more document; the next one is judged by it, if it holds.
    fn take(
        &mut self,
        path: &Path,
        bytes: &[u8],
        draft: &Draft,
        pin: Option<&Digest>,
        is_newest_root: bool,
        context: &Context,
    ) -> Result<Shown, Failure> {
        let under = self.root.clone();
        let same_kind = self.last.take().filter(|last| last.kind() == draft.content().kind());
        let changes = changes::between(same_kind.as_ref(), draft.content())?;
        let verdict = match draft.content() {
            Content::Root(_) => self.root(bytes, draft, pin, is_newest_root, context),
            Content::Directory(_) => self.directory(bytes, context),
        };
        self.last = Some(draft.content().clone());
        let standing = Standing::of(path, draft, under.as_ref(), changes, context.now());
        let refused = verdict.err().map(|error| Fault { reason: error.reason_code(), message: error.to_string() });
        Ok(Shown { standing, refused })
    }

    fn root(
        &mut self,
        bytes: &[u8],
        draft: &Draft,
        pin: Option<&Digest>,
        is_newest: bool,
        context: &Context,
    ) -> Result<(), TrustRefused> {
        let signed = SignedRoot::parse(bytes)?;
        let begun = std::mem::replace(&mut self.begun, true);
        let rule = "no root before it holds";
        let root = match &self.root {
            Some(previous) => signed.verify_next(previous)?,
            None if begun => return Err(TrustRefused::BadEntry { what: "root".to_owned(), rule }),
            None => signed.verify_pinned(pin.unwrap_or(&draft.digest()), draft.content().mesh_id())?,
        };
        // One that has ended still leads to its successor, and to nothing else.
        let counts = if is_newest { root.check_time(context.now()) } else { Ok(()) };
        self.root = Some(root);
        counts
    }

    fn directory(&mut self, bytes: &[u8], context: &Context) -> Result<(), TrustRefused> {
        let rule = "no root that holds is there to vouch for it";
        let root = self.root.as_ref().ok_or(TrustRefused::BadEntry { what: "directory".to_owned(), rule })?;
        let directory = SignedDirectory::parse(bytes)?.verify(root, context.now())?;
        if let Some(previous) = &self.directory {
            directory.check_succeeds(previous)?;
        }
        self.directory = Some(directory);
        Ok(())
    }
}

fn print(context: &Context, answer: &Answer) {
    let output = &context.output;
    for Shown { standing, refused } in &answer.documents {
        standing.print(context);
        match refused {
            None => output.line(format!("  {}", output.good("it holds"))),
            Some(fault) => output.line(format!("  {} {}", output.bad("it does not hold:"), fault.message)),
        }
        output.line("");
    }
    if !answer.pinned {
        output.line("the first root was taken at its word: compare its digest, or name it with --pin DIGEST");
    }
}
