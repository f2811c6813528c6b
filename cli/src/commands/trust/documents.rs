//! What all of `remit trust` does with files: read a draft, trust a root, never write over anything, say how it stands.

use std::path::Path;

use remit_common::limits::{DIRECTORY_BYTES_MAX, DOCUMENT_BYTES_MAX};
use remit_common::time::Timestamp;
use remit_common::trust::TrustRefused;
use remit_common::trust::ceremony::{Content, Draft, NotSigned, Quorum};
use remit_common::trust::role::RoleContent;
use remit_common::trust::root::{Root, SignedRoot};
use serde::Serialize;

use super::changes;
use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::files;
use crate::trust::Life;

/// Reads a root or a directory, whoever has signed it.
pub(super) fn read_draft(context: &Context, path: &Path) -> Result<Draft, Failure> {
    let bytes = files::read(&context.env, path, DIRECTORY_BYTES_MAX)?;
    Draft::parse(&bytes).map_err(|error| refused_in(path, &error))
}

/// Reads a root that whoever runs the command takes at its word, as far as its own keys have signed it. Where the
/// chain begins, `remit trust show --pin` checks.
pub(super) fn read_root(context: &Context, path: &Path) -> Result<Root, Failure> {
    let bytes = files::read(&context.env, path, DOCUMENT_BYTES_MAX)?;
    let draft = Draft::parse(&bytes).map_err(|error| refused_in(path, &error))?;
    let signed = SignedRoot::parse(&bytes).map_err(|error| refused_in(path, &error))?;
    let pin = signed.digest();
    signed.verify_pinned(&pin, draft.content().mesh_id()).map_err(|error| match error {
        TrustRefused::NotVerified(_) => refused_in(path, &error)
            .hint(format!("a root counts with enough of its own signatures: `remit trust show {}`", path.display())),
        _ => refused_in(path, &error),
    })
}

/// A document does not hold.
pub(super) fn refused(error: &TrustRefused) -> Failure {
    Failure::caused(Exit::Failed, error).reason(error.reason_code())
}

/// The document in this file does not hold.
pub(super) fn refused_in(path: &Path, error: &TrustRefused) -> Failure {
    Failure::new(Exit::Failed, format!("`{}`: {error}", path.display())).reason(error.reason_code())
}

/// A signature was not added.
pub(super) fn not_signed(error: &NotSigned) -> Failure {
    Failure::caused(Exit::Failed, error).reason(error.reason_code())
}

/// Writes a file that must not be there yet: over a key or over signatures nobody writes by mistake.
pub(super) fn write_new(context: &Context, path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    if std::fs::symlink_metadata(path).is_ok() {
        return Err(Failure::new(Exit::Usage, format!("`{}` exists already", path.display()))
            .reason("exists")
            .hint("name another file, or move this one away if nothing in it is needed"));
    }
    files::write(&context.env, path, bytes)
}

/// How a document stands: what it is, and who has signed.
#[derive(Debug, Serialize)]
pub(super) struct Standing {
    file: String,
    kind: &'static str,
    mesh_id: String,
    version: u64,
    digest: String,
    /// What it is about, in a line.
    says: String,
    #[serde(flatten)]
    life: Life,
    quorums: Vec<Shown>,
    /// Whether every quorum that is known has signatures enough.
    complete: bool,
    /// What is different from the document before it.
    changes: Vec<String>,
    /// What is allowed and hardly meant.
    pub(super) warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    quorum: Quorum,
    missing: usize,
}

impl Standing {
    pub(super) fn of(path: &Path, draft: &Draft, under: Option<&Root>, changes: Vec<String>, now: Timestamp) -> Self {
        let shown = |quorum: Quorum| Shown { missing: quorum.missing(), quorum };
        let quorums: Vec<_> = draft.quorums(under).into_iter().map(shown).collect();
        let content = draft.content();
        Self {
            file: path.display().to_string(),
            kind: content.kind(),
            mesh_id: content.mesh_id().to_string(),
            version: content.version(),
            digest: draft.digest().to_string(),
            says: says(content),
            life: Life::of(content.kind(), content.expires(), now),
            complete: !quorums.is_empty() && quorums.iter().all(|shown| shown.missing == 0),
            quorums,
            changes,
            warnings: Vec::new(),
        }
    }

    pub(super) fn print(&self, context: &Context) {
        let output = &context.output;
        let head = format!("{} {} of mesh {}", self.kind, self.version, self.mesh_id);
        output.line(format!("{}  ({})", output.strong(&head), self.file));
        output.line(format!("  digest   {}", self.digest));
        output.line(format!("  says     {}", self.says));
        output.line(format!("  expires  {}", self.life.paint(context)));
        for change in &self.changes {
            output.line(format!("  change   {change}"));
        }
        for warning in &self.warnings {
            output.line(format!("  {} {warning}", output.bad("warning:")));
        }
        for Shown { quorum, missing } in &self.quorums {
            let (have, of, needed) = (quorum.signed.len(), &quorum.of, quorum.needed);
            let count = match missing {
                0 => output.good(&format!("signed by {have} of {of}, {needed} needed")),
                _ => output.bad(&format!("signed by {have} of {of}, {needed} needed: {missing} missing")),
            };
            output.line(format!("  {count}"));
            for (keys, word) in [(&quorum.signed, "signed    "), (&quorum.unsigned, "not signed")] {
                for key in keys {
                    output.line(format!("    {word}  {key}"));
                }
            }
        }
    }

    /// What comes next, in one line.
    pub(super) fn next(&self, option: &str) -> String {
        let file = &self.file;
        if self.complete && self.kind == "root" && self.version > 1 && self.quorums.len() == 1 {
            return format!(
                "{file} has enough of its own signatures; those of the root before it count with --previous"
            );
        }
        if self.complete {
            return format!(
                "{file} has all signatures: `remit trust show` verifies it, `remit trust push` installs it"
            );
        }
        format!("next: remit trust sign {file} {option}--key KEY, each at the machine where the key is")
    }
}

/// How many keys each role has and needs, or how many rows each list has.
fn says(content: &Content) -> String {
    match content {
        Content::Root(root) => {
            let of = |name: &str, role: &RoleContent| format!("{name} {} of {}", role.threshold, role.keys.len());
            let policy = root.policy.iter().map(|(tenant, role)| of(&format!("policy of {tenant}"), role));
            let roles = [of("root", &root.root), of("directory", &root.directory)].into_iter().chain(policy);
            let dev = if root.dev { "; for development" } else { "" };
            format!("{}{dev}", roles.collect::<Vec<_>>().join(", "))
        }
        Content::Directory(_) => {
            // Whatever lists there are, also those that this command does not know.
            let value = changes::value(content).unwrap_or_default();
            let lists = value.as_object().into_iter().flatten();
            let counted = lists.filter_map(|(name, list)| list.as_array().map(|rows| format!("{name} {}", rows.len())));
            counted.collect::<Vec<_>>().join(", ")
        }
    }
}
