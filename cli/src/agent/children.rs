//! Hands a part of the envelope on to another agent.
//!
//! The sidecar signs the link; the key of the child is either the child's own, of which only the public half is shown
//! here, or is made here and goes into a file. It never stands in an answer: answers are what agents print, log and
//! remember. An edge registers what was made, or every edge would refuse it. Clause G-67.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use remit_common::crypto::key_file;
use remit_common::crypto::sign::{PublicKey, SigningKey};
use remit_common::envelope::{InvalidRequest, RawPresentation, RestrictionRequest, delegate};
use remit_common::lattice::{Names, NoNames};
use remit_common::net::env::Env;
use remit_common::policy::taxonomy::Taxonomy;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::edges::Edges;
use super::place::{Held, NotHere};
use crate::commands::envelope::register::to_json;
use crate::envelope_file::EnvelopeFile;
use crate::failure::{Exit, Failure};

/// Children of one sidecar, over its whole life. An envelope lives for an hour, and a child for a quarter of one.
const CHILDREN_MAX: usize = 1_024;

/// What is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    /// As `child.toml` has it.
    restriction: RestrictionRequest,
    /// The child's own key.
    holder: Option<PublicKey>,
    /// Whether an edge is asked to register it.
    #[serde(default = "yes")]
    register: bool,
}

fn yes() -> bool {
    true
}

/// What is given.
#[derive(Serialize)]
struct Child {
    /// The envelope file.
    envelope: EnvelopeFile,
    /// The id of the link that was made: what to name when it is to be cut.
    link: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<Files>,
    #[serde(skip_serializing_if = "Option::is_none")]
    registered: Option<serde_json::Value>,
}

#[derive(Serialize)]
struct Files {
    envelope: PathBuf,
    key: PathBuf,
}

/// Why there is no child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoChild {
    /// What was asked for cannot be had.
    Asked(String),
    /// It could, and something else went wrong.
    Failed(String),
}

/// Makes envelopes for others.
pub(crate) struct Nursery {
    env: Env,
    held: Arc<Held>,
    /// Where keys that are made here go.
    folder: Option<PathBuf>,
    /// What purposes and classes are called, where somebody said.
    names: Option<Taxonomy>,
    made: AtomicUsize,
}

impl Nursery {
    pub(crate) fn new(env: &Env, held: &Arc<Held>, folder: Option<PathBuf>, names: Option<Taxonomy>) -> Self {
        Self { env: env.clone(), held: Arc::clone(held), folder, names, made: AtomicUsize::new(0) }
    }

    /// Makes a child; gives the JSON that its parent is told.
    pub(super) async fn child(&self, edges: &Edges, request: &[u8]) -> Result<Vec<u8>, NoChild> {
        let asked = |why: String| NoChild::Asked(why);
        let failed = |error: &dyn std::error::Error| NoChild::Failed(Failure::caused(Exit::Failed, error).message);
        let Request { restriction, holder, register } = serde_json::from_slice(request).map_err(|error| {
            asked(format!(
                "{error}; what is asked for is {{\"restriction\": …, \"holder\": …}}, a restriction as in child.toml"
            ))
        })?;
        let names: &dyn Names = match &self.names {
            Some(names) => names,
            None => &NoNames,
        };
        let restriction = restriction.resolve(names).map_err(|error| asked(self.unresolved(&error)))?;
        let (public, made) = match (holder, &self.folder) {
            (Some(public), _) => (public, None),
            (None, Some(folder)) => {
                let key = SigningKey::from_seed(Zeroizing::new(self.env.random())).map_err(|error| failed(&error))?;
                (*key.public(), Some((folder, key)))
            }
            (None, None) => {
                return Err(asked(
                    "no `holder`: give the child's public key (64 hex digits), or start the sidecar \
                                  with --children DIR, where it writes envelope and key"
                        .to_owned(),
                ));
            }
        };
        if self.made.fetch_add(1, Ordering::Relaxed) >= CHILDREN_MAX {
            self.made.store(CHILDREN_MAX, Ordering::Relaxed);
            return Err(NoChild::Failed(format!("this sidecar has made {CHILDREN_MAX} children; start another one")));
        }
        let Held { mesh, root, presentation, key } = self.held.as_ref();
        let (now, nonce) = (self.env.now().wall, self.env.random());
        let child = delegate(presentation, key, mesh, &restriction, &public, now, nonce)
            .map_err(|error| asked(Failure::caused(Exit::Failed, &error).message))?;
        let (child, registered) = match register {
            false => (child, None),
            true => match edges.register(&child).await {
                Ok(done) => (done.presentation.clone(), Some(to_json(&done))),
                Err(NotHere::Refused(why)) => return Err(asked(why)),
                Err(NotHere::Silent(why)) => {
                    return Err(NoChild::Failed(format!("no edge registers the child ({why}); it would be refused")));
                }
            },
        };
        let parsed = RawPresentation::parse(&child).map_err(|error| failed(&error))?;
        let link = parsed.leaf_id(mesh).map(|link| link.to_string()).unwrap_or_default();
        let envelope = EnvelopeFile::new(*mesh, *root, &child);
        let files = match made {
            Some((folder, key)) => {
                let stem: String = link.chars().take(16).collect();
                let files = Files {
                    envelope: folder.join(format!("{stem}.envelope")),
                    key: folder.join(format!("{stem}.key")),
                };
                self.write(&files, &envelope, &key).await?;
                Some(files)
            }
            None => None,
        };
        serde_json::to_vec(&Child { envelope, link, files, registered }).map_err(|error| failed(&error))
    }

    async fn write(&self, files: &Files, envelope: &EnvelopeFile, key: &SigningKey) -> Result<(), NoChild> {
        let (env, envelope) = (self.env.clone(), envelope.clone());
        let (envelope_path, key_path) = (files.envelope.clone(), files.key.clone());
        let key = key_file::encode_signing(key);
        let write = move || {
            crate::files::write(&env, &key_path, key.as_bytes())?;
            envelope.write(&env, &envelope_path)
        };
        let written = self.env.run_blocking(write).await.map_err(|error| NoChild::Failed(error.to_string()))?;
        written.map_err(|failure| NoChild::Failed(failure.message))
    }

    fn unresolved(&self, error: &InvalidRequest) -> String {
        let told = Failure::caused(Exit::Failed, error).message;
        match error {
            InvalidRequest::Purpose { .. } | InvalidRequest::Class { .. } if self.names.is_none() => {
                format!(
                    "{told}; purposes and classes go by number here, or by name when the sidecar is started with --bundle DIR"
                )
            }
            _ => told,
        }
    }
}
