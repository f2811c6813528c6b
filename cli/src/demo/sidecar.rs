//! The sidecars of the story's agents: real processes of this executable, each with one envelope at one edge.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use remit_common::crypto::digest::Digest;
use remit_common::crypto::key_file;
use remit_common::id::MeshId;
use remit_common::net::env::Env;
use tokio::process::{Child, Command};

use super::stage::Held;
use crate::envelope_file::EnvelopeFile;
use crate::failure::{Exit, Failure};
use crate::files;

/// An envelope and a key, as files.
pub(crate) struct Papers {
    envelope: PathBuf,
    key: PathBuf,
    /// Who the holder is, where it shows that.
    identity: Option<PathBuf>,
    log: PathBuf,
}

impl Papers {
    /// Writes them to a folder, under the name of whose they are.
    pub(crate) fn write(
        env: &Env,
        folder: &Path,
        name: &str,
        held: &Held,
        known_by: (MeshId, Digest),
    ) -> Result<Self, Failure> {
        let unmade = |error| Failure::new(Exit::Failed, format!("cannot make `{}`: {error}", folder.display()));
        env.disk.create_dir(folder).map_err(unmade)?;
        let papers = Self {
            envelope: folder.join(format!("{name}.envelope")),
            key: folder.join(format!("{name}.key")),
            identity: None,
            log: folder.join("sidecars.log"),
        };
        EnvelopeFile::new(known_by.0, known_by.1, &held.presentation).write(env, &papers.envelope)?;
        files::write(env, &papers.key, key_file::encode_signing(&held.key).as_bytes())?;
        Ok(papers)
    }

    /// With an identity (PEM) beside them, which the sidecar shows.
    pub(crate) fn showing(mut self, env: &Env, svid: &str) -> Result<Self, Failure> {
        let path = self.key.with_extension("svid");
        files::write(env, &path, svid.as_bytes())?;
        self.identity = Some(path);
        Ok(self)
    }

    /// Starts a sidecar at this edge, to be talked to on its standard input and output.
    #[expect(clippy::disallowed_methods, reason = "an MCP client starts the server that it talks to")]
    pub(crate) fn start(&self, edge: &str) -> Result<Child, Failure> {
        let failed = |error: std::io::Error| Failure::new(Exit::Failed, format!("cannot start a sidecar: {error}"));
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.log).map_err(failed)?;
        let mut command = Command::new(files::executable()?);
        command
            .args(["agent", "--stdio", "--edge", edge, "--envelope"])
            .arg(&self.envelope)
            .arg("--key")
            .arg(&self.key)
            .env_remove("REMIT_MESH")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // Ctrl-C is for the demo, which ends its agents in order.
            .process_group(0)
            .kill_on_drop(true);
        if let Some(identity) = &self.identity {
            command.arg("--identity").arg(identity);
        }
        command.spawn().map_err(failed)
    }
}
